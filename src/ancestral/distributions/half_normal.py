r"""The half-normal law: the size of a normal value of mean 0."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_exponential, kl_to_normal
from ancestral.distributions.constraints import Constraint, nonnegative, positive
from ancestral.distributions.elementary import log
from ancestral.distributions.exponential import Exponential
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal


class HalfNormal(Law):
    r"""The half-normal law with independent components,
    :math:`\log p(x) = -\frac{x^2}{2\sigma^2} - \log\sigma + \frac12\log\frac{2}{\pi}`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        scale: Standard deviation :math:`\sigma > 0` of the normal value: a number, a tensor, an
            ``nn.Parameter``, or a condition's name.
        net: A network of the conditions; one output tensor is the scale, through softplus.

    Example:
        >>> HalfNormal(scale=1.0).get_log_prob({"x": torch.zeros(1)})
        tensor([-0.2258])
    """

    domains = {"scale": positive}
    split = {"scale": F.softplus}
    reparametrised = True
    noise = "normal"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        scale: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {"scale": scale})

    def support(self, params: Params) -> Constraint | None:
        """Numbers from 0 on."""
        return nonnegative

    @staticmethod
    def draw(noise: Tensor, scale: Any) -> Tensor:
        """The size of standard normal noise, times the scale."""
        return scale * noise.abs()

    @staticmethod
    def log_density(x: Tensor, scale: Any) -> Tensor:
        """The log density of each component; -inf where x is negative."""
        out = -0.5 * (x / scale) ** 2 - log(scale) + 0.5 * math.log(2 / math.pi)
        return torch.where(x < 0, -torch.inf, out)

    @staticmethod
    def log_cdf(x: Tensor, scale: Any) -> Tensor:
        r""":math:`\log\mathrm{erf}(x/\sigma\sqrt2)`."""
        z = x.clamp(min=0.0) / scale * math.sqrt(0.5)
        near, far = z.clamp(max=0.7), z.clamp(min=0.7)
        return torch.where(z < 0.7, torch.erf(near).log(), torch.log1p(-torch.erfc(far)))

    @staticmethod
    def log_sf(x: Tensor, scale: Any) -> Tensor:
        r""":math:`\log\mathrm{erfc}(x/\sigma\sqrt2)`."""
        return torch.special.log_ndtr(-x.clamp(min=0.0) / scale) + math.log(2.0)

    @staticmethod
    def icdf(u: Tensor, scale: Any) -> Tensor:
        r""":math:`\sigma\sqrt2\,\mathrm{erf}^{-1}(u)`."""
        return scale * (math.sqrt(2.0) * torch.erfinv(u))

    @staticmethod
    def mean_of(scale: Any) -> Any:
        r""":math:`\sigma\sqrt{2/\pi}`."""
        return scale * math.sqrt(2 / math.pi)

    @staticmethod
    def variance_of(scale: Any) -> Any:
        r""":math:`\sigma^2(1 - 2/\pi)`."""
        return scale**2 * (1.0 - 2 / math.pi)

    @staticmethod
    def entropy_of(scale: Any) -> Any:
        r""":math:`\log\sigma + \frac12\log\frac{\pi e}{2}`."""
        return log(scale) + 0.5 * (1.0 + math.log(math.pi / 2))


def kl_half_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\frac12 (r^2 - 1) - \log r` with :math:`r = \sigma_q/\sigma_p`."""
    r = q["scale"] / p["scale"]
    return torch.as_tensor(0.5 * (r * r - 1.0) - log(r))


HalfNormal.closed_kl = {
    HalfNormal: kl_half_normal,
    Normal: kl_to_normal(HalfNormal),
    Exponential: kl_to_exponential(HalfNormal),
}
