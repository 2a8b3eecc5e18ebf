"""Constraints: what a parameter or a value of a law may be, in words and as a test."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Constraint:
    """A set of tensors.

    Args:
        name: How a message calls it: ``positive``.
        holds: Tensor to boolean tensor, one entry per element (or per vector of the last axis).
        fix: What to do when it does not hold.
    """

    name: str
    holds: Callable[[Tensor], Tensor]
    fix: str = ""


def _one_hot(x: Tensor) -> Tensor:
    return ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)


def _simplex(x: Tensor) -> Tensor:
    return (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-4)


real = Constraint("finite", torch.isfinite)
logit = Constraint("a number (infinities allowed, NaN not)", lambda x: ~torch.isnan(x))
positive = Constraint(
    "positive",
    lambda x: (x > 0) & torch.isfinite(x),
    "Map the network's output through torch.nn.functional.softplus or .exp().",
)
unit_interval = Constraint(
    "in [0, 1]",
    lambda x: (x >= 0) & (x <= 1),
    "Scale it into [0, 1], or give logits= instead of probs=.",
)
simplex = Constraint(
    "non-negative with sum 1 along the last axis",
    _simplex,
    "Use .softmax(-1), or give logits= instead of probs=.",
)
boolean = Constraint("0 or 1", lambda x: (x == 0) | (x == 1))
one_hot = Constraint(
    "one-hot along the last axis",
    _one_hot,
    "Use torch.nn.functional.one_hot(labels, classes).float(), or build the law with onehot=False.",
)


def category(classes: int) -> Constraint:
    """Whole numbers from 0 to ``classes - 1``."""
    return Constraint(
        f"a whole number from 0 to {classes - 1}",
        lambda x: (x >= 0) & (x < classes) & (x == x.floor() if x.is_floating_point() else x == x),
    )
