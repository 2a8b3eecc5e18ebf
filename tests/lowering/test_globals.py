"""Globals beside rows: a batch stands for the data set, in which a global counts once."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import MissingVariableError, OptionError, ScopeError, VariableError
from ancestral.distributions import EmpiricalDistribution, Normal
from ancestral.losses import KL, E, H, Parameter, values
from ancestral.models import Model
from tests.lowering.reading import axes, draws, twice

B, N = 4, 100


class Laws:
    """A slope w for all rows: y = w x + noise."""

    def __init__(self, dtype=torch.float64):
        self.loc = nn.Parameter(torch.tensor([0.3], dtype=dtype))
        self.q = Normal(var=["w"], loc=self.loc, scale=0.5, name="q", plate=None)
        self.p_w = Normal(var=["w"], loc=0.0, scale=1.0, name="p_w", plate=None)
        net = lambda x, w: {"loc": x * w, "scale": 1 + 0 * x}  # noqa: E731
        self.p = Normal(var=["y"], cond_var=["x", "w"], net=net, name="p")
        self.batch = {k: torch.randn(B, 1, dtype=dtype) for k in "xy"}
        self.elbo = E(self.q, self.p.log_prob()) - KL(self.q, self.p_w)

    def parts(self, w):
        """Log densities of rows; the divergence; log p(w) - log q(w)."""
        rows = torch.distributions.Normal(self.batch["x"] * w, 1.0).log_prob(self.batch["y"])
        q, p = torch.distributions.Normal(self.loc, 0.5), torch.distributions.Normal(0.0, 1.0)
        return (
            rows[:, 0],
            torch.distributions.kl_divergence(q, p)[0],
            p.log_prob(w) - q.log_prob(w),
        )


@pytest.fixture
def laws():
    return Laws()


def test_it_prints(laws):
    assert str(laws.elbo) == "E_{q(w)}[log p(y|x,w)] - KL[q(w) || p_w(w)]"
    assert str(laws.elbo.mean()) == "mean(E_{q(w)}[log p(y|x,w)] - KL[q(w) || p_w(w)] / N)"
    assert str(laws.elbo.sum()) == "N mean(E_{q(w)}[log p(y|x,w)] - KL[q(w) || p_w(w)] / N)"
    assert r"\frac{D_{KL} \left[q(w)||p_w(w) \right]}{N}".replace("p_w", "p_{w}") in (
        laws.elbo.mean().latex()
    )


def test_one_draw_stands_for_all_rows(laws):
    assert axes(laws.elbo) == {"w": []}
    several = E(laws.q, laws.p.log_prob(), sample_shape=[3])
    assert axes(several) == {"w": [("draws", 3)]}
    assert twice(several, laws.batch).shape == (B,)


def test_mean_and_sum_by_hand(laws):
    eps = torch.tensor([0.7]).double()
    w = laws.loc + 0.5 * eps
    rows, kl, ratio = laws.parts(w)
    noise = {"w": eps}
    own = E(laws.q, (laws.p * laws.p_w).log_prob() - laws.q.log_prob())
    for loss, wanted in (
        (laws.elbo.mean(), rows.mean() - kl / N),
        (laws.elbo.sum(), N / B * rows.sum() - kl),
        (own.mean(), rows.mean() + ratio[0] / N),
        (own.sum(), N / B * rows.sum() + ratio[0]),
        ((2 * (laws.elbo - 3)).mean(), 2 * (rows.mean() - 3 - kl / N)),
        ((laws.elbo + H(laws.q)).mean(), rows.mean() + (1.41893853320467 - math.log(2) - kl) / N),
        (laws.elbo.mean() + KL(laws.q, laws.p_w), rows.mean() - kl / N + kl),
    ):
        found = twice(loss, laws.batch, noise=noise, data_size=N)
        torch.testing.assert_close(found.squeeze(), wanted)
        mine, theirs = (
            torch.autograd.grad(v, laws.loc, retain_graph=True)[0] for v in (found, wanted)
        )
        torch.testing.assert_close(mine, theirs)


def test_a_weight_of_the_divergence_is_a_factor(laws):
    beta = Parameter("beta")
    loss = (E(laws.q, laws.p.log_prob()) - beta * KL(laws.q, laws.p_w)).mean()
    eps = torch.tensor([0.7]).double()
    rows, kl, _ = laws.parts(laws.loc + 0.5 * eps)
    found = twice(loss, laws.batch, noise={"w": eps}, data_size=N, beta=0.3)
    torch.testing.assert_close(found, rows.mean() - 0.3 * kl / N)


def test_the_batches_of_an_epoch_add_up_to_the_data_set(laws):
    """Each batch's sum is an unbiased estimate: their mean is the sum over all rows."""
    every = {k: torch.randn(12, 1).double() for k in "xy"}
    noise = {"w": torch.tensor([0.7]).double()}
    whole = laws.elbo.sum().eval(every, noise=noise, data_size=12)
    parts = [
        laws.elbo.sum().eval(
            {k: v[i : i + 4] for k, v in every.items()}, noise=noise, data_size=12
        )
        for i in (0, 4, 8)
    ]
    torch.testing.assert_close(sum(parts) / 3, whole)


def test_without_a_global_nothing_changes(laws):
    local = Normal(var=["w"], cond_var=["x"], loc="x", scale=1.0, name="q")
    loss = E(local, laws.p.log_prob()) - KL(local, laws.p_w.replace_var(w="w"))
    assert str(loss.mean()).endswith("|| p_w(w)])")
    assert loss.mean().input_var == ["x", "y"]


def test_a_batch_statistic_is_no_global(laws):
    data = EmpiricalDistribution(["x"])
    loss = (E(laws.q, laws.p.log_prob()) - E(data, values("x"))).mean()
    assert "/ N" not in str(loss)


def test_two_data_sets_share_a_global(laws):
    term = E(laws.q, laws.p.log_prob())
    loss = term.mean() + term.replace_var(x="u", y="v").mean()
    assert draws(loss) == ["w"]
    batch = {**laws.batch, "u": torch.ones(7, 1).double(), "v": torch.ones(7, 1).double()}
    assert twice(loss, batch).shape == ()


def test_the_model_knows_the_size_of_its_data():
    found = {}
    for size in (N, None):
        laws = Laws(torch.float32)
        model = Model(
            -laws.elbo.mean(), distributions=[laws.q], data_size=size, optimizer_params={"lr": 0.0}
        )
        every = {k: torch.ones(N, 1) for k in "xy"}
        torch.manual_seed(0)
        found[size] = model.fit(every, 1, batch_size=N, progress=False)["loss"]
        if size is None:
            with pytest.raises(MissingVariableError, match="data_size= to Model"):
                model.train(laws.batch)
        else:
            model.train(laws.batch), model.test(laws.batch)
    assert found[N] == found[None]


def test_what_is_refused(laws):
    with pytest.raises(MissingVariableError, match="its number of rows N is not known"):
        laws.elbo.mean().eval(laws.batch)
    with pytest.raises(ScopeError, match="counts once for the data set"):
        laws.elbo.exp().mean().function()
    with pytest.raises(OptionError, match="plate='all'; give None"):
        Normal(var=["w"], loc=0.0, scale=1.0, plate="all")
    named = Normal(var=["N"], cond_var=["w"], loc="w", scale=1.0)
    with pytest.raises(VariableError, match="is called N"):
        (E(laws.q, named.log_prob()) - KL(laws.q, laws.p_w)).mean().function()
