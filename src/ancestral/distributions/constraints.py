"""Constraints: what a parameter or a value of a law may be, in words and as a test."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.errors import SupportError


@dataclass(frozen=True)
class Constraint:
    """A set of tensors.

    Args:
        name: How a message calls it: ``positive``.
        holds: Tensor to boolean tensor, one entry per element (or per vector of the last axis).
        fix: What to do when it does not hold.
        of_real: A smooth map from any real tensor into the set (of whole numbers: rounded), if
            there is one. The contract checks make a law's example parameters by it, and integrate
            densities over its image.
        chart: Of a set of vectors, a map of real coordinates, shape ``(N, m)``, onto it, which
            returns vectors, shape ``(N, n)``, and the logarithm of what a cell of coordinates
            measures there; ``lost`` is n - m. Densities of vectors are integrated by it.
        listed: Of a countable set, its first members, given how many and the length of a vector
            (0 for numbers); all of them if they are fewer.

    Example:
        >>> positive.holds(positive.of_real(torch.tensor([-3.0, 3.0])))
        tensor([True, True])
    """

    name: str
    holds: Callable[[Tensor], Tensor]
    fix: str = ""
    of_real: Callable[[Tensor], Tensor] | None = None
    chart: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    lost: int = 0
    listed: Callable[[int, int], Tensor] | None = None


def identity(x: Tensor) -> Tensor:
    """The map from the real numbers onto themselves: the link of an unconstrained parameter."""
    return x


def _one_hot(x: Tensor) -> Tensor:
    return ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)


def _simplex(x: Tensor) -> Tensor:
    return (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-4)


def _softmax(x: Tensor) -> Tensor:
    return x.softmax(-1)


def _lower(x: Tensor) -> Tensor:
    return x.tril(-1) + torch.diag_embed(x.diagonal(dim1=-2, dim2=-1).exp())


def _positive_definite(x: Tensor) -> Tensor:
    size = x.abs().amax((-2, -1), keepdim=True)
    symmetric = ((x - x.mT).abs() <= 1e-5 * size).flatten(-2).all(-1)
    return symmetric & (torch.linalg.cholesky_ex(x.detach()).info == 0)


def _sphere(y: Tensor) -> tuple[Tensor, Tensor]:
    """The sphere in space, from height and longitude, both through tanh."""
    height, turn = (y / 6).tanh().unbind(-1)
    radius, longitude = 1 / (y[..., 0] / 6).cosh(), torch.pi * turn
    x = torch.stack([radius * longitude.cos(), radius * longitude.sin(), height], -1)
    return x, math.log(torch.pi / 36) - 2 * (y / 6).cosh().log().sum(-1)


def _matrix(y: Tensor) -> tuple[Tensor, Tensor]:
    """Positive definite matrices of two rows, from logarithms of variances and a correlation."""
    a, b = (0.088 * y[..., :2] - 0.5).exp().unbind(-1)
    turn = 0.088 * y[..., 2]
    c = (a * b).sqrt() * turn.tanh()
    cell = 1.5 * (a * b).log() - 2 * turn.cosh().log() + 3 * math.log(0.088)
    return torch.stack([a, c, c, b], -1), cell


def _correlation_cholesky(x: Tensor) -> Tensor:
    lengths = (x.square().sum(-1) - 1).abs() < 1e-4
    return lengths.all(-1) & lower_cholesky.holds(x)


def _correlations(y: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of correlation matrices of three rows, from partial correlations."""
    a, b, c = (0.08 * y).tanh().unbind(-1)
    other_a, other_b, other_c = (1 / (0.08 * y).cosh()).unbind(-1)
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    x = [one, zero, zero, a, other_a, zero, b, c * other_b, other_b * other_c]
    cell = 2 * other_a.log() + 3 * other_b.log() + 2 * other_c.log() + 3 * math.log(0.08)
    return torch.stack(x, -1), cell


real = Constraint("finite", torch.isfinite, of_real=identity)
log_weight = Constraint(
    "a number or -inf (a category that is excluded), not NaN",
    lambda x: ~torch.isnan(x) & (x < torch.inf),
    of_real=identity,
)
extended = Constraint(
    "a number, inf or -inf, not NaN", lambda x: ~torch.isnan(x), of_real=identity
)
positive = Constraint(
    "positive",
    lambda x: (x > 0) & torch.isfinite(x),
    "Map the network's output through torch.nn.functional.softplus or .exp().",
    torch.exp,
)
nonnegative = Constraint("0 or more", lambda x: (x >= 0) & torch.isfinite(x), of_real=torch.exp)
unit_interval = Constraint(
    "in [0, 1]",
    lambda x: (x >= 0) & (x <= 1),
    "Scale it into [0, 1], or give logits= instead of probs=.",
    torch.sigmoid,
)
probability = Constraint(
    "in (0, 1]",
    lambda x: (x > 0) & (x <= 1),
    "Give logits= instead of probs=.",
    torch.sigmoid,
)
probability_below_one = Constraint(
    "in [0, 1)",
    lambda x: (x >= 0) & (x < 1),
    "Give logits= instead of probs=.",
    torch.sigmoid,
)
# a count grows with the exponential of its log odds: not identity, so that checks go up to 14 only
log_odds = Constraint("finite", torch.isfinite, of_real=lambda x: x)
simplex = Constraint(
    "non-negative with sum 1 along the last axis",
    _simplex,
    "Use .softmax(-1), or give logits= instead of probs=.",
    _softmax,
    lambda y: (F.pad(y, (0, 1)).softmax(-1), F.pad(y, (0, 1)).log_softmax(-1).sum(-1)),
    1,
)
log_simplex = Constraint(
    "logarithms of non-negative numbers with sum 1 along the last axis",
    lambda x: x.logsumexp(-1).abs() < 1e-4,
    "Use .log_softmax(-1).",
    lambda x: x.log_softmax(-1),
    lambda y: (F.pad(y, (0, 1)).log_softmax(-1), torch.zeros_like(y[..., 0])),
    1,
)
real_vector = Constraint(
    "finite",
    lambda x: torch.isfinite(x).all(-1),
    of_real=identity,
    # twelve: a grid that is wide enough for a simplex then covers +-80 here, a third of it +-1
    chart=lambda y: ((y / 12).sinh(), ((y / 12).cosh() / 12).log().sum(-1)),
)
unit_vector = Constraint(
    "of length 1 along the last axis",
    lambda x: (x.square().sum(-1) - 1).abs() < 1e-4,
    "Divide it by its length.",
    lambda x: x / x.square().sum(-1, keepdim=True).sqrt(),
    _sphere,
    1,
)
ordered = Constraint(
    "strictly increasing along the last axis",
    lambda x: (x.diff(dim=-1) > 0).all(-1) & torch.isfinite(x).all(-1),
    "Take the cumulative sum of positive steps.",
    lambda x: torch.cat([x[..., :1], x[..., 1:].exp()], -1).cumsum(-1),
)
lower_cholesky = Constraint(
    "lower triangular with a positive diagonal",
    lambda x: (
        (x.tril() == x).flatten(-2).all(-1)
        & (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1)
        & torch.isfinite(x).flatten(-2).all(-1)
    ),
    "Use .tril() and map the diagonal through torch.nn.functional.softplus.",
    _lower,
)
positive_definite = Constraint(
    "symmetric and positive definite",
    _positive_definite,
    "Give scale_tril=, or form A @ A.mT and add a small multiple of the identity.",
    lambda x: _lower(x) @ _lower(x).mT,
    _matrix,
    1,
)
# below 1 where a sequence is stationary, which a law checks
autoregression = Constraint("finite", torch.isfinite, of_real=lambda x: 0.999 * x.tanh())
correlation_cholesky = Constraint(
    "lower triangular with a positive diagonal and rows of length 1",
    _correlation_cholesky,
    "Take torch.linalg.cholesky of a correlation matrix.",
    chart=_correlations,
    lost=6,
)
# df must be above D - 1, which a law checks: here what is enough for all matrices in checks
degrees_of_freedom = Constraint(
    "positive", lambda x: (x > 0) & torch.isfinite(x), of_real=lambda x: 3.0 + x.exp()
)
whole = Constraint(
    "a whole number of at least 0",
    lambda x: (x >= 0) & (x == x.floor()) & torch.isfinite(x),
    "Round it, or take counts as they are.",
    lambda x: x.exp().round(),
    listed=lambda count, _: torch.arange(count),
)
open_interval = Constraint(
    "in (0, 1)",
    lambda x: (x > 0) & (x < 1),
    "For values that are 0 or 1 use a Bernoulli law.",
    torch.sigmoid,
)
open_simplex = Constraint(
    "positive with sum 1 along the last axis",
    lambda x: (x > 0).all(-1) & _simplex(x),
    "For one-hot values use a Categorical law.",
    simplex.of_real,
    simplex.chart,
    simplex.lost,
)
boolean = Constraint("0 or 1", lambda x: (x == 0) | (x == 1))
one_hot = Constraint(
    "one-hot along the last axis",
    _one_hot,
    "Use torch.nn.functional.one_hot(labels, classes).float(), or build the law with "
    "onehot=False.",
)


whole_vector = Constraint(
    "whole numbers of at least 0 along the last axis", lambda x: whole.holds(x).all(-1)
)


def whole_below(most: int) -> Constraint:
    """Whole numbers from 0, so many."""
    return Constraint(
        f"a whole number from 0 to {most - 1}",
        lambda x: whole.holds(x) & (x < most),
        listed=lambda count, _: torch.arange(min(count, most)),
    )


def up_to(total: Tensor | float) -> Constraint:
    """Whole numbers up to a number, or up to one for each component."""
    most = torch.as_tensor(total)
    return Constraint(
        "a whole number from 0 to total_count",
        lambda x: whole.holds(x) & (x <= most),
        listed=whole.listed,
    )


def counts(total: Tensor | float) -> Constraint:
    """Vectors of whole numbers with a given sum, or with one for each component."""
    sums = torch.as_tensor(total)

    def listed(count: int, size: int) -> Tensor:
        every = {int(n) for n in sums.flatten().tolist()}
        return torch.tensor([row for n in sorted(every) for row in _compositions(n, size)])

    return Constraint(
        "whole numbers with sum total_count along the last axis",
        lambda x: whole.holds(x).all(-1) & (x.sum(-1) == sums),
        "Count how often each category was drawn.",
        listed=listed,
    )


def _compositions(total: int, size: int) -> list[list[int]]:
    """All vectors of ``size`` whole numbers with a given sum."""
    if size == 1:
        return [[total]]
    return [
        [first, *rest]
        for first in range(total + 1)
        for rest in _compositions(total - first, size - 1)
    ]


def category(classes: int) -> Constraint:
    """Whole numbers from 0 to ``classes - 1``."""
    return Constraint(
        f"a whole number from 0 to {classes - 1}",
        lambda x: (x >= 0) & (x < classes) & (x == x.floor() if x.is_floating_point() else x == x),
    )


def examples(
    domains: Mapping[str, Constraint], keys: Sequence[str], cores: Mapping[str, str], axes: int
) -> dict[str, Tensor]:
    """One parameter for each key, in float64: three components, each with axes of four.

    Args:
        domains: What each may be.
        keys: The parameters.
        cores: Of some a letter for each axis.
        axes: How many the others have.
    """
    out = {}
    for i, key in enumerate(keys):
        shape = (3,) + (4,) * len(cores.get(key, "*" * axes))
        steps = torch.linspace(-1.2, 1.7, torch.Size(shape).numel(), dtype=torch.float64)
        wave = (steps * (i + 1) + 0.3 * i).sin().reshape(shape)
        out[key] = (domains[key].of_real or identity)(wave)
    return out


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


def check_increasing(order: Sequence[str], params: Mapping[str, Any], what: str) -> None:
    """Raise if parameters that must grow in an order do not; those that are not given are left out.

    Raises:
        SupportError: If one is not below the next.
    """
    for low, high in itertools.pairwise(k for k in order if k in params):
        a, b = torch.as_tensor(params[low]).detach(), torch.as_tensor(params[high]).detach()
        if a.is_meta or b.is_meta or bool((holds := a < b).all()):
            continue
        wrong = [v.expand(holds.shape)[~holds].flatten().tolist()[:8] for v in (a, b)]
        raise SupportError(
            f"{what}: {low} must be below {high}, got {low}={wrong[0]}, {high}={wrong[1]}."
        )


def interval(low: Any, high: Any) -> Constraint:
    """Numbers between two ends, which are numbers or tensors; both ends belong to it."""
    told = "" if isinstance(low, Tensor) or isinstance(high, Tensor) else f", {low:g} to {high:g}"
    return Constraint(
        f"inside of the law's interval{told}",
        lambda x: (x >= low) & (x <= high),
        of_real=lambda t: low + (high - low) * t.sigmoid(),
    )
