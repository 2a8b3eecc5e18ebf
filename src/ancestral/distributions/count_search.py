r"""Distribution functions of laws of counts at any number, and their inverse: the smallest count
whose distribution function reaches a rank.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WAYS = 8  # an interval is cut into so many at once
CUTS = 11  # 8^11 = 2^33 counts can be told apart
LEAST = 1e-300

Tails = Callable[[Tensor], tuple[Tensor, Tensor]]


def tails_at(x: Tensor, tails: Tails, most: Tensor | float = torch.inf) -> tuple[Tensor, Tensor]:
    """The logarithms of P(X <= x) and P(X > x) at any number.

    Args:
        x: Numbers.
        tails: The same two at counts from 0, below ``most``.
        most: The largest count.
    """
    inside = (x >= 0) & (x < most)
    below, above = tails(torch.where(inside, x.floor(), 0.0))
    low, high = torch.where(x < 0, -torch.inf, 0.0), torch.where(x < 0, 0.0, -torch.inf)
    return torch.where(inside, below, low), torch.where(inside, above, high)


def first_count(
    tails: Tails, rank: Tensor, mean: Tensor, variance: Tensor, scale: Tensor | float = 1.0
) -> Tensor:
    r"""The smallest count k with P(X <= k) >= rank, by search where a tail bound says it lies.

    With L minus the logarithm of a tail, a count is beyond
    :math:`2\sqrt{2 v L} + 2 c L + 2` from its mean with at most that probability: Bernstein's
    bound, doubled.

    Args:
        tails: Counts, with any leading axes, to the logarithms of P(X <= k) and P(X > k).
        rank: Probabilities.
        mean: Of the law.
        variance: Likewise.
        scale: c of the bound: 1 for sums of numbers in [0, 1], and the scale of an exponential
            tail.

    Returns:
        The counts; infinite where the rank is 1.
    """
    rank, mean, variance = torch.broadcast_tensors(rank, mean, variance)
    below, above = rank.clamp(min=LEAST).log(), (1.0 - rank).clamp(min=LEAST).log()

    def away(log_tail: Tensor) -> Tensor:
        depth = 1.0 - log_tail
        return 2.0 * (2.0 * variance * depth).sqrt() + 2.0 * scale * depth + 2.0

    low = (mean - away(below)).floor().clamp(min=0.0) - 1.0  # whose rank is too small
    high = (mean + away(above)).ceil()
    ways = torch.arange(1, WAYS, dtype=rank.dtype, device=rank.device)
    ways = ways.reshape(-1, *(1,) * rank.dim()) / WAYS
    for _ in range(CUTS):
        if _is_found(low, high):
            break
        cuts = (low + (high - low) * ways).floor()
        log_cdf, log_sf = tails(cuts)
        # ranks above a half by what they leave, which has more digits there
        reached = torch.where(rank > 0.5, log_sf <= above, log_cdf >= below)
        reached = reached & (cuts > low)
        low = torch.where(reached, low, cuts.clamp(min=-1.0)).amax(0).maximum(low)
        high = torch.where(reached, cuts, high).amin(0)
    return torch.where(rank >= 1.0, torch.inf, torch.where(rank <= 0.0, 0.0, high))


def _is_found(low: Tensor, high: Tensor) -> bool:
    """Whether one count is left everywhere; not asked where that would wait for a device, or where
    values cannot be looked at: in a graph and inside of vmap.
    """
    if torch.compiler.is_compiling() or low.device.type != "cpu":
        return False
    try:
        return bool((high - low <= 1.0).all())
    except RuntimeError:
        return False
