"""Ranges of seeds: each expression is checked, and a failure is shrunk and told."""

import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch

from ancestral.core.errors import PlugInWarning
from tests.expressions import build
from tests.expressions.check import check
from tests.expressions.generate import Case, case
from tests.expressions.shrink import shrunk
from tests.expressions.world import world

ATTEMPTS = 2  # a seed whose expression is not valid makes another one


@dataclass(frozen=True)
class Failure:
    """A seed whose expression failed, and what is left of it when it is shrunk."""

    case: Case
    error: Exception

    def __str__(self) -> str:
        small = shrunk(self.case, lambda c: isinstance(_error(c), type(self.error)))
        try:
            printed = str(build.loss(world(small.world), small.expr))
        except Exception as error:
            printed = f"(does not print: {error})"
        return (
            f"seed {self.case.seed}: {type(self.error).__name__}: {self.error}\n"
            f"  shrunk: {printed}\n  description: {small.expr}\n  plans: {small.plans}\n"
            f"  fails with: {_error(small)}"
        )


@contextmanager
def double_precision() -> Iterator[None]:
    """Everything in float64, plug-in estimates without a warning, sources read once."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings(), mock.patch.object(
            inspect, "getsource", functools.cache(inspect.getsource)
        ):  # fmt: skip
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", PlugInWarning)
            yield
    finally:
        torch.set_default_dtype(before)


def _error(c: Case) -> Exception | None:
    try:
        check(c)
    except Exception as error:
        return error
    return None


def fails(c: Case) -> bool:
    """Whether an expression is handled wrongly."""
    return _error(c) is not None


def valid(seed: int) -> bool:
    """Check the expression of a seed; raise if it fails, say whether it was valid."""
    return any(check(case(seed, attempt)) for attempt in range(ATTEMPTS))


def failures(seeds: Iterable[int], count: Callable[[bool], None]) -> Iterator[Failure]:
    """The failures of a range; ``count`` is told of each seed that passes whether it is valid."""
    for seed in seeds:
        try:
            count(valid(seed))
        except Exception as error:
            wrong = next(c for c in (case(seed, i) for i in range(ATTEMPTS)) if fails(c))
            yield Failure(wrong, error)
