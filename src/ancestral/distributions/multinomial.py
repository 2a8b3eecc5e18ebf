r"""The multinomial law, :math:`P(x) = \frac{n!}{\prod_k x_k!} \prod_k \pi_k^{x_k}`, of counts."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.binomial import draw_binomial
from ancestral.distributions.categorical import log_probabilities
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import (
    Constraint,
    counts,
    identity,
    log_weight,
    simplex,
    whole,
    whole_vector,
)
from ancestral.distributions.dirichlet import Dirichlet
from ancestral.distributions.elementary import log1mexp
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise, per_vector
from ancestral.distributions.saddle_point import log_peak, log_poisson, mean_log_poisson


class Multinomial(Law):
    r"""The multinomial law of a vector of K counts:
    :math:`\log P(x) = \log n! - \sum_k\log x_k! + \sum_k x_k\log\pi_k`.

    Without ``total_count`` it is the unnormalised form of topic models, :math:`\sum_k
    x_k\log\pi_k` for counts of any sum: the probability of the words in the order in which they
    stand. Words of a given number can be drawn, words without one cannot.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, K)``.
        total_count: Number n of draws: a whole number, a tensor of them of shape ``(*event)``, or
            a condition's name.
        probs: Probabilities :math:`\pi`, shape ``(*event, K)``, each row with sum 1: a tensor, an
            ``nn.Parameter``, or a condition's name. At exactly 0 a logarithm is -100.
        logits: Unnormalised logarithms of them in place of it; exact everywhere.
        net: A network of the conditions; one output tensor is the logits.

    Example:
        >>> p = Multinomial(total_count=2, probs=torch.tensor([0.2, 0.8]))
        >>> p.get_log_prob({"x": torch.tensor([[1.0, 1.0], [0.0, 2.0]])}).exp()
        tensor([0.3200, 0.6400])
        >>> p = Multinomial(probs=torch.tensor([0.2, 0.8]))
        >>> p.get_log_prob({"x": torch.tensor([[1.0, 1.0]])}).exp()
        tensor([0.1600])
    """

    domains = {"total_count": whole, "logits": log_weight, "probs": simplex}
    split = {"logits": identity}
    parametrisations = (
        ("total_count", "logits"),
        ("total_count", "probs"),
        ("logits",),
        ("probs",),
    )
    cores = {"total_count": "", "logits": "k", "probs": "k"}
    noise = "counts"
    value_dims = 1
    param_dims = 1

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
        self._normalised = total_count is not None
        given = {"total_count": total_count, "probs": probs, "logits": logits}
        super().__init__(var, cond_var, name, features_shape, net, given)

    @property
    def moves(self) -> type[Law]:
        """The static moves of counts with a given sum, or of the unnormalised form."""
        return type(self) if self._normalised else _Unnormalised

    def support(self, params: Params) -> Constraint | None:
        """Vectors of whole numbers, with sum n if it is given."""
        return counts(params["total_count"]) if self._normalised else whole_vector

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Small numbers of draws from four categories."""
        totals = torch.tensor([5.0, 1.0, 8.0], dtype=torch.float64)
        return [{**e, "total_count": totals} for e in super().examples() if "total_count" in e]

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
        pi = as_noise(probs if logits is None else logits.softmax(-1), shape, like)
        return draw_multinomial(as_noise(total_count, shape[:-1], like), pi, generator)

    @staticmethod
    def draw(noise: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The counts that were drawn given the parameters."""
        return noise

    @staticmethod
    def log_density(x: Tensor, total_count: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r"""The log probability of each vector, a quotient of Poisson laws,
        :math:`\prod_k P(x_k; n\pi_k)/P(n; n)`; -inf where the sum is not n.
        """
        count = double(x)
        n = per_vector(total_count, count).detach()
        log_pi = log_probabilities(_double(probs), _double(logits))
        log_n = torch.where(n > 0, n, 1.0).log()
        rate, n = log_pi.exp() * n, n.squeeze(-1)
        each = torch.where(count > 0, log_poisson(count, rate, log_n + log_pi), -rate)
        rounding = rate.sum(-1) - n  # probabilities have sum 1 up to rounding
        out = each.sum(-1) - log_peak(n) + rounding
        fits = (count.sum(-1) == n) & (count >= 0).all(-1)
        return result_like(torch.where(fits, out, -torch.inf), x, total_count, probs, logits)

    @staticmethod
    def mean_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`n\pi_k`."""
        pi = probs if logits is None else logits.softmax(-1)
        return per_vector(total_count, pi) * pi

    @staticmethod
    def variance_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`n\pi_k(1-\pi_k)`, category by category."""
        pi = double(probs) if logits is None else double(logits).softmax(-1)
        # in double precision 1 - pi has digits where one category has all the mass
        out = per_vector(double(total_count), pi) * pi * (1.0 - pi)
        return result_like(out, total_count, probs, logits)

    @staticmethod
    def entropy_of(total_count: Any, probs: Any = None, logits: Any = None) -> Any:
        r""":math:`\log P(n; n) - \sum_k E\log P(x_k; n\pi_k)` with P of Poisson laws, each a sum
        over the counts of a category that have mass.
        """
        log_pi = log_probabilities(_double(probs), _double(logits))
        n = double(total_count).to(log_pi.device).detach()
        whole = n.unsqueeze(-1) if n.dim() else n
        log_rest = _log_rest(log_pi, _double(probs))
        every = torch.broadcast_tensors(whole, log_pi, log_rest)
        each = mean_log_poisson(every[0], (every[1].exp(), every[1]), (every[2].exp(), every[2]))
        return result_like(log_peak(n) - each.sum(-1), total_count, probs, logits)


class _Unnormalised(Law):
    """The moves of counts of any sum, without the number of their orders."""

    cores = Multinomial.cores
    value_dims = 1
    param_dims = 1

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\sum_k x_k\log\pi_k`, the last axis reduced."""
        log_pi = log_probabilities(probs, logits)
        # 0 * -inf would be NaN: a category that does not occur has no part in the sum
        return (x * log_pi.masked_fill(x == 0, 0.0)).sum(-1)


def _log_rest(log_pi: Tensor, probs: Tensor | None) -> Tensor:
    r""":math:`\log(1-\pi_k)`; from logits, of the largest by the others: 1 - pi has few digits."""
    if probs is not None:
        less = torch.where(probs < 1, probs, 0.0)
        return torch.where(probs < 1, (-less).log1p(), -100.0)
    largest = log_pi.argmax(-1, keepdim=True)
    rest = log_pi.scatter(-1, largest, -torch.inf).logsumexp(-1, keepdim=True)
    # the others are at most a half; for the largest a value inside stands there, unread
    others = log1mexp(-log_pi.scatter(-1, largest, -1.0))
    return others.scatter(-1, largest, rest.clamp(min=-1e3))


def _double(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.double()


def draw_multinomial(n: Tensor, pi: Tensor, generator: Generator = None) -> Tensor:
    """How often each category is drawn: one after the other, of what the ones before left.

    Args:
        n: Whole numbers, shape ``(*shape)``.
        pi: Probabilities, shape ``(*shape, K)``.
        generator: Source of randomness.
    """
    rest = pi.double().flip(-1).cumsum(-1).flip(-1)  # of a category and those behind it
    share = (pi.double() / rest.clamp(min=torch.finfo(torch.float64).tiny)).clamp(max=1.0)
    drawn = []
    for k in range(pi.shape[-1] - 1):
        drawn.append(draw_binomial(n, share[..., k], generator))
        n = n - drawn[-1]
    return torch.stack([*drawn, n], -1)


def _counts(x: Tensor, known: Params, prior: Params) -> Params:
    """The counts of the categories."""
    return {"concentration": x}


Multinomial.conjugate = {Dirichlet: Conjugate("probs", _counts)}
_Unnormalised.conjugate = Multinomial.conjugate
