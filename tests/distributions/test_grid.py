"""Each law's functions against tables made by mpmath (``tests/oracles/make_laws.py``).

The tables stand in ``tests/golden/laws``, one for each set of parameters that a law takes. Inputs
are as the precision holds them, so that nothing but the law's own arithmetic is in the error: at
most 1e-6 (single) or 1e-10 (double) of max(1, |value|); where the condition number exceeds 10, at
most three wrong bits more than it explains.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ancestral.distributions import Law
from tests.contracts.test_distributions import elementary
from tests.oracles.mp_entropies import ENTROPIES
from tests.oracles.mp_matrices import LAWS

FOLDER = Path(__file__).parents[1] / "golden" / "laws"
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}
MOVES = {
    "log_prob": "log_density",
    "log_cdf": "log_cdf",
    "log_sf": "log_sf",
    "entropy": "entropy_of",
}
FAMILIES = {f.__name__: f for f in elementary()}


def build(name: str) -> Law:
    """The law of a table, without parameters."""
    return FAMILIES[name.split(".")[0]](**LAWS[name].options)


def test_every_law_has_a_table():
    """Add a law to a tests/oracles/mp_*.py and run python -m tests.oracles.make_laws NAME."""
    tables = {file.stem for file in FOLDER.glob("*.npz")}
    assert tables == set(LAWS)
    assert {name.split(".")[0] for name in tables} == set(FAMILIES)
    for family in FAMILIES.values():
        mine = [name for name in tables if name.split(".")[0] == family.__name__]
        ways = {frozenset(way) for way in family.parametrisations or (tuple(family.domains),)}
        rows = {name: set(np.load(FOLDER / f"{name}.npz").files) for name in mine}
        assert all(any(way <= have for have in rows.values()) for way in ways), family


@pytest.mark.parametrize("name", sorted(LAWS))
def test_every_function_of_a_law_is_in_its_table(name):
    law = build(name)
    has = {what for what, move in MOVES.items() if hasattr(law.moves, move)}
    assert has == set(LAWS[name].functions) | ({"entropy"} if name in ENTROPIES else set())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", sorted(LAWS))
def test_functions_are_exact(name, dtype):
    law, table = build(name), dict(np.load(FOLDER / f"{name}.npz"))
    inputs = {k: torch.from_numpy(table[k]) for k in (*LAWS[name].params, "x")}
    held = torch.stack(
        [
            (v.to(dtype).double() == v).flatten(1).all(-1)
            for v in (v[:, None] for v in inputs.values())
        ]
    ).all(0)
    rows = {k: v[held].to(dtype) for k, v in inputs.items()}
    for what in LAWS[name].functions:
        own = {k: v for k, v in rows.items() if k != "x" or what != "entropy"}
        found = getattr(law.moves, MOVES[what])(**own)
        assert found.dtype == dtype
        wanted = torch.from_numpy(table[what])[held]
        condition = torch.from_numpy(table[f"{what}.condition"]).double()[held]
        found = found.double()
        scale = wanted.abs().clamp(min=1.0)
        allowed = TOLERANCE[dtype] * scale
        ill = condition > 10
        bits = 8 * condition * torch.finfo(dtype).eps * wanted.abs()
        allowed = torch.where(ill, torch.maximum(allowed, bits), allowed)
        error = torch.where(found == wanted, 0.0, (found - wanted).abs())
        within = (error <= allowed) | (wanted.abs() > torch.finfo(dtype).max)
        if not within.all():
            bad = torch.where(within, 0.0, (error / allowed).nan_to_num(math.inf, math.inf))
            i = int(bad.argmax())
            at = {k: v[i].tolist() for k, v in own.items()}
            raise AssertionError(
                f"{what} at {at} is {found[i]:.17g}, should be {wanted[i]:.17g} (condition number "
                f"{condition[i]:.1e}); {int((~within).sum())} of {len(within)} rows fail"
            )


def test_there_are_enough_points():
    """Each value in each precision that it is tested in."""
    points = 0
    for file in FOLDER.glob("*.npz"):
        table = np.load(file)
        single = np.ones(len(table["x"]), bool)
        for key in (*LAWS[file.stem].params, "x"):
            column = table[key].reshape(len(single), -1)
            single &= (column.astype(np.float32) == column).all(-1)
        points += len(LAWS[file.stem].functions) * (len(single) + single.sum())
    assert points >= 60_000
