r"""The Cauchy law, which has no mean: :math:`p(x) = 1/(\pi s(1 + z^2))`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import identity, positive, real
from ancestral.distributions.elementary import log, log1p_square
from ancestral.distributions.law import Law, Parameter


class Cauchy(Law):
    r"""The Cauchy law with independent components,
    :math:`\log p(x) = -\log\pi s - \log(1 + z^2)` with :math:`z = (x-\mu)/s`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Location :math:`\mu`: a number, a tensor, an ``nn.Parameter``, or a condition's name.
        scale: Scale :math:`s > 0`, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the location, the second half through softplus the scale.

    Example:
        >>> Cauchy(loc=0.0, scale=1.0).get_log_prob({"x": torch.zeros(1)})
        tensor([-1.1447])
    """

    domains = {"loc": real, "scale": positive}
    split = {"loc": identity, "scale": F.softplus}
    reparametrised = True
    noise = "uniform"

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
        """The inverse of the distribution function at uniform noise."""
        return loc + scale * tangent(noise)

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log density of each component."""
        return -log1p_square((x - loc) / scale) - log(scale) - math.log(math.pi)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log(\frac12 + \frac1\pi\arctan z)`."""
        return _log_below((x - loc) / scale)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The distribution function of the mirror image."""
        return _log_below((loc - x) / scale)

    @staticmethod
    def icdf(u: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\mu + s\tan\pi(u - \frac12)`."""
        return loc + scale * tangent(u)

    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        r""":math:`\log 4\pi s`."""
        return log(scale) + math.log(4 * math.pi)


def tangent(u: Tensor) -> Tensor:
    r""":math:`\tan\pi(u-\frac12)`, by the nearer end."""
    tail = torch.minimum(u, 1.0 - u)
    return torch.where(u < 0.5, -1.0, 1.0) / torch.tan(math.pi * tail)


def _log_below(z: Tensor) -> Tensor:
    """The log distribution function of the standard law; the angle keeps its digits far out."""
    one = torch.ones_like(z)
    below = torch.atan2(one, -z.clamp(max=0.0)) / math.pi
    above = torch.atan2(one, z.clamp(min=0.0)) / math.pi
    return torch.where(z < 0, below.log(), torch.log1p(-above))


def kl_cauchy(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\log\frac{(s_q+s_p)^2 + (\mu_q-\mu_p)^2}{4 s_q s_p}` (Chyzak and Nielsen, 2019)."""
    s_q, s_p = torch.as_tensor(q["scale"]), torch.as_tensor(p["scale"])
    shift, spread = torch.as_tensor(q["loc"] - p["loc"]), s_q - s_p
    return ((shift / s_q * (shift / s_p) + spread / s_q * (spread / s_p)) / 4.0).log1p()


Cauchy.closed_kl = {Cauchy: kl_cauchy}
