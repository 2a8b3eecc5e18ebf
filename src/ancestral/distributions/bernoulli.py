r"""The Bernoulli law, :math:`P(x=1) = \pi`."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.beta import Beta
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import Constraint, boolean, identity, real, unit_interval
from ancestral.distributions.law import Law, Parameter, Params


class Bernoulli(Law):
    r"""The Bernoulli law with independent components,
    :math:`\log p(x) = x\log\pi + (1-x)\log(1-\pi)`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        probs: Probability :math:`\pi` of 1: a number, a tensor, an ``nn.Parameter``, or a
            condition's name. At exactly 0 or 1 a log density is cut off at -100.
        logits: :math:`\log\pi/(1-\pi)` in place of it; exact everywhere.
        grey: Values between 0 and 1 are meant. The result is then not a likelihood.
        net: A network of the conditions; one output tensor is the logits.

    Example:
        >>> p = Bernoulli(probs=0.25)
        >>> p.get_log_prob({"x": torch.tensor([1.0, 0.0])}).exp()
        tensor([0.2500, 0.7500])
    """

    domains = {"logits": real, "probs": unit_interval}
    split = {"logits": identity}
    parametrisations = (("logits",), ("probs",))
    noise = "threshold"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        probs: Parameter = None,
        logits: Parameter = None,
        *,
        grey: bool = False,
        net: Callable[..., Any] | None = None,
    ) -> None:
        self.grey = grey
        given = {"probs": probs, "logits": logits}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """0 or 1; all of [0, 1] if grey values are meant."""
        return unit_interval if self.grey else boolean

    @staticmethod
    def draw(noise: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """1 where uniform noise falls below the probability."""
        return (noise < Bernoulli.mean_of(probs, logits)).to(noise.dtype)

    @staticmethod
    def relaxed(
        noise: Tensor, temperature: float, probs: Any = None, logits: Any = None
    ) -> Tensor:
        """The logistic function in place of the jump, at a temperature."""
        on, off = log_probabilities(probs, logits)
        gain = on - off - noise.log() + torch.log1p(-noise)  # positive where a draw is 1
        return (gain / temperature).sigmoid()

    @staticmethod
    def relaxed_given(
        noise: Tensor, temperature: float, probs: Any = None, logits: Any = None
    ) -> Tensor:
        r"""The same value as a function of the parameters with the draw b held.

        Given b the log odds z plus noise are :math:`\log(1 + e^{l - \log(1-\pi)})` where b = 1,
        :math:`-\log(1 + e^{l - \log\pi})` where b = 0, with logistic noise l of its own.
        """
        on, off = log_probabilities(probs, logits)
        gain = (on - off - noise.log() + torch.log1p(-noise)).detach()
        rest = torch.where(gain > 0, -off, on)  # log of one over the other probability, signed
        slope = -torch.expm1(-gain.abs()).detach()  # of z in it
        return ((gain + slope * (rest - rest.detach())) / temperature).sigmoid()

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density of each component."""
        eta = probs if logits is None else logits
        if not isinstance(eta, Tensor):  # a number takes the precision of the value
            dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
            eta = torch.as_tensor(eta, dtype=dtype, device=x.device)
        dtype = _dtype(eta, x)
        eta, x = torch.broadcast_tensors(eta.to(dtype), x.to(dtype))
        if logits is None:  # torch cuts both logarithms off at -100, with a finite gradient
            return -F.binary_cross_entropy(eta, x, reduction="none")
        return -F.binary_cross_entropy_with_logits(eta, x, reduction="none")

    @staticmethod
    def mean_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`\pi`."""
        return _tensor(probs) if logits is None else _tensor(logits).sigmoid()

    @staticmethod
    def variance_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`\pi(1-\pi)`."""
        on, off = probabilities(probs, logits)
        return on * off

    @staticmethod
    def entropy_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`-\pi\log\pi - (1-\pi)\log(1-\pi)`."""
        on, off = probabilities(probs, logits)
        log_on, log_off = log_probabilities(probs, logits)
        return -on * log_on - off * log_off

    @staticmethod
    def values(event: Sequence[int], like: Tensor) -> Tensor:
        """All values of an event, shape ``(2 ** size, *event)``."""
        size = int(torch.Size(event).numel())
        table = list(itertools.product((0.0, 1.0), repeat=size))
        return torch.tensor(table, dtype=like.dtype, device=like.device).reshape(-1, *event)


def probabilities(probs: Any = None, logits: Any = None) -> tuple[Tensor, Tensor]:
    r""":math:`\pi` and :math:`1-\pi`; of logits both to full precision."""
    if logits is None:
        pi = _tensor(probs)
        return pi, 1.0 - pi
    eta = _tensor(logits)
    return eta.sigmoid(), (-eta).sigmoid()


def log_probabilities(probs: Any = None, logits: Any = None) -> tuple[Tensor, Tensor]:
    r""":math:`\log\pi` and :math:`\log(1-\pi)`; of probabilities cut off at -100."""
    if logits is None:
        pi = _tensor(probs)
        one, zero = torch.ones_like(pi), torch.zeros_like(pi)
        log_on = -F.binary_cross_entropy(pi, one, reduction="none")
        return log_on, -F.binary_cross_entropy(pi, zero, reduction="none")
    eta = _tensor(logits)
    return F.logsigmoid(eta), F.logsigmoid(-eta)


def _dtype(eta: Tensor, x: Tensor) -> torch.dtype:
    """As ``torch.result_type``, which torch.compile does not know; eta is floating point."""
    if not x.is_floating_point() or eta.dtype == x.dtype:
        return eta.dtype
    if (eta.dim() == 0) == (x.dim() == 0):
        return torch.promote_types(eta.dtype, x.dtype)
    return x.dtype if eta.dim() == 0 else eta.dtype


def _tensor(value: Any) -> Tensor:
    """A number in full precision, which a 0-d tensor does not impose on others."""
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def kl_bernoulli(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\pi_q\log\frac{\pi_q}{\pi_p} + (1-\pi_q)\log\frac{1-\pi_q}{1-\pi_p}`."""
    q_on, q_off = log_probabilities(**q)
    p_on, p_off = log_probabilities(**p)
    on, off = probabilities(**q)
    return on * (q_on - p_on) + off * (q_off - p_off)


Bernoulli.closed_kl = {Bernoulli: kl_bernoulli}


def _trials(x: Tensor, known: Params, prior: Params) -> Params:
    """Successes and failures."""
    return {"concentration1": x, "concentration0": 1.0 - x}


Bernoulli.conjugate = {Beta: Conjugate("probs", _trials)}
