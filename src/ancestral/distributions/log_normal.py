r"""The log-normal law: the exponential of a normal value."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_exponential, kl_to_normal
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import Constraint, identity, positive, real
from ancestral.distributions.elementary import HALF_LOG_TWO_PI, log
from ancestral.distributions.exponential import Exponential
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal, kl_normal, normal_posterior, observations


class LogNormal(Law):
    r"""The log-normal law with independent components,
    :math:`\log p(x) = -\frac{(\log x-\mu)^2}{2\sigma^2} - \log x - \log\sigma - \frac12\log 2\pi`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Mean :math:`\mu` of the logarithm: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        scale: Standard deviation :math:`\sigma > 0` of the logarithm, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            ``loc``, the second half through softplus ``scale``.

    Example:
        >>> LogNormal(loc=0.0, scale=1.0).get_log_prob({"x": torch.ones(1)})
        tensor([-0.9189])
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
        """Positive numbers."""
        return positive

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Moderate scales: moments grow as the exponential of their square."""
        return [{**e, "scale": 0.3 * e["scale"]} for e in super().examples()]

    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\exp(\mu + \sigma\epsilon)` with standard normal noise."""
        return (loc + scale * noise).exp().clamp(min=torch.finfo(noise.dtype).tiny)

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log density of each component; -inf where x is not positive."""
        log_x = torch.where(x > 0, x, 1.0).log()
        out = -0.5 * ((log_x - loc) / scale) ** 2 - log_x - log(scale) - HALF_LOG_TWO_PI
        return torch.where(x > 0, out, -torch.inf)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\Phi((\log x - \mu)/\sigma)`."""
        return torch.special.log_ndtr((x.clamp(min=0.0).log() - loc) / scale)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\Phi((\mu - \log x)/\sigma)`."""
        return torch.special.log_ndtr((loc - x.clamp(min=0.0).log()) / scale)

    @staticmethod
    def icdf(u: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\exp(\mu + \sigma\Phi^{-1}(u))`."""
        return (loc + scale * torch.special.ndtri(u)).exp()

    @staticmethod
    def mean_of(loc: Any, scale: Any) -> Any:
        r""":math:`e^{\mu + \sigma^2/2}`."""
        return torch.as_tensor(loc + 0.5 * scale**2).exp()

    @staticmethod
    def variance_of(loc: Any, scale: Any) -> Any:
        r""":math:`(e^{\sigma^2} - 1)\,e^{2\mu + \sigma^2}`."""
        mean = torch.as_tensor(loc + 0.5 * scale**2).exp()
        return torch.as_tensor(scale**2).expm1() * mean * mean  # whose square may overflow

    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        r""":math:`\mu + \log\sigma + \frac12\log 2\pi e`."""
        return loc + log(scale) + (HALF_LOG_TWO_PI + 0.5)


# a divergence does not see a map of the values
LogNormal.closed_kl = {
    LogNormal: kl_normal,
    Normal: kl_to_normal(LogNormal),
    Exponential: kl_to_exponential(LogNormal),
}


def _log_observations(x: Tensor, known: Params, prior: Params) -> Params:
    """Those of the logarithm, a normal variable."""
    return observations(x.log(), known, prior)


LogNormal.conjugate = {Normal: Conjugate("loc", _log_observations, normal_posterior)}
