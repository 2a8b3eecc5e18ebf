r"""The beta law, :math:`p(x) \propto x^{\alpha-1}(1-x)^{\beta-1}` on (0, 1)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.by_moments import kl_to_exponential, kl_to_normal
from ancestral.distributions.constraints import Constraint, positive, unit_interval
from ancestral.distributions.dirichlet import draw_dirichlet
from ancestral.distributions.elementary import HALF_LOG_TWO_PI
from ancestral.distributions.exponential import Exponential
from ancestral.distributions.gamma_function import (
    deviance,
    digamma_error,
    double,
    log_gamma_bregman,
    result_like,
    stirling_error,
)
from ancestral.distributions.implicit import attach
from ancestral.distributions.incomplete_beta import (
    log_beta_tails,
    log_odds_of_rank,
    slopes_in_shapes,
)
from ancestral.distributions.incomplete_gamma import log_of
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise
from ancestral.distributions.normal import Normal


class Beta(Law):
    r"""The beta law with independent components,
    :math:`\log p(x) = (\alpha-1)\log x + (\beta-1)\log(1-x) - \log B(\alpha,\beta)`.

    Draws are made by rejection; their gradient is that of implicit reparameterisation.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        concentration1: :math:`\alpha > 0`: a number, a tensor, an ``nn.Parameter``, or a
            condition's name; the mean is :math:`\alpha/(\alpha+\beta)`.
        concentration0: :math:`\beta > 0`, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            ``concentration1``, the second half ``concentration0``, both through softplus.

    Example:
        >>> p = Beta(concentration1=2.0, concentration0=1.0)
        >>> p.get_log_prob({"x": torch.tensor([0.25])}).exp()
        tensor([0.5000])
    """

    domains = {"concentration1": positive, "concentration0": positive}
    split = {"concentration1": F.softplus, "concentration0": F.softplus}
    reparametrised = True
    noise = "a draw"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        concentration1: Parameter = None,
        concentration0: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"concentration1": concentration1, "concentration0": concentration0}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Numbers from 0 to 1."""
        return unit_interval

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Densities whose mass a grid of numbers in (0, 1) can hold."""
        return [{k: 0.6 + v for k, v in e.items()} for e in super().examples()]

    @staticmethod
    def noise_of(
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        concentration1: Any,
        concentration0: Any,
    ) -> Tensor:
        """A draw, neither 0 nor 1."""
        pair = [as_noise(c, shape, like) for c in (concentration1, concentration0)]
        drawn = draw_dirichlet(torch.stack(pair, -1), generator)[..., 0]
        ends = torch.finfo(drawn.dtype)
        return drawn.clamp(ends.tiny, 1.0 - 0.5 * ends.eps)

    @staticmethod
    def draw(noise: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        """The draw with its derivatives."""
        pair = (concentration1, concentration0)
        if not any(isinstance(c, Tensor) and c.requires_grad for c in pair):
            return noise
        a, b = (double(as_noise(c, noise.shape, noise)) for c in pair)
        x = double(noise)
        slopes = (x * (1.0 - x) * s for s in slopes_in_shapes(a, b, x, 1.0 - x))
        given = zip(pair, slopes, strict=True)
        return attach(noise, *((torch.as_tensor(c), s.to(noise.dtype)) for c, s in given))

    @staticmethod
    def log_density(x: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        r"""The log density of each component; -inf outside. Without Stirling's formula, with
        :math:`n = \alpha+\beta` and :math:`\varphi(t) = t - 1 - \log t`, it is
        :math:`\frac12\log\frac{\alpha\beta}{2\pi n} - \delta(\alpha) - \delta(\beta) + \delta(n)
        - \log x(1-x) - \alpha\varphi(nx/\alpha) - \beta\varphi(n(1-x)/\beta)`.
        """
        a, b, y = double(concentration1), double(concentration0), double(x)
        n, inside = a + b, (y > 0) & (y < 1)
        y = torch.where(inside, y, 0.5)
        peak = 0.5 * (a.log() + b.log() - n.log()) - HALF_LOG_TWO_PI
        peak = peak - stirling_error(a) - stirling_error(b) + stirling_error(n)
        fit = a * deviance(n * y / a) + b * deviance(n * (1.0 - y) / b)
        out = peak - y.log() - torch.log1p(-y) - fit
        edge = _at_edge(double(x), a, b)
        return result_like(torch.where(inside, out, edge), x, concentration1, concentration0)

    @staticmethod
    def log_cdf(x: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        r""":math:`\log I_x(\alpha, \beta)`."""
        out = _log_tails(x, concentration1, concentration0)[0]
        return result_like(out, x, concentration1, concentration0)

    @staticmethod
    def log_sf(x: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        r""":math:`\log I_{1-x}(\beta, \alpha)`."""
        out = _log_tails(x, concentration1, concentration0)[1]
        return result_like(out, x, concentration1, concentration0)

    @staticmethod
    def icdf(u: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        r"""x with :math:`I_x(\alpha, \beta) = u`."""
        rank, a, b = double(u), double(concentration1), double(concentration0)
        out = log_odds_of_rank(a, b, rank, 1.0 - rank).sigmoid()
        return result_like(out, u, concentration1, concentration0)

    @staticmethod
    def mean_of(concentration1: Any, concentration0: Any) -> Any:
        r""":math:`\alpha/(\alpha+\beta)`."""
        return concentration1 / (concentration1 + concentration0)

    @staticmethod
    def variance_of(concentration1: Any, concentration0: Any) -> Any:
        r""":math:`\alpha\beta/n^2(n+1)`."""
        n = concentration1 + concentration0
        return concentration1 / n * (concentration0 / n) / (n + 1.0)

    @staticmethod
    def entropy_of(concentration1: Any, concentration0: Any) -> Any:
        r""":math:`\log B - (\alpha-1)\psi(\alpha) - (\beta-1)\psi(\beta) + (n-2)\psi(n)`, written
        in terms that do not cancel.
        """
        a, b = double(concentration1), double(concentration0)
        n = a + b
        leading = HALF_LOG_TWO_PI + 0.5 * (a.log() + b.log()) - 1.5 * n.log()
        leading = leading + 0.5 * (1.0 - 1.0 / a - 1.0 / b + 2.0 / n)
        first = stirling_error(a) + stirling_error(b) - stirling_error(n)
        second = (a - 1.0) * digamma_error(a) + (b - 1.0) * digamma_error(b)
        out = leading + first + second - (n - 2.0) * digamma_error(n)
        return result_like(out, concentration1, concentration0)


def _log_tails(x: Tensor, concentration1: Any, concentration0: Any) -> tuple[Tensor, Tensor]:
    y = double(x).clamp(0.0, 1.0)
    on, off = (y, log_of(y)), (1.0 - y, log_of(1.0 - y))
    return log_beta_tails(double(concentration1), double(concentration0), on, off)


def _at_edge(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """At 0 and 1 the density is finite only where its exponent is 0; outside it is 0."""
    here, there = torch.where(x == 0, a, b), torch.where(x == 0, b, a)
    end = torch.where(here == 1, there.log(), torch.where(here < 1, torch.inf, -torch.inf))
    return torch.where((x == 0) | (x == 1), end, torch.where(x.isnan(), x, -torch.inf))


def kl_beta(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`G(\alpha_p,\alpha_q) + G(\beta_p,\beta_q) - G(n_p,n_q)`, with
    :math:`G(s,t) = \log\Gamma(s) - \log\Gamma(t) - (s-t)\psi(t)`.
    """
    a_q, b_q = double(q["concentration1"]), double(q["concentration0"])
    a_p, b_p = double(p["concentration1"]), double(p["concentration0"])
    n_q, n_p = a_q + b_q, a_p + b_p
    scale = n_p / n_q
    out = log_gamma_bregman(a_p, a_q, scale) + log_gamma_bregman(b_p, b_q, scale)
    out = out - log_gamma_bregman(n_p, n_q, scale)
    return result_like(out, *q.values(), *p.values())


Beta.closed_kl = {Beta: kl_beta, Normal: kl_to_normal(Beta), Exponential: kl_to_exponential(Beta)}
