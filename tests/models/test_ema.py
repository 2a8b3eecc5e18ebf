"""Averages of weights: copies that follow their source, which no gradient reaches."""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError
from ancestral.distributions import EmpiricalDistribution, Normal
from ancestral.losses import E, Function, sqnorm, values
from ancestral.models import Model, Player
from tests.models.games import game
from tests.models.parts import parts, same, weights


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def consistency(decay=0.9):
    """E_{p_data(x)}[||f(x) - f_{ema}(2 x)||^2], and its network (sentence 14)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    f, x = Function(net, name="f"), values("x")
    target = f.ema(decay)
    return net, target, E(EmpiricalDistribution(["x"]), sqnorm(f(x) - target(2 * x)))


def test_it_prints_and_trains_as_by_hand():
    """Loss, cut gradient, and the average after each step: theta^- = .9 theta^- + .1 theta."""
    net, target, loss = consistency()
    assert str(loss) == "E_{p_{data}(x)}[||f(x) - f_{ema}(2 x)||^2]"
    assert "f_{ema}" in loss.latex()
    hand = copy.deepcopy(net)
    slow = flat(hand)
    model = Model(loss, optimizer=torch.optim.SGD, optimizer_params={"lr": 0.1})
    step = torch.optim.SGD(hand.parameters(), lr=0.1)
    x = torch.randn(5, 3, dtype=torch.float64)
    for _ in range(4):
        with torch.no_grad():
            given = copy.deepcopy(hand)
            nn.utils.vector_to_parameters(slow, given.parameters())
        value = (hand(x) - given(2 * x).detach()).square().sum(-1).mean()
        step.zero_grad()
        value.backward()
        step.step()
        slow = 0.9 * slow + 0.1 * flat(hand)
        assert float(model.train({"x": x})) == pytest.approx(value.item(), rel=1e-12)
        torch.testing.assert_close(flat(net), flat(hand), rtol=1e-12, atol=0)
        torch.testing.assert_close(flat(target.net), slow, rtol=1e-12, atol=0)
    assert not any(p.requires_grad for p in target.net.parameters())


def test_it_is_in_the_checkpoint_and_in_copies(tmp_path):
    _, target, loss = consistency()
    x = torch.randn(5, 3, dtype=torch.float64)
    model = Model(loss)
    model.train({"x": x})
    model.save(tmp_path)
    other = copy.deepcopy(model)
    before = flat(target.net)
    other.train({"x": x})
    assert torch.equal(before, flat(target.net))  # the copy has an average of its own
    model.train({"x": x})
    a, b = weights(model._state), weights(other._state)
    assert same(a, b)
    model.load(tmp_path)
    assert torch.equal(before, flat(target.net))


def test_a_law_that_is_no_part_of_the_loss():
    """Named beside the laws, it is kept up to date, to be drawn from or evaluated."""
    w = parts()
    slow = w.q.ema(0.5)
    assert slow.prob_text == "q_{ema}(z|x)"
    start = flat(w.q)
    model = Model(loss=w.loss, distributions=[w.p, w.q, slow])
    model.train({"x": w.x})
    torch.testing.assert_close(flat(slow), 0.5 * start + 0.5 * flat(w.q))
    tested = Model(w.loss, test_loss=E(slow, w.p.log_prob()).mean(), distributions=[w.p, w.q])
    tested.train({"x": w.x})
    assert not torch.equal(flat(slow), flat(w.q))
    assert torch.isfinite(tested.test({"x": w.x}))


def test_a_joint_is_averaged_factor_by_factor():
    w = parts()
    slow = (w.p * w.prior).ema(0.9)
    assert str(slow).splitlines()[1].strip() == "p_{ema}(x,z) = p_{ema}(x|z)p_{prior}(z)"
    assert slow.factors[1].law is w.prior  # nothing to average
    z = slow.marginalize_var("x").sample(batch_n=3)["z"]
    assert slow.get_log_prob({"x": w.x[:3], "z": z}).shape == (3,)


def test_it_follows_the_steps_of_its_player():
    w = game()
    slow = w.p_g.ema(0.0)
    d, _ = w.players()
    g = Player("g", minimise=w.value, over=[w.p_g, slow])
    model = Model(players=[d, g])
    start = flat(w.generator)
    model.play_next({"x": w.x})
    assert torch.equal(flat(slow), start)
    model.play_next({"x": w.x})
    assert torch.equal(flat(slow), flat(w.generator))
    assert not torch.equal(flat(slow), start)


def test_buffers_are_taken_over():
    net = nn.BatchNorm1d(3)
    f = Function(net, name="f")
    slow, x = f.ema(0.9), values("x")
    model = Model(E(EmpiricalDistribution(["x"]), sqnorm(f(x)) + sqnorm(slow(x)).detach()))
    model.train({"x": torch.randn(6, 3) + 4})
    assert torch.equal(slow.net.running_mean, net.running_mean)


def test_mistakes_are_named():
    f = Function(nn.Linear(2, 2), name="f")
    for decay in (1.0, -0.1, True, "0.9"):
        with pytest.raises(OptionError, match="the decay is a number in"):
            f.ema(decay)
    with pytest.raises(OptionError, match=r"f.ema\(0.9\): what it calls is no nn.Module"):
        Function(torch.square).ema(0.9)
    with pytest.raises(OptionError, match=r"p\(x\).ema\(0.9\): it has no parameters"):
        Normal(loc=0.0, scale=1.0, var=["x"]).ema(0.9)
