r"""The negative binomial law, :math:`P(x) = \frac{\Gamma(x+r)}{\Gamma(r)\,x!} (1-\pi)^r \pi^x`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.beta import Beta
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import (
    Constraint,
    identity,
    log_odds,
    positive,
    probability_below_one,
    whole,
)
from ancestral.distributions.count_search import first_count, tails_at
from ancestral.distributions.count_sums import sum_over_counts
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.geometric import odds_against, shares
from ancestral.distributions.incomplete_beta import log_beta_tails
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise
from ancestral.distributions.saddle_point import log_negative_binomial


class NegativeBinomial(Law):
    r"""The negative binomial law with independent components: how many succeed before r fail,
    :math:`\log P(x) = \log\frac{\Gamma(x+r)}{\Gamma(r)\,x!} + r\log(1-\pi) + x\log\pi`.

    It is the Poisson law with a rate from Gamma(r, (1-\pi)/\pi): counts whose variance exceeds
    their mean. Its draws are whole numbers, so that they have no pathwise gradient.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        total_count: Number r > 0 of failures, whole or not: a number, a tensor, an
            ``nn.Parameter``, or a condition's name.
        probs: Probability :math:`\pi` of success, in [0, 1), likewise; the mean is
            :math:`r\pi/(1-\pi)`.
        logits: :math:`\log\pi/(1-\pi)` in place of it; exact everywhere.
        net: A network of the conditions; one output tensor is the logits.

    Example:
        >>> p = NegativeBinomial(total_count=2.0, probs=0.25)
        >>> p.get_log_prob({"x": torch.tensor([0.0, 1.0])}).exp()
        tensor([0.5625, 0.2812])
    """

    domains = {"total_count": positive, "logits": log_odds, "probs": probability_below_one}
    split = {"logits": identity}
    parametrisations = (("total_count", "logits"), ("total_count", "probs"))
    noise = "counts"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        total_count: Parameter = None,
        probs: Parameter = None,
        logits: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"total_count": total_count, "probs": probs, "logits": logits}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Whole numbers from 0."""
        return whole

    @staticmethod
    def noise_of(
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        total_count: Any,
        probs: Any = None,
        logits: Any = None,
    ) -> Tensor:
        """A draw: of a Poisson law whose rate is drawn from a gamma law."""
        odds = as_noise(1.0 / odds_against(probs, logits), shape, like)
        shapes = as_noise(total_count, shape, like)
        rate = torch._standard_gamma(shapes, generator=generator) * odds
        return torch.poisson(rate.to(like.dtype), generator=generator)

    @staticmethod
    def draw(noise: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The counts that were drawn given the parameters."""
        return noise

    @staticmethod
    def log_density(x: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The log probability of each count."""
        on, off = shares(probs, logits)
        out = log_negative_binomial(double(x), double(total_count), on, off)
        return result_like(out, x, total_count, probs, logits)

    @staticmethod
    def log_cdf(x: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\log I_{1-\pi}(r, k+1)` with :math:`k = \lfloor x\rfloor`."""
        out = _log_tails(double(x), double(total_count), probs, logits)[0]
        return result_like(out, x, total_count, probs, logits)

    @staticmethod
    def log_sf(x: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\log I_\pi(k+1, r)`."""
        out = _log_tails(double(x), double(total_count), probs, logits)[1]
        return result_like(out, x, total_count, probs, logits)

    @staticmethod
    def icdf(u: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """By search for the first count whose rank is at least u."""
        r, odds = double(total_count), 1.0 / odds_against(probs, logits)
        mean, scale = r * odds, 1.0 + odds
        with torch.no_grad():
            out = first_count(
                lambda k: _log_tails(k, r, probs, logits), double(u), mean, mean * scale, scale
            )
        return result_like(out, u, total_count, probs, logits)

    @staticmethod
    def mean_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`r\pi/(1-\pi)`."""
        out = double(total_count) / odds_against(probs, logits)
        return result_like(out, total_count, probs, logits)

    @staticmethod
    def variance_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`r\pi/(1-\pi)^2`."""
        odds = 1.0 / odds_against(probs, logits)
        return result_like(double(total_count) * odds * (1.0 + odds), total_count, probs, logits)

    @staticmethod
    def entropy_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`-\sum_x P(x)\log P(x)`, the far counts by an integral."""
        on, off = shares(probs, logits)
        r, against = double(total_count), odds_against(probs, logits)

        def term(k: Tensor) -> Tensor:
            log_p = log_negative_binomial(k, r, on, off)
            some = log_p > -700.0
            log_p = torch.where(some, log_p, 0.0)
            return torch.where(some, log_p.exp() * log_p, 0.0)

        out = -sum_over_counts(term, r * on[0], 1.0 + 1.0 / against)
        return result_like(out, total_count, probs, logits)


def _log_tails(x: Tensor, r: Tensor, probs: Any, logits: Any) -> tuple[Tensor, Tensor]:
    """log P(X <= x) and log P(X > x)."""
    on, off = shares(probs, logits)
    return tails_at(x, lambda k: log_beta_tails(r, k + 1.0, off, on))


def _trials(x: Tensor, known: Params, prior: Params) -> Params:
    """Successes, and the failures at which they end."""
    return {"concentration1": x, "concentration0": known["total_count"] * torch.ones_like(x)}


NegativeBinomial.conjugate = {Beta: Conjugate("probs", _trials)}
