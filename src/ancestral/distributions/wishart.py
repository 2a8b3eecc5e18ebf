r"""The Wishart law, :math:`W(X; \nu, V)`, of a positive definite matrix."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import SupportError
from ancestral.core.rng import Generator, blank, normal
from ancestral.distributions.constraints import Constraint, degrees_of_freedom, positive_definite
from ancestral.distributions.covariance import COVARIANCE, half_log_det, lower_factor
from ancestral.distributions.gamma import implicit_gamma, standard_gamma
from ancestral.distributions.gamma_function import (
    HALF_LOG_TWO_PI,
    deviance,
    digamma_error,
    double,
    log_gamma_bregman,
    result_like,
    stirling_error,
)
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import per_vector


class Wishart(Law):
    r"""The Wishart law of a positive definite matrix of D rows, with :math:`V = LL^\top`,

    .. math:: \log p(X) = \tfrac{\nu-D-1}2\log|X| - \tfrac12\mathrm{tr}\,V^{-1}X -
        \tfrac{\nu D}2\log 2 - \tfrac\nu2\log|V| - \log\Gamma_D(\tfrac\nu2),

    a density of the entries on and below the diagonal. It is the law of a sum of :math:`\nu`
    outer products of normal vectors with covariance V.

    Draws are :math:`LAA^\top L^\top` with Bartlett's triangle A; the gradient in :math:`\nu` is
    that of implicit reparameterisation of the chi-square entries on its diagonal. Where
    :math:`\nu` is near D - 1 a draw may be singular in single precision.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, D, D)``.
        df: Degrees of freedom :math:`\nu > D - 1`, shape ``(*event)``: a number, a tensor, an
            ``nn.Parameter``, or a condition's name.
        covariance_matrix: V, shape ``(*event, D, D)``, likewise, but no number; the mean is
            :math:`\nu V`.
        precision_matrix: :math:`V^{-1}` in place of it, of the same shape.
        scale_tril: L in place of it, lower triangular with a positive diagonal.
        net: A network of the conditions that returns a dict of parameters.

    Raises:
        SupportError: If df is not above D - 1.

    Source: Smith, Hocking, Wishart variate generator, 1972 (draws).

    Example:
        >>> Wishart(df=4.0, scale_tril=torch.eye(2)).get_log_prob({"x": torch.eye(2)[None]})
        tensor([-4.2242])
    """

    domains = {"df": degrees_of_freedom, **COVARIANCE}
    parametrisations = tuple(("df", form) for form in COVARIANCE)
    cores = {"df": "", **dict.fromkeys(COVARIANCE, "dd")}
    reparametrised = True
    noise = "Bartlett's triangle"
    value_dims = 2
    param_dims = 1

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        df: Parameter = None,
        covariance_matrix: Parameter = None,
        precision_matrix: Parameter = None,
        scale_tril: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {
            "df": df,
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Positive definite matrices."""
        return positive_definite

    @classmethod
    def check_together(cls, params: Mapping[str, Any], what: str) -> None:
        """Raise if there are too few degrees of freedom for the size of the matrix."""
        size = next((v.shape[-1] for k, v in params.items() if k != "df" and v.dim()), 1)
        df = torch.as_tensor(params.get("df", torch.inf)).detach()
        if not df.is_meta and not bool((df > size - 1).all()):
            raise SupportError(
                f"{what}: df must be above {size - 1} for matrices of {size} rows, got "
                f"{df.min():g}. Add {size - 1} to a positive number."
            )

    @classmethod
    def value_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """As many columns as rows."""
        return (*event, event[-1]) if event else event

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """A matrix."""
        return cls.value_shape(event)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three matrices of two rows."""
        df = torch.tensor([6.0, 8.0, 11.0], dtype=torch.float64)
        steps = torch.linspace(-1.2, 1.7, 12, dtype=torch.float64).reshape(3, 2, 2)
        made = []
        for way in cls.parametrisations:
            onto = cls.domains[way[1]].of_real
            assert onto is not None
            made.append({"df": df, way[1]: onto(0.35 * (2.0 * steps + 0.3).sin())})
        return made

    @staticmethod
    def noise_of(
        shape: Sequence[int], like: Tensor, generator: Generator = None, *, df: Any, **scale: Any
    ) -> Tensor:
        r"""The lower triangle A: standard normal numbers, and on its diagonal the roots of
        chi-square numbers of :math:`\nu, \nu - 1, \dots, \nu - D + 1` degrees of freedom.
        """
        below = normal(blank(shape, like), generator).tril(-1)
        half = _halves(df, shape[-1], like)
        square = standard_gamma(half, shape[:-1], like, generator)
        return below + torch.diag_embed((2.0 * square).sqrt())

    @staticmethod
    def draw(noise: Tensor, df: Any, **scale: Tensor) -> Tensor:
        r""":math:`LAA^\top L^\top`."""
        if isinstance(df, Tensor) and df.requires_grad:
            diagonal = noise.diagonal(dim1=-2, dim2=-1)
            half = _halves(df, noise.shape[-1], noise)
            root = (2.0 * implicit_gamma(0.5 * diagonal.square(), half)).sqrt()
            noise = noise.tril(-1) + torch.diag_embed(root)
        factor = lower_factor(**scale) @ noise
        return factor @ factor.mT

    @staticmethod
    def log_density(x: Tensor, df: Any, **scale: Tensor) -> Tensor:
        r"""The log density of each matrix. With :math:`X = KK^\top` and :math:`C =
        L^{-1}K/\sqrt\nu`, whose square has mean 1, it is :math:`-\frac{D+1}2\log|X| -
        \frac\nu2\left(\sum_{i>j}C_{ij}^2 + \sum_i (C_{ii}^2 - 1 - \log C_{ii}^2)\right)` and a
        number without Stirling's formula.
        """
        lower, root = double(lower_factor(**scale)), torch.linalg.cholesky(double(x))
        size, nu = lower.shape[-1], _as_like(df, lower)
        ratio = torch.linalg.solve_triangular(lower, root, upper=False)
        away = _distance(ratio / nu[..., None, None].sqrt())
        out = _peak(nu, size, lower) - (size + 1) * half_log_det(root) - 0.5 * nu * away
        return result_like(out, x, df, *scale.values())

    @staticmethod
    def mean_of(df: Any, **scale: Tensor) -> Any:
        r""":math:`\nu V`."""
        lower = lower_factor(**scale)
        return _as_like(df, lower)[..., None, None] * (lower @ lower.mT)

    @staticmethod
    def variance_of(df: Any, **scale: Tensor) -> Any:
        r""":math:`\nu (V_{ij}^2 + V_{ii}V_{jj})`, entry by entry."""
        lower = lower_factor(**scale)
        covariance = lower @ lower.mT
        own = covariance.diagonal(dim1=-2, dim2=-1)
        square = covariance.square() + own.unsqueeze(-1) * own.unsqueeze(-2)
        return _as_like(df, lower)[..., None, None] * square

    @staticmethod
    def entropy_of(df: Any, **scale: Tensor) -> Any:
        r""":math:`\frac{D+1}2 E\log|X| + \frac\nu2 E[\mathrm{tr}\,V^{-1}X/\nu - D -
        \log|V^{-1}X/\nu|]` and the number of the density, with :math:`E\log|X| = \log|V| +
        \sum_i\left(\psi(\tfrac{\nu-i}2) + \log 2\right)`.
        """
        lower = double(lower_factor(**scale))
        size, half = lower.shape[-1], 0.5 * _as_like(df, lower)
        each = _halves(df, size, lower)
        # psi((nu - i) / 2) - log(nu / 2)
        slope = (each / half.unsqueeze(-1)).log() - 0.5 / each - digamma_error(each)
        log_det = 2.0 * half_log_det(lower) + slope.sum(-1) + size * (2.0 * half).log()
        out = 0.5 * (size + 1) * log_det - half * slope.sum(-1) - _peak(2.0 * half, size, lower)
        return result_like(out, df, *scale.values())


def _as_like(df: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(df, dtype=like.dtype, device=like.device)


def _halves(df: Any, size: int, like: Tensor) -> Tensor:
    r""":math:`\frac{\nu-i}2` for i from 0 to D - 1, shape ``(*event, D)``."""
    steps = torch.arange(size, dtype=like.dtype, device=like.device)
    return 0.5 * (per_vector(df, like) - steps)


def _distance(ratio: Tensor) -> Tensor:
    r""":math:`\mathrm{tr}\,CC^\top - D - \log|CC^\top| \ge 0`, exact near its zero at 1."""
    diagonal = ratio.diagonal(dim1=-2, dim2=-1)
    return ratio.tril(-1).square().sum((-2, -1)) + deviance(diagonal.square()).sum(-1)


def _peak(nu: Tensor, size: int, like: Tensor) -> Tensor:
    r""":math:`\frac{\nu D}2(\log\frac\nu2 - 1) - \log\Gamma_D(\frac\nu2)`, without Stirling's
    formula in both.
    """
    half, each = 0.5 * nu.unsqueeze(-1), _halves(nu, size, like)
    steps = 0.5 * torch.arange(size, dtype=like.dtype, device=like.device)
    parts = steps * (half.log() - 1.0) - each * (-steps / half).log1p() + 0.5 * each.log()
    parts = parts - HALF_LOG_TWO_PI - stirling_error(each)
    return parts.sum(-1) - 0.25 * size * (size - 1) * math.log(math.pi)


def kl_wishart(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\frac{\nu_q}2(\mathrm{tr}\,R - D - \log|R|) + \frac{\nu_q-\nu_p}2\log|R| +
    \sum_i D(\tfrac{\nu_p-i}2, \tfrac{\nu_q-i}2)` with :math:`R = V_p^{-1}V_q` and D the Bregman
    divergence of the log gamma function.
    """
    lower_q, lower_p = (
        double(lower_factor(**{k: v for k, v in law.items() if k != "df"})) for law in (q, p)
    )
    ratio = torch.linalg.solve_triangular(lower_p, lower_q, upper=False)
    nu_q, nu_p, size = _as_like(q["df"], ratio), _as_like(p["df"], ratio), ratio.shape[-1]
    gammas = log_gamma_bregman(_halves(nu_p, size, ratio), _halves(nu_q, size, ratio)).sum(-1)
    out = 0.5 * nu_q * _distance(ratio) + (nu_q - nu_p) * half_log_det(ratio) + gammas
    return result_like(out, *q.values(), *p.values())


Wishart.closed_kl = {Wishart: kl_wishart}
