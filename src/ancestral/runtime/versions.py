"""Integrands at several versions of a draw: what their instructions mean, and their text."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from ancestral.core.axes import align
from ancestral.distributions.noise import kinds
from ancestral.program import versions as ir
from ancestral.program.instructions import Register
from ancestral.runtime.drawing import noise_in_text
from ancestral.runtime.draws import noise_and_params
from ancestral.runtime.operands import Known
from ancestral.runtime.run import Run
from ancestral.runtime.writer import Writer, literal


def _versions(step: ir.Versions, run: Run) -> tuple[Tensor, Tensor]:
    law, (axis, *rest) = run.program.laws[step.law], step.out.axes
    moves = step.estimator.moves(law.moves)
    noise, params = noise_and_params(step, run, tuple(rest), moves)
    in_order = [noise[part] for part in kinds(moves)] if isinstance(noise, dict) else [noise]
    pair: tuple[Tensor, Tensor] = step.estimator.versions(law.moves, params, len(rest), *in_order)
    run.rows[axis] = pair[0].shape[0]
    return pair


def _plain(step: ir.Plain, run: Run) -> Tensor:
    value: Tensor = run.values[step.arg]
    return value.select(step.arg.axes.index(step.axis), 0)


def _weighed(step: ir.Weighed, run: Run) -> Tensor:
    weights = align(run.values[step.weights], step.weights.axes, step.f.axes)
    at = step.f.axes.index(step.axis)
    out: Tensor = step.estimator.weigh(run.values[step.f], weights, at)
    return out


def _text_of_versions(w: Writer, step: ir.Versions) -> None:
    law, estimator = w.program.laws[step.law], step.estimator
    moves, axes = estimator.moves(law.moves), step.out.axes[1:]
    bare = replace(step, out=Register(step.out.name, axes))
    params = w.params(step.params, axes)
    by = SimpleNamespace(moves=moves)
    noise = [
        literal(noise_in_text(w, bare, by, part, kind, params))
        for part, kind in kinds(moves).items()
    ]
    name = w.bind("versions", partial(estimator.versions, law.moves))
    out = (w.fresh("z"), w.fresh("t"))
    call = f"{name}({literal(Known(params))}, {len(axes)}, {', '.join(noise)})"
    w.lines.append(f"{', '.join(out)} = {call}")
    w.names[step.out] = out


def _text_of_plain(w: Writer, step: ir.Plain) -> None:
    at = step.arg.axes.index(step.axis)
    w.put(step.out, "z", f"{w.text(step.arg)}" + (f".select({at}, 0)" if at else "[0]"))


def _text_of_weighed(w: Writer, step: ir.Weighed) -> None:
    name = w.bind("weigh", step.estimator.weigh)
    weights = w.aligned(w.text(step.weights), step.weights.axes, step.f.axes, ())
    w.put(step.out, "t", f"{name}({w.text(step.f)}, {weights}, {step.f.axes.index(step.axis)})")


MEANINGS: dict[type, Callable[[Any, Run], Any]] = {
    ir.Versions: _versions,
    ir.Plain: _plain,
    ir.Weighed: _weighed,
}
TEXTS: dict[type, Callable[[Writer, Any], None]] = {
    ir.Versions: _text_of_versions,
    ir.Plain: _text_of_plain,
    ir.Weighed: _text_of_weighed,
}
