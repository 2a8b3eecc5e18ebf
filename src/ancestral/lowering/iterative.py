"""The rule for a loss that is summed over steps: its step is recorded, and split.

Time is the first axis of a series outside and inside: outside it stands for rows, and what is
behind it for the event, so that a network over a whole series sees it as it is.
"""

from dataclasses import replace
from functools import partial

from ancestral.core.axes import ROW, Axes, Axis, union
from ancestral.core.errors import GradientError, OptionError, ScopeError
from ancestral.losses.iterative import IterativeLoss
from ancestral.losses.node import Neg, Reduce
from ancestral.losses.prob import Expectation
from ancestral.lowering.build import LOSS, NUMBER, Flow, Sum
from ancestral.lowering.context import Lowering, Scope
from ancestral.lowering.scan import Body, Carried, Moved, Registers, split
from ancestral.printing import loss as loss_text
from ancestral.program import instructions as ir
from ancestral.program import loops


def iterative(lw: Lowering, node: IterativeLoss, scope: Scope) -> Sum:
    """The sum over all steps."""
    axis = lw.loops[node.series[0]] if node.series else Axis("t", ROW, node.max_iter, age=1)
    if node.series and node.max_iter is not None:
        axis = replace(axis, size=node.max_iter)
    row = _row_axis(lw, scope)
    outside = {n: _series(lw, n, scope, axis, row) for n in node.series if n not in node.whole}
    outside |= _slices(lw, node, scope, axis, row)
    mask = None if node.mask is None else _series(lw, node.mask, scope, axis, row)
    clock = lw.build.emit(("clock", axis), "t", (axis,), lambda out: loops.Clock(out, axis))
    outside |= dict.fromkeys(node.timestep, clock)
    first = {name: lw.value(alias, scope) for name, alias in node.update}
    step = _Step(lw, node, scope, row)
    result, body, carried, series = step.record(outside, first, mask, axis)
    moved = split(lw, axis, body, series, carried)
    for (_, alias), c in zip(node.update, carried, strict=True):
        lw.bound[alias] = _last(lw, axis, moved.get(c.after, c.after))
    total = moved.get(result, result)
    if axis in total.axes:
        return Sum({lw.build.reduce("sum", axis, total): 1.0})
    count = lw.build.emit(("length", axis), "T", (), lambda out: loops.Length(out, axis))
    return Sum({lw.build.elementwise("mul", (count, total)): 1.0})


def _row_axis(lw: Lowering, scope: Scope) -> Axis:
    found = [a for a in lw.plates.values() if a not in lw.loops.values()]
    return found[0] if found else Axis("n", ROW)


def _series(lw: Lowering, name: str, scope: Scope, axis: Axis, row: Axis) -> ir.Register:
    """A series by its steps and rows, the steps that the loop makes."""
    whole = _timed(lw, lw.value(name, scope), lw.loops.get(name, axis), row)
    if axis in whole.axes:
        return whole
    make = partial(loops.Prefix, arg=whole, axis=axis)
    return lw.build.emit(("prefix", whole, axis), whole.name, (axis, row), make)


def _slices(lw: Lowering, node: IterativeLoss, scope: Scope, axis: Axis, row: Axis) -> Registers:
    """What the law of ``slice_step`` takes from whole series in each step."""
    if not node.whole or not isinstance(node.step, Expectation):
        return {}
    (factor,) = node.step.law.factors
    given = {
        own: None if c in node.timestep else _timed(lw, lw.value(c, scope), lw.loops[c], row)
        for own, c in zip(factor.law.cond_var, factor.cond_var, strict=True)
    }
    args, slot = tuple(given.items()), lw.build.law_slot(factor.law)
    flow = Flow(frozenset({("law", slot)}))
    for register in given.values():
        flow = flow if register is None else flow | lw.build.flow[register]
    make = partial(loops.Slices, law=slot, args=args, axis=axis, text=lw.label(factor, scope))
    all_of = lw.build.emit(("slices", slot, args), factor.law.name, (axis, row), make, flow)
    found: Registers = {}
    for own, var in zip(factor.law.var, factor.var, strict=True):
        pick = partial(ir.Pick, params=all_of, key=own)
        register = lw.build.emit(("pick", all_of, own), var, all_of.axes, pick)
        found[var] = lw.build.cut(register) if factor.detached else register
    return found


def _timed(lw: Lowering, register: ir.Register, axis: Axis, row: Axis) -> ir.Register:
    """A series by its steps and rows: the same tensor."""
    if axis in register.axes and row in register.axes:
        return register
    axes = union(register.axes, (axis, row))
    make = partial(ir.Retime, arg=register)
    return lw.build.emit(("retime", register, axes), f"{register.name}_t", axes, make)


def _last(lw: Lowering, axis: Axis, register: ir.Register) -> ir.Register:
    """What the last step hands on."""
    if axis not in register.axes:
        return register
    axes = tuple(a for a in register.axes if a != axis)
    make = partial(loops.Last, arg=register, axis=axis)
    return lw.build.emit(("last", register), register.name, axes, make)


class _Step:
    """The recording of one step."""

    def __init__(self, lw: Lowering, node: IterativeLoss, scope: Scope, row: Axis) -> None:
        self.lw, self.node, self.scope, self.row = lw, node, scope.below(node, 0), row

    def record(
        self, outside: Registers, first: Registers, mask: ir.Register | None, axis: Axis
    ) -> tuple[ir.Register, Body, list[Carried], Moved]:
        """The loss of one step, what was recorded, what is carried, and what it reads of series."""
        series = {n: self._inner(n, r, axis) for n, r in outside.items()}
        inner_mask = None if mask is None else self._inner("mask", mask, axis)
        aliases, axes = dict(self.node.update), {n: r.axes for n, r in first.items()}
        before = self.lw.ledger.copied()
        while True:  # what is carried has the axes of all that it is computed from
            self.lw.ledger.records = [replace(r, users=list(r.users)) for r in before]
            inner = {n: ir.Register(aliases[n], axes[n]) for n in first}
            for n, r in inner.items():
                self.lw.build.flow[r] = self.lw.build.flow[first[n]]
            with self.lw.build.recording() as body:
                self.lw.drawn_as.clear()
                values = {**series, **{aliases[n]: r for n, r in inner.items()}}
                result = self._lower(values, inner_mask)
            after = {n: self._drawn(n) for n in first}
            self._check_sums(body, after)
            wider = {n: union(axes[n], after[n].axes) for n in first}
            if wider == axes:
                break
            axes = wider
        carried = [
            Carried(self._first(first[n], axes[n], aliases[n]), inner[n], after[n]) for n in first
        ]
        seen = {series[n]: r for n, r in outside.items()}
        if mask is not None and inner_mask is not None:
            seen[inner_mask] = mask
        return result, body, carried, seen

    def _check_sums(self, body: Body, after: Registers) -> None:
        """Raise if what is handed on depends on values that the step enumerates: the next step has
        values of its own, for each of these.
        """
        every = {
            a for _, step in body.values() if isinstance(step, ir.Table) for a in step.out.axes
        }
        for name, register in after.items():
            if every & set(register.axes):
                raise OptionError(
                    f"Enumerate() for {loss_text.text(self.node)}: {name} is handed on, so that "
                    "each step would see the values of all steps before it. Write the chain as a "
                    "product of laws, E(q_1 * q_2 * q_3, ...), or its likelihood, "
                    "p.marginalize_var([...]).log_prob(), which are exact in linear cost."
                )

    def _inner(self, name: str, register: ir.Register, axis: Axis) -> ir.Register:
        inner = ir.Register(name, tuple(a for a in register.axes if a != axis))
        self.lw.build.flow[inner] = self.lw.build.flow[register]
        return inner

    def _first(self, register: ir.Register, axes: Axes, name: str) -> ir.Register:
        """What is carried into the first step, with the axes that it gets on the way."""
        if register.axes == axes:
            return register
        text = ir.Label(lambda: f"{name} before the first step")
        make = partial(loops.Initial, law=-1, key="", arg=register, var=name, text=text)
        flow = self.lw.build.flow[register]
        return self.lw.build.emit(("initial", register, axes), name, axes, make, flow)

    def _lower(self, values: Registers, mask: ir.Register | None) -> ir.Register:
        bound = {
            n: Sum({r: 1.0}, kind=NUMBER if n in self.node.timestep else LOSS)
            for n, r in values.items()
        }
        rows = {n: frozenset({self.row}) for n, r in values.items() if self.row in r.axes}
        scope = replace(
            self.scope,
            values={**self.scope.values, **bound},
            rows={**self.scope.rows, **rows},
            depth=self.scope.depth + 1,
        )
        step, sign = self.node.step, 1.0
        if self.node.whole and isinstance(step, Expectation):  # its draws are among the values
            step, scope = step.body, scope.below(step, 0)
        while mask is not None and isinstance(step, Neg):
            step, sign, scope = step.arg, -sign, scope.below(step, 0)
        reduced = step if mask is not None and isinstance(step, Reduce) else None
        if reduced is not None and reduced.axis is None:
            step, scope = reduced.arg, scope.below(reduced, 0)
        register = self.lw.scalar(step, self.lw.lower(step, scope))
        if mask is not None:
            register = self._kept(register, mask)
        if reduced is not None and reduced.axis is None:
            register = self.lw.build.reduce(reduced.how, self.row, register)
        return self.lw.build.register(Sum({register: sign}))

    def _kept(self, register: ir.Register, mask: ir.Register) -> ir.Register:
        """The terms of the rows that count."""
        if self.row not in register.axes:
            raise ScopeError(
                f"{loss_text.text(self.node)}: mask={self.node.mask!r} chooses rows, but the step "
                "has none left. Write .mean() outermost in the step, or around IterativeLoss."
            )
        text = ir.Label(lambda: f"the mask {self.node.mask}")
        make = partial(loops.Keep, arg=register, mask=mask, fill=0.0, text=text)
        key, flow = ("keep", register, mask, 0.0, False), self.lw.build.flow[register]
        return self.lw.build.emit(key, register.name, register.axes, make, flow)

    def _drawn(self, name: str) -> ir.Register:
        """The draw of a name in the step.

        Raises:
            ScopeError: If there are two.
            GradientError: If no gradient goes through it.
        """
        found = list(dict.fromkeys(self.lw.drawn_as.get(name, [])))
        if len(found) != 1:
            raise ScopeError(
                f"{loss_text.text(self.node)}: update_value hands {name!r} on, but the step makes "
                f"{len(found)} draws of it, so that it is not said which. Draw it once, in one "
                "expectation around all that reads it."
            )
        if self.lw.build.flow[found[0]].cuts:
            raise GradientError(
                f"{loss_text.text(self.node)}: {name} is handed on, and its draw has no pathwise "
                "derivative, so that later steps would have no gradient through it. Write the law "
                "of the sequence, Sequence(law, carry=...), whose score is that of all steps."
            )
        return found[0]
