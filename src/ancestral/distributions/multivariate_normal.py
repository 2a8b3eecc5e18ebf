r"""The multivariate normal law, :math:`N(x; \mu, \Sigma)`, of a vector with dependent entries."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.errors import ShapeError
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import identity, real
from ancestral.distributions.covariance import COVARIANCE, half_log_det, lower_factor, solve, times
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import HALF_LOG_TWO_PI, Normal


def as_lower(flat: Tensor) -> Tensor:
    """A lower triangle, row by row in the last axis, as a matrix; softplus of its diagonal."""
    width = flat.shape[-1]
    size = round(((8 * width + 1) ** 0.5 - 1) / 2)
    if size * (size + 1) // 2 != width:
        raise ShapeError(
            f"a lower triangle of {width} entries: the last axis must be D(D + 1)/2, e.g. 6 for a "
            "matrix of three rows."
        )
    row, column = torch.tril_indices(size, size, device=flat.device)
    matrix = flat.new_zeros(*flat.shape[:-1], size, size)
    matrix[..., row, column] = flat
    return matrix.tril(-1) + torch.diag_embed(F.softplus(matrix.diagonal(dim1=-2, dim2=-1)))


class MultivariateNormal(Law):
    r"""The multivariate normal law of a vector of D entries,
    :math:`\log p(x) = -\frac12 |L^{-1}(x-\mu)|^2 - \sum_i\log L_{ii} - \frac D2\log 2\pi`, with
    :math:`\Sigma = LL^\top`.

    The covariance is given as it is, by its inverse, or by its factor L, which saves finding one
    at each evaluation.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, D)``.
        loc: Mean :math:`\mu`, shape ``(*event, D)``: a number, a tensor, an ``nn.Parameter``, or
            a condition's name.
        covariance_matrix: :math:`\Sigma`, shape ``(*event, D, D)``, likewise, but no number.
        precision_matrix: :math:`\Sigma^{-1}` in place of it, of the same shape.
        scale_tril: L in place of it, lower triangular with a positive diagonal.
        net: A network of the conditions; of one output tensor of width D(D + 3)/2 the first D are
            the mean, the rest L row by row, its diagonal through softplus.

    Example:
        >>> p = MultivariateNormal(loc=0.0, scale_tril=torch.eye(2))
        >>> p.get_log_prob({"x": torch.zeros(3, 2)})
        tensor([-1.8379, -1.8379, -1.8379])
    """

    domains = {"loc": real, **COVARIANCE}
    parametrisations = tuple(("loc", form) for form in COVARIANCE)
    split = {"loc": identity, "scale_tril": as_lower}
    cores = {"loc": "d", **dict.fromkeys(COVARIANCE, "dd")}
    reparametrised = True
    noise = "normal"
    value_dims = 1
    param_dims = 1

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        covariance_matrix: Parameter = None,
        precision_matrix: Parameter = None,
        scale_tril: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {
            "loc": loc,
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        super().__init__(var, cond_var, name, features_shape, net, given)

    def split_output(self, out: Tensor) -> Params:
        """Parameters from one tensor: the mean, then a lower triangle."""
        names = self.from_net
        if len(names) != 2 or not isinstance(out, Tensor):
            return super().split_output(out)
        width = out.shape[-1] if out.dim() else 0
        size = round(((8 * width + 9) ** 0.5 - 3) / 2)
        if size < 1 or size * (size + 3) // 2 != width:
            raise ShapeError(
                f"{self.prob_text}: the network's output of shape {tuple(out.shape)} does not "
                "split into a mean and a lower triangle: the last axis must be D(D + 3)/2, e.g. "
                "9 for three entries."
            )
        parts = out.split([size, width - size], -1)
        return {k: self.split[k](part) for k, part in zip(names, parts, strict=True)}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three vectors of two entries."""
        return [_example(way) for way in cls.parametrisations]

    @staticmethod
    def draw(noise: Tensor, loc: Any, **scale: Tensor) -> Tensor:
        r""":math:`\mu + L\epsilon` with standard normal noise."""
        return loc + times(lower_factor(**scale), noise)

    @staticmethod
    def log_density(x: Tensor, loc: Any, **scale: Tensor) -> Tensor:
        """The log density of each vector."""
        whitened, log_root = whiten(x - loc, **scale)
        constant = HALF_LOG_TWO_PI * x.shape[-1]
        square = whitened * whitened  # not .square(): torch takes longer for it
        return -0.5 * square.sum(-1) - log_root - constant

    @staticmethod
    def mean_of(loc: Any, **scale: Tensor) -> Any:
        r""":math:`\mu`."""
        return loc

    @staticmethod
    def variance_of(loc: Any, **scale: Tensor) -> Any:
        r""":math:`\Sigma_{ii}`, entry by entry."""
        return lower_factor(**scale).square().sum(-1)

    @staticmethod
    def entropy_of(loc: Any, **scale: Tensor) -> Any:
        r""":math:`\frac D2\log 2\pi e + \sum_i\log L_{ii}`."""
        lower = lower_factor(**scale)
        return half_log_det(lower) + (HALF_LOG_TWO_PI + 0.5) * lower.shape[-1]


def _example(way: Iterable[str]) -> dict[str, Tensor]:
    steps = torch.linspace(-1.2, 1.7, 12, dtype=torch.float64).reshape(3, 2, 2)
    made = {"loc": steps[..., 0]}
    for key in way:
        onto = MultivariateNormal.domains[key].of_real or identity
        made.setdefault(key, onto((2.0 * steps + 0.3).sin()))
    return made


def whiten(d: Tensor, **scale: Tensor) -> tuple[Tensor, Tensor]:
    r"""A vector of length :math:`\sqrt{d^\top\Sigma^{-1}d}`, and :math:`\frac12\log|\Sigma|`."""
    if "precision_matrix" in scale:
        inverse = torch.linalg.cholesky(scale["precision_matrix"])
        return times(inverse.mT, d), -half_log_det(inverse)
    lower = lower_factor(**scale)
    return solve(lower, d), half_log_det(lower)


def kl_multivariate_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\frac12\left(\mathrm{tr}\,\Sigma_p^{-1}\Sigma_q + |L_p^{-1}(\mu_q-\mu_p)|^2 - D +
    \log\frac{|\Sigma_p|}{|\Sigma_q|}\right)`.
    """
    q, p = dict(q), dict(p)
    shift = torch.as_tensor(q.pop("loc") - p.pop("loc"))
    lower, size = lower_factor(**q), next(iter(q.values())).shape[-1]
    distance, log_root = whiten(shift.expand(*shift.shape[:-1], size).to(lower.dtype), **p)
    if "precision_matrix" in p:
        ratio = torch.linalg.cholesky(p["precision_matrix"]).mT @ lower
    else:
        ratio = torch.linalg.solve_triangular(lower_factor(**p), lower, upper=False)
    trace = ratio.square().sum((-2, -1))
    logs = log_root - half_log_det(lower)
    return 0.5 * (trace + distance.square().sum(-1) - size) + logs


def kl_from_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    """The form above, of a law with independent entries from one with dependent entries."""
    like = next(v for k, v in p.items() if k != "loc")
    scale = torch.as_tensor(q["scale"], dtype=like.dtype, device=like.device)
    lower = torch.diag_embed(scale.expand(*scale.shape[:-1], like.shape[-1]))
    return kl_multivariate_normal({"loc": q["loc"], "scale_tril": lower}, p)


def kl_to_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\frac12\sum_i \frac{\Sigma_{ii} + (\mu_i-\nu_i)^2}{\sigma_i^2} - \frac D2 +
    \sum_i\log\sigma_i - \sum_i\log L_{ii}`.
    """
    q = dict(q)
    loc = q.pop("loc")
    lower = lower_factor(**q)
    scale = torch.as_tensor(p["scale"], dtype=lower.dtype, device=lower.device)
    ratio = lower.square().sum(-1) / scale**2 + ((loc - p["loc"]) / scale) ** 2 - 1.0
    rest = scale.log() - lower.diagonal(dim1=-2, dim2=-1).log()
    return (0.5 * ratio + rest).sum(-1)


MultivariateNormal.closed_kl = {
    MultivariateNormal: kl_multivariate_normal,
    Normal: kl_to_normal,
}
Normal.closed_kl = {**Normal.closed_kl, MultivariateNormal: kl_from_normal}


def precision_of(
    precision_matrix: Tensor | None = None,
    scale_tril: Tensor | None = None,
    covariance_matrix: Tensor | None = None,
) -> Tensor:
    r""":math:`\Sigma^{-1}`."""
    if precision_matrix is not None:
        return precision_matrix
    return torch.cholesky_inverse(lower_factor(scale_tril, covariance_matrix))


def _observations(x: Tensor, known: Params, prior: Params) -> Params:
    r"""Precisions :math:`\Sigma^{-1}`, and :math:`\Sigma^{-1}x` in place of the mean."""
    matrix = precision_of(**known)
    matrix = matrix.expand(*x.shape[:-1], *matrix.shape[-2:])
    return {"loc": times(matrix, x), "precision_matrix": matrix}


def _posterior(prior: Params, sums: Params) -> Params:
    r"""Precision :math:`\Sigma_0^{-1} + \sum_i\Sigma_i^{-1}`, and the mean of the means by
    precision.
    """
    own = precision_of(**{k: v for k, v in prior.items() if k != "loc"})
    precision = own + sums["precision_matrix"]
    loc = torch.as_tensor(prior["loc"], dtype=own.dtype, device=own.device)
    loc = loc.expand(*loc.shape[:-1], own.shape[-1])
    pull = times(own, loc) + sums["loc"]
    mean = torch.cholesky_solve(pull.unsqueeze(-1), torch.linalg.cholesky(precision))
    return {"loc": mean.squeeze(-1), "precision_matrix": precision}


MultivariateNormal.conjugate = {
    MultivariateNormal: Conjugate("loc", _observations, _posterior),
}
