"""What a draw means: its noise, given or drawn, and the shapes that its law gives it."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import Axes
from ancestral.core.errors import ShapeError
from ancestral.distributions.layout import span_shape
from ancestral.program import instructions as ir
from ancestral.program.relaxed import Relaxed
from ancestral.runtime.noise import noise_of_draw, noise_of_round
from ancestral.runtime.run import ParamSet, Run


def span(text: object, var: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The event shape that several shapes of one variable span."""
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        told = " and ".join(str(tuple(s)) for s in dict.fromkeys(shapes))
        raise ShapeError(
            f"{text}: {var} has the event shapes {told} in the laws that name it. Give them one: "
            "the width of the network's output and features_shape must agree."
        ) from None


def event_of(
    text: object, var: str, law: Any, found: ParamSet, at: ir.Register, run: Run
) -> tuple[int, ...]:
    """The event shape that a law's parameters span together with its declared shape."""
    declared = span_shape(law.moves, run.program.shapes.get(var, ()))
    return span(text, var, found.event(len(at.axes), law.moves), declared)


def noise_and_params(
    step: ir.Draw, run: Run, axes: Axes, moves: Any
) -> tuple[Any, dict[str, Any]]:
    """The noise of a draw, and the parameters, aligned.

    Args:
        step: The draw.
        run: The run.
        axes: The axes of the noise.
        moves: What the draw is by: the moves of its law, or others with other noise.
    """
    law, have = run.program.laws[step.law], step.params.axes
    found: ParamSet = run.values[step.params]
    params = found.aligned(have, axes)
    known = dict(zip(have, found.sizes, strict=True))
    sizes = tuple(known.get(a) or s for a, s in zip(axes, run.sizes(axes), strict=True))
    event = event_of(step.text, step.var, law, found, step.params, run)
    like = next((v for v in params.values() if isinstance(v, Tensor)), law.anchor())
    of = noise_of_draw if step.time is None else noise_of_round
    by: Any = law
    if moves is not law.moves:
        by = SimpleNamespace(moves=moves, prob_text=law.prob_text)
    return of(step, run, by, params, sizes, event, like), params


def draw(step: ir.Draw, run: Run) -> Tensor:
    """A draw as a function of its noise."""
    law = run.program.laws[step.law]
    noise, params = noise_and_params(step, run, step.out.axes, law.moves)
    value: Tensor = law.moves.draw(noise, **params)
    if step.through is not None:
        soft: Tensor = law.moves.relaxed(noise, step.through, **params)
        return soft if isinstance(step, Relaxed) else value.detach() + (soft - soft.detach())
    return value.detach() if step.cut else value
