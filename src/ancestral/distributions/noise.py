"""The base noise of one draw, the same for the eager API, the interpreter and the generated step.

Most laws are a function of noise of a fixed kind, which is drawn before anything is computed. A
gamma law has none: its ``noise_of`` draws a standard value given the parameters. In both cases
"noise given" means that this tensor is given, and the draw is a function of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import OptionError, SamplingError
from ancestral.core.rng import NOISE, Generator, blank

if TYPE_CHECKING:
    from ancestral.distributions.law import Law


def noise_move(moves: "type[Law]") -> Callable[..., Tensor] | None:
    """The move that draws noise given the parameters; ``None`` if the noise is of a fixed kind.

    The kind that moves declare decides: those that inherit a ``noise_of`` and declare a fixed kind
    do not use it.
    """
    return None if moves.noise in NOISE else getattr(moves, "noise_of", None)


def check_noise(moves: "type[Law]") -> None:
    """Refuse a class that draws noise of its own and declares a fixed kind.

    Raises:
        OptionError: If it does: one of the two would never be used.
    """
    if "noise_of" in vars(moves) and moves.noise in NOISE:
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
    shape: Sequence[int],
    like: Tensor,
    generator: Generator = None,
) -> Tensor:
    """Base noise of a law.

    Args:
        law: The law.
        params: Its parameters, which broadcast to ``shape``.
        shape: The shape of the draw, event axes of the parameters last.
        like: A tensor with its dtype and device.
        generator: Source of randomness; torch's default generator if not given.

    Raises:
        SamplingError: If the law cannot be drawn from.
    """
    if own_noise(law) is None and law.moves.noise not in NOISE:
        raise SamplingError(f"{law.prob_text}: a {law.distribution_name} cannot be drawn from.")
    with torch.no_grad():
        return noise_by(law.moves, params, shape, like, generator)


def noise_by(
    moves: "type[Law]",
    params: Mapping[str, Any],
    shape: Sequence[int],
    like: Tensor,
    generator: Generator = None,
) -> Tensor:
    """Base noise for moves that can be drawn from; arguments as of :func:`draw_noise`."""
    own = noise_move(moves)
    if own is not None:
        return own(shape, like, generator, **params)
    return NOISE[moves.noise or ""](blank(shape, like), generator)


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
