"""Model.test: eval mode, no gradient, and nothing changes."""

import pytest
import torch
from torch import nn

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E, Function, Parameter, sqnorm, values
from ancestral.models import Model
from tests.models.parts import draws, hand_loss, parts, same, weights


class Noisy(nn.Module):
    """A network that behaves otherwise in train mode, and remembers its last mode."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(wide, 8), nn.Linear(8, out)
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.seen: list[tuple[bool, bool, bool]] = []

    def forward(self, x):
        self.seen.append((self.training, self.drop.training, torch.is_grad_enabled()))
        return self.out(self.drop(self.norm(self.fc(x))))


def noisy() -> tuple[Model, Noisy, Noisy, torch.Tensor]:
    torch.manual_seed(0)
    encoder, decoder = Noisy(6, 4), Noisy(2, 6)
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="prior")
    model = Model(loss=-(E(q, p.log_prob()) - KL(q, prior)).mean())
    return model, encoder, decoder, (torch.rand(16, 6) > 0.5).float()


def test_it_equals_the_loss_by_hand():
    w = parts(torch.float64)
    (eps,) = draws(1, w)
    value = w.model().test({"x": w.x}, noise={"z": eps})
    assert not value.requires_grad
    assert float(value) == pytest.approx(hand_loss(w.p, w.q, w.x, eps).item(), rel=1e-12)


def test_dropout_is_off_and_statistics_stand_still():
    model, encoder, decoder, x = noisy()
    for _ in range(3):
        model.train({"x": x})
    assert encoder.seen[-1] == (True, True, True)
    before, state = weights(model.distributions), dict(model.optimizer.state)
    steps = [float(s["step"]) for s in state.values()]
    eps = torch.randn(16, 2)
    first = model.test({"x": x}, noise={"z": eps})
    assert encoder.seen[-1] == decoder.seen[-1] == (False, False, False)
    assert float(model.test({"x": x}, noise={"z": eps})) == float(first)
    assert same(before, weights(model.distributions))
    assert [float(s["step"]) for s in model.optimizer.state.values()] == steps
    assert not same(before, _after_training(model, x)), "train() moves the statistics"


def _after_training(model, x):
    model.train({"x": x})
    return weights(model.distributions)


def test_each_module_gets_its_own_flag_back():
    model, encoder, decoder, x = noisy()
    encoder.norm.eval()
    decoder.drop.eval()
    flags = {id(m): m.training for m in model.distributions.modules()}
    assert {True, False} == set(flags.values())
    model.test({"x": x})
    assert {id(m): m.training for m in model.distributions.modules()} == flags


def test_flags_come_back_after_an_error():
    model, encoder, _, x = noisy()
    encoder.norm.eval()
    with pytest.raises(RuntimeError):
        model.test({"x": x[:, :5]})
    assert not encoder.norm.training
    assert encoder.training
    assert torch.is_grad_enabled()


def test_train_leaves_the_modes_inside_a_law_alone():
    model, encoder, _, x = noisy()
    encoder.norm.eval()  # frozen statistics
    before = weights(encoder.norm)["running_mean"]
    model.train({"x": x})
    assert not encoder.norm.training
    assert torch.equal(before, encoder.norm.running_mean)


def test_train_wakes_a_law_that_was_put_to_eval_mode():
    model, encoder, decoder, x = noisy()
    for law in model.distributions:
        law.eval()
    model.train({"x": x})
    assert encoder.seen[-1] == decoder.seen[-1] == (True, True, True)


def test_a_frozen_law_outside_of_distributions_is_in_eval_mode_too():
    torch.manual_seed(0)
    net, feature = nn.Linear(6, 3), Noisy(6, 3).requires_grad_(False)
    x = values("x")
    loss = sqnorm(Function(net, name="f")(x) - Function(feature, name="g")(x)).mean()
    model = Model(loss=loss, distributions=[net])
    batch = torch.randn(8, 6)
    model.train({"x": batch})
    assert feature.seen[-1] == (True, True, True), "train() leaves it as it is"
    model.test({"x": batch})
    assert feature.seen[-1] == (False, False, False)
    assert feature.training


def test_a_test_loss_of_its_own():
    w = parts(torch.float64)
    reconstruction = -E(w.q, w.p.log_prob()).mean()
    model = w.model(test_loss=reconstruction)
    (eps,) = draws(1, w)
    expected = hand_loss(w.p, w.q, w.x, eps, beta=0.0).item()
    assert float(model.test({"x": w.x}, noise={"z": eps})) == pytest.approx(expected, rel=1e-12)
    assert model.test_loss is reconstruction


def test_a_test_loss_with_other_inputs():
    w = parts()
    loss = (Parameter("beta") * KL(w.q, w.prior) - E(w.q, w.p.log_prob())).mean()
    model = Model(loss=loss, test_loss=w.loss, distributions=[w.p, w.q])
    model.train({"x": w.x}, beta=0.1)
    assert model.test({"x": w.x}).shape == ()


def test_a_test_loss_may_keep_its_rows():
    w = parts()
    assert w.model(test_loss=-w.elbo).test({"x": w.x}).shape == (8,)


def test_the_same_seed_gives_the_same_value():
    w = parts()
    model = w.model()
    g = torch.Generator()
    values = [float(model.test({"x": w.x}, generator=g.manual_seed(s))) for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_testing_first_does_not_spoil_training():
    w, v = parts(torch.float64), parts(torch.float64)
    eps = draws(2, w)
    tested, plain = w.model(), v.model()
    tested.test({"x": w.x})
    for e in eps:
        a = tested.train({"x": w.x}, noise={"z": e})
        b = plain.train({"x": v.x}, noise={"z": e})
        assert float(a) == float(b)
        tested.test({"x": w.x})
