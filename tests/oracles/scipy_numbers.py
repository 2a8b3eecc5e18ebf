"""Laws of one number by SciPy; see ``scipy_laws``."""

from dataclasses import replace

import numpy as np
from scipy import integrate, special, stats

from tests.oracles.scipy_base import Array, Oracle, by_quantiles, continuous


def Normal(loc: Array, scale: Array) -> Oracle:
    return continuous(stats.norm(loc, scale))


def Laplace(loc: Array, scale: Array) -> Oracle:
    return continuous(stats.laplace(loc, scale))


def LogNormal(loc: Array, scale: Array) -> Oracle:
    def kl(other: Oracle) -> Array:  # it does not see a map of the values
        (s,), p = other.frozen.args, other.frozen.kwds
        return continuous(stats.norm(loc, scale)).kl(continuous(stats.norm(np.log(p["scale"]), s)))

    return replace(continuous(stats.lognorm(scale, scale=np.exp(loc))), kl=kl)


def Exponential(rate: Array) -> Oracle:
    return continuous(stats.expon(scale=1 / rate))


def Uniform(low: Array, high: Array) -> Oracle:
    def kl(other: Oracle) -> Array:
        (a, b), (c, d) = frozen.support(), other.frozen.support()
        return np.where((c <= a) & (b <= d), np.log((d - c) / (b - a)), np.inf)

    frozen = stats.uniform(low, high - low)
    return replace(continuous(frozen), kl=kl)


def HalfNormal(scale: Array) -> Oracle:
    return continuous(stats.halfnorm(scale=scale))


def Gumbel(loc: Array, scale: Array) -> Oracle:
    return continuous(stats.gumbel_r(loc, scale))


def Logistic(loc: Array, scale: Array) -> Oracle:
    return continuous(stats.logistic(loc, scale))


def Cauchy(loc: Array, scale: Array) -> Oracle:
    return by_quantiles(stats.cauchy(loc, scale))


def HalfCauchy(scale: Array) -> Oracle:
    return by_quantiles(stats.halfcauchy(scale=scale))


def Gamma(concentration: Array, rate: Array) -> Oracle:
    return continuous(stats.gamma(concentration, scale=1 / rate))


def InverseGamma(concentration: Array, rate: Array) -> Oracle:
    def kl(other: Oracle) -> Array:  # it does not see a map of the values
        (a,), b = other.frozen.args, other.frozen.kwds["scale"]
        return Gamma(concentration, rate).kl(Gamma(a, b))

    return replace(continuous(stats.invgamma(concentration, scale=rate)), kl=kl)


def Beta(concentration1: Array, concentration0: Array) -> Oracle:
    return continuous(stats.beta(concentration1, concentration0))


def StudentT(df: Array, loc: Array, scale: Array) -> Oracle:
    return continuous(stats.t(df, loc, scale))


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
    return replace(continuous(frozen), log_density=log_density)


def TruncatedNormal(loc: Array, scale: Array, low: Array, high: Array) -> Oracle:
    return continuous(stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale))


def VonMises(loc: Array, concentration: Array) -> Oracle:
    k = concentration
    log_turn = np.log(2 * np.pi * special.i0e(k))
    ratio = special.i1e(k) / special.i0e(k)

    def square(index: int) -> float:
        def density(z: float) -> float:
            return z * z * np.exp(k[index] * (np.cos(z) - 1) - log_turn[index])

        return 2 * integrate.quad(density, 0, np.pi, epsabs=1e-14, epsrel=1e-13)[0]

    def kl(other: Oracle) -> Array:
        m, n, other_turn = other.frozen
        mean = k * (ratio - 1) - n * (ratio * np.cos(loc - m) - 1)
        return mean - log_turn + other_turn

    return Oracle(
        lambda x: k * (np.cos(x - loc) - 1) - log_turn,
        loc,
        np.array([square(i) for i in range(len(k))]),
        log_turn - k * (ratio - 1),
        kl,
        (loc, k, log_turn),
    )
