r"""The law of a model that is a function: the product of its nodes, each a law of its family.

.. math:: p(x, z) = \prod_i p(v_i \mid \mathrm{parents}(v_i))

The builder is run once on an example, which tells the nodes, their families, and which values
each node's parameters were computed from: values are marked, and torch's functions pass the marks
on. A node's network is then the builder itself, run up to this node with its parents observed; so
every estimator, closed form and rewriting knows the model as if it were written law by law. What
is computed for several nodes is computed for each of them.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import (
    GradientError,
    OptionError,
    ShapeError,
    VariableError,
)
from ancestral.core.names import listing
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.joint import Joint
from ancestral.distributions.joint_density import JointDensity
from ancestral.distributions.law import Law
from ancestral.distributions.net_node import NodeLaw
from ancestral.distributions.stochastic_tensor import steps_behind

# through which a value leaves torch: what is done with it then nobody sees
LEAVES = {"item", "tolist", "numpy", "equal", "allclose", "is_nonzero"}
LEAVES |= {f"__{name}__" for name in ("bool", "float", "int", "index", "array", "contains")}


class Marked(Tensor):
    """A tensor that knows the nodes that it was computed from."""

    names_behind: frozenset[str]
    seen_by: "Trace"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """A function of torch, whose results have the marks of all that it was given."""
        given = list(_marked((args, kwargs or {})))
        out = super().__torch_function__(func, types, args, kwargs or {})
        names = frozenset[str]().union(*(t.names_behind for t in given))
        if not given:
            return out
        if getattr(func, "__name__", "") in LEAVES:
            given[0].seen_by.left |= names
        for t in _tensors(out):
            t.names_behind = names | getattr(t, "names_behind", frozenset())
            t.seen_by = given[0].seen_by
        return out


def _tensors(value: Any) -> "Iterator[Marked]":
    if isinstance(value, Marked):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _tensors(v)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _marked(value: Any) -> "Iterator[Marked]":
    return (t for t in _tensors(value) if hasattr(t, "seen_by"))


@dataclass(frozen=True)
class Seen:
    """A node as a run of the builder has seen it: its law, parents, value, and number of draws."""

    dist: Any
    parents: frozenset[str]
    value: Tensor
    n_samples: int | None


class Trace:
    """What one run of a builder tells."""

    def __init__(self) -> None:
        self.nodes: dict[str, Seen] = {}
        self.left: frozenset[str] = frozenset()

    def mark(self, name: str, value: Tensor) -> Tensor:
        """A value that is a node's, or that of an argument."""
        own = value.detach().as_subclass(Marked)
        own.names_behind, own.seen_by = frozenset({name}), self
        return own

    def visit(self, name: str, dist: Any, seen: Tensor | None, n_samples: int | None) -> Tensor:
        """A node that is added: its parents, and the value that those behind it see."""
        parents = frozenset[str]()
        if self.left:
            raise OptionError(
                f"node {name}: the builder has asked for {listing(sorted(self.left))} as numbers "
                "(bool(), .item(), numpy) before it, and what they are of one row would decide for "
                "all rows. Choose row by row, torch.where(...), or index with tensors."
            )
        if isinstance(dist, NodeLaw):
            parents = parents.union(*(t.names_behind for t in _marked(dict(dist.params))))
            plain = {
                k: v.as_subclass(Tensor) if isinstance(v, Tensor) else v
                for k, v in dist.params.items()
            }
            dist = replace(dist, params=plain)
        value = dist.sample() if seen is None else seen.as_subclass(Tensor)
        if value.dim() == dist.event_ndims:  # what is built on it has rows, as in a loss
            value = value.unsqueeze(0)
        self.nodes[name] = Seen(dist, parents, value.detach(), n_samples)
        return self.mark(name, value)


def law_of(
    model: Any, given: Mapping[str, Any] | None, modules: Iterable[nn.Module], name: str
) -> Distribution:
    """The law of a model; see :meth:`MetaBayesianNet.law`."""
    bound = [v for v in _values(model.bound) if isinstance(v, nn.Module)]
    every = list(dict.fromkeys([*bound, *modules]))
    with _quiet(every):
        trace = model.trace({k: v for k, v in (given or {}).items() if v is not None})
    if model.log_joint is not None:
        return _whole(model, trace, every, name)
    order = list(trace.nodes)
    factors: list[Factor] = []
    for node, seen in trace.nodes.items():
        read = _read(model, seen, node, every)
        places = [n for n in (*model.arguments, *order) if n in seen.parents]
        factors += _node(model, node, seen, places, read, name, trace, given or {}).factors
    return Joint(reversed(factors), name=name) if len(factors) > 1 else factors[0].law


def _values(bound: inspect.BoundArguments) -> list[Any]:
    return [*bound.args, *bound.kwargs.values()]


def _whole(model: Any, trace: Trace, modules: list[nn.Module], name: str) -> Distribution:
    """The law whose log density is written by the user, which is no product of nodes' then."""
    for node, seen in trace.nodes.items():
        _read(model, seen, node, modules)

    def log_joint(given: dict[str, Tensor]) -> Tensor:
        out: Tensor = model.observe(**given).log_joint()
        return out

    names = list(reversed(trace.nodes))
    return JointDensity(log_joint, names, model.arguments, name, modules=modules)


def _node(
    model: Any,
    node: str,
    seen: Seen,
    places: list[str],
    read: list[nn.Module],
    name: str,
    trace: Trace,
    given: Mapping[str, Any],
) -> Distribution:
    """The law of one node, whose network is the builder."""
    dist = seen.dist
    if not isinstance(dist, NodeLaw) or dist.options is None:
        law: Distribution = dist.law
        if len(law.factors) != 1 or places:
            raise OptionError(
                f"{model.name}: node {node} is given as a law, which is made anew at each run. In "
                "a law of the model give one that is made once, outside of the builder, or use a "
                "method of the net, e.g. bn.normal(...)."
            )
        return law.replace_var(**{law.var[0]: node}) if law.var != [node] else law
    value, shape = dist.event_ndims, dist.value_shape
    if len(shape) - value > 1 or (places and len(shape) == value):
        raise ShapeError(
            f"{model.name}: node {node} has parameters of values of shape {shape}, of which the "
            f"last {value} axes are one event (group_ndims={dist.group_ndims}). In a law one axis, "
            "the rows, stands in front of it: sum the others into the event, group_ndims=."
        )
    earlier = {k: v.value for k, v in trace.nodes.items()}
    before = {n: given[n] for n in model.arguments}
    before |= {n: earlier[n] for n in list(earlier)[: list(earlier).index(node)]}
    net = UpTo(model, node, places, before, read)
    event = shape[len(shape) - value :] if value else ()
    family: Any = type(dist.law)
    options = {k: v for k, v in dist.options.items() if k not in dist.params}
    found: Law = family([node], places, name, event, net=net, **options)
    return found


class UpTo(nn.Module):
    """The parameters of a node as a function of its parents: the builder, run that far.

    Args:
        model: The model.
        node: The node.
        places: The names of its parents, in order.
        before: Values that stand for what the builder reads on its way to the node besides.
        read: The modules whose weights the parameters depend on.
    """

    def __init__(
        self,
        model: Any,
        node: str,
        places: list[str],
        before: Mapping[str, Tensor],
        read: list[nn.Module],
    ) -> None:
        super().__init__()
        self.model, self.node, self.places = model, node, tuple(places)
        self.read = nn.ModuleList(read)
        self.others = [n for n in before if n not in self.places]
        for i, n in enumerate(self.others):
            self.register_buffer(f"other{i}", torch.as_tensor(before[n])[:1], persistent=False)

    def forward(self, *parents: Tensor) -> dict[str, Tensor]:
        """The parameters: with rows in front if there are parents, else of one row."""
        rows = parents[0].shape[0] if parents else 1
        others = (self.get_buffer(f"other{i}") for i in range(len(self.others)))
        values = {
            n: v.expand(rows, *v.shape[1:]) if v.dim() else v
            for n, v in zip(self.others, others, strict=True)
        }
        dist = self.model.at(self.node, {**values, **dict(zip(self.places, parents, strict=True))})
        return {k: self._laid_out(dist, k, v) for k, v in dist.params.items()}

    def _laid_out(self, dist: NodeLaw, key: str, value: Any) -> Tensor:
        """A parameter with one axis of rows if there are parents, and none if there are not."""
        out = torch.as_tensor(value)
        if out.dim() == 0:
            return out
        moves = dist.law.moves
        core = len(moves.cores[key]) if key in moves.cores else moves.param_dims
        missing = dist.group_ndims + bool(self.places) + core - out.dim()
        if missing >= 0:
            return out.reshape(*(1,) * missing, *out.shape) if self.places else out
        if self.places or missing < -1 or not bool((out == out[:1]).all()):
            raise ShapeError(
                f"{self.model.name}: node {self.node} has the parameter {key} of shape "
                f"{tuple(out.shape)}: with group_ndims={dist.group_ndims} that is more than "
                f"{'one axis of rows' if self.places else 'rows that are all alike'}. Sum others "
                "into the event, group_ndims=, or make what tells the rows apart an argument."
            )
        return out[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> "UpTo":
        """A copy, where the builder is given its modules: then it reads the copies of these."""
        inside = {id(m) for m in _values(self.model.bound)}
        outside = [type(m).__name__ for m in self.read if id(m) not in inside]
        if outside:
            raise OptionError(
                f"{self.model.name}: its law cannot be copied, since the builder reads the module "
                f"{listing(outside)} from outside: the copy would read the same weights. Make it "
                "an argument of the builder."
            )
        memo[id(self.model)] = model = copy.copy(self.model)
        model.bound = copy.deepcopy(self.model.bound, memo)
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        for key, value in vars(self).items():
            vars(made)[key] = copy.deepcopy(value, memo)
        return made


def _read(model: Any, seen: Seen, node: str, modules: list[nn.Module]) -> list[nn.Module]:
    """The modules whose weights a node's parameters depend on.

    Raises:
        GradientError: If there is a weight that no module has.
    """
    if not isinstance(seen.dist, NodeLaw):
        return []
    found = _weights(v for v in seen.dist.params.values() if isinstance(v, Tensor))
    owners = {id(p): m for m in reversed(modules) for p in m.parameters()}
    if seen.dist.options is None:
        owners |= {id(p): seen.dist.law for p in seen.dist.law.parameters()}
    unknown = [p for p in found if id(p) not in owners]
    if unknown:
        raise GradientError(
            f"{model.name}: node {node} depends on a weight of shape {tuple(unknown[0].shape)} "
            "that is in no module which the law knows, so that nothing would train it. Name the "
            "modules that the builder calls, law(modules=[decoder]), or make them its arguments."
        )
    return list(dict.fromkeys(owners[id(p)] for p in found))


def _weights(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The leaves that tensors were computed from, and that require a gradient."""
    every = list(tensors)
    own = [t for t in every if t.grad_fn is None and t.requires_grad]
    return own + [step.variable for step in steps_behind(every) if hasattr(step, "variable")]


@contextmanager
def _quiet(modules: list[nn.Module]) -> Iterator[None]:
    """A run that leaves no trace: the generator and statistics of batches stay as they are."""
    training = [(m, m.training) for top in modules for m in top.modules()]
    for module, _ in training:
        module.training = False
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            yield
    finally:
        for module, mode in training:
            module.training = mode


def refuse_unknown(model: Any, given: Mapping[str, Any]) -> None:
    """Raise if an example lacks the value of an argument."""
    missing = [n for n in model.arguments if n not in given]
    if missing:
        raise VariableError(
            f"{model.name}: its nodes are found by running it once, for which it needs an example "
            f"of {listing(missing)}, of one row or more: law({{{missing[0]!r}: ...}})."
        )
