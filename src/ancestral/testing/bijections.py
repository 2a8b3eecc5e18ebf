"""Checks of a bijection: its inverse, its log-determinant, precision, copies, compilation."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ancestral.bijections import Bijection
from ancestral.core.errors import OptionError
from ancestral.testing.case import close, require

SHAPE = (5, 3)
CONTEXT = "context"  # of an example: how many entries the context has


@dataclass(frozen=True)
class BijectionCase:
    """A kind of bijection with one set of example arguments.

    Args:
        kind: The class.
        arguments: What its constructor is given.
    """

    kind: type[Bijection]
    arguments: Mapping[str, Any]

    def build(self, dtype: torch.dtype = torch.float64) -> Bijection:
        """A bijection of its own, in a precision."""
        make: Any = self.kind
        own = {k: v for k, v in self.arguments.items() if k != CONTEXT}
        made: Bijection = make(**copy.deepcopy(own))
        require(
            made.takes_context == (CONTEXT in self.arguments),
            "a bijection takes a context if, and only if, its example says how many entries it "
            f"has: {{..., {CONTEXT!r}: 2}}",
        )
        return made.to(dtype)

    def points(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Values of the domain, shape (5, 3)."""
        real = torch.linspace(-2.3, 2.1, math.prod(SHAPE), dtype=torch.float64).reshape(SHAPE)
        return into(self.build().domain, real).to(dtype)

    def given(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """What a bijection is given beside the points: the context, if it takes one."""
        if CONTEXT not in self.arguments:
            return ()
        shape = (SHAPE[0], self.arguments[CONTEXT])
        return (torch.linspace(1.1, -0.9, math.prod(shape), dtype=dtype).reshape(shape),)

    def __str__(self) -> str:
        """The kind and the names of its arguments."""
        return f"{self.kind.__name__}({', '.join(self.arguments)})"


def into(interval: tuple[float, float], real: Tensor) -> Tensor:
    """A smooth map of real numbers into an open interval."""
    low, high = interval
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * real.sigmoid()
    if math.isfinite(low):
        return low + real.exp()
    return high - real.exp() if math.isfinite(high) else real


def inverse_undoes_forward(case: BijectionCase) -> None:
    """Both ways round, and values lie inside of the codomain."""
    f, x, c = case.build(), case.points(), case.given()
    y = f(x, *c)
    low, high = f.codomain
    require(((y > low) & (y < high)).all(), f"a value lies outside of the codomain {f.codomain}")
    close(f.inverse(y, *c), x, "the inverse of the value", 1e-9)
    close(f(f.inverse(y, *c), *c), y, "the value of the inverse", 1e-9)


def log_determinant_is_that_of_the_jacobian(case: BijectionCase) -> None:
    """Of both directions, against derivatives by autograd, at each row."""
    f, x, c = case.build(), case.points(), case.given()
    for direction, move, points in (
        ("forward", f.forward_and_log_det, x),
        ("inverse", f.inverse_and_log_det, f(x, *c).detach()),
    ):
        _, log_det = move(points, *c)
        require(
            log_det.shape == points.shape[: points.dim() - f.event_dims],
            f"the log-determinants ({direction}) have shape {tuple(log_det.shape)}",
        )
        each = log_det.reshape(len(points), -1).sum(-1)
        for i, (row, found) in enumerate(zip(points, each, strict=True)):
            value = _value_of(move, *(v[i : i + 1] for v in c))
            jacobian = torch.autograd.functional.jacobian(value, row)
            wanted = torch.linalg.slogdet(jacobian.reshape(row.numel(), row.numel()))[1]
            close(found, wanted, f"the log-determinant ({direction})", 1e-8)


def _value_of(move: Any, *context: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda row: move(row[None], *context)[0][0]


def log_determinants_are_opposite(case: BijectionCase) -> None:
    """Forward and back again, nothing is left."""
    f, x, c = case.build(), case.points(), case.given()
    y, there = f.forward_and_log_det(x, *c)
    _, back = f.inverse_and_log_det(y, *c)
    close(there + back, torch.zeros_like(there), "the sum of both log-determinants", 1e-8)


def sign_is_that_of_the_slope(case: BijectionCase) -> None:
    """Of a map of each component: whether it increases."""
    f, x, c = case.build(), case.points().requires_grad_(), case.given()
    if f.event_dims == 0:
        (slope,) = torch.autograd.grad(f(x, *c).sum(), x)
        require((slope.sign() == torch.as_tensor(f.sign())).all(), "the sign is another")


def rows_do_not_mix(case: BijectionCase) -> None:
    """One row at a time is the same, and so are further axes in front."""
    f, x, c = case.build(), case.points(), case.given()
    y, log_det = f.forward_and_log_det(x, *c)
    for i, row in enumerate(x):
        one, alone = f.forward_and_log_det(row[None], *(v[i : i + 1] for v in c))
        close(one[0], y[i], "a row by itself", 1e-12)
        close(alone[0], log_det[i], "a row's log-determinant by itself", 1e-12)
    deep, _ = f.forward_and_log_det(torch.stack([x, x]), *(torch.stack([v, v]) for v in c))
    close(deep[1], y, "a value with an axis in front", 1e-12)


def context_is_read(case: BijectionCase) -> None:
    """Of a conditional one: another context makes another map, and none is refused."""
    f, x, c = case.build(), case.points(), case.given()
    if not f.takes_context:
        return
    other, _ = f.forward_and_log_det(x, *(v + 0.5 for v in c))
    require(not torch.equal(other, f(x, *c)), "the map does not depend on its context")
    for move in (f.forward_and_log_det, f.inverse_and_log_det):
        try:
            move(x)
        except OptionError:
            continue
        raise AssertionError("a missing context is no OptionError")


def precision_follows(case: BijectionCase) -> None:
    """In single precision all is single, and near the values in double."""
    f, x, c = case.build(torch.float32), case.points(torch.float32), case.given(torch.float32)
    exact = case.build().forward_and_log_det(x.double(), *(v.double() for v in c))
    for found, wanted in zip(f.forward_and_log_det(x, *c), exact, strict=True):
        require(found.dtype == torch.float32, f"a result is {found.dtype}")
        close(found, wanted, "in single precision", 1e-4)


def gradients_are_those_of_the_map(case: BijectionCase) -> None:
    """First and second derivatives, of value and log-determinant, in both directions; in the
    context, too.
    """
    f = case.build().requires_grad_()
    x, c = case.points().requires_grad_(), tuple(v.requires_grad_() for v in case.given())
    y = f(x, *c).detach().requires_grad_()
    for move, point in ((f.forward_and_log_det, x), (f.inverse_and_log_det, y)):
        require(torch.autograd.gradcheck(move, (point, *c)), "first derivatives")
        require(torch.autograd.gradgradcheck(move, (point, *c)), "second derivatives")


def copies_and_state_are_its_own(case: BijectionCase) -> None:
    """A copy gives the same, ``state_dict`` round-trips, and it prints."""
    f, x, c = case.build(), case.points(), case.given()
    for twin in (copy.deepcopy(f), case.build()):
        twin.load_state_dict(f.state_dict())
        close(twin(x, *c), f(x, *c), "a copy", 0.0)
    require(case.kind.__name__ in repr(f), "the name is not in its repr")


def it_is_batched_and_traced(case: BijectionCase) -> None:
    """Under ``vmap``, and as one graph of ``torch.compile``."""
    f, points = case.build(), (case.points(), *case.given())
    wanted = f.forward_and_log_det(*points)
    batched = torch.vmap(lambda *row: f.forward_and_log_det(*(v[None] for v in row)))(*points)
    traced = torch.compile(f.forward_and_log_det, fullgraph=True, backend="eager")(*points)
    for one, two, three in zip(wanted, batched, traced, strict=True):
        close(two.squeeze(1), one, "under vmap", 1e-12)
        close(three, one, "compiled", 1e-12)


BIJECTION_CHECKS: Mapping[str, Callable[[BijectionCase], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        inverse_undoes_forward,
        log_determinant_is_that_of_the_jacobian,
        log_determinants_are_opposite,
        sign_is_that_of_the_slope,
        rows_do_not_mix,
        context_is_read,
        precision_follows,
        gradients_are_those_of_the_map,
        copies_and_state_are_its_own,
        it_is_batched_and_traced,
    )
}
