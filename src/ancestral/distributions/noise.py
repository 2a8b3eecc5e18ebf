"""The base noise of one draw, the same for the eager API, the interpreter and the generated step.

Most laws are a function of noise of a fixed kind, which is drawn before anything is computed; of a
mixture it has two parts, one that chooses a component and one for its draw. A gamma law has none:
its ``noise_of`` draws a standard value given the parameters. In all cases "noise given" means that
these tensors are given, and the draw is a function of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import OptionError, SamplingError
from ancestral.core.rng import NOISE, Generator, blank

if TYPE_CHECKING:
    from ancestral.distributions.law import Law

Noise = Any  # a tensor, or those of each part by name


def kinds(moves: "type[Law]") -> Mapping[str, str]:
    """The fixed kinds of noise that a draw is a function of, by part; empty if there are none.

    Almost every law has one part, ``""``; part ``"component"`` of the draw of ``x`` is given as
    ``noise={"x.component": ...}``.
    """
    found = moves.noise if isinstance(moves.noise, Mapping) else {"": moves.noise or ""}
    return found if all(kind in NOISE for kind in found.values()) else {}


def named(draw: str, part: str) -> str:
    """The name under which a part of a draw's noise is given.

    Example:
        >>> named("x", ""), named("x", "component")
        ('x', 'x.component')
    """
    return f"{draw}.{part}" if part else draw


def noise_move(moves: "type[Law]") -> Callable[..., Tensor] | None:
    """The move that draws noise given the parameters; ``None`` if the noise is of a fixed kind.

    The kind that moves declare decides: those that inherit a ``noise_of`` and declare a fixed kind
    do not use it.
    """
    return None if kinds(moves) else getattr(moves, "noise_of", None)


def check_noise(moves: "type[Law]") -> None:
    """Refuse a class that draws noise of its own and declares a fixed kind.

    Raises:
        OptionError: If it does: one of the two would never be used.
    """
    if "noise_of" in vars(moves) and kinds(moves):
        raise OptionError(
            f"{moves.__name__} has a noise_of and noise={moves.noise!r}, which is a fixed kind. "
            "Say in words what noise_of returns, e.g. noise = 'a draw', or leave noise_of out."
        )


def own_noise(law: "Law") -> Callable[..., Tensor] | None:
    """The move that draws noise given the parameters, of a law that has no fixed noise."""
    return noise_move(law.moves)


def draw_noise(
    law: "Law",
    params: Mapping[str, Any],
    rows: Sequence[int],
    event: tuple[int, ...],
    like: Tensor,
    generator: Generator = None,
) -> Noise:
    """Base noise of a law.

    Args:
        law: The law.
        params: Its parameters, which broadcast to ``(*rows, *event)``.
        rows: The rows, with axes of draws in front.
        event: The event shape that the parameters span.
        like: A tensor with its dtype and device.
        generator: Source of randomness; torch's default generator if not given.

    Raises:
        SamplingError: If the law cannot be drawn from.
    """
    if own_noise(law) is None and not kinds(law.moves):
        raise SamplingError(f"{law.prob_text}: a {law.distribution_name} cannot be drawn from.")
    with torch.no_grad():
        return noise_by(law.moves, params, rows, event, like, generator)


def noise_by(
    moves: "type[Law]",
    params: Mapping[str, Any],
    rows: Sequence[int],
    event: tuple[int, ...],
    like: Tensor,
    generator: Generator = None,
) -> Noise:
    """Base noise for moves that can be drawn from; arguments as of :func:`draw_noise`."""
    own, shapes = noise_move(moves), noise_shapes(moves, event)
    if own is not None:
        found: Tensor = own((*rows, *shapes[""]), like, generator, **params)
        return found
    return together(
        {
            part: NOISE[kind](blank((*rows, *shapes[part]), like), generator)
            for part, kind in kinds(moves).items()
        }
    )


def noise_shapes(moves: "type[Law]", event: tuple[int, ...]) -> Mapping[str, tuple[int, ...]]:
    """The event shape of each part of a draw's noise, from that which the parameters span."""
    found = moves.noise_shape(event)
    return found if isinstance(found, Mapping) else {"": found}


def together(parts: Mapping[str, Any]) -> Any:
    """The noise that a draw is called with: its only part, or all of them by name."""
    return parts[""] if len(parts) == 1 else parts


def as_noise(value: Any, shape: Sequence[int], like: Tensor) -> Tensor:
    """A parameter, a number or a tensor, expanded to the shape of a draw; without gradient.

    Example:
        >>> as_noise(2.0, (2,), torch.empty(()))
        tensor([2., 2.])
    """
    if not isinstance(value, Tensor):
        return torch.full(tuple(shape), value, dtype=like.dtype, device=like.device)
    return value.detach().expand(tuple(shape))


def per_vector(value: Any, like: Tensor) -> Tensor:
    """A parameter with one number for each vector, as a tensor that meets vectors.

    Args:
        value: A number, or a tensor of shape ``(*event)``.
        like: A tensor with its dtype and device.

    Returns:
        Shape ``(*event, 1)``.
    """
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).unsqueeze(-1)
