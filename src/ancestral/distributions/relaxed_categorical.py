r"""The relaxed categorical law (Concrete): a smooth stand-in for a one-hot choice."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions.constraints import (
    Constraint,
    identity,
    log_simplex,
    open_simplex,
    positive,
    real,
    simplex,
)
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import per_vector


class ExpRelaxedCategorical(Law):
    r"""The relaxed categorical law of logarithms: :math:`y = \log\mathrm{softmax}((\eta +
    g)/\lambda)` with Gumbel noise g, which does not underflow at low temperatures.

    .. math:: \log p(y) = \log\Gamma(K) + (K-1)\log\lambda + \sum_k(\eta_k - \lambda y_k) -
        K\log\sum_k e^{\eta_k - \lambda y_k},

    a density of the differences :math:`y_k - y_K` (so the same whichever stands last).

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, K)``.
        temperature: :math:`\lambda > 0`, shape ``(*event)``: a number, a tensor, an
            ``nn.Parameter``, or a condition's name. Towards 0 the law becomes that of a choice.
        probs: Probabilities of the categories, shape ``(*event, K)``: a tensor, an
            ``nn.Parameter``, or a condition's name.
        logits: Unnormalised logarithms :math:`\eta` of them in place of it.
        net: A network of the conditions; one output tensor is the logits.

    Source: Maddison, Mnih, Teh, The Concrete Distribution, 2017, appendix C.

    Example:
        >>> p = ExpRelaxedCategorical(temperature=0.5, logits=torch.zeros(3))
        >>> p.get_log_prob({"x": torch.zeros(1, 3).log_softmax(-1)})
        tensor([-3.9890])
    """

    domains = {"temperature": positive, "logits": real, "probs": simplex}
    split = {"logits": identity}
    parametrisations = (("temperature", "logits"), ("temperature", "probs"))
    cores = {"temperature": "", "logits": "k", "probs": "k"}
    reparametrised = True
    noise = "log exponential"
    value_dims = 1
    param_dims = 1

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        temperature: Parameter = None,
        probs: Parameter = None,
        logits: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"temperature": temperature, "probs": probs, "logits": logits}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Logarithms of probabilities."""
        return log_simplex

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three vectors of three probabilities."""
        temperature = torch.tensor([0.6, 1.0, 1.7], dtype=torch.float64)
        logits = torch.tensor([[0.3, -1.2, 0.8], [0.0, 0.5, 0.1], [-0.7, 0.9, 1.4]]).double()
        return [
            {"temperature": temperature, "logits": logits},
            {"temperature": temperature, "probs": logits.softmax(-1)},
        ]

    @staticmethod
    def draw(noise: Tensor, temperature: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\log\mathrm{softmax}((\eta + g)/\lambda)`."""
        score = log_weights(probs, logits) - noise
        return (score / per_vector(temperature, noise)).log_softmax(-1)

    @staticmethod
    def log_density(x: Tensor, temperature: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density of each vector."""
        out = _log_density(double(x), temperature, probs, logits)
        return result_like(out, x, temperature, probs, logits)


class RelaxedCategorical(ExpRelaxedCategorical):
    r"""The relaxed categorical law: a vector x of the simplex, :math:`x = \mathrm{softmax}((\eta +
    g)/\lambda)` with Gumbel noise g, so that its largest entry is that of a categorical draw.

    .. math:: \log p(x) = \log\Gamma(K) + (K-1)\log\lambda + \sum_k(\eta_k - (\lambda+1)\log x_k) -
        K\log\sum_k e^{\eta_k}x_k^{-\lambda},

    a density with respect to the first K - 1 entries. Arguments are those of
    :class:`ExpRelaxedCategorical`, whose logarithms keep what underflows here.

    Source: Maddison, Mnih, Teh, The Concrete Distribution, 2017, eq. 10.

    Example:
        >>> p = RelaxedCategorical(temperature=1.0, probs=torch.tensor([0.25, 0.75]))
        >>> p.get_log_prob({"x": torch.tensor([[0.5, 0.5]])}).exp()
        tensor([0.7500])
    """

    def support(self, params: Params) -> Constraint | None:
        """Vectors of positive probabilities."""
        return open_simplex

    @staticmethod
    def draw(noise: Tensor, temperature: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\mathrm{softmax}((\eta + g)/\lambda)`, rounded into the open simplex."""
        score = log_weights(probs, logits) - noise
        tiny = torch.finfo(noise.dtype).tiny
        return (score / per_vector(temperature, noise)).softmax(-1).clamp(min=tiny)

    @staticmethod
    def log_density(x: Tensor, temperature: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density of each vector."""
        y = double(x).log()
        out = _log_density(y, temperature, probs, logits) - y.sum(-1)
        return result_like(out, x, temperature, probs, logits)


def log_weights(probs: Any, logits: Any) -> Tensor:
    r""":math:`\eta`; of probabilities cut off where their precision ends."""
    if logits is not None:
        out: Tensor = logits
        return out
    return torch.log(probs.clamp(min=torch.finfo(probs.dtype).tiny))


def _log_density(y: Tensor, temperature: Any, probs: Any, logits: Any) -> Tensor:
    """The log density of logarithms in double precision."""
    lift, size = per_vector(temperature, y), y.shape[-1]
    eta = log_weights(None if probs is None else double(probs), logits)
    score = (eta - lift * y).log_softmax(-1)
    return score.sum(-1) + (size - 1) * lift.squeeze(-1).log() + math.lgamma(size)
