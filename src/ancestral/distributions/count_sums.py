r"""Means over counts at a fixed number of points, however many counts have mass.

Where the variance is small, so many counts from 0 on are all that have mass. Where it is large, the
sum over whole numbers is that over any other grid that is fine against the standard deviation: the
two differ by :math:`e^{-2\pi^2\sigma^2/h^2}` for steps of h (Poisson's summation formula), since a
log probability is a smooth function of the count. Laws whose mass reaches from 0 over many
magnitudes have an integral over the logarithm of the count in its place.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ancestral.distributions.quadrature import integrate

POINTS = 200
WIDE = 36.0  # from this variance on a grid covers the mass; below, 0, ..., 199 do
REACH = 12.0  # standard deviations on either side

OfCount = Callable[[Tensor], Tensor]


def mean_over_counts(
    log_p: OfCount, f: OfCount, mean: Tensor, variance: Tensor, top: Tensor | float = torch.inf
) -> Tensor:
    r""":math:`\sum_k p(k) f(k)` over 0 <= k <= top, of laws like Poisson's and the binomial one.

    Args:
        log_p: Counts, which need not be whole, to log probabilities; with a leading axis.
        f: What is averaged, likewise.
        mean: Of the law; at most twice the variance.
        variance: Likewise.
        top: The largest count.

    Example:
        >>> rate = torch.tensor(2.0, dtype=torch.float64)
        >>> log_p = lambda k: k * rate.log() - rate - (k + 1).lgamma()
        >>> mean_over_counts(log_p, lambda k: k, rate, rate)
        tensor(2., dtype=torch.float64)
    """
    mean, variance = torch.broadcast_tensors(mean.detach(), variance.detach())
    index = torch.arange(POINTS, dtype=mean.dtype, device=mean.device)
    index = index.reshape(-1, *(1,) * mean.dim())
    wide = variance >= WIDE
    step = 2.0 * REACH / (POINTS - 1) * torch.where(wide, variance, 1.0).sqrt()
    k = torch.where(wide, mean + (index - 0.5 * (POINTS - 1)) * step, index)
    inside = (k >= 0) & (k <= top)
    k = torch.where(inside, k, 0.0)
    p = torch.exp(log_p(k)) * torch.where(wide, step, 1.0)
    some = inside & (p > 0)
    return torch.where(some, p * torch.where(some, f(k), 0.0), 0.0).sum(0)


# Gregory's coefficients: a sum from N on is the integral from N and these times differences at N
_GREGORY = (
    1 / 2, -1 / 12, 1 / 24, -19 / 720, 3 / 160, -863 / 60480, 275 / 24192, -33953 / 3628800,
    8183 / 1036800, -3250433 / 479001600,
)  # fmt: skip


def _weights() -> list[float]:
    """Of the first counts, in a sum whose rest is an integral from ``POINTS`` on."""
    size = len(_GREGORY)
    edge = [
        sum((-1) ** (j - m) * math.comb(j, m) * _GREGORY[j] for j in range(m, size))
        for m in range(size)
    ]
    return [1.0] * POINTS + edge


def sum_over_counts(f: OfCount, shape: Tensor, scale: Tensor) -> Tensor:
    r""":math:`\sum_{k\ge 0} f(k)` of what falls like a gamma density: probabilities of counts whose
    mean is :math:`ab` and variance :math:`ab^2`, also where they reach over many magnitudes.

    The first 200 counts are summed. The rest is an integral over the logarithm of the count, from
    where less than e^-40 of the mass is below to where less is above, and Gregory's differences
    at its end; what is left out is about 1e-13.

    Args:
        f: Counts, which need not be whole, to terms; with a leading axis.
        shape: a.
        scale: b, at least 1.

    Example:
        >>> half = torch.tensor(0.5, dtype=torch.float64)
        >>> sum_over_counts(lambda k: half ** (k + 1.0), half, 2.0 * torch.ones_like(half))
        tensor(1., dtype=torch.float64)
    """
    a, b = torch.broadcast_tensors(shape.detach(), scale.detach())
    weight = torch.tensor(_weights(), dtype=a.dtype).to(a.device, non_blocking=True)
    weight = weight.reshape(-1, *(1,) * a.dim())
    first = torch.arange(len(weight), dtype=a.dtype, device=a.device).reshape(weight.shape)
    total = (weight * f(first.expand(-1, *a.shape))).sum(0)

    def on_logs(t: Tensor) -> Tensor:
        k = POINTS * t.exp()
        return k * f(k)

    start = (b / POINTS).log()  # of the logarithms of k / 200
    top = (start + (a + 10.0 * a.sqrt() + 50.0).log()).clamp(min=0.0)
    middle = start + a.clamp(min=0.1).log()
    low = (middle - 40.0 / a - (80.0 / a).sqrt()).clamp(min=0.0)
    middle = torch.maximum(middle, low)
    return total + integrate(on_logs, low, middle, 64) + integrate(on_logs, middle, top, 64)
