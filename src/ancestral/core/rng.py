"""Base noise: the only place where random numbers are drawn.

Randomness is torch's default generator, or the one given as ``generator=``. A law declares the
kind of noise that its draw is a function of, so that a program can be run with its noise given.
"""

from collections.abc import Callable, Sequence

import torch

Generator = torch.Generator | None


def normal(shape: Sequence[int], like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard normal noise, shape ``shape``, dtype and device of ``like``."""
    return torch.randn(tuple(shape), dtype=like.dtype, device=like.device, generator=generator)


def uniform(shape: Sequence[int], like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Uniform noise in the open interval (0, 1): neither end is ever drawn."""
    u = torch.rand(tuple(shape), dtype=like.dtype, device=like.device, generator=generator)
    # torch.rand draws from [0, 1) in steps of eps / 2; a zero stands for the middle of its step, so
    # that both tails of a law are as long
    return u.clamp(min=torch.finfo(u.dtype).eps / 4)


def exponential(
    shape: Sequence[int], like: torch.Tensor, generator: Generator = None
) -> torch.Tensor:
    """Standard exponential noise, precise in both tails; never 0."""
    e = torch.empty(tuple(shape), dtype=like.dtype, device=like.device)
    return e.exponential_(generator=generator).clamp(min=torch.finfo(e.dtype).tiny)


def gumbel(shape: Sequence[int], like: torch.Tensor, generator: Generator = None) -> torch.Tensor:
    """Standard Gumbel noise, ``-log(-log u)``, by way of an exponential draw."""
    return -exponential(shape, like, generator).log()


NOISE: dict[str, Callable[..., torch.Tensor]] = {
    "normal": normal,
    "uniform": uniform,
    "exponential": exponential,
    "gumbel": gumbel,
}
