r"""The matrix normal law, :math:`MN(X; M, U, V)`, of a matrix with dependent rows and columns."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions.constraints import (
    identity,
    lower_cholesky,
    positive_definite,
    real,
)
from ancestral.distributions.covariance import half_log_det, lower_factor
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.normal import HALF_LOG_TWO_PI, Normal

ROW = {"row_scale_tril": lower_cholesky, "row_covariance": positive_definite}
COLUMN = {"column_scale_tril": lower_cholesky, "column_covariance": positive_definite}


class MatrixNormal(Law):
    r"""The matrix normal law of a matrix of N rows and P columns, with
    :math:`U = AA^\top` and :math:`V = BB^\top`,

    .. math:: \log p(X) = -\tfrac12 |A^{-1}(X - M)B^{-\top}|^2 - P\sum_i\log A_{ii} -
        N\sum_j\log B_{jj} - \tfrac{NP}2\log 2\pi.

    Entries have the covariance :math:`\mathrm{Cov}(X_{ij}, X_{kl}) = U_{ik}V_{jl}`, so that it is
    the multivariate normal law of NP entries with covariance :math:`U \otimes V`, at the cost of
    its two small factors. Twice the one and half of the other is the same law.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, N, P)``.
        loc: Mean M, shape ``(*event, N, P)``: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        row_covariance: U, shape ``(*event, N, N)``, likewise, but no number.
        column_covariance: V, shape ``(*event, P, P)``, likewise.
        row_scale_tril: A in place of U, lower triangular with a positive diagonal.
        column_scale_tril: B in place of V, likewise.
        net: A network of the conditions that returns a dict of parameters.

    Source: Gupta, Nagar, Matrix Variate Distributions, 1999, chapter 2.

    Example:
        >>> p = MatrixNormal(loc=0.0, row_scale_tril=torch.eye(2), column_scale_tril=torch.eye(3))
        >>> p.get_log_prob({"x": torch.zeros(1, 2, 3)})
        tensor([-5.5136])
    """

    domains = {"loc": real, **ROW, **COLUMN}
    parametrisations = tuple(("loc", *pair) for pair in itertools.product(ROW, COLUMN))
    cores = {"loc": "ij", **dict.fromkeys(ROW, "ii"), **dict.fromkeys(COLUMN, "jj")}
    reparametrised = True
    noise = "normal"
    value_dims = 2
    param_dims = 2

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        row_covariance: Parameter = None,
        column_covariance: Parameter = None,
        row_scale_tril: Parameter = None,
        column_scale_tril: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {
            "loc": loc,
            "row_covariance": row_covariance,
            "column_covariance": column_covariance,
            "row_scale_tril": row_scale_tril,
            "column_scale_tril": column_scale_tril,
        }
        super().__init__(var, cond_var, name, features_shape, net, given)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three matrices of two rows and one column."""
        return [_example(way) for way in cls.parametrisations]

    @staticmethod
    def draw(noise: Tensor, loc: Any, **scale: Tensor) -> Tensor:
        r""":math:`M + A\epsilon B^\top` with standard normal noise."""
        row, column = factors(**scale)
        return loc + (row @ noise) @ column.mT

    @staticmethod
    def log_density(x: Tensor, loc: Any, **scale: Tensor) -> Tensor:
        """The log density of each matrix."""
        row, column = factors(**scale)
        constant = HALF_LOG_TWO_PI * (x.shape[-2] * x.shape[-1])
        distance = whiten(x - loc, row, column).square().sum((-2, -1))
        return -0.5 * distance - log_root(row, column) - constant

    @staticmethod
    def mean_of(loc: Any, **scale: Tensor) -> Any:
        """M."""
        return loc

    @staticmethod
    def variance_of(loc: Any, **scale: Tensor) -> Any:
        r""":math:`U_{ii}V_{jj}`, entry by entry."""
        row, column = (m.square().sum(-1) for m in factors(**scale))
        return row.unsqueeze(-1) * column.unsqueeze(-2)

    @staticmethod
    def entropy_of(loc: Any, **scale: Tensor) -> Any:
        r""":math:`\frac{NP}2\log 2\pi e + P\sum_i\log A_{ii} + N\sum_j\log B_{jj}`."""
        row, column = factors(**scale)
        size = row.shape[-1] * column.shape[-1]
        return log_root(row, column) + (HALF_LOG_TWO_PI + 0.5) * size


def _example(way: Iterable[str]) -> dict[str, Tensor]:
    steps = torch.linspace(-1.2, 1.7, 12, dtype=torch.float64).reshape(3, 2, 2)
    made: dict[str, Tensor] = {}
    for key in way:
        onto = MatrixNormal.domains[key].of_real or identity
        rows, columns = ({"i": 2, "j": 1}[letter] for letter in MatrixNormal.cores[key])
        made[key] = onto((2.0 * steps[:, :rows, :columns] + 0.3 * len(made)).sin())
    return made


def factors(
    row_scale_tril: Tensor | None = None,
    row_covariance: Tensor | None = None,
    column_scale_tril: Tensor | None = None,
    column_covariance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The lower triangular factors A and B."""
    row = lower_factor(row_scale_tril, row_covariance)
    return row, lower_factor(column_scale_tril, column_covariance)


def whiten(d: Tensor, row: Tensor, column: Tensor) -> Tensor:
    r""":math:`A^{-1}dB^{-\top}`, shape ``(*event, N, P)``."""
    return _solve(column, _solve(row, d).mT).mT


def _solve(matrix: Tensor, d: Tensor) -> Tensor:
    """The triangular system with the columns of d; one matrix takes all of them at once."""
    if matrix.dim() == 2 and d.dim() > 2:
        columns = d.movedim(-2, 0)
        found = torch.linalg.solve_triangular(matrix, columns.flatten(1), upper=False)
        return found.reshape(columns.shape).movedim(0, -2)
    return torch.linalg.solve_triangular(matrix, d, upper=False)


def log_root(row: Tensor, column: Tensor) -> Tensor:
    r""":math:`\frac12\log|U\otimes V| = P\sum_i\log A_{ii} + N\sum_j\log B_{jj}`."""
    return column.shape[-1] * half_log_det(row) + row.shape[-1] * half_log_det(column)


def _parted(params: Mapping[str, Any]) -> tuple[Any, Tensor, Tensor]:
    """Mean and factors."""
    scale = dict(params)
    loc = scale.pop("loc")
    return loc, *factors(**scale)


def kl_matrix_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\frac12\left(|A_p^{-1}A_q|^2\,|B_p^{-1}B_q|^2 +
    |A_p^{-1}(M_q-M_p)B_p^{-\top}|^2 - NP\right) + \frac12\log\frac{|U_p\otimes V_p|}
    {|U_q\otimes V_q|}`.
    """
    (m_q, row_q, column_q), (m_p, row_p, column_p) = _parted(q), _parted(p)
    rows = _solve(row_p, row_q).square().sum((-2, -1))
    columns = _solve(column_p, column_q).square().sum((-2, -1))
    shape = row_q.shape[-1], column_q.shape[-1]
    shift = torch.as_tensor(m_q - m_p, dtype=row_q.dtype, device=row_q.device)
    shift = shift.expand(*shift.shape[:-2], *shape)
    distance = whiten(shift, row_p, column_p).square().sum((-2, -1))
    logs = log_root(row_p, column_p) - log_root(row_q, column_q)
    return 0.5 * (rows * columns + distance - shape[0] * shape[1]) + logs


def kl_to_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\frac12\sum_{ij}\left(\frac{U_{ii}V_{jj} + (M_{ij}-\mu_{ij})^2}{\sigma_{ij}^2} - 1
    + 2\log\sigma_{ij}\right) - \frac12\log|U\otimes V|`: of weights with a factorised prior.
    """
    loc, row, column = _parted(q)
    scale = torch.as_tensor(p["scale"], dtype=row.dtype, device=row.device)
    square = MatrixNormal.variance_of(**q) / scale**2 + ((loc - p["loc"]) / scale) ** 2
    return (0.5 * (square - 1.0) + scale.log()).sum((-2, -1)) - log_root(row, column)


MatrixNormal.closed_kl = {MatrixNormal: kl_matrix_normal, Normal: kl_to_normal}
