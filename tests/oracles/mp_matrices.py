"""Laws of matrices, directions and sequences in 50 digits, beside those of ``mp_mixtures``."""

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

from mpmath import mp

from tests.oracles import mp_mixtures
from tests.oracles.mp_laws import Number, Reference, Row
from tests.oracles.mp_vectors import lower, moderate, several, symmetric

Functions = Mapping[str, Callable[..., Number]]


# -- parameters and values ------------------------------------------------------------------------
def matrix(draw: Callable[[random.Random], float]) -> Callable[[random.Random], list[list[float]]]:
    """Two rows of two entries."""
    return lambda r: [several(draw, 2)(r) for _ in range(2)]


def around(r: random.Random, p: Row) -> list[list[float]]:
    """A matrix within 1e-3 to 1e2 of the mean."""
    return [[m + r.choice([-1, 1]) * 10 ** r.uniform(-3, 2) for m in row] for row in p["loc"]]


# -- formulas -------------------------------------------------------------------------------------
def product(factor: Any) -> Any:
    """A covariance from its factor."""
    return mp.matrix(factor) * mp.matrix(factor).T


def _kronecker(row: Any, column: Any) -> Any:
    n, m = row.rows, column.rows
    out = mp.matrix(n * m, n * m)
    for i, j, k, l in itertools.product(range(n), range(m), range(n), range(m)):
        out[i * m + j, k * m + l] = row[i, k] * column[j, l]
    return out


def matrix_normal(row: str, column: str) -> Functions:
    """By the law of its entries as one vector."""

    def covariance(p: Mapping[str, Any]) -> Any:
        row_of, column_of = (product if "tril" in k else mp.matrix for k in (row, column))
        return _kronecker(row_of(p[row]), column_of(p[column]))

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
}
