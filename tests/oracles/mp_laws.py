"""Laws of one number in 50 digits, by formulas: ``LAWS`` has those of ``mp_bounded`` too."""

import math
import random
from collections.abc import Callable

from mpmath import mp

from tests.oracles import mp_bounded, mp_tails
from tests.oracles.mp_reference import (
    LOC_SCALE,
    Number,
    Reference,
    around,
    log_beta,
    log_logistic,
    log_ndtr,
    positive,
    real,
    tails,
)


def near_gamma(r: random.Random, a: float) -> float:
    """A value of a gamma law of rate 1: within 30 standard deviations, or anywhere."""
    if r.random() < 0.25:
        return 10 ** r.uniform(-20, 1) * max(a, 1e-3)
    return max(a + r.uniform(-30, 30) * a**0.5, 10 ** r.uniform(-3, 1) * a)


def _laplace_below(z: Number) -> Number:
    return z - mp.log(2) if z < 0 else mp.log1p(-mp.exp(-z) / 2)


def _gamma_log_prob(x: Number, concentration: Number, rate: Number) -> Number:
    a, b = concentration, rate
    return a * mp.log(b) + (a - 1) * mp.log(x) - b * x - mp.loggamma(a)


def _gamma_entropy(concentration: Number, rate: Number) -> Number:
    a = concentration
    return a - mp.log(rate) + mp.loggamma(a) + (1 - a) * mp.psi(0, a)


def _student_tails(x: Number, df: Number, loc: Number, scale: Number) -> tuple[Number, Number]:
    square = ((x - loc) / scale) ** 2
    on, off = df / (df + square), square / (df + square)
    tail = mp_tails.log_beta_tails(df / 2, mp.mpf(1) / 2, on, off)[0] - mp.log(2)
    pair = tail, mp.log1p(-mp.exp(tail))
    return pair if x < loc else pair[::-1]


def _scaled(
    density: Callable[[Number], Number],
    below: Callable[[Number], Number],
    above: Callable[[Number], Number],
    entropy: Number,
) -> dict[str, Callable[..., Number]]:
    """The functions of a law of location and scale, from its standard form."""
    return {
        "log_prob": lambda x, scale, loc=0: density((x - loc) / scale) - mp.log(scale),
        "log_cdf": lambda x, scale, loc=0: below((x - loc) / scale),
        "log_sf": lambda x, scale, loc=0: above((x - loc) / scale),
        "entropy": lambda scale, loc=0: mp.log(scale) + entropy,
    }


def _log_arc(z: Number) -> Number:
    """The log probability that a standard Cauchy value is below z."""
    return mp.log(mp.atan2(1, -z) / mp.pi)


def _student_log_prob(x: Number, df: Number, loc: Number, scale: Number) -> Number:
    z, half = (x - loc) / scale, mp.mpf(1) / 2
    peak = -log_beta(half, df / 2) - mp.log(df) / 2 - mp.log(scale)
    return peak - (df + 1) / 2 * mp.log1p(z**2 / df)


def _student_entropy(df: Number, loc: Number, scale: Number) -> Number:
    half, y = mp.mpf(1) / 2, df / 2
    slope = (y + half) * (mp.psi(0, y + half) - mp.psi(0, y))
    return slope + log_beta(half, y) + mp.log(df) / 2 + mp.log(scale)


LAWS: dict[str, Reference] = {
    **mp_bounded.LAWS,
    "LogNormal": Reference(
        {"loc": lambda r: r.uniform(-60, 60), "scale": lambda r: 10 ** r.uniform(-3, 0.5)},
        lambda r, p: math.exp(
            p["loc"] + p["scale"] * r.choice([-1, 1]) * 10 ** r.uniform(-4, 0.7)
        ),
        {
            "log_prob": lambda x, loc, scale: (
                -(((mp.log(x) - loc) / scale) ** 2) / 2 - mp.log(x * scale) - mp.log(2 * mp.pi) / 2
            ),
            "log_cdf": lambda x, loc, scale: log_ndtr((mp.log(x) - loc) / scale),
            "log_sf": lambda x, loc, scale: log_ndtr((loc - mp.log(x)) / scale),
            "entropy": lambda loc, scale: loc + mp.log(scale) + mp.log(2 * mp.pi * mp.e) / 2,
        },
    ),
    "Exponential": Reference(
        {"rate": positive},
        lambda r, p: 10 ** r.uniform(-12, 2.5) / p["rate"],
        {
            "log_prob": lambda x, rate: mp.log(rate) - rate * x,
            "log_cdf": lambda x, rate: mp.log(-mp.expm1(-rate * x)),
            "log_sf": lambda x, rate: -rate * x,
            "entropy": lambda rate: 1 - mp.log(rate),
        },
    ),
    "Uniform": Reference(
        {"low": real, "high": positive},
        lambda r, p: p["low"] + (p["high"] - p["low"]) * r.choice([r.random(), 1e-6, 1 - 1e-6]),
        {
            "log_prob": lambda x, low, high: -mp.log(high - low),
            "log_cdf": lambda x, low, high: mp.log((x - low) / (high - low)),
            "log_sf": lambda x, low, high: mp.log((high - x) / (high - low)),
            "entropy": lambda low, high: mp.log(high - low),
        },
        valid=lambda p: p["low"] < p["x"] < p["high"],
    ),
    "HalfNormal": Reference(
        {"scale": positive},
        lambda r, p: p["scale"] * 10 ** r.uniform(-9, 2),
        _scaled(
            lambda z: mp.log(2 / mp.pi) / 2 - z**2 / 2,
            lambda z: mp.log(mp.erf(z / mp.sqrt(2))),
            lambda z: mp.log(mp.erfc(z / mp.sqrt(2))),
            mp.log(mp.pi * mp.e / 2) / 2,
        ),
    ),
    "Gumbel": Reference(
        LOC_SCALE,
        lambda r, p: p["loc"] + p["scale"] * r.choice([r.uniform(-7, 60), 10 ** r.uniform(-6, 2)]),
        _scaled(
            lambda z: -z - mp.exp(-z),
            lambda z: -mp.exp(-z),
            lambda z: mp.log(-mp.expm1(-mp.exp(-z))),
            mp.euler + 1,
        ),
    ),
    "Logistic": Reference(
        LOC_SCALE,
        around,
        _scaled(
            lambda z: log_logistic(z) + log_logistic(-z),
            log_logistic,
            lambda z: log_logistic(-z),
            mp.mpf(2),
        ),
    ),
    "Cauchy": Reference(
        LOC_SCALE,
        lambda r, p: p["loc"] + p["scale"] * r.choice([-1, 1]) * 10 ** r.uniform(-6, 12),
        _scaled(
            lambda z: -mp.log(mp.pi * (1 + z**2)),
            _log_arc,
            lambda z: _log_arc(-z),
            mp.log(4 * mp.pi),
        ),
    ),
    "HalfCauchy": Reference(
        {"scale": positive},
        lambda r, p: p["scale"] * 10 ** r.uniform(-12, 24),
        _scaled(
            lambda z: mp.log(2 / mp.pi) - mp.log1p(z**2),
            lambda z: mp.log(2 / mp.pi * mp.atan(z)),
            lambda z: mp.log(2 / mp.pi * mp.atan2(1, z)),
            mp.log(2 * mp.pi),
        ),
    ),
    "Normal": Reference(
        {"loc": real, "scale": positive},
        around,
        {
            "log_prob": lambda x, loc, scale: (
                -(((x - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2
            ),
            "log_cdf": lambda x, loc, scale: log_ndtr((x - loc) / scale),
            "log_sf": lambda x, loc, scale: log_ndtr((loc - x) / scale),
            "entropy": lambda loc, scale: mp.log(scale) + mp.log(2 * mp.pi * mp.e) / 2,
        },
    ),
    "Laplace": Reference(
        {"loc": real, "scale": positive},
        around,
        {
            "log_prob": lambda x, loc, scale: -abs(x - loc) / scale - mp.log(2 * scale),
            "log_cdf": lambda x, loc, scale: _laplace_below((x - loc) / scale),
            "log_sf": lambda x, loc, scale: _laplace_below((loc - x) / scale),
            "entropy": lambda loc, scale: 1 + mp.log(2 * scale),
        },
    ),
    "Gamma": Reference(
        {"concentration": positive, "rate": positive},
        lambda r, p: near_gamma(r, p["concentration"]) / p["rate"],
        {
            "log_prob": _gamma_log_prob,
            **tails(
                lambda x, concentration, rate: mp_tails.log_gamma_tails(concentration, rate * x)
            ),
            "entropy": _gamma_entropy,
        },
    ),
    "InverseGamma": Reference(
        {"concentration": positive, "rate": positive},
        lambda r, p: p["rate"] / near_gamma(r, p["concentration"]),
        {
            "log_prob": lambda x, concentration, rate: (
                _gamma_log_prob(1 / x, concentration, rate) - 2 * mp.log(x)
            ),
            **tails(
                lambda x, concentration, rate: mp_tails.log_gamma_tails(concentration, rate / x)[
                    ::-1
                ]
            ),
            "entropy": lambda concentration, rate: (
                concentration
                + mp.log(rate)
                + mp.loggamma(concentration)
                - (1 + concentration) * mp.psi(0, concentration)
            ),
        },
    ),
    "StudentT": Reference(
        {"df": lambda r: 10 ** r.uniform(-3, 10), **LOC_SCALE},
        lambda r, p: p["loc"] + p["scale"] * r.choice([-1, 1]) * 10 ** r.uniform(-6, 4),
        {"log_prob": _student_log_prob, **tails(_student_tails), "entropy": _student_entropy},
    ),
}
