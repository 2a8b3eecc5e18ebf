r"""Means over counts at a fixed number of points, however many counts have mass.

Where the variance is small, so many counts from 0 on are all that have mass. Where it is large, the
sum over whole numbers is that over any other grid that is fine against the standard deviation: the
two differ by :math:`e^{-2\pi^2\sigma^2/h^2}` for steps of h (Poisson's summation formula), since a
log probability is a smooth function of the count.
"""

from collections.abc import Callable

import torch
from torch import Tensor

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
