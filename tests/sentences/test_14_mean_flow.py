"""Sentence 14: MeanFlow and consistency training; derivatives along a path, and averaged copies."""

import copy

import pytest
import torch
from torch import nn

from ancestral.distributions import Deterministic, EmpiricalDistribution, Normal, Uniform
from ancestral.losses import E, Function, sqnorm, values
from ancestral.models import Model
from tests.sentences.counting import agrees, counted, draws

ROWS, DECAY = 5, 0.9
# torch's own forward mode loads a module that warns
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Velocity(nn.Module):
    """A network of a point and times, one number per row each."""

    def __init__(self, times):
        super().__init__()
        self.first, self.second = nn.Linear(2 + times, 8), nn.Linear(8, 2)

    def forward(self, x, *times):
        return self.second(self.first(torch.cat([x, *(t[:, None] for t in times)], -1)).tanh())


@pytest.fixture
def path():
    """Data, noise, and a point between them at a time; two times in order."""
    torch.manual_seed(0)
    one = {"low": 0.0, "high": 1.0, "features_shape": [], "name": "p"}
    noise = Normal(var=["x0"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
    share = Deterministic(var=["r"], cond_var=["t", "v"], net=torch.mul, name="p")
    times = (share * Uniform(var=["t"], **one) * Uniform(var=["v"], **one)).double()
    return noise * EmpiricalDistribution(["x1"], name="p"), times.marginalize_var("v")


def mean_flow(path, u):
    x0, x1, r, t = values("x0 x1 r t")
    xt, vel = (1 - t) * x0 + t * x1, x1 - x0
    du = u.jvp((xt, r, t), along=(vel, 0, 1))
    pi, p_rt = path
    return E(pi * p_rt, sqnorm(u(xt, r, t) - (vel - (t - r) * du).detach()))


def consistency(path, f):
    x0, x1, r, t = values("x0 x1 r t")
    xt, xs = (1 - t) * x0 + t * x1, (1 - r) * x0 + r * x1
    pi, p_rt = path
    return E(pi * p_rt, sqnorm(f(xt, t) - f.ema(DECAY)(xs, r)))


@pytest.fixture
def given():
    torch.manual_seed(1)
    x1, eps = torch.randn(2, ROWS, 2, dtype=torch.float64)
    t, v = torch.rand(2, ROWS, dtype=torch.float64)
    return {"x1": x1}, {"x0": eps, "t": t, "v": v}


def test_they_print_as_the_papers_write_them(path):
    u = Function(Velocity(2), name="u")
    x_t = "(1 - t) x0 + t x1"
    assert str(mean_flow(path, u)) == (
        f"E_{{p(x0)p(x1)p(r|t)p(t)}}[||u({x_t}, r, t) - sg[x1 - x0 - (t - r) "
        f"∂u({x_t}, r, t)[x1 - x0, 0, 1]]||^2]"
    )
    f = Function(Velocity(1), name="f")
    assert str(consistency(path, f)) == (
        f"E_{{p(x0)p(x1)p(r|t)p(t)}}[||f({x_t}, t) - f_{{ema}}((1 - r) x0 + r x1, r)||^2]"
    )
    x_t = r"\left(1 - t \right) x0 + t x1"
    assert mean_flow(path, u).latex() == (
        r"\mathbb{E}_{p(x0)p(x1)p(r|t)p(t)} \left[\left\lVert u("
        f"{x_t}, r, t) - "
        r"detach \left(x1 - x0 - \left(t - r \right) \partial u("
        f"{x_t}, r, t) "
        r"\left[x1 - x0, 0, 1 \right] \right) \right\rVert^{2} \right]"
    )
    assert consistency(path, f).latex() == (
        r"\mathbb{E}_{p(x0)p(x1)p(r|t)p(t)} \left[\left\lVert f("
        f"{x_t}, t) - "
        r"f_{ema}(\left(1 - r \right) x0 + r x1, r) \right\rVert^{2} \right]"
    )


def test_value_and_derivative_are_one_pass(path, given):
    batch, noise = given
    net = Velocity(2).double()
    loss = mean_flow(path, Function(net, name="u"))
    assert draws(loss) == ["x0", "t", "v"]
    function = loss.function()
    for _ in range(2):  # the interpreter, the generated step
        with counted(u=net) as seen:
            function(batch, noise=noise)
        assert seen == {"u": [ROWS]}


def test_mean_flow_by_hand(path, given):
    batch, noise = given
    net = Velocity(2).double()

    def hand():
        t, r = noise["t"], noise["t"] * noise["v"]
        x0, x1 = noise["x0"], batch["x1"]
        xt = (1 - t)[:, None] * x0 + t[:, None] * x1
        step = 1e-6  # a derivative that owes nothing to forward mode
        with torch.no_grad():
            ahead = net(xt + step * (x1 - x0), r, t + step)
            behind = net(xt - step * (x1 - x0), r, t - step)
        target = (x1 - x0) - (t - r)[:, None] * (ahead - behind) / (2 * step)
        return ((net(xt, r, t) - target) ** 2).sum(-1).mean()

    loss = mean_flow(path, Function(net, name="u"))
    agrees(loss, batch, hand, [net], tolerance=1e-8, noise=noise)


def test_a_direction_that_depends_on_the_value_keeps_two_passes(given):
    """``along=u(x)`` needs the value first."""
    net = nn.Linear(2, 2).double()
    u, x = Function(net, name="u"), values("x")
    loss = sqnorm(u(x) + u.jvp((x,), along=(u(x),))).mean()
    points = given[0]["x1"]

    def hand():
        y = net(points)
        return ((y + y @ net.weight.T) ** 2).sum(-1).mean()

    agrees(loss, {"x": points}, hand, [net])


def test_the_copy_is_cut_and_follows_the_network(path, given):
    batch, noise = given
    net = Velocity(1).double()
    loss = consistency(path, Function(net, name="f"))
    old = copy.deepcopy(net)

    def hand():
        t, r = noise["t"], noise["t"] * noise["v"]
        x0, x1 = noise["x0"], batch["x1"]
        xt, xs = ((1 - s)[:, None] * x0 + s[:, None] * x1 for s in (t, r))
        with torch.no_grad():
            target = old(xs, r)
        return ((net(xt, t) - target) ** 2).sum(-1).mean()

    agrees(loss, batch, hand, [net], noise=noise)
    model = Model(loss=loss, distributions=[net], optimizer_params={"lr": 0.1})
    first = hand()
    torch.testing.assert_close(model.train(batch, noise=noise), first.detach())
    with torch.no_grad():  # after the update
        for slow, now in zip(old.parameters(), net.parameters(), strict=True):
            slow.mul_(DECAY).add_(now, alpha=1 - DECAY)
    second = hand().detach()
    torch.testing.assert_close(model.train(batch, noise=noise), second)
