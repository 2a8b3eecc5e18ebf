"""Estimators over the copies of a bound: what their instructions mean, and their text."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ancestral.core.axes import align
from ancestral.program import copies as ir
from ancestral.runtime.run import Run
from ancestral.runtime.writer import Writer


def _gate(step: ir.Gate, run: Run) -> tuple[Tensor, Tensor]:
    pair: tuple[Tensor, Tensor] = step.estimator.gate(run.values[step.arg], len(step.arg.axes))
    return pair


def _over_copies(step: ir.OverCopies, run: Run) -> Tensor:
    own = align(run.values[step.own], step.own.axes, step.log_w.axes)
    out: Tensor = step.estimator.bound(
        run.values[step.f],
        run.values[step.log_w],
        own,
        step.log_w.axes.index(step.axis),
        step.coefficient,
    )
    return out


def _text_of_gate(w: Writer, step: ir.Gate) -> None:
    name, out = w.bind("gate", step.estimator.gate), (w.fresh("z"), w.fresh("t"))
    w.lines.append(f"{', '.join(out)} = {name}({w.text(step.arg)}, {len(step.arg.axes)})")
    w.names[step.out] = out


def _text_of_over_copies(w: Writer, step: ir.OverCopies) -> None:
    name = w.bind("estimate", step.estimator.bound)
    own = w.aligned(w.text(step.own), step.own.axes, step.log_w.axes, w.shape(step.own))
    at, c = step.log_w.axes.index(step.axis), step.coefficient
    text = f"{name}({w.text(step.f)}, {w.text(step.log_w)}, {own}, {at}, {c!r})"
    w.put(step.out, "t", text)


MEANINGS: dict[type, Callable[[Any, Run], Any]] = {ir.Gate: _gate, ir.OverCopies: _over_copies}
TEXTS: dict[type, Callable[[Writer, Any], None]] = {
    ir.Gate: _text_of_gate,
    ir.OverCopies: _text_of_over_copies,
}
