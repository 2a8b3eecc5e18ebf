r"""The ordered logistic law: grades of a logistic variable cut at thresholds."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import Constraint, category, identity, ordered, real
from ancestral.distributions.law import Law, Parameter, Params


class OrderedLogistic(Law):
    r"""The ordered logistic law (proportional odds) of K grades, with independent components:
    :math:`P(x = k) = \sigma(c_{k+1} - \mu) - \sigma(c_k - \mu)`, where :math:`c_0 = -\infty` and
    :math:`c_K = \infty`.

    A value is the number of cutpoints below a logistic variable around the predictor.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Predictor :math:`\mu`, shape ``(*event)``: a number, a tensor, an ``nn.Parameter``, or
            a condition's name.
        cutpoints: Thresholds c, shape ``(*event, K - 1)`` or ``(K - 1,)``, strictly increasing,
            likewise, but no number.
        net: A network of the conditions; one output tensor is the predictor.

    Source: McCullagh, Regression models for ordinal data, 1980.

    Example:
        >>> p = OrderedLogistic(loc=0.0, cutpoints=torch.tensor([-1.0, 1.0]))
        >>> p.get_log_prob({"x": torch.tensor([0, 1, 2])}).exp()
        tensor([0.2689, 0.4621, 0.2689])
    """

    domains = {"loc": real, "cutpoints": ordered}
    split = {"loc": identity}
    cores = {"loc": "", "cutpoints": "k"}
    param_dims = 1
    noise = "uniform"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        cutpoints: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"loc": loc, "cutpoints": cutpoints}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Whole numbers below K."""
        return category(params["cutpoints"].shape[-1] + 1)

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """One number for each component."""
        return event[:-1]

    @staticmethod
    def draw(noise: Tensor, loc: Any, cutpoints: Any) -> Tensor:
        """The number of cutpoints that the inverse of the distribution function is above."""
        logistic = (loc + noise.log() - (-noise).log1p()).unsqueeze(-1)
        return (logistic > cutpoints).sum(-1)

    @staticmethod
    def log_density(x: Tensor, loc: Any, cutpoints: Any) -> Tensor:
        """The log probability of each grade."""
        log_pi = log_grades(loc, cutpoints)
        index = x.long().unsqueeze(-1)
        lead = torch.broadcast_shapes(index.shape[:-1], log_pi.shape[:-1])
        log_pi = log_pi.expand(*lead, log_pi.shape[-1])
        return log_pi.gather(-1, index.expand(*lead, 1)).squeeze(-1)

    @staticmethod
    def entropy_of(loc: Any, cutpoints: Any) -> Any:
        r""":math:`-\sum_k \pi_k\log\pi_k`."""
        log_pi = log_grades(loc, cutpoints)
        return -(log_pi.exp() * log_pi).sum(-1)

    @staticmethod
    def values(event: Sequence[int], like: Tensor) -> Tensor:
        """All grades; ``event`` is what parameters span, shape ``(K ** size, *event[:-1])``."""
        *plain, cuts = event
        size = int(torch.Size(plain).numel())
        rows = list(itertools.product(range(cuts + 1), repeat=size))
        return torch.tensor(rows, device=like.device).reshape(-1, *plain)


def log_grades(loc: Any, cutpoints: Tensor) -> Tensor:
    r"""Log probabilities of the grades, shape ``(*event, K)``.

    With :math:`a < b` the distances of a grade's cutpoints from the predictor,
    :math:`\sigma(b) - \sigma(a) = \sigma(b)\,\sigma(-a)\,(1 - e^{a-b})`, whose factors are exact.
    """
    loc = torch.as_tensor(loc, dtype=cutpoints.dtype, device=cutpoints.device).unsqueeze(-1)
    above, below = F.logsigmoid(cutpoints - loc), F.logsigmoid(loc - cutpoints)
    gap = (-(cutpoints[..., :-1] - cutpoints[..., 1:]).expm1()).log()
    inner = above[..., 1:] + below[..., :-1] + gap
    return torch.cat([above[..., :1], inner, below[..., -1:]], -1)


def kl_ordered_logistic(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\sum_k \pi^q_k \log(\pi^q_k / \pi^p_k)`."""
    log_q, log_p = log_grades(**q), log_grades(**p)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


OrderedLogistic.closed_kl = {OrderedLogistic: kl_ordered_logistic}
