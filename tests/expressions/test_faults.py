"""Faults planted in Ancestral are each caught by fewer than a thousand random expressions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from ancestral.core.axes import COPY
from ancestral.distributions import Normal
from ancestral.losses.node import Add, Mul, Neg, Sub
from ancestral.lowering import draws, lower
from ancestral.lowering.build import Builder
from ancestral.program import instructions as ir
from ancestral.runtime import rules
from tests.expressions.__main__ import main
from tests.expressions.check import Mismatch
from tests.expressions.run import double_precision, failures, valid
from tests.expressions.shrink import size

Patch = pytest.MonkeyPatch


def precedence(patch: Patch) -> None:
    """a - (b + c) is computed as a - b + c."""
    right = lower.RULES[Sub]

    def wrong(lw: Any, node: Sub, scope: Any) -> Any:
        inner = node.right
        if isinstance(inner, (Add, Sub)):
            node = type(inner)(Sub(node.left, inner.left), inner.right)  # type: ignore[assignment]
            return lower.RULES[type(node)](lw, node, scope)
        return right(lw, node, scope)

    patch.setitem(lower.RULES, Sub, wrong)


def sharing(patch: Patch) -> None:
    """Two expectations in a product share their draw."""
    patch.setattr(draws, "is_sum", lambda node: isinstance(node, (Add, Sub, Neg, Mul)))


def sign(patch: Patch) -> None:
    """The logarithm in the divergence of two normal laws has the wrong sign."""
    right = Normal.closed_kl[Normal]

    def wrong(q: Any, p: Any) -> Tensor:
        return right(q, p) + 2 * (q["scale"] / p["scale"] + 0 * q["loc"]).log()

    patch.setitem(Normal.closed_kl, Normal, wrong)


def reduction(patch: Patch) -> None:
    """A mean over copies is taken as their sum."""
    right = Builder.reduce

    def wrong(self: Builder, how: str, axis: Any, arg: Any) -> Any:
        return right(self, "sum" if how == "mean" and axis.kind == COPY else how, axis, arg)

    patch.setattr(Builder, "reduce", wrong)


def detach(patch: Patch) -> None:
    """A written cut is ignored."""
    patch.setattr(Builder, "cut", lambda self, arg: arg)


def stale_weights(patch: Patch) -> None:
    """What a network returned is kept, and given again for the same input."""
    right, kept = rules.RULES[ir.Params], {}

    def wrong(step: ir.Params, run: Any) -> Any:
        key = step.law, run.program.laws[step.law], *(id(run.values[r]) for r in step.conditions)
        if key not in kept:
            kept[key] = right(step, run), run
        run.raw[step.out] = kept[key][1].raw[step.out]
        return kept[key][0]

    patch.setitem(rules.RULES, ir.Params, wrong)


FAULTS = (precedence, sharing, sign, reduction, detach, stale_weights)


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    with double_precision():
        yield


@pytest.mark.parametrize("plant", FAULTS, ids=lambda f: f.__name__)
def test_planted_fault_is_caught(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    for seed in range(1000):
        try:
            valid(seed)
        except Mismatch:
            return
    pytest.fail(f"{plant.__name__}: 1,000 random expressions found nothing wrong")


def test_a_failure_names_its_seed_and_a_small_expression(monkeypatch: Patch) -> None:
    """Repeating the seed fails again; what is left of the expression is smaller, and fails too."""
    sign(monkeypatch)
    failure = next(failures(range(1000), lambda ok: None))
    seed = failure.case.seed
    with pytest.raises(Mismatch):
        valid(seed)
    told = str(failure)
    assert told.startswith(f"seed {seed}: Mismatch: generated text and oracle differ by ")
    printed = next(line for line in told.splitlines() if line.startswith("  shrunk: "))
    assert "KL" in printed
    assert "description: ('kl'" in told
    assert size(failure.case.expr) > 1  # a divergence alone has no other expression in it


def test_the_command_tells_failures_and_records_clean_ranges(
    monkeypatch: Patch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "ranges.txt"
    assert main(["--seeds", "0:30", "--record", str(record)]) == 0
    assert "30 expressions" in capsys.readouterr().out
    assert record.read_text("utf-8").startswith("0:30  ")
    sign(monkeypatch)
    assert main(["--seeds", "0:200", "--record", str(record), "--most", "1"]) == 1
    assert "shrunk: " in capsys.readouterr().out
    assert len(record.read_text("utf-8").splitlines()) == 1
