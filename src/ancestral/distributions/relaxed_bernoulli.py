r"""The relaxed Bernoulli law (binary Concrete): a smooth stand-in for a coin."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import (
    Constraint,
    identity,
    open_interval,
    positive,
    real,
    unit_interval,
)
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.geometric import log_probabilities
from ancestral.distributions.law import Law, Parameter, Params


class RelaxedBernoulli(Law):
    r"""The relaxed Bernoulli law with independent components: a value x in (0, 1) whose log odds
    are :math:`(\eta + \epsilon)/\lambda` with logistic noise, so that P(x > 1/2) is the
    probability of 1 at every temperature. With :math:`d = \eta - \lambda\log\frac{x}{1-x}`,

    .. math:: \log p(x) = \log\lambda + d - 2\log(1 + e^d) - \log x - \log(1-x).

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        temperature: :math:`\lambda > 0`: a number, a tensor, an ``nn.Parameter``, or a
            condition's name. Towards 0 the law becomes that of a coin.
        probs: Probability of 1, likewise.
        logits: Its log odds :math:`\eta` in place of it; exact everywhere.
        net: A network of the conditions; one output tensor is the logits.

    Source: Maddison, Mnih, Teh, The Concrete Distribution, 2017, appendix B.

    Example:
        >>> p = RelaxedBernoulli(temperature=1.0, probs=0.5)
        >>> p.get_log_prob({"x": torch.tensor([0.1, 0.5])}).exp()
        tensor([1., 1.])
    """

    domains = {"temperature": positive, "logits": real, "probs": unit_interval}
    split = {"logits": identity}
    parametrisations = (("temperature", "logits"), ("temperature", "probs"))
    reparametrised = True
    noise = "uniform"

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
        """Numbers in (0, 1)."""
        return open_interval

    @staticmethod
    def draw(noise: Tensor, temperature: Any, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\sigma((\eta + \epsilon)/\lambda)`, rounded into the open interval."""
        eta = logits
        if eta is None:
            log_pi, log_rest = log_probabilities(probs, None)
            eta = (log_pi - log_rest).to(noise.dtype)
        info = torch.finfo(noise.dtype)
        value = ((eta + noise.log() - (-noise).log1p()) / temperature).sigmoid()
        return value.clamp(min=info.tiny, max=1.0 - info.eps / 2)

    @staticmethod
    def log_density(x: Tensor, temperature: Any, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density of each component."""
        value, lift = double(x), double(temperature)
        log_pi, log_rest = log_probabilities(probs, logits)
        log_on, log_off = value.log(), (-value).log1p()
        d = log_pi - log_rest - lift * (log_on - log_off)
        peak = F.logsigmoid(d) + F.logsigmoid(-d)  # d - 2 log(1 + e^d), exact in both tails
        return result_like(lift.log() + peak - log_on - log_off, x, temperature, probs, logits)
