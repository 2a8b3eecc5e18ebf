"""The base noise that the interpreter runs a draw with: what is given, else drawn."""

from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import union
from ancestral.distributions.noise import (
    Noise,
    draw_noise,
    named,
    noise_shapes,
    own_noise,
    together,
)
from ancestral.program import instructions as ir
from ancestral.runtime.run import Run, wrong_noise

Shape = tuple[int, ...]


def noise_of_draw(
    step: ir.Draw, run: Run, law: Any, params: Any, rows: Shape, span: Shape, like: Tensor
) -> Noise:
    """The noise of a draw, each part given or drawn; it is left in the run.

    Args:
        step: The draw.
        run: The run.
        law: Its law.
        params: Its parameters.
        rows: The sizes of the axes in front of the event.
        span: The event shape that the parameters span.
        like: A tensor with dtype and device of the draw.
    """
    shapes = noise_shapes(law.moves, span)
    names = {named(step.noise, part): part for part in shapes}
    found = {part: run.noise[name] for name, part in names.items() if name in run.noise}
    if len(found) < len(shapes):
        drawn = draw_noise(law, params, rows, span, like, run.generator)
        found = {**(drawn if len(shapes) > 1 else {"": drawn}), **found}
    for name, part in names.items():
        shape = (*rows, *shapes[part])
        if tuple(found[part].shape) != shape:
            raise wrong_noise(name, found[part], shape)
        run.drawn[name] = found[part]
    return together({part: found[part] for part in shapes})


def noise_of_round(
    step: ir.Draw, run: Run, law: Any, params: Any, rows: Shape, span: Shape, like: Tensor
) -> Noise:
    """The noise of a draw in a loop, in this round; in the first, that of all rounds is drawn."""
    assert step.time is not None
    place = union(step.out.axes, (step.time,)).index(step.time)
    if own_noise(law) is not None:
        return _own_noise_of_round(step, run, law, params, rows, span, like, place)
    if run.round == 0:
        every = (*rows[:place], *run.sizes((step.time,)), *rows[place:])
        noise_of_draw(step, run, law, params, every, span, like)
    drawn = {part: run.drawn[named(step.noise, part)] for part in noise_shapes(law.moves, span)}
    return together({part: noise.select(place, run.round) for part, noise in drawn.items()})


def _own_noise_of_round(
    step: ir.Draw,
    run: Run,
    law: Any,
    params: Any,
    rows: Shape,
    span: Shape,
    like: Tensor,
    place: int,
) -> Tensor:
    """Noise that depends on parameters, which are known in their round."""
    given = run.noise.get(step.noise)
    if given is not None:
        run.drawn[step.noise] = given
        return given.select(place, run.round)
    noise: Tensor = draw_noise(law, params, rows, span, like, run.generator)
    before = run.drawn.get(step.noise) if run.round else None
    one = noise.unsqueeze(place)
    run.drawn[step.noise] = one if before is None else torch.cat([before, one], place)
    return noise
