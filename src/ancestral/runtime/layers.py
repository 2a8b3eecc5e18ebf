"""Weights that are drawn layer by layer: what their instructions mean, and their text."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ancestral.core.rng import NOISE, blank
from ancestral.distributions.layer_weights import LayerWeights
from ancestral.program import layers as ir
from ancestral.runtime.drawing import noise_in_text
from ancestral.runtime.draws import noise_and_params
from ancestral.runtime.operands import Known
from ancestral.runtime.run import Run, wrong_noise
from ancestral.runtime.source import NoiseOf
from ancestral.runtime.writer import Writer, literal


def weights_of(step: ir.LayerParams) -> Callable[[Tensor, Tensor], LayerWeights]:
    """What makes the weights that a network sees of a pair of vectors and the noise of rows."""
    return partial(_weights, step.layers, step.plan.activate, repr(step.plan))


def _weights(
    layers: tuple[Any, ...], activate: Any, plan: str, pair: Tensor, noise: Tensor
) -> LayerWeights:
    return LayerWeights(pair[0], pair[1], noise, layers, activate, plan)


def _spread(step: ir.Spread, run: Run) -> Tensor:
    law = run.program.laws[step.law]
    if step.estimator.base:
        noise, params = noise_and_params(step, run, step.out.axes, law.moves)
    else:
        noise, params = None, run.values[step.params].aligned(step.params.axes, step.out.axes)
    out: Tensor = step.estimator.spread(params, noise)
    return out


def _noise(step: ir.LayerNoise, run: Run) -> Tensor:
    shape = (*run.sizes(step.out.axes), step.width)
    like = run.values[step.like]
    found = run.noise.get(step.noise)
    if found is None:
        found = NOISE["normal"](blank(shape, like), run.generator)
    if tuple(found.shape) != shape:
        raise wrong_noise(step.noise, found, shape)
    run.drawn[step.noise] = found
    return found


def _text_of_spread(w: Writer, step: ir.Spread) -> None:
    law = w.program.laws[step.law]
    params, noise = w.params(step.params, step.out.axes), "None"
    if step.estimator.base:
        noise = literal(noise_in_text(w, step, law, "", str(law.noise), params))
    name = w.bind("spread", step.estimator.spread)
    w.put(step.out, "z", f"{name}({literal(Known(params))}, {noise})")


def _text_of_noise(w: Writer, step: ir.LayerNoise) -> None:
    value: Tensor = w.run.values[step.out]
    sizes = tuple(a if w.known_size(a) is None else w.known_size(a) for a in step.out.axes)
    w.names[step.out] = f"noise{len(w.noise)}"
    w.noise.append(NoiseOf(step.noise, "normal", sizes, (step.width,), value.dtype, value.device))


MEANINGS: dict[type, Callable[[Any, Run], Any]] = {ir.Spread: _spread, ir.LayerNoise: _noise}
TEXTS: dict[type, Callable[[Writer, Any], None]] = {
    ir.Spread: _text_of_spread,
    ir.LayerNoise: _text_of_noise,
}
