r"""The normal law on an interval, :math:`p(x) \propto N(x; \mu, \sigma^2)` from a to b."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.constraints import (
    Constraint,
    extended,
    identity,
    interval,
    positive,
    real,
)
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.implicit import attach
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal
from ancestral.distributions.quadrature import highest, integrate, log_normal_integral


class TruncatedNormal(Law):
    r"""The truncated normal law with independent components,
    :math:`\log p(x) = \log N(x; \mu, \sigma^2) - \log(\Phi(\frac{b-\mu}\sigma) -
    \Phi(\frac{a-\mu}\sigma))`, wherever the interval lies.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Mean :math:`\mu` before truncation: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        scale: Standard deviation :math:`\sigma > 0` before truncation, likewise.
        low: Lower end :math:`a`, likewise; may be ``-inf``.
        high: Upper end :math:`b > a`, likewise; may be ``inf``.
        net: A network of the conditions, which returns a dict of parameters; where the ends are
            given, of one output tensor the first half of the last axis is ``loc``, the second
            half through softplus ``scale``.

    Example:
        >>> p = TruncatedNormal(loc=0.0, scale=1.0, low=0.0, high=float("inf"))
        >>> p.get_log_prob({"x": torch.zeros(1)})
        tensor([-0.2258])
    """

    domains = {"loc": real, "scale": positive, "low": extended, "high": extended}
    split = {"loc": identity, "scale": F.softplus}
    increasing = ("low", "high")
    reparametrised = True
    noise = "uniform"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        scale: Parameter = None,
        low: Parameter = None,
        high: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"loc": loc, "scale": scale, "low": low, "high": high}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Numbers from ``low`` to ``high``."""
        return interval(params["low"], params["high"])

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Around the mean, in a tail, and most of the mass."""
        loc, scale, low, high = torch.tensor(
            [[0.1, -2.0, 0.5], [0.8, 0.7, 0.5], [-1.0, 0.0, -0.5], [0.7, 0.5, 2.0]],
            dtype=torch.float64,
        )
        return [{"loc": loc, "scale": scale, "low": low, "high": high}]

    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any, low: Any, high: Any) -> Tensor:
        """The inverse of the distribution function at uniform noise, with its derivative."""
        m, s, a, b = double(loc), double(scale), double(low), double(high)
        lower, upper = _over(a - m, s), _over(b - m, s)
        z = _attached(double(noise), lower, upper)
        out = torch.minimum(torch.maximum(m + s * z, a), b)
        return result_like(out, noise)

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any, low: Any, high: Any) -> Tensor:
        """The log density of each component; -inf outside."""
        m, s, a, b, y = double(loc), double(scale), double(low), double(high), double(x)
        inside = (y >= a) & (y <= b)
        r, log_j = _integral(a, b, m, s)
        top = torch.minimum(torch.maximum(m, a), b)
        # from the highest point, so that no squares cancel
        gap = (torch.where(inside, y, top) - top) / s
        out = -0.5 * gap * (gap + 2.0 * r) - log_j - s.log()
        return result_like(torch.where(inside, out, -torch.inf), x, loc, scale, low, high)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any, low: Any, high: Any) -> Tensor:
        """The log probability of the interval from ``low`` to x."""
        y = torch.minimum(torch.maximum(double(x), double(low)), double(high))
        out = _log_share(double(low), y, double(loc), double(scale), double(low), double(high))
        return result_like(out, x, loc, scale, low, high)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any, low: Any, high: Any) -> Tensor:
        """The log probability of the interval from x to ``high``."""
        y = torch.minimum(torch.maximum(double(x), double(low)), double(high))
        out = _log_share(y, double(high), double(loc), double(scale), double(low), double(high))
        return result_like(out, x, loc, scale, low, high)

    @staticmethod
    def icdf(u: Tensor, loc: Any, scale: Any, low: Any, high: Any) -> Tensor:
        """By the normal quantile, in the tail that is nearer to the mean; close to an end by how
        far it is from it.
        """
        m, s, a, b = double(loc), double(scale), double(low), double(high)
        lower, upper, rank = _over(a - m, s), _over(b - m, s), double(u)
        z = _quantile(rank, lower, upper)
        r, log_j = _integral(a, b, m, s)
        flip = upper - z < z - lower
        end, share = torch.where(flip, -upper, lower), torch.where(flip, 1.0 - rank, rank)
        near, gap = _from_end(share, end, torch.where(flip, upper - z, z - lower), r, log_j)
        away = torch.where(near, torch.where(flip, b - s * gap, a + s * gap), m + s * z)
        out = torch.minimum(torch.maximum(away, a), b)
        return result_like(out, u, loc, scale, low, high)

    @staticmethod
    def mean_of(loc: Any, scale: Any, low: Any, high: Any) -> Any:
        """The mean, by an integral over what has mass."""
        top, first, _ = _moments(double(loc), double(scale), double(low), double(high))
        return result_like(top + first, loc, scale, low, high)

    @staticmethod
    def variance_of(loc: Any, scale: Any, low: Any, high: Any) -> Any:
        """The variance, likewise."""
        _, _, variance = _moments(double(loc), double(scale), double(low), double(high))
        return result_like(variance, loc, scale, low, high)

    @staticmethod
    def entropy_of(loc: Any, scale: Any, low: Any, high: Any) -> Any:
        r""":math:`\log\sigma J + \frac12 E[d(d + 2r)]` with :math:`d = z - r`."""
        m, s, a, b = double(loc), double(scale), double(low), double(high)
        r, log_j = _integral(a, b, m, s)
        _, first, variance = _moments(m, s, a, b)
        gap = first / s
        out = s.log() + log_j + 0.5 * (variance / s**2 + gap * gap) + r * gap
        return result_like(out, loc, scale, low, high)


def _over(distance: Tensor, scale: Tensor) -> Tensor:
    """A distance in standard deviations; an infinite one has no derivative, in place of NaN."""
    far = distance.isinf()
    return torch.where(far, distance, torch.where(far, 0.0, distance) / scale)


def _integral(low: Tensor, high: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    width = _over(high - low, scale)
    return log_normal_integral(_over(low - loc, scale), _over(high - loc, scale), width)


def _log_share(
    start: Tensor, end: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """The log probability of a part of the interval: both integrals by their highest points."""
    r, log_j = _integral(low, high, loc, scale)
    own, log_own = _integral(start, end, loc, scale)
    top = torch.minimum(torch.maximum(loc, low), high)
    gap = (torch.minimum(torch.maximum(loc, start), end) - top) / scale
    return log_own - log_j - 0.5 * gap * (own + r)


def _moments(
    loc: Tensor, scale: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The highest point, how far the mean is from it, and the variance."""
    a, b, width = (_over(d, scale) for d in (low - loc, high - loc, high - low))
    r, left, right = highest(a, b, width)
    log_j = log_normal_integral(a, b, width)[1]

    def density(d: Tensor) -> Tensor:
        return torch.exp(-0.5 * d * (d + 2.0 * r) - log_j)

    mean = integrate(lambda d: d * density(d), -left, right)
    variance = integrate(lambda d: (d - mean) ** 2 * density(d), -left, right)
    top = torch.minimum(torch.maximum(loc, low), high)
    return top, scale * mean, scale**2 * variance


def _quantile(u: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Standard quantiles in an interval; the mirror image if it lies above the mean."""
    flip = lower + upper > 0
    low, high = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    rank = torch.where(flip, 1.0 - u, u)
    start, end = torch.special.ndtr(low), torch.special.ndtr(high)
    z = torch.special.ndtri((start + rank * (end - start)).clamp(min=1e-300))
    z = torch.where(high < -5.0, _far_quantile(rank, low, high), z)
    z = torch.minimum(torch.maximum(z, low), high)
    return torch.where(flip, -z, z)


def _from_end(
    share: Tensor, end: Tensor, gap: Tensor, r: Tensor, log_j: Tensor
) -> tuple[Tensor, Tensor]:
    r"""How far from an end e the quantile is that has a share of the mass on this side of it.

    By Newton's rule for :math:`\int_0^d e^{-t(t+2e)/2}dt = share\,e^{(e^2-r^2)/2} J`; a gap that
    is a difference of positions has lost its digits where it is small.

    Returns:
        Whether the end is so close that the rule is right, and the gap.
    """
    near = (gap * (end.abs() + 1.0) < 0.5) & end.isfinite()
    e, d = torch.where(near, end, 0.0), torch.where(near, gap, 0.1)
    half = torch.where(near, 0.5 * (e - r) * (e + r), 0.0)
    target = torch.where(near, share * torch.exp(half + log_j), 0.1)
    d = torch.where(target * (e.abs() + 1.0) < 1e-3, target, d)
    for _ in range(3):
        start = torch.zeros_like(d)
        found = integrate(lambda t: torch.exp(-0.5 * t * (t + 2.0 * e)), start, d, 8)
        d = d - (found - target) * torch.exp(0.5 * d * (d + 2.0 * e))
    return near, d


def _far_quantile(rank: Tensor, low: Tensor, high: Tensor) -> Tensor:
    r"""Quantiles of an interval far below the mean, by Newton's rule for the log probability.

    With :math:`e = -high` and the size t of the value, :math:`\log Q(t) - \log Q(e)` is the log of
    :math:`w = rank + (1 - rank)\,Q(-low)/Q(e)`, and Q(t) is close to an exponential.
    """
    e, far = -high.clamp(max=-1.0), -low.clamp(max=-1.0)
    width = far - e
    log_tail = _log_scaled(far) - _log_scaled(e) - 0.5 * width * (far + e)
    w = rank + (1.0 - rank) * log_tail.nan_to_num(-torch.inf, neginf=-torch.inf).exp()
    log_w = w.clamp(min=1e-300).log()
    gap = -2.0 * log_w / ((e * e - 2.0 * log_w).sqrt() + e)
    for _ in range(4):
        t = e + gap
        error = _log_scaled(t) - _log_scaled(e) - 0.5 * gap * (t + e) - log_w
        gap = (gap + error * torch.exp(_log_scaled(t)) * math.sqrt(0.5 * math.pi)).clamp(min=0.0)
    return -(e + gap)


def _log_scaled(t: Tensor) -> Tensor:
    r""":math:`\log e^{t^2/2}\,2Q(t)`, the logarithm of erfcx."""
    return torch.special.erfcx(t * math.sqrt(0.5)).log()


def _attached(u: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    r"""Quantiles with :math:`\frac{dz}{da} = (1-u)\frac{\phi(a)}{\phi(z)}` and
    :math:`\frac{dz}{db} = u\frac{\phi(b)}{\phi(z)}`.
    """
    z = _quantile(u, lower.detach(), upper.detach())
    pairs = []
    for end, share in ((lower, 1.0 - u), (upper, u)):
        ratio = torch.exp(-0.5 * (end.detach() - z) * (end.detach() + z))
        pairs.append((end, share * ratio.nan_to_num(0.0)))
    return attach(z, *pairs)


def kl_truncated_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`-H[q] - E_q[\log p]`, infinite where p's interval does not hold that of q."""
    m, s, a, b = (double(p[k]) for k in ("loc", "scale", "low", "high"))
    mean, variance = (
        double(f(**q)) for f in (TruncatedNormal.mean_of, TruncatedNormal.variance_of)
    )
    r, log_j = _integral(a, b, m, s)
    top = torch.minimum(torch.maximum(m, a), b)
    gap = (mean - top) / s
    cross = s.log() + log_j + 0.5 * (variance / s**2 + gap * gap) + r * gap
    held = (a <= double(q["low"])) & (double(q["high"]) <= b)
    out = torch.where(held, cross - double(TruncatedNormal.entropy_of(**q)), torch.inf)
    return result_like(out, *q.values(), *p.values())


TruncatedNormal.closed_kl = {
    TruncatedNormal: kl_truncated_normal,
    Normal: kl_to_normal(TruncatedNormal),
}
