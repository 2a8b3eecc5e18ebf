"""One graph: fullgraph compilation of every sentence, no recompiles, eager where it cannot."""

import logging
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from ancestral.core.errors import OptionError
from ancestral.distributions import Bernoulli
from ancestral.losses import Function, norm, sqnorm, values
from ancestral.runtime.interpret import interpret
from ancestral.runtime.run import Run
from ancestral.runtime.step import Step
from tests.runtime.sentences import sentences
from tests.runtime.test_generate import vae

CASES = sentences()
pytestmark = [
    pytest.mark.usefixtures("compiler_is_imported"),
    # torch's own forward-mode derivatives
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


QUICK = (
    "elbo",
    "iwae",
    "enumerate",
    "leave one out",
    "beta",
    "two plates",
    "implicit",
    "function",
    "gradient penalty",
    "jvp",
)


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES],
)
def test_one_graph_of_equal_value(name: str, caplog: pytest.LogCaptureFixture) -> None:
    loss, data, options = CASES[name]
    options = dict(options)
    batch_n = options.pop("batch_n", None)
    run, watch = loss.function().prepare(data, None, None, batch_n, options)
    told = interpret(run, watch)
    step = Step(run, compile="aot_eager")
    value = step(Run(run.program, run.data, run.drawn, None, batch_n))
    assert torch.equal(value, told)
    assert counters["stats"]["unique_graphs"] == 1
    assert not [r for r in caplog.records if r.name == "ancestral"]


def test_schedules_and_short_batches_do_not_compile_again() -> None:
    loss, data, _ = CASES["beta"]
    function, eager = loss.function(compile="aot_eager"), loss.function()
    x = data["x"]
    for rows, beta in [(6, 0.1), (6, 0.2), (6, 0.3), (5, 0.4), (4, 0.5), (3, 0.6), (6, 0.7)]:
        batch = {"x": x[:rows]}
        noise = {"z": torch.randn(rows, 3).double()}
        told = eager(batch, noise=noise, beta=beta)
        assert torch.equal(function(batch, noise=noise, beta=beta), told)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_network_that_cannot_be_traced_runs_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    class Opaque(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            torch._dynamo.graph_break()
            return torch.cat([z, z[:, :1]], 1)

    p = Bernoulli(var=["x"], cond_var=["z"], net=Opaque(), name="p")
    loss = p.log_prob().mean()
    data = {"x": torch.ones(4, 3), "z": torch.ones(4, 2)}
    function = loss.function(compile="aot_eager")
    with caplog.at_level(logging.WARNING, logger="ancestral"):
        values = [function(data) for _ in range(3)]
    assert all(torch.equal(v, loss.eval(data)) for v in values)
    assert len([r for r in caplog.records if r.name == "ancestral"]) == 1
    assert "running without compilation" in caplog.text


def test_unknown_backend() -> None:
    with pytest.raises(OptionError, match="compile='fast'"):
        vae().function(compile="fast")


@pytest.mark.parametrize("name", ["gradient penalty", "jvp of a network"])
def test_derivatives_inside_a_loss_are_in_the_graph(name: str, caplog: Any) -> None:
    """Differentiated again in the weights, for any number of rows, in one graph."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    f, (X, V) = Function(net, name="f"), values("x v")
    loss = ((norm(f.grad(X)) - 1) ** 2).mean()
    if name == "jvp of a network":
        loss = sqnorm(f.jvp((X,), along=(V,))).mean()
    function, eager = loss.function(compile="aot_eager"), loss.function()
    for rows in (6, 6, 5, 5, 4, 4):
        given = {"x": torch.randn(rows, 3).double(), "v": torch.randn(rows, 3).double()}
        batch = {k: given[k] for k in loss.input_var}
        value, told = function(batch), eager(batch)
        torch.testing.assert_close(value, told, rtol=1e-12, atol=1e-14)
        ours, theirs = (torch.autograd.grad(v, list(net.parameters())[:3]) for v in (value, told))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        assert torch.equal(function(batch), eager(batch))
    assert not [r for r in caplog.records if r.name == "ancestral"]
    assert counters["stats"]["unique_graphs"] == 2  # one of them without gradient


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="inductor needs a C++ compiler"
)
@pytest.mark.parametrize("name", ["elbo", "gradient penalty", "jvp"])
def test_inductor(name: str) -> None:
    if name != "elbo":
        loss, data, _ = CASES[name]
        function = loss.function(compile=True)
        told = function(data)
        torch.testing.assert_close(function(data), told, rtol=1e-6, atol=1e-6)
        assert not next(iter(function._steps.values())).function.gave_up
        return
    loss, data, _ = CASES["elbo"]
    noise = {"z": torch.randn(6, 3).double()}
    function = loss.function(compile=True)
    told = function(data, noise=noise)
    torch.testing.assert_close(function(data, noise=noise), told, rtol=1e-6, atol=1e-6)
