"""Rules for the base noise of discrete draws: their mean is exact where what they see is smooth.

Uniform noise is :math:`u = \\sigma(t)`; in t the trapezoidal rule converges exponentially, and the
jump of a draw at its probability can be put between two pieces, each with a rule of its own.
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

f64 = torch.float64


def unit_rule(low: float, high: float, step: float = 1 / 24) -> tuple[Tensor, Tensor]:
    """Nodes and weights on (low, high) in (0, 1) by the tanh-sinh rule, which ends may be singular
    for.
    """
    k = np.arange(-math.ceil(4.0 / step), math.ceil(4.0 / step) + 1) * step
    s = 0.5 * math.pi * np.sinh(k)
    share = 1.0 / (1.0 + np.exp(-2.0 * s))  # of the way from low to high
    weight = 0.5 * math.pi * np.cosh(k) / np.cosh(s) ** 2 * step / 2.0
    return torch.tensor(low + (high - low) * share), torch.tensor((high - low) * weight)


def coin_rule(probs: list[float], step: float = 1 / 24) -> tuple[Tensor, Tensor]:
    """Uniform noise of a vector of coins: nodes ``(rows, D)``, weights ``(rows,)``."""
    each = []
    for p in probs:
        below, above = unit_rule(0.0, p, step), unit_rule(p, 1.0, step)
        each.append([torch.cat(pair) for pair in zip(below, above, strict=True)])
    index = torch.tensor(list(itertools.product(*(range(len(u)) for u, _ in each))))
    nodes = torch.stack([u[index[:, i]] for i, (u, _) in enumerate(each)], -1)
    weights = torch.stack([v[index[:, i]] for i, (_, v) in enumerate(each)], -1).prod(-1)
    keep = weights > 1e-30  # ends of the rules, which round to 0 and 1
    inside = ((nodes > 0) & (nodes < 1)).all(-1)
    return nodes[keep & inside], weights[keep & inside]


def couple_rule(step: float = 1 / 12, jump: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Normal noise eps and exponential noise e, by m and u: eps = m u, e = m^2 (1 - u^2) / 2.

    m has the double-sided Maxwell law, u is uniform. Smooth functions of eps, of sqrt(2 e) and of
    m are integrated; so are those of eps and of m that jump at one place.

    Returns:
        eps, e and weights, shape ``(rows,)`` each.
    """
    size = 9.0
    ends = sorted({-size, 0.0, size, *([] if jump is None else [jump])})
    pieces = [unit_rule(a, b, step) for a, b in itertools.pairwise(ends)]
    every = [torch.cat(pair) for pair in zip(*pieces, strict=True)]
    out = []
    for m, weight in zip(*(v.tolist() for v in every), strict=True):
        density = m * m * math.exp(-m * m / 2) / math.sqrt(2 * math.pi)
        at = 0.0 if jump is None or m == 0.0 else jump / m
        parts = [(0.0, at), (at, 1.0)] if 0.0 < at < 1.0 else [(0.0, 1.0)]
        for a, b in parts:
            u, v = unit_rule(a, b, step)
            out.append(torch.stack([m * u, m * m * (1 - u) * (1 + u) / 2, v * density * weight]))
    eps, e, weights = torch.cat(out, 1)
    return eps, e, weights
