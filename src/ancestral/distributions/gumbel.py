r"""The Gumbel law of a maximum, :math:`P(X \le x) = \exp(-e^{-(x-\mu)/\beta})`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.constraints import identity, positive, real
from ancestral.distributions.elementary import EULER, log, log1mexp
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.normal import Normal


class Gumbel(Law):
    r"""The Gumbel law with independent components,
    :math:`\log p(x) = -z - e^{-z} - \log\beta` with :math:`z = (x-\mu)/\beta`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Location :math:`\mu`: a number, a tensor, an ``nn.Parameter``, or a condition's name.
        scale: Scale :math:`\beta > 0`, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the location, the second half through softplus the scale.

    Example:
        >>> Gumbel(loc=0.0, scale=1.0).get_log_prob({"x": torch.zeros(1)})
        tensor([-1.])
    """

    domains = {"loc": real, "scale": positive}
    split = {"loc": identity, "scale": F.softplus}
    reparametrised = True
    noise = "log exponential"

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
        r""":math:`\mu - \beta\log e` with standard exponential noise e."""
        return loc - scale * noise

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log density of each component."""
        z = (x - loc) / scale
        return -z - torch.exp(-z) - log(scale)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """:math:`-e^{-z}`."""
        return -torch.exp((loc - x) / scale)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log(1 - \exp(-e^{-z}))`."""
        z = (x - loc) / scale
        far = z > 20.0  # there 1 - exp(-t) is t, also where exp(-z) underflows
        inner = log1mexp(torch.exp(-z.clamp(max=20.0)))
        return torch.where(far, -z - 0.5 * torch.exp(-z.clamp(min=20.0)), inner)

    @staticmethod
    def icdf(u: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\mu - \beta\log(-\log u)`."""
        return loc - scale * (-u.log()).log()

    @staticmethod
    def mean_of(loc: Any, scale: Any) -> Any:
        r""":math:`\mu + \gamma\beta`, with Euler's constant."""
        return loc + EULER * scale

    @staticmethod
    def variance_of(loc: Any, scale: Any) -> Any:
        r""":math:`\pi^2\beta^2/6`."""
        return scale**2 * (math.pi**2 / 6)

    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        r""":math:`\log\beta + \gamma + 1`."""
        return log(scale) + (EULER + 1.0)


def kl_gumbel(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`-\log r + \gamma(r - 1) + d + e^{-d}\,\Gamma(1 + r) - 1`, with
    :math:`r = \beta_q/\beta_p` and :math:`d = (\mu_q-\mu_p)/\beta_p`.
    """
    r = torch.as_tensor(q["scale"] / p["scale"])
    d = torch.as_tensor((q["loc"] - p["loc"]) / p["scale"])
    # e^{-d} Gamma(1 + r) + d - 1, in one exponent; near d = 0 and r = 1 nothing cancels
    return EULER * (r - 1.0) - r.log() + d + torch.expm1((r + 1.0).lgamma() - d)


Gumbel.closed_kl = {Gumbel: kl_gumbel, Normal: kl_to_normal(Gumbel)}
