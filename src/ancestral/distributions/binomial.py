r"""The binomial law, :math:`P(x) = \binom nx \pi^x (1-\pi)^{n-x}`."""

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
    real,
    unit_interval,
    up_to,
    whole,
)
from ancestral.distributions.count_search import first_count, tails_at
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.geometric import probabilities, shares
from ancestral.distributions.incomplete_beta import log_beta_tails
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise
from ancestral.distributions.saddle_point import log_binomial, log_peak, mean_log_poisson


class Binomial(Law):
    r"""The binomial law with independent components: how many of n succeed,
    :math:`\log P(x) = \log\binom nx + x\log\pi + (n-x)\log(1-\pi)`.

    Its draws are whole numbers, so that they have no pathwise gradient: choose an estimator.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        total_count: Number n of trials: a whole number, a tensor of them, or a condition's name.
        probs: Probability :math:`\pi` of success: a number, a tensor, an ``nn.Parameter``, or a
            condition's name. At exactly 0 or 1 a logarithm is cut off at -100.
        logits: :math:`\log\pi/(1-\pi)` in place of it; exact everywhere.
        net: A network of the conditions; one output tensor is the logits.

    Example:
        >>> Binomial(total_count=2, probs=0.25).get_log_prob({"x": torch.tensor([0.0, 1.0])}).exp()
        tensor([0.5625, 0.3750])
    """

    domains = {"total_count": whole, "logits": real, "probs": unit_interval}
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
        """Whole numbers up to n."""
        return up_to(params["total_count"])

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Small numbers of trials."""
        totals = torch.tensor([7.0, 1.0, 40.0], dtype=torch.float64)
        return [{**e, "total_count": totals} for e in super().examples()]

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
        """A draw."""
        pi = probabilities(probs, logits)[0]
        return draw_binomial(
            as_noise(total_count, shape, like), as_noise(pi, shape, like), generator
        )

    @staticmethod
    def draw(noise: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The counts that were drawn given the parameters."""
        return noise

    @staticmethod
    def log_density(x: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The log probability of each count; -inf outside of 0, ..., n."""
        n, count = double(total_count).detach(), double(x)
        inside = (count >= 0) & (count <= n)
        out = log_binomial(torch.where(inside, count, 0.0), n, *shares(probs, logits))
        return result_like(torch.where(inside, out, -torch.inf), x, total_count, probs, logits)

    @staticmethod
    def log_cdf(x: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\log I_{1-\pi}(n-k, k+1)` with :math:`k = \lfloor x\rfloor`."""
        out = _log_tails(double(x), double(total_count), probs, logits)[0]
        return result_like(out, x, total_count, probs, logits)

    @staticmethod
    def log_sf(x: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\log I_\pi(k+1, n-k)`."""
        out = _log_tails(double(x), double(total_count), probs, logits)[1]
        return result_like(out, x, total_count, probs, logits)

    @staticmethod
    def icdf(u: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """By search for the first count whose rank is at least u."""
        n = double(total_count)
        on, off = probabilities(probs, logits)
        with torch.no_grad():
            out = first_count(
                lambda k: _log_tails(k, n, probs, logits), double(u), n * on, n * on * off
            )
        out = torch.minimum(out, n)
        return result_like(out, u, total_count, probs, logits)

    @staticmethod
    def mean_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`n\pi`."""
        out = double(total_count) * probabilities(probs, logits)[0]
        return result_like(out, total_count, probs, logits)

    @staticmethod
    def variance_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`n\pi(1-\pi)`."""
        on, off = probabilities(probs, logits)
        return result_like(double(total_count) * on * off, total_count, probs, logits)

    @staticmethod
    def entropy_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`-\sum_x P(x)\log P(x)`, at the points that have mass."""
        on, off = shares(probs, logits)
        n = double(total_count).detach()
        device = n.device if n.dim() else on[0].device  # a number goes where the others are
        every = (v.to(device) for v in (n, *on, *off))
        n, *rest = torch.broadcast_tensors(*every)
        on, off = (rest[0], rest[1]), (rest[2], rest[3])
        out = log_peak(n) - mean_log_poisson(n, on, off) - mean_log_poisson(n, off, on)
        return result_like(out, total_count, probs, logits)


def _log_tails(x: Tensor, n: Tensor, probs: Any, logits: Any) -> tuple[Tensor, Tensor]:
    """log P(X <= x) and log P(X > x)."""
    n, (on, off) = n.detach(), shares(probs, logits)
    return tails_at(x, lambda k: log_beta_tails((n - k).clamp(min=1.0), k + 1.0, off, on), n)


def draw_binomial(n: Tensor, pi: Tensor, generator: Generator = None) -> Tensor:
    """How many of n succeed, of the dtype of n."""
    if n.is_meta:
        return torch.empty_like(n)  # torch has no kernel for it
    return torch.binomial(n.contiguous(), pi.to(n.dtype).contiguous(), generator=generator)


def _trials(x: Tensor, known: Params, prior: Params) -> Params:
    """Successes and failures."""
    return {"concentration1": x, "concentration0": known["total_count"] - x}


Binomial.conjugate = {Beta: Conjugate("probs", _trials)}
