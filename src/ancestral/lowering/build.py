"""Building a program: registers, value numbering, and collected coefficients.

Equal steps are emitted once: a step is known by its kind, its operands and the draw it makes.
Sums stay symbolic as long as they can, so that equal terms meet in one coefficient.
"""

from collections import ChainMap
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ancestral.core.axes import Axes, union
from ancestral.distributions import Law
from ancestral.program import instructions as ir


@dataclass(frozen=True)
class CutPath:
    """A gradient that a draw does not pass on: the draw, its law, what lies behind it, and what to
    say of it if that is another thing than of most draws.
    """

    draw: str
    law: int
    sources: frozenset[Hashable]
    why: str = ""


@dataclass(frozen=True)
class Flow:
    """Where the gradient of a register can come from, and which paths were cut without a word."""

    sources: frozenset[Hashable] = frozenset()
    cuts: frozenset[CutPath] = frozenset()

    def __or__(self, other: "Flow") -> "Flow":
        return Flow(self.sources | other.sources, self.cuts | other.cuts)


VALUE, OUTPUT, NUMBER, LOSS = range(4)


@dataclass(frozen=True)
class Sum:
    """A linear combination of registers that has not been computed yet.

    Its kind says what stands on a row: a value may have an event, the output of a function too
    (but one of a single entry is a number), a number (such as a norm) has none, and a loss has
    none and lets none stand beside it.
    """

    terms: Mapping[ir.Register, float] = field(default_factory=dict)
    bias: float = 0.0
    kind: int = LOSS

    def plus(self, other: "Sum", sign: float = 1.0) -> "Sum":
        """The sum of two, equal terms collected."""
        terms = dict(self.terms)
        for register, c in other.terms.items():
            terms[register] = terms.get(register, 0.0) + sign * c
        return Sum(terms, self.bias + sign * other.bias, min(self.kind, other.kind))

    def times(self, factor: float) -> "Sum":
        """The combination scaled."""
        return Sum({r: factor * c for r, c in self.terms.items()}, factor * self.bias, self.kind)

    @property
    def axes(self) -> Axes:
        """The axes of all terms, of those that cancel too."""
        return union(*(r.axes for r in self.terms))

    @property
    def number(self) -> float | None:
        """The value, if it is a number."""
        return None if self.terms else self.bias


class Builder:
    """Emits each step once, and follows where gradients come from."""

    def __init__(self) -> None:
        self.steps: list[ir.Step] = []
        self.laws: list[Law] = []
        self.merged: dict[int, tuple[Law, Law]] = {}
        self.functions: list[Any] = []  # each with what it calls, ``net``
        self.flow: dict[ir.Register, Flow] = {}
        self.made: dict[ir.Register, ir.Step] = {}  # each by the register that it writes
        self._known: MutableMapping[Hashable, ir.Register] = {}
        self._slots: dict[Hashable, int] = {}

    def emit(
        self,
        key: Hashable,
        name: str,
        axes: Axes,
        make: Callable[[ir.Register], ir.Step],
        flow: Flow | None = None,
    ) -> ir.Register:
        """The register of a step; an equal step is not emitted again."""
        if key in self._known:
            return self._known[key]
        register = ir.Register(name, axes)
        step = make(register)
        self.steps.append(step)
        self.made[register] = step
        self._known[key] = register
        if flow is None:
            flow = Flow()
            for operand in ir.Program.operands(step):
                flow = flow | self.flow[operand]
        self.flow[register] = flow
        return register

    @contextmanager
    def recording(self) -> Iterator[dict[ir.Register, tuple[Hashable, ir.Step]]]:
        """What is emitted inside is kept apart: by its register, its key and its step."""
        steps, known, own = self.steps, self._known, dict[Hashable, ir.Register]()
        body: dict[ir.Register, tuple[Hashable, ir.Step]] = {}
        self.steps, self._known = [], ChainMap(own, known)
        try:
            yield body
            keys = {register: key for key, register in own.items()}
            body.update({step.out: (keys[step.out], step) for step in self.steps})
        finally:
            self.steps, self._known = steps, known

    def adopt(self, key: Hashable, step: ir.Step, flow: Flow) -> ir.Register:
        """The register of a step that is made already; an equal step is not emitted again."""
        if key not in self._known:
            self.steps.append(step)
            self.made[step.out] = step
            self._known[key] = step.out
            self.flow[step.out] = flow
        return self._known[key]

    def name(self, key: Hashable, register: ir.Register) -> None:
        """Let a register stand for a step with this key, if none does."""
        self._known.setdefault(key, register)

    def is_known(self, key: Hashable, register: ir.Register) -> bool:
        """Whether a register is that of a step."""
        return self._known.get(key) is register

    def law_slot(self, law: Law) -> int:
        """The slot of a law; two frozen laws with equal constants have one."""
        key = ("law", law_key(law))
        if key not in self._slots:
            self._slots[key] = len(self.laws)
            self.laws.append(law)
        slot = self._slots[key]
        if self.laws[slot] is not law:
            self.merged[id(law)] = (self.laws[slot], law)
        return slot

    def function_slot(self, function: Any) -> int:
        """The slot of a function."""
        key = ("function", id(function.net))
        if key not in self._slots:
            self._slots[key] = len(self.functions)
            self.functions.append(function)
        return self._slots[key]

    def behind(
        self, registers: Iterable[ir.Register], *, through_cuts: bool = True
    ) -> set[ir.Register]:
        """The registers, and all that they are made from; or only as far as gradients go."""
        seen: set[ir.Register] = set()
        open_ = list(registers)
        while open_:
            r = open_.pop()
            if r in seen:
                continue
            seen.add(r)
            step = self.made.get(r)
            if step is None or (not through_cuts and isinstance(step, ir.Cut)):
                continue
            open_ += ir.Program.operands(step)
        return seen

    # -- arithmetic ---------------------------------------------------------------------------
    def register(self, value: Sum) -> ir.Register:
        """The register of a linear combination."""
        terms = tuple((c, r) for r, c in value.terms.items() if c != 0.0 or self._needs(r, value))
        if union(*(r.axes for _, r in terms)) != value.axes:  # zeros that still have the rows
            terms = tuple((c, r) for r, c in value.terms.items())
        if not terms:
            return self.number(value.bias)
        if len(terms) == 1 and terms[0][0] == 1.0 and value.bias == 0.0:
            return terms[0][1]
        terms = tuple(sorted(terms, key=lambda t: t[0] < 0.0))  # a - b, and not -b + a
        key = ("linear", tuple((c, r) for c, r in terms), value.bias)
        flow = Flow()
        for r in value.terms:  # a path behind a literal 0 is checked before it is dropped
            flow = flow | self.flow[r]
        axes = union(*(r.axes for _, r in terms))
        return self.emit(key, "sum", axes, lambda out: ir.Linear(out, terms, value.bias), flow)

    def _needs(self, zero: ir.Register, value: Sum) -> bool:
        """Whether a term with the factor 0 is the only one that reaches trained parameters: it
        stays, so that their gradient is 0, and not none.
        """
        alive = (self.flow[r].sources for r, c in value.terms.items() if c != 0.0)
        only = self.flow[zero].sources.difference(*alive)
        return any(self._is_trained(source) for source in only)

    def is_trained(self, register: ir.Register) -> bool:
        """Whether the gradient of a register reaches parameters that require one."""
        return any(self._is_trained(source) for source in self.flow[register].sources)

    def _is_trained(self, source: Any) -> bool:
        kind, slot = source
        if kind == "tensor":
            return True
        module: Any = self.laws[slot] if kind == "law" else self.functions[slot].net
        trained = module.parameters() if isinstance(module, nn.Module) else ()
        return any(p.requires_grad for p in trained)

    def number(self, value: float) -> ir.Register:
        """The register of a number."""
        return self.emit(("number", value), f"{value:g}", (), lambda out: ir.Number(out, value))

    def elementwise(
        self, op: str, args: tuple[ir.Register, ...], extra: tuple[float | None, ...] = ()
    ) -> ir.Register:
        """The register of an operation of each element."""
        axes = union(*(r.axes for r in args))
        return self.emit(
            ("op", op, args, extra), op, axes, lambda out: ir.Elementwise(out, op, args, extra)
        )

    def reduce(self, how: str, axis: object, arg: ir.Register) -> ir.Register:
        """The register of a reduction; the axis is one of the operand's."""
        kept = tuple(a for a in arg.axes if a != axis)
        found = next(a for a in arg.axes if a == axis)
        return self.emit(
            ("reduce", how, axis, arg), how, kept, lambda out: ir.Reduce(out, how, found, arg)
        )

    def cut(self, arg: ir.Register, flow: Flow | None = None) -> ir.Register:
        """The register of a value with its gradient cut, which may be said to be missing."""
        return self.emit(
            ("cut", arg), f"sg[{arg.name}]", arg.axes, lambda out: ir.Cut(out, arg), flow or Flow()
        )


def law_key(law: Law) -> Hashable:
    """What makes two laws one: the object; of a family whose parameters are all numbers or values
    of conditions, these.
    """
    if law.rearranged is not None:
        parts = law.rearranged.factors
        each = ((law_key(f.law), f.var, f.cond_var, f.detached) for f in parts)
        return (type(law), law.name, getattr(law, "match", None), tuple(each))
    numbers = law.numbers
    if not law.domains or not law.is_complete or {*numbers, *law.bound} != {*law.given}:
        return id(law)
    bound = {key: law.cond_var.index(name) for key, name in law.bound.items()}
    sources = (*sorted(numbers.items()), *sorted(bound.items()))
    own = (law.name, law.declared_shape, law.plate)
    return (type(law), law.moves, own, sources, len(law.cond_var))
