r"""Integrals of smooth positive functions that have no closed form: the rule of Gauss and Legendre.

A sum of positive terms keeps all digits where a difference of two closed forms would lose them: a
normal density over a narrow or a far interval is the example.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# nodes and weights
RULES: dict[int, list[list[float]]] = {
    count: [part.tolist() for part in np.polynomial.legendre.leggauss(count)]
    for count in (8, 24, 40, 64)
}


def integrate(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, nodes: int = 40) -> Tensor:
    r""":math:`\int f(t)\,dt` from ``low`` to ``high``, of each component.

    Args:
        f: The integrand, component by component; it is called once, with a leading axis of points.
        low: Lower ends, shape ``S``.
        high: Upper ends, shape ``S``.
        nodes: How many points there are: 8, 24, 40 or 64; it is exact for polynomials of degree
            ``2 * nodes - 1``.

    Example:
        >>> integrate(torch.cos, torch.zeros(1), torch.ones(1))
        tensor([0.8415])
    """
    return integrals(lambda t: (f(t),), low, high, nodes)[0]


def integrals(
    f: Callable[[Tensor], tuple[Tensor, ...]], low: Tensor, high: Tensor, nodes: int = 40
) -> tuple[Tensor, ...]:
    """Several integrals over the same intervals; arguments are those of :func:`integrate`."""
    half, middle = 0.5 * (high - low), 0.5 * (high + low)
    rule = torch.tensor(RULES[nodes], dtype=middle.dtype).to(middle.device, non_blocking=True)
    points, weights = rule.reshape(2, nodes, *(1,) * middle.dim()).unbind()
    return tuple(half * (weights * value).sum(0) for value in f(middle + points * half))


def unit_integral(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor | float) -> Tensor:
    r""":math:`\int f(u)\,du` over a part of the ranks, 0 to 1, of what grows like a logarithm at
    its ends: equal steps of t in :math:`u = 1/(1+e^{-\pi\sinh t})` reach them doubly exponentially.

    Args:
        f: The integrand, component by component; it is called once, with a leading axis of points.
        low: Lower ends, shape ``S``.
        high: Upper ends, likewise.

    Example:
        >>> zero = torch.zeros((), dtype=torch.float64)
        >>> unit_integral(torch.log, zero, 1.0).round(decimals=12)
        tensor(-1., dtype=torch.float64)
    """
    t = torch.linspace(-3.1, 3.1, 170, dtype=low.dtype)
    t = t.to(low.device, non_blocking=True).reshape(-1, *(1,) * low.dim())
    u = (math.pi * t.sinh()).sigmoid()
    weight = (t[1] - t[0]) * math.pi * t.cosh() * u * (-math.pi * t.sinh()).sigmoid()
    width = high - low
    points = (low + width * u).clamp(1e-300, 1.0 - 1e-16)
    some = width > 0
    value = torch.where(some, f(torch.where(some, points, 0.5)), 0.0)
    return width * (weight * value).sum(0)


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
