r"""The gamma law, :math:`p(x) = \frac{\beta^\alpha}{\Gamma(\alpha)} x^{\alpha-1} e^{-\beta x}`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import Constraint, positive
from ancestral.distributions.elementary import HALF_LOG_TWO_PI
from ancestral.distributions.gamma_function import (
    deviance,
    digamma_error,
    double,
    log_gamma_bregman,
    result_like,
    stirling_error,
)
from ancestral.distributions.implicit import attach
from ancestral.distributions.incomplete_gamma import (
    log_gamma_tails,
    log_of,
    log_of_rank,
    slope_in_shape,
)
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise
from ancestral.distributions.normal import Normal


class Gamma(Law):
    r"""The gamma law with independent components,
    :math:`\log p(x) = \alpha\log\beta + (\alpha-1)\log x - \beta x - \log\Gamma(\alpha)`.

    Draws are made by rejection; their gradient is that of implicit reparameterisation.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        concentration: Shape :math:`\alpha > 0`: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        rate: Inverse scale :math:`\beta > 0`, likewise; the mean is :math:`\alpha/\beta`.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the concentration, the second half the rate, both through softplus.

    Example:
        >>> Gamma(concentration=1.0, rate=2.0).get_log_prob({"x": torch.tensor([1.0])}).exp()
        tensor([0.2707])
    """

    domains = {"concentration": positive, "rate": positive}
    split = {"concentration": F.softplus, "rate": F.softplus}
    reparametrised = True
    noise = "standard gamma"

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

    @staticmethod
    def noise_of(
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        concentration: Any,
        rate: Any,
    ) -> Tensor:
        """A draw of rate 1."""
        return standard_gamma(concentration, shape, like, generator)

    @staticmethod
    def draw(noise: Tensor, concentration: Any, rate: Any) -> Tensor:
        """Noise of rate 1 with its derivative, divided by the rate."""
        return (implicit_gamma(noise, concentration) / rate).clamp(
            min=torch.finfo(noise.dtype).tiny  # a value that underflows stays positive
        )

    @staticmethod
    def log_density(x: Tensor, concentration: Any, rate: Any) -> Tensor:
        """The log density of each component; -inf where x is negative."""
        return result_like(log_gamma_density(x, concentration, rate), x, concentration, rate)

    @staticmethod
    def log_cdf(x: Tensor, concentration: Any, rate: Any) -> Tensor:
        r""":math:`\log P(\alpha, \beta x)`."""
        return result_like(_log_tails(x, concentration, rate)[0], x, concentration, rate)

    @staticmethod
    def log_sf(x: Tensor, concentration: Any, rate: Any) -> Tensor:
        r""":math:`\log Q(\alpha, \beta x)`."""
        return result_like(_log_tails(x, concentration, rate)[1], x, concentration, rate)

    @staticmethod
    def icdf(u: Tensor, concentration: Any, rate: Any) -> Tensor:
        r"""x with :math:`P(\alpha, \beta x) = u`."""
        rank = double(u)
        out = (log_of_rank(double(concentration), rank, 1.0 - rank) - double(rate).log()).exp()
        return result_like(out, u, concentration, rate)

    @staticmethod
    def mean_of(concentration: Any, rate: Any) -> Any:
        r""":math:`\alpha/\beta`."""
        return concentration / rate

    @staticmethod
    def variance_of(concentration: Any, rate: Any) -> Any:
        r""":math:`\alpha/\beta^2`."""
        return concentration / rate**2

    @staticmethod
    def entropy_of(concentration: Any, rate: Any) -> Any:
        r""":math:`\alpha - \log\beta + \log\Gamma(\alpha) + (1-\alpha)\psi(\alpha)`, written in
        terms that do not cancel.
        """
        a = double(concentration)
        leading = HALF_LOG_TWO_PI + 0.5 + 0.5 * a.log() - 0.5 / a
        rest = stirling_error(a) - (1.0 - a) * digamma_error(a)
        return result_like(leading + rest - double(rate).log(), concentration, rate)


def standard_gamma(
    concentration: Any, shape: Sequence[int], like: Tensor, generator: Generator = None
) -> Tensor:
    """Draws of rate 1, without gradient; none is 0."""
    drawn = torch._standard_gamma(as_noise(concentration, shape, like), generator=generator)
    return drawn.clamp(min=torch.finfo(drawn.dtype).tiny)


def implicit_gamma(noise: Tensor, concentration: Any) -> Tensor:
    """A standard gamma draw with its derivative with respect to the concentration."""
    if not isinstance(concentration, Tensor) or not concentration.requires_grad:
        return noise
    slope = slope_in_shape(double(as_noise(concentration, noise.shape, noise)), double(noise))
    return attach(noise, (concentration, slope.to(noise.dtype)))


def _log_tails(x: Tensor, concentration: Any, rate: Any) -> tuple[Tensor, Tensor]:
    y, b = double(x).clamp(min=0.0), double(rate)
    return log_gamma_tails(double(concentration), b * y, b.log() + log_of(y))


def log_gamma_density(x: Any, concentration: Any, rate: Any) -> Tensor:
    r"""The log density in double precision. Without Stirling's formula in both, with
    :math:`t = \beta x/\alpha`, it is
    :math:`\frac12\log\frac{\alpha}{2\pi} - \delta(\alpha) - \log x - \alpha(t - 1 - \log t)`.
    """
    a, b, x = double(concentration), double(rate), double(x)
    inside = torch.where(x > 0, x, 1.0)
    peak = 0.5 * a.log() - HALF_LOG_TWO_PI - stirling_error(a)
    out = peak - inside.log() - a * deviance(b * inside / a)
    return torch.where(x > 0, out, _at_edge(x, a, b))


def _at_edge(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """At 0 the density is that of an exponential law, or infinite, or 0; below it is 0."""
    zero = torch.where(a == 1, b.log(), torch.where(a < 1, torch.inf, -torch.inf))
    return torch.where(x == 0, zero, torch.where(x.isnan(), x, -torch.inf))


def kl_gamma(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\alpha_q(t - 1 - \log t) + (\alpha_q-\alpha_p)\log t +
    \log\Gamma(\alpha_p) - \log\Gamma(\alpha_q) - (\alpha_p-\alpha_q)\psi(\alpha_q)`, with
    :math:`t = \beta_p/\beta_q`.
    """
    a_q, a_p = double(q["concentration"]), double(p["concentration"])
    t = double(p["rate"]) / double(q["rate"])
    out = a_q * deviance(t) + (a_q - a_p) * t.log() + log_gamma_bregman(a_p, a_q)
    return result_like(out, *q.values(), *p.values())


Gamma.closed_kl = {Gamma: kl_gamma, Normal: kl_to_normal(Gamma)}


def _events(x: Tensor, known: Params, prior: Params) -> Params:
    """As many events as the concentration says, and the time until the last of them."""
    return {"concentration": known["concentration"] * torch.ones_like(x), "rate": x}


Gamma.conjugate = {Gamma: Conjugate("rate", _events)}
