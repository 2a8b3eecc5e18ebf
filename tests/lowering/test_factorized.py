"""The factorised aggregate: entries from different rows, unbiased, in one draw with its law."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import ShapeError, VariableError
from ancestral.distributions import EmpiricalDistribution, Normal
from ancestral.losses import E, Function, Permuted, values
from ancestral.models import Model
from tests.lowering.reading import draws, passes, twice

x, z = values("x z")
data = EmpiricalDistribution(["x"])
product = Function(lambda v: v.prod(-1), name="product")


def test_entries_come_from_different_rows():
    rows = torch.arange(12.0).reshape(4, 3)
    drawn = data.factorized().sample({"x": rows})["x"]
    home = drawn // 3  # the row that each entry comes from
    assert torch.equal(drawn % 3, torch.tensor([0.0, 1.0, 2.0]).expand(4, 3))
    assert all(len(set(row)) == 3 for row in home.tolist())
    assert all(sorted(column) == [0, 1, 2, 3] for column in home.T.tolist())


def test_the_mean_is_that_of_independent_entries():
    """The mean of x_1 x_2 over different rows, enumerated; the diagonal would add 1 / 4 of .9."""
    rows = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [2.0, 2.0], [-2.0, -2.0]]).double()
    exact = sum(rows[i, 0] * rows[j, 1] for i in range(4) for j in range(4) if i != j) / 12
    function = E(data.factorized(), product(x)).function()
    found = torch.stack([function({"x": rows}) for _ in range(2000)])
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean() - exact)) < 5 * error < 0.3
    biased = E(data.factorized(), product(x))
    law = data.factorized()
    biased = E(law, product(x)).estimate({law: Permuted()}).function()
    found = torch.stack([biased({"x": rows}) for _ in range(2000)])
    assert abs(float(found.mean())) < 5 * float(found.std()) / math.sqrt(len(found))  # not exact


def test_it_shares_the_draw_of_its_law():
    net = nn.Linear(3, 4).double()
    q = Normal(var=["z"], cond_var=["x"], net=net, name="q")
    p = Normal(var=["x"], cond_var=["z"], net=nn.Linear(2, 6).double())
    aggregate = (q * data).marginalize_var("x")
    loss = E(q, p.log_prob()).mean() + E(aggregate, product(z))
    loss = (
        loss - E(aggregate.factorized(), product(z)) - E(aggregate.factorized(), product(z) ** 2)
    )
    assert str(loss).endswith("E_{Π_j q(z_j)}[product(z)] - E_{Π_j q(z_j)}[product(z)^2]")
    assert r"\mathbb{E}_{\prod_{j} q(z_{j})}" in loss.latex()
    assert draws(loss) == ["z"]
    assert passes(loss) == ["q(z|x)", "p(x|z)"]
    assert str(loss.program()).count("entries of z from different rows") == 1
    noise = {"z": torch.randn(5, 2).double(), "z.rows": torch.rand(5).double()}
    batch = {"x": torch.randn(5, 3).double()}
    first, again = (twice(loss, batch, noise=noise) for _ in range(2))
    assert torch.equal(first, again)
    first.backward()
    assert net.weight.grad.abs().sum() > 0


def test_by_hand():
    loc = nn.Parameter(torch.zeros(2).double())
    q = Normal(var=["z"], cond_var=["x"], net=lambda x: {"loc": x + loc, "scale": 0.5}, name="q")
    aggregate = (q * data).marginalize_var("x")
    rows, eps = torch.randn(4, 2).double(), torch.randn(4, 2).double()
    u = torch.tensor([0.7, 0.2, 0.9, 0.4]).double()  # in order: rows 1, 3, 0, 2
    loss = E(aggregate.factorized(), product(z))
    found = twice(loss, {"x": rows}, noise={"z": eps, "z.rows": u})
    value = rows + loc + 0.5 * eps
    by_hand = torch.stack([value[(i + 1) % 4, 0] * value[(i + 3) % 4, 1] for i in range(4)]).mean()
    torch.testing.assert_close(found, by_hand)
    mine, theirs = (torch.autograd.grad(v, loc)[0] for v in (found, by_hand))
    torch.testing.assert_close(mine, theirs)


def test_the_total_correlation_of_two_gaussians():
    """O16: correlation .9, KL[p(x) || p(x_1) p(x_2)] = -log(1 - .81) / 2 = .830366.

    A logistic regression on squares, whose optimum is the log ratio, sees draws of both.
    """
    torch.manual_seed(0)
    root = torch.linalg.cholesky(torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    white = torch.randn(4000, 2)
    white = (white - white.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(white.T.cov())).T
    rows = white @ root.T  # of exactly this covariance
    weight = nn.Linear(3, 1)
    logit = nn.Sequential(Squares(), weight, nn.Flatten(0))
    d = Function(logit, name="d")
    softplus = Function(torch.nn.functional.softplus, name="softplus")
    apart = data.factorized()
    loss = E(data, softplus(-d(x))) + E(apart, softplus(d(x)))
    model = Model(loss, distributions=[logit], optimizer_params={"lr": 0.2})
    for step in range(250):
        model.optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 250)
        model.train({"x": rows})
    found = E(data, d(x)).eval({"x": rows})
    assert found.item() == pytest.approx(0.830366, abs=0.05)


class Squares(nn.Module):
    """x_1^2, x_2^2 and x_1 x_2."""

    def forward(self, v):
        a, b = v[:, 0], v[:, 1]
        return torch.stack([a * a, b * b, a * b], -1)


def test_what_is_refused():
    with pytest.raises(ShapeError, match="3 entries need as many rows, but the batch has 2"):
        E(data.factorized(), product(x)).eval({"x": torch.zeros(2, 3)})
    with pytest.raises(ShapeError, match="3 entries need as many rows"):
        data.factorized().sample({"x": torch.zeros(2, 3)})
    both = EmpiricalDistribution(["x", "y"])
    with pytest.raises(VariableError, match="take the marginal of one variable"):
        both.factorized()
