r"""Integrals of smooth positive functions that have no closed form: the rule of Gauss and Legendre.

A sum of positive terms keeps all digits where a difference of two closed forms would lose them: a
normal density over a narrow or a far interval is the example.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# as numbers, so that a loop over them can be compiled
RULES: dict[int, list[tuple[float, float]]] = {
    count: list(zip(*(a.tolist() for a in np.polynomial.legendre.leggauss(count)), strict=True))
    for count in (40, 64)
}


def integrate(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, nodes: int = 40) -> Tensor:
    r""":math:`\int f(t)\,dt` from ``low`` to ``high``, of each component.

    Args:
        f: The integrand, component by component.
        low: Lower ends, shape ``S``.
        high: Upper ends, shape ``S``.
        nodes: How many points there are, 40 or 64; polynomials of degree ``2 * nodes - 1`` are
            exact.

    Example:
        >>> integrate(torch.cos, torch.zeros(1), torch.ones(1))
        tensor([0.8415])
    """
    half, middle = 0.5 * (high - low), 0.5 * (high + low)
    total = torch.zeros_like(middle)
    for node, weight in RULES[nodes]:
        total = total + weight * f(middle + node * half)
    return half * total


def highest(low: Tensor, high: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The highest point of a standard normal density in an interval, and how far it reaches.

    Only what lies within a factor of e^-40 of the highest value counts.

    Args:
        low: Lower ends, in standard deviations from the mean; may be -inf.
        high: Upper ends, likewise; may be inf.
        width: Their difference, which a caller knows without cancellation.

    Returns:
        The point r, and the lengths of the interval below and above it.
    """
    r = torch.minimum(torch.maximum(torch.zeros_like(low), low), high)
    reach = 80.0 / ((r * r + 80.0).sqrt() + r.abs())
    below = torch.where(high <= 0, width, r - low)
    above = torch.where(low >= 0, width, high - r)
    return r, torch.minimum(below, reach), torch.minimum(above, reach)


def log_normal_integral(low: Tensor, high: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    r"""A normal density over an interval, by its value at the highest point r of the interval:
    :math:`\int e^{-t^2/2}dt = e^{-r^2/2} J`.

    Arguments are those of :func:`highest`.

    Returns:
        r and log J.
    """
    r, left, right = highest(low, high, width)
    total = integrate(lambda d: torch.exp(-0.5 * d * (d + 2.0 * r)), -left, right)
    return r, total.log()
