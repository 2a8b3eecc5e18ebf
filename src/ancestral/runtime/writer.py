"""What writing a program's text needs: names, sizes of axes, folding, inlined moves."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ancestral.core.axes import TIME, Axes, Axis
from ancestral.program import instructions as ir
from ancestral.program.versions import Versions
from ancestral.runtime.fold import fold
from ancestral.runtime.inline import Inliner
from ancestral.runtime.network import Network
from ancestral.runtime.operands import Code, Known, NotInlineError, Operand, code, qualified
from ancestral.runtime.run import ParamSet, Run
from ancestral.runtime.source import NoiseOf, Source


@dataclass
class Names:
    """The parameters of a law as names in the text: those with rows, those of event shape."""

    rows: dict[str, Operand] = field(default_factory=dict)
    fixed: dict[str, Operand] = field(default_factory=dict)


class Writer:
    """Writes one program."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.program = run.program
        self.lines: list[str] = []
        self.names: dict[ir.Register, Any] = {}
        self.bound: dict[int, tuple[str, Any]] = {}
        self.sizes: dict[Any, str] = {}
        self.noise: list[NoiseOf] = []
        self.counts: dict[str, int] = {}
        self.inputs: list[tuple[str, str]] = []
        self.states: list[tuple[str, str]] = []
        self.free_rows: dict[Any, str] = {}
        self.literal: list[tuple[Any, str]] = []
        self.networks: dict[Any, Network] = {}
        self.rounds: list[
            tuple[list[str], list[str]]
        ] = []  # of loops: names, and what they run over
        self.write: Callable[[Any], None] = lambda step: None  # writes one step
        self.inliner = Inliner(lambda: self.fresh("t"), self._emit)

    def source(self) -> Source:
        """The whole text."""
        result = self.text(self.program.result)
        sizes = self._size_lines()  # finds which sizes no input has, so that they are arguments
        args = [n for _, n in self.inputs] + [f"noise{i}" for i in range(len(self.noise))]
        args += [*self.free_rows.values(), *(n for _, n in self.states)]
        if self.states:
            kept = (self.text(self.program.kept[name]) for name, _ in self.states)
            result = f"{result}, ({''.join(f'{name}, ' for name in kept)})"
        body = fold([*sizes, *self.lines, f"return {result}"])
        inner = "\n".join(f"        {line}" for part in body for line in part.split("\n"))
        made = ", ".join(name for name, _ in self.bound.values())
        text = f"def make({made}):\n    def loss({', '.join(args)}):\n{inner}\n    return loss\n"
        return Source(
            text,
            tuple(value for _, value in self.bound.values()),
            tuple(v for v, _ in self.inputs),
            tuple(self.noise),
            tuple(self.free_rows),
            tuple(self.literal),
            tuple(self.networks.values()),
            tuple(name for name, _ in self.states),
        )

    # -- names ----------------------------------------------------------------------------------
    def fresh(self, stem: str) -> str:
        """A name that is not in use."""
        n = self.counts.get(stem, 0)
        self.counts[stem] = n + 1
        return f"{stem}{n}"

    def bind(self, stem: str, value: Any) -> str:
        """The name of something that the factory is called with."""
        if id(value) not in self.bound:
            self.bound[id(value)] = (self.fresh(stem), value)
        return self.bound[id(value)][0]

    def network(self, law: Any, keys: Sequence[str]) -> tuple[str, Network]:
        """The name of the one call into a law, and what it calls."""
        if law not in self.networks:
            self.networks[law] = Network(law, keys)
        network = self.networks[law]
        return self.bind("net", network.call), network

    def _emit(self, statement: ast.stmt) -> None:
        self.lines.append(ast.unparse(ast.fix_missing_locations(statement)))

    def assign(self, stem: str, expression: str) -> str:
        """A new name for an expression."""
        name = self.fresh(stem)
        self.lines.append(f"{name} = {expression}")
        return name

    def each(self, stem: str, over: str) -> str:
        """The name of an entry in each round of the loop that is being written."""
        name = self.fresh(stem)
        heads, items = self.rounds[-1]
        heads.append(name)
        items.append(over)
        return name

    def each_operand(self, operand: Operand, dim: int) -> Operand:
        """An operand in each round of the loop."""
        return Code(ast.Name(self.each("x", f"{literal(operand)}.unbind({dim})"), ast.Load()))

    def operand_of(self, expression: str) -> Operand:
        """An expression under a name of its own, as an operand."""
        return Code(ast.Name(self.assign("t", expression), ast.Load()))

    def text(self, register: ir.Register) -> str:
        """The name of a register's tensor."""
        found: str = self.names[register]
        return found

    def shape(self, register: ir.Register) -> tuple[int, ...]:
        """The event shape of a register, as the first batch had it."""
        value: Tensor = self.run.values[register]
        return tuple(value.shape[len(register.axes) :])

    def operand(self, register: ir.Register, axes: Axes) -> Code:
        """A register aligned to axes, with its kind."""
        value: Tensor = self.run.values[register]
        event = tuple(value.shape[len(register.axes) :])
        name = self.aligned(self.text(register), register.axes, axes, event)
        kind = (_dims(register.axes, axes), event, value.dtype)
        return Code(ast.Name(name, ast.Load()), kind)

    # -- axes -----------------------------------------------------------------------------------
    def known_size(self, axis: Axis) -> int | None:
        """The size of an axis that does not follow the batch: copies, draws, values of a table."""
        if axis.size is not None:
            return axis.size
        if axis.kind == TIME and self._carrier(axis) is None:  # the text is for this length
            return self.run.rows[axis]
        for step in self.program.steps:
            if isinstance(step, ir.Table) and axis in step.out.axes:
                rows: int = self.run.values[step.out].shape[0]
                return rows
            if isinstance(step, Versions) and axis == step.out.axes[0]:
                return self.run.rows[axis]
        return None

    def size(self, axis: Axis) -> str:
        """The size of an axis in the text: a number, or a name for the rows of a batch."""
        known = self.known_size(axis)
        if known is not None:
            return str(known)
        if axis.like is not None:
            rows = self.size(axis.like)
            return rows if axis.parts == 1 else f"({rows} // {axis.parts})"
        if axis not in self.sizes:
            self.sizes[axis] = f"n{len(self.sizes)}"
        return self.sizes[axis]

    def _size_lines(self) -> list[str]:
        out = []
        for axis, name in self.sizes.items():
            found = self._carrier(axis)
            if found is None:
                self.free_rows[axis] = name
            else:
                out.append(f"{name} = {found}")
        return out

    def _carrier(self, axis: Any) -> str | None:
        for step in self.program.steps:
            if isinstance(step, ir.Input) and axis in step.out.axes:
                return f"{self.text(step.out)}.shape[{step.out.axes.index(axis)}]"
        given = {s.out for s in self.program.steps if isinstance(s, ir.Input)}
        for step in self.program.steps:
            if isinstance(step, ir.Retime) and step.arg in given and axis in step.out.axes:
                return f"{self.text(step.arg)}.shape[{step.out.axes.index(axis)}]"
        for i, noise in enumerate(self.noise if axis.kind != TIME else ()):
            if axis in noise.axes and noise.own is None:
                return f"noise{i}.shape[{noise.axes.index(axis)}]"
        return None

    def aligned(self, name: str, have: Axes, want: Axes, event: tuple[int, ...]) -> str:
        """The text of a value with a dimension of size 1 wherever it lacks an axis."""
        found = _dims(have, want)
        if found == have:
            return name
        index = ", ".join("None" if a is None else ":" for a in found)
        return self.assign("t", f"{name}[{index}]")

    def folded(self, registers: tuple[ir.Register, ...], axes: Axes) -> list[str]:
        """Values as a network sees them: one batch axis."""
        out = []
        for r in registers:
            name, event = self.text(r), self.shape(r)
            if r.axes == axes and len(axes) == 1:
                out.append(name)
                continue
            if not axes:
                out.append(f"{name}[None]")
                continue
            if r.axes != axes:
                index = ", ".join(":" if a in r.axes else "None" for a in axes)
                sizes = ", ".join([*(self.size(a) for a in axes), *map(str, event)])
                name = f"{name}[{index}].expand({sizes})"
            if len(axes) > 1:
                name = f"{name}.flatten(0, {len(axes) - 1})"
            out.append(name)
        return out

    def unfolded(self, name: str, axes: Axes, event: tuple[int, ...]) -> str:
        """A network's output with the batch axis as several again."""
        if not axes:
            return f"{name}[0]"
        if len(axes) == 1:
            return name
        free = [a for a in axes if self.known_size(a) is None]
        sizes = ["-1" if [a] == free else self.size(a) for a in axes]
        return f"{name}.reshape({', '.join([*sizes, *map(str, event)])})"

    # -- parameters -----------------------------------------------------------------------------
    def params(self, register: ir.Register, want: Axes) -> dict[str, Operand]:
        """The parameters of a law, aligned."""
        names: Names = self.names[register]
        found: ParamSet = self.run.values[register]
        out: dict[str, Operand] = {}
        for key, operand in names.rows.items():
            value = found.rows[key]
            event = tuple(value.shape[len(register.axes) :])
            text = self.aligned(ast.unparse(code(operand)), register.axes, want, event)
            kind = (_dims(register.axes, want), event, value.dtype)
            out[key] = Code(ast.Name(text, ast.Load()), kind)
        return {**out, **names.fixed}

    def inlined(
        self, function: Callable[..., Any], args: list[Operand], named: Mapping[str, Operand]
    ) -> str:
        """The text of a move: its lines, or a call of it where it is no straight line."""
        before = len(self.lines), dict(self.counts)
        try:
            return ast.unparse(code(self.inliner.call(function, args, named)))
        except NotInlineError:
            del self.lines[before[0] :]
            self.counts = before[1]
        known = qualified(function)
        name = self.bind("move", function) if known is None else ast.unparse(known)
        told = [*map(literal, args), *(f"{k}={literal(v)}" for k, v in named.items())]
        return f"{name}({', '.join(told)})"

    def put(self, register: ir.Register, stem: str, expression: str) -> None:
        """Give a register's value a name; a name stands as it is."""
        is_name = expression.isidentifier()
        self.names[register] = expression if is_name else self.assign(stem, expression)


def _dims(have: Axes, want: Axes) -> tuple[Axis | None, ...]:
    """The axes of an aligned value, ``None`` where it has one of size 1."""
    if not have or want[len(want) - len(have) :] == have:
        return have  # what is missing in front is broadcast
    return tuple(a if a in have else None for a in want)


def literal(operand: Operand) -> str:
    """An operand as text; a dict of operands too."""
    if isinstance(operand, Known) and isinstance(operand.value, dict):
        return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in operand.value.items()) + "}"
    return ast.unparse(ast.fix_missing_locations(ast.Expression(code(operand))))


def summed(text: str, axes: int, event: int) -> str:
    """The sum over event axes, which stand last; a sign is left to the sum, which is smaller."""
    if event == 0:
        return text
    negated = ast.parse(text, mode="eval").body
    if isinstance(negated, ast.UnaryOp) and isinstance(negated.op, ast.USub):
        return f"-{summed(ast.unparse(negated.operand), axes, event)}"
    simple = isinstance(negated, (ast.Name, ast.Call, ast.Attribute, ast.Subscript))
    text = text if simple else f"({text})"
    dims = ", ".join(str(i) for i in range(axes, axes + event))
    return f"{text}.sum({dims if event == 1 else f'({dims})'})"
