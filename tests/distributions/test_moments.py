"""Means, variances and divergences against tables made by mpmath (``tests/oracles/make_moments``).

The tables stand in ``tests/golden/moments`` and ``tests/golden/divergences``, over the parameters
of the tables of densities, from 1e-3 to 1e6 where nothing else is natural. The bound is that of
``test_grid``: 1e-6 (single) or 1e-10 (double) of max(1, |value|); where the condition number
exceeds 10, at most three wrong bits more than it explains.

Which moments and divergences there are is read off the laws, so that a new one needs a table. A law
made from laws has those of its parts, which the contract compares with integrals and with draws.
"""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.distributions import Categorical, Points
from ancestral.distributions.closed_forms import closed_kl
from ancestral.testing import LAW_CHECKS
from ancestral.testing.case import has_move, is_law
from tests.contracts.test_distributions import CASES
from tests.distributions.test_grid import FAMILIES, TOLERANCE, build
from tests.oracles.mp_divergences import DIVERGENCES
from tests.oracles.mp_entropies import ENTROPIES
from tests.oracles.mp_matrices import LAWS
from tests.oracles.mp_vector_moments import MOMENTS

FOLDER = Path(__file__).parents[1] / "golden"
MOVES = {"mean": "mean_of", "variance": "variance_of"}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
Table = dict[str, Tensor]


@cache
def read(folder: str, name: str) -> Table:
    """A table in double precision."""
    found = np.load(FOLDER / folder / f"{name}.npz")
    return {key: torch.from_numpy(found[key]).double() for key in found.files}


def inputs(table: Table, functions: set[str], dtype: torch.dtype) -> tuple[Tensor, Table]:
    """The rows whose parameters a precision holds, and these parameters."""
    given = {k: v for k, v in table.items() if k.partition(".condition")[0] not in functions}
    exact = [(v.to(dtype).double() == v).flatten(1).all(-1) for v in
             (v.reshape(len(v), -1) for v in given.values())]  # fmt: skip
    held = torch.stack(exact).all(0)
    return held, {k: v[held].to(dtype) for k, v in given.items()}


def compare(what: str, found: Tensor, table: Table, held: Tensor, given: Table) -> None:
    """Each number within its bound; what overflows on the way to a huge one is none."""
    dtype = found.dtype
    wanted, condition = table[what][held], table[f"{what}.condition"][held]
    found = found.double().expand(wanted.shape)
    allowed = TOLERANCE[dtype] * wanted.abs().clamp(min=1.0)
    bits = 8 * condition * torch.finfo(dtype).eps * wanted.abs()
    allowed = torch.where(condition > 10, torch.maximum(allowed, bits), allowed)
    huge = wanted.isfinite() & (wanted.abs() > torch.finfo(dtype).max / 16)
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    bad = ~(same | huge | ((found - wanted).abs() <= allowed))
    if bad.any():
        share = ((found - wanted).abs() / allowed).nan_to_num(torch.inf, torch.inf)
        i = tuple(int(k) for k in np.unravel_index(int((share * bad).argmax()), bad.shape))
        at = {key: value[i[0]].tolist() for key, value in given.items()}
        raise AssertionError(
            f"{what}{list(i[1:])} at {at} is {found[i]:.17g}, should be {wanted[i]:.17g} "
            f"(condition number {condition[i]:.1e}); {int(bad.sum())} of {bad.numel()} fail"
        )


@DTYPES
@pytest.mark.parametrize("name", MOMENTS)
def test_moments_are_exact(name, dtype):
    law, table = build(name), read("moments", name)
    law = Categorical() if isinstance(law, Categorical) else law  # indices have no mean
    held, params = inputs(table, {*MOVES, "entropy"}, dtype)
    for what, move in MOVES.items() | (
        {("entropy", "entropy_of")} if name in ENTROPIES else set()
    ):
        found = getattr(law.moves, move)(**params)
        assert found.dtype == dtype
        compare(what, found, table, held, params)


@DTYPES
@pytest.mark.parametrize("pair", DIVERGENCES, ids="-".join)
def test_divergences_are_exact(pair, dtype):
    table = read("divergences", "-".join(pair))
    held, given = inputs(table, {"kl"}, dtype)
    q, p = ({k[2:]: v for k, v in given.items() if k[:2] == f"{of}."} for of in "qp")
    form = closed_kl(*(build(name) for name in pair))
    assert form is not None
    found = form(q, p)
    assert found.dtype == dtype
    compare("kl", found, table, held, given)


def test_every_moment_has_a_table():
    """Add it to tests/oracles/mp_vector_moments.py, run python -m tests.oracles.make_moments."""
    assert {file.stem for file in (FOLDER / "moments").glob("*.npz")} == set(MOMENTS)
    for name, family in FAMILIES.items():
        has = {hasattr(family(**e).moves, m) for e in family.examples() for m in MOVES.values()}
        ways = {frozenset(way) for way in family.parametrisations or (tuple(family.domains),)}
        tables = [set(LAWS[t].params) for t in MOMENTS if t.split(".")[0] == name]
        assert bool(tables) == (True in has), name
        if tables:
            assert all(any(way <= table for table in tables) for way in ways), name


def test_every_divergence_has_a_table():
    """Add it to tests/oracles/mp_divergences.py, run python -m tests.oracles.make_moments."""
    assert {f.stem for f in (FOLDER / "divergences").glob("*.npz")} == set(
        map("-".join, DIVERGENCES)
    )
    laws = {name: family(**family.examples()[0]) for name, family in FAMILIES.items()}
    known = {
        (q, p)
        for q, p in itertools.product(laws, repeat=2)
        if closed_kl(laws[q], laws[p]) is not None
    }
    assert known == {(q.split(".")[0], p.split(".")[0]) for q, p in DIVERGENCES}
    for name, _ in known:
        seen = {k for q, _ in DIVERGENCES if q.split(".")[0] == name for k in LAWS[q].params}
        assert seen == set(FAMILIES[name].domains), name


def test_moments_of_points_are_those_of_the_set():
    points = torch.nn.Parameter(torch.randn(5, 2, 3, dtype=torch.float64))
    law = Points(points, var=["z"])
    for found, wanted in (
        (law.sample_mean(), points.mean(0)),
        (law.sample_variance(), points.var(0, correction=0)),
    ):
        torch.testing.assert_close(found[0], wanted, rtol=1e-12, atol=1e-14)
        ours, exact = (torch.autograd.grad((v**2).sum(), points)[0] for v in (found, wanted))
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-14)


def test_closed_forms_of_laws_made_from_laws_are_in_the_contract():
    for case in (c for c in CASES if c.composite and is_law(c) and not c.family.has_points):
        law = case.build()
        if any(has_move(law, move) for move in MOVES.values()):
            assert LAW_CHECKS["moments are integrals"].applies(case), case
        if has_move(law, "entropy_of") or closed_kl(law, law) is not None:
            assert LAW_CHECKS["closed forms are means"].applies(case), case
