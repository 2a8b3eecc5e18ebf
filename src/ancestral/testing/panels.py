"""The mass of a law between neighbouring points, to rounding, wherever its density has a kink."""

from collections.abc import Callable

import torch
from torch import Tensor

from ancestral.distributions.quadrature import RULES

Density = Callable[[Tensor], Tensor]
Shape = tuple[int, ...]

EDGES = torch.linspace(-60.0, 60.0, 121, dtype=torch.float64)
NODES = 40  # of a panel: polynomials of degree 79 are exact
HALVINGS = 45  # after them a panel is as wide as the rounding of its ends
SETTLED = 1e-13  # how far a panel may be from its two halves, of its own mass
NOTHING = 1e-25  # mass that counts for nothing
KINKS = 32  # more panels than this that do not settle are open by the noise of rounding


def masses(density: Density, event: Shape) -> tuple[Tensor, Tensor]:
    r"""The mass of a density in panels that cover the real line from -60 to 60.

    Each panel has the rule of Gauss and Legendre. One that differs from its two halves by more
    than 1e-13 of itself is halved, so that a kink of the density is closed in on.

    Args:
        density: Real points, shape ``(N, *event)``, to the density there.
        event: The shape of a value.

    Returns:
        The ends of the panels in order, shape ``(P + 1,)``, and their masses, ``(P, *event)``.

    Example:
        >>> ends, mass = masses(lambda u: 0.5 * (-u.abs()).exp(), ())
        >>> float(mass.sum() - 1).__abs__() < 1e-14
        True
    """
    low, high = EDGES[:-1], EDGES[1:]
    mass = _panels(density, low, high, event)
    kept: list[tuple[Tensor, Tensor]] = []
    for round_ in range(HALVINGS):
        if not len(low):
            break
        middle = 0.5 * (low + high)
        halves = _panels(density, torch.cat([low, middle]), torch.cat([middle, high]), event)
        left, right = halves.chunk(2)
        off = (left + right - mass).abs() > SETTLED * (left + right) + NOTHING
        open_ = off.reshape(len(off), -1).any(1)
        if round_ > 4 and open_.sum() > KINKS:
            open_ = torch.zeros_like(open_)
        kept.append((low[~open_], (left + right)[~open_]))
        low, high = (
            torch.cat([ends[0][open_], ends[1][open_]]) for ends in ((low, middle), (middle, high))
        )
        mass = torch.cat([left[open_], right[open_]])
    kept.append((low, mass))
    starts, every = (torch.cat(parts) for parts in zip(*kept, strict=True))
    starts, order = starts.sort()
    return torch.cat([starts, EDGES[-1:]]), every[order]


def _panels(density: Density, low: Tensor, high: Tensor, event: Shape) -> Tensor:
    """The mass of each panel."""
    rule = torch.tensor(RULES[NODES], dtype=torch.float64)
    half, middle = 0.5 * (high - low), 0.5 * (high + low)
    points = (middle[:, None] + half[:, None] * rule[0]).reshape(-1, *(1,) * len(event))
    values = density(points.expand(len(points), *event)).reshape(len(low), NODES, *event)
    weights = (half[:, None] * rule[1]).reshape(len(low), NODES, *(1,) * len(event))
    return (weights * values).sum(1)
