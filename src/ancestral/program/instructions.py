"""A program: the flat list of steps that a loss is lowered to.

Each step writes one register. A register's axes are known when the program is built; its event
shape is whatever the networks and the data give. Laws and functions stand in slots, so that the
steps hold no weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ancestral.core.axes import Axes, Axis
from ancestral.distributions import Law


class Label:
    """A piece of text that is made when it is read."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    def __str__(self) -> str:
        return self._make()


@dataclass(frozen=True, eq=False)
class Register:
    """Where a step puts its result: a tensor, or the parameters of a law."""

    name: str
    axes: Axes


@dataclass(frozen=True, eq=False)
class Step:
    """One instruction."""

    out: Register

    @property
    def operands(self) -> tuple[Register, ...]:
        """The registers that it reads."""
        found: list[Register] = []
        for name, value in vars(self).items():
            if name == "out":
                continue
            if isinstance(value, Register):
                found.append(value)
            elif isinstance(value, tuple):
                for v in value:
                    v = v[1] if isinstance(v, tuple) and len(v) == 2 else v
                    if isinstance(v, Register):
                        found.append(v)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Input(Step):
    """The value of a data variable, or of a scalar (no axes)."""

    var: str


@dataclass(frozen=True, eq=False)
class Number(Step):
    """A number, or a 0-d tensor that may be trained."""

    value: Any


@dataclass(frozen=True, eq=False)
class Params(Step):
    """The parameters of a law given its conditions: the network runs here."""

    law: int
    conditions: tuple[Register, ...]
    var: tuple[str, ...]
    text: Label


@dataclass(frozen=True, eq=False)
class Pick(Step):
    """One variable of a deterministic law."""

    params: Register
    key: str


@dataclass(frozen=True, eq=False)
class Draw(Step):
    """A draw as a function of base noise; with ``cut`` without its gradient, with a temperature
    ``through`` with that of its relaxation.
    """

    law: int
    params: Register
    noise: str
    var: str
    cut: bool
    text: Label
    through: float | None = None
    time: Axis | None = None  # of the loop that it stands in: its noise is drawn for all rounds


@dataclass(frozen=True, eq=False)
class Table(Step):
    """All values of a discrete law, along an axis of their own."""

    law: int
    params: Register
    text: Label


@dataclass(frozen=True, eq=False)
class Density(Step):
    """The log density of a value, summed over the event; ``counts`` says which rows matter."""

    law: int
    value: Register
    params: Register
    var: str
    text: Label
    counts: Register | None = None


@dataclass(frozen=True, eq=False)
class Closed(Step):
    """A closed form over the parameters of one or two laws, summed over the event."""

    which: str
    laws: tuple[int, ...]
    params: tuple[Register, ...]
    var: str
    text: Label


@dataclass(frozen=True, eq=False)
class Call(Step):
    """A function at a point."""

    fn: int
    args: tuple[Register, ...]
    text: Label


@dataclass(frozen=True, eq=False)
class Transform(Step):
    """A bijection, or its inverse, at a point and given a context: the pair of the value and the
    log-determinant, which is summed over the event. With ``cut`` no gradient reaches its
    parameters.
    """

    fn: int
    arg: Register
    inverse: bool
    cut: bool
    var: str
    text: Label
    context: Register | None = None


@dataclass(frozen=True, eq=False)
class Part(Step):
    """One of a pair: the value (0); the log-determinant, or the derivative (1)."""

    pair: Register
    index: int
    called: tuple[str, str] = ("value", "log|det|")


@dataclass(frozen=True, eq=False)
class Interact(Step):
    """The pair of particles, with gradients by a plan in which each sees the others, and of what
    stands for the log density of their law: a gradient, and no value.
    """

    plan: Any
    points: Register


@dataclass(frozen=True, eq=False)
class Slope(Step):
    """The derivative of a scalar function at a point, with respect to one argument."""

    fn: int
    args: tuple[Register, ...]
    wrt: int
    text: Label


@dataclass(frozen=True, eq=False)
class Push(Step):
    """The derivative of a function at a point along a direction."""

    fn: int
    args: tuple[Register, ...]
    along: tuple[Register, ...]
    text: Label


@dataclass(frozen=True, eq=False)
class PushBoth(Push):
    """The pair of a function's value at a point and its derivative there, by one pass."""


@dataclass(frozen=True, eq=False)
class Elementwise(Step):
    """An operation of each element, axes aligned: ``mul``, ``div``, ``exp``, ``clamp``, ..."""

    op: str
    args: tuple[Register, ...]
    extra: tuple[float | None, ...] = ()


@dataclass(frozen=True, eq=False)
class Linear(Step):
    """A sum of registers with number coefficients, plus a number."""

    terms: tuple[tuple[float, Register], ...]
    bias: float


@dataclass(frozen=True, eq=False)
class Reduce(Step):
    """``mean``, ``sum`` or ``logmeanexp`` or ``logsumexp`` over an axis."""

    how: str
    axis: Axis
    arg: Register


@dataclass(frozen=True, eq=False)
class Present(Step):
    """Whether a modality is present: a column of a mask."""

    mask: Register
    column: int
    width: int
    text: Label


@dataclass(frozen=True, eq=False)
class Shown(Step):
    """A value with a number in its place where it is missing in every plan."""

    arg: Register
    present: Register


@dataclass(frozen=True, eq=False)
class LeftOut(Step):
    """A term that is 0 where its modality is missing."""

    arg: Register
    present: Register


@dataclass(frozen=True, eq=False)
class Experts(Step):
    """The parameters of a law that is made from others', some of them missing in some rows."""

    law: int
    params: tuple[Register, ...]
    present: tuple[Register | None, ...]
    var: tuple[str, ...]
    given: tuple[str, ...]
    text: Label


@dataclass(frozen=True, eq=False)
class Again(Step):
    """The same rows seen along another axis; or, of an axis with parts, one part of them."""

    arg: Register
    old: Axis
    new: Axis
    part: int = 0


@dataclass(frozen=True, eq=False)
class Distinct(Step):
    """The mean over rows of several axes that are pairwise different; the first may be kept."""

    arg: Register
    over: Axes
    keep: bool
    text: Label


@dataclass(frozen=True, eq=False)
class TakeApart(Step):
    """The entries of each row from different rows; ``permuted``, from any (biased)."""

    arg: Register
    noise: str
    row: Axis
    permuted: bool


@dataclass(frozen=True, eq=False)
class Norm(Step):
    """The norm of an event, or its square."""

    arg: Register
    squared: bool


@dataclass(frozen=True, eq=False)
class Scalar(Step):
    """The value as one number per row; an event of any other size is a ShapeError."""

    arg: Register
    squeeze: bool
    text: Label
    beside: Label | None = None


@dataclass(frozen=True, eq=False)
class Cut(Step):
    """The value with its gradient cut."""

    arg: Register


@dataclass(frozen=True, eq=False)
class Surrogate(Step):
    """The integrand with an estimator's gradient in place of the draw's."""

    estimator: Any
    f: Register
    log_q: Register
    axis: Axis | None


@dataclass(frozen=True, eq=False)
class Several(Step):
    """The values of several objectives, as a tuple."""

    args: tuple[Register, ...]


@dataclass(frozen=True, eq=False)
class Retime(Step):
    """The same tensor, its first event axis seen as the axis of time, or the reverse.

    Time is the last axis in front of the event, so that nothing moves.
    """

    arg: Register


@dataclass(frozen=True, eq=False, repr=False)
class Program:
    """The steps in order, what they compute with, and where the result stands.

    Args:
        steps: The instructions.
        result: The register of the objective.
        laws: The laws in their slots.
        functions: The functions in their slots; each has a callable ``net``.
        draws: Register of each draw, under the name of its noise.
        scope: Register of each variable that the outermost expectations bound.
        shapes: Event shapes that are declared, by variable.
        plug_in: Non-linear functions of Monte Carlo estimates: their mean is not the formula's.
        gradient_only: Terms whose gradient is the formula's and whose value is not, and those made
            of them; with each what its value is.
        kept: Of each state what is given back, under the name that it is given with.
        merged: Pairs of laws that are one because their constants are equal.
        reading: How the program prints.
    """

    steps: tuple[Step, ...]
    result: Register
    laws: tuple[Law, ...]
    functions: tuple[Any, ...]
    inputs: tuple[str, ...]
    scalars: frozenset[str]
    draws: dict[str, Register]
    scope: dict[str, Register]
    shapes: dict[str, tuple[int, ...]]
    plug_in: frozenset[Register]
    merged: tuple[tuple[Law, Law], ...]
    reading: Callable[["Program"], str] = field(repr=False)
    gradient_only: Mapping[Register, str] = field(default_factory=dict)
    kept: Mapping[str, Register] = field(default_factory=dict)

    def __str__(self) -> str:
        """The listing: each step, each draw by name and who reads it."""
        return self.reading(self)

    __repr__ = __str__

    def is_current(self) -> bool:
        """Whether the laws that are one still have equal constants."""
        return all(kept.numbers == other.numbers for kept, other in self.merged)

    @staticmethod
    def operands(step: Step) -> tuple[Register, ...]:
        """The registers that a step reads; of a loop, those outside of it."""
        return step.operands
