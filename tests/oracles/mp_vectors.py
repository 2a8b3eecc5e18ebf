"""Laws of counts and of vectors in 50 digits, beside those of ``mp_laws``: ``LAWS`` has all."""

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

from mpmath import mp

from tests.oracles import mp_laws, mp_reference, mp_tails
from tests.oracles.mp_reference import (
    Number,
    Reference,
    Row,
    logit,
    positive,
    probability,
    simplex,
    tails,
)

Functions = Mapping[str, Callable[..., Number]]


# -- parameters and values ------------------------------------------------------------------------
def whole(r: random.Random) -> float:
    """A whole number from 1 to 1e6, uniform in the logarithm."""
    return float(round(10 ** r.uniform(0, 6)))


def count_near(r: random.Random, mean: float, deviation: float) -> float:
    """A count: 0, within 10 standard deviations of the mean, or anywhere up to 1e6."""
    if r.random() < 0.1:
        return 0.0
    near = r.random() < 0.7
    x = mean + r.uniform(-10, 10) * deviation if near else 10 ** r.uniform(0, 6)
    return float(round(min(max(x, 0.0), 1e6)))


def odds(p: Row) -> float:
    """Success against failure."""
    eta = p["logits"] if "logits" in p else mp.log(p["probs"]) - mp.log1p(-p["probs"])
    return float(mp.exp(eta))


def of_binomial(r: random.Random, p: Row) -> float:
    """A count up to n."""
    n, pi = p["total_count"], odds(p) / (1 + odds(p))
    x = count_near(r, n * pi, (n * pi * (1 - pi)) ** 0.5)
    return r.choice([min(x, n), min(x, n), float(r.randint(0, int(n))), n])


def of_negative_binomial(r: random.Random, p: Row) -> float:
    """A count."""
    mean = min(p["total_count"] * odds(p), 1e6)
    return count_near(r, mean, (mean * (1 + odds(p))) ** 0.5)


def shares(r: random.Random, n: float, size: int) -> list[float]:
    """Counts with sum n; some of them 0."""
    cuts = sorted(r.choice([0.0, 1.0, r.random(), r.random()]) for _ in range(size - 1))
    ends = [0, *(round(c * n) for c in cuts), round(n)]
    return [float(b - a) for a, b in itertools.pairwise(ends)]


def proportional(weights: list[float]) -> list[float]:
    """Weights divided by their sum."""
    return [w / sum(weights) for w in weights]


def cutpoints(r: random.Random) -> list[float]:
    """Four thresholds, at least a thousandth apart."""
    values = [r.uniform(-30, 30)]
    for _ in range(3):
        values.append(values[-1] + 10 ** r.uniform(-3, 1))
    return values


def several(draw: Callable[[random.Random], float], size: int) -> mp_reference.Draw:
    """A list of numbers."""
    return lambda r: [draw(r) for _ in range(size)]


def moderate(r: random.Random) -> float:
    """From 1e-2 to 1e2 either side."""
    return r.choice([-1, 1]) * 10 ** r.uniform(-2, 2)


def lower(r: random.Random) -> list[list[float]]:
    """A lower triangle with a positive diagonal."""
    a, c = 10 ** r.uniform(-2, 2), 10 ** r.uniform(-2, 2)
    return [[a, 0.0], [c * r.uniform(-2, 2), c]]


def symmetric(r: random.Random) -> list[list[float]]:
    """A covariance matrix with a correlation of up to 0.9."""
    a, c, rho = 10 ** r.uniform(-2, 2), 10 ** r.uniform(-2, 2), r.uniform(-0.9, 0.9)
    return [[a * a, rho * a * c], [rho * a * c, c * c]]


def beside(r: random.Random, p: Row) -> list[float]:
    """Within 1e-3 to 1e3 of the mean, or at it."""
    far = [0.0 if r.random() < 0.1 else r.choice([-1, 1]) * 10 ** r.uniform(-3, 3) for _ in "ab"]
    return [m + d for m, d in zip(p["loc"], far, strict=True)]


def temperature(r: random.Random) -> float:
    """From 1e-2 to 1e2."""
    return 10 ** r.uniform(-2, 2)


def inside(r: random.Random, p: Row) -> float:
    """A number in (0, 1), at both ends."""
    return r.choice([10 ** r.uniform(-20, -0.3), 1 - 10 ** r.uniform(-6, -0.3)])


# -- formulas -------------------------------------------------------------------------------------
def log_odds_pair(logits: Number = None, probs: Number = None) -> tuple[Number, Number]:
    """The logarithms of success and of failure."""
    if probs is not None:
        return mp.log(probs), mp.log1p(-probs)
    return mp_reference.log_logistic(logits), mp_reference.log_logistic(-logits)


def log_rising(x: Number, a: Number) -> Number:
    """The logarithm of Gamma(x + a) / (Gamma(a) x!)."""
    return mp.loggamma(x + a) - mp.loggamma(a) - mp.loggamma(x + 1)


def _geometric() -> Functions:
    def log_cdf(x: Number, **p: Number) -> Number:
        return mp.log(-mp.expm1((x + 1) * log_odds_pair(**p)[1]))

    def entropy(**p: Number) -> Number:
        on, off = log_odds_pair(**p)
        return -on - mp.exp(off - on) * off

    return {
        "log_prob": lambda x, **p: log_odds_pair(**p)[0] + x * log_odds_pair(**p)[1],
        "log_cdf": log_cdf,
        "log_sf": lambda x, **p: (x + 1) * log_odds_pair(**p)[1],
        "entropy": entropy,
    }


def _binomial(x: Number, total_count: Number, **p: Number) -> Number:
    (on, off), n = log_odds_pair(**p), total_count
    orders = mp.loggamma(n + 1) - mp.loggamma(x + 1) - mp.loggamma(n - x + 1)
    return orders + x * on + (n - x) * off


def _negative_binomial(x: Number, total_count: Number, **p: Number) -> Number:
    on, off = log_odds_pair(**p)
    return log_rising(x, total_count) + total_count * off + x * on


def _poisson_tails(x: Number, rate: Number) -> tuple[Number, Number]:
    return mp_tails.log_gamma_tails(mp.floor(x) + 1, rate)[::-1]


def _binomial_tails(x: Number, total_count: Number, **p: Number) -> tuple[Number, Number]:
    k, (on, off) = mp.floor(x), (mp.exp(v) for v in log_odds_pair(**p))
    if k >= mp.floor(total_count):
        return mp.mpf(0), -mp.inf
    return mp_tails.log_beta_tails(total_count - k, k + 1, off, on)


def _negative_tails(x: Number, total_count: Number, **p: Number) -> tuple[Number, Number]:
    on, off = (mp.exp(v) for v in log_odds_pair(**p))
    return mp_tails.log_beta_tails(total_count, mp.floor(x) + 1, off, on)


def _entropy(
    log_p: Callable[[Number], Number], mean: Number, variance: Number, top: Number = mp.inf
) -> Number:
    """-E[log p] of counts; where they spread, over a grid finer than the standard deviation, which
    is exact to e^-(2 pi^2 16) by Poisson's summation formula.
    """
    wide = variance >= 64
    step = mp.sqrt(variance) / 4 if wide else mp.mpf(1)
    first = mp.floor(mean) - 50 * step if wide else mp.mpf(0)
    total = mp.mpf(0)
    for i in range(101 if wide else 250):
        k = first + i * step
        if 0 <= k <= top:
            value = log_p(k)
            total -= mp.exp(value) * value * step
            if k > mean and value < -100:
                break
    return total


def _binomial_entropy(total_count: Number, **p: Number) -> Number:
    on, off = (mp.exp(v) for v in log_odds_pair(**p))
    if on > off:
        return _binomial_entropy(total_count, logits=mp.log(off) - mp.log(on))
    return _entropy(
        lambda k: _binomial(k, total_count, **p),
        total_count * on,
        total_count * on * off,
        mp.floor(total_count + mp.mpf(1) / 4),
    )


def _grades(loc: Number, cutpoints: list[Number]) -> list[Number]:
    """Log probabilities, from factors without cancellation."""
    d = [c - loc for c in cutpoints]
    inner = [
        mp_reference.log_logistic(b) + mp_reference.log_logistic(-a) + mp.log(-mp.expm1(a - b))
        for a, b in itertools.pairwise(d)
    ]
    return [mp_reference.log_logistic(d[0]), *inner, mp_reference.log_logistic(-d[-1])]


def gauss(covariance: Callable[..., Any]) -> Functions:
    """Of two entries, from the covariance as a function of the other parameters."""

    def log_prob(x: list[Number], loc: list[Number], **p: Any) -> Number:
        c = covariance(**p)
        d = mp.matrix([a - b for a, b in zip(x, loc, strict=True)])
        distance = (d.T * (c**-1) * d)[0]
        return -distance / 2 - mp.log(mp.det(2 * mp.pi * c)) / 2

    def entropy(loc: list[Number], **p: Any) -> Number:
        return mp.log(mp.det(2 * mp.pi * mp.e * covariance(**p))) / 2

    return {"log_prob": log_prob, "entropy": entropy}


def _low_rank(cov_factor: Any, cov_diag: Any) -> Any:
    w = mp.matrix(cov_factor)
    return w * w.T + mp.diag(cov_diag)


def _dirichlet(x: list[Number], concentration: list[Number]) -> Number:
    pairs = zip(concentration, x, strict=True)
    return mp.loggamma(sum(concentration)) + sum(
        (a - 1) * mp.log(v) - mp.loggamma(a) for a, v in pairs
    )


def _dirichlet_entropy(concentration: list[Number]) -> Number:
    total, size = sum(concentration), len(concentration)
    constant = sum(mp.loggamma(a) for a in concentration) - mp.loggamma(total)
    rest = sum((a - 1) * mp.psi(0, a) for a in concentration)
    return constant + (total - size) * mp.psi(0, total) - rest


def _multinomial(x: list[Number], total_count: Number, **p: Any) -> Number:
    logs = _normalised(**p)
    orders = mp.loggamma(total_count + 1) - sum(mp.loggamma(v + 1) for v in x)
    return orders + sum(v * log for v, log in zip(x, logs, strict=True))


def _normalised(logits: Any = None, probs: Any = None) -> list[Number]:
    if probs is not None:
        return [mp.log(v) for v in probs]
    whole = mp.log(sum(mp.exp(v) for v in logits))
    return [v - whole for v in logits]


def _polya(x: list[Number], total_count: Number, concentration: list[Number]) -> Number:
    parts = sum(log_rising(v, a) for v, a in zip(x, concentration, strict=True))
    return parts - log_rising(total_count, sum(concentration))


def _binary_concrete(x: Number, temperature: Number, **p: Number) -> Number:
    on, off = log_odds_pair(**p)
    log_on, log_off = mp.log(x), mp.log1p(-x)
    a, b = on - temperature * log_on, off - temperature * log_off
    return mp.log(temperature) + a + b - 2 * mp.log(mp.exp(a) + mp.exp(b)) - log_on - log_off


def _exp_concrete(x: list[Number], temperature: Number, **p: Any) -> Number:
    size = len(x)
    d = [log - temperature * v for log, v in zip(_weights(**p), x, strict=True)]
    constant = mp.loggamma(size) + (size - 1) * mp.log(temperature)
    return constant + sum(d) - size * mp.log(sum(mp.exp(v) for v in d))


def _weights(logits: Any = None, probs: Any = None) -> list[Number]:
    return logits if probs is None else [mp.log(v) for v in probs]


def _concrete(x: list[Number], temperature: Number, **p: Any) -> Number:
    logs = [mp.log(v) for v in x]
    return _exp_concrete(logs, temperature, **p) - sum(logs)


# -- the table ------------------------------------------------------------------------------------
def _both(
    name: str,
    x: Callable[[random.Random, Row], Any],
    functions: Functions,
    weights: mp_reference.Draw | None = None,
    **others: Any,
) -> dict[str, Reference]:
    """A law of log odds, or of probabilities; of categories where ``weights`` is given."""
    ways = {"logits": weights or logit, "probs": simplex if weights else probability}
    options = others.pop("options", {})
    return {
        f"{name}.{way}": Reference({**others, way: draw}, x, functions, options, 600)
        for way, draw in ways.items()
    }


FOUR = several(logit, 4)

LAWS: dict[str, Reference] = {
    **mp_laws.LAWS,
    "Poisson": Reference(
        {"rate": positive},
        lambda r, p: count_near(r, p["rate"], p["rate"] ** 0.5),
        {
            "log_prob": lambda x, rate: x * mp.log(rate) - rate - mp.loggamma(x + 1),
            **tails(_poisson_tails),
            "entropy": lambda rate: _entropy(
                lambda x: x * mp.log(rate) - rate - mp.loggamma(x + 1), rate, rate
            ),
        },
    ),
    **_both("Geometric", lambda r, p: count_near(r, min(1 / odds(p), 1e6), 1.0), _geometric()),
    **_both(
        "Binomial",
        of_binomial,
        {"log_prob": _binomial, **tails(_binomial_tails), "entropy": _binomial_entropy},
        total_count=whole,
    ),
    **_both(
        "NegativeBinomial",
        of_negative_binomial,
        {"log_prob": _negative_binomial, **tails(_negative_tails)},
        total_count=positive,
    ),
    "OrderedLogistic": Reference(
        {"loc": lambda r: r.uniform(-40, 40), "cutpoints": cutpoints},
        lambda r, p: float(r.randrange(5)),
        {
            "log_prob": lambda x, loc, cutpoints: _grades(loc, cutpoints)[int(x)],
            "entropy": lambda loc, cutpoints: -sum(mp.exp(v) * v for v in _grades(loc, cutpoints)),
        },
        rows=600,
    ),
    "MultivariateNormal.scale_tril": Reference(
        {"loc": several(moderate, 2), "scale_tril": lower},
        beside,
        gauss(lambda scale_tril: mp.matrix(scale_tril) * mp.matrix(scale_tril).T),
        rows=300,
    ),
    "MultivariateNormal.covariance_matrix": Reference(
        {"loc": several(moderate, 2), "covariance_matrix": symmetric},
        beside,
        gauss(lambda covariance_matrix: mp.matrix(covariance_matrix)),
        rows=300,
    ),
    "MultivariateNormal.precision_matrix": Reference(
        {"loc": several(moderate, 2), "precision_matrix": symmetric},
        beside,
        gauss(lambda precision_matrix: mp.matrix(precision_matrix) ** -1),
        rows=300,
    ),
    "LowRankMultivariateNormal": Reference(
        {
            "loc": several(moderate, 2),
            "cov_factor": lambda r: [[moderate(r)], [moderate(r)]],
            "cov_diag": several(temperature, 2),
        },
        beside,
        gauss(_low_rank),
        rows=300,
    ),
    "Dirichlet": Reference(
        {"concentration": several(positive, 4)},
        lambda r, p: r.choice(
            [simplex(r), [a / sum(p["concentration"]) for a in p["concentration"]]]
        ),
        {"log_prob": _dirichlet, "entropy": _dirichlet_entropy},
        rows=600,
    ),
    **_both(
        "Multinomial",
        lambda r, p: shares(r, p["total_count"], 4),
        {"log_prob": _multinomial},
        FOUR,
        total_count=whole,
        options={"total_count": 1},
    ),
    "DirichletMultinomial": Reference(
        {"total_count": whole, "concentration": several(positive, 4)},
        lambda r, p: shares(r, p["total_count"], 4),
        {"log_prob": _polya},
        rows=600,
    ),
    **_both("RelaxedBernoulli", inside, {"log_prob": _binary_concrete}, temperature=temperature),
    **_both(
        "RelaxedCategorical",
        lambda r, p: simplex(r),
        {"log_prob": _concrete},
        FOUR,
        temperature=temperature,
    ),
    **_both(
        "ExpRelaxedCategorical",
        lambda r, p: [float(mp.log(v)) for v in simplex(r)],
        {"log_prob": _exp_concrete},
        FOUR,
        temperature=temperature,
    ),
}
