"""Laws of matrices, directions and sequences in 50 digits, beside those of ``mp_mixtures``."""

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

from mpmath import mp

from tests.oracles import mp_mixtures
from tests.oracles.mp_reference import Number, Reference, Row, positive
from tests.oracles.mp_vectors import lower, moderate, several, symmetric, temperature

Functions = Mapping[str, Callable[..., Number]]


# -- parameters and values ------------------------------------------------------------------------
def matrix(draw: Callable[[random.Random], float]) -> Callable[[random.Random], list[list[float]]]:
    """Two rows of two entries."""
    return lambda r: [several(draw, 2)(r) for _ in range(2)]


def around(r: random.Random, p: Row) -> list[list[float]]:
    """A matrix within 1e-3 to 1e2 of the mean."""
    return [[m + r.choice([-1, 1]) * 10 ** r.uniform(-3, 2) for m in row] for row in p["loc"]]


def degrees(r: random.Random) -> float:
    """Degrees of freedom of a matrix of two rows, from 1 + 1e-3 to 1e6."""
    return 1 + 10 ** r.uniform(-3, 6)


def scattered(r: random.Random, p: Row) -> list[list[float]]:
    """About the mean within 10 standard deviations, or a thousandth to a thousand times it."""
    key = next(k for k in p if k != "df")
    (a, b), (c, d) = p[key]
    if key == "scale_tril":
        v = [[a * a, a * c], [a * c, c * c + d * d]]
    elif key == "covariance_matrix":
        v = [[a, b], [c, d]]
    else:
        v = [
            [d / (a * d - b * c), -b / (a * d - b * c)],
            [-b / (a * d - b * c), a / (a * d - b * c)],
        ]
    near = min(0.5, 10 / p["df"] ** 0.5)
    s, t, u = (1 + near * r.uniform(-1, 1) for _ in range(3))
    far = p["df"] * (10 ** r.uniform(-3, 3) if r.random() < 0.3 else 1.0)
    rho = v[0][1] / (v[0][0] * v[1][1]) ** 0.5
    rho = 1 - (1 - rho) * t if rho > 0 else -1 + (1 + rho) * t
    cross = rho * (v[0][0] * s * v[1][1] * u) ** 0.5
    return [[far * v[0][0] * s, far * cross], [far * cross, far * v[1][1] * u]]


def correlations(r: random.Random, p: Row) -> list[list[float]]:
    """A factor of three rows, whose entries are of any size."""
    rows = [[1.0, 0.0, 0.0]]
    for size in (1, 2):
        row = [r.gauss(0, 1) for _ in range(size)]
        length = r.choice([10 ** r.uniform(-4, -0.01), 1 - 10 ** r.uniform(-5, -0.3)])
        scale = length / sum(v * v for v in row) ** 0.5
        rows.append([scale * v for v in row] + [(1 - length**2) ** 0.5] + [0.0] * (2 - size))
    return rows


def pole(size: int) -> Callable[[random.Random], list[float]]:
    """A unit vector."""

    def draw(r: random.Random) -> list[float]:
        x = [r.gauss(0, 1) for _ in range(size)]
        return [v / sum(u * u for u in x) ** 0.5 for v in x]

    return draw


def turned(r: random.Random, p: Row) -> list[float]:
    """A unit vector at a distance of 1e-4 to 1e2 standard deviations from the mean, or anywhere."""
    away = pole(len(p["loc"]))(r)
    far = 10 ** r.uniform(-4, 2) / (1 + p["concentration"]) ** 0.5
    x = [m + far * v for m, v in zip(p["loc"], away, strict=True)] if r.random() < 0.7 else away
    return [v / sum(u * u for u in x) ** 0.5 for v in x]


# -- formulas -------------------------------------------------------------------------------------
def product(factor: Any) -> Any:
    """A covariance from its factor."""
    return mp.matrix(factor) * mp.matrix(factor).T


# covariances, by the name of what they are given by
COVARIANCES: Mapping[str, Callable[[Any], Any]] = {
    "scale_tril": product,
    "covariance_matrix": mp.matrix,
    "precision_matrix": lambda given: mp.matrix(given) ** -1,
    "row_scale_tril": product,
    "row_covariance": mp.matrix,
    "column_scale_tril": product,
    "column_covariance": mp.matrix,
}


def kronecker(row: Any, column: Any) -> Any:
    """The covariance of a matrix's entries, row by row."""
    n, m = row.rows, column.rows
    out = mp.matrix(n * m, n * m)
    for i, j, k, l in itertools.product(range(n), range(m), range(n), range(m)):
        out[i * m + j, k * m + l] = row[i, k] * column[j, l]
    return out


def matrix_normal(row: str, column: str) -> Functions:
    """By the law of its entries as one vector."""

    def covariance(p: Mapping[str, Any]) -> Any:
        return kronecker(*(COVARIANCES[key](p[key]) for key in (row, column)))

    def log_prob(x: Any, loc: Any, **p: Any) -> Number:
        c = covariance(p)
        d = mp.matrix(
            [a - b for u, v in zip(x, loc, strict=True) for a, b in zip(u, v, strict=True)]
        )
        return -(d.T * (c**-1) * d)[0] / 2 - mp.log(mp.det(2 * mp.pi * c)) / 2

    return {
        "log_prob": log_prob,
        "entropy": lambda loc, **p: mp.log(mp.det(2 * mp.pi * mp.e * covariance(p))) / 2,
    }


def wishart(key: str) -> Functions:
    """Of two rows, from the covariance, its inverse or its factor."""

    def covariance(p: Mapping[str, Any]) -> Any:
        return COVARIANCES[key](p[key])

    def gammas(a: Number) -> Number:
        return mp.log(mp.pi) / 2 + mp.loggamma(a) + mp.loggamma(a - mp.mpf(1) / 2)

    def log_prob(x: Any, df: Number, **p: Any) -> Number:
        v, x = covariance(p), (mp.matrix(x) + mp.matrix(x).T) / 2
        inside = v**-1 * x
        constant = df * mp.log(2) + df / 2 * mp.log(mp.det(v)) + gammas(df / 2)
        return (df - 3) / 2 * mp.log(mp.det(x)) - (inside[0, 0] + inside[1, 1]) / 2 - constant

    def entropy(df: Number, **p: Any) -> Number:
        log_det = mp.log(mp.det(covariance(p)))
        slope = mp.psi(0, df / 2) + mp.psi(0, (df - 1) / 2)
        parts = 3 * log_det / 2 + 3 * mp.log(2) + gammas(df / 2)
        return parts - (df - 3) / 2 * slope + df

    return {"log_prob": log_prob, "entropy": entropy}


def _balls(size: int, eta: Number) -> list[tuple[Number, Number, Number]]:
    """Of each row from the second on: exponent, half its entries, volume of its ball."""
    out = []
    for row in range(2, size + 1):
        half, b = mp.mpf(row - 1) / 2, eta + mp.mpf(size - row) / 2
        log = half * mp.log(mp.pi) + mp.loggamma(b) - mp.loggamma(b + half)
        out.append((b, half, log))
    return out


def lkj(x: Any, concentration: Number) -> Number:
    """The log density of a factor of correlations: of its entries below the diagonal."""
    total = mp.mpf(0)
    for row, (b, _, volume) in zip(x[1:], _balls(len(x), concentration), strict=True):
        i = max(k for k, v in enumerate(row) if v)
        square = sum(v * v for v in row[:i])
        log = mp.log1p(-square) / 2 if square < 0.5 else mp.log(row[i])
        total += (2 * b - 2) * log - volume
    return total


def lkj_entropy(concentration: Number) -> Number:
    """Of three rows."""
    return sum(
        volume - (b - 1) * (mp.psi(0, b) - mp.psi(0, b + half))
        for b, half, volume in _balls(3, concentration)
    )


def _log_sphere(size: int, kappa: Number) -> Number:
    """The logarithm of the integral of exp(kappa (cos - 1))."""
    order = mp.mpf(size) / 2 - 1
    scaled = mp.log(mp.besseli(order, kappa)) - kappa
    return scaled + mp.mpf(size) / 2 * mp.log(2 * mp.pi) - order * mp.log(kappa)


def fisher(x: list[Number], loc: list[Number], concentration: Number) -> Number:
    """The log density of a von Mises-Fisher law."""
    lengths = [mp.sqrt(sum(v * v for v in u)) for u in (x, loc)]
    square = sum((a / lengths[0] - b / lengths[1]) ** 2 for a, b in zip(x, loc, strict=True))
    return -concentration * square / 2 - _log_sphere(len(x), concentration)


def fisher_entropy(loc: list[Number], concentration: Number) -> Number:
    """Its entropy."""
    order = mp.mpf(len(loc)) / 2 - 1
    mean = mp.besseli(order + 1, concentration) / mp.besseli(order, concentration)
    return concentration * (1 - mean) + _log_sphere(len(loc), concentration)


def sequence_moments(
    steps: int, drift: Any, coefficient: Any, scale: Any, **initial: Any
) -> tuple[Any, Any]:
    """Mean and covariance of all steps of an autoregressive law."""
    m = initial.get("initial_loc", drift / (1 - coefficient))
    s = initial.get("initial_scale", scale / mp.sqrt(1 - coefficient**2))
    factor = mp.matrix(steps, steps)
    mean = mp.matrix(steps, 1)
    for t in range(steps):
        mean[t] = m if t == 0 else drift + coefficient * mean[t - 1]
        for u in range(t + 1):
            factor[t, u] = (s if u == 0 else scale) * coefficient ** (t - u)
    return mean, factor * factor.T


def autoregressive(steps: int) -> Functions:
    """By the covariance of all steps."""

    def log_prob(x: list[Number], **p: Any) -> Number:
        mean, c = sequence_moments(steps, **p)
        d = mp.matrix(x) - mean
        return -(d.T * (c**-1) * d)[0] / 2 - mp.log(mp.det(2 * mp.pi * c)) / 2

    def entropy(**p: Any) -> Number:
        return mp.log(mp.det(2 * mp.pi * mp.e * sequence_moments(steps, **p)[1])) / 2

    return {"log_prob": log_prob, "entropy": entropy}


# -- the table ------------------------------------------------------------------------------------
LAWS: dict[str, Reference] = {
    **mp_mixtures.LAWS,
    **{
        f"MatrixNormal.{row}.{column}": Reference(
            {
                "loc": matrix(moderate),
                row: lower if "tril" in row else symmetric,
                column: lower if "tril" in column else symmetric,
            },
            around,
            matrix_normal(row, column),
            rows=150,
        )
        for row, column in itertools.product(
            ("row_scale_tril", "row_covariance"), ("column_scale_tril", "column_covariance")
        )
    },
    **{
        f"Wishart.{key}": Reference(
            {"df": degrees, key: lower if key == "scale_tril" else symmetric},
            scattered,
            wishart(key),
            rows=300,
        )
        for key in ("scale_tril", "covariance_matrix", "precision_matrix")
    },
    "LKJCholesky": Reference(
        {"concentration": positive},
        correlations,
        {"log_prob": lkj, "entropy": lkj_entropy},
        {"dim": 3},
        rows=400,
    ),
    **{
        f"VonMisesFisher.{size}": Reference(
            {"loc": pole(size), "concentration": positive},
            turned,
            {"log_prob": fisher, "entropy": fisher_entropy},
            rows=150,
        )
        for size in (2, 3, 4, 30)
    },
    **{
        f"AutoregressiveNormal.{way}": Reference(
            {
                "drift": moderate,
                "coefficient": lambda r: r.choice([-1, 1]) * (1 - 10 ** r.uniform(-3, -0.01)),
                "scale": temperature,
                **initial,
            },
            lambda r, p: [moderate(r) for _ in range(3)],
            autoregressive(3),
            {"steps": 3},
            rows=300,
        )
        for way, initial in {
            "stationary": {},
            "initial": {"initial_loc": moderate, "initial_scale": temperature},
        }.items()
    },
}
