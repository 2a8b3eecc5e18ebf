"""The first 200 random expressions as one graph each: captured whole, equal to what runs eagerly.

``fullgraph=True`` refuses a graph in parts; the noise is given, so compiled and eager see the same
draws. Every fourth one is traced by ``aot_eager`` too, value and derivative, as it would be
compiled, and runs on torch's own kernels; every twentieth is captured with a symbolic number of
rows, which takes three times as long (batches that change their size are for
tests/runtime/test_compile.py). In the slow tests inductor writes the kernels of all, for any number
of rows.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from ancestral.runtime.compiled import Compiled
from ancestral.runtime.interpret import interpret
from ancestral.runtime.run import Run
from ancestral.runtime.step import Step
from tests.expressions import build
from tests.expressions.check import Answer, distance
from tests.expressions.generate import case
from tests.expressions.run import double_precision
from tests.expressions.world import world

EXPRESSIONS = 200
CHUNK = 2
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="inductor needs a C++ compiler"
)


pytestmark = pytest.mark.usefixtures("compiler_is_imported")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with double_precision():
        yield
    torch._dynamo.reset()


def evaluated(seed: int) -> tuple[Run, list[Tensor], Answer]:
    """The interpreter's run of a seed's expression, its weights, and what it came to."""
    c = case(seed)
    w = world(c.world)
    function = build.estimated(w, c.expr, c.plans).function()
    data = {k: w.data[k] for k in function.loss.input_var}
    run, _ = function.prepare(data, None, None, w.rows, {})
    weights: list[Any] = [w.parameters[k] for k in w.weights_of(c.expr)]
    return run, weights, Answer.of(interpret(run), weights)


def check(seed: int, backend: str, *, dynamic: bool) -> None:
    """One graph, no complaint, the same value and the same gradient."""
    run, weights, told = evaluated(seed)
    torch._dynamo.reset()
    counters.clear()
    step = Step(run, compile=backend)
    compiled = step.function
    assert isinstance(compiled, Compiled)
    if not dynamic:
        step.function = compiled = Compiled(step.source.compile(), (), backend)
    value = step(Run(run.program, run.data, run.drawn, None, run.batch_n))
    assert not compiled.gave_up
    assert counters["stats"]["unique_graphs"] == 1
    found = Answer.of(value, weights)
    if backend == "inductor":  # kernels of its own
        gap, where = distance(found, told)
        assert gap <= 1e-6 or not told.is_finite, f"{where} differs by {gap:.3g}"
        return
    same = {"rtol": 0.0, "atol": 0.0, "equal_nan": True}
    torch.testing.assert_close(found.value, told.value, **same)
    close = {"rtol": 1e-12, "atol": 1e-14, "equal_nan": True}
    torch.testing.assert_close(found.gradient, told.gradient, **close)


@pytest.mark.parametrize("first", range(0, EXPRESSIONS, CHUNK))
def test_one_graph(first: int) -> None:
    for seed in range(first, first + CHUNK):
        backend = "eager" if seed % 4 else "aot_eager_default_partitioner"
        check(seed, backend, dynamic=seed % 20 == 10)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, EXPRESSIONS, CHUNK))
def test_one_graph_by_inductor(first: int) -> None:
    for seed in range(first, first + CHUNK):
        check(seed, "inductor", dynamic=True)
