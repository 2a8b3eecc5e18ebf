r"""The geometric law, :math:`P(x) = \pi(1-\pi)^x`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.beta import Beta
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import (
    Constraint,
    identity,
    log_odds,
    probability,
    whole,
)
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.incomplete_beta import Share
from ancestral.distributions.law import Law, Parameter, Params


class Geometric(Law):
    r"""The geometric law with independent components: the number of failures before the first
    success, :math:`\log P(x) = \log\pi + x\log(1-\pi)`.

    A draw is the inverse of the distribution function at uniform noise.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        probs: Probability :math:`\pi` of success, in (0, 1]: a number, a tensor, an
            ``nn.Parameter``, or a condition's name. At exactly 1 the logarithm of 1 - probs is
            cut off at -100.
        logits: :math:`\log\pi/(1-\pi)` in place of it; exact everywhere.
        net: A network of the conditions; one output tensor is the logits.

    Example:
        >>> Geometric(probs=0.25).get_log_prob({"x": torch.tensor([0.0, 1.0])}).exp()
        tensor([0.2500, 0.1875])
    """

    domains = {"logits": log_odds, "probs": probability}
    split = {"logits": identity}
    parametrisations = (("logits",), ("probs",))
    noise = "uniform"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        probs: Parameter = None,
        logits: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"probs": probs, "logits": logits}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Whole numbers from 0."""
        return whole

    @staticmethod
    def draw(noise: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\lfloor\log u / \log(1-\pi)\rfloor`: that the first x fail has probability
        :math:`(1-\pi)^x`.
        """
        log_off = log_probabilities(probs, logits)[1].to(noise.dtype)
        return (noise.log() / log_off.clamp(max=-torch.finfo(noise.dtype).tiny)).floor()

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The log probability of each count."""
        log_on, log_off = log_probabilities(probs, logits)
        return result_like(log_on + double(x) * log_off, x, probs, logits)

    @staticmethod
    def log_cdf(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`\log(1 - (1-\pi)^{x+1})`."""
        above = (double(x).floor() + 1.0).clamp(min=0.0) * log_probabilities(probs, logits)[1]
        # log(1 - e^a) from the nearer of its two forms; the other must not be infinite
        near = above > -0.7
        far = torch.where(near, -1.0, above)
        close = torch.where(near, above, -0.5)
        out = torch.where(near, (-close.expm1()).log(), (-far.exp()).log1p())
        return result_like(out, x, probs, logits)

    @staticmethod
    def log_sf(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        r""":math:`(x+1)\log(1-\pi)`."""
        failures = (double(x).floor() + 1.0).clamp(min=0.0)
        return result_like(failures * log_probabilities(probs, logits)[1], x, probs, logits)

    @staticmethod
    def icdf(u: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        r"""The first k with :math:`(k+1)\log(1-\pi) \le \log(1-u)`."""
        wanted, log_off = torch.log1p(-double(u)), log_probabilities(probs, logits)[1]
        near = (wanted / log_off.clamp(max=-1e-300)).ceil().detach()  # to rounding, k + 1
        k = near - 2.0
        for step in (-1.0, 0.0, 1.0):
            k = torch.where((near + step) * log_off > wanted, near + step, k)
        return result_like(k.clamp(min=0.0), u, probs, logits)

    @staticmethod
    def mean_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`(1-\pi)/\pi`."""
        return result_like(odds_against(probs, logits), probs, logits)

    @staticmethod
    def variance_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`(1-\pi)/\pi^2`."""
        odds = odds_against(probs, logits)
        return result_like(odds * (1.0 + odds), probs, logits)

    @staticmethod
    def entropy_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`-\log\pi - \frac{1-\pi}{\pi}\log(1-\pi)`."""
        log_on, log_off = log_probabilities(probs, logits)
        return result_like(-log_on - odds_against(probs, logits) * log_off, probs, logits)


def log_probabilities(probs: Any, logits: Any) -> tuple[Tensor, Tensor]:
    r""":math:`\log\pi` and :math:`\log(1-\pi)` in double precision; of probs cut off at -100."""
    if logits is not None:
        eta = double(logits)
        return F.logsigmoid(eta), F.logsigmoid(-eta)
    pi = double(probs)
    some, less = torch.where(pi > 0, pi, 1.0), torch.where(pi < 1, pi, 0.0)
    log_on = torch.where(pi > 0, some.log(), -100.0)
    return log_on, torch.where(pi < 1, (-less).log1p(), -100.0)


def probabilities(probs: Any, logits: Any) -> tuple[Tensor, Tensor]:
    r""":math:`\pi` and :math:`1-\pi` in double precision."""
    if logits is not None:
        eta = double(logits)
        return eta.sigmoid(), (-eta).sigmoid()
    return double(probs), 1.0 - double(probs)


def shares(probs: Any, logits: Any) -> tuple[Share, Share]:
    r""":math:`\pi` and :math:`1-\pi`, each with its logarithm."""
    (on, off), (log_on, log_off) = probabilities(probs, logits), log_probabilities(probs, logits)
    return (on, log_on), (off, log_off)


def odds_against(probs: Any, logits: Any) -> Tensor:
    r""":math:`(1-\pi)/\pi` in double precision."""
    if logits is not None:
        return torch.exp(-double(logits))
    pi = double(probs)
    return (1.0 - pi) / pi


def kl_geometric(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\log\frac{\pi_q}{\pi_p} + \frac{1-\pi_q}{\pi_q}\log\frac{1-\pi_q}{1-\pi_p}`."""
    q, p = {"probs": None, "logits": None, **q}, {"probs": None, "logits": None, **p}
    q_on, q_off = log_probabilities(**q)
    p_on, p_off = log_probabilities(**p)
    out = q_on - p_on + odds_against(**q) * (q_off - p_off)
    return result_like(out, *q.values(), *p.values())


Geometric.closed_kl = {Geometric: kl_geometric}


def _trials(x: Tensor, known: Params, prior: Params) -> Params:
    """One success, after x failures."""
    return {"concentration1": torch.ones_like(x), "concentration0": x}


Geometric.conjugate = {Beta: Conjugate("probs", _trials)}
