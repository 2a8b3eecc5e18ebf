"""A program as text: each step on a line, each draw by name and who reads it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from ancestral.distributions.base import prob_text
from ancestral.printing.dialect import number, printable
from ancestral.program import baselines, chains, copies, layers, loops, versions
from ancestral.program import instructions as ir
from ancestral.program.listed import ListedDensity
from ancestral.program.relaxed import Relaxed, RelaxedDensity

NAMED = (  # steps whose results have names of their own
    ir.Input, ir.Draw, ir.Pick, ir.Table, chains.State, chains.Start, chains.Choose, chains.Recall,
    chains.Chain, layers.LayerNoise,
)  # fmt: skip


def listing(program: ir.Program) -> str:
    """The steps of a program in order."""
    names = Names(program)
    readers: dict[ir.Register, list[str]] = {}
    for _, step in walk(program.steps):
        for r in ir.Program.operands(step):
            readers.setdefault(r, []).append(names[step.out])
        if isinstance(step, loops.Stacked):
            readers.setdefault(step.inner, []).append(names[step.out])
        for c in step.carries if isinstance(step, loops.Scan) else ():
            readers.setdefault(c.after, []).append(names[c.inner])
    rows = []
    for depth, step in walk(program.steps):
        if isinstance(step, ir.Input):
            kind = "scalar" if not step.out.axes else "data"
        else:
            kind = "plug-in" if step.out in program.plug_in else ""
            kind = "gradient-only" if step.out in program.gradient_only else kind
        what = LINES[type(step)](step, names)
        axes = f"({','.join(printable(a.name) for a in step.out.axes)})" if step.out.axes else ""
        if isinstance(step, (ir.Draw, ir.Table, chains.Chain)):
            kind = "-> " + ", ".join(dict.fromkeys(readers.get(step.out, ["nobody"])))
        is_drawn = isinstance(step, (ir.Draw, chains.Chain, chains.Start, layers.LayerNoise))
        sign = "~" if is_drawn else "="
        rows.append(("  " * depth + names[step.out], sign, what, axes, kind))
    widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 2, 3)]
    lines = [
        f"{name:<{widths[0]}} {sign} {what:<{widths[1]}}  {axes:<{widths[2]}}  {kind}".rstrip()
        for name, sign, what, axes, kind in rows
    ]
    told = program.gradient_only.get(program.result)
    end = f"return {names[program.result]}" + (f", gradient-only: {told}" if told else "")
    kept = [f"state.{printable(n)} = {names[r]}" for n, r in program.kept.items()]
    return "\n".join([*lines, *kept, end])


def walk(steps: Sequence[ir.Step], depth: int = 0) -> Iterator[tuple[int, ir.Step]]:
    """All steps, those of a loop's body behind the loop, with how deep they stand in loops."""
    for step in steps:
        yield depth, step
        if isinstance(step, loops.Scan):
            yield from walk(step.body, depth + 1)


class Names:
    """A name for each register: of variables their own, of terms ``t`` with a number; and each
    law under the names of the registers that it is given.
    """

    def __init__(self, program: ir.Program) -> None:
        self._names: dict[ir.Register, str] = {}
        self._short: dict[ir.Register, str] = {}  # how it stands in a law: ``sg[z]``, ``1``
        self._laws: dict[ir.Register, tuple[str, list[str]]] = {}
        taken: set[str] = set()
        count = 0
        for _, step in walk(program.steps):
            self._of_time(step)
            of_value = isinstance(step, ir.Part) and step.index == 0
            if of_value or isinstance(step, NAMED):
                name = printable(step.out.name)
            elif isinstance(step, (ir.Retime, loops.Initial, loops.Stacked)):
                name = self._name_of_time(step)
            elif isinstance(step, ir.Params):
                name = printable(f"θ_{step.out.name}")
                given = [self.short(r) for r in step.conditions]
                self._laws[step.out] = printable(program.laws[step.law].name), given
            elif isinstance(step, ir.Experts):
                name = printable(f"θ_{step.out.name}")
                given = [printable(g) for g in step.given]
                self._laws[step.out] = printable(program.laws[step.law].name), given
            else:
                count += 1
                name = f"t{count}"
            if isinstance(step, ir.Again) and step.arg in self._laws:
                self._laws[step.out] = self._laws[step.arg]
            if isinstance(step, ir.Cut) and step.arg in self._laws:
                cut, given = self._laws[step.arg]
                self._laws[step.out] = f"sg[{cut}]", given
            base, i = name, 1
            while name in taken:
                i += 1
                name = f"{base}'{i}"
            taken.add(name)
            self._names[step.out] = name
            if isinstance(step, ir.Number):
                self._short[step.out] = LINES[ir.Number](step, self)
            elif isinstance(step, ir.Shown):
                self._short[step.out] = self.short(step.arg)
            elif isinstance(step, ir.Cut):
                self._short[step.out] = f"sg[{self.short(step.arg)}]"

    def _of_time(self, step: ir.Step) -> None:
        """Name what the body of a loop reads, which no step has made, and laws of all steps."""
        if isinstance(step, loops.Stacked) and step.inner in self._laws:
            self._laws[step.out] = self._laws[step.inner]
        if not isinstance(step, loops.Scan):
            return
        for r in [c.inner for c in step.carries] + [inner for _, inner in step.series]:
            self._names.setdefault(r, printable(r.name))
        self._laws.update({r: self._laws[o] for o, r in step.series if o in self._laws})

    def _name_of_time(self, step: ir.Retime | loops.Initial | loops.Stacked) -> str:
        if isinstance(step, loops.Stacked):
            return f"[{self._names[step.inner]}]"
        return printable(step.out.name)

    def __getitem__(self, register: ir.Register) -> str:
        """The name of a register."""
        return self._names[register]

    def short(self, register: ir.Register) -> str:
        """The name of a register in a law; of a number itself."""
        return self._short.get(register, self._names[register])

    def law(self, params: ir.Register, var: Sequence[str]) -> str:
        """A law by the register of its parameters: ``q(z|x)``."""
        name, given = self._laws[params]
        return prob_text(name, [printable(v) for v in var], given)


def _divergence(step: ir.Closed, names: Names) -> str:
    laws = [names.law(r, [step.var]) for r in step.params]
    return f"{'KL' if step.which == 'kl' else 'H'}[{' || '.join(laws)}], closed form"


def _grows(step: ir.Retime) -> bool:
    return len(step.out.axes) > len(step.arg.axes)


def _list(registers: tuple[ir.Register, ...], names: Names) -> str:
    return ", ".join(names[r] for r in registers)


def _draw(step: ir.Draw, names: Names) -> str:
    law = names.law(step.params, [step.var])
    if step.through is not None:
        told = number(step.through)
        if isinstance(step, Relaxed):
            return f"{law}, relaxed at temperature {told} (biased)"
        return f"{law}, gradient of its relaxation at temperature {told} (biased)"
    return law + (", gradient cut" if step.cut else "")


def _transform(step: ir.Transform, names: Names) -> str:
    f = f"f{'⁻¹' if step.inverse else ''} of {step.text}"
    given = "" if step.context is None else f" given {names[step.context]}"
    return f"{f} at {names[step.arg]}{given}, with log|det|" + (
        ", parameters cut" if step.cut else ""
    )


def _again(step: ir.Again, names: Names) -> str:
    part = (
        f"part {step.part + 1} of {step.new.parts} of the rows of " if step.new.parts > 1 else ""
    )
    return f"{part}{names[step.arg]} along {printable(step.new.name)}"


def _linear(step: ir.Linear, names: Names) -> str:
    out = ""
    for c, r in step.terms:
        sign = ("-" if c < 0 else "") if not out else (" - " if c < 0 else " + ")
        out += sign + ("" if abs(c) == 1.0 else number(abs(c)) + " ") + names[r]
    if step.bias:
        out += (" - " if step.bias < 0 else " + ") + number(abs(step.bias))
    return out


def _elementwise(step: ir.Elementwise, names: Names) -> str:
    args = _list(step.args, names)
    extra = "".join(f", {'none' if e is None else number(e)}" for e in step.extra)
    return f"{step.op}({args}{extra})"


def _chain(step: chains.Chain, names: Names) -> str:
    told = f"{step.text} by {step.sampler.steps} steps of {step.sampler}"
    return f"{told} from {names[step.start]} (biased), gradient cut"


def _recall(step: chains.Recall, names: Names) -> str:
    told = f"entries {names[step.index]} of {names[step.state]}"
    if step.fresh is None:
        return told
    return f"{told}, or with probability {number(step.share)} {names[step.fresh]}"


def _scan(step: loops.Scan, names: Names) -> str:
    carries = [f"{c.inner.name} from {names[c.initial]}" for c in step.carries]
    return f"for {step.axis.name}, carrying {', '.join(map(printable, carries))}:"


def _baselined(step: baselines.Baselined, names: Names) -> str:
    f = names[step.f]
    told = f"{f} with {step.estimator} gradient by {names[step.log_q]}"
    told += ", over the deviation (biased)" if step.estimator.biased else ""
    if step.learned is None:
        return told
    b = names[step.learned]
    return f"{told}, and 0 with that of ({f} - {b} - m)² by {b}"


LINES: dict[type, Callable[[Any, Names], str]] = {
    ir.Input: lambda s, n: "given",
    ir.Number: lambda s, n: number(s.value.item() if isinstance(s.value, Tensor) else s.value),
    ir.Params: lambda s, n: f"parameters of {n.law(s.out, s.var)}",
    ir.Pick: lambda s, n: f"{s.key} of {n[s.params]}",
    ir.Draw: _draw,
    Relaxed: _draw,
    ir.Table: lambda s, n: f"every value under {n.law(s.params, [s.out.name])}",
    ir.Density: lambda s, n: f"log {n.law(s.params, [n.short(s.value)])}",
    ListedDensity: lambda s, n: f"log {n.law(s.params, [n.short(s.value)])}",
    RelaxedDensity: lambda s, n: f"log {n.law(s.params, [n.short(s.value)])}",
    ir.Closed: _divergence,
    ir.Call: lambda s, n: f"{s.text}",
    ir.Transform: _transform,
    ir.Part: lambda s, n: f"{s.called[s.index]} of {n[s.pair]}",
    ir.Interact: lambda s, n: f"{n[s.points]} and log q by {s.plan}",
    ir.Slope: lambda s, n: f"{s.text}",
    ir.Push: lambda s, n: f"{s.text}",
    ir.PushBoth: lambda s, n: f"{s.text}, with the value",
    ir.Elementwise: _elementwise,
    ir.Linear: _linear,
    ir.Reduce: lambda s, n: f"{s.how} over {printable(s.axis.name)} of {n[s.arg]}",
    ir.Present: lambda s, n: f"entry {s.column + 1} of {n[s.mask]}",
    ir.Shown: lambda s, n: f"{n[s.arg]} where {n[s.present]}",
    ir.LeftOut: lambda s, n: f"{n[s.arg]} where {n[s.present]}, else 0",
    ir.Experts: lambda s, n: f"parameters of {n.law(s.out, s.var)} from {_list(s.params, n)}",
    ir.Again: _again,
    ir.TakeApart: lambda s, n: (
        f"entries of {n[s.arg]} by a permutation of rows for each (biased)"
        if s.permuted
        else f"entries of {n[s.arg]} from different rows"
    ),
    ir.Distinct: lambda s, n: (
        f"mean over different {', '.join(printable(a.name) for a in s.over)} of {n[s.arg]}"
        + (f", {printable(s.over[0].name)} kept" if s.keep else "")
    ),
    ir.Norm: lambda s, n: f"{'squared ' if s.squared else ''}norm of {n[s.arg]}",
    ir.Scalar: lambda s, n: f"{n[s.arg]}, one number per row",
    ir.Cut: lambda s, n: f"sg[{n[s.arg]}]",
    ir.Retime: lambda s, n: f"{n[s.arg]}, {'step by step' if _grows(s) else 'all steps'}",
    loops.Initial: lambda s, n: f"{s.text}" if s.arg is None else f"{n[s.arg]}, for each row",
    loops.Shift: lambda s, n: f"{n[s.initial]}, then {n[s.arg]} but the last",
    loops.Keep: lambda s, n: f"{n[s.arg]} where {n[s.mask]}, else {number(s.fill)}",
    loops.Last: lambda s, n: f"the last of {n[s.arg]}",
    loops.Length: lambda s, n: "how many steps there are",
    loops.Clock: lambda s, n: "0, 1, ... of the steps",
    loops.Prefix: lambda s, n: f"the first {s.axis.size} steps of {n[s.arg]}",
    loops.Slices: lambda s, n: f"{s.text}, step by step",
    loops.Scan: _scan,
    loops.Stacked: lambda s, n: f"{n[s.inner]} of all steps",
    chains.Unnormalised: lambda s, n: f"-{n[s.arg]}, log {s.text} without its constant",
    chains.State: lambda s, n: f"what the last step left of {s.text}",
    chains.Start: lambda s, n: f"{s.text}",
    chains.Choose: lambda s, n: f"different entries of {n[s.state]}, by chance",
    chains.Recall: _recall,
    chains.Chain: _chain,
    chains.Store: lambda s, n: f"{n[s.state]} with {n[s.value]} at {n[s.index]}",
    ir.Surrogate: lambda s, n: f"{n[s.f]} with {s.estimator} gradient by {n[s.log_q]}",
    baselines.Baselined: _baselined,
    baselines.Moved: lambda s, n: (
        f"{n[s.moments]} moved to the mean of {n[s.f]}"
        + ("" if s.learned is None else f" - {n[s.learned]}")
    ),
    copies.Gate: lambda s, n: f"{n[s.arg]}, its gradient scaled by {s.estimator}",
    copies.OverCopies: lambda s, n: (
        f"{n[s.f]} with {s.estimator} gradient by {n[s.own]}, weights {n[s.log_w]}"
    ),
    layers.Spread: lambda s, n: (
        f"{n.law(s.params, [s.var])}, layer by layer: {type(s.estimator).__name__}"
    ),
    layers.LayerNoise: lambda s, n: f"normal noise of layers, {s.width} numbers for each row",
    layers.LayerParams: lambda s, n: (
        f"parameters of {n.law(s.out, s.var)}, layers drawn by {n[s.noise]}"
    ),
    versions.Versions: lambda s, n: f"{n.law(s.params, [s.var])}, for {s.estimator}",
    versions.Plain: lambda s, n: f"{n[s.arg]}, at the draw itself",
    versions.Weighed: lambda s, n: (
        f"{n[s.f]} at the draw, with {type(s.estimator).__name__} gradient by {n[s.weights]}"
    ),
    ir.Several: lambda s, n: f"({', '.join(n[r] for r in s.args)})",
}
