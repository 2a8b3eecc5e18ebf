"""Sentence 13, its other half: the loss of a diffusion model, a network that predicts noise."""

import math

import pytest
import torch
from torch import nn

from ancestral.distributions import Categorical, EmpiricalDistribution, Normal, Uniform
from ancestral.losses import E, Function, sqnorm, values
from ancestral.models import Model
from tests.sentences.counting import agrees, counted, draws
from tests.sentences.test_13_flow_matching import Field

ROWS, STEPS = 7, 4
x, eps, t = values("x epsilon t")
p_data = EmpiricalDistribution(["x"])


def cosine(time):
    """alpha(t) of a schedule that keeps the variance."""
    return torch.cos(0.5 * math.pi * time)


def sine(time):
    """sigma(t) of the same."""
    return torch.sin(0.5 * math.pi * time)


def weight(time):
    """w(t), of the variational bound up to a constant."""
    return 1 / (0.1 + sine(time) ** 2)


class Laws:
    def __init__(self):
        torch.manual_seed(0)
        self.net = Field().double()
        self.noise = Normal(
            var=["epsilon"], loc=0.0, scale=1.0, features_shape=[2], name="p"
        ).double()
        self.p_t = Uniform(var=["t"], low=0.0, high=1.0, name="p").double()
        self.batch = {"x": torch.randn(ROWS, 2).double()}
        self.fixed = {"epsilon": torch.randn(ROWS, 2).double(), "t": torch.rand(ROWS).double()}

    def loss(self):
        net, w = Function(self.net, name="net"), Function(weight, name="w")
        alpha, sigma = Function(cosine, name="alpha"), Function(sine, name="sigma")
        return E(
            p_data * self.noise * self.p_t,
            w(t) * sqnorm(eps - net(alpha(t) * x + sigma(t) * eps, t)),
        )


@pytest.fixture
def laws():
    return Laws()


def test_it_prints(laws):
    ddpm = laws.loss()
    assert str(ddpm) == ("E_{p_{data}(x)p(ε)p(t)}[w(t) ||ε - net(α(t) x + σ(t) ε, t)||^2]")
    assert ddpm.latex() == (
        r"\mathbb{E}_{p_{data}(x)p(\epsilon)p(t)} \left[w(t) \left\lVert \epsilon - "
        r"net(\alpha(t) x + \sigma(t) \epsilon, t) \right\rVert^{2} \right]"
    )


def test_one_draw_of_each_and_one_pass(laws):
    """The noise that the network sees is the noise that it is compared with."""
    ddpm = laws.loss()
    assert draws(ddpm) == ["epsilon", "t"]
    function = ddpm.function()
    for _ in range(2):
        with counted(net=laws.net) as seen:
            function(laws.batch)
        assert seen == {"net": [ROWS]}


def test_value_and_gradient_by_hand(laws):
    e, time = laws.fixed["epsilon"], laws.fixed["t"]

    def hand():
        at = cosine(time)[:, None] * laws.batch["x"] + sine(time)[:, None] * e
        miss = (e - laws.net(at, time)).square().sum(-1)
        return (weight(time) * miss).mean()

    agrees(laws.loss(), laws.batch, hand, [laws.net], noise=laws.fixed)


def test_the_exact_denoiser_has_the_exact_value():
    """Data N(0, v I): E[eps | x_t] = sigma x_t / (alpha^2 v + sigma^2), and the loss with w = 1 is
    2 E_t[alpha^2 v / (alpha^2 v + sigma^2)]. 5 standard errors of 500 000 rows are under 1 %.
    """
    v = 2.0

    class Best(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, at, time):
            a, s = cosine(time), sine(time)
            return self.scale * (s / (a**2 * v + s**2))[:, None] * at

    laws, best = Laws(), Best()
    data = Normal(var=["x"], loc=0.0, scale=v**0.5, features_shape=[2], name="p_x").double()
    net, alpha, sigma = Function(best), Function(cosine), Function(sine)
    miss = sqnorm(eps - net(alpha(t) * x + sigma(t) * eps, t))
    function = E(data * laws.noise * laws.p_t, miss).function()
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    a2, s2 = cosine(grid) ** 2 * v, sine(grid) ** 2
    exact = float(2 * (a2 / (a2 + s2)).mean())
    torch.manual_seed(0)
    found, slopes = [], []
    for _ in range(50):
        value = function(batch_n=10_000)
        slopes.append(torch.autograd.grad(value, best.scale)[0])
        found.append(value.detach())
    for sample, wanted in ((found, exact), (slopes, 0.0)):
        seen = torch.stack(sample)
        error = float(seen.std()) / len(seen) ** 0.5
        assert abs(float(seen.mean()) - wanted) < 5 * error < 0.01 * exact


def test_a_time_among_finitely_many_is_drawn(laws):
    """DDPM's own t is one of T: a law of a label without conditions, the same sentence."""
    probs = torch.full((STEPS,), 1 / STEPS, dtype=torch.float64)
    p_t = Categorical(var=["t"], probs=probs, onehot=False, name="p").double()
    net = Function(laws.net, name="net")
    at = Function(lambda i: (i.double() + 0.5) / STEPS, name="t")
    alpha, sigma = (Function(f, name="a") for f in (cosine, sine))
    time = at(t)
    body = sqnorm(eps - net(alpha(time) * x + sigma(time) * eps, time))
    loss = E(p_data * laws.noise * p_t, body)
    assert draws(loss) == ["epsilon", "t"]
    assert Model(loss).train(laws.batch).isfinite()
