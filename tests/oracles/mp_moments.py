"""Means, variances and divergences in 50 digits, from formulas, beside the laws of ``mp_laws``."""

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


def _gamma(a: Number, b: Number, c: Number, d: Number) -> Number:
    """KL[Gamma(a, b) || Gamma(c, d)]."""
    shapes = (a - c) * mp.psi(0, a) - mp.loggamma(a) + mp.loggamma(c)
    return shapes + c * mp.log(b / d) + a * (d - b) / b


def _beta(a: Number, b: Number, c: Number, d: Number) -> Number:
    logs = mp.loggamma(c) + mp.loggamma(d) - mp.loggamma(c + d)
    logs -= mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    slopes = (a - c) * mp.psi(0, a) + (b - d) * mp.psi(0, b)
    return logs + slopes + (c - a + d - b) * mp.psi(0, a + b)


def _geometric(on: tuple[Number, Number], other: tuple[Number, Number]) -> Number:
    (a, b), (c, d) = on, other
    return a - c + mp.exp(b - a) * (b - d)


def _laplace(m: Number, s: Number, n: Number, t: Number) -> Number:
    gap = abs(m - n)
    return mp.log(t / s) + (s * mp.exp(-gap / s) + gap) / t - 1


# of two laws of one family, as functions of the parameters of one, then of the other
DIVERGENCES: Mapping[str, Callable[..., Number]] = {
    "Normal": lambda m, s, n, t: mp.log(t / s) + ((s / t) ** 2 + ((m - n) / t) ** 2 - 1) / 2,
    "Laplace": _laplace,
    "Exponential": lambda b, d: mp.log(b / d) + d / b - 1,
    "Gamma": _gamma,
    "InverseGamma": _gamma,
    "Beta": _beta,
    "Poisson": lambda a, b: a * mp.log(a / b) + b - a,
    "HalfNormal": lambda s, t: mp.log(t / s) + ((s / t) ** 2 - 1) / 2,
    "LogNormal": lambda m, s, n, t: mp.log(t / s) + ((s / t) ** 2 + ((m - n) / t) ** 2 - 1) / 2,
    "Geometric.logits": lambda a, b: _geometric(log_odds_pair(logits=a), log_odds_pair(logits=b)),
    "Geometric.probs": lambda a, b: _geometric(log_odds_pair(probs=a), log_odds_pair(probs=b)),
}
