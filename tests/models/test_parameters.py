"""What is trained: everything that is meant to be, nothing else, each once."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import GradientError, OptionError, TrainingError
from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import KL, E, Function, sqnorm, values
from ancestral.models import Model
from tests.models.parts import LATENT, PIXELS, parts, same, weights


def moved(model: Model, batch, *modules: nn.Module) -> list[bool]:
    """For each module, whether a step changes it."""
    before = [weights(m) for m in modules]
    model.train(batch)
    return [not same(b, weights(m)) for b, m in zip(before, modules, strict=True)]


# -- distributions=None -----------------------------------------------------------------------
def test_every_law_in_the_loss():
    w = parts()
    assert moved(Model(loss=w.loss), {"x": w.x}, w.p, w.q, w.prior) == [True, True, False]


def test_every_function_in_the_loss():
    f, g = nn.Linear(3, 2), nn.Linear(3, 2)
    x = values("x")
    loss = sqnorm(Function(f, name="f")(x) - Function(g, name="g")(x)).mean()
    assert moved(Model(loss=loss), {"x": torch.randn(4, 3)}, f, g) == [True, True]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own
def test_the_function_under_a_gradient_and_under_a_jvp():
    x = torch.randn(4, 3)
    energy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1, bias=False))
    slope = Function(energy, name="g").grad(values("x"))
    assert moved(Model(loss=sqnorm(slope).mean()), {"x": x}, energy) == [True]
    net = nn.Sequential(nn.Linear(3, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False))
    push = Function(net, name="f").jvp([values("x")], [values("v")])
    model = Model(loss=sqnorm(push - values("x")).mean())
    assert moved(model, {"x": x, "v": torch.randn(4, 3)}, net) == [True]


def test_a_number_in_the_loss():
    w = parts()
    weight = nn.Parameter(torch.tensor(2.0))
    model = Model(loss=(weight * w.loss), optimizer_params={"lr": 0.1})
    model.train({"x": w.x})
    assert weight.item() == pytest.approx(1.9, abs=1e-4)
    assert "the numbers written in the loss" in repr(model)
    with pytest.raises(TrainingError, match=r"the numbers written in the loss is in the loss"):
        Model(loss=weight * w.loss, distributions=[w.p, w.q])
    Model(loss=weight * w.loss, distributions=[w.p, w.q, weight]).train({"x": w.x})
    assert weight.item() == pytest.approx(1.899, abs=1e-4)


def test_a_number_that_is_no_parameter():
    w = parts()
    with pytest.raises(TrainingError, match=r"no nn\.Parameter"):
        Model(loss=torch.tensor(2.0, requires_grad=True) * w.loss)
    with pytest.raises(TrainingError, match=r"no nn\.Parameter"):
        Model(loss=nn.Parameter(torch.tensor(2.0)).exp() * w.loss)


# -- a list -----------------------------------------------------------------------------------
def test_one_law_needs_no_list():
    p = Normal(var=["x"], loc=nn.Parameter(torch.zeros(())), scale=1.0)
    assert moved(Model(loss=-p.log_prob().mean(), distributions=p), {"x": torch.ones(3)}, p)


def test_a_product_stands_for_its_factors():
    w = parts()
    model = Model(loss=w.loss, distributions=[w.p * w.prior, w.q])
    assert moved(model, {"x": w.x}, w.p, w.q) == [True, True]


def test_a_renamed_law_is_the_same_law():
    w = parts()
    model = Model(loss=w.loss, distributions=[w.p.replace_var(x="y"), w.q])
    assert moved(model, {"x": w.x}, w.p, w.q) == [True, True]


def test_a_law_left_out():
    w = parts()
    message = r"q\(z\|x\) is in the loss, but not in distributions.*\(fc1\.weight, .*Add q to"
    with pytest.raises(TrainingError, match=message):
        Model(loss=w.loss, distributions=[w.p])
    with pytest.raises(TrainingError, match=r"q\(z\|x\) is in the loss"):
        Model(loss=w.loss, distributions=[])
    w.q.requires_grad_(False)
    assert moved(Model(loss=w.loss, distributions=[w.p]), {"x": w.x}, w.p, w.q) == [True, False]


def test_a_network_left_out():
    f, g = nn.Linear(3, 2), nn.Linear(3, 2)
    x = values("x")
    loss = sqnorm(Function(f, name="f")(x) - Function(g, name="g")(x)).mean()
    with pytest.raises(TrainingError, match="Linear is in the loss, but not in distributions"):
        Model(loss=loss, distributions=[f])
    g.requires_grad_(False)
    model = Model(loss=loss, distributions=[Function(f, name="f")])
    assert moved(model, {"x": torch.randn(4, 3)}, f, g) == [True, False]


def test_a_law_that_the_loss_does_not_mention():
    w = parts()
    with pytest.raises(TrainingError, match=r"p\(x\|z\) is in distributions.*, but not in the"):
        Model(loss=KL(w.q, w.prior).mean(), distributions=[w.p, w.q])
    Model(loss=KL(w.q, w.prior).mean(), distributions=[w.prior, w.q])  # it has no parameter


@pytest.mark.parametrize("wrong", [["q"], [3.0], [torch.zeros(2)], [[nn.Linear(2, 2)]]])
def test_what_cannot_be_trained(wrong):
    with pytest.raises(OptionError, match=r"takes laws, networks and nn\.Parameters, got"):
        Model(loss=parts().loss, distributions=wrong)


def test_what_is_no_loss():
    w = parts()
    with pytest.raises(OptionError, match="takes a loss.*got Generator"):
        Model(loss=w.p)
    with pytest.raises(OptionError, match="losses, got float"):
        Model(loss=w.loss, test_loss=1.0)


def test_nothing_to_train():
    p = Normal(var=["x"], loc=0.0, scale=1.0)
    with pytest.raises(TrainingError, match="no parameter to train"):
        Model(loss=-p.log_prob().mean())


# -- shared -----------------------------------------------------------------------------------
def test_a_shared_parameter_is_stepped_once():
    shared = nn.Linear(3, 3, bias=False)
    p = Normal(var=["x"], cond_var=["z"], net=_Loc(shared), scale=1.0, name="p")
    r = Normal(var=["y"], cond_var=["z"], net=_Loc(shared), scale=1.0, name="r")
    loss = -(p.log_prob() + r.log_prob()).mean()
    x, z = torch.randn(4, 3), torch.randn(4, 3)
    before = shared.weight.detach().clone()
    expected = torch.autograd.grad(
        0.5 * ((x - shared(z)) ** 2).sum(-1).mean() + 0.5 * ((x - shared(z)) ** 2).sum(-1).mean(),
        shared.weight,
    )[0]
    model = Model(
        loss=loss,
        distributions=[p, r],
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.1},
    )
    assert len(model.trained) == 1
    model.train({"x": x, "y": x, "z": z})
    torch.testing.assert_close(shared.weight, before - 0.1 * expected)


class _Loc(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z):
        return {"loc": self.net(z)}


# -- probing ----------------------------------------------------------------------------------
def test_a_layer_that_forward_does_not_use():
    w = parts()
    w.q.spare = nn.Linear(2, 2)
    model = w.model()
    before = weights(model.distributions)
    with pytest.raises(GradientError, match=r"no gradient reaches spare\.weight of q\(z\|x\), sp"):
        model.train({"x": w.x})
    assert same(before, weights(model.distributions))
    w.q.spare.requires_grad_(False)
    model.train({"x": w.x})


def test_a_value_that_is_cut_inside_of_a_network():
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.above = nn.Linear(PIXELS, 3), nn.Linear(3, 2 * LATENT)

        def forward(self, x):
            return self.above(self.below(x).detach())

    w = parts()
    q = Normal(var=["z"], cond_var=["x"], net=Cut(), name="q")
    with pytest.raises(GradientError, match=r"no gradient reaches net\.below\.weight of q"):
        Model(loss=-(E(q, w.p.log_prob()) - KL(q, w.prior)).mean()).train({"x": w.x})


def test_a_network_hidden_in_a_function():
    w = parts()
    net = nn.Linear(PIXELS, 2 * LATENT)
    q = Normal(var=["z"], cond_var=["x"], net=lambda x: net(x), name="q")
    loss = -(E(q, w.p.log_prob()) - KL(q, w.prior)).mean()
    with pytest.raises(TrainingError, match=r"a parameter of shape \[4, 6\] takes part"):
        Model(loss=loss, distributions=[w.p, q]).train({"x": w.x})
    assert net.weight.grad is None
    assert moved(Model(loss=loss, distributions=[w.p, q, net]), {"x": w.x}, net) == [True]
    net.requires_grad_(False)
    assert moved(Model(loss=loss, distributions=[w.p, q]), {"x": w.x}, net, w.p) == [False, True]


def test_a_network_that_makes_the_batch_is_the_callers():
    w = parts()
    net = nn.Linear(PIXELS, PIXELS)
    w.model().train({"x": torch.sigmoid(net(w.x)).round() + 0 * net(w.x)})
    assert net.weight.grad is not None


def test_a_loss_without_any_gradient():
    w = parts()
    model = Model(loss=w.loss.detach(), distributions=[w.p, w.q])
    with pytest.raises(GradientError, match="has no gradient"):
        model.train({"x": w.x})
    with torch.no_grad(), pytest.raises(GradientError, match=r"under torch\.no_grad\(\)"):
        w.model().train({"x": w.x})


def test_a_draw_without_a_pathwise_derivative():
    q = Categorical(var=["z"], cond_var=["x"], net=nn.Linear(PIXELS, 3), name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(3, PIXELS), name="p")
    with pytest.raises(GradientError, match="no pathwise derivative"):
        Model(loss=-E(q, p.log_prob()).mean())


# -- freezing ---------------------------------------------------------------------------------
def test_freezing_between_steps():
    w = parts()
    model = w.model(optimizer_params={"weight_decay": 0.1})
    model.train({"x": w.x})
    w.p.requires_grad_(False)
    assert moved(model, {"x": w.x}, w.p, w.q) == [False, True]
    w.p.requires_grad_(True)
    assert moved(model, {"x": w.x}, w.p, w.q) == [True, True]


def test_what_was_frozen_at_the_start_may_be_freed():
    w = parts()
    w.p.fc1.requires_grad_(False)
    model = w.model()
    assert moved(model, {"x": w.x}, w.p.fc1, w.p.fc2) == [False, True]
    assert len(model.trained) == 6
    w.p.fc1.requires_grad_(True)
    assert moved(model, {"x": w.x}, w.p.fc1, w.p.fc2) == [True, True]


def test_freeing_a_law_that_nobody_trains():
    w = parts()
    w.q.requires_grad_(False)
    model = Model(loss=w.loss, distributions=[w.p])
    model.train({"x": w.x})
    w.q.requires_grad_(True)
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"q\(z\|x\) is in the loss, but not in"):
            model.train({"x": w.x})
    w.q.requires_grad_(False)
    model.train({"x": w.x})


def test_freeing_a_law_whose_gradient_would_be_lost():
    q = Categorical(var=["z"], cond_var=["x"], net=nn.Linear(PIXELS, 3), name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(3, PIXELS), name="p")
    q.requires_grad_(False)
    model = Model(loss=-E(q, p.log_prob()).mean(), distributions=[p, q])
    x = torch.ones(4, PIXELS)
    assert moved(model, {"x": x}, p, q) == [True, False]
    q.requires_grad_(True)
    with pytest.raises(GradientError, match="no pathwise derivative"):
        model.train({"x": x})


def test_an_optimizer_that_does_not_hold_what_is_freed():
    w = parts()
    w.q.requires_grad_(False)
    model = w.model(optimizer=lambda ps: torch.optim.SGD([p for p in ps if p.requires_grad]))
    model.train({"x": w.x})
    w.q.requires_grad_(True)
    with pytest.raises(TrainingError, match=r"does not hold fc1\.weight of q\(z\|x\)"):
        model.train({"x": w.x})
