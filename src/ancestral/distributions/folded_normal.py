r"""The folded normal law: the size of a normal value."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import Constraint, identity, nonnegative, positive, real
from ancestral.distributions.elementary import HALF_LOG_TWO_PI, log
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.quadrature import integrate, log_normal_integral


class FoldedNormal(Law):
    r"""The folded normal law with independent components,
    :math:`p(x) = N(x; \mu, \sigma^2) + N(-x; \mu, \sigma^2)` for :math:`x \ge 0`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Mean :math:`\mu` of the normal value: a number, a tensor, an ``nn.Parameter``, or a
            condition's name; its sign does not matter.
        scale: Its standard deviation :math:`\sigma > 0`, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            ``loc``, the second half through softplus ``scale``.

    Example:
        >>> FoldedNormal(loc=0.0, scale=1.0).get_log_prob({"x": torch.zeros(1)})
        tensor([-0.2258])
    """

    domains = {"loc": real, "scale": positive}
    split = {"loc": identity, "scale": F.softplus}
    reparametrised = True
    noise = "normal"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        scale: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {"loc": loc, "scale": scale})

    def support(self, params: Params) -> Constraint | None:
        """Numbers from 0 on."""
        return nonnegative

    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`|\mu + \sigma\epsilon|` with standard normal noise."""
        return (loc + scale * noise).abs()

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log density of each component; -inf where x is negative."""
        m = loc.abs() if isinstance(loc, Tensor) else abs(loc)
        near = -0.5 * ((x - m) / scale) ** 2 - log(scale) - HALF_LOG_TWO_PI
        far = torch.exp(-2.0 * (x / scale) * (m / scale)).log1p()
        return torch.where(x < 0, -torch.inf, near + far)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log(\Phi(\frac{x-\mu}\sigma) - \Phi(\frac{-x-\mu}\sigma))`."""
        m, s, y = double(loc), double(scale), double(x).clamp(min=0.0)
        r, log_j = log_normal_integral((-y - m) / s, (y - m) / s, 2.0 * y / s)
        return result_like(log_j - 0.5 * r * r - HALF_LOG_TWO_PI, x, loc, scale)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log(\Phi(\frac{\mu-x}\sigma) + \Phi(\frac{-\mu-x}\sigma))`."""
        y = x.clamp(min=0.0)
        upper = torch.special.log_ndtr((loc - y) / scale)
        return torch.logaddexp(upper, torch.special.log_ndtr((-loc - y) / scale))

    @staticmethod
    def mean_of(loc: Any, scale: Any) -> Any:
        r""":math:`|\mu| + \delta`; see :func:`_excess_mean`."""
        return result_like(double(loc).abs() + _excess_mean(loc, scale), loc, scale)

    @staticmethod
    def variance_of(loc: Any, scale: Any) -> Any:
        r""":math:`\sigma^2 - \delta(2|\mu| + \delta)`."""
        gain = _excess_mean(loc, scale)
        return result_like(
            double(scale) ** 2 - gain * (2.0 * double(loc).abs() + gain), loc, scale
        )

    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        r""":math:`\log\sigma + \frac12\log 2\pi e - \delta|\mu|/\sigma^2 -
        E[\log(1 + e^{-2x|\mu|/\sigma^2})]`, with :math:`\delta` of :func:`_excess_mean`.
        """
        s = double(scale)
        z = double(loc).abs() / s
        out = s.log() + (HALF_LOG_TWO_PI + 0.5) - z * _excess_mean(loc, scale) / s
        return result_like(out - _mean_of_mirror(z), loc, scale)


def _mean_of_mirror(z: Tensor) -> Tensor:
    r""":math:`E[\log(1 + e^{-2tz})]` of the folded standard law with mean z before."""
    end = 80.0 / ((z * z + 80.0).sqrt() + z)

    def term(t: Tensor) -> Tensor:
        mirror = torch.exp(-2.0 * t * z)
        return torch.exp(-0.5 * (t - z) ** 2) * (1.0 + mirror) * mirror.log1p()

    return integrate(term, torch.zeros_like(z), end) / math.sqrt(2.0 * math.pi)


def _excess_mean(loc: Any, scale: Any) -> Tensor:
    r""":math:`\delta = \sigma\sqrt{2/\pi}\,e^{-m^2/2\sigma^2} - m\,\mathrm{erfc}(m/\sigma\sqrt2)`
    with :math:`m = |\mu|`: how much larger the mean is than m.
    """
    m, s = double(loc).abs(), double(scale)
    z = m / s
    density = math.sqrt(2 / math.pi) * torch.exp(-0.5 * z * z)
    return s * (density - z * torch.erfc(z * math.sqrt(0.5)))
