"""Means and variances of vectors, matrices, sequences and mixtures in 50 digits, entry by entry."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mpmath import mp

from tests.oracles import mp_bounded, mp_matrices
from tests.oracles.mp_moments import MOMENTS as NUMBERS
from tests.oracles.mp_moments import Moments, Number
from tests.oracles.mp_vectors import log_odds_pair


def _diagonal(matrix: Any) -> list[Number]:
    return [matrix[i, i] for i in range(matrix.rows)]


def _shares(logits: Any = None, probs: Any = None) -> list[Number]:
    if probs is not None:
        return list(probs)
    total = sum(mp.exp(v) for v in logits)
    return [mp.exp(v) / total for v in logits]


def gauss(covariance: Callable[..., Any]) -> Moments:
    """Of a normal vector, from the covariance as a function of the other parameters."""
    return lambda loc, **p: loc, lambda loc, **p: _diagonal(covariance(**p))


def _dirichlet(concentration: list[Number]) -> tuple[list[Number], list[Number]]:
    total = sum(concentration)
    mean = [a / total for a in concentration]
    rest = [(total - a) / total for a in concentration]
    return mean, [m * v / (total + 1) for m, v in zip(mean, rest, strict=True)]


def _polya(total_count: Number, concentration: list[Number]) -> tuple[Any, Any]:
    n, total = total_count, sum(concentration)
    mean, spread = _dirichlet(concentration)
    return [n * m for m in mean], [n * (n + total) * v for v in spread]


def _wishart(key: str) -> Moments:
    def covariance(p: Mapping[str, Any]) -> Any:
        return mp_matrices.COVARIANCES[key](p[key])

    def entries(f: Callable[[Any, int, int], Number], v: Any) -> list[list[Number]]:
        return [[f(v, i, j) for j in range(v.rows)] for i in range(v.rows)]

    def square(v: Any, i: int, j: int) -> Number:
        return v[i, j] ** 2 + v[i, i] * v[j, j]

    return (
        lambda df, **p: entries(lambda v, i, j: df * v[i, j], covariance(p)),
        lambda df, **p: entries(lambda v, i, j: df * square(v, i, j), covariance(p)),
    )


def _matrix_normal(row: str, column: str) -> Moments:
    def variance(loc: Any, **p: Any) -> Any:
        u, v = (_diagonal(mp_matrices.COVARIANCES[k](p[k])) for k in (row, column))
        return [[a * b for b in v] for a in u]

    return lambda loc, **p: loc, variance


def _lkj(concentration: Number) -> tuple[Any, Any]:
    """Of three rows, each uniform in direction: its length by the Beta law of its square."""
    size = 3
    mean, variance = ([[mp.mpf(0)] * size for _ in range(size)] for _ in range(2))
    mean[0][0] = mp.mpf(1)
    for row in range(1, size):
        b, half = concentration + mp.mpf(size - 1 - row) / 2, mp.mpf(row) / 2
        logs = mp.loggamma(b + mp.mpf(1) / 2) - mp.loggamma(b)
        logs += mp.loggamma(b + half) - mp.loggamma(b + half + mp.mpf(1) / 2)
        mean[row][row] = mp.exp(logs)
        variance[row][row] = b / (b + half) - mp.exp(2 * logs)
        for entry in range(row):
            variance[row][entry] = 1 / (2 * (b + half))
    return mean, variance


def _directional(
    lean: Callable[[int, Number], tuple[Number, Number, Number]],
) -> Moments:
    """From mean and variance of the cosine, and the variance of an entry orthogonal to the mean."""

    def unit(loc: list[Number]) -> list[Number]:
        length = mp.sqrt(sum(v * v for v in loc))
        return [v / length for v in loc]

    def mean(loc: list[Number], concentration: Number) -> list[Number]:
        return [v * lean(len(loc), concentration)[0] for v in unit(loc)]

    def variance(loc: list[Number], concentration: Number) -> list[Number]:
        _, along, across = lean(len(loc), concentration)
        return [v * v * along + (1 - v * v) * across for v in unit(loc)]

    return mean, variance


@lru_cache(64)
def _fisher(size: int, kappa: Number) -> tuple[Number, Number, Number]:
    order = mp.mpf(size) / 2 - 1
    mean = mp.besseli(order + 1, kappa) / mp.besseli(order, kappa)
    across = mean / kappa
    return mean, 1 - (size - 1) * across - mean**2, across


def _power(size: int, kappa: Number) -> tuple[Number, Number, Number]:
    b = mp.mpf(size - 1) / 2
    a = kappa + b
    mean, spread = (a - b) / (a + b), 4 * a * b / (a + b) ** 2 / (a + b + 1)
    return mean, spread, (1 - spread - mean**2) / (size - 1)


def _autoregressive(**p: Any) -> tuple[Any, Any]:
    mean, c = mp_matrices.sequence_moments(3, **p)
    return list(mean), _diagonal(c)


def _mixture(part: Moments, *, entries: int) -> Moments:
    """Of two components, each with moments of a number (``entries`` 0) or of so many."""

    def mixed(weights: Any, weight_logits: Any, p: dict[str, Any]) -> tuple[Any, Any]:
        pi = _shares(weight_logits, weights)
        each = [{key: value[k] for key, value in p.items()} for k in range(len(pi))]
        means, variances = ([f(**own) for own in each] for f in part)
        if not entries:
            return _of_parts(pi, means, variances)
        found = [
            _of_parts(pi, [m[d] for m in means], [v[d] for v in variances]) for d in range(entries)
        ]
        return [m for m, _ in found], [v for _, v in found]

    return (
        lambda weights=None, weight_logits=None, **p: mixed(weights, weight_logits, p)[0],
        lambda weights=None, weight_logits=None, **p: mixed(weights, weight_logits, p)[1],
    )


def _of_parts(pi: Any, means: Any, variances: Any) -> tuple[Number, Number]:
    mean = sum(w * m for w, m in zip(pi, means, strict=True))
    parts = zip(pi, means, variances, strict=True)
    return mean, sum(w * (v + (m - mean) ** 2) for w, m, v in parts)


def _each(part: Moments, size: int) -> Moments:
    """Of independent entries."""

    def entries(f: Callable[..., Number], p: dict[str, Any]) -> list[Number]:
        return [f(**{key: value[d] for key, value in p.items()}) for d in range(size)]

    return lambda **p: entries(part[0], p), lambda **p: entries(part[1], p)


@lru_cache(64)
def _levels(loc: Number, scale: Number) -> tuple[Number, Number]:
    logs = [mp_bounded.log_level(mp.mpf(k), loc, scale) for k in range(256)]
    mean = sum(k * mp.exp(v) for k, v in enumerate(logs))
    return mean, sum((k - mean) ** 2 * mp.exp(v) for k, v in enumerate(logs))


def _pair(both: Callable[..., tuple[Any, Any]]) -> Moments:
    return lambda **p: both(**p)[0], lambda **p: both(**p)[1]


def _coin(**p: Number) -> tuple[Number, Number]:
    on, off = (mp.exp(v) for v in log_odds_pair(**p))
    return on, on * off


def _inflated(counts: Moments) -> Moments:
    mean, variance = counts

    def spread(gate: Number, **p: Number) -> Number:
        return (1 - gate) * (variance(**p) + gate * mean(**p) ** 2)

    return lambda gate, **p: (1 - gate) * mean(**p), spread


LEVELS = _pair(_levels)
MOMENTS: Mapping[str, Moments] = {
    **NUMBERS,
    **{
        f"ZeroInflated{name}": _inflated(pair)
        for name, pair in NUMBERS.items()
        if name.startswith(("Poisson", "NegativeBinomial"))
    },
    "DiscretizedLogistic": LEVELS,
    **{
        f"MultivariateNormal.{key}": gauss(
            lambda key=key, **p: mp_matrices.COVARIANCES[key](p[key])
        )
        for key in ("scale_tril", "covariance_matrix", "precision_matrix")
    },
    "LowRankMultivariateNormal": gauss(
        lambda cov_factor, cov_diag: mp.matrix(cov_factor) * mp.matrix(cov_factor).T
        + mp.diag(cov_diag)
    ),
    "Dirichlet": _pair(_dirichlet),
    "DirichletMultinomial": _pair(_polya),
    "LKJCholesky": _pair(_lkj),
    "PowerSpherical": _directional(_power),
    **{f"VonMisesFisher.{size}": _directional(_fisher) for size in (2, 3, 4, 30)},
    **{f"AutoregressiveNormal.{way}": _pair(_autoregressive) for way in ("stationary", "initial")},
    **{
        f"Wishart.{key}": _wishart(key)
        for key in ("scale_tril", "covariance_matrix", "precision_matrix")
    },
    **{
        f"MatrixNormal.{row}.{column}": _matrix_normal(row, column)
        for row in ("row_scale_tril", "row_covariance")
        for column in ("column_scale_tril", "column_covariance")
    },
}  # fmt: skip
for _way in ("logits", "probs"):
    MOMENTS |= {
        f"Categorical.{_way}": (
            lambda **p: _shares(**p),
            lambda **p: [v * (1 - v) for v in _shares(**p)],
        ),
        f"Multinomial.{_way}": (
            lambda total_count, **p: [total_count * v for v in _shares(**p)],
            lambda total_count, **p: [total_count * v * (1 - v) for v in _shares(**p)],
        ),
    }
for _form in ("weights", "weight_logits"):
    MOMENTS |= {
        f"NormalMixture.{_form}": _mixture(_each(NUMBERS["Normal"], 2), entries=2),
        f"LogisticMixture.{_form}": _mixture(NUMBERS["Logistic"], entries=0),
        f"DiscretizedLogisticMixture.{_form}": _mixture(LEVELS, entries=0),
        **{
            f"BernoulliMixture.{way}.{_form}": _mixture(_each(_pair(_coin), 2), entries=2)
            for way in ("logits", "probs")
        },
        **{
            f"GaussianMixture.{key}.{_form}": _mixture(
                MOMENTS[f"MultivariateNormal.{key}"], entries=2
            )
            for key in ("scale_tril", "covariance_matrix", "precision_matrix")
        },
    }
