"""Generated text, interpreter and an independent evaluation agree on random expressions.

A failure names its seed: ``python -m tests.expressions --seeds SEED:SEED+1`` repeats it.
"""

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.expressions.generate import PER_WORLD, case, depth
from tests.expressions.run import double_precision, failures
from tests.expressions.world import world
from tests.oracles.plain import children

EXPRESSIONS = 10_000
SLOW = 100_000
OPERATORS = (
    "add", "sub", "mul", "div", "pow", "neg", "abs", "exp", "log", "clamp", "min", "max", "mean",
    "sum", "meank", "sumk", "log mean exp", "detach", "let", "replace_var", "constant_var", "val",
    "param", "apply", "norm", "sqnorm", "logp", "prob", "E", "nested E", "repeated E", "joint E",
    "iid", "kl", "ce", "h", "closed", "Monte Carlo", "draws", "enumerate", "score", "baseline",
    "pathwise",
)  # fmt: skip
LAWS = (
    "normal", "laplace", "bernoulli", "onehot", "index", "deterministic", "data", "joint",
    "renamed", "marginal", "detached",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    with double_precision():
        yield


def run(first: int, last: int) -> None:
    """Check a range of seeds: none fails, nine in ten are valid."""
    seen: Counter[bool] = Counter()
    wrong = [str(f) for f in failures(range(first, last), lambda ok: seen.update([ok]))]
    assert not wrong, "\n\n".join(wrong)
    assert seen[True] >= 0.9 * (last - first), f"only {seen[True]} of {last - first} were valid"


@pytest.mark.parametrize("first", range(0, EXPRESSIONS, PER_WORLD))
def test_three_ways_agree(first: int) -> None:
    run(first, first + PER_WORLD)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(EXPRESSIONS, EXPRESSIONS + SLOW, 1000))
def test_three_ways_agree_on_many(first: int) -> None:
    run(first, first + 1000)


@pytest.mark.parametrize("first", range(0, EXPRESSIONS, 1000))
def test_every_operator_and_law_is_tried(first: int) -> None:
    """In each thousand at least 25, so at least 250 times in all; the median depth is 4 or more."""
    seen: Counter[str] = Counter()
    depths = []
    for seed in range(first, first + 1000):
        c = case(seed)
        depths.append(depth(c.expr))
        seen.update(_features(c.expr, world(c.world).laws, frozenset()))
        seen.update({plan[0] for plan in c.plans.values()})
        seen.update({"baseline" for plan in c.plans.values() if plan[0] == "score" and plan[1]})
    rare = {name: seen[name] for name in (*OPERATORS, *LAWS) if seen[name] < 25}
    assert not rare
    assert statistics.median(depths) >= 4
    assert max(depths) >= 6


def _features(e: tuple[Any, ...], laws: Any, around: frozenset[str]) -> set[str]:
    """The operators and laws of an expression, each once."""
    found = {e[0]}
    if e[0] == "let":
        found.add("constant_var" if e[1][0][1][0] == "num" else "replace_var")
    if e[0] == "log" and e[1][0] in ("meank", "sumk") and e[1][1][0] == "exp":
        found.add("log mean exp")
    if e[0] in ("kl", "ce", "h"):
        found.add("closed" if e[-1] else "Monte Carlo")
    for a in e[1:]:
        if isinstance(a, dict):
            found |= _law_features(e[0], a, laws)
    if e[0] == "E":
        found |= {"nested E"} if around else set()
        found |= {"draws"} if e[3] else set()
        around |= {"E"}
    below = children(e)
    if len(below) == 2 and all(b[0] == "E" for b in below) and below[0][1] is below[1][1]:
        found.add("repeated E")
    return found.union(*(_features(c, laws, around) for c in below))


def _law_features(kind: str, law: dict[str, Any], laws: Any) -> set[str]:
    found = {laws[f["law"]]["family"] for f in law["factors"]}
    if len(law["factors"]) > 1:
        found.add("joint")
        found |= {"joint E"} if kind == "E" else set()
    for f in law["factors"]:
        found |= {"renamed"} if f["var"] != laws[f["law"]]["var"] else set()
        found |= {"detached"} if f["detached"] else set()
        found |= {"iid"} if f["copies"] else set()
    return found | ({"marginal"} if law["hidden"] else set())
