"""A node's value in a net: it stands wherever torch takes a tensor."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import GradientError, OptionError, ShapeError
from ancestral.core.names import listing

if TYPE_CHECKING:
    from ancestral.distributions.bayesian_net import BayesianNet


class StochasticTensor:
    """A node's value: the observation, or a draw that is made when it is first asked for.

    It stands wherever torch takes a tensor. It has no truth value and no length to walk along, and
    is equal to itself alone.

    Args:
        bn: The net.
        name: The node.
        dist: Its law given its parents.
        observation: What is observed, or ``None``.
        n_samples: How many draws are made, along a first axis; one without it, if not given.
    """

    __iter__ = None

    def __init__(
        self,
        bn: "BayesianNet",
        name: str,
        dist: Any,
        observation: Tensor | None,
        n_samples: int | None,
    ) -> None:
        self.bn, self.name, self.dist, self.n_samples = bn, name, dist, n_samples
        self._observation = observation

    def is_observed(self) -> bool:
        """Whether its value was given."""
        return self._observation is not None

    @property
    def has_draws(self) -> bool:
        """Whether its value has the axis of its ``n_samples`` draws; an observation may lack it."""
        one = getattr(self.dist, "value_shape", self.dist.law.features_shape)
        return self.n_samples is not None and self.tensor.dim() > len(one)

    @functools.cached_property
    def tensor(self) -> Tensor:
        """The observation, or a draw: the same one whenever it is asked for."""
        if self._observation is not None:
            return self._observation
        value: Tensor = self.dist.sample(self.n_samples)
        return value

    @functools.cached_property
    def cond_log_p(self) -> Tensor:
        """The log density of the value given the node's parents, groups summed."""
        if getattr(self.dist, "use_path_derivative", False):
            self._check_parents()
        found: Tensor = self.dist.log_prob(self.tensor)
        return found

    def _check_parents(self) -> None:
        """Raise if parameters that are to be cut were made of draws that pass a gradient on."""
        params = [v for v in self.dist.params.values() if isinstance(v, Tensor)]
        behind = steps_behind(params)
        for name, node in self.bn.nodes.items():
            value = vars(node).get("tensor") if isinstance(node, StochasticTensor) else None
            if value is not None and value.grad_fn is not None and value.grad_fn in behind:
                raise GradientError(
                    f"node {self.name}: use_path_derivative=True cuts its parameters, which were "
                    f"computed from the draw {name}, and so a path of the gradient to its law. "
                    f"Leave it out for {self.name}."
                )

    def __getattr__(self, name: str) -> Any:
        """What tensors have: shape, dtype, methods."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.tensor, name)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """A function of torch, of the value."""
        return func(*plain(args), **plain(dict(kwargs or {})))

    def __getitem__(self, index: Any) -> Tensor:
        return self.tensor[plain(index)]

    def __len__(self) -> int:
        return len(self.tensor)

    def __bool__(self) -> bool:
        raise OptionError(
            f"node {self.name} has no truth value: its tensor has, if it has one entry, "
            f"bool({self.name}.tensor)."
        )

    def __repr__(self) -> str:
        """The node, how its value came about, and the family of its law."""
        how = "observed" if self.is_observed() else "drawn"
        return f"StochasticTensor({self.name}, {how}, {self.dist.law.distribution_name})"


def steps_behind(tensors: Iterable[Tensor]) -> dict[Any, None]:
    """The steps of autograd that tensors were computed by, the last first."""
    seen: dict[Any, None] = {}
    waiting: list[Any] = [t.grad_fn for t in reversed(list(tensors))]
    while waiting:
        step = waiting.pop()
        if step is not None and step not in seen:
            seen[step] = None
            waiting += [before for before, _ in reversed(step.next_functions)]
    return seen


def plain(value: Any) -> Any:
    """A value with tensors in the place of nodes, inside of lists, tuples and dicts, too."""
    if isinstance(value, StochasticTensor):
        return value.tensor
    if type(value) in (list, tuple):
        return type(value)(plain(v) for v in value)
    return {k: plain(v) for k, v in value.items()} if type(value) is dict else value


def _binary(name: str) -> Callable[[StochasticTensor, Any], Any]:
    def operate(self: StochasticTensor, other: Any) -> Any:
        return getattr(self.tensor, name)(plain(other))

    return operate


def _unary(name: str) -> Callable[[StochasticTensor], Any]:
    def operate(self: StochasticTensor) -> Any:
        return getattr(self.tensor, name)()

    return operate


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or"):
    setattr(StochasticTensor, f"__{_name}__", _binary(f"__{_name}__"))
    setattr(StochasticTensor, f"__r{_name}__", _binary(f"__r{_name}__"))
for _name in ("lt", "le", "gt", "ge"):
    setattr(StochasticTensor, f"__{_name}__", _binary(f"__{_name}__"))
for _name in ("neg", "abs", "invert"):
    setattr(StochasticTensor, f"__{_name}__", _unary(f"__{_name}__"))


def check_terms(terms: Mapping[str, Tensor], nodes: Mapping[str, StochasticTensor]) -> None:
    """Raise where the terms of a log joint do not stand on the same axes.

    Raises:
        ShapeError: If a sum would repeat both of two terms, or align the axis of a node's draws
            with another one.
    """
    names = list(terms)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            one, other = tuple(terms[a].shape), tuple(terms[b].shape)
            short = nodes[a if len(one) < len(other) else b]
            try:
                both = tuple(torch.broadcast_shapes(one, other))
            except RuntimeError:
                both = ()
            drawn = short.has_draws and len(one) != len(other)
            if both not in (one, other) or drawn:
                raise ShapeError(
                    f"log_joint: log p of node {a} has shape {one}, of node {b} {other}: they do "
                    "not stand on the same axes. Sum what is one event, group_ndims=, or say what "
                    "is added with an override, model.log_joint = f; terms are "
                    f"bn.cond_log_prob([{listing([repr(a), repr(b)])}])."
                )
