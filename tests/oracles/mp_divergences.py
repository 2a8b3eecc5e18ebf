"""Divergences KL[q || p] in 50 digits, from formulas, between the laws of ``mp_matrices``.

Each is a function of the parameters of both laws, by the names of their tables. Where p is a normal
or exponential law only, it is -H[q] - E_q[log p] with the moments and entropies of the others.
"""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpmath import mp

from tests.oracles import mp_mixtures
from tests.oracles.mp_matrices import COVARIANCES, LAWS, kronecker, matrix, sequence_moments
from tests.oracles.mp_reference import Draw, Number
from tests.oracles.mp_vector_moments import MOMENTS
from tests.oracles.mp_vectors import log_odds_pair, moderate, several, temperature

Params = dict[str, Any]


@dataclass(frozen=True)
class Divergence:
    """A divergence between two families.

    Args:
        f: The divergence as a function of the parameters of q, then of p.
        q: How the parameters of q are drawn, if not as those of its table.
        p: How those of p are, likewise.
        near: The parameters of p from those of q, where not any will do.
    """

    f: Callable[[Params, Params], Number]
    q: Mapping[str, Draw] | None = None
    p: Mapping[str, Draw] | None = None
    near: Callable[[random.Random, Params], Params] | None = None


# -- numbers --------------------------------------------------------------------------------------
def _positional(f: Callable[..., Number]) -> Callable[[Params, Params], Number]:
    return lambda q, p: f(*q.values(), *p.values())


def _normal(m: Number, s: Number, n: Number, t: Number) -> Number:
    return mp.log(t / s) + ((s / t) ** 2 + ((m - n) / t) ** 2 - 1) / 2


def _half_normal(s: Number, t: Number) -> Number:
    return mp.log(t / s) + ((s / t) ** 2 - 1) / 2


def _laplace(m: Number, s: Number, n: Number, t: Number) -> Number:
    gap = abs(m - n)
    return mp.log(t / s) + (s * mp.exp(-gap / s) + gap) / t - 1


def _normal_to_laplace(m: Number, s: Number, n: Number, t: Number) -> Number:
    z = (m - n) / s / mp.sqrt(2)
    away = s * mp.sqrt(2 / mp.pi) * mp.exp(-(z**2)) + (m - n) * mp.erf(z)
    return mp.log(2 * t) + away / t - mp.log(2 * mp.pi * mp.e * s**2) / 2


def _cauchy(m: Number, s: Number, n: Number, t: Number) -> Number:
    return mp.log(((s + t) ** 2 + (m - n) ** 2) / (4 * s * t))


def _gumbel(m: Number, s: Number, n: Number, t: Number) -> Number:
    slope = mp.exp((n - m) / t + mp.loggamma(1 + s / t))
    return mp.log(t / s) + mp.euler * (s / t - 1) + (m - n) / t + slope - 1


def _gamma(a: Number, b: Number, c: Number, d: Number) -> Number:
    """KL[Gamma(a, b) || Gamma(c, d)]."""
    shapes = (a - c) * mp.psi(0, a) - mp.loggamma(a) + mp.loggamma(c)
    return shapes + c * mp.log(b / d) + a * (d - b) / b


def _beta(a: Number, b: Number, c: Number, d: Number) -> Number:
    logs = mp.loggamma(c) + mp.loggamma(d) - mp.loggamma(c + d)
    logs -= mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    slopes = (a - c) * mp.psi(0, a) + (b - d) * mp.psi(0, b)
    return logs + slopes + (c - a + d - b) * mp.psi(0, a + b)


def _uniform(a: Number, b: Number, low: Number, high: Number) -> Number:
    return mp.log((high - low) / (b - a)) if low <= a and b <= high else mp.inf


def _log_moments(name: str, q: Params) -> tuple[Number, Number, Number]:
    mean, variance = (f(**q) for f in MOMENTS[name])
    return mean, variance, LAWS[name].functions["entropy"](**q)


def _to_normal(name: str) -> Callable[[Params, Params], Number]:
    def kl(q: Params, p: Params) -> Number:
        with mp.workdps(150):
            mean, variance, entropy = _log_moments(name, q)
            if mp.isnan(mean) or mp.isinf(variance):
                return mp.inf
            square = (variance + (mean - p["loc"]) ** 2) / p["scale"] ** 2
            return (square + mp.log(2 * mp.pi * p["scale"] ** 2)) / 2 - entropy

    return kl


def _to_exponential(name: str) -> Callable[[Params, Params], Number]:
    def kl(q: Params, p: Params) -> Number:
        mean, _, entropy = _log_moments(name, q)
        return p["rate"] * mean - mp.log(p["rate"]) - entropy

    return kl


def _truncated(q: Params, p: Params) -> Number:
    if not p["low"] <= q["low"] < q["high"] <= p["high"]:
        return mp.inf
    with mp.workdps(150):
        mean, variance, entropy = _log_moments("TruncatedNormal", q)
        log_p = LAWS["TruncatedNormal"].functions["log_prob"]
        return -log_p(x=mean, **p) + variance / p["scale"] ** 2 / 2 - entropy


def _wider(r: random.Random, q: Params) -> Params:
    """Another normal law on an interval that holds that of q, both ends often the same."""
    end = [0.0 if r.random() < 0.3 else 10 ** r.uniform(-3, 3) for _ in range(2)]
    return {
        "loc": r.choice([q["loc"] * (1 + r.uniform(-1, 1)), moderate(r)]),
        "scale": q["scale"] * 10 ** r.uniform(-0.5, 1),
        "low": q["low"] - end[0],
        "high": q["high"] + end[1],
    }


# -- counts and categories ------------------------------------------------------------------------
def _categories(logs: Callable[..., list[Number]]) -> Callable[[Params, Params], Number]:
    """From log probabilities."""

    def kl(q: Params, p: Params) -> Number:
        return sum(mp.exp(a) * (a - b) for a, b in zip(logs(**q), logs(**p), strict=True))

    return kl


def _log_shares(logits: Any = None, probs: Any = None) -> list[Number]:
    """Of probabilities as they are: rounded, their sum is not exactly 1."""
    if probs is not None:
        return [mp.log(v) for v in probs]
    total = mp.log(sum(mp.exp(v) for v in logits))
    return [v - total for v in logits]


def _grades(loc: Number, cutpoints: list[Number]) -> list[Number]:
    log_p = LAWS["OrderedLogistic"].functions["log_prob"]
    return [log_p(mp.mpf(k), loc, cutpoints) for k in range(len(cutpoints) + 1)]


def _geometric(q: Params, p: Params) -> Number:
    (a, b), (c, d) = log_odds_pair(**q), log_odds_pair(**p)
    return a - c + mp.exp(b - a) * (b - d)


def _continuous(eta: Callable[..., Number]) -> Callable[[Params, Params], Number]:
    def kl(q: Params, p: Params) -> Number:
        with mp.workdps(100):
            n, m = eta(**q), eta(**p)
            mean = 1 / -mp.expm1(-n) - 1 / n if n else mp.mpf(1) / 2
            logs = [mp.log(mp.expm1(v) / v) if v else mp.mpf(0) for v in (n, m)]
            return (n - m) * mean - logs[0] + logs[1]

    return kl


# -- vectors and matrices -------------------------------------------------------------------------
def _gauss(
    q: Callable[..., tuple[list[Number], Any]], p: Callable[..., tuple[list[Number], Any]]
) -> Callable[[Params, Params], Number]:
    """Of normal vectors, from means and covariances."""

    def kl(own: Params, other: Params) -> Number:
        (m, c), (n, v) = q(**own), p(**other)
        d, inverse = mp.matrix(m) - mp.matrix(n), v**-1
        inside = inverse * c
        trace = sum(inside[i, i] for i in range(inside.rows))
        return (trace + (d.T * inverse * d)[0] - d.rows - mp.log(mp.det(inside))) / 2

    return kl


def _vector(loc: Any, **scale: Any) -> tuple[Any, Any]:
    ((key, value),) = scale.items()
    return loc, COVARIANCES[key](value)


def _independent(loc: Any, scale: Any) -> tuple[Any, Any]:
    if isinstance(loc[0], list):
        loc, scale = (list(itertools.chain(*v)) for v in (loc, scale))
    return loc, mp.diag([s**2 for s in scale])


def _matrix(loc: Any, **scale: Any) -> tuple[Any, Any]:
    row, column = (COVARIANCES[key](value) for key, value in scale.items())
    return list(itertools.chain(*loc)), kronecker(row, column)


def _dirichlet(q: Params, p: Params) -> Number:
    mine, its = q["concentration"], p["concentration"]
    total, pairs = sum(mine), list(zip(mine, its, strict=True))
    slopes = sum((a - b) * (mp.psi(0, a) - mp.psi(0, total)) for a, b in pairs)
    logs = sum(mp.loggamma(b) - mp.loggamma(a) for a, b in pairs)
    return mp.loggamma(total) - mp.loggamma(sum(its)) + logs + slopes


def _wishart(q: Params, p: Params) -> Number:
    """Of two rows."""
    n, m = q["df"], p["df"]
    v, w = (COVARIANCES[key](law[key]) for law in (q, p) for key in law if key != "df")
    inside = w**-1 * v
    half = mp.mpf(1) / 2
    slope = mp.psi(0, n / 2) + mp.psi(0, n / 2 - half)
    gammas = sum(mp.loggamma(m / 2 - h) - mp.loggamma(n / 2 - h) for h in (0, half))
    trace = inside[0, 0] + inside[1, 1]
    return (n * (trace - 2) - m * mp.log(mp.det(inside)) + (n - m) * slope) / 2 + gammas


def _lkj(q: Params, p: Params) -> Number:
    """Of three rows, by the Beta laws of the squared lengths of the second and the third."""
    mine, its = q["concentration"], p["concentration"]
    return sum(
        _beta(half, mine + gap, half, its + gap)
        for half, gap in ((mp.mpf(1) / 2, mp.mpf(1) / 2), (mp.mpf(1), mp.mpf(0)))
    )


def _fisher(q: Params, p: Params) -> Number:
    """Of cosines between directions: -H[q] - E_q[log p]."""
    f = LAWS["VonMisesFisher.3"].functions
    mean = MOMENTS["VonMisesFisher.3"][0](**q)
    unit = [v / mp.sqrt(sum(u * u for u in p["loc"])) for v in p["loc"]]
    short = 1 - sum(a * b for a, b in zip(mean, unit, strict=True))
    return p["concentration"] * short - f["log_prob"](x=p["loc"], **p) - f["entropy"](**q)


def _von_mises(q: Params, p: Params) -> Number:
    f, k = LAWS["VonMises"].functions, q["concentration"]
    lean = mp.besseli(1, k) / mp.besseli(0, k)
    short = 1 - lean * mp.cos(q["loc"] - p["loc"])
    return p["concentration"] * short - f["log_prob"](x=p["loc"], **p) - f["entropy"](**q)


PAIR = {"loc": several(moderate, 2), "scale": several(temperature, 2)}
FOUR = {"loc": matrix(moderate), "scale": matrix(temperature)}


VECTORS = [f"MultivariateNormal.{k}" for k in mp_mixtures.SCALES]
MATRICES = [
    "MatrixNormal.row_scale_tril.column_covariance",
    "MatrixNormal.row_covariance.column_scale_tril",
]

DIVERGENCES: Mapping[tuple[str, str], Divergence] = {
    **{
        (name, name): Divergence(_positional(f))
        for name, f in {
            "Normal": _normal,
            "LogNormal": _normal,
            "HalfNormal": _half_normal,
            "Laplace": _laplace,
            "Cauchy": _cauchy,
            "HalfCauchy": lambda s, t: mp.log((s + t) ** 2 / (4 * s * t)),
            "Gumbel": _gumbel,
            "Exponential": lambda b, d: mp.log(b / d) + d / b - 1,
            "Gamma": _gamma,
            "InverseGamma": _gamma,
            "Beta": _beta,
            "Poisson": lambda a, b: a * mp.log(a / b) + b - a,
            "Uniform": _uniform,
        }.items()
    },
    ("Normal", "Laplace"): Divergence(_positional(_normal_to_laplace)),
    ("Exponential", "Gamma"): Divergence(_positional(lambda b, c, d: _gamma(mp.mpf(1), b, c, d))),
    **{
        (name, "Exponential"): Divergence(_to_exponential(name))
        for name in (
            "Beta",
            "ContinuousBernoulli.logits",
            "Gamma",
            "HalfNormal",
            "InverseGamma",
            "Kumaraswamy",
            "LogNormal",
        )
    },
    **{
        (name, "Normal"): Divergence(_to_normal(name))
        for name in (
            "Beta",
            "ContinuousBernoulli.logits",
            "Exponential",
            "Gamma",
            "Gumbel",
            "HalfNormal",
            "InverseGamma",
            "Kumaraswamy",
            "Laplace",
            "LogNormal",
            "Logistic",
            "StudentT",
            "TruncatedNormal",
            "Uniform",
        )
    },
    ("TruncatedNormal", "TruncatedNormal"): Divergence(_truncated, near=_wider),
    ("VonMises", "VonMises"): Divergence(_von_mises),
    ("OrderedLogistic", "OrderedLogistic"): Divergence(_categories(_grades)),
    **{
        (f"{name}.{way}", f"{name}.{way}"): Divergence(f)
        for way in ("logits", "probs")
        for name, f in {
            "Bernoulli": _categories(log_odds_pair),
            "Categorical": _categories(_log_shares),
            "Geometric": _geometric,
            "ContinuousBernoulli": _continuous(
                lambda logits=None, probs=None: (
                    logits if probs is None else mp.log(probs) - mp.log1p(-probs)
                )
            ),
        }.items()
    },
    ("Dirichlet", "Dirichlet"): Divergence(_dirichlet),
    ("LKJCholesky", "LKJCholesky"): Divergence(_lkj),
    ("VonMisesFisher.3", "VonMisesFisher.3"): Divergence(_fisher),
    **{
        (f"Wishart.{q}", f"Wishart.{p}"): Divergence(_wishart)
        for q, p in [*zip(mp_mixtures.SCALES, mp_mixtures.SCALES, strict=True),
                     ("scale_tril", "precision_matrix")]
    },
    **{pair: Divergence(_gauss(_vector, _vector)) for pair in itertools.product(VECTORS, VECTORS)},
    **{
        pair: Divergence(_gauss(_matrix, _matrix))
        for pair in itertools.product(MATRICES, MATRICES)
    },
    **{("Normal", name): Divergence(_gauss(_independent, _vector), q=PAIR) for name in VECTORS},
    **{(name, "Normal"): Divergence(_gauss(_vector, _independent), p=PAIR) for name in VECTORS},
    **{(name, "Normal"): Divergence(_gauss(_matrix, _independent), p=FOUR) for name in MATRICES},
    **{
        (f"AutoregressiveNormal.{way}", f"AutoregressiveNormal.{way}"): Divergence(
            _gauss(lambda **p: sequence_moments(3, **p), lambda **p: sequence_moments(3, **p))
        )
        for way in ("stationary", "initial")
    },
}  # fmt: skip
