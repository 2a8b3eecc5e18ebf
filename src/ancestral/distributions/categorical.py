r"""The categorical law, :math:`P(x = k) = \pi_k`, one-hot or by index."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import (
    Constraint,
    category,
    identity,
    log_weight,
    one_hot,
    simplex,
)
from ancestral.distributions.dirichlet import Dirichlet
from ancestral.distributions.law import Law, Parameter, Params


class Categorical(Law):
    r"""The categorical law; a value is one-hot, :math:`\log p(x) = \sum_k x_k\log\pi_k`.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value: ``(*event, K)`` one-hot, ``event`` by index.
        probs: Probabilities :math:`\pi`, shape ``(*event, K)``, each row with sum 1: a tensor, an
            ``nn.Parameter``, or a condition's name. At exactly 0 a log density is -100.
        logits: Unnormalised logarithms of them in place of it; exact everywhere.
        onehot: Values are one-hot, shape ``(*event, K)``, as in Pixyz; with ``onehot=False`` they
            are indices from 0, shape ``event``.
        net: A network of the conditions; one output tensor is the logits.

    Example:
        >>> p = Categorical(probs=torch.tensor([0.2, 0.8]))
        >>> p.get_log_prob({"x": torch.tensor([[0.0, 1.0]])}).exp()
        tensor([0.8000])
        >>> p = Categorical(probs=torch.tensor([0.2, 0.8]), onehot=False)
        >>> p.get_log_prob({"x": torch.tensor([1])}).exp()
        tensor([0.8000])
    """

    domains = {"logits": log_weight, "probs": simplex}
    split = {"logits": identity}
    parametrisations = (("logits",), ("probs",))
    noise = "log exponential"
    value_dims = 1
    param_dims = 1

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        probs: Parameter = None,
        logits: Parameter = None,
        *,
        onehot: bool = True,
        net: Callable[..., Any] | None = None,
    ) -> None:
        self.onehot = onehot
        given = {"probs": probs, "logits": logits}
        super().__init__(var, cond_var, name, features_shape, net, given)

    @property
    def moves(self) -> type[Law]:
        """The static moves of one-hot values, or of indices."""
        return type(self) if self.onehot else _ByIndex

    def support(self, params: Params) -> Constraint | None:
        """One-hot vectors, or whole numbers below K."""
        return one_hot if self.onehot else category(classes_of(params))

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """One-hot and by index."""
        return [{**e, "onehot": onehot} for e in super().examples() for onehot in (True, False)]

    @staticmethod
    def draw(noise: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The category with the largest log probability plus Gumbel noise, one-hot."""
        score = (probs.log() if logits is None else logits) - noise  # log 0 = -inf: never drawn
        return torch.zeros_like(score).scatter(-1, score.argmax(-1, keepdim=True), 1.0)

    @staticmethod
    def relaxed(
        noise: Tensor, temperature: float, probs: Any = None, logits: Any = None
    ) -> Tensor:
        """The softmax in place of the maximum, at a temperature."""
        out: Tensor = ((log_probabilities(probs, logits) - noise) / temperature).softmax(-1)
        return out

    @staticmethod
    def relaxed_given(
        noise: Tensor, temperature: float, probs: Any = None, logits: Any = None
    ) -> Tensor:
        r"""The same value as a function of the parameters with the draw held.

        :math:`t_k = e^{-z_k}` are arrival times of the rates :math:`\pi_k`. The first is one of the
        rate 1, whichever it is of; after it the others wait for :math:`e_k / \pi_k` more.
        """
        log_pi = log_probabilities(probs, logits)
        z = (log_pi - noise).detach()
        slope = -torch.expm1(z - z.amax(-1, keepdim=True))  # the share of the time that it waits
        out: Tensor = ((z + slope * (log_pi - log_pi.detach())) / temperature).softmax(-1)
        return out

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density, the last axis reduced."""
        log_pi = log_probabilities(probs, logits)
        if logits is None:
            return (x * log_pi).sum(-1)
        # 0 * -inf would be NaN: an excluded category counts as the lowest number until the sum
        lowest = torch.finfo(log_pi.dtype).min
        return torch.threshold((x * log_pi.clamp(min=lowest)).sum(-1), 0.5 * lowest, -torch.inf)

    @staticmethod
    def log_values(probs: Any = None, logits: Any = None) -> Tensor:
        """The log densities of all values of one variable, along the last axis."""
        log_pi = log_probabilities(probs, logits)
        if logits is None:
            return log_pi
        # the same number, -inf too, but no gradient through an excluded category: it would be NaN
        return torch.threshold(log_pi, 0.5 * torch.finfo(log_pi.dtype).min, -torch.inf)

    @staticmethod
    def mean_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`\pi`."""
        return probs if logits is None else logits.softmax(-1)

    @staticmethod
    def variance_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`\pi_k(1-\pi_k)`, component by component."""
        pi = Categorical.mean_of(probs, logits)
        return pi * (1.0 - pi)

    @staticmethod
    def entropy_of(probs: Any = None, logits: Any = None) -> Any:
        r""":math:`-\sum_k \pi_k\log\pi_k`."""
        log_pi = log_probabilities(probs, logits)
        pi = Categorical.mean_of(probs, logits)
        return -(pi * log_pi.masked_fill(pi == 0, 0.0)).sum(-1)

    @staticmethod
    def values(event: Sequence[int], like: Tensor) -> Tensor:
        """All values of an event ``(*event, K)``, shape ``(K ** size, *event, K)``."""
        return F.one_hot(_ByIndex.values(event, like), event[-1]).to(like.dtype)


class _ByIndex(Law):
    """The moves of a categorical law whose values are indices: these have no mean."""

    domains = Categorical.domains
    noise = Categorical.noise
    param_dims = 1

    @staticmethod
    def draw(noise: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The index with the largest log probability plus Gumbel noise."""
        return ((probs.log() if logits is None else logits) - noise).argmax(-1)

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density of each index."""
        log_pi = log_probabilities(probs, logits)
        index = x.long().unsqueeze(-1)
        pi = probs if logits is None else logits
        if x.dim() == 1 and pi.dim() == 2 and x.shape[0] == pi.shape[0]:
            return log_pi.gather(-1, index).squeeze(-1)
        lead = torch.broadcast_shapes(index.shape[:-1], log_pi.shape[:-1])
        log_pi = log_pi.expand(*lead, log_pi.shape[-1])
        return log_pi.gather(-1, index.expand(*lead, 1)).squeeze(-1)

    entropy_of = staticmethod(Categorical.entropy_of)
    log_values = staticmethod(Categorical.log_values)

    @staticmethod
    def values(event: Sequence[int], like: Tensor) -> Tensor:
        """All indices; ``event`` is that of the parameters, shape ``(K ** size, *event[:-1])``."""
        *plain, classes = event
        size = int(torch.Size(plain).numel())
        rows = list(itertools.product(range(classes), repeat=size))
        return torch.tensor(rows, device=like.device).reshape(-1, *plain)


def classes_of(params: Params) -> int:
    """The number of categories, read off a parameter."""
    return next(v.shape[-1] for v in params.values() if isinstance(v, Tensor) and v.dim())


def log_probabilities(probs: Any = None, logits: Any = None) -> Tensor:
    r""":math:`\log\pi`, normalised; of probabilities that are exactly 0, -100."""
    if logits is not None:
        out: Tensor = logits.log_softmax(-1)
        return out
    safe = torch.where(probs > 0, probs, 1.0)  # no infinite slope behind the cut-off
    return torch.where(probs > 0, safe.log(), -100.0).clamp(min=-100.0)


def kl_categorical(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\sum_k \pi^q_k \log(\pi^q_k / \pi^p_k)`."""
    log_q, log_p = log_probabilities(**q), log_probabilities(**p)
    pi = Categorical.mean_of(**q)
    return (pi * (log_q - log_p).masked_fill(pi == 0, 0.0)).sum(-1)


Categorical.closed_kl = {Categorical: kl_categorical}
_ByIndex.closed_kl = {_ByIndex: kl_categorical}


def _counts(x: Tensor, known: Params, prior: Params) -> Params:
    """One-hot vectors are counts."""
    return {"concentration": x}


def _counts_of_index(x: Tensor, known: Params, prior: Params) -> Params:
    """One count at the index."""
    return {"concentration": F.one_hot(x.long(), prior["concentration"].shape[-1]).to(x.dtype)}


Categorical.conjugate = {Dirichlet: Conjugate("probs", _counts)}
_ByIndex.conjugate = {Dirichlet: Conjugate("probs", _counts_of_index)}
