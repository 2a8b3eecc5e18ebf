"""`f.detach()`: the parameters of a function are cut, the path through its arguments is not."""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import GradientError, OptionError
from ancestral.distributions import Bernoulli, Normal, weights
from ancestral.losses import E, Function, Score, values
from ancestral.models import Model

f64 = torch.float64


@pytest.fixture
def parts():
    torch.manual_seed(0)
    nets = nn.Linear(2, 4).double(), nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    q = Normal(var=["z"], cond_var=["x"], net=nets[0], name="q")
    return q, Function(nets[1].double(), name="f"), nets, {"x": torch.randn(5, 2, dtype=f64)}


def test_it_prints_as_a_detached_law_does(parts):
    q, f, _, _ = parts
    loss = E(q, f.detach()(values("z")))
    assert str(loss) == "E_{q(z|x)}[sg[f](z)]"
    assert loss.latex() == (r"\mathbb{E}_{q(z|x)} \left[\mathrm{sg}[f](z) \right]")
    assert str(f.detach().grad(values("z"))) == "∇sg[f](z)"
    assert f.detach().detach().net.net is f.net


def test_gradients_reach_the_arguments_alone(parts):
    q, f, nets, batch = parts
    loss = E(q, f.detach()(values("z")) - 2 * f(values("z"))).mean()
    function, noise = loss.function(), {"z": torch.randn(5, 2, dtype=f64)}
    out = nets[0](batch["x"])
    z = out[:, :2] + nn.functional.softplus(out[:, 2:]) * noise["z"]
    trained = [*nets[0].parameters(), *nets[1].parameters()]
    wanted = [*torch.autograd.grad(-nets[1](z).mean(), trained[:2], retain_graph=True)]
    wanted += torch.autograd.grad(-2 * nets[1](z).mean(), trained[2:])
    for _ in range(2):  # the interpreter, then the generated step
        value = function(batch, noise=noise)
        torch.testing.assert_close(value, -nets[1](z).mean(), rtol=1e-12, atol=1e-14)
        for one, other in zip(torch.autograd.grad(value, trained), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_it_is_the_function_as_it_is_at_each_step(parts):
    q, f, nets, batch = parts
    loss = E(q, f.detach()(values("z"))).mean()
    function = loss.function()
    noise = {"z": torch.zeros(5, 2, dtype=f64)}
    before = [function(batch, noise=noise) for _ in range(2)][-1]
    with torch.no_grad():
        nets[1][2].bias += 1.0
    torch.testing.assert_close(function(batch, noise=noise), before + 1.0)
    twin = copy.deepcopy(loss)
    assert twin.eval(batch, noise=noise) == function(batch, noise=noise)


def test_nobody_has_to_train_it(parts):
    q, f, nets, batch = parts
    kept = [p.clone() for p in nets[1].parameters()]
    options = {"optimizer": torch.optim.Adam, "optimizer_params": {"lr": 0.05}}
    model = Model(loss=E(q, f.detach()(values("z"))).mean(), distributions=[q], **options)
    noise = {"z": torch.zeros(5, 2, dtype=f64)}
    first = model.train(batch, noise=noise)
    for _ in range(20):
        last = model.train(batch, noise=noise)
    assert last < first
    assert all(torch.equal(a, b) for a, b in zip(kept, nets[1].parameters(), strict=True))


def test_a_draw_without_a_path_still_needs_an_estimator(parts):
    _, f, _, batch = parts
    b = Bernoulli(var=["z"], cond_var=["x"], net=nn.Linear(2, 2).double(), name="b")
    with pytest.raises(GradientError, match="b"):
        E(b, f.detach()(values("z"))).mean().eval(batch)
    loss = E(b, f.detach()(values("z"))).mean().estimate({b: Score()})
    loss.eval(batch).backward()
    assert all(p.grad is None for p in f.net.parameters())


def test_one_graph(parts):
    q, f, nets, batch = parts
    loss = E(q, f.detach()(values("z"))).mean()
    function, plain = loss.function(compile="aot_eager"), loss.function()
    noise = {"z": torch.randn(5, 2, dtype=f64)}
    for _ in range(2):
        value, wanted = (run(batch, noise=noise) for run in (function, plain))
        found, exact = (
            torch.autograd.grad(v, list(nets[0].parameters())) for v in (value, wanted)
        )
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-14)
    assert not next(iter(function._steps.values())).function.gave_up


def test_what_has_no_parameters_of_its_own_is_refused():
    with pytest.raises(OptionError, match=r"no nn.Module.*cut all, f\(x\).detach"):
        Function(torch.tanh, name="f").detach()
    w = weights(nn.Linear(2, 1), prior=Normal(loc=0.0, scale=1.0))
    with pytest.raises(OptionError, match="Detach the law"):
        Function(w.apply, name="f").detach()
