"""Constraints: what a parameter or a value of a law may be, in words and as a test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.core.errors import SupportError


@dataclass(frozen=True)
class Constraint:
    """A set of tensors.

    Args:
        name: How a message calls it: ``positive``.
        holds: Tensor to boolean tensor, one entry per element (or per vector of the last axis).
        fix: What to do when it does not hold.
        of_real: A smooth map from any real tensor into the set, if there is one. The contract
            checks make a law's example parameters by it, and integrate densities over its image.

    Example:
        >>> positive.holds(positive.of_real(torch.tensor([-3.0, 3.0])))
        tensor([True, True])
    """

    name: str
    holds: Callable[[Tensor], Tensor]
    fix: str = ""
    of_real: Callable[[Tensor], Tensor] | None = None


def identity(x: Tensor) -> Tensor:
    """The map from the real numbers onto themselves: the link of an unconstrained parameter."""
    return x


def _one_hot(x: Tensor) -> Tensor:
    return ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)


def _simplex(x: Tensor) -> Tensor:
    return (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-4)


def _softmax(x: Tensor) -> Tensor:
    return x.softmax(-1)


real = Constraint("finite", torch.isfinite, of_real=identity)
log_weight = Constraint(
    "a number or -inf (a category that is excluded), not NaN",
    lambda x: ~torch.isnan(x) & (x < torch.inf),
    of_real=identity,
)
positive = Constraint(
    "positive",
    lambda x: (x > 0) & torch.isfinite(x),
    "Map the network's output through torch.nn.functional.softplus or .exp().",
    torch.exp,
)
unit_interval = Constraint(
    "in [0, 1]",
    lambda x: (x >= 0) & (x <= 1),
    "Scale it into [0, 1], or give logits= instead of probs=.",
    torch.sigmoid,
)
simplex = Constraint(
    "non-negative with sum 1 along the last axis",
    _simplex,
    "Use .softmax(-1), or give logits= instead of probs=.",
    _softmax,
)
boolean = Constraint("0 or 1", lambda x: (x == 0) | (x == 1))
one_hot = Constraint(
    "one-hot along the last axis",
    _one_hot,
    "Use torch.nn.functional.one_hot(labels, classes).float(), or build the law with "
    "onehot=False.",
)


def category(classes: int) -> Constraint:
    """Whole numbers from 0 to ``classes - 1``."""
    return Constraint(
        f"a whole number from 0 to {classes - 1}",
        lambda x: (x >= 0) & (x < classes) & (x == x.floor() if x.is_floating_point() else x == x),
    )


def examples(domains: Mapping[str, Constraint], axes: int) -> dict[str, Tensor]:
    """One parameter for each domain, in float64: three components, with ``axes`` axes of four."""
    shape = (3,) + (4,) * axes
    steps = torch.linspace(-1.2, 1.7, 3 * 4**axes, dtype=torch.float64)
    waves = [(steps * (i + 1) + 0.3 * i).sin().reshape(shape) for i in range(len(domains))]
    return {
        key: (domain.of_real or identity)(wave)
        for (key, domain), wave in zip(domains.items(), waves, strict=True)
    }


def check(domain: Constraint, value: Tensor, what: str) -> None:
    """Raise if a constant is outside its domain; on the meta device it has no value to check.

    Raises:
        SupportError: If an entry is outside.
    """
    value = value.detach()
    if value.device.type == "meta" or bool((holds := domain.holds(value)).all()):
        return
    wrong = value[~holds].flatten().tolist()[:8] if value.dim() else value.item()
    raise SupportError(f"{what} must be {domain.name}, got {wrong}.")
