r"""Points of the plane by code: what generators of points learn, and no normal law comes near.

.. math::
    p(x) = \frac1K \sum_{k=1}^K N(x; m_k, s^2 I), \qquad
    p(x) = N(x_1; 0, 1)\,N(x_2; x_1^2 - 1, s^2)
"""

import math

import torch
from torch import Tensor


def ring(
    rows: int,
    *,
    modes: int = 8,
    radius: float = 2.0,
    scale: float = 0.2,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Rows from normal laws whose means stand on a circle, shape (rows, 2).

    Args:
        rows: The number of rows.
        modes: K, the number of means.
        radius: Of the circle.
        scale: s, the standard deviation around a mean.
        generator: Source of randomness; torch's default generator if not given.

    Example:
        >>> ring(1000).norm(dim=1).mean().round().item()
        2.0
    """
    angle = torch.arange(modes) * (2 * math.pi / modes)
    means = radius * torch.stack([angle.cos(), angle.sin()], -1)
    return _around(means, rows, scale, generator)


def grid(
    rows: int,
    *,
    side: int = 5,
    spacing: float = 1.0,
    scale: float = 0.05,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Rows from normal laws whose means stand on a square grid around 0, shape (rows, 2).

    Args:
        rows: The number of rows.
        side: Means along a side, K is its square.
        spacing: Between neighbours.
        scale: s, the standard deviation around a mean.
        generator: Source of randomness; torch's default generator if not given.

    Example:
        >>> grid(1000, side=2, spacing=4.0, scale=0.0).unique(dim=0).tolist()
        [[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]]
    """
    line = spacing * (torch.arange(side) - (side - 1) / 2)
    return _around(torch.cartesian_prod(line, line), rows, scale, generator)


def crescent(rows: int, *, scale: float = 0.3, generator: torch.Generator | None = None) -> Tensor:
    """Rows along a bent line, of mean 0 and without correlation, shape (rows, 2).

    Args:
        rows: The number of rows.
        scale: s, the standard deviation around the line.
        generator: Source of randomness; torch's default generator if not given.

    Example:
        >>> crescent(1000, scale=0.0).square().min().item() < 1.0
        True
    """
    first, noise = torch.randn(2, rows, generator=generator)
    return torch.stack([first, first.square() - 1.0 + scale * noise], -1)


def _around(means: Tensor, rows: int, scale: float, generator: torch.Generator | None) -> Tensor:
    chosen = torch.randint(len(means), (rows,), generator=generator)
    return means[chosen] + scale * torch.randn(rows, 2, generator=generator)
