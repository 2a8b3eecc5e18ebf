"""The split pass: of the steps of one time, only what the next time waits for stays in a loop.

The steps of one time are recorded first, over registers without the axis of time. Then

* a step that reads nothing that changes with time is emitted as it is, once;
* a step that waits for no carry is emitted over registers with the axis of time: networks see all
  rows and times as one batch. A draw is one for each time;
* the steps that a carry waits for, and that wait for one, are the body of a loop, and what they
  compute is stacked;
* all others come behind it, vectorised too: there a carry is the stacked sequence, shifted by one.

Equal steps are one: what the loop has computed is known to later steps by the key that it has as
a step over whole sequences, so that the parameters of a law at its own draw are those of the loop.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from ancestral.core.axes import PLAN, Axis, union
from ancestral.core.errors import OptionError
from ancestral.lowering.build import Flow
from ancestral.lowering.context import Lowering
from ancestral.program import instructions as ir
from ancestral.program import loops

Body = Mapping[ir.Register, tuple[Hashable, ir.Step]]
Moved = dict[ir.Register, ir.Register]  # a register of one time, and that of all times
Registers = dict[str, ir.Register]


@dataclass(frozen=True)
class Carried:
    """What one time hands to the next: its register before the first, inside, and after."""

    initial: ir.Register
    inner: ir.Register
    after: ir.Register


def split(
    lw: Lowering, axis: Axis, body: Body, series: Moved, carried: Sequence[Carried]
) -> Moved:
    """Emit recorded steps of one time for all times; of each its register.

    Args:
        lw: The round of lowering.
        axis: The axis of time.
        body: The recorded steps.
        series: What they read of sequences, and these.
        carried: What one time hands to the next.
    """
    work = _Split(lw, axis, body, dict(series))
    inner = [c.inner for c in carried]
    work.moving = _reached(body, [*series, *inner], draws=True)
    waiting = _reached(body, inner)
    wanted = _needed(body, [c.after for c in carried])
    loop = [s for r, (_, s) in body.items() if r in waiting and r in wanted]
    loop = _with_parts(body, loop)
    work.spread_flow(carried)
    for r in body:
        if r not in waiting:
            work.emit(r)
    if loop:
        work.scan(loop, carried)
    for c in carried:
        work.moved[c.inner] = shifted(lw, axis, work.outside(c.after), c.initial)
    for step in loop:
        if step.out in work.moved:
            lw.build.name(work.key(step.out), work.moved[step.out])
    inside = {s.out for s in loop}
    for r in body:
        if r not in work.moved and r not in inside:
            work.emit(r)
    work.move_flows()
    return work.moved


def shifted(lw: Lowering, axis: Axis, arg: ir.Register, initial: ir.Register) -> ir.Register:
    """A sequence one step later."""
    axes = union(arg.axes, initial.axes, (axis,))
    make = partial(loops.Shift, arg=arg, initial=initial, axis=axis)
    return lw.build.emit(("shift", arg, initial), f"{arg.name} before", axes, make)


class _Split:
    """The state of one split."""

    def __init__(self, lw: Lowering, axis: Axis, body: Body, moved: Moved) -> None:
        self.lw, self.axis, self.body, self.moved = lw, axis, body, moved
        self.moving: set[ir.Register] = set()

    def outside(self, register: ir.Register) -> ir.Register:
        """The register of all times; of what does not change with time itself."""
        return self.moved.get(register, register)

    def key(self, register: ir.Register) -> Hashable:
        """The key that a step has outside of the loop."""
        key: Hashable = _mapped(self.body[register][0], self.moved)
        return key

    def emit(self, register: ir.Register) -> None:
        """Emit one step for all times."""
        step, flow = self.body[register][1], self.lw.build.flow[register]
        if isinstance(step, loops.Scan) and register in self.moving:
            raise OptionError(
                "a sequence law stands inside of a step of another loop over time. Chain one law "
                "of both, Sequence(p * q, ...), or take it out of the step."
            )
        out, changes = register, _changes(step, self.moved)
        if register in self.moving or changes:
            grows = register in self.moving and not isinstance(step, ir.Table)
            out = replace(register, axes=union(register.axes, (self.axis,) if grows else ()))
            step = replace(step, out=out, **changes)
        self.moved[register] = self.lw.build.adopt(self.key(register), step, flow)

    def scan(self, loop: Sequence[ir.Step], carried: Sequence[Carried]) -> None:
        """Emit the loop, and each of its registers stacked."""
        own = {s.out for s in loop} | {c.inner for c in carried}
        read = dict.fromkeys(r for s in loop for r in s.operands if r not in own)
        read |= dict.fromkeys(c.after for c in carried if c.after not in own)
        series = tuple((self.moved[r], r) for r in read if r in self.moving or r in self.moved)
        series = tuple((a, b) for a, b in series if a is not b)
        steps = tuple(replace(s, time=self.axis) if isinstance(s, ir.Draw) else s for s in loop)
        carries = tuple(loops.Carry(c.initial, c.inner, c.after) for c in carried)
        kept = tuple(s.out for s in loop if not isinstance(s, ir.Transform))
        axes = union(*(r.axes for r in own), (self.axis,))
        scan = loops.Scan(ir.Register("loop", axes), self.axis, carries, series, steps, kept)
        flow = Flow()
        for r in own:
            flow = flow | self.lw.build.flow[r]
        self.lw.build.adopt(("scan", scan.out), scan, flow)
        for r in kept:
            out = ir.Register(r.name, union(r.axes, (self.axis,)))
            stacked = loops.Stacked(out, scan.out, r)
            key = ("stacked", scan.out, r)
            self.moved[r] = self.lw.build.adopt(key, stacked, self.lw.build.flow[r])

    def spread_flow(self, carried: Sequence[Carried]) -> None:
        """Let the gradient of a carry come from all that the step before computed it from."""
        flows = self.lw.build.flow
        for _ in carried:
            for c in carried:
                behind = flows[c.after]
                for r in (c.inner, *_reached(self.body, [c.inner])):
                    flows[r] = flows[r] | behind

    def move_flows(self) -> None:
        """Let what is known of draws, and of those of flows, be known of them at all times."""
        for name, register in self.lw.noise.items():
            self.lw.noise[name] = self.moved.get(register, register)
        for (x, fn, given), (z, log_det) in list(self.lw.drawn.items()):
            if x in self.moved and z in self.moved and log_det in self.moved:
                pair = self.moved[z], self.moved[log_det]
                given = tuple(self.moved.get(r, r) for r in given)
                self.lw.drawn[self.moved[x], fn, given] = pair
        for parts, whole in list(self.lw.whole.items()):
            if whole in self.moved:
                moved = tuple(self.moved.get(r, r) for r in parts)
                self.lw.whole[moved] = self.moved[whole]


def _reached(body: Body, first: Iterable[ir.Register], *, draws: bool = False) -> set[ir.Register]:
    """What is computed from some registers; with ``draws`` also from any draw."""
    found = set(first)
    for register, (_, step) in body.items():
        if not found.isdisjoint(step.operands) or (draws and isinstance(step, ir.Draw)):
            found.add(register)
    return found & set(body)


def _needed(body: Body, last: Iterable[ir.Register]) -> set[ir.Register]:
    """What some registers are computed from, and they themselves."""
    found = set(last)
    for register, (_, step) in reversed(list(body.items())):
        if register in found:
            found.update(step.operands)
    return found


def _with_parts(body: Body, loop: list[ir.Step]) -> list[ir.Step]:
    """The steps of a loop with both parts of each bijection's pair, which is not stacked."""
    pairs = {s.out for s in loop if isinstance(s, ir.Transform)}
    inside = {s.out for s in loop}
    return [
        s
        for r, (_, s) in body.items()
        if r in inside or (isinstance(s, ir.Part) and s.pair in pairs)
    ]


def _changes(step: ir.Step, moved: Mapping[ir.Register, ir.Register]) -> dict[str, Any]:
    """The fields of a step in which registers are replaced."""
    old = {f.name: getattr(step, f.name) for f in fields(step) if f.name != "out"}
    new = {name: _mapped(value, moved) for name, value in old.items()}
    return {name: value for name, value in new.items() if value != old[name]}


def _mapped(value: Any, moved: Mapping[ir.Register, ir.Register]) -> Any:
    """A key, or a field of a step, with registers replaced."""
    if isinstance(value, ir.Register):
        return moved.get(value, value)
    return tuple(_mapped(v, moved) for v in value) if type(value) is tuple else value


def pruned(steps: Sequence[ir.Step], wanted: Iterable[ir.Register]) -> list[ir.Step]:
    """A program's steps without views, stacks and tables that nothing reads.

    Args:
        steps: The steps in order.
        wanted: The registers that are asked for.
    """
    read = set(wanted)
    kept: list[ir.Step] = []
    for step in reversed(steps):
        if step.out not in read and (isinstance(step, VIEWS) or _is_table(step)):
            continue
        if isinstance(step, loops.Stacked):
            read.add(step.inner)
        if isinstance(step, loops.Scan):
            step = replace(step, outputs=tuple(r for r in step.outputs if r in read))
        read.update(step.operands)
        kept.append(step)
    return kept[::-1]


def _is_table(step: ir.Step) -> bool:
    """Whether a step puts values of enumerated variables together."""
    return isinstance(step, TABLES) and any(a.kind == PLAN and not a.size for a in step.out.axes)


TABLES = (ir.Elementwise, ir.Linear, ir.Reduce, ir.Density)
VIEWS = (ir.Retime, loops.Clock, loops.Shift, loops.Initial, loops.Stacked, loops.Keep)
