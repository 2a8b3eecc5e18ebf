"""Base noise: the only place where random numbers are drawn.

Randomness is torch's default generator, or the one given as ``generator=``. A law declares the
kind of noise that its draw is a function of, so that a program can be run with its noise given.
"""

from collections.abc import Callable, Sequence

import torch

Generator = torch.Generator | None
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HALF_STEP = {dtype: torch.finfo(dtype).eps / 4 for dtype in FLOATS}
TINY = {dtype: torch.finfo(dtype).tiny for dtype in FLOATS}


def blank(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """What noise is drawn like: this shape, without memory, with dtype and device of ``like``."""
    return torch.empty((), dtype=like.dtype, device=like.device).expand(tuple(shape))


def normal(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard normal noise, with shape, dtype and device of ``like``."""
    if generator is None:
        return torch.randn_like(like)
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def uniform(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Uniform noise in the open interval (0, 1): neither end is ever drawn."""
    if generator is None:
        u = torch.rand_like(like)
    else:
        u = torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    # torch.rand draws from [0, 1) in steps of eps / 2; a zero stands for the middle of its step, so
    # that both tails of a law are as long
    return u.clamp_min_(HALF_STEP[u.dtype])


def exponential(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard exponential noise, precise in both tails; never 0."""
    e = torch.empty_like(like).exponential_(generator=generator)
    return e.clamp_min_(TINY[e.dtype])


def gumbel(like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard Gumbel noise, ``-log(-log u)``, by way of an exponential draw."""
    return exponential(like, generator).log_().neg_()


NOISE: dict[str, Callable[[torch.Tensor, Generator], torch.Tensor]] = {
    "normal": normal,
    "uniform": uniform,
    "exponential": exponential,
    "gumbel": gumbel,
}
