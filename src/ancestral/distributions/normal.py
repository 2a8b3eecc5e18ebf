r"""The normal law, :math:`N(x; \mu, \sigma^2)`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import identity, positive, real
from ancestral.distributions.elementary import HALF_LOG_TWO_PI, log
from ancestral.distributions.gamma_function import double
from ancestral.distributions.law import Law, Parameter, Params


class Normal(Law):
    r"""The normal law with independent components,
    :math:`\log p(x) = -\frac{(x-\mu)^2}{2\sigma^2} - \log\sigma - \frac{1}{2}\log 2\pi`.

    Args:
        var: Name of its variable, e.g. ``["z"]``.
        cond_var: Names of its conditions, e.g. ``["x"]``.
        name: How it prints: ``q`` in ``q(z|x)``.
        features_shape: Event shape of a value.
        loc: Mean :math:`\mu`: a number, a tensor, an ``nn.Parameter``, or a condition's name.
        scale: Standard deviation :math:`\sigma > 0`, likewise (not the variance).
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the mean, the second half through softplus the standard deviation.

    Example:
        >>> prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2])
        >>> prior.get_log_prob({"z": torch.zeros(3, 2)})
        tensor([-1.8379, -1.8379, -1.8379])
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

    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\mu + \sigma\epsilon` with standard normal noise."""
        return loc + scale * noise

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log density of each component."""
        z = (x - loc) / scale
        if isinstance(scale, Tensor):  # the square, its half and the logarithm in one kernel
            return -HALF_LOG_TWO_PI - torch.addcmul(scale.log(), z, z, value=0.5)
        return -0.5 * z**2 - log(scale) - HALF_LOG_TWO_PI

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\Phi((x-\mu)/\sigma)` of each component."""
        return torch.special.log_ndtr((x - loc) / scale)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\Phi((\mu-x)/\sigma)` of each component."""
        return torch.special.log_ndtr((loc - x) / scale)

    @staticmethod
    def icdf(u: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\mu + \sigma\Phi^{-1}(u)`."""
        return loc + scale * torch.special.ndtri(u)

    @staticmethod
    def mean_of(loc: Any, scale: Any) -> Any:
        r""":math:`\mu`."""
        return loc

    @staticmethod
    def variance_of(loc: Any, scale: Any) -> Any:
        r""":math:`\sigma^2`."""
        return scale**2

    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        r""":math:`\log\sigma + \frac{1}{2}\log 2\pi e`."""
        return log(scale) + (HALF_LOG_TWO_PI + 0.5)


def kl_normal(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\frac12 (r^2 + d^2 - 1) - \log r`, with :math:`r = \sigma_q/\sigma_p` and
    :math:`d = (\mu_q - \mu_p)/\sigma_p`.
    """
    ratio = q["scale"] / p["scale"]
    shift = (q["loc"] - p["loc"]) / p["scale"]
    return torch.as_tensor(0.5 * (ratio * ratio + shift * shift - 1.0) - log(ratio))


Normal.closed_kl = {Normal: kl_normal}


def observations(x: Tensor, known: Params, prior: Params) -> Params:
    r"""Precisions :math:`\sigma^{-2}`, in place of the scale, and :math:`\sigma^{-2}x`, in place
    of the mean; in double precision, where the squares neither over- nor underflow.
    """
    precision = double(known["scale"]) ** -2 * torch.ones_like(double(x))
    return {"loc": precision * double(x), "scale": precision}


def normal_posterior(prior: Params, sums: Params) -> Params:
    r"""Precision :math:`\sigma_0^{-2} + \sum_i\sigma_i^{-2}`, and the mean of the means by
    precision.
    """
    own = double(prior["scale"]) ** -2
    precision = own + sums["scale"]
    loc = (own * double(prior["loc"]) + sums["loc"]) / precision
    return {"loc": loc, "scale": precision.rsqrt()}


Normal.conjugate = {Normal: Conjugate("loc", observations, normal_posterior)}
