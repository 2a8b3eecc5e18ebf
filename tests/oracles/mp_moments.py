"""Means and variances of numbers and counts in 50 digits, beside the laws of ``mp_laws``."""

from collections.abc import Callable, Mapping
from typing import Any

from mpmath import mp

from tests.oracles.mp_vectors import log_odds_pair

Number = Any
Moments = tuple[Callable[..., Number], Callable[..., Number]]


def _kumaraswamy(n: int, concentration1: Number, concentration0: Number) -> Number:
    b = concentration0
    return b * mp.beta(1 + n / concentration1, b)


def _kumaraswamy_variance(**p: Number) -> Number:
    with mp.workdps(80):
        return _kumaraswamy(2, **p) - _kumaraswamy(1, **p) ** 2


def _folded(loc: Number, scale: Number) -> Number:
    z = abs(loc) / scale
    return scale * (mp.sqrt(2 / mp.pi) * mp.exp(-z * z / 2) + z * mp.erf(z / mp.sqrt(2)))


def _inverse_gamma(concentration: Number, rate: Number) -> tuple[Number, Number]:
    a = concentration
    mean = rate / (a - 1) if a > 1 else mp.inf
    return mean, mean**2 / (a - 2) if a > 2 else mp.inf


def _student(df: Number, loc: Number, scale: Number) -> tuple[Number, Number]:
    if df <= 1:
        return mp.nan, mp.nan
    return loc, scale**2 * df / (df - 2) if df > 2 else mp.inf


def _angle_variance(loc: Number, concentration: Number) -> Number:
    """The mean square of the angle from the mean, where the density is above e^-90."""
    k = concentration
    reach = mp.acos(max(1 - 90 / k, mp.mpf(-1)))
    inner = mp.quad(
        lambda t: t * t * mp.exp(-2 * k * mp.sin(t / 2) ** 2), mp.linspace(0, reach, 5)
    )
    return inner * mp.exp(k) / (mp.pi * mp.besseli(0, k))


def _truncated(loc: Number, scale: Number, low: Number, high: Number) -> tuple[Number, Number]:
    """By the hazards at both ends, in the tail where they do not cancel, with digits to spare."""
    with mp.workdps(150):
        a, b = (low - loc) / scale, (high - loc) / scale
        if a + b > 0:
            mean, variance = _truncated(-loc, scale, -high, -low)
            return -mean, variance
        mass = (mp.erfc(-b / mp.sqrt(2)) - mp.erfc(-a / mp.sqrt(2))) / 2
        below, above = mp.npdf(a) / mass, mp.npdf(b) / mass
        first = below - above
        return loc + scale * first, scale**2 * (1 + a * below - b * above - first**2)


def _grey(eta: Number) -> tuple[Number, Number]:
    """Of a continuous Bernoulli law; both forms cancel near 0."""
    with mp.workdps(100):
        if not eta:
            return mp.mpf(1) / 2, mp.mpf(1) / 12
        return 1 / -mp.expm1(-eta) - 1 / eta, 1 / eta**2 - 1 / (4 * mp.sinh(eta / 2) ** 2)


def _grey_of_probs(probs: Number) -> tuple[Number, Number]:
    with mp.workdps(100):
        return _grey(mp.log(probs) - mp.log1p(-probs))


def _on(**p: Number) -> tuple[Number, Number]:
    on, off = log_odds_pair(**p)
    return mp.exp(on), mp.exp(off)


MOMENTS: Mapping[str, Moments] = {
    "Normal": (lambda loc, scale: loc, lambda loc, scale: scale**2),
    "Laplace": (lambda loc, scale: loc, lambda loc, scale: 2 * scale**2),
    "Logistic": (lambda loc, scale: loc, lambda loc, scale: (mp.pi * scale) ** 2 / 3),
    "Gumbel": (
        lambda loc, scale: loc + mp.euler * scale,
        lambda loc, scale: (mp.pi * scale) ** 2 / 6,
    ),
    "Exponential": (lambda rate: 1 / rate, lambda rate: rate**-2),
    "HalfNormal": (
        lambda scale: scale * mp.sqrt(2 / mp.pi),
        lambda scale: scale**2 * (1 - 2 / mp.pi),
    ),
    "Uniform": (lambda low, high: (low + high) / 2, lambda low, high: (high - low) ** 2 / 12),
    "LogNormal": (
        lambda loc, scale: mp.exp(loc + scale**2 / 2),
        lambda loc, scale: mp.expm1(scale**2) * mp.exp(2 * loc + scale**2),
    ),
    "Gamma": (
        lambda concentration, rate: concentration / rate,
        lambda concentration, rate: concentration / rate**2,
    ),
    "InverseGamma": (
        lambda **p: _inverse_gamma(**p)[0],
        lambda **p: _inverse_gamma(**p)[1],
    ),
    "Beta": (
        lambda concentration1, concentration0: concentration1 / (concentration1 + concentration0),
        lambda concentration1, concentration0: (
            concentration1
            * concentration0
            / (concentration1 + concentration0) ** 2
            / (concentration1 + concentration0 + 1)
        ),
    ),
    "Kumaraswamy": (lambda **p: _kumaraswamy(1, **p), _kumaraswamy_variance),
    "FoldedNormal": (_folded, lambda loc, scale: loc**2 + scale**2 - _folded(loc, scale) ** 2),
    "StudentT": (lambda **p: _student(**p)[0], lambda **p: _student(**p)[1]),
    "TruncatedNormal": (lambda **p: _truncated(**p)[0], lambda **p: _truncated(**p)[1]),
    "VonMises": (lambda loc, concentration: loc, _angle_variance),
    "ContinuousBernoulli.logits": (
        lambda logits: _grey(logits)[0],
        lambda logits: _grey(logits)[1],
    ),
    "ContinuousBernoulli.probs": (
        lambda probs: _grey_of_probs(probs)[0],
        lambda probs: _grey_of_probs(probs)[1],
    ),
    "Poisson": (lambda rate: rate, lambda rate: rate),
} | {
    f"{name}.{way}": pair
    for way in ("logits", "probs")
    for name, pair in {
        "Bernoulli": (lambda **p: _on(**p)[0], lambda **p: _on(**p)[0] * _on(**p)[1]),
        "Geometric": (
            lambda **p: _on(**p)[1] / _on(**p)[0],
            lambda **p: _on(**p)[1] / _on(**p)[0] ** 2,
        ),
        "Binomial": (
            lambda total_count, **p: total_count * _on(**p)[0],
            lambda total_count, **p: total_count * _on(**p)[0] * _on(**p)[1],
        ),
        "NegativeBinomial": (
            lambda total_count, **p: total_count * _on(**p)[0] / _on(**p)[1],
            lambda total_count, **p: total_count * _on(**p)[0] / _on(**p)[1] ** 2,
        ),
    }.items()
}
