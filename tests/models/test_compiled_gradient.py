"""``compile="gradient"``: one graph of loss and gradient trains as backward() would have."""

import copy
import gc
import logging
import math
import pickle
import shutil
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from ancestral.core.errors import GradientError, OptionError, TrainingError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E, Function, Parameter, norm, values
from ancestral.models import Model
from ancestral.runtime import compiled
from tests.models.parts import draws, parts, same, weights

pytestmark = pytest.mark.usefixtures("compiler_is_imported")


@pytest.fixture(autouse=True)
def _backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch's own kernels, so that what is compared is equal to the bit."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def captured_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is captured and run as it is, where only that matters: less to wait for."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


def small(**options: Any) -> tuple[Model, Tensor]:
    """A VAE of two linear layers, and a batch."""
    torch.manual_seed(0)
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p_0").double()
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(2, 3).double(), name="p")
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4).double(), name="q")
    loss = (Parameter("beta") * KL(q, prior) - E(q, p.log_prob())).mean()
    x = (torch.rand(6, 3) > 0.5).double()
    return Model(loss, **{"compile": "gradient", **options}), x


def grads(model: Model) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in model.trained]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "ancestral"]


@pytest.mark.parametrize("options", [{}, {"clip_grad_norm": 0.1}], ids=["plain", "clipped"])
def test_trains_as_backward_would(options: dict[str, Any], caplog) -> None:
    """Losses, gradients and weights to the bit, over schedule values and short batches, and one
    graph for all of them."""
    model, x = small(optimizer_params={"lr": 0.05}, **options)
    eager, _ = small(optimizer_params={"lr": 0.05}, compile=False, **options)
    for rows, beta in [(6, 0.1), (6, 0.2), (5, 0.3), (5, 0.4), (4, 0.5), (4, 0.6), (6, 0.7)]:
        noise = {"z": torch.randn(rows, 2).double()}
        found = model.train({"x": x[:rows]}, noise=noise, beta=beta)
        assert torch.equal(found, eager.train({"x": x[:rows]}, noise=noise, beta=beta))
        for ours, theirs in zip(grads(model), grads(eager), strict=True):
            assert torch.equal(ours, theirs)
    assert same(weights(model.distributions), weights(eager.distributions))
    assert counters["stats"]["unique_graphs"] == 1
    assert not told(caplog)


def test_a_generator_gives_the_draws_that_it_gives_eagerly() -> None:
    found = []
    for choice in ("gradient", False):
        model, x = small(compile=choice)
        g = torch.Generator().manual_seed(3)
        found.append([model.train({"x": x}, generator=g, beta=1.0) for _ in range(4)])
    assert torch.equal(torch.stack(found[0]), torch.stack(found[1]))


def test_frozen_shared_and_left_out(caplog) -> None:
    """A frozen weight has no gradient; a shared one has the sum; one that has no part has None."""
    w = parts(torch.float64)
    shared = nn.Parameter(torch.ones(()).double())
    w.q.fc1.weight.requires_grad_(False)
    loss = w.loss * shared + shared
    found = []
    for choice in ("gradient", False):
        model = Model(copy.deepcopy(loss), compile=choice)
        for e in draws(4, w):
            model.train({"x": w.x}, noise={"z": e})
        (q,) = (m for m in model.distributions if getattr(m, "name", "") == "q")
        (number,) = (m[0] for m in model.distributions if isinstance(m, nn.ParameterList))
        model.set_loss(-q.log_prob().mean() * number)  # the decoder has no part in it
        batch = {"x": w.x, "z": torch.zeros(8, 2).double()}
        for _ in range(3):
            model.train(batch)
        assert any(g is None for g in grads(model))
        found.append((grads(model), weights(model.distributions), q.fc1.weight.grad))
    for ours, theirs in zip(found[0][0], found[1][0], strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours, theirs)
    assert same(found[0][1], found[1][1])
    assert found[0][2] is None
    assert not told(caplog)


def test_batch_norm_dropout_and_the_test_loss(caplog) -> None:
    """Running means move as they do eagerly; test() sees the eval mode, and moves nothing."""
    found = []
    for choice in ("gradient", False):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.0), nn.Linear(4, 3))
        p = Bernoulli(var=["x"], cond_var=["y"], net=net.double(), name="p")
        model = Model(-p.log_prob().mean(), compile=choice)
        batch = {"x": torch.ones(5, 3).double(), "y": torch.randn(5, 3).double()}
        out = [model.train(batch) for _ in range(3)]
        out += [model.test(batch), model.test(batch), model.train(batch), model.test(batch)]
        found.append((torch.stack(out), weights(model.distributions)))
    assert torch.equal(found[0][0], found[1][0])
    assert same(found[0][1], found[1][1])
    assert not told(caplog)


def test_a_model_that_was_tested_first_is_probed_all_the_same() -> None:
    hidden = nn.Parameter(torch.ones(3).double())
    f = Function(lambda x: (x * hidden).sum(1), name="f")
    p = Bernoulli(var=["x"], cond_var=["y"], net=nn.Linear(3, 3).double(), name="p")
    model = Model((f(values("x")) - p.log_prob()).mean(), compile="gradient")
    batch = {"x": torch.ones(5, 3).double(), "y": torch.randn(5, 3).double()}
    model.test(batch)
    with pytest.raises(TrainingError, match="hidden in a function"):
        model.train(batch)


def test_each_gradient_has_memory_of_its_own() -> None:
    """The gradient of a + b is one tensor, and that of a * x is x: clipping reaches neither."""
    a, b, c = (nn.Parameter(torch.full((3,), v).double()) for v in (1.0, 1.0, 2.0))
    f = Function(lambda x: ((_held(0) + _held(1)) * 4 + _held(2) * x[0]).sum()[None], name="f")
    held = nn.ParameterList([a, b, c])

    def _held(i: int) -> Tensor:
        return held[i]

    model = Model(
        f(values("x")).mean(),
        distributions=[held],
        compile="gradient",
        clip_grad_value=0.5,
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.1},
    )
    x = torch.full((1, 3), 3.0).double()
    for _ in range(3):
        model.train({"x": x})
        assert torch.equal(x, torch.full((1, 3), 3.0).double())
        assert all(torch.equal(p.grad, torch.full((3,), 0.5).double()) for p in (a, b, c))
    assert len({p.grad.data_ptr() for p in (a, b, c)}) == 3
    torch.testing.assert_close(c.detach(), torch.full((3,), 1.85).double())


@pytest.mark.usefixtures("captured_only")
def test_an_optimizer_that_accumulates() -> None:
    """What zero_grad() leaves is added to, as backward() adds."""

    class EverySecond(torch.optim.SGD):
        count = 0

        def zero_grad(self, set_to_none: bool = True) -> None:
            if self.count % 2 == 0:
                super().zero_grad(set_to_none)

        def step(self, closure: Any = None) -> None:
            self.count += 1
            if self.count % 2 == 0:
                super().step(closure)

    found = []
    for choice in ("gradient", False):
        model, x = small(compile=choice, optimizer=EverySecond, optimizer_params={"lr": 0.1})
        g = torch.Generator().manual_seed(1)
        for _ in range(6):
            model.train({"x": x}, beta=1.0, generator=g)
        found.append(weights(model.distributions))
    assert same(*found)


@pytest.mark.usefixtures("captured_only")
def test_hooks_of_parameters_are_called(caplog) -> None:
    model, x = small()
    model.train({"x": x}, beta=1.0)
    called = []
    model.trained[0].register_post_accumulate_grad_hook(lambda p: called.append(p))
    for _ in range(3):
        model.train({"x": x}, beta=1.0)
    assert len(called) == 3
    assert len(told(caplog)) == 1
    assert "hook" in told(caplog)[0]


@pytest.mark.usefixtures("captured_only")
def test_a_batch_that_wants_a_gradient_gets_it(caplog) -> None:
    model, x = small()
    model.train({"x": x}, beta=1.0), model.train({"x": x}, beta=1.0)
    point = x.clone().requires_grad_()
    model.train({"x": point}, beta=1.0)
    assert point.grad is not None
    assert not told(caplog)


def test_a_network_that_cannot_be_traced_runs_eagerly(caplog) -> None:
    class Opaque(nn.Linear):
        def forward(self, z: Tensor) -> Tensor:
            torch._dynamo.graph_break()
            return super().forward(z)

    p = Bernoulli(var=["x"], cond_var=["z"], net=Opaque(2, 3).double(), name="p")
    batch = {"x": torch.ones(4, 3).double(), "z": torch.ones(4, 2).double()}
    found = []
    for choice in ("gradient", False):
        model = Model(-copy.deepcopy(p).log_prob().mean(), compile=choice)
        with caplog.at_level(logging.WARNING, logger="ancestral"):
            found.append([model.train(batch) for _ in range(3)])
            model.test(batch)
    assert found[0] == found[1]
    assert len(told(caplog)) == 1
    assert "running without compilation" in told(caplog)[0]


def test_a_gradient_penalty_is_in_the_graph(caplog) -> None:
    found = []
    for choice in ("gradient", False):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        f = Function(net, name="f")
        model = Model(
            (f(values("x")) + (norm(f.grad(values("x"))) - 1) ** 2).mean(), compile=choice
        )
        batch = {"x": torch.randn(5, 3).double()}
        found.append((torch.stack([model.train(batch) for _ in range(4)]), grads(model)))
    assert torch.equal(found[0][0], found[1][0])
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours, theirs)
    assert not told(caplog)


@pytest.mark.usefixtures("captured_only")
def test_a_loss_that_is_not_finite_leaves_the_weights() -> None:
    model, x = small()
    for _ in range(2):
        model.train({"x": x}, beta=1.0)
    before = weights(model.distributions)
    with pytest.raises(Exception, match="beta"):
        model.train({"x": x}, beta=math.nan)
    assert same(before, weights(model.distributions))


@pytest.mark.usefixtures("captured_only")
def test_a_step_under_no_grad_is_refused() -> None:
    model, x = small()
    model.train({"x": x}, beta=1.0)
    before = weights(model.distributions)
    with pytest.raises(GradientError, match="no_grad"), torch.no_grad():
        model.train({"x": x}, beta=1.0)
    assert same(before, weights(model.distributions))


@pytest.mark.usefixtures("captured_only")
def test_copies_make_their_own_graph() -> None:
    model, x = small()
    noise = {"z": torch.randn(6, 2).double()}
    for _ in range(2):
        model.train({"x": x}, beta=1.0, noise=noise)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    assert all(not o._steps for o in others)
    want = [model.train({"x": x}, beta=1.0, noise=noise) for _ in range(3)]
    for other in others:
        assert want == [other.train({"x": x}, beta=1.0, noise=noise) for _ in range(3)]


@pytest.mark.parametrize("step", ["train", "test"])  # a graph each
@pytest.mark.parametrize("choice", ["gradient", "aot_eager"])
def test_weights_are_freed(choice: str, step: str) -> None:
    model, x = small(compile=choice)
    for _ in range(3):
        getattr(model, step)({"x": x}, beta=1.0)
    gone = [weakref.ref(model), *map(weakref.ref, model.trained)]
    del model
    gc.collect()
    assert [r() for r in gone] == [None] * len(gone)


@pytest.fixture
def processes() -> Iterator[None]:
    """A group of one process."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
def test_refused_where_processes_average_gradients(processes: None) -> None:
    net = nn.parallel.DistributedDataParallel(nn.Linear(2, 3))
    p = Bernoulli(var=["x"], cond_var=["z"], net=net, name="p")
    loss = -p.log_prob().mean()
    with pytest.raises(TrainingError) as error:
        Model(loss, compile="gradient")
    assert str(error.value) == (
        '-mean(log p(x|z)): compile="gradient", but p(x|z) has a DistributedDataParallel in it. '
        "That averages gradients over processes in hooks of backward(), which a gradient inside "
        "the graph never calls: each process would train on its own rows alone. Write "
        "compile=True, which compiles the loss and leaves backward() as it is."
    )
    p.net = net.module
    model = Model(loss, compile="gradient")
    p.net = net  # wrapped after the model was built
    with pytest.raises(TrainingError, match="DistributedDataParallel"):
        model.train({"x": torch.ones(4, 3), "z": torch.ones(4, 2)})


def test_what_has_no_meaning() -> None:
    with pytest.raises(OptionError, match="retain_graph=True with compile"):
        small(retain_graph=True)
    with pytest.raises(OptionError, match='True, False, "gradient" or the name'):
        small(compile="gradients")
    with pytest.raises(OptionError, match="a function returns the loss alone"):
        values("x").mean().function(compile="gradient")


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="inductor needs a C++ compiler"
)
@pytest.mark.parametrize("choice", ["gradient", True])
def test_inductor(choice: Any, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """In float32, over short batches and schedule values, within 1e-6."""
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    w = parts()
    loss = -(w.elbo * Parameter("beta")).mean()
    found = []
    for how in (choice, False):
        model = Model(copy.deepcopy(loss), compile=how, optimizer_params={"lr": 1e-3})
        g = torch.Generator().manual_seed(1)
        out = [
            model.train({"x": w.x[:rows]}, generator=g, beta=beta)
            for rows, beta in [(8, 0.1), (8, 0.2), (7, 0.3), (7, 0.4), (8, 0.5)]
        ]
        found.append((torch.stack(out), grads(model)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert counters["stats"]["unique_graphs"] == 1
    assert not told(caplog)
