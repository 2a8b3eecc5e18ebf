"""Leave-one-out over the rows of a batch: one draw in each, the others' integrands its baseline."""

import itertools

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError
from ancestral.distributions import Bernoulli, EmpiricalDistribution, Normal
from ancestral.losses import E, Enumerate, Function, LeaveOneOut, Pairs, Score, values

f64 = torch.float64
ROWS = 3


@pytest.fixture
def parts():
    torch.manual_seed(0)
    nets = nn.Linear(2, 2).double(), nn.Linear(4, 1).double()
    q = Bernoulli(var=["b"], cond_var=["x"], net=nets[0], name="q")
    f = Function(
        lambda b, x: (3 * nets[1](torch.cat([b, x], -1)).tanh() + 2).squeeze(-1), name="f"
    )
    return q, f(values("b"), values("x")), nets, {"x": torch.randn(ROWS, 2, dtype=f64)}


def mean_and_spread(function, q, batch, parameters):
    """The gradient over every outcome of all rows together: its mean, and its variance."""
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2 * ROWS)), dtype=f64)
    first = second = 0.0
    for noise in bits.reshape(-1, ROWS, 2):
        b = (noise == 0).to(f64)
        with torch.no_grad():
            p = q.get_log_prob({"b": b, **batch}).sum().exp()
        found = torch.autograd.grad(function(batch, noise={"b": noise}), parameters)
        flat = torch.cat([g.flatten() for g in found])
        first, second = first + p * flat, second + p * flat**2
    return first, (second - first**2).sum()


@pytest.mark.parametrize("keeps_rows", [True, False])
def test_the_mean_is_exact_and_the_spread_less(parts, keeps_rows):
    q, f, nets, batch = parts
    law = q if keeps_rows else EmpiricalDistribution(["x"]) * q
    loss = E(law, f).mean()
    parameters = [*nets[0].parameters(), *nets[1].parameters()]
    exact = torch.autograd.grad(loss.estimate({q: Enumerate()}).eval(batch), parameters)
    spread = {}
    for chosen in (Score(), Score(LeaveOneOut())):
        function = loss.estimate({q: chosen}).function()
        found, spread[chosen] = mean_and_spread(function, q, batch, parameters)
        torch.testing.assert_close(
            found, torch.cat([g.flatten() for g in exact]), rtol=1e-10, atol=1e-12
        )
    assert spread[Score(LeaveOneOut())] < 0.5 * spread[Score()]


def test_the_text_is_the_same_and_follows_the_rows(parts):
    q, f, nets, _ = parts
    function = E(q, f).mean().estimate({q: Score(LeaveOneOut())}).function()
    for rows in (3, 3, 5, 2):
        x, b = torch.randn(rows, 2, dtype=f64), (torch.rand(rows, 2) > 0.5).to(f64)
        value = function({"x": x}, noise={"b": 1 - b})
        found = torch.autograd.grad(value, list(nets[0].parameters()))
        gain = (3 * nets[1](torch.cat([b, x], -1)).tanh() + 2).squeeze(-1).detach()
        gain = gain - (gain.sum() - gain) / (rows - 1)
        wanted = (gain * q.get_log_prob({"b": b, "x": x})).mean()
        for one, other in zip(
            found, torch.autograd.grad(wanted, list(nets[0].parameters())), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_where_rows_are_no_draws_of_their_own(parts):
    q, f, _, batch = parts
    plan = {q: Score(LeaveOneOut())}
    with pytest.raises(OptionError, match="a batch of at least two rows"):
        E(q, f).mean().estimate(plan).eval({"x": batch["x"][:1]})
    coin = Bernoulli(var=["b"], probs=nn.Parameter(torch.tensor([0.3, 0.6])), plate=None, name="p")
    g = Function(lambda b: b.sum(-1), name="g")(values("b"))
    with pytest.raises(OptionError, match="at least two draws"):
        E(coin, g).estimate({coin: Score(LeaveOneOut())}).eval()


def test_rows_that_read_each_other_are_refused(parts):
    q, _, _, batch = parts
    data = EmpiricalDistribution(["x"])
    both = data * q
    k = Function(lambda b, b1: (b - b1).abs().sum(-1), name="k")(values("b"), values("b1"))
    pairs = E(both * both.replace_var(x="x1", b="b1"), k)
    with pytest.raises(OptionError, match="do not read each other's draws"):
        pairs.estimate({data: Pairs(), q: Score(LeaveOneOut())}).eval(batch)
    score = Normal(var=["y"], cond_var=["b"], loc="b", scale=1.0, name="r")
    atoms = score.log_prob() - score.log_prob().over_rows("b").logsumexp()
    with pytest.raises(OptionError, match="do not read each other's draws"):
        E(q, atoms).mean().estimate({q: Score(LeaveOneOut())}).eval(
            {**batch, "y": torch.randn(ROWS, 2, dtype=f64)}
        )
