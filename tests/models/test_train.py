"""Model.train is the step that one would have written by hand."""

import functools

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    DataError,
    MissingVariableError,
    OptionError,
    TrainingError,
)
from ancestral.distributions import Normal
from ancestral.losses import KL, E, Parameter
from ancestral.lowering import function
from ancestral.models import Model
from tests.models.parts import draws, hand_loss, hand_steps, parts, same, weights


def test_it_returns_a_detached_number_and_updates():
    w = parts()
    model, before = w.model(), weights(w.p)
    loss = model.train({"x": w.x})
    assert loss.shape == ()
    assert not loss.requires_grad
    assert not same(before, weights(w.p))


ADAM = functools.partial(torch.optim.Adam, lr=1e-2)
LOOPS = {
    "Adam, which is fused": (torch.optim.Adam, {"lr": 1e-2}, ADAM),
    "Adam, plain": (torch.optim.Adam, {"lr": 1e-2, "foreach": False}, ADAM),
    "SGD with momentum": (
        torch.optim.SGD,
        {"lr": 1e-2, "momentum": 0.9},
        functools.partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_fifty_steps_equal_a_loop_by_hand(name):
    optimizer, options, by_hand = LOOPS[name]
    w = parts(torch.float64)
    noise = draws(50, w)
    hand = list(hand_steps(w, by_hand, noise))
    model = w.model(optimizer=optimizer, optimizer_params=options)
    for eps, (loss, after) in zip(noise, hand, strict=True):
        ours = model.train({"x": w.x}, noise={"z": eps})
        assert ours.dtype == torch.float64
        assert float(ours) == pytest.approx(loss, rel=1e-12, abs=0)
        now = {**weights(w.p, "p."), **weights(w.q, "q.")}
        for name, value in after.items():
            torch.testing.assert_close(now[name], value, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        ({"clip_grad_norm": 0.1}, lambda ps: nn.utils.clip_grad_norm_(ps, 0.1)),
        ({"clip_grad_value": 0.01}, lambda ps: nn.utils.clip_grad_value_(ps, 0.01)),
        (
            {"clip_grad_norm": 0.1, "clip_grad_value": 0.01},
            lambda ps: (
                nn.utils.clip_grad_norm_(ps, 0.1),
                nn.utils.clip_grad_value_(ps, 0.01),
            ),
        ),
    ],
)
def test_clipping_is_torchs(ours, torchs):
    w = parts(torch.float64)
    noise = draws(10, w)
    hand = list(hand_steps(w, functools.partial(torch.optim.SGD, lr=0.1), noise, torchs))
    free = list(hand_steps(w, functools.partial(torch.optim.SGD, lr=0.1), noise))
    assert abs(hand[-1][0] - free[-1][0]) > 1e-3, "the bound is never reached"
    model = w.model(optimizer=torch.optim.SGD, optimizer_params={"lr": 0.1}, **ours)
    losses = [float(model.train({"x": w.x}, noise={"z": eps})) for eps in noise]
    assert losses == pytest.approx([loss for loss, _ in hand], rel=1e-12, abs=0)


@pytest.mark.parametrize("off", [None, False])
def test_no_bound_on_the_gradient(off):
    w = parts()
    model, before = w.model(clip_grad_norm=off, clip_grad_value=off), weights(w.p)
    model.train({"x": w.x})
    assert not same(before, weights(w.p))


@pytest.mark.parametrize("bound", [0, -1.0, True, "1", float("nan")])
@pytest.mark.parametrize("name", ["clip_grad_norm", "clip_grad_value"])
def test_a_bound_that_is_none(name, bound):
    with pytest.raises(OptionError, match=f"{name}=.* must be a positive number"):
        parts().model(**{name: bound})


def test_the_second_step_on_the_same_tensor_sees_the_new_weights():
    w = parts(torch.float64)
    model = w.model(optimizer_params={"lr": 0.1})
    (eps,) = draws(1, w)
    model.train({"x": w.x}, noise={"z": eps})
    expected = hand_loss(w.p, w.q, w.x, eps).item()
    assert float(model.train({"x": w.x}, noise={"z": eps})) == pytest.approx(expected, rel=1e-12)


def test_a_loss_that_keeps_its_rows():
    w = parts()
    with pytest.raises(TrainingError, match=r"one value per row.*\.mean\(\)"):
        Model(loss=-w.elbo, distributions=[w.p, w.q])


def test_a_weight_with_rows_makes_the_loss_keep_them():
    w = parts()
    model = Model(loss=Parameter("r") * w.loss, distributions=[w.p, w.q])
    before = weights(w.p)
    with pytest.raises(TrainingError, match=r"shape \(8,\).*\.mean\(\)"):
        model.train({"x": w.x, "r": torch.ones(8)})
    assert same(before, weights(w.p))


def test_other_entries_are_ignored_and_missing_ones_are_not():
    w = parts()
    model = w.model()
    model.train({"x": w.x, "label": torch.arange(3), "path": "a.png"})
    with pytest.raises(MissingVariableError, match=r"needs a value for x\..*did you mean 'X'"):
        model.train({"X": w.x})
    with pytest.raises(MissingVariableError, match="needs a value for x"):
        model.train()
    with pytest.raises(DataError, match=r"a batch is a dict of tensors, e\.g\. \{'x': x\}"):
        model.train(w.x)
    with pytest.raises(OptionError, match="no parameter or option 'lr'"):
        model.train({"x": w.x}, lr=0.1)
    with pytest.raises(OptionError, match=r"noise=\{'y'"):
        model.train({"x": w.x}, noise={"y": w.x})


def test_an_explicit_generator():
    def losses(seed: int, default: int) -> list[float]:
        w = parts()
        model = w.model()
        torch.manual_seed(default)
        g = torch.Generator().manual_seed(seed)
        return [float(model.train({"x": w.x}, generator=g)) for _ in range(3)]

    assert losses(1, default=2) == losses(1, default=3)
    assert losses(1, default=2) != losses(2, default=2)


def test_the_default_generator():
    def losses(seed: int) -> list[float]:
        w = parts()
        model = w.model()
        torch.manual_seed(seed)
        return [float(model.train({"x": w.x})) for _ in range(3)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


# -- annealing --------------------------------------------------------------------------------
def annealed(w) -> Model:
    loss = (Parameter("beta") * KL(w.q, w.prior) - E(w.q, w.p.log_prob())).mean()
    return Model(loss=loss, distributions=[w.p, w.q], optimizer_params={"lr": 1e-2})


@pytest.mark.parametrize("wrap", [float, lambda b: torch.tensor(b, dtype=torch.float64)])
@pytest.mark.parametrize("where", ["option", "batch"])
def test_an_annealed_weight(wrap, where):
    w = parts(torch.float64)
    model = annealed(w)
    for i, eps in enumerate(draws(6, w)):
        beta = i / 5
        expected = hand_loss(w.p, w.q, w.x, eps, beta).item()
        if where == "option":
            ours = model.train({"x": w.x}, noise={"z": eps}, beta=wrap(beta))
        else:
            ours = model.train({"x": w.x, "beta": wrap(beta)}, noise={"z": eps})
        assert ours.dtype == torch.float64
        assert float(ours) == pytest.approx(expected, rel=1e-12)


def test_an_annealed_weight_is_not_lowered_again(monkeypatch):
    w = parts()
    model = annealed(w)
    model.train({"x": w.x}, beta=0.1)
    lower = function.lower_with_flow
    calls = []
    monkeypatch.setattr(
        function, "lower_with_flow", lambda *args: calls.append(args) or lower(*args)
    )
    for i in range(5):
        model.train({"x": w.x}, beta=0.1 * i)
        model.train({"x": w.x}, beta=torch.tensor(0.1 * i))
    assert not calls
    model.train({"x": w.x, "beta": torch.ones(8)[0]})
    assert not calls
    model.set_loss(model.loss)
    assert calls, "the counter counts nothing"


def test_a_weight_that_is_missing():
    w = parts()
    with pytest.raises(MissingVariableError, match="needs a value for beta"):
        annealed(w).train({"x": w.x})


# -- losses -----------------------------------------------------------------------------------
def test_set_loss_keeps_the_optimizer():
    w = parts(torch.float64)
    model = w.model()
    model.train({"x": w.x})
    optimizer = model.optimizer
    other = 2 * w.loss
    model.set_loss(other)
    (eps,) = draws(1, w)
    expected = 2 * hand_loss(w.p, w.q, w.x, eps).item()
    assert float(model.test({"x": w.x}, noise={"z": eps})) == pytest.approx(expected, rel=1e-12)
    assert float(model.train({"x": w.x}, noise={"z": eps})) == pytest.approx(expected, rel=1e-12)
    assert model.loss is other
    assert model.test_loss is other
    assert model.optimizer is optimizer
    assert {float(s["step"]) for s in optimizer.state.values()} == {2.0}


def test_set_loss_that_fails_changes_nothing():
    w = parts()
    model = w.model()
    loss = model.loss
    for wrong, error in ((-w.elbo, TrainingError), (w.p, OptionError), (3.0, OptionError)):
        with pytest.raises(error):
            model.set_loss(wrong)
        with pytest.raises(OptionError):
            model.set_loss(w.loss, w.p)
        assert model.loss is loss
        assert model.test_loss is loss
        model.train({"x": w.x})


def test_phases_may_train_a_part_of_the_laws():
    w = parts()
    model = w.model()
    before = weights(w.p)
    model.set_loss(KL(w.q, w.prior).mean())
    model.train({"x": w.x})
    assert same(before, weights(w.p)), "the decoder is not in this loss"
    model.set_loss(w.loss)
    model.train({"x": w.x})
    assert not same(before, weights(w.p))


def test_retain_graph_keeps_what_lies_behind_the_batch():
    w = parts()
    scale = torch.ones((), requires_grad=True)
    x = w.x * scale.exp() / scale.exp()
    w.model(retain_graph=True).train({"x": x})
    x.sum().backward()
    assert scale.grad is not None

    w = parts()
    x = w.x * scale.exp() / scale.exp()
    w.model().train({"x": x})
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        x.sum().backward()


def test_a_batch_that_requires_a_gradient_is_the_callers():
    w = parts()
    x = w.x.clone().requires_grad_()
    w.model().train({"x": x})
    assert x.grad is not None


def test_a_parameter_of_the_callers_may_be_the_batch_or_the_noise():
    """Such as pseudo-inputs that another optimizer moves."""
    w = parts()
    x, eps = nn.Parameter(w.x.clone()), nn.Parameter(draws(1, w)[0])
    w.model().train({"x": x}, noise={"z": eps})
    assert x.grad is not None
    assert eps.grad is not None


def test_float64_follows_the_laws():
    w = parts(torch.float64)
    model = w.model()
    assert model.train({"x": w.x}).dtype == torch.float64
    assert model.test({"x": w.x}).dtype == torch.float64
    assert {p.grad.dtype for p in model.trained} == {torch.float64}


def test_moving_the_laws_to_another_precision():
    w = parts()
    model = w.model()
    model.train({"x": w.x})
    for law in (w.p, w.q, w.prior):
        law.double()
    model = w.model()
    assert model.train({"x": w.x.double()}).dtype == torch.float64


def test_a_loss_without_data():
    p = Normal(var=["x"], loc=nn.Parameter(torch.zeros(3)), scale=1.0, name="p")
    target = Normal(var=["x"], loc=2.0, scale=1.0, features_shape=[3], name="t")
    loss = -E(p, target.log_prob()).mean()
    model = Model(loss=loss, optimizer_params={"lr": 0.1})
    for _ in range(200):
        model.train(batch_n=64)
    assert p.loc.detach().tolist() == pytest.approx([2.0] * 3, abs=0.3)


def test_it_prints():
    assert repr(parts().model()) == (
        "Model(\n  trained:\n    p(x|z)\n    q(z|x)\n  loss:\n    "
        "-mean(E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p_{prior}(z)])\n  optimizer: Adam\n)"
    )
