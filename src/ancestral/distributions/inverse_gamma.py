r"""The inverse gamma law: one over a gamma value."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_exponential, kl_to_normal
from ancestral.distributions.constraints import Constraint, positive
from ancestral.distributions.elementary import HALF_LOG_TWO_PI
from ancestral.distributions.exponential import Exponential
from ancestral.distributions.gamma import Gamma, implicit_gamma, kl_gamma
from ancestral.distributions.gamma_function import (
    deviance,
    digamma_error,
    double,
    result_like,
    stirling_error,
)
from ancestral.distributions.incomplete_gamma import log_gamma_tails, log_of_rank
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal


class InverseGamma(Law):
    r"""The inverse gamma law with independent components,
    :math:`\log p(x) = \alpha\log\beta - (\alpha+1)\log x - \beta/x - \log\Gamma(\alpha)`.

    Draws are made by rejection; their gradient is that of implicit reparameterisation.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        concentration: Shape :math:`\alpha > 0`: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        rate: Scale :math:`\beta > 0`, likewise; :math:`1/x` has a gamma law with this rate.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the concentration, the second half the rate, both through softplus.

    Example:
        >>> InverseGamma(concentration=1.0, rate=1.0).get_log_prob({"x": torch.ones(1)})
        tensor([-1.])
    """

    domains = {"concentration": positive, "rate": positive}
    split = {"concentration": F.softplus, "rate": F.softplus}
    reparametrised = True
    noise = "standard gamma"
    noise_of = staticmethod(Gamma.noise_of)

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        concentration: Parameter = None,
        rate: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"concentration": concentration, "rate": rate}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Positive numbers."""
        return positive

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Concentrations for which draws have many moments."""
        return [{**e, "concentration": 9.0 + e["concentration"]} for e in super().examples()]

    @staticmethod
    def draw(noise: Tensor, concentration: Any, rate: Any) -> Tensor:
        """The rate divided by a gamma draw of rate 1, with its derivative."""
        ends = torch.finfo(noise.dtype)
        over = noise * ends.max <= rate  # beyond the largest number: no slope there
        below = torch.where(over, 1.0, implicit_gamma(noise, concentration))
        return torch.where(over, ends.max, rate / below).clamp(min=ends.tiny)

    @staticmethod
    def log_density(x: Tensor, concentration: Any, rate: Any) -> Tensor:
        r"""The log density of each component; -inf where x is not positive. With
        :math:`t = \beta/\alpha x` it is
        :math:`\frac12\log\frac{\alpha}{2\pi} - \delta(\alpha) - \log x - \alpha(t - 1 - \log t)`.
        """
        a, b, y = double(concentration), double(rate), double(x)
        inside = torch.where(y > 0, y, 1.0)
        peak = 0.5 * a.log() - HALF_LOG_TWO_PI - stirling_error(a)
        out = peak - inside.log() - a * deviance(b / (a * inside))
        return result_like(torch.where(y > 0, out, -torch.inf), x, concentration, rate)

    @staticmethod
    def log_cdf(x: Tensor, concentration: Any, rate: Any) -> Tensor:
        r""":math:`\log Q(\alpha, \beta/x)`."""
        return result_like(_log_tails(x, concentration, rate)[1], x, concentration, rate)

    @staticmethod
    def log_sf(x: Tensor, concentration: Any, rate: Any) -> Tensor:
        r""":math:`\log P(\alpha, \beta/x)`."""
        return result_like(_log_tails(x, concentration, rate)[0], x, concentration, rate)

    @staticmethod
    def icdf(u: Tensor, concentration: Any, rate: Any) -> Tensor:
        r"""x with :math:`Q(\alpha, \beta/x) = u`."""
        rank = double(u)
        out = (double(rate).log() - log_of_rank(double(concentration), 1.0 - rank, rank)).exp()
        return result_like(out, u, concentration, rate)

    @staticmethod
    def mean_of(concentration: Any, rate: Any) -> Any:
        r""":math:`\beta/(\alpha-1)`, infinite unless :math:`\alpha > 1`."""
        a = double(concentration)
        out = torch.where(a > 1, double(rate) / torch.where(a > 1, a - 1.0, 1.0), torch.inf)
        return result_like(out, concentration, rate)

    @staticmethod
    def variance_of(concentration: Any, rate: Any) -> Any:
        r""":math:`\beta^2/(\alpha-1)^2(\alpha-2)`, infinite unless :math:`\alpha > 2`."""
        a = double(concentration)
        safe = torch.where(a > 2, a, 3.0)
        out = torch.where(a > 2, (double(rate) / (safe - 1.0)) ** 2 / (safe - 2.0), torch.inf)
        return result_like(out, concentration, rate)

    @staticmethod
    def entropy_of(concentration: Any, rate: Any) -> Any:
        r""":math:`\alpha + \log\beta + \log\Gamma(\alpha) - (1+\alpha)\psi(\alpha)`, written in
        terms that do not cancel.
        """
        a = double(concentration)
        leading = HALF_LOG_TWO_PI + 0.5 - 1.5 * a.log() + 0.5 / a
        rest = stirling_error(a) + (1.0 + a) * digamma_error(a)
        return result_like(leading + rest + double(rate).log(), concentration, rate)


def _log_tails(x: Tensor, concentration: Any, rate: Any) -> tuple[Tensor, Tensor]:
    y, b = double(x).clamp(min=0.0), double(rate)
    inside = torch.where(y > 0, y, 1.0)
    reciprocal = torch.where(y > 0, b / inside, torch.inf)
    return log_gamma_tails(double(concentration), reciprocal, b.log() - inside.log())


# a divergence does not see a map of the values
InverseGamma.closed_kl = {
    InverseGamma: kl_gamma,
    Normal: kl_to_normal(InverseGamma),
    Exponential: kl_to_exponential(InverseGamma),
}
