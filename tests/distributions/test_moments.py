"""Means, variances and divergences against mpmath, over the parameters of the tables of densities.

The bound is that of ``test_grid``: 1e-6 (single) or 1e-10 (double) of max(1, |value|); where the
condition number exceeds 10, at most three wrong bits more than it explains.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ancestral.distributions.closed_forms import closed_kl
from tests.distributions.test_grid import TOLERANCE, build
from tests.oracles.make_laws import condition, exact, rounded
from tests.oracles.mp_mixtures import LAWS
from tests.oracles.mp_moments import DIVERGENCES, MOMENTS

ROWS = 60


def rows(name: str, dtype: torch.dtype, pairs: int = 1) -> list[list[Any]]:
    """Parameters as the dtype holds them; of a pair the second is near the first, or anywhere."""
    r, law = random.Random(f"{name} {pairs}"), LAWS[name]
    kind = torch.empty((), dtype=dtype).numpy().dtype.type
    out = []
    while len(out) < ROWS:
        given = [draw(r) for draw in law.params.values()]
        if pairs == 2:
            near = 10 ** r.uniform(-6, -0.5)
            other = [v * (1 + r.uniform(-near, near)) for v in given]
            given += other if r.random() < 0.5 else [draw(r) for draw in law.params.values()]
        row = rounded(given, kind)
        if name != "Uniform" or row[0] < row[1]:
            out.append(row)
    return out


def compare(
    found: torch.Tensor, f: Callable[..., Any], names: list[str], given: list[list[Any]]
) -> None:
    """Each number within its bound."""
    dtype = found.dtype
    largest = torch.finfo(dtype).max
    for value, row in zip(found.double().tolist(), given, strict=True):
        inputs = dict(zip(names, exact(row), strict=True))
        wanted = f(**inputs)
        if abs(wanted) > largest / 16 or 0 < abs(wanted) < torch.finfo(dtype).tiny:
            continue
        bound = TOLERANCE[dtype] * max(1.0, abs(float(wanted)))
        number = min(float(condition(f, inputs, wanted)), 1e30)
        if number > 10:
            bound = max(bound, 8 * number * torch.finfo(dtype).eps * abs(float(wanted)))
        assert abs(value - float(wanted)) <= bound, (row, value, float(wanted), number)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments_are_exact(name, dtype):
    law, given = build(name), rows(name, dtype)
    names = list(LAWS[name].params)
    params = dict(zip(names, torch.tensor(given, dtype=dtype).unbind(-1), strict=True))
    for move, f in zip(("mean_of", "variance_of"), MOMENTS[name], strict=True):
        found = getattr(law.moves, move)(**params)
        assert found.dtype == dtype
        compare(found, f, names, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_are_exact(name, dtype):
    law, given = build(name), rows(name, dtype, 2)
    names, size = list(LAWS[name].params), len(LAWS[name].params)
    columns = torch.tensor(given, dtype=dtype).unbind(-1)
    q, p = (dict(zip(names, part, strict=True)) for part in (columns[:size], columns[size:]))
    form = closed_kl(law, law)
    assert form is not None
    f, places = DIVERGENCES[name], [f"_{i}" for i in range(2 * size)]
    compare(form(q, p), lambda **given: f(*given.values()), places, given)
