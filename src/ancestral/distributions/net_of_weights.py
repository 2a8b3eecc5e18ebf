r"""A network as a function of its weights too, :math:`f(x, w)`, called once for many of them.

Axes that rows follow are flattened into the one batch axis that a network sees. Axes of weights
are not: there is no batch of matrices in a linear layer. A network of S draws of its weights is
vmapped over them, one call, and a row is computed once for each draw.
"""

import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ancestral.core.errors import ShapeError, VariableError
from ancestral.distributions.layer_weights import LayerWeights
from ancestral.distributions.layout import spanned

if TYPE_CHECKING:
    from ancestral.distributions.law import Law

FRESH = "different"  # each draw of weights has its own dropout masks, as each row has


class NetOfWeights(nn.Module):
    """A network called with its inputs and, last, the vector of its weights.

    Args:
        net: The network; of the weights it keeps what they were, as buffers.
        shapes: The shapes of the weights by their names, in the order of the vector.
        variable: The name of the variable that the vector is.
    """

    def __init__(self, net: nn.Module, shapes: Mapping[str, torch.Size], variable: str) -> None:
        super().__init__()
        self.net = net
        self.shapes = dict(shapes)
        self.variable = variable

    @property
    def size(self) -> int:
        """How many weights there are, |w|."""
        return sum(shape.numel() for shape in self.shapes.values())

    def unflatten(self, w: Tensor) -> dict[str, Tensor]:
        """The weights by name, shape ``(*lead, *shape)`` each, of vectors ``(*lead, |w|)``."""
        if w.dim() == 0 or w.shape[-1] != self.size:
            raise ShapeError(
                f"the weights {self.variable} have shape {tuple(w.shape)}, but the network has "
                f"{self.size} of them: the last axis must be ({self.size},)."
            )
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), w.split(sizes, -1), strict=True)
        return {name: part.reshape(*w.shape[:-1], *shape) for (name, shape), part in parts}

    def forward(self, *inputs: Tensor) -> Any:
        """The network at inputs ``(n, ...)`` and weights ``(*lead, |w|)``.

        Returns:
            What the network returns, each tensor with the axes ``lead`` of the weights in front.
        """
        *rows, w = inputs
        if isinstance(w, LayerWeights):
            return w.through(self, tuple(rows))
        if w.dim() > 1:
            lead = w.shape[:-1]
            one: Any = self._at
            call = torch.vmap(one, in_dims=(0, *[None] * len(rows)), randomness=FRESH)
            return _each(call(w.flatten(0, -2), *rows), lambda out: out.unflatten(0, lead))
        return self._at(w, *rows)

    def _at(self, w: Tensor, *rows: Tensor) -> Any:
        return functional_call(self.net, self.unflatten(w), rows)

    def extra_repr(self) -> str:
        """The variable, and how many weights it has."""
        return f"{self.variable}: {self.size} weights"


def _each(out: Any, change: Callable[[Tensor], Any]) -> Any:
    """What a network returned, changed tensor by tensor."""
    if isinstance(out, Tensor):
        return change(out)
    if isinstance(out, Mapping):
        return {k: _each(v, change) for k, v in out.items()}
    if isinstance(out, (list, tuple)):
        return type(out)(_each(v, change) for v in out)
    return out


def weights_in(module: Any) -> set[str]:
    """The variables that are weights of a network in a module."""
    parts = module.modules() if isinstance(module, nn.Module) else ()
    return {part.variable for part in parts if isinstance(part, NetOfWeights)}


def note_weights(law: Any) -> None:
    """Keep with a law that is built which variables are weights of networks in it.

    Its modules are walked once, and not at each draw.
    """
    vars(law)["_weights_inside"] = weights_in(law)


def places_of_weights(law: "Law") -> tuple[int, ...]:
    """Which conditions of a law are weights of a network in it.

    Raises:
        VariableError: If a network of weights is the law's own, and they are not the last
            condition, or the only one.
    """
    net = law.net
    found = vars(law).get("_weights_inside")
    if found is None or isinstance(net, NetOfWeights):  # it may have been given another network
        found = weights_in(law)
    if not found:
        return ()
    names = law.cond_var
    if isinstance(net, NetOfWeights) and (names[-1] != net.variable or len(names) == 1):
        given = [n for n in names if n != net.variable] or ["x"]
        raise VariableError(
            f"{law.prob_text}: its network is called with its inputs and then its weights "
            f"{net.variable!r}: write cond_var={[*given, net.variable]}, or name the weights "
            "otherwise, weights(net, name=...)."
        )
    return tuple(i for i, name in enumerate(names) if name in found)


def places_in_call(net: Any, count: int) -> tuple[int, ...]:
    """Which arguments of a function are weights of a network in it: by the names that it has for
    them, or the last one of the network itself.

    Args:
        net: The function.
        count: How many arguments it is given.
    """
    if isinstance(net, NetOfWeights):
        return (count - 1,)
    found = weights_in(net)
    names = list(inspect.signature(net.forward).parameters)[:count] if found else []
    return tuple(i for i, name in enumerate(names) if name in found)


def over_weights(
    call: Callable[..., Any],
    in_dims: Sequence[int | None],
    places: Sequence[int],
    law: "Law | None" = None,
) -> Callable[..., Any]:
    """A call for many weights: ``call(*conditions)`` vmapped over the axis of the weights.

    Args:
        call: The network of a law, or the law; returns a tensor, or parameters by name.
        in_dims: Of each condition 0 if it has the axis of the weights in front, else ``None``.
        places: Which conditions are weights; the others have rows.
        law: The law, if it returns the parameters of one.

    Returns:
        A function of the same arguments. Each tensor that it returns has the axes ``(weights,
        rows, *event)``, also where the network returned one row or the event alone; parameters
        that are numbers stay numbers.
    """
    with_rows = next((i for i in range(len(in_dims)) if i not in places), None)

    def run(*conditions: Tensor) -> Any:
        numbers: dict[str, Any] = {}
        kind: Any = dict

        def one(*inner: Tensor) -> Any:
            nonlocal kind
            rows = 1 if with_rows is None else inner[with_rows].shape[0]
            out = call(*inner)
            if law is None or not isinstance(out, Mapping):
                return _each(out, lambda v: _with_rows(v, rows))
            kind = type(out)
            numbers.update({k: v for k, v in out.items() if not isinstance(v, Tensor)})
            tensors = {k: v for k, v in out.items() if isinstance(v, Tensor)}
            ranks = {k: len(spanned(law.moves, k, tuple(v.shape))) for k, v in tensors.items()}
            rank = max(ranks.values(), default=0) if law.is_random else 0
            wide = {k: v if ranks[k] >= rank else v.unsqueeze(0) for k, v in tensors.items()}
            return {k: _with_rows(v, rows) for k, v in wide.items()}

        out = torch.vmap(one, in_dims=tuple(in_dims), randomness=FRESH)(*conditions)
        return kind({**out, **numbers}) if isinstance(out, dict) else out

    return run


def _with_rows(value: Tensor, rows: int) -> Tensor:
    """A value with its first axis, of size 1, expanded to the rows."""
    if value.dim() and value.shape[0] == 1 != rows:
        return value.expand(rows, *value.shape[1:])
    return value


def params_at(
    law: "Law", conditions: Sequence[Tensor], paired: Container[int] = ()
) -> dict[str, Any]:
    """The parameters of a law without lowering: of many weights with their axes in front.

    Args:
        law: The law.
        conditions: Values; of weights ``(*lead, |w|)``.
        paired: Which of the others have the axes ``lead``, too.

    Returns:
        Parameters by name; those of a network with the axes ``(*lead, rows, *event)``.
    """
    places = places_of_weights(law)
    lead = lead_of(law, conditions)
    if not lead:
        return law.params(conditions)
    flat, dims = list(conditions), [0 if i in paired else None for i in range(len(conditions))]
    for i in range(len(conditions)):
        if i in places:
            wide = conditions[i].expand(*lead, conditions[i].shape[-1])
            flat[i], dims[i] = wide.flatten(0, -2), 0
        elif i in paired:
            flat[i] = conditions[i].flatten(0, len(lead) - 1)
    out = over_weights(own_params(law), dims, places, law)(*flat)
    params = _each(dict(out), lambda v: v.unflatten(0, lead))
    return {**params, **given_params(law, conditions)}


def lead_of(law: "Law", conditions: Sequence[Tensor]) -> tuple[int, ...]:
    """The axes of many weights among the conditions of a law: those in front of a vector."""
    places = places_of_weights(law)
    return tuple(torch.broadcast_shapes(*(conditions[i].shape[:-1] for i in places)))


def own_params(law: "Law") -> Callable[..., Any]:
    """The parameters that a law's network returns, without those that it was given."""

    def run(*conditions: Tensor) -> Any:
        out = law.params(conditions)
        for key in law.given:
            out.pop(key)
        return out

    return run


def given_params(law: "Law", conditions: Sequence[Tensor]) -> dict[str, Any]:
    """The parameters that a law was given: constants, trained ones, values of conditions."""
    local, numbers = dict(zip(law.cond_var, conditions, strict=True)), law.numbers
    return {
        key: local[law.bound[key]]
        if key in law.bound
        else numbers.get(key, getattr(law, key, None))
        for key in law.given
    }
