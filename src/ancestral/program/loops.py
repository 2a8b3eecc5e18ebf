"""Instructions of time: loops with a structured body, and sequences seen step by step.

A sequence has time as its first event axis; inside of a program it is seen with that axis among
those of the rows (:class:`~ancestral.program.instructions.Retime`), so that one call of a network
serves all steps. What a step hands to the next is a :class:`Carry`, and only what a carry waits for
stands in a loop, :class:`Scan`.
"""

from dataclasses import dataclass

from ancestral.core.axes import TIME, Axis
from ancestral.program.instructions import Input, Label, Program, Register, Retime, Step


@dataclass(frozen=True, eq=False)
class Initial(Step):
    """What a carry is before the first step, with the axes of the carry: a constant or a trained
    tensor of a law, under its ``key``, or ``arg``, a value that is given or drawn.
    """

    law: int
    key: str
    arg: Register | None
    var: str
    text: Label


@dataclass(frozen=True, eq=False)
class Shift(Step):
    """A sequence one step later: at each time the value of the step before it."""

    arg: Register
    initial: Register
    axis: Axis


@dataclass(frozen=True, eq=False)
class Last(Step):
    """The value of a sequence at its last time."""

    arg: Register
    axis: Axis


@dataclass(frozen=True, eq=False)
class Length(Step):
    """How many steps an axis of time has."""

    axis: Axis


@dataclass(frozen=True, eq=False)
class Keep(Step):
    """The value where a mask is on; no gradient passes where it is off. There stands a number; of
    data, with ``repeat``, what the row has at its first time that is on, so that laws and networks
    see nothing that could not be.
    """

    arg: Register
    mask: Register
    fill: float
    text: Label
    repeat: bool = False


@dataclass(frozen=True, eq=False)
class Clock(Step):
    """The number of each time step, counted from 0."""

    axis: Axis


@dataclass(frozen=True, eq=False)
class Prefix(Step):
    """The first steps of a series, as many as its new axis has."""

    arg: Register
    axis: Axis


@dataclass(frozen=True, eq=False)
class Slices(Step):
    """What a function of whole series and of the step's number gives in each step: parameters of
    its deterministic law, with the axis of time. ``args`` are what it is given, by its own names;
    the number of the step is ``None``.
    """

    law: int
    args: tuple[tuple[str, Register | None], ...]
    axis: Axis
    text: Label


@dataclass(frozen=True, eq=False)
class Carry:
    """What one step of a loop hands to the next.

    Args:
        initial: Its register before the first step.
        inner: What the body reads.
        after: What the body has computed for the next step.
    """

    initial: Register
    inner: Register
    after: Register


@dataclass(frozen=True, eq=False)
class Scan(Step):
    """A loop over time: its body is run once for each step. It holds only what the next step waits
    for; all else stands outside, vectorised over time.

    Args:
        axis: The axis that it runs along.
        carries: What a step hands to the next.
        series: Registers with that axis, and what the body reads of them in one step.
        body: The steps of one round.
        outputs: Registers of the body that are kept of all rounds; see :class:`Stacked`.
    """

    axis: Axis
    carries: tuple[Carry, ...]
    series: tuple[tuple[Register, Register], ...]
    body: tuple[Step, ...]
    outputs: tuple[Register, ...]

    @property
    def operands(self) -> tuple[Register, ...]:
        """What it reads of the steps before it."""
        inside = {c.inner for c in self.carries} | {inner for _, inner in self.series}
        found = [c.initial for c in self.carries] + [outer for outer, _ in self.series]
        for step in self.body:
            found += [r for r in step.operands if r not in inside]
            inside.add(step.out)
        found += [c.after for c in self.carries if c.after not in inside]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class Stacked(Step):
    """A register of a loop's body, of all rounds."""

    scan: Register
    inner: Register

    @property
    def operands(self) -> tuple[Register, ...]:
        """The loop; the other register is one of its own."""
        return (self.scan,)


def timed(program: Program) -> frozenset[str]:
    """The given variables whose axis behind the rows is time, of any length: none, if there are
    sequences whose length no given variable tells before the program runs.
    """
    given = {s.out: s.var for s in program.steps if isinstance(s, Input)}
    seen = [s for s in program.steps if isinstance(s, Retime) and s.arg in given]
    times = {a for s in program.steps for a in s.out.axes if a.kind == TIME}
    if times - {a for s in seen for a in s.out.axes} or _has_wide_sequences(program):
        return frozenset()
    return frozenset(given[s.arg] for s in seen)


def _has_wide_sequences(program: Program) -> bool:
    """Whether a function sees whole sequences along more axes than the rows: the text unfolds its
    batch with their length.
    """
    views = [s for s in program.steps if isinstance(s, Retime)]
    sides = (min(s.arg, s.out, key=lambda r: len(r.axes)) for s in views)
    wide = {r for r in sides if len(r.axes) > 1}
    others = (s for s in program.steps if not isinstance(s, Retime))
    return any(s.out in wide or not wide.isdisjoint(s.operands) for s in others)
