"""Base noise: the only place where random numbers are drawn.

Randomness is torch's default generator, or the one given as ``generator=``. A law declares the
kind of noise that its draw is a function of, so that a program can be run with its noise given.
"""

from collections.abc import Callable, Sequence

import torch

Generator = torch.Generator | None
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HALF_STEP = {dtype: torch.finfo(dtype).eps / 4 for dtype in FLOATS}


def blank(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """What noise is drawn like: this shape, without memory, with dtype and device of ``like``."""
    return torch.empty((), dtype=like.dtype, device=like.device).expand(tuple(shape))


def normal(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard normal noise, with shape, dtype and device of ``like``."""
    if generator is None:
        return torch.randn_like(like)
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def threshold(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Uniform noise in [0, 1): it is below a probability exactly that often."""
    if generator is None:
        return torch.rand_like(like)
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def uniform(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Uniform noise in the open interval (0, 1): neither end is ever drawn."""
    u = threshold(like, generator)
    # torch.rand draws from [0, 1) in steps of eps / 2; a zero stands for the middle of its step, so
    # that both tails of a law are as long
    return u.clamp_min_(HALF_STEP[u.dtype])


def laplace(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard Laplace noise, the inverse of the distribution function on either side of 0."""
    u = torch.empty_like(like).uniform_(2 * HALF_STEP[like.dtype] - 1, 1, generator=generator)
    return u.abs().neg_().log1p_().copysign_(u)  # |u| < 1, so that it is finite


def exponential(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard exponential noise, precise in both tails; never 0, which torch's does not draw."""
    return torch.empty_like(like).exponential_(generator=generator)


def log_exponential(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """The logarithm of an exponential draw, finite: Gumbel noise with the sign turned."""
    return torch.empty_like(like).exponential_(generator=generator).log_()


# what torch draws alone in one call, from its default generator
DIRECT: dict[Callable[..., torch.Tensor], Callable[[torch.Tensor], torch.Tensor]] = {
    normal: torch.randn_like,
    threshold: torch.rand_like,
}
NOISE: dict[str, Callable[[torch.Tensor, Generator], torch.Tensor]] = {
    "normal": normal,
    "uniform": uniform,
    "threshold": threshold,
    "laplace": laplace,
    "exponential": exponential,
    "log exponential": log_exponential,
}
