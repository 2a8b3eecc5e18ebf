r"""The Dirichlet law, :math:`p(x) = \frac{\Gamma(\sum_k\alpha_k)}{\prod_k\Gamma(\alpha_k)}
\prod_k x_k^{\alpha_k - 1}`, of probabilities.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.rng import Generator, blank, uniform
from ancestral.distributions.constraints import Constraint, positive, simplex
from ancestral.distributions.gamma_function import (
    HALF_LOG_TWO_PI,
    deviance,
    digamma_error,
    double,
    log_gamma_bregman,
    result_like,
    stirling_error,
)
from ancestral.distributions.implicit import attach
from ancestral.distributions.incomplete_beta import slopes_in_shapes
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise


class Dirichlet(Law):
    r"""The Dirichlet law of a vector of K probabilities, with respect to the first K - 1:
    :math:`\log p(x) = \log\Gamma(A) - \sum_k\log\Gamma(\alpha_k) + \sum_k(\alpha_k-1)\log x_k`,
    where :math:`A = \sum_k\alpha_k`.

    Draws carry the gradient of implicit reparameterisation (Figurnov et al. 2018).

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, K)``.
        concentration: :math:`\alpha > 0`, shape ``(*event, K)``: a tensor, an ``nn.Parameter``, or
            a condition's name.
        net: A network of the conditions; one output tensor is the concentration, through softplus.

    Example:
        >>> p = Dirichlet(concentration=torch.tensor([1.0, 1.0, 1.0]))
        >>> p.get_log_prob({"x": torch.tensor([[0.2, 0.3, 0.5]])}).exp()
        tensor([2.])
    """

    domains = {"concentration": positive}
    split = {"concentration": F.softplus}
    reparametrised = True
    noise = "a point of the simplex"
    value_dims = 1
    param_dims = 1

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        concentration: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"concentration": concentration}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Vectors of probabilities."""
        return simplex

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three vectors of three probabilities, with peaks in the middle, at a side, at corners."""
        rows = [[2.0, 3.5, 1.5], [0.6, 1.2, 4.0], [0.5, 0.8, 0.4]]
        return [{"concentration": torch.tensor(rows, dtype=torch.float64)}]

    @staticmethod
    def noise_of(
        shape: Sequence[int], like: Tensor, generator: Generator = None, *, concentration: Any
    ) -> Tensor:
        """A draw."""
        return draw_dirichlet(as_noise(concentration, shape, like), generator)

    @staticmethod
    def draw(noise: Tensor, concentration: Any) -> Tensor:
        """The draw with its derivative."""
        alpha = torch.as_tensor(concentration)
        if not alpha.requires_grad:
            return noise
        fixed, x = double(alpha.detach()).expand(noise.shape), double(noise)
        rest = fixed.sum(-1, keepdim=True) - fixed
        slope = x * slopes_in_shapes(fixed, rest, x, 1.0 - x)[0]  # without what the others lose
        moved = attach(torch.zeros_like(noise), (concentration, slope.to(noise.dtype)))
        return noise + (moved - noise * moved.sum(-1, keepdim=True))  # what leaves one goes to all

    @staticmethod
    def log_density(x: Tensor, concentration: Any) -> Tensor:
        """The log density of each vector."""
        return result_like(log_dirichlet(double(x), double(concentration)), x, concentration)

    @staticmethod
    def mean_of(concentration: Any) -> Any:
        r""":math:`\alpha_k / A`."""
        return concentration / concentration.sum(-1, keepdim=True)

    @staticmethod
    def variance_of(concentration: Any) -> Any:
        r""":math:`m_k(1 - m_k)/(A + 1)` with m the mean."""
        total = concentration.sum(-1, keepdim=True)
        mean = concentration / total
        return mean * ((total - concentration) / total) / (total + 1.0)

    @staticmethod
    def entropy_of(concentration: Any) -> Any:
        r""":math:`\log B(\alpha) + (A-K)\psi(A) - \sum_k(\alpha_k-1)\psi(\alpha_k)`, without
        what cancels of Stirling's formula.
        """
        alpha = double(concentration)
        total, free = alpha.sum(-1), alpha.shape[-1] - 1.0
        parts = _entropy_part(alpha, 1.0) + 0.5 * alpha.log()
        whole = _entropy_part(total, free + 1.0) + (free + 0.5) * total.log()
        return result_like(parts.sum(-1) - whole + free * HALF_LOG_TWO_PI, concentration)


def _entropy_part(alpha: Tensor, ones: float) -> Tensor:
    return stirling_error(alpha) + (alpha - ones) * (0.5 / alpha + digamma_error(alpha))


def draw_dirichlet(alpha: Tensor, generator: Generator = None) -> Tensor:
    r"""Draws, shape ``(*shape, K)``, without gradient.

    They are gamma variables over their sum. Where :math:`\alpha` is small these underflow, all of
    them together; their logarithms do not: :math:`\log g_{\alpha} = \log g_{\alpha+1} +
    \frac1\alpha \log u` with uniform u.
    """
    above = torch._standard_gamma(alpha + 1.0, generator=generator)
    u = uniform(blank(alpha.shape, alpha), generator)
    tiny = torch.finfo(alpha.dtype).tiny  # a probability that underflows stays positive
    return (above.log() + u.log() / alpha).softmax(-1).clamp(min=tiny)


def log_dirichlet(x: Tensor, alpha: Tensor) -> Tensor:
    r"""The log density in double precision. Without Stirling's formula, with
    :math:`r_k = x_k A/\alpha_k`, it is
    :math:`-\sum_k [\alpha_k(r_k - 1 - \log r_k) + \log x_k - \frac12\log\alpha_k +
    \delta(\alpha_k)] - \frac12\log A + \delta(A) - \frac{K-1}2\log 2\pi`.
    """
    total = alpha.sum(-1, keepdim=True)
    inside = torch.where(x > 0, x, 1.0)
    ratio = torch.where(x > 0, x * total / alpha, 1.0)
    parts = alpha * deviance(ratio) + inside.log() - 0.5 * alpha.log() + stirling_error(alpha)
    # at 0 a density with a concentration below 1 is infinite, with one above 1 it is 0
    edge = torch.where(alpha < 1, -torch.inf, torch.where(alpha > 1, torch.inf, 0.0))
    parts = torch.where(x > 0, parts, edge + parts)
    total = total.squeeze(-1)
    rounding = total * (x.sum(-1) - 1.0)  # r_k has mean 1 where x has sum 1, up to rounding
    whole = stirling_error(total) - 0.5 * total.log() - (alpha.shape[-1] - 1) * HALF_LOG_TWO_PI
    return whole + rounding - parts.sum(-1)


def kl_dirichlet(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\sum_k D(\beta_k, \alpha_k) - D(B, A)`, with D the Bregman divergence of the log
    gamma function.
    """
    mine, other = double(q["concentration"]), double(p["concentration"])
    whole, total = mine.sum(-1, keepdim=True), other.sum(-1, keepdim=True)
    scale = total / whole
    parts = log_gamma_bregman(other, mine, scale).sum(-1)
    out = parts - log_gamma_bregman(total, whole, scale).squeeze(-1)
    return result_like(out, *q.values(), *p.values())


Dirichlet.closed_kl = {Dirichlet: kl_dirichlet}
