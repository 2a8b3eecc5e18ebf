"""The moves of laws on an interval, by the distribution functions of the law before truncation.

Probabilities of intervals are differences of distribution functions, or of survival functions
where the interval lies above the median, in logarithms: neither tail loses its digits.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.distributions.constraints import extended
from ancestral.distributions.elementary import log1mexp
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.law import Law
from ancestral.distributions.quadrature import unit_integral
from ancestral.distributions.tail_moments import moments_by_tails

ENDS = {"lower": extended, "upper": extended}
NEWTON = 8  # steps that mend a quantile in a tail where probabilities have no digits left


class TruncatedMoves(Law):
    """The moves of a truncated law.

    Class attributes:
        base: The moves of the law before truncation.
        counts: Whether its values are whole numbers.
    """

    base: ClassVar[type[Law]]
    counts: ClassVar[bool] = False
    noise = "uniform"

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """None: it is no law by itself."""
        return []

    @classmethod
    def draw(cls, noise: Tensor, lower: Any, upper: Any, **own: Any) -> Tensor:
        """The inverse of the distribution function at uniform noise, with its derivative."""
        at = _Interval(cls, lower, upper, own)
        with torch.no_grad():
            fixed = {k: v.detach() if isinstance(v, Tensor) else v for k, v in own.items()}
            z = _Interval(cls, at.low.detach(), at.high.detach(), fixed).quantile(double(noise))
            density = cls.base.log_density(z, **at.own) - at.log_mass
        if cls.counts or not cls.base.reparametrised:
            return result_like(z, noise)
        share = at.share(z)  # keeps its value when parameters move: dz = -dF / p
        slope = torch.where(at.above, 1.0, -1.0) / density.exp().clamp(min=1e-300)
        return result_like(z + slope * (share - share.detach()), noise)

    @classmethod
    def log_density(cls, x: Tensor, lower: Any, upper: Any, **own: Any) -> Tensor:
        """The log density of each component; -inf outside."""
        at, y = _Interval(cls, lower, upper, own), double(x)
        inside = (y >= at.low) & (y <= at.high)
        out = cls.base.log_density(at.clipped(y), **at.own) - at.log_mass
        return result_like(torch.where(inside, out, -torch.inf), x, lower, upper, *own.values())

    @classmethod
    def log_cdf(cls, x: Tensor, lower: Any, upper: Any, **own: Any) -> Tensor:
        """The log probability of the interval from the lower end to x."""
        at = _Interval(cls, lower, upper, own)
        y = at.clipped(double(x), below=True)
        top = torch.where(at.above, at.top, cls.base.log_cdf(y, **at.own))
        rest = torch.where(at.above, cls.base.log_sf(y, **at.own), at.rest)
        out = _log_difference(top, rest) - at.log_mass
        return result_like(out, x, lower, upper, *own.values())

    @classmethod
    def log_sf(cls, x: Tensor, lower: Any, upper: Any, **own: Any) -> Tensor:
        """The log probability of the interval from x to the upper end."""
        at = _Interval(cls, lower, upper, own)
        y = at.clipped(double(x), below=True)
        top = torch.where(at.above, cls.base.log_sf(y, **at.own), at.top)
        rest = torch.where(at.above, at.rest, cls.base.log_cdf(y, **at.own))
        out = _log_difference(top, rest) - at.log_mass
        return result_like(out, x, lower, upper, *own.values())

    @classmethod
    def icdf(cls, u: Tensor, lower: Any, upper: Any, **own: Any) -> Tensor:
        """The quantile of the law before truncation, mended in its tails."""
        out = _Interval(cls, lower, upper, own).quantile(double(u))
        return result_like(out, u, lower, upper, *own.values())


class TruncatedNumberMoves(TruncatedMoves):
    """The moves of a truncated law of numbers, which has moments too."""

    @classmethod
    def mean_of(cls, lower: Any, upper: Any, **own: Any) -> Any:
        """The mean, by an integral over distribution functions."""
        return result_like(_moments(cls, lower, upper, own)[0], lower, upper, *own.values())

    @classmethod
    def variance_of(cls, lower: Any, upper: Any, **own: Any) -> Any:
        """The variance, likewise."""
        return result_like(_moments(cls, lower, upper, own)[1], lower, upper, *own.values())


class TruncatedSmoothMoves(TruncatedNumberMoves):
    """The moves of a truncated law whose draws are differentiable, which has an entropy too."""

    @classmethod
    def entropy_of(cls, lower: Any, upper: Any, **own: Any) -> Any:
        r""":math:`-\int_0^1\log p(x_u)\,du` over the quantiles, on either side of a kink."""
        ends = {"lower": double(lower), "upper": double(upper)}
        ends |= {k: double(v) for k, v in own.items()}
        fixed = {k: v.detach() for k, v in ends.items()}
        with torch.no_grad():
            at = _Interval(cls, fixed["lower"], fixed["upper"], {k: fixed[k] for k in own})
            middle = cls.base.icdf(torch.full_like(at.log_mass, 0.5), **at.own)
            split = cls.log_cdf(torch.minimum(torch.maximum(middle, at.low), at.high), **fixed)
            split = split.exp().clamp(0.0, 1.0)

        def log_p(u: Tensor) -> Tensor:
            return cls.log_density(cls.draw(u, **ends), **ends)

        out = -(unit_integral(log_p, 0.0 * split, split) + unit_integral(log_p, split, 1.0))
        out = torch.where(out.isfinite(), out, torch.nan)  # quantiles that underflow
        return result_like(out, lower, upper, *own.values())


class _Interval:
    """The ends of an interval, and the logarithms of the probabilities that its mass is between.

    Args:
        moves: The moves of the truncated law.
        lower: The lower end.
        upper: The upper end.
        own: The parameters of the law before truncation.

    Attributes:
        above: Whether the interval is measured by survival functions.
        top: The larger of the two logarithms; of F at the upper end, or of 1 - F at the lower.
        rest: The smaller.
        log_mass: The log probability of the interval.
    """

    def __init__(
        self, moves: type[TruncatedMoves], lower: Any, upper: Any, own: Mapping[str, Any]
    ) -> None:
        self.moves, self.base = moves, moves.base
        self.own = {k: double(v) for k, v in own.items()}
        every = (lower, upper, *own.values())  # a number goes where the tensors are
        on = next((v.device for v in every if isinstance(v, Tensor)), None)
        low, high = torch.broadcast_tensors(
            double(lower).to(device=on), double(upper).to(device=on)
        )
        if moves.counts:
            low, high = low.ceil(), high.floor()
        self.low, self.high = low, high
        before = low - 1.0 if moves.counts else low
        no_low, no_high = low.isinf(), high.isinf()
        # what is infinite has no finite derivative: another point stands there, unread
        a = torch.where(no_low, torch.where(no_high, 1.0, high), before)
        b = torch.where(no_high, torch.where(no_low, 1.0, low), high)
        cdf_a = torch.where(no_low, -torch.inf, self.base.log_cdf(a, **self.own))
        sf_a = torch.where(no_low, 0.0, self.base.log_sf(a, **self.own))
        cdf_b = torch.where(no_high, 0.0, self.base.log_cdf(b, **self.own))
        sf_b = torch.where(no_high, -torch.inf, self.base.log_sf(b, **self.own))
        self.above = cdf_a > sf_a
        self.top = torch.where(self.above, sf_a, cdf_b)
        self.rest = torch.where(self.above, sf_b, cdf_a)
        self.log_mass = _log_difference(self.top, self.rest)

    def clipped(self, x: Tensor, *, below: bool = False) -> Tensor:
        """A value inside of the interval; of counts, if ``below``, or the last one before it."""
        low = self.low - 1.0 if self.moves.counts and below else self.low
        return torch.minimum(torch.maximum(x, low), self.high)

    def share(self, x: Tensor) -> Tensor:
        """The share of the mass below x, or above it where survival functions measure."""
        inner = torch.where(
            self.above, self.base.log_sf(x, **self.own), self.base.log_cdf(x, **self.own)
        )
        between = (inner - self.top).exp() - (self.rest - self.top).exp()
        return between / -torch.expm1(self.rest - self.top)

    def quantile(self, u: Tensor) -> Tensor:
        """The value that has a share u of the mass below it."""
        v = torch.where(self.above, 1.0 - u, u)
        wanted = torch.logaddexp(self.rest + (1.0 - v).log(), self.top + v.log())
        rank = torch.where(self.above, -torch.expm1(wanted), wanted.exp())
        x = self.clipped(self.base.icdf(rank.clamp(1e-300, 1.0 - 1e-16), **self.own))
        if self.moves.counts:
            return x
        gap, step = self._off(x, wanted)
        for _ in range(NEWTON):
            tried = self.clipped(x - step)
            new_gap, new_step = self._off(tried, wanted)
            better = new_gap.abs() < gap.abs()
            x, gap = torch.where(better, tried, x), torch.where(better, new_gap, gap)
            step = torch.where(better, new_step, step)
        return x

    def _off(self, x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """How far the logarithm of a tail's probability is from a wanted one, and Newton's step."""
        tail = torch.where(
            self.above, self.base.log_sf(x, **self.own), self.base.log_cdf(x, **self.own)
        )
        gap = tail - wanted
        slope = (self.base.log_density(x, **self.own) - tail).exp()
        step = gap / torch.where(self.above, -slope, slope)
        return gap.nan_to_num(torch.inf), torch.where(step.isfinite(), step, 0.0)


def _moments(
    moves: type[TruncatedMoves], lower: Any, upper: Any, own: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """The mean and the variance, about the median of the law before truncation or, if it is not
    in the interval, the end that is next to it: there the density has its mode or a kink, if any.
    """
    at = _Interval(moves, lower, upper, own)
    fixed = {k: v.detach() for k, v in at.own.items()}
    ends = {"lower": at.low, "upper": at.high, **at.own}
    with torch.no_grad():
        rank = torch.zeros_like(at.log_mass)
        first, middle, last = (moves.base.icdf(rank + u, **fixed) for u in (0.0, 0.5, 1.0))
        plain = _Interval(moves, at.low.detach(), at.high.detach(), fixed)
    low, high = torch.maximum(at.low, first), torch.minimum(at.high, last)
    centre = torch.minimum(torch.maximum(middle, low), high)
    tails = (lambda x: moves.log_cdf(x, **ends), lambda x: moves.log_sf(x, **ends))
    return moments_by_tails(tails, plain.quantile, centre, low, high)


def _log_difference(top: Tensor, rest: Tensor) -> Tensor:
    r""":math:`\log(e^{top} - e^{rest})`; of nothing it is -inf, with no slope."""
    gap = top - rest
    is_left = gap > 0
    left = torch.where(is_left, top, 0.0) + log1mexp(torch.where(is_left, gap, 1.0))
    return torch.where(is_left, left, -torch.inf)


@functools.cache
def truncated_moves(base: type[Law], counts: bool) -> type[TruncatedMoves]:
    """The moves of a truncated law."""
    found = {
        "base": base,
        "counts": counts,
        "domains": {**base.domains, **ENDS},
        "reparametrised": base.reparametrised and not counts,
    }
    smooth = TruncatedSmoothMoves if base.reparametrised else TruncatedNumberMoves
    parent = TruncatedMoves if counts else smooth
    return type(f"Truncated{base.__name__}", (parent,), found)
