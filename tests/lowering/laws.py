"""The laws that tests of sharing write their losses with."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ancestral.distributions import Normal

ROWS = 200_000


def posterior() -> Normal:
    """q(z|x) = N(z; x, 1)."""
    return Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")


def prior(**options: Any) -> Normal:
    """p(z) = N(z; 0, 1)."""
    return Normal(var=["z"], loc=0.0, scale=1.0, **options)


def likelihood() -> Normal:
    """p(x|z) = N(x; z, 1)."""
    return Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)


def hierarchy() -> tuple[Normal, Normal]:
    """q(a|x) = N(a; x, 1) and q(z|a) = N(z; a, 1/4)."""
    q_a = Normal(var=["a"], cond_var=["x"], loc="x", scale=1.0, name="q_a")
    q_z = Normal(var=["z"], cond_var=["a"], loc="a", scale=0.5, name="q_z")
    return q_a, q_z


def at(value: float, rows: int = ROWS) -> dict[str, Tensor]:
    """A batch of equal rows."""
    return {"x": torch.full((rows,), float(value), dtype=torch.float64)}


def near(found: Tensor, exact: float, *, sd: float) -> None:
    """The mean over rows within five standard errors; ``sd`` is that of one row, known exactly."""
    error = sd / math.sqrt(found.numel())
    assert found.std().item() == pytest.approx(sd, rel=0.05)
    assert abs(found.mean().item() - exact) < 5 * error, (found.mean().item(), exact, error)
