r"""The categorical law, :math:`P(x = k) = \pi_k`, one-hot or by index."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import Constraint, category, logit, one_hot, simplex
from ancestral.distributions.law import Law, Parameter, Params, identity


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

    domains = {"logits": logit, "probs": simplex}
    split = {"logits": identity}
    parametrisations = (("logits",), ("probs",))
    noise = "gumbel"
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
        return Categorical if self.onehot else ByIndex

    def event_shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The event shape of a value from those of its parameters."""
        full = super().event_shape(shapes)
        return full if self.onehot else full[:-1]

    def noise_event(self, params: Params) -> tuple[int, ...]:
        """The event shape of one draw's noise: always with the categories."""
        if self.onehot:
            return tuple(self.features_shape)
        return (*self.features_shape, classes_of(params))

    def support(self, params: Params) -> Constraint | None:
        """One-hot vectors, or whole numbers below K."""
        return one_hot if self.onehot else category(classes_of(params))

    @staticmethod
    def draw(noise: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The category with the largest log probability plus Gumbel noise, one-hot."""
        winner = ByIndex.draw(noise, probs, logits)
        return F.one_hot(winner, noise.shape[-1]).to(noise.dtype)

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density, the last axis reduced."""
        log_pi = log_probs(probs, logits)
        # 0 * -inf would be NaN: a category that x does not name has no part in the sum
        return (x * log_pi.masked_fill(x == 0, 0.0)).sum(-1)

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
        log_pi = log_probs(probs, logits)
        pi = Categorical.mean_of(probs, logits)
        return -(pi * log_pi.masked_fill(pi == 0, 0.0)).sum(-1)

    @staticmethod
    def values(event: Sequence[int], like: Tensor) -> Tensor:
        """All values of an event ``(*event, K)``, shape ``(K ** size, *event, K)``."""
        *plain, classes = event
        index = ByIndex.table(plain, classes, like.device)
        return F.one_hot(index, classes).to(like.dtype)


class ByIndex(Categorical):
    """The moves of a categorical law whose values are indices."""

    value_dims = 0

    @staticmethod
    def draw(noise: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The index with the largest log probability plus Gumbel noise."""
        score = logits if logits is not None else probs.log()  # log 0 = -inf: never drawn
        return (score + noise).argmax(-1)

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """The log density of each index."""
        log_pi = log_probs(probs, logits)
        index = x.long().unsqueeze(-1)
        lead = torch.broadcast_shapes(index.shape[:-1], log_pi.shape[:-1])
        log_pi = log_pi.expand(*lead, log_pi.shape[-1])
        return log_pi.gather(-1, index.expand(*lead, 1)).squeeze(-1)

    @staticmethod
    def values(event: Sequence[int], like: Tensor) -> Tensor:
        """All indices; ``event`` is that of the noise, with the categories last."""
        *plain, classes = event
        return ByIndex.table(plain, classes, like.device)

    @staticmethod
    def table(event: Sequence[int], classes: int, device: torch.device) -> Tensor:
        """Every assignment of a category to each component, shape ``(K ** size, *event)``."""
        size = int(torch.Size(event).numel())
        rows = list(itertools.product(range(classes), repeat=size))
        return torch.tensor(rows, device=device).reshape(-1, *event)


def classes_of(params: Params) -> int:
    """The number of categories, read off a parameter."""
    return next(v.shape[-1] for v in params.values() if isinstance(v, Tensor) and v.dim())


def log_probs(probs: Any, logits: Any) -> Tensor:
    r""":math:`\log\pi`, normalised; of probabilities that are exactly 0, -100."""
    if logits is not None:
        return logits.log_softmax(-1)
    safe = torch.where(probs > 0, probs, 1.0)  # no infinite slope behind the cut-off
    return torch.where(probs > 0, safe.log(), -100.0).clamp(min=-100.0)


def kl_categorical(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\sum_k \pi^q_k \log(\pi^q_k / \pi^p_k)`."""
    log_q = log_probs(q.get("probs"), q.get("logits"))
    log_p = log_probs(p.get("probs"), p.get("logits"))
    pi = Categorical.mean_of(**q)
    return (pi * (log_q - log_p).masked_fill(pi == 0, 0.0)).sum(-1)


Categorical.closed_kl = {Categorical: kl_categorical}
