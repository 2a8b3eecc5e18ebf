"""Laws by SciPy: what densities, moments, entropies and divergences should be.

One function for each law, by the name of its class and with the names of its parameters. Nothing
of the package under test is imported here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import integrate, special, stats

Array = np.ndarray


@dataclass(frozen=True)
class Oracle:
    """A law with given parameters, component by component.

    Args:
        log_density: The log density of each component of a value.
        mean: Its mean, or None if a value is no number.
        variance: Its variance, likewise.
        entropy: The entropy of each component, in nats.
        kl: The divergence from another oracle of the family, component by component.
        frozen: What SciPy computes with.
    """

    log_density: Callable[[Array], Array]
    mean: Array | None
    variance: Array | None
    entropy: Array
    kl: Callable[["Oracle"], Array]
    frozen: Any = None


def _continuous(frozen: Any) -> Oracle:
    def kl(other: Oracle) -> Array:
        def one(index: int) -> float:
            def density(x: float) -> float:
                log_q, log_p = (np.ravel(f(x))[index] for f in (frozen.logpdf, other.log_density))
                return np.exp(log_q) * (log_q - log_p)

            middle = np.ravel(frozen.mean())[index]
            width = 40 * np.ravel(frozen.std())[index]
            low, high = (np.broadcast_to(end, shape).ravel()[index] for end in frozen.support())
            low, high = max(middle - width, low), min(middle + width, high)
            extra = np.ravel(other.mean)
            points = [p for p in (middle, extra[index]) if low < p < high]
            return integrate.quad(density, low, high, points=points,
                                  limit=400, epsabs=1e-12, epsrel=1e-12)[0]  # fmt: skip

        shape = np.shape(frozen.mean())
        return np.array([one(i) for i in range(int(np.prod(shape)))]).reshape(shape)

    return Oracle(frozen.logpdf, frozen.mean(), frozen.var(), frozen.entropy(), kl, frozen)


def _by_quantiles(frozen: Any) -> Oracle:
    """A law without moments: its divergences are integrals over ranks."""

    def kl(other: Oracle) -> Array:
        def one(index: int) -> float:
            def ratio(u: float) -> float:
                x = frozen.ppf(u)
                return np.ravel(frozen.logpdf(x) - other.log_density(x))[index]

            return integrate.quad(ratio, 0, 1, limit=400, epsabs=1e-12, epsrel=1e-12)[0]

        shape = np.shape(frozen.median())
        return np.array([one(i) for i in range(int(np.prod(shape)))]).reshape(shape)

    return Oracle(frozen.logpdf, None, None, frozen.entropy(), kl, frozen)


def Normal(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.norm(loc, scale))


def Laplace(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.laplace(loc, scale))


def LogNormal(loc: Array, scale: Array) -> Oracle:
    def kl(other: Oracle) -> Array:  # it does not see a map of the values
        (s,), p = other.frozen.args, other.frozen.kwds
        return _continuous(stats.norm(loc, scale)).kl(
            _continuous(stats.norm(np.log(p["scale"]), s))
        )

    return replace(_continuous(stats.lognorm(scale, scale=np.exp(loc))), kl=kl)


def Exponential(rate: Array) -> Oracle:
    return _continuous(stats.expon(scale=1 / rate))


def Uniform(low: Array, high: Array) -> Oracle:
    def kl(other: Oracle) -> Array:
        (a, b), (c, d) = frozen.support(), other.frozen.support()
        return np.where((c <= a) & (b <= d), np.log((d - c) / (b - a)), np.inf)

    frozen = stats.uniform(low, high - low)
    return replace(_continuous(frozen), kl=kl)


def HalfNormal(scale: Array) -> Oracle:
    return _continuous(stats.halfnorm(scale=scale))


def Gumbel(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.gumbel_r(loc, scale))


def Logistic(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.logistic(loc, scale))


def Cauchy(loc: Array, scale: Array) -> Oracle:
    return _by_quantiles(stats.cauchy(loc, scale))


def HalfCauchy(scale: Array) -> Oracle:
    return _by_quantiles(stats.halfcauchy(scale=scale))


def Gamma(concentration: Array, rate: Array) -> Oracle:
    return _continuous(stats.gamma(concentration, scale=1 / rate))


def InverseGamma(concentration: Array, rate: Array) -> Oracle:
    def kl(other: Oracle) -> Array:  # it does not see a map of the values
        (a,), b = other.frozen.args, other.frozen.kwds["scale"]
        return Gamma(concentration, rate).kl(Gamma(a, b))

    return replace(_continuous(stats.invgamma(concentration, scale=rate)), kl=kl)


def Beta(concentration1: Array, concentration0: Array) -> Oracle:
    return _continuous(stats.beta(concentration1, concentration0))


def StudentT(df: Array, loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.t(df, loc, scale))


def Kumaraswamy(concentration1: Array, concentration0: Array) -> Oracle:
    a, b = concentration1, concentration0
    first, second = (b * special.beta(1 + n / a, b) for n in (1, 2))
    harmonic = special.digamma(b + 1) + np.euler_gamma

    def log_density(x: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * np.log1p(-(x**a))

    entropy = 1 - 1 / b + (1 - 1 / a) * harmonic - np.log(a * b)
    return Oracle(log_density, first, second - first**2, entropy, lambda other: np.nan)


def ContinuousBernoulli(probs: Array | None = None, logits: Array | None = None) -> Oracle:
    eta = special.logit(probs) if logits is None else logits
    log_total = np.log(np.expm1(eta) / eta)
    mean = 1 / -np.expm1(-eta) - 1 / eta
    variance = eta**-2.0 - 0.25 / np.sinh(eta / 2) ** 2

    def kl(other: Oracle) -> Array:
        return (eta - other.frozen[0]) * mean - log_total + other.frozen[1]

    return Oracle(
        lambda x: eta * x - log_total,
        mean,
        variance,
        log_total - eta * mean,
        kl,
        (eta, log_total),
    )


def FoldedNormal(loc: Array, scale: Array) -> Oracle:
    def log_density(x: Array) -> Array:
        return np.logaddexp(stats.norm.logpdf(x, loc, scale), stats.norm.logpdf(-x, loc, scale))

    frozen = stats.foldnorm(np.abs(loc) / scale, scale=scale)
    return replace(_continuous(frozen), log_density=log_density)


def TruncatedNormal(loc: Array, scale: Array, low: Array, high: Array) -> Oracle:
    return _continuous(stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale))


def Bernoulli(probs: Array | None = None, logits: Array | None = None) -> Oracle:
    pi = special.expit(logits) if probs is None else probs
    frozen = stats.bernoulli(pi)

    def kl(other: Oracle) -> Array:
        return special.rel_entr(pi, other.mean) + special.rel_entr(1 - pi, 1 - other.mean)

    return Oracle(
        frozen.logpmf, frozen.mean(), frozen.var(), special.entr(pi) + special.entr(1 - pi), kl
    )


def Categorical(
    probs: Array | None = None, logits: Array | None = None, onehot: bool = True
) -> Oracle:
    pi = special.softmax(logits, -1) if probs is None else probs

    def log_density(x: Array) -> Array:
        if onehot:
            full = np.broadcast_to(pi, np.shape(x))
            rows = zip(
                np.reshape(x, (-1, pi.shape[-1])), full.reshape(-1, pi.shape[-1]), strict=True
            )
            each = [stats.multinomial(1, p / p.sum()).logpmf(row) for row, p in rows]
            return np.reshape(each, np.shape(x)[:-1])
        log_pi = np.broadcast_to(np.log(pi), (*np.shape(x), pi.shape[-1]))
        return np.take_along_axis(log_pi, np.asarray(x)[..., None], -1)[..., 0]

    return Oracle(
        log_density,
        pi if onehot else None,
        pi * (1 - pi) if onehot else None,
        stats.entropy(pi, axis=-1),
        lambda other: stats.entropy(pi, other.frozen, axis=-1),
        frozen=pi,
    )
