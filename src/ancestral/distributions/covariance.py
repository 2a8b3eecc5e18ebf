r"""A covariance :math:`\Sigma = LL^\top`: given as it is, by its inverse, or by its factor L."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import lower_cholesky, positive_definite

COVARIANCE = {
    "scale_tril": lower_cholesky,
    "covariance_matrix": positive_definite,
    "precision_matrix": positive_definite,
}


def lower_factor(
    scale_tril: Tensor | None = None,
    covariance_matrix: Tensor | None = None,
    precision_matrix: Tensor | None = None,
) -> Tensor:
    r"""The lower triangular L with :math:`LL^\top = \Sigma`, from one of the three.

    Example:
        >>> lower_factor(precision_matrix=torch.diag(torch.tensor([4.0, 1.0])))
        tensor([[0.5000, 0.0000],
                [0.0000, 1.0000]])
    """
    if scale_tril is not None:
        return scale_tril
    if covariance_matrix is not None:
        return torch.linalg.cholesky(covariance_matrix)
    assert precision_matrix is not None
    # from below: a lower triangle R with R^T R = Sigma^-1, whose inverse is L
    mirrored = torch.linalg.cholesky(precision_matrix.flip(-2, -1))
    one = torch.eye(mirrored.shape[-1], dtype=mirrored.dtype, device=mirrored.device)
    return torch.linalg.solve_triangular(mirrored.flip(-2, -1).mT, one, upper=False)


def half_log_det(lower: Tensor) -> Tensor:
    r""":math:`\frac12\log|\Sigma| = \sum_i\log L_{ii}`."""
    return lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def times(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix times vectors, shape ``(*event, D)``; one matrix takes all of them at once."""
    if matrix.dim() == 2:
        return F.linear(x, matrix)
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def solve(matrix: Tensor, x: Tensor, *, upper: bool = False) -> Tensor:
    """The inverse of a triangular matrix times vectors, as :func:`times`."""
    if matrix.dim() == 2:
        flat = x.reshape(-1, x.shape[-1])
        return torch.linalg.solve_triangular(matrix, flat.mT, upper=upper).mT.reshape(x.shape)
    return torch.linalg.solve_triangular(matrix, x.unsqueeze(-1), upper=upper).squeeze(-1)
