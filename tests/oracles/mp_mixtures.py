"""Mixtures in 50 digits, beside the laws of ``mp_vectors``: ``LAWS`` has all."""

import random
from collections.abc import Callable
from typing import Any

from mpmath import mp

from tests.oracles import mp_bounded, mp_reference, mp_vectors
from tests.oracles.mp_reference import Number, Reference, Row, logit, probability
from tests.oracles.mp_vectors import lower, moderate, proportional, several, symmetric, temperature

PARTS = 2


def weights(r: random.Random) -> list[float]:
    """Two weights with sum 1."""
    return proportional([10 ** r.uniform(-4, 0) for _ in range(PARTS)])


def beside(r: random.Random, p: Row) -> list[float]:
    """A vector near the first component."""
    return [m + r.choice([-1, 1]) * 10 ** r.uniform(-3, 2) for m in p["loc"][0]]


def log_mixture(part: Callable[..., Number], *, vectors: bool) -> dict[str, Callable[..., Number]]:
    """The log density, from that of one entry of a component, or of a component."""

    def log_prob(x: Any, weights: Any = None, weight_logits: Any = None, **p: Any) -> Number:
        logs = weight_logits if weights is None else [mp.log(w) for w in weights]
        whole = 0 if weights is not None else mp.log(sum(mp.exp(v) for v in logs))
        terms = []
        for k in range(PARTS):
            own = {key: value[k] for key, value in p.items()}
            if vectors:
                entries = range(len(x))
                each = sum(part(x[d], **{key: v[d] for key, v in own.items()}) for d in entries)
            else:
                each = part(x, **own)
            terms.append(logs[k] - whole + each)
        most = max(terms)
        if most == -mp.inf:
            return most
        return most + mp.log(sum(mp.exp(t - most) for t in terms))

    return {"log_prob": log_prob}


def normal(x: Number, loc: Number, scale: Number) -> Number:
    """The log density of a normal law."""
    return -(((x - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


def logistic(x: Number, loc: Number, scale: Number) -> Number:
    """The log density of a logistic law."""
    z = (x - loc) / scale
    return mp_reference.log_logistic(z) + mp_reference.log_logistic(-z) - mp.log(scale)


def coin(x: Number, **p: Number) -> Number:
    """The log probability of 1 or 0."""
    on, off = mp_vectors.log_odds_pair(**p)
    return on if x > 0.5 else off


def _ways(name: str, way: str, params: dict[str, Any], x: Any, functions: Any) -> dict[str, Any]:
    """One table for each form of the weights."""
    forms = {"weights": weights, "weight_logits": several(moderate, PARTS)}
    dot = f".{way}" if way else ""
    return {
        f"{name}{dot}.{form}": Reference({form: draw, **params}, x, functions, {}, 200)
        for form, draw in forms.items()
    }


def vectors(draw: Callable[[random.Random], float]) -> mp_reference.Draw:
    """Two vectors of two entries."""
    return lambda r: [[draw(r), draw(r)] for _ in range(PARTS)]


LOCATIONS = vectors(moderate)
COINS = several(lambda r: float(r.randrange(2)), 2)
SCALES: dict[str, tuple[mp_reference.Draw, Callable[..., Any]]] = {
    "scale_tril": (lower, lambda scale_tril: mp.matrix(scale_tril) * mp.matrix(scale_tril).T),
    "covariance_matrix": (symmetric, lambda covariance_matrix: mp.matrix(covariance_matrix)),
    "precision_matrix": (symmetric, lambda precision_matrix: mp.matrix(precision_matrix) ** -1),
}

LAWS: dict[str, Reference] = {
    **mp_vectors.LAWS,
    **_ways(
        "NormalMixture",
        "",
        {"loc": LOCATIONS, "scale": vectors(temperature)},
        beside,
        log_mixture(normal, vectors=True),
    ),
    **_ways(
        "LogisticMixture",
        "",
        {"loc": several(moderate, PARTS), "scale": several(temperature, PARTS)},
        lambda r, p: p["loc"][0] + r.choice([-1, 1]) * 10 ** r.uniform(-3, 2),
        {
            **log_mixture(logistic, vectors=False),
            "log_cdf": log_mixture(
                lambda x, loc, scale: mp_reference.log_logistic((x - loc) / scale), vectors=False
            )["log_prob"],
            "log_sf": log_mixture(
                lambda x, loc, scale: mp_reference.log_logistic((loc - x) / scale), vectors=False
            )["log_prob"],
        },
    ),
}
LAWS |= _ways(
    "DiscretizedLogisticMixture",
    "",
    {"loc": several(mp_bounded.pixel, PARTS), "scale": several(temperature, PARTS)},
    mp_bounded.level,
    {
        "log_prob": log_mixture(mp_bounded.log_level, vectors=False)["log_prob"],
        "log_cdf": log_mixture(mp_bounded.log_level_below, vectors=False)["log_prob"],
        "log_sf": log_mixture(mp_bounded.log_level_above, vectors=False)["log_prob"],
    },
)


# -- zero-inflated, directions --------------------------------------------------------------------
def inflated(counts: dict[str, Callable[..., Number]]) -> dict[str, Callable[..., Number]]:
    """The log probability and distribution functions, from those of the other counts."""

    def log_prob(x: Number, gate: Number, **p: Number) -> Number:
        plain = mp.log1p(-gate) + counts["log_prob"](x, **p)
        return mp.log(gate + mp.exp(plain)) if x == 0 else plain

    def log_cdf(x: Number, gate: Number, **p: Number) -> Number:
        return mp.log(gate + (1 - gate) * mp.exp(counts["log_cdf"](x=x, **p)))

    def log_sf(x: Number, gate: Number, **p: Number) -> Number:
        return mp.log1p(-gate) + counts["log_sf"](x=x, **p)

    return {"log_prob": log_prob, "log_cdf": log_cdf, "log_sf": log_sf}


def _sphere(concentration: Number, size: int) -> tuple[Number, Number, Number]:
    """The parameters of the Beta law, and the logarithm of the normaliser."""
    b = mp.mpf(size - 1) / 2
    a = concentration + b
    return a, b, (a + b) * mp.log(2) + b * mp.log(mp.pi) + mp.loggamma(a) - mp.loggamma(a + b)


def spherical(x: list[Number], loc: list[Number], concentration: Number) -> Number:
    """The log density of a power spherical law."""
    length = mp.sqrt(sum(v * v for v in loc))
    cosine = sum(u * v for u, v in zip(loc, x, strict=True)) / length
    return concentration * mp.log1p(cosine) - _sphere(concentration, len(x))[2]


def spherical_entropy(loc: list[Number], concentration: Number) -> Number:
    """Its entropy."""
    a, b, constant = _sphere(concentration, len(loc))
    return constant - concentration * (mp.log(2) + mp.psi(0, a) - mp.psi(0, a + b))


def pole(r: random.Random) -> list[float]:
    """A unit vector."""
    x = [r.gauss(0, 1) for _ in range(3)]
    return [v / sum(u * u for u in x) ** 0.5 for v in x]


def count(r: random.Random, p: Row) -> float:
    """0 half of the time."""
    return r.choice([0.0, mp_vectors.count_near(r, 10.0, 10.0)])


LAWS |= {
    "ZeroInflatedPoisson": Reference(
        {"gate": probability, "rate": mp_reference.positive},
        count,
        inflated(mp_vectors.LAWS["Poisson"].functions),
        rows=400,
    ),
    "PowerSpherical": Reference(
        {"loc": pole, "concentration": mp_reference.positive},
        lambda r, p: pole(r),
        {"log_prob": spherical, "entropy": spherical_entropy},
        rows=400,
    ),
}
for _way, _reference in mp_vectors.LAWS.items():
    if _way.startswith("NegativeBinomial"):
        LAWS[f"ZeroInflated{_way}"] = Reference(
            {"gate": probability, **_reference.params},
            count,
            inflated(_reference.functions),
            rows=300,
        )
for _key, _draw in {"logits": logit, "probs": probability}.items():
    LAWS |= _ways(
        "BernoulliMixture",
        _key,
        {_key: vectors(_draw)},
        lambda r, p: COINS(r),
        log_mixture(coin, vectors=True),
    )
for _key, (_matrix, _covariance) in SCALES.items():
    LAWS |= _ways(
        "GaussianMixture",
        _key,
        {"loc": LOCATIONS, _key: lambda r, m=_matrix: [m(r) for _ in range(PARTS)]},
        beside,
        log_mixture(mp_vectors.gauss(_covariance)["log_prob"], vectors=False),
    )
