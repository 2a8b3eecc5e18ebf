"""Baselines that steps hand on: what their instructions mean, and their text."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ancestral.core.axes import align
from ancestral.program import baselines as ir
from ancestral.program.instructions import Register
from ancestral.runtime.run import Run
from ancestral.runtime.writer import Writer


def _aligned(run: Run, register: Register | None, f: Register) -> Tensor | None:
    return None if register is None else align(run.values[register], register.axes, f.axes)


def _baselined(step: ir.Baselined, run: Run) -> Tensor:
    out: Tensor = step.estimator.with_moments(
        run.values[step.f],
        _aligned(run, step.log_q, step.f),
        run.values[step.moments],
        _aligned(run, step.learned, step.f),
    )
    return out


def _moved(step: ir.Moved, run: Run) -> Tensor:
    learned = _aligned(run, step.learned, step.f)
    out: Tensor = step.baseline.moved(run.values[step.moments], run.values[step.f], learned)
    return out


def _text(w: Writer, register: Register | None, f: Register) -> str:
    if register is None:
        return "None"
    return w.aligned(w.text(register), register.axes, f.axes, ())


def _text_of_baselined(w: Writer, step: ir.Baselined) -> None:
    name = w.bind("estimate", step.estimator.with_moments)
    given = (_text(w, step.log_q, step.f), w.text(step.moments), _text(w, step.learned, step.f))
    w.put(step.out, "t", f"{name}({w.text(step.f)}, {', '.join(given)})")


def _text_of_moved(w: Writer, step: ir.Moved) -> None:
    name = w.bind("moved", step.baseline.moved)
    learned = _text(w, step.learned, step.f)
    w.put(step.out, "t", f"{name}({w.text(step.moments)}, {w.text(step.f)}, {learned})")


MEANINGS: dict[type, Callable[[Any, Run], Any]] = {ir.Baselined: _baselined, ir.Moved: _moved}
TEXTS: dict[type, Callable[[Writer, Any], None]] = {
    ir.Baselined: _text_of_baselined,
    ir.Moved: _text_of_moved,
}
