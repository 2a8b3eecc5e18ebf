"""Implicit laws: draws with a gradient, under expectations and in products, and no density."""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import DensityError, ParameterError, VariableError
from ancestral.distributions import Implicit, Normal, Uniform
from ancestral.losses import KL, E, Function, LogProb, values

f = Function(lambda x: x.square().sum(-1), name="f")


class Generator(nn.Module):
    """G(e, y), with names of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, e, y):
        return self.layer(e) + y


def test_draws_are_the_function_of_noise():
    net = Generator()
    p = Implicit(net, var=["x"], cond_var=["y"], name="p", noise=3)
    y = torch.randn(4, 2)
    torch.manual_seed(0)
    found = p.sample({"y": y}, sample_shape=[5])
    torch.manual_seed(0)
    noise = torch.randn(5, 4, 3)
    torch.testing.assert_close(found["x"], net.layer(noise) + y)
    assert set(found) == {"x", "y"}
    assert p.var == ["x"]
    assert p.cond_var == ["y"]


def test_gradient_reaches_the_network_under_an_expectation():
    net = Generator()
    p = Implicit(net, var=["x"], cond_var=["y"], noise=3)
    loss = E(p, f(values("x"))).mean()
    y, noise = torch.randn(4, 2), torch.randn(4, 3)
    step = loss.function()
    first, second = (step({"y": y}, noise={"noise_x": noise}) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, (net.layer(noise) + y).square().sum(-1).mean())
    second.backward()
    found = net.layer.weight.grad.clone()
    net.zero_grad()
    (net.layer(noise) + y).square().sum(-1).mean().backward()
    torch.testing.assert_close(found, net.layer.weight.grad)
    assert p.has_reparam


def test_it_stands_where_a_marginal_may():
    p = Implicit(
        nn.Linear(2, 2), var=["x"], noise=Uniform(low=0.0, high=1.0, var=["e"], features_shape=[2])
    )
    q = Implicit(nn.Linear(3, 1), var=["w"], noise=[3])
    r = Normal(var=["o"], cond_var=["x"], loc="x", scale=1.0)
    assert set((p * q * r).sample(batch_n=3)) == {"x", "w", "o"}
    assert p.replace_var(x="t").sample(batch_n=3)["t"].shape == (3, 2)
    assert str(p).splitlines()[1] == "  p(x) = ∫ p(x|e)p(e)de"
    twin = copy.deepcopy(p)
    torch.manual_seed(1)
    drawn = twin.sample(batch_n=2)["x"]
    torch.manual_seed(1)
    assert torch.equal(drawn, p.sample(batch_n=2)["x"])
    assert "laws.0.net.net.weight" in p.state_dict()


def test_asking_for_its_density_names_the_objectives():
    p = Implicit(nn.Linear(3, 2), var=["x"], noise=3)
    q = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[2])
    for ask in (
        lambda: p.get_log_prob({"x": torch.zeros(1, 2)}),
        lambda: LogProb(p),
        lambda: KL(p, q),
    ):
        with pytest.raises(DensityError, match="an adversarial or a kernel objective"):
            ask()


def test_mistakes_are_named():
    law = Normal(var=["e"], cond_var=["y"], loc="y", scale=1.0)
    with pytest.raises(ParameterError, match="no law without conditions"):
        Implicit(nn.Linear(3, 2), var=["x"], noise=law)
    with pytest.raises(VariableError, match="x"):
        Implicit(nn.Linear(3, 2), var=["x"], noise=Normal(loc=0.0, scale=1.0))
