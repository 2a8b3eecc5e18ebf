"""Sentence 14: MeanFlow, whose target has the derivative of its own network along the path; and
consistency training, whose target is an average of the network's weights.
"""

import copy

import pytest
import torch
from torch import nn

from ancestral.distributions import EmpiricalDistribution, Normal, Uniform
from ancestral.losses import E, Function, sqnorm, values
from ancestral.models import Model
from tests.sentences.counting import agrees, counted

ROWS = 5


class Field(nn.Module):
    """A field of x at times, shape ``(n, 2)``; times are numbers of a row."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 + times, 6), nn.Tanh(), nn.Linear(6, 2)).double()

    def forward(self, x, *times):
        return self.layers(torch.cat([x, *(t[:, None] for t in times)], -1))


def uniform(name):
    return Uniform(low=0.0, high=1.0, var=[name], name="p").double()


class World:
    """pi(x0, x1), the line between its draws, and noise by the names of the draws."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        start = Normal(loc=0.0, scale=1.0, var=["x0"], features_shape=[2], name="p").double()
        self.pi = start * EmpiricalDistribution(["x1"])
        self.batch = {"x1": torch.randn(ROWS, 2).double()}
        self.x0 = torch.randn(ROWS, 2).double()
        self.early, self.late = torch.rand(2, ROWS).double()


def mean_flow(w, u):
    x0, x1, r, t = values("x0 x1 r t")
    xt, vel = (1 - t) * x0 + t * x1, x1 - x0
    du = u.jvp((xt, r, t), along=(vel, 0, 1))
    times = uniform("r") * uniform("t")
    return E(w.pi * times, sqnorm(u(xt, r, t) - (vel - (t - r) * du).detach()))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # inside torch.func.jvp
def test_mean_flow_prints_and_is_as_by_hand():
    w, net = World(), Field(2)
    u = Function(net, name="u")
    loss = mean_flow(w, u)
    assert "sg[x1 - x0 - (t - r) ∂u((1 - t) x0 + t x1, r, t)[x1 - x0, 0, 1]]" in str(loss)
    noise = {"x0": w.x0, "r": w.early, "t": w.late}

    def hand():
        x1, r, t = w.batch["x1"], w.early, w.late
        xt, vel = (1 - t)[:, None] * w.x0 + t[:, None] * x1, x1 - w.x0
        ones, zeros = torch.ones_like(t), torch.zeros_like(t)
        value, du = torch.func.jvp(net, (xt, r, t), (vel, zeros, ones))
        return (value - (vel - (t - r)[:, None] * du).detach()).square().sum(-1).mean()

    agrees(loss, w.batch, hand, [net], noise=noise)


def consistency(w, f, decay=0.9):
    """d(f(x_t, t), f_ema(x_s, s)) at two times of one line."""
    x0, x1, s, t = values("x0 x1 s t")
    slow = f.ema(decay)
    at = [(1 - time) * x0 + time * x1 for time in (t, s)]
    loss = E(w.pi * uniform("s") * uniform("t"), sqnorm(f(at[0], t) - slow(at[1], s)))
    return slow, loss


def test_consistency_prints():
    w = World()
    _, loss = consistency(w, Function(Field(1), name="f"))
    assert str(loss) == (
        "E_{p(x0)p_{data}(x1)p(s)p(t)}"
        "[||f((1 - t) x0 + t x1, t) - f_{ema}((1 - s) x0 + s x1, s)||^2]"
    )
    assert "f_{ema}" in loss.latex()


def test_the_target_is_cut_by_definition_and_follows_after_the_update():
    """No .detach() around it, no GradientError; one pass of each network; theta^- by hand."""
    w, net = World(), Field(1)
    slow, loss = consistency(w, Function(net, name="f"))
    hand, target = copy.deepcopy(net), copy.deepcopy(net)
    model = Model(loss, optimizer=torch.optim.SGD, optimizer_params={"lr": 0.1})
    step = torch.optim.SGD(hand.parameters(), lr=0.1)
    x1, s, t = w.batch["x1"], w.early, w.late
    for _ in range(3):
        ahead, behind = (
            (1 - time)[:, None] * w.x0 + time[:, None] * x1 for time in (t, s)
        )  # fmt: skip
        value = (hand(ahead, t) - target(behind, s).detach()).square().sum(-1).mean()
        step.zero_grad()
        value.backward()
        step.step()
        with torch.no_grad():
            for p, q in zip(target.parameters(), hand.parameters(), strict=True):
                p.copy_(0.9 * p + 0.1 * q)
        with counted(f=net, slow=slow.net) as seen:
            found = model.train(w.batch, noise={"x0": w.x0, "s": s, "t": t})
        assert seen == {"f": [ROWS], "slow": [ROWS]}
        assert found.item() == pytest.approx(value.item(), rel=1e-12)
        for p, q in zip(slow.net.parameters(), target.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
