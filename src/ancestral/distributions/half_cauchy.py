r"""The half-Cauchy law: the size of a Cauchy value of location 0."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import Constraint, nonnegative, positive
from ancestral.distributions.elementary import log, log1p_square
from ancestral.distributions.law import Law, Parameter, Params


class HalfCauchy(Law):
    r"""The half-Cauchy law with independent components,
    :math:`\log p(x) = \log\frac{2}{\pi s} - \log(1 + x^2/s^2)`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        scale: Scale :math:`s > 0`, the median: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        net: A network of the conditions; one output tensor is the scale, through softplus.

    Example:
        >>> HalfCauchy(scale=1.0).get_cdf({"x": torch.ones(1)})
        tensor([0.5000])
    """

    domains = {"scale": positive}
    split = {"scale": F.softplus}
    reparametrised = True
    noise = "uniform"

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
        """The inverse of the distribution function at uniform noise."""
        return HalfCauchy.icdf(noise, scale)

    @staticmethod
    def log_density(x: Tensor, scale: Any) -> Tensor:
        """The log density of each component; -inf where x is negative."""
        out = -log1p_square(x / scale) - log(scale) + math.log(2 / math.pi)
        return torch.where(x < 0, -torch.inf, out)

    @staticmethod
    def log_cdf(x: Tensor, scale: Any) -> Tensor:
        r""":math:`\log\frac2\pi\arctan\frac{x}{s}`."""
        z = x.clamp(min=0.0) / scale
        near, far = z.clamp(max=1.0), z.clamp(min=1.0)
        above = torch.atan(1.0 / far) * (2 / math.pi)
        return torch.where(z < 1, (torch.atan(near) * (2 / math.pi)).log(), torch.log1p(-above))

    @staticmethod
    def log_sf(x: Tensor, scale: Any) -> Tensor:
        r""":math:`\log\frac2\pi\arctan\frac{s}{x}`."""
        z = x.clamp(min=0.0) / scale
        near, far = z.clamp(max=1.0), z.clamp(min=1.0)
        below = torch.atan(near) * (2 / math.pi)
        return torch.where(
            z < 1, torch.log1p(-below), (torch.atan(1.0 / far) * (2 / math.pi)).log()
        )

    @staticmethod
    def icdf(u: Tensor, scale: Any) -> Tensor:
        r""":math:`s\tan\frac{\pi u}{2}`, by the nearer end."""
        tail = torch.tan(0.5 * math.pi * torch.minimum(u, 1.0 - u))
        return scale * torch.where(u < 0.5, tail, 1.0 / tail)

    @staticmethod
    def entropy_of(scale: Any) -> Any:
        r""":math:`\log 2\pi s`."""
        return log(scale) + math.log(2 * math.pi)


def kl_half_cauchy(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\log\frac{(s_q+s_p)^2}{4 s_q s_p}`."""
    s_q, s_p = torch.as_tensor(q["scale"]), torch.as_tensor(p["scale"])
    spread = s_q - s_p
    return (spread / s_q * (spread / s_p) / 4.0).log1p()


HalfCauchy.closed_kl = {HalfCauchy: kl_half_cauchy}
