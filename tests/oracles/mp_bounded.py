"""Laws of intervals, angles, levels and categories in 50 digits, by formulas; see ``mp_laws``."""

import math
import random
from collections.abc import Callable, Mapping

from mpmath import mp

from tests.oracles import mp_tails
from tests.oracles.mp_reference import (
    LOC_SCALE,
    Number,
    Reference,
    Row,
    coin,
    log_beta,
    log_logistic,
    logit,
    positive,
    probability,
    real,
    simplex,
    tails,
)


def _two(on: Number, off: Number) -> Mapping[str, Callable[..., Number]]:
    """Of a coin, from the log probabilities of 1 and 0."""

    def entropy(**p: Number) -> Number:
        return -sum(mp.exp(f(**p)) * f(**p) for f in (on, off))

    return {
        "log_prob": lambda x, **p: on(**p) if x > 0.5 else off(**p),
        "entropy": entropy,
    }


def _beta_log_prob(x: Number, concentration1: Number, concentration0: Number) -> Number:
    a, b = concentration1, concentration0
    return (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-x) - log_beta(a, b)


def _beta_entropy(concentration1: Number, concentration0: Number) -> Number:
    a, b = concentration1, concentration0
    slopes = (a - 1) * mp.psi(0, a) + (b - 1) * mp.psi(0, b) - (a + b - 2) * mp.psi(0, a + b)
    return log_beta(a, b) - slopes


def _near_beta(r: random.Random, p: Row) -> float:
    """Within 30 standard deviations of the mean, or near an end."""
    a, b = p["concentration1"], p["concentration0"]
    if r.random() < 0.3:
        end = 10 ** r.uniform(-12, -0.3)
        return r.choice([end, 1 - end])
    deviation = (a * b / (a + b + 1)) ** 0.5 / (a + b)
    x = a / (a + b) + r.uniform(-30, 30) * deviation
    return x if 0 < x < 1 else r.random()


def _kumaraswamy() -> dict[str, Callable[..., Number]]:
    def above(x: Number, concentration1: Number, concentration0: Number) -> Number:
        return concentration0 * mp.log(-mp.expm1(concentration1 * mp.log(x)))

    def log_prob(x: Number, concentration1: Number, concentration0: Number) -> Number:
        a, b = concentration1, concentration0
        return mp.log(a * b) + (a - 1) * mp.log(x) + above(x, a, b) * (b - 1) / b

    def entropy(concentration1: Number, concentration0: Number) -> Number:
        a, b = concentration1, concentration0
        return 1 - 1 / b + (1 - 1 / a) * (mp.psi(0, b + 1) + mp.euler) - mp.log(a * b)

    return {
        "log_prob": log_prob,
        "log_cdf": lambda **p: mp.log(-mp.expm1(above(**p))),
        "log_sf": above,
        "entropy": entropy,
    }


def _kumaraswamy_value(r: random.Random, p: Row) -> float:
    """A quantile, far into both tails."""
    tail = 10 ** r.uniform(-30, 0)
    log_above = math.log(tail) if r.random() < 0.5 else math.log1p(-tail * 0.999)
    inner = -math.expm1(log_above / p["concentration0"])
    return inner ** (1 / p["concentration1"]) if inner > 0 else 0.0


def _continuous(eta: Callable[..., Number]) -> dict[str, Callable[..., Number]]:
    """A continuous Bernoulli law by its natural parameter."""

    def total(n: Number) -> Number:
        return mp.expm1(n) / n if n else mp.mpf(1)

    def entropy(**p: Number) -> Number:
        n = eta(**p)
        mean = 1 / -mp.expm1(-n) - 1 / n if n else mp.mpf(1) / 2
        return mp.log(total(n)) - n * mean

    def below(x: Number, n: Number) -> Number:
        return mp.log(mp.expm1(n * x) / mp.expm1(n)) if n else mp.log(x)

    return {
        "log_prob": lambda x, **p: eta(**p) * x - mp.log(total(eta(**p))),
        "log_cdf": lambda x, **p: below(x, eta(**p)),
        "log_sf": lambda x, **p: below(1 - x, -eta(**p)),
        "entropy": entropy,
    }


def grey(r: random.Random, p: Row) -> float:
    """Inside of (0, 1), near either end too."""
    end = 10 ** r.uniform(-9, -0.3)
    return r.choice([r.random(), end, 1 - end])


def _normal_mass(low: Number, high: Number) -> Number:
    """The log of a standard normal probability, by tails where the interval lies in one."""
    if low > 0:
        low, high = -high, -low
    with mp.workdps(mp.dps + 30):
        upper = mp.erfc(-high / mp.sqrt(2))
        return mp.log((upper - mp.erfc(-low / mp.sqrt(2))) / 2) if upper else -mp.inf


def _folded() -> dict[str, Callable[..., Number]]:
    def log_prob(x: Number, loc: Number, scale: Number) -> Number:
        near, far = (-(((x + sign * loc) / scale) ** 2) / 2 for sign in (-1, 1))
        return mp.log(mp.exp(near) + mp.exp(far)) - mp.log(scale) - mp.log(2 * mp.pi) / 2

    def entropy(loc: Number, scale: Number) -> Number:
        """By trapezoids of the even integrand, exact to e^-100 for such steps."""
        z = abs(loc / scale)
        steps = [mp.mpf(k) / 8 for k in range(int(8 * (z + 16)) + 1)] if z < 16 else []
        total = mp.mpf(0)
        for t in steps:
            log_p = log_prob(t, z, mp.mpf(1))
            total -= mp.exp(log_p) * log_p * (1 if t else mp.mpf(1) / 2) / 8
        return (total if steps else mp.log(2 * mp.pi * mp.e) / 2) + mp.log(scale)

    return {
        "log_prob": log_prob,
        "log_cdf": lambda x, loc, scale: _normal_mass((-x - loc) / scale, (x - loc) / scale),
        "log_sf": lambda x, loc, scale: mp.log(
            (mp.erfc((x - loc) / scale / mp.sqrt(2)) + mp.erfc((x + loc) / scale / mp.sqrt(2))) / 2
        ),
        "entropy": entropy,
    }


def _truncated() -> dict[str, Callable[..., Number]]:
    def total(loc: Number, scale: Number, low: Number, high: Number) -> Number:
        return _normal_mass((low - loc) / scale, (high - loc) / scale)

    def log_prob(x: Number, loc: Number, scale: Number, low: Number, high: Number) -> Number:
        z = (x - loc) / scale
        return -(z**2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2 - total(loc, scale, low, high)

    def entropy(loc: Number, scale: Number, low: Number, high: Number) -> Number:
        a, b, mass = (low - loc) / scale, (high - loc) / scale, total(loc, scale, low, high)
        ends = (a * mp.npdf(a) - b * mp.npdf(b)) / mp.exp(mass) / 2
        return mp.log(mp.sqrt(2 * mp.pi * mp.e) * scale) + mass + ends

    return {
        "log_prob": log_prob,
        "log_cdf": lambda x, loc, scale, low, high: (
            total(loc, scale, low, x) - total(loc, scale, low, high)
        ),
        "log_sf": lambda x, loc, scale, low, high: (
            total(loc, scale, x, high) - total(loc, scale, low, high)
        ),
        "entropy": entropy,
    }


def _end(r: random.Random) -> float:
    """Of an interval, up to 1e3 standard deviations out for a scale of 1."""
    return r.choice([-1, 1]) * 10 ** r.uniform(-3, 3)


def _angle_log_prob(x: Number, loc: Number, concentration: Number) -> Number:
    k = concentration
    return -2 * k * mp.sin((x - loc) / 2) ** 2 - _log_turn(k)


def _log_turn(k: Number) -> Number:
    """log 2 pi exp(-k) I_0(k)."""
    return mp.log(2 * mp.pi * mp.besseli(0, k)) - k


def _angle_below(z: Number, k: Number) -> Number:
    """The log probability from -pi to z, around 0; scaled to the highest point."""
    r = min(z, mp.mpf(0))
    reach = mp.acos(max(mp.cos(r) - 90 / k, mp.mpf(-1))) - abs(r)
    low, high = max(r - reach, -mp.pi), min(z, r + reach)
    inner = mp.quad(
        lambda t: mp.exp(-2 * k * (mp.sin(t / 2) ** 2 - mp.sin(r / 2) ** 2)),
        mp.linspace(low, high, 5),
    )
    return mp.log(inner) - 2 * k * mp.sin(r / 2) ** 2 - _log_turn(k)


def _angle_entropy(loc: Number, concentration: Number) -> Number:
    k = concentration
    with mp.workdps(mp.dps + 20):
        return k * (1 - mp.besseli(1, k) / mp.besseli(0, k)) + _log_turn(k)


def log_level(x: Number, loc: Number, scale: Number) -> Number:
    """The log probability of a level from 0 to 255 of a rounded logistic variable."""
    b, a = (x + mp.mpf(1) / 2 - loc) / scale, (x - mp.mpf(1) / 2 - loc) / scale
    if x == 0:
        return log_logistic(b)
    if x == 255:
        return log_logistic(-a)
    return log_logistic(b) + log_logistic(-a) + mp.log(-mp.expm1(-1 / scale))


def log_level_below(x: Number, loc: Number, scale: Number) -> Number:
    """The log probability of the levels up to one."""
    return log_logistic((x + mp.mpf(1) / 2 - loc) / scale) if x < 255 else mp.mpf(0)


def log_level_above(x: Number, loc: Number, scale: Number) -> Number:
    """The log probability of the levels above one."""
    return log_logistic((loc - x - mp.mpf(1) / 2) / scale) if x < 255 else -mp.inf


def level(r: random.Random, p: Row) -> float:
    """From 0 to 255, the ends often."""
    return float(r.choice([0, 255, r.randrange(256), r.randrange(256), r.randrange(256)]))


def pixel(r: random.Random) -> float:
    """A location, in the range of the levels or anywhere."""
    return r.choice([r.uniform(-20, 275), real(r)])


LAWS: dict[str, Reference] = {
    "Beta": Reference(
        {"concentration1": positive, "concentration0": positive},
        _near_beta,
        {
            "log_prob": _beta_log_prob,
            **tails(
                lambda x, concentration1, concentration0: mp_tails.log_beta_tails(
                    concentration1, concentration0, x, 1 - x
                )
            ),
            "entropy": _beta_entropy,
        },
        valid=lambda p: 0 < p["x"] < 1,
    ),
    "Kumaraswamy": Reference(
        {"concentration1": positive, "concentration0": positive},
        _kumaraswamy_value,
        _kumaraswamy(),
        valid=lambda p: 1e-30 < p["x"] < 1,
    ),
    "ContinuousBernoulli.logits": Reference(
        {"logits": lambda r: r.choice([-1, 1]) * 10 ** r.uniform(-9, 6)},
        grey,
        _continuous(lambda logits: logits),
        valid=lambda p: 0 < p["x"] < 1,
    ),
    "ContinuousBernoulli.probs": Reference(
        {"probs": lambda r: r.choice([probability(r), 0.5 + r.uniform(-1, 1) * 1e-3])},
        grey,
        _continuous(lambda probs: mp.log(probs) - mp.log1p(-probs)),
        valid=lambda p: 0 < p["x"] < 1,
    ),
    "FoldedNormal": Reference(
        LOC_SCALE,
        lambda r, p: abs(
            r.choice(
                [p["loc"] + p["scale"] * r.uniform(-30, 30), p["scale"] * 10 ** r.uniform(-9, 1)]
            )
        ),
        _folded(),
        valid=lambda p: (abs(p["x"]) + abs(p["loc"])) < 3e3 * p["scale"],
    ),
    "TruncatedNormal": Reference(
        {"loc": _end, "scale": lambda r: 10 ** r.uniform(-1, 4), "low": _end, "high": _end},
        lambda r, p: (
            p["low"] + (p["high"] - p["low"]) * r.choice([r.random(), 10 ** r.uniform(-6, 0)])
        ),
        _truncated(),
        valid=lambda p: p["low"] < p["x"] < p["high"],
    ),
    "VonMises": Reference(
        {"loc": lambda r: r.uniform(-3.1, 3.1), "concentration": positive},
        lambda r, p: (
            p["loc"]
            + r.choice([r.uniform(-3.1, 3.1), r.gauss(0, 3) / (1 + p["concentration"]) ** 0.5])
        ),
        {
            "log_prob": _angle_log_prob,
            "log_cdf": lambda x, loc, concentration: _angle_below(x - loc, concentration),
            "log_sf": lambda x, loc, concentration: _angle_below(loc - x, concentration),
            "entropy": _angle_entropy,
        },
        rows=300,
        valid=lambda p: abs(p["x"] - p["loc"]) < 3.14,
    ),
    "DiscretizedLogistic": Reference(
        {"loc": pixel, "scale": positive},
        level,
        {
            "log_prob": log_level,
            "log_cdf": log_level_below,
            "log_sf": log_level_above,
            "entropy": lambda loc, scale: (
                -sum(mp.exp(v) * v for v in (log_level(mp.mpf(k), loc, scale) for k in range(256)))
            ),
        },
    ),
    "Bernoulli.logits": Reference(
        {"logits": logit},
        coin,
        _two(lambda logits: log_logistic(logits), lambda logits: log_logistic(-logits)),
    ),
    "Bernoulli.probs": Reference(
        {"probs": probability},
        coin,
        _two(lambda probs: mp.log(probs), lambda probs: mp.log1p(-probs)),
    ),
    "Categorical.logits": Reference(
        {"logits": lambda r: [logit(r) for _ in range(4)]},
        lambda r, p: float(r.randrange(4)),
        {
            "log_prob": lambda x, logits: logits[int(x)] - mp.log(sum(mp.exp(v) for v in logits)),
            "entropy": lambda logits: (
                mp.log(sum(mp.exp(v) for v in logits))
                - sum(v * mp.exp(v) for v in logits) / sum(mp.exp(v) for v in logits)
            ),
        },
        {"onehot": False},
    ),
    "Categorical.probs": Reference(
        {"probs": simplex},
        lambda r, p: float(r.randrange(4)),
        {
            "log_prob": lambda x, probs: mp.log(probs[int(x)]),
            "entropy": lambda probs: -sum(v * mp.log(v) for v in probs),
        },
        {"onehot": False},
    ),
}
