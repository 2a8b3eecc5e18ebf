r"""Student's t law: a normal value over the root of a gamma value."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.constraints import identity, positive, real
from ancestral.distributions.elementary import HALF_LOG_TWO_PI, log1p_square
from ancestral.distributions.gamma_function import (
    digamma_error,
    double,
    excess,
    result_like,
    stirling_error,
)
from ancestral.distributions.implicit import attach
from ancestral.distributions.incomplete_beta import log_beta_tails, log_odds_of_rank
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.noise import as_noise
from ancestral.distributions.normal import Normal
from ancestral.distributions.quadrature import integrate


class StudentT(Law):
    r"""Student's t law with independent components,
    :math:`\log p(x) = -\frac{\nu+1}2\log(1 + z^2/\nu) - \log B(\frac12,\frac\nu2)
    - \frac12\log\nu - \log s` with :math:`z = (x-\mu)/s`.

    Draws are made by rejection; their gradient is that of implicit reparameterisation.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        df: Degrees of freedom :math:`\nu > 0`: a number, a tensor, an ``nn.Parameter``, or a
            condition's name. From about 1e8 on the law is normal to the last digit.
        loc: Location :math:`\mu`, likewise.
        scale: Scale :math:`s > 0`, likewise; not the standard deviation.
        net: A network of the conditions; of one output tensor the thirds of the last axis are
            ``df``, through softplus, ``loc``, and ``scale``, through softplus.

    Example:
        >>> p = StudentT(df=1e10, loc=0.0, scale=1.0)
        >>> p.get_log_prob({"x": torch.zeros(1)})
        tensor([-0.9189])
    """

    domains = {"df": positive, "loc": real, "scale": positive}
    split = {"df": F.softplus, "loc": identity, "scale": F.softplus}
    reparametrised = True
    noise = "standard t"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        df: Parameter = None,
        loc: Parameter = None,
        scale: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"df": df, "loc": loc, "scale": scale}
        super().__init__(var, cond_var, name, features_shape, net, given)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Degrees of freedom for which draws have many moments."""
        return [{**e, "df": 9.0 + 3.0 * e["df"]} for e in super().examples()]

    @staticmethod
    def noise_of(
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        df: Any,
        loc: Any,
        scale: Any,
    ) -> Tensor:
        """A draw of location 0 and scale 1."""
        half = 0.5 * as_noise(df, shape, like)
        top = torch.randn(half.shape, dtype=like.dtype, device=like.device, generator=generator)
        below = torch._standard_gamma(half, generator=generator) / half
        ends = torch.finfo(top.dtype)
        return (top / below.clamp(min=ends.tiny).sqrt()).clamp(ends.min, ends.max)

    @staticmethod
    def draw(noise: Tensor, df: Any, loc: Any, scale: Any) -> Tensor:
        """The standard draw with its derivative, scaled and shifted."""
        return loc + scale * _implicit(noise, df)

    @staticmethod
    def log_density(x: Tensor, df: Any, loc: Any, scale: Any) -> Tensor:
        r"""The log density of each component. Without Stirling's formula, with
        :math:`y = \nu/2`, it is :math:`-\frac12\log 2\pi - y\,(u - \log(1+u)) +
        \delta(y+\frac12) - \delta(y) - \frac{\nu+1}2\log(1+z^2/\nu) - \log s` with
        :math:`u = 1/2y`.
        """
        z = (double(x) - double(loc)) / double(scale)
        out = _standard_log_density(z, double(df)) - double(scale).log()
        return result_like(out, x, df, loc, scale)

    @staticmethod
    def log_cdf(x: Tensor, df: Any, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\frac12 I_{\nu/(\nu+z^2)}(\frac\nu2, \frac12)` below the location."""
        z = (double(x) - double(loc)) / double(scale)
        return result_like(_log_below(z, double(df)), x, df, loc, scale)

    @staticmethod
    def log_sf(x: Tensor, df: Any, loc: Any, scale: Any) -> Tensor:
        """The distribution function of the mirror image."""
        z = (double(loc) - double(x)) / double(scale)
        return result_like(_log_below(z, double(df)), x, df, loc, scale)

    @staticmethod
    def icdf(u: Tensor, df: Any, loc: Any, scale: Any) -> Tensor:
        r"""By the quantile of :math:`\nu/(\nu+z^2)`, which has a beta law."""
        rank, nu = double(u), double(df)
        tail = torch.minimum(rank, 1.0 - rank)
        odds = log_odds_of_rank(0.5 * nu, 0.5 * torch.ones_like(nu), 2.0 * tail, 1.0 - 2.0 * tail)
        z = (0.5 * (nu.log() - odds)).exp()
        out = double(loc) + double(scale) * torch.where(rank < 0.5, -z, z)
        return result_like(out, u, df, loc, scale)

    @staticmethod
    def mean_of(df: Any, loc: Any, scale: Any) -> Any:
        r""":math:`\mu`; not a number unless :math:`\nu > 1`."""
        out = double(loc) + torch.where(double(df) > 1, 0.0, torch.nan)
        return result_like(out, df, loc, scale)

    @staticmethod
    def variance_of(df: Any, loc: Any, scale: Any) -> Any:
        r""":math:`s^2\nu/(\nu-2)`; infinite unless :math:`\nu > 2`, not a number unless
        :math:`\nu > 1`.
        """
        nu = double(df)
        safe = torch.where(nu > 2, nu, 3.0)
        none = torch.where(nu > 1, torch.inf, torch.nan)
        out = torch.where(nu > 2, double(scale) ** 2 * (safe / (safe - 2.0)), none)
        return result_like(out, df, loc, scale)

    @staticmethod
    def entropy_of(df: Any, loc: Any, scale: Any) -> Any:
        r""":math:`\frac{\nu+1}2(\psi(\frac{\nu+1}2) - \psi(\frac\nu2)) +
        \log\sqrt\nu B(\frac\nu2,\frac12) + \log s`.
        """
        y = 0.5 * double(df)
        slope = (0.5 / y).log1p() + 0.25 / (y * (y + 0.5))
        slope = slope - digamma_error(y + 0.5) + digamma_error(y)
        out = (y + 0.5) * slope - _standard_log_density(torch.zeros_like(y), 2.0 * y)
        return result_like(out + double(scale).log(), df, scale)


def _standard_log_density(z: Tensor, df: Tensor) -> Tensor:
    y = 0.5 * df
    peak = stirling_error(y + 0.5) - stirling_error(y) - y * excess(0.5 / y) - HALF_LOG_TWO_PI
    return peak - (y + 0.5) * log1p_square(z * df.rsqrt())


def _log_below(z: Tensor, df: Tensor) -> Tensor:
    """The log probability of standard values below z: half of a tail, or what it leaves."""
    z = torch.where(z == 0, z + 1e-300, z)  # where the logarithm has a derivative
    log_size = z.abs().log()
    u = 2.0 * log_size - df.log()  # log z^2 / df, which may be beyond the numbers
    log_on, log_off = F.logsigmoid(-u), F.logsigmoid(u)
    half = torch.full_like(df, 0.5)
    tail, _ = log_beta_tails(0.5 * df, half, (log_on.exp(), log_on), (log_off.exp(), log_off))
    tail = tail - math.log(2.0)
    return torch.where(z < 0, tail, (-tail.exp()).log1p())


def _implicit(noise: Tensor, df: Any) -> Tensor:
    r"""A standard draw with its derivative :math:`-\frac1{p(z)}\int_0^z \partial_\nu p(t) dt`."""
    if not isinstance(df, Tensor) or not df.requires_grad:
        return noise
    nu, z = double(as_noise(df, noise.shape, noise)), double(noise)
    # t = sinh v: long tails need no more points
    rank = integrate(
        lambda v: _rank_slope(v.sinh(), nu) * v.cosh(), torch.zeros_like(z), z.asinh(), 64
    )
    slope = -rank / _standard_log_density(z, nu).exp()
    return attach(noise, (df, slope.to(noise.dtype)))


def _rank_slope(t: Tensor, df: Tensor) -> Tensor:
    return _standard_log_density(t, df).exp() * _score(t, df)


def _score(t: Tensor, df: Tensor) -> Tensor:
    r""":math:`\partial_\nu \log p(t)` of the standard law, in terms that vanish one by one."""
    y, w = 0.5 * df, t * t / df
    gap = digamma_error(y) - digamma_error(y + 0.5) - excess(1.0 / df) + 1.0 / (df * (df + 1.0))
    return 0.5 * (gap - excess(-w / (1.0 + w)) + w / (df * (1.0 + w)))


StudentT.closed_kl = {Normal: kl_to_normal(StudentT)}
