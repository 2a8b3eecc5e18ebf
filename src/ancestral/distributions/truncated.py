r"""Laws on an interval, :math:`p(x) \propto g(x)\,[a \le x \le b]`, by distribution functions.

Probabilities of intervals are differences of distribution functions, or of survival functions
where the interval lies above the median, in logarithms: neither tail loses its digits.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.core.errors import ParameterError
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.constraints import Constraint, extended
from ancestral.distributions.eager import params_of
from ancestral.distributions.elementary import log1mexp
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.gumbel import Gumbel
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal
from ancestral.distributions.tail_moments import moments_by_tails

ENDS = {"lower": extended, "upper": extended}
NEEDED = ("log_cdf", "log_sf", "icdf")
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
        on = next((v.device for v in (lower, upper) if isinstance(v, Tensor)), None)
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
    r""":math:`\log(e^{top} - e^{rest})`."""
    return top + log1mexp((top - rest).clamp(min=0.0))


@functools.cache
def truncated_moves(base: type[Law], counts: bool) -> type[TruncatedMoves]:
    """The moves of a truncated law."""
    found = {
        "base": base,
        "counts": counts,
        "domains": {**base.domains, **ENDS},
        "reparametrised": base.reparametrised and not counts,
    }
    parent = TruncatedMoves if counts else TruncatedNumberMoves
    return type(f"Truncated{base.__name__}", (parent,), found)


class Truncated(Law):
    r"""A law on an interval, :math:`\log p(x) = \log g(x) - \log(G(b) - G(a))` for
    :math:`a \le x \le b`, with independent components.

    It takes any law of numbers or counts that has a distribution function and its inverse; of
    counts both ends belong to it. Draws are quantiles, with the pathwise gradient if the law's
    have one. Of numbers, mean and variance are integrals of distribution functions, to 1e-10
    where these have as many digits; counts have none. For a normal law :class:`TruncatedNormal`
    is faster, and exact for intervals that are narrow too, where a difference of distribution
    functions loses digits.

    Args:
        law: The law g before truncation; its variable, conditions and network stay.
        low: Lower end a: a number, a tensor, an ``nn.Parameter``, or the name of a condition;
            none if not given.
        high: Upper end b > a, likewise.
        name: How it prints; as the law if not given.
        cond_var: Names of conditions that are ends.

    Raises:
        ParameterError: If the law has no distribution function or no inverse of it, or neither
            end is given.
        SupportError: If the ends are not in order.

    Example:
        >>> p = Truncated(Gumbel(loc=0.0, scale=1.0, name="g"), low=10.0, name="p")
        >>> str(p).splitlines()[1].strip()
        'p(x) ∝ g(x) [10 ≤ x ≤ inf]'
        >>> p.get_log_prob({"x": torch.tensor([10.0, 12.0])})
        tensor([-2.2700e-05, -2.0000e+00])
    """

    composite = True
    domains = ENDS
    increasing = ("lower", "upper")
    noise = "uniform"

    def __init__(
        self,
        law: Distribution,
        low: Parameter = None,
        high: Parameter = None,
        name: str | None = None,
        *,
        cond_var: Sequence[str] = (),
    ) -> None:
        factor = _truncatable(law)
        if low is None and high is None:
            raise ParameterError(
                f"Truncated({law.name}): give an end, low= or high=, or use {law.name} itself."
            )
        self._of = factor
        ends = {"lower": -torch.inf if low is None else low,
                "upper": torch.inf if high is None else high}  # fmt: skip
        names = list(dict.fromkeys([*factor.cond_var, *cond_var]))
        shape = factor.law.declared_shape
        super().__init__(factor.var, names, name or law.name, shape or None, None, ends)
        self.law = factor.law

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A normal law on an interval, and the upper tail of a Gumbel law from a condition on."""
        loc, scale = torch.tensor([[0.1, -2.0, 0.5], [0.8, 0.7, 0.5]], dtype=torch.float64)
        return [
            {"law": Normal(loc=loc, scale=scale), "low": -1.5, "high": 1.1},
            {
                "law": Gumbel(loc=loc, scale=scale),
                "low": "a",
                "cond_var": ["a"],
                "given": {"a": torch.tensor([[2.5, 1.8, -0.3]])},
            },
        ]

    @property
    def moves(self) -> type[Law]:
        """Those of the law, on the interval."""
        base: Any = self._of.law.moves
        return truncated_moves(base, _is_counting(self._of.law))

    @property
    def is_complete(self) -> bool:
        """Not: the law's parameters come from the law."""
        return False

    def forward(self, **conditions: Tensor) -> Params:
        """The parameters of the law before truncation."""
        return params_of(self._of, [conditions[c] for c in self._of.cond_var])

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """The parameters of the law, and the ends."""
        local = dict(zip(self._cond_var, conditions, strict=True))
        out: Params = dict(self(**local))
        for key in ENDS:
            bound = self.bound.get(key)
            out[key] = local[bound] if bound else self.numbers.get(key, getattr(self, key, None))
        return out

    def support(self, params: Params) -> Constraint | None:
        """The interval, as far as the law reaches."""
        low, high = torch.as_tensor(params["lower"]), torch.as_tensor(params["upper"])
        own = {k: v for k, v in params.items() if k not in ENDS}
        inner = self._of.law.support(own)

        def holds(x: Tensor) -> Tensor:
            inside = (x >= low) & (x <= high)
            return inside if inner is None else inside & inner.holds(x)

        listed = None if inner is None or inner.listed is None else _listed(inner, low, high)
        return Constraint(
            "inside of the law's interval", holds, of_real=_onto(low, high), listed=listed
        )

    @property
    def formula(self) -> Formula:
        r""":math:`g(x) [a \\le x \\le b]`."""
        f = self._of
        ends = [self.bound.get(k, self.numbers.get(k, k)) for k in ENDS]
        return Formula(
            [Term([Atom(f.law.name, f.var, f.cond_var)])], True, (f.var[0], ends[0], ends[1])
        )


def _listed(inner: Constraint, low: Tensor, high: Tensor) -> Callable[[int, int], Tensor]:
    """The first values of a law of counts, those outside of all intervals left out."""
    every = inner.listed
    assert every is not None

    def listed(count: int, size: int) -> Tensor:
        found = every(count, size)
        return found[(found >= low.min()) & (found <= high.max())]

    return listed


def _onto(low: Tensor, high: Tensor) -> Callable[[Tensor], Tensor]:
    """A map of the real numbers onto an interval."""

    def onto(t: Tensor) -> Tensor:
        if bool(high.isinf().all()):
            return low + t.exp()
        if bool(low.isinf().all()):
            return high - t.exp()
        return low + (high - low) * t.sigmoid()

    return onto


def _is_counting(law: Law) -> bool:
    """Whether values are whole numbers."""
    support = law.support({key: 1.0 for key in law.moves.domains})
    return support is not None and support.listed is not None


def _truncatable(law: Distribution) -> Factor:
    single = isinstance(law, Distribution) and len(law.factors) == 1 and not law.integrated
    if not single or law.factors[0].copies or law.factors[0].law.pushforward is not None:
        told = law.prob_text if isinstance(law, Distribution) else type(law).__name__
        raise ParameterError(f"Truncated takes one law with a distribution function, not {told}.")
    factor = law.factors[0]
    moves = factor.law.moves
    missing = [which for which in NEEDED if not hasattr(moves, which)]
    if missing or moves.value_dims:
        raise ParameterError(
            f"Truncated({factor.text}): a {factor.law.distribution_name} has no "
            f"{' and no '.join(missing) or 'numbers as values'}, so that neither the mass of an "
            "interval nor its draws can be computed. Condition by rejection: draw, and keep what "
            "lies inside."
        )
    return factor
