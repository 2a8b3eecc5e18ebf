r"""The multivariate normal law of low rank, :math:`\Sigma = WW^\top + \mathrm{diag}(d)`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions.constraints import positive, real
from ancestral.distributions.covariance import half_log_det, solve, times
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.normal import HALF_LOG_TWO_PI


class LowRankMultivariateNormal(Law):
    r"""The multivariate normal law of a vector of D entries with
    :math:`\Sigma = WW^\top + \mathrm{diag}(d)`, W of R columns, in O(D R^2): with
    :math:`C = I + W^\top\mathrm{diag}(d)^{-1}W`, which is R by R,

    .. math:: |x|^2_{\Sigma^{-1}} = \min_z \sum_i \frac{(x - Wz)_i^2}{d_i} + |z|^2, \qquad
        \log|\Sigma| = \log|C| + \sum_i\log d_i,

    where the best factors are :math:`z = C^{-1}W^\top d^{-1}x` (Woodbury's formula, without its
    difference of large numbers).

    It is factor analysis (with one d, probabilistic PCA) with the factors integrated out.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, D)``.
        loc: Mean :math:`\mu`, shape ``(*event, D)``: a number, a tensor, an ``nn.Parameter``, or
            a condition's name.
        cov_factor: W, shape ``(*event, D, R)``, likewise, but no number.
        cov_diag: Variances d > 0, shape ``(*event, D)``, likewise, or a number.
        net: A network of the conditions that returns a dict.

    Example:
        >>> p = LowRankMultivariateNormal(loc=0.0, cov_factor=torch.ones(2, 1), cov_diag=1.0)
        >>> p.get_log_prob({"x": torch.zeros(1, 2)})
        tensor([-2.3872])
    """

    domains = {"loc": real, "cov_factor": real, "cov_diag": positive}
    cores = {"loc": "d", "cov_factor": "dr", "cov_diag": "d"}
    reparametrised = True
    noise = "normal"
    value_dims = 1
    param_dims = 2

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        cov_factor: Parameter = None,
        cov_diag: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"loc": loc, "cov_factor": cov_factor, "cov_diag": cov_diag}
        super().__init__(var, cond_var, name, features_shape, net, given)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three vectors of two entries, with one factor."""
        steps = torch.linspace(-1.2, 1.7, 6, dtype=torch.float64).reshape(3, 2)
        return [
            {"loc": steps, "cov_factor": steps.sin()[..., None], "cov_diag": steps.cos().exp()}
        ]

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """One number for each entry, and one for each factor."""
        return (*event[:-2], event[-2] + event[-1])

    @staticmethod
    def draw(noise: Tensor, loc: Any, cov_factor: Tensor, cov_diag: Any) -> Tensor:
        r""":math:`\mu + W\epsilon + \sqrt d\,\epsilon'` with standard normal noise."""
        own, shared = noise.split(list(cov_factor.shape[-2:]), -1)
        return loc + times(cov_factor, shared) + cov_diag**0.5 * own

    @staticmethod
    def log_density(x: Tensor, loc: Any, cov_factor: Tensor, cov_diag: Any) -> Tensor:
        """The log density of each vector."""
        variance, scaled, lower = _capacitance(cov_factor, cov_diag)
        d = x - loc
        whitened = solve(lower, times(scaled.mT, d))
        factors = solve(lower.mT, whitened, upper=True)
        rest = d - times(cov_factor, factors)
        distance = (rest.square() / variance).sum(-1) + factors.square().sum(-1)
        constant = HALF_LOG_TWO_PI * x.shape[-1]
        return -0.5 * distance - _half_log_det(variance, lower) - constant

    @staticmethod
    def mean_of(loc: Any, cov_factor: Tensor, cov_diag: Any) -> Any:
        r""":math:`\mu`."""
        return loc

    @staticmethod
    def variance_of(loc: Any, cov_factor: Tensor, cov_diag: Any) -> Any:
        r""":math:`\sum_r W_{ir}^2 + d_i`, entry by entry."""
        return cov_factor.square().sum(-1) + cov_diag

    @staticmethod
    def entropy_of(loc: Any, cov_factor: Tensor, cov_diag: Any) -> Any:
        r""":math:`\frac D2\log 2\pi e + \frac12\log|\Sigma|`."""
        variance, _, lower = _capacitance(cov_factor, cov_diag)
        size = cov_factor.shape[-2]
        return _half_log_det(variance, lower) + (HALF_LOG_TWO_PI + 0.5) * size


def _capacitance(cov_factor: Tensor, cov_diag: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The variances d, shape ``(*event, D)``, W over d, and the Cholesky factor of C."""
    like = cov_factor[..., 0]
    variance = torch.as_tensor(cov_diag, dtype=like.dtype, device=like.device)
    variance = variance.expand(torch.broadcast_shapes(variance.shape, like.shape))
    scaled = cov_factor / variance.unsqueeze(-1)
    one = torch.eye(cov_factor.shape[-1], dtype=like.dtype, device=like.device)
    return variance, scaled, torch.linalg.cholesky(one + cov_factor.mT @ scaled)


def _half_log_det(variance: Tensor, lower: Tensor) -> Tensor:
    return half_log_det(lower) + 0.5 * variance.log().sum(-1)
