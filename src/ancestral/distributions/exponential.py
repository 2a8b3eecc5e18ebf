r"""The exponential law, :math:`p(x) = \lambda e^{-\lambda x}`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import Constraint, nonnegative, positive
from ancestral.distributions.elementary import log, log1mexp
from ancestral.distributions.gamma import Gamma, kl_gamma
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal


class Exponential(Law):
    r"""The exponential law with independent components,
    :math:`\log p(x) = \log\lambda - \lambda x`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        rate: Rate :math:`\lambda > 0`: a number, a tensor, an ``nn.Parameter``, or a condition's
            name; the mean is :math:`1/\lambda`.
        net: A network of the conditions; one output tensor is the rate, through softplus.

    Example:
        >>> Exponential(rate=2.0).get_log_sf({"x": torch.tensor([3.0])})
        tensor([-6.])
    """

    domains = {"rate": positive}
    split = {"rate": F.softplus}
    reparametrised = True
    noise = "exponential"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        rate: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {"rate": rate})

    def support(self, params: Params) -> Constraint | None:
        """Numbers from 0 on."""
        return nonnegative

    @staticmethod
    def draw(noise: Tensor, rate: Any) -> Tensor:
        """Noise of rate 1, divided by the rate."""
        return noise / rate

    @staticmethod
    def log_density(x: Tensor, rate: Any) -> Tensor:
        """The log density of each component; -inf where x is negative."""
        return torch.where(x < 0, -torch.inf, log(rate) - rate * x)

    @staticmethod
    def log_cdf(x: Tensor, rate: Any) -> Tensor:
        r""":math:`\log(1 - e^{-\lambda x})`."""
        return log1mexp(rate * x.clamp(min=0.0))

    @staticmethod
    def log_sf(x: Tensor, rate: Any) -> Tensor:
        r""":math:`-\lambda x`."""
        return -rate * x.clamp(min=0.0)

    @staticmethod
    def icdf(u: Tensor, rate: Any) -> Tensor:
        r""":math:`-\log(1-u)/\lambda`."""
        return -torch.log1p(-u) / rate

    @staticmethod
    def mean_of(rate: Any) -> Any:
        r""":math:`1/\lambda`."""
        return 1.0 / rate

    @staticmethod
    def variance_of(rate: Any) -> Any:
        r""":math:`1/\lambda^2`."""
        return rate**-2

    @staticmethod
    def entropy_of(rate: Any) -> Any:
        r""":math:`1 - \log\lambda`."""
        return 1.0 - log(rate)


def _as_gamma(params: dict[str, Any]) -> dict[str, Any]:
    """The gamma law of concentration 1."""
    return {"concentration": params.get("concentration", 1.0), "rate": params["rate"]}


def kl_exponential(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    """The divergence of gamma laws."""
    return kl_gamma(_as_gamma(q), _as_gamma(p))


Exponential.closed_kl = {
    Exponential: kl_exponential,
    Gamma: kl_exponential,
    Normal: kl_to_normal(Exponential),
}
Gamma.closed_kl = {**Gamma.closed_kl, Exponential: kl_exponential}


def _events(x: Tensor, known: Params, prior: Params) -> Params:
    """One event, and the time until it."""
    return {"concentration": torch.ones_like(x), "rate": x}


Exponential.conjugate = {Gamma: Conjugate("rate", _events)}
