"""Sentence 13: flow matching, from independent noise or a coupling of the whole batch."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, ShapeError, VariableError
from ancestral.distributions import (
    Coupling,
    EmpiricalDistribution,
    Normal,
    OTCoupling,
    Uniform,
)
from ancestral.distributions.coupling import assignment
from ancestral.losses import E, Function, sqnorm, values
from tests.lowering.reading import twice
from tests.sentences.counting import agrees, counted, draws

ROWS = 7
x0, x1, t = values("x0 x1 t")


class Field(nn.Module):
    """v(x, t)."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x, t):
        return self.net(torch.cat([x, t[:, None]], -1))


class Laws:
    def __init__(self):
        torch.manual_seed(0)
        self.field = Field().double()
        self.v = Function(self.field, name="v")
        self.noise = Normal(
            var=["x0"], loc=0.0, scale=1.0, features_shape=[2], name="p_0"
        ).double()
        self.data = EmpiricalDistribution(["x1"])
        self.p_t = Uniform(var=["t"], low=0.0, high=1.0, name="p_t").double()
        self.batch = {"x1": torch.randn(ROWS, 2).double()}

    def loss(self, pi):
        xt = (1 - t) * x0 + t * x1
        return E(pi * self.p_t, sqnorm(self.v(xt, t) - (x1 - x0)))


@pytest.fixture
def laws():
    return Laws()


def test_it_prints(laws):
    optimal = laws.loss(OTCoupling(laws.noise, laws.data))
    assert str(optimal) == "E_{π(x0,x1)p_t(t)}[||v((1 - t) x0 + t x1, t) - (x1 - x0)||^2]"
    assert optimal.latex() == (
        r"\mathbb{E}_{\pi(x0,x1)p_{t}(t)} \left[\left\lVert v(\left(1 - t \right) x0 + t x1, t) - "
        r"\left(x1 - x0 \right) \right\rVert^{2} \right]"
    )
    apart = laws.loss(laws.noise * laws.data)
    assert str(apart).startswith("E_{p_0(x0)p_{data}(x1)p_t(t)}")


@pytest.mark.parametrize("kind", ["independent", "optimal"])
def test_value_and_gradient_by_hand(laws, kind):
    pi = laws.noise * laws.data if kind == "independent" else OTCoupling(laws.noise, laws.data)
    loss = laws.loss(pi)
    assert draws(loss) == ["x0", "t"]
    eps, u = torch.randn(ROWS, 2).double(), torch.rand(ROWS).double()

    def hand():
        b = laws.batch["x1"]
        orders = itertools.permutations(range(ROWS)) if kind == "optimal" else [range(ROWS)]
        order = min(orders, key=lambda o: float((eps[list(o)] - b).square().sum()))
        a = eps[list(order)]
        xt = (1 - u)[:, None] * a + u[:, None] * b
        return (laws.field(xt, u) - (b - a)).square().sum(-1).mean()

    agrees(loss, laws.batch, hand, [laws.field], noise={"x0": eps, "t": u})
    with counted(v=laws.field) as seen:
        loss.eval(laws.batch)
    assert seen == {"v": [ROWS]}


def test_the_assignment_is_that_of_scipy():
    scipy = pytest.importorskip("scipy.optimize")
    random = np.random.RandomState(0)
    for n in (1, 2, 5, 40):
        cost = random.rand(n, n)
        rows, columns = scipy.linear_sum_assignment(cost)
        found = assignment(cost)
        assert sorted(found) == list(range(n))
        assert cost[range(n), found].sum() == pytest.approx(cost[rows, columns].sum())


def test_both_marginals_are_kept(laws):
    """A coupling puts rows into another order, and shares the draw with the rest of the loss."""
    pi = OTCoupling(laws.noise, laws.data)
    loss = E(pi, sqnorm(x0) + 2 * sqnorm(x1)) - E(laws.noise, sqnorm(x0))
    assert draws(loss) == ["x0"]
    found = twice(loss, laws.batch)
    torch.testing.assert_close(found, 2 * laws.batch["x1"].square().sum(-1).mean())
    drawn = pi.sample(laws.batch, sample_shape=[3])
    assert drawn["x0"].shape == (3, ROWS, 2)
    assert torch.equal(drawn["x1"], laws.batch["x1"])


def test_an_optimal_path_is_shorter(laws):
    move = sqnorm(x1 - x0)
    apart, optimal = laws.noise * laws.data, OTCoupling(laws.noise, laws.data)
    noise = {"x0": torch.randn(ROWS, 2).double()}
    long, short = (E(pi, move).eval(laws.batch, noise=noise) for pi in (apart, optimal))
    assert short < 0.9 * long


def test_what_is_refused(laws):
    with pytest.raises(VariableError, match="one variable each"):
        OTCoupling(laws.noise * laws.p_t, laws.data)
    with pytest.raises(OptionError, match="must be a function"):
        Coupling(laws.noise, laws.data, "nearest")
    both = OTCoupling(EmpiricalDistribution(["a"], "p_a"), EmpiricalDistribution(["b"], "p_b"))
    with pytest.raises(ShapeError, match="has 2 rows"):
        both.sample({"a": torch.zeros(3, 1), "b": torch.zeros(2, 1)})
    with pytest.raises(OptionError, match="one draw of a batch"):
        E(OTCoupling(laws.noise, laws.data), sqnorm(x0), sample_shape=[2]).eval(laws.batch)
