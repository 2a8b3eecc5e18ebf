"""Expectations under a law of constants, by sums and integrals that are exact to rounding."""

from collections.abc import Callable

import torch
from torch import Tensor

from ancestral.distributions import Law
from ancestral.distributions.constraints import Constraint, identity, real_vector
from ancestral.distributions.layout import spanned
from ancestral.testing.panels import masses

Map = Callable[[Tensor], Tensor]
Shape = tuple[int, ...]

POINTS = {  # along one coordinate, and along each of two and of three
    "exact": (120_001, 201, 49),
    "waves": (120_001, 401, 61),
    "coarse": (6_001, 201, 49),
}
MOST = 2**16  # values of a countable law
TAIL = 1e-12  # probability of those that are left out


class Integral:
    """Expectations under a law of constants: a sum over its values, or the rule of trapezoids.

    Values that a law lists are those of the whole event. Otherwise each component is taken by
    itself: a sum over whole numbers until less than 1e-12 is missing, or over all vectors of
    counts; an integral over a grid that the law's support (or sinh, for all real numbers)
    spreads out; for vectors and matrices a grid of up to three coordinates, which the chart of
    the support maps onto it. The rule converges exponentially, since densities are smooth and
    vanish at the ends.

    Args:
        law: The law.
        points: ``exact``, or ``waves`` if functions of vectors that oscillate are integrated,
            which needs more points; ``coarse`` where an error of 1e-4 does no harm.
    """

    def __init__(self, law: Law, *, points: str = "exact") -> None:
        self.params = law.params(())
        self._grids = [torch.linspace(-60.0, 60.0, n, dtype=torch.float64) for n in POINTS[points]]
        moves, dtype = law.moves, torch.float64
        shapes = {k: tuple(v.shape) for k, v in self.params.items() if isinstance(v, Tensor)}
        span = torch.broadcast_shapes(*(spanned(moves, k, s) for k, s in shapes.items()))
        event = tuple(law.features_shape)
        self.discrete = hasattr(moves, "values")
        self.countable, self.core = self.discrete, moves.value_dims
        support = law.support(self.params)
        if self.discrete:
            self.x = moves.values(tuple(span), torch.empty((), dtype=dtype))
            self.mass = self.log_density(law).exp()
        elif support is not None and support.listed is not None:
            self.countable = True
            self._count(law, support.listed, event)
        elif self.core:
            self._plane(law, support or real_vector, event)
        else:
            self._line(law, support.of_real if support else torch.sinh, event)

    def _spread(self, points: Tensor, event: Shape) -> Tensor:
        """Values of one component, ``(N, *core)``, as values of them all."""
        parts = event[: len(event) - self.core]
        core = points.shape[1:]
        lifted = points.reshape(len(points), *(1,) * len(parts), *core)
        return lifted.expand(len(points), *parts, *core)

    def _count(self, law: Law, listed: Callable[[int, int], Tensor], event: Shape) -> None:
        count = 64
        while True:
            values: Tensor = listed(count, event[-1] if self.core else 0)
            self.x = self._spread(values.double(), event)
            self.mass = self.log_density(law).exp()
            if len(values) < count or count >= MOST or bool((self.mass.sum(0) > 1 - TAIL).all()):
                return
            count *= 2

    def _line(self, law: Law, onto: Map | None, event: Shape) -> None:
        if onto is None:
            raise AssertionError(f"no map onto the support of {law.prob_text}: give it of_real")
        grid = self._grids[0]
        points, slope = _sloped(onto, self._spread(grid, event))
        self.cells = slope * (grid[1] - grid[0])
        inner = self.cells > 0  # where the map has saturated, the last value before it stands
        low = torch.where(inner, points, torch.inf).amin(0)
        high = torch.where(inner, points, -torch.inf).amax(0)
        self.x = points.clamp(low, high)
        self.mass = torch.where(self.cells > 0, self.log_density(law).exp() * self.cells, 0.0)

    def _plane(self, law: Law, support: Constraint, event: Shape) -> None:
        chart, lost = support.chart, support.lost
        size = torch.Size(event[len(event) - self.core :]).numel() - lost
        if chart is None or size > 3:
            raise AssertionError(
                f"{law.prob_text}: vectors are integrated over up to three coordinates: give its "
                "support a chart, and examples of shorter vectors"
            )
        line = self._grids[size - 1]
        axes = torch.meshgrid(*[line] * size, indexing="ij")
        points, log_cell = chart(torch.stack(axes, -1).reshape(-1, size))
        points = points.reshape(len(points), *event[len(event) - self.core :])
        self.x = self._spread(points, event)
        step = line[1] - line[0]
        log_density = self.log_density(law)
        lift = (-1,) + (1,) * (log_density.dim() - 1)
        mass = (log_density + log_cell.reshape(lift)).exp() * step**size
        kept = (mass > TAIL / len(mass)).reshape(len(mass), -1).any(1)  # few, of three coordinates
        self.x, self.mass = self.x[kept], mass[kept]
        self.cells = log_cell.reshape(lift)[kept].exp() * step**size

    def log_density(self, law: Law) -> Tensor:
        """A law's log density at the points: of the event, or of each component."""
        out = law.moves.log_density(self.x, **law.params(()))
        return out.flatten(1).sum(-1) if self.discrete else out

    def above(self) -> Tensor:
        """The mass above each point; of a density, half of its own is."""
        total = self.mass.flip(0).cumsum(0).flip(0)
        return total - (self.mass if self.countable else self.mass / 2)

    def shares(self, law: Law) -> tuple[Tensor, Tensor]:
        """Points in order, and the mass that is after each of them, up to the next: ``(N + 1,
        *event)`` and ``(N, *event)``; of countable laws the next is counted with it.
        """
        if self.countable:
            order = self.x.flatten(1)[:, 0].argsort()
            return self.x[order], self.mass[order][1:]
        support, event = law.support(self.params), tuple(self.x.shape[1:])
        onto = (support.of_real if support else torch.sinh) or identity

        def density(grid: Tensor) -> Tensor:
            points, slope = _sloped(onto, grid)
            safe = torch.where(slope > 0, points, self.x[len(self.x) // 2])
            at = law.moves.log_density(safe, **self.params).exp()
            return torch.where(slope > 0, at * slope, 0.0)

        ends, mass = masses(density, event)
        return _sloped(onto, self._spread(ends, event))[0], mass

    def mean(self, f: Tensor) -> Tensor:
        """The expectation of a function that is given at the points."""
        mass = self.mass.reshape(self.mass.shape + (1,) * (f.dim() - self.mass.dim()))
        return torch.where(mass > 0, mass * f, 0.0).sum(0)


def _sloped(onto: Map, grid: Tensor) -> tuple[Tensor, Tensor]:
    """A map of real points, which may have parameters, and its derivative there."""
    grid = grid.clone().requires_grad_()
    points: Tensor = onto(grid)
    (slope,) = torch.autograd.grad(points.sum(), grid)
    return points.detach(), slope
