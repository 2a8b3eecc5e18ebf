"""The closed set of nodes, first part: values, arithmetic, reductions.

A node is frozen data: it computes nothing, prints nothing and caches nothing. What is done to
nodes (printing, checking, rewriting, lowering) are tables of functions over this set and the
nodes that mention laws (:mod:`ancestral.losses.prob`).
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from torch import Tensor, nn

from ancestral.core.errors import DataError, OptionError
from ancestral.core.names import as_names
from ancestral.losses.sugar import Loss


@functools.cache
def _names(kind: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cast("type[Node]", kind)))


def _fields(node: "Node") -> tuple[str, ...]:
    kind: Any = type(node)
    return _names(kind)


@dataclass(frozen=True, eq=False, repr=False)
class Node(Loss):
    """A node of an expression."""

    @property
    def children(self) -> tuple["Node", ...]:
        """The nodes below this one, in the order in which they print."""
        found: list[Node] = []
        for name in _fields(self):
            value = getattr(self, name)
            if isinstance(value, Node):
                found.append(value)
            elif isinstance(value, tuple):
                found.extend(v for v in value if isinstance(v, Node))
        return tuple(found)

    def with_children(self, children: Sequence["Node"]) -> "Node":
        """The same node over other children."""
        before = self.children
        if all(new is old for new, old in zip(children, before, strict=True)):
            return self
        rest = iter(children)
        changes: dict[str, Any] = {}
        for name in _fields(self):
            value = getattr(self, name)
            if isinstance(value, Node):
                changes[name] = next(rest)
            elif isinstance(value, tuple) and any(isinstance(v, Node) for v in value):
                changes[name] = tuple(next(rest) if isinstance(v, Node) else v for v in value)
        twin = object.__new__(type(self))  # nodes for nodes: nothing to check or to coerce
        vars(twin).update(vars(self), **changes)
        return twin

    def _coerce(self, *names: str) -> None:
        for name in names:
            object.__setattr__(self, name, as_node(getattr(self, name)))


def as_node(value: Any) -> Node:
    """A loss from a loss, a number or a 0-d tensor.

    Raises:
        DataError: If it is anything else.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, Tensor):
        if value.dim() == 0:
            return Constant(value if value.requires_grad else float(value))
        raise DataError(
            f"a tensor of shape {tuple(value.shape)} stands in a loss, which takes numbers and "
            "0-d tensors. Name it, values('r'), and give its value when the loss is evaluated."
        )
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Constant(float(value))
    if isinstance(value, nn.Module):
        raise DataError(
            f"a {type(value).__name__} stands in a loss. Write p.log_prob() for a law, and "
            "Function(net)(x) for a network."
        )
    told = f" A variable is written values({value!r})." if isinstance(value, str) else ""
    raise DataError(f"{value!r} ({type(value).__name__}) cannot stand in a loss.{told}")


@dataclass(frozen=True, eq=False, repr=False)
class Constant(Node):
    """A number; :class:`ValueLoss` is Pixyz's name for it."""

    value: float | Tensor

    @property
    def number(self) -> float:
        """What prints; of a trained 0-d tensor, its present value."""
        return self.value.item() if isinstance(self.value, Tensor) else self.value


def ValueLoss(value: float) -> Constant:
    """A constant loss.

    Example:
        >>> ValueLoss(2.0).eval()
        tensor(2.)
    """
    return Constant(value if isinstance(value, Tensor) and value.requires_grad else float(value))


@dataclass(frozen=True, eq=False, repr=False)
class Value(Node):
    """The value of a variable: data, a draw that an expectation binds, or a scalar given later."""

    name: str

    def __post_init__(self) -> None:
        as_names([self.name], "name")


def Parameter(name: str) -> Value:
    r"""A value given when the loss is evaluated, such as an annealed weight :math:`\beta`.

    Example:
        >>> import torch
        >>> (2 + Parameter("x")).eval({"x": torch.tensor(3.0)})
        tensor(5.)
    """
    return Value(name)


def values(names: str | Sequence[str]) -> Any:
    """Values of variables, to compute with: ``x, t = values("x t")``.

    Example:
        >>> x, t = values("x t")
        >>> str((1 - t) * x)
        '(1 - t) x'
    """
    split = names.split() if isinstance(names, str) else list(names)
    out = tuple(Value(n) for n in split)
    return out[0] if len(out) == 1 else out


@dataclass(frozen=True, eq=False, repr=False)
class Add(Node):
    """The sum of two terms."""

    left: Node
    right: Node

    def __post_init__(self) -> None:
        self._coerce("left", "right")


@dataclass(frozen=True, eq=False, repr=False)
class Sub(Node):
    """The difference of two terms."""

    left: Node
    right: Node

    def __post_init__(self) -> None:
        self._coerce("left", "right")


@dataclass(frozen=True, eq=False, repr=False)
class Mul(Node):
    """The product of two factors."""

    left: Node
    right: Node

    def __post_init__(self) -> None:
        self._coerce("left", "right")


@dataclass(frozen=True, eq=False, repr=False)
class Div(Node):
    """The quotient of two terms."""

    left: Node
    right: Node

    def __post_init__(self) -> None:
        self._coerce("left", "right")


@dataclass(frozen=True, eq=False, repr=False)
class Pow(Node):
    """A term to the power of a number."""

    base: Node
    exponent: float

    def __post_init__(self) -> None:
        self._coerce("base")
        if isinstance(self.exponent, bool) or not isinstance(self.exponent, (int, float)):
            raise OptionError(
                "the exponent must be a number; write (b * a.log()).exp() for a loss to the power "
                "of a loss."
            )

    @property
    def is_whole(self) -> bool:
        """Whether the exponent is a positive whole number: then the power is that many factors."""
        return float(self.exponent).is_integer() and self.exponent > 0


@dataclass(frozen=True, eq=False, repr=False)
class Neg(Node):
    """Minus a term."""

    arg: Node

    def __post_init__(self) -> None:
        self._coerce("arg")


@dataclass(frozen=True, eq=False, repr=False)
class Unary(Node):
    """``abs``, ``exp``, ``log`` or ``sigmoid`` of a term."""

    kind: str
    arg: Node

    def __post_init__(self) -> None:
        self._coerce("arg")


@dataclass(frozen=True, eq=False, repr=False)
class Clamp(Node):
    """A term cut off below and above."""

    arg: Node
    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        self._coerce("arg")
        if self.low is None and self.high is None:
            raise OptionError("clamp() needs min=, max= or both.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise OptionError(f"clamp(min={self.low:g}, max={self.high:g}): min is above max.")


@dataclass(frozen=True, eq=False, repr=False)
class Extremum(Node):
    """The smaller or larger of two terms."""

    which: str
    left: Node
    right: Node

    def __post_init__(self) -> None:
        self._coerce("left", "right")


def MinLoss(left: Any, right: Any) -> Extremum:
    """The smaller of two losses."""
    return Extremum("min", left, right)


def MaxLoss(left: Any, right: Any) -> Extremum:
    """The larger of two losses."""
    return Extremum("max", left, right)


@dataclass(frozen=True, eq=False, repr=False)
class Reduce(Node):
    """The mean or sum over rows (``axis=None``) or over a named axis."""

    how: str
    axis: str | None
    arg: Node

    def __post_init__(self) -> None:
        self._coerce("arg")
        if self.axis is not None and not isinstance(self.axis, str):
            raise OptionError(
                f'.{self.how}({self.axis!r}): the axis is a name, e.g. .{self.how}("k") for '
                f"q.iid(k=5); .{self.how}() reduces rows."
            )


@dataclass(frozen=True, eq=False, repr=False)
class Detach(Node):
    """A value with its gradient cut."""

    arg: Node

    def __post_init__(self) -> None:
        self._coerce("arg")


@dataclass(frozen=True, eq=False, repr=False)
class Let(Node):
    """A term in which free variables stand for other values: ``names[i]`` is ``bindings[i]``."""

    names: tuple[str, ...]
    bindings: tuple[Node, ...]
    arg: Node


@dataclass(frozen=True, eq=False, repr=False)
class Planned(Node):
    """A term with a gradient estimator attached to laws; it prints as the term."""

    arg: Node
    choices: tuple[tuple[Any, Any], ...]
