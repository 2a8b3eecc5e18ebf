r"""The Laplace law, :math:`p(x) = \frac{1}{2b} e^{-|x-\mu|/b}`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.constraints import identity, positive, real
from ancestral.distributions.elementary import HALF_LOG_TWO_PI, log
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.normal import Normal


def _log_below(z: Tensor) -> Tensor:
    """The log distribution function of the standard law, in two branches that stay finite."""
    above = torch.log1p(-0.5 * torch.exp(-z.clamp(min=0.0)))
    return torch.where(z < 0, z - math.log(2.0), above)


class Laplace(Law):
    r"""The Laplace law with independent components,
    :math:`\log p(x) = -|x-\mu|/b - \log 2b`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Location :math:`\mu`: a number, a tensor, an ``nn.Parameter``, or a condition's name.
        scale: Scale :math:`b > 0`, likewise; the standard deviation is :math:`b\sqrt 2`.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the location, the second half through softplus the scale.

    Example:
        >>> Laplace(loc=0.0, scale=1.0).get_log_prob({"x": torch.zeros(1)})
        tensor([-0.6931])
    """

    domains = {"loc": real, "scale": positive}
    split = {"loc": identity, "scale": F.softplus}
    reparametrised = True
    noise = "laplace"

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
        r""":math:`\mu + b\epsilon` with standard Laplace noise."""
        return loc + scale * noise

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log density of each component."""
        return -(x - loc).abs() / scale - log(scale) - math.log(2.0)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\frac12 e^{z}` below the median, :math:`\log(1 - \frac12 e^{-z})` above it,
        with :math:`z = (x-\mu)/b`.
        """
        return _log_below((x - loc) / scale)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The distribution function of the mirror image."""
        return _log_below((loc - x) / scale)

    @staticmethod
    def icdf(u: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\mu + b\log 2u` below the median, the mirror image above it."""
        # from the nearer tail, where log keeps every digit: u < 1/2 below the median
        tail = torch.minimum(u, 1.0 - u)
        return loc + scale * torch.copysign((2.0 * tail).log(), u - 0.5)

    @staticmethod
    def mean_of(loc: Any, scale: Any) -> Any:
        r""":math:`\mu`."""
        return loc

    @staticmethod
    def variance_of(loc: Any, scale: Any) -> Any:
        r""":math:`2b^2`."""
        return 2.0 * scale**2

    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        r""":math:`1 + \log 2b`."""
        return log(scale) + (1.0 + math.log(2.0))


def kl_laplace(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\log\frac{b_p}{b_q} + \frac{d}{b_p} + \frac{b_q}{b_p} e^{-d/b_q} - 1`, with d the
    distance between the locations.
    """
    ratio = torch.as_tensor(q["scale"] / p["scale"])
    distance = torch.as_tensor(q["loc"] - p["loc"]).abs()
    return -ratio.log() + distance / p["scale"] + ratio * torch.exp(-distance / q["scale"]) - 1.0


Laplace.closed_kl = {Laplace: kl_laplace, Normal: kl_to_normal(Laplace)}


def kl_normal_laplace(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`E_q|x-\mu_p|/b + \log 2b - H[q]`; the distance has a folded normal law.

    The logarithms of both scales are one, so that large ones do not cancel.
    """
    loc, scale = torch.as_tensor(q["loc"] - p["loc"]), torch.as_tensor(q["scale"])
    z = loc.abs() / scale
    beyond = math.sqrt(2 / math.pi) * torch.exp(-0.5 * z * z) - z * torch.erfc(z * math.sqrt(0.5))
    rest = math.log(2.0) - HALF_LOG_TWO_PI - 0.5
    return (loc.abs() + scale * beyond) / p["scale"] + log(p["scale"] / scale) + rest


Normal.closed_kl = {**Normal.closed_kl, Laplace: kl_normal_laplace}
