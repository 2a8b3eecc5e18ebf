r"""The logistic law, :math:`P(X \le x) = \sigma((x-\mu)/s)`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.constraints import identity, positive, real
from ancestral.distributions.elementary import log
from ancestral.distributions.law import Law, Parameter
from ancestral.distributions.normal import Normal


class Logistic(Law):
    r"""The logistic law with independent components,
    :math:`\log p(x) = -z - 2\log(1 + e^{-z}) - \log s` with :math:`z = (x-\mu)/s`.

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
        >>> Logistic(loc=0.0, scale=1.0).get_log_prob({"x": torch.zeros(1)})
        tensor([-1.3863])
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
        return loc + scale * (noise.log() - torch.log1p(-noise))

    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log density of each component."""
        size = ((x - loc) / scale).abs()  # it is even in z
        return -size - 2.0 * torch.exp(-size).log1p() - log(scale)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\sigma(z)`."""
        return F.logsigmoid((x - loc) / scale)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\sigma(-z)`."""
        return F.logsigmoid((loc - x) / scale)

    @staticmethod
    def icdf(u: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\mu + s\log\frac{u}{1-u}`."""
        return loc + scale * (u.log() - torch.log1p(-u))

    @staticmethod
    def mean_of(loc: Any, scale: Any) -> Any:
        r""":math:`\mu`."""
        return loc

    @staticmethod
    def variance_of(loc: Any, scale: Any) -> Any:
        r""":math:`\pi^2 s^2/3`."""
        return scale**2 * (math.pi**2 / 3)

    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        r""":math:`\log s + 2`."""
        return log(scale) + 2.0


Logistic.closed_kl = {Normal: kl_to_normal(Logistic)}
