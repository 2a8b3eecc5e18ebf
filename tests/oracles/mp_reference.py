"""What is tabulated of a law, and how its parameters and values are drawn.

One :class:`Reference` for each law, by the name of its class; ``Bernoulli.probs`` is one of several
sets of parameters of a law. Nothing of the package under test is imported here.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mpmath import mp

mp.dps = 50

Number = Any


Row = dict[str, Any]


Draw = Callable[[random.Random], Any]


@dataclass(frozen=True)
class Reference:
    """What is tabulated of a law.

    Args:
        params: How each parameter is drawn, in the order of the table.
        x: How a value is drawn, given the parameters.
        functions: ``log_prob``, ``log_cdf``, ``log_sf`` of ``x`` and the parameters, and
            ``entropy`` of the parameters, in 50 digits.
        options: Other arguments of the law's constructor.
        rows: How many rows the table has.
        valid: Whether a row, rounded, is one of the law: others are drawn anew.
    """

    params: Mapping[str, Draw]
    x: Callable[[random.Random, Row], float]
    functions: Mapping[str, Callable[..., Number]]
    options: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 1000
    valid: Callable[[Row], bool] = lambda row: True


def positive(r: random.Random) -> float:
    """From 1e-3 to 1e6, uniform in the logarithm; one in eight is an end, or 1."""
    return r.choice([1e-3, 1.0, 1e6]) if r.random() < 1 / 8 else 10 ** r.uniform(-3, 6)


def real(r: random.Random) -> float:
    """As :func:`positive`, of either sign; one in eight is 0."""
    return 0.0 if r.random() < 1 / 8 else r.choice([-1, 1]) * positive(r)


def logit(r: random.Random) -> float:
    """Up to 100 either side, denser near 0."""
    return r.choice([-1, 1]) * 10 ** r.uniform(-3, 2)


def probability(r: random.Random) -> float:
    """From 1e-12 to 1 - 1e-3, half of them below 0.01."""
    return 10 ** r.uniform(-12, -2) if r.random() < 0.5 else r.uniform(0.01, 0.999)


def simplex(r: random.Random) -> list[float]:
    """Four probabilities from 1e-6 on, with sum 1 up to rounding."""
    weights = [10 ** r.uniform(-6, 0) for _ in range(4)]
    return [w / sum(weights) for w in weights]


def around(r: random.Random, p: Row) -> float:
    """Within 1e-6 to 100 scales of the location; one in ten at it."""
    z = 0.0 if r.random() < 0.1 else r.choice([-1, 1]) * 10 ** r.uniform(-6, 2)
    return p["loc"] + p["scale"] * z


def coin(r: random.Random, p: Row) -> float:
    """0 or 1."""
    return float(r.randrange(2))


def log_ndtr(z: Number) -> Number:
    """The logarithm of the standard normal distribution function."""
    return mp.log(mp.erfc(-z / mp.sqrt(2)) / 2)


def log_logistic(z: Number) -> Number:
    """log 1 / (1 + exp(-z))."""
    return -mp.log1p(mp.exp(-z))


def log_beta(a: Number, b: Number) -> Number:
    """The logarithm of the beta function."""
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def tails(pair: Callable[..., tuple[Number, Number]]) -> dict[str, Callable[..., Number]]:
    """Both distribution functions, which are computed together."""
    return {"log_cdf": lambda **p: pair(**p)[0], "log_sf": lambda **p: pair(**p)[1]}


LOC_SCALE = {"loc": real, "scale": positive}
