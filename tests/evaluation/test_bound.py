"""The mean of an objective over rows."""

import math

import pytest
import torch

from ancestral.core.errors import DataError, MissingVariableError, ScopeError
from ancestral.distributions import Normal
from ancestral.evaluation import Estimate, bound
from ancestral.losses import KL, E


def test_it_is_the_mean_over_rows_and_not_over_batches():
    p = Normal(loc=0.0, scale=1.0, var=["x"], features_shape=[2], name="p")
    x = torch.randn(10, 2, dtype=torch.float64)
    exact = -x.square().sum(-1) / 2 - math.log(2 * math.pi)
    for batch_size in (1, 3, 10, 64):
        found = bound(p.log_prob(), {"x": x}, batch_size=batch_size)
        torch.testing.assert_close(found.values, exact, rtol=1e-6, atol=1e-6)
        assert found.mean == pytest.approx(exact.mean().item(), rel=1e-6)
        error = exact.std().item() / math.sqrt(10)
        assert found.standard_error == pytest.approx(error, rel=1e-6)


def test_elbo_of_the_oracle():
    """z ~ N(0,1), x|z ~ N(z,1), q = N(0,1), x = 1: L = -1.918939 exactly, KL = 0."""
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[1], name="p")
    p = Normal(loc="z", scale=1.0, var=["x"], cond_var=["z"], features_shape=[1], name="p")
    q = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[1], name="q")
    elbo = E(q, p.log_prob()) - KL(q, prior)
    rows = 100_000
    found = bound(elbo, {"x": torch.ones(rows, 1)}, draws=4, batch_size=30_000)
    # log p(x|z) has standard deviation sqrt(1.5); 4 draws are averaged. A bias above 0.01 nats
    # would be seen.
    assert found.standard_error == pytest.approx(math.sqrt(1.5 / 4 / rows), rel=0.02)
    assert abs(found.mean + 1.918939) < 5 * found.standard_error
    assert found.k == 4


def test_a_scalar_objective_names_the_fix():
    p = Normal(loc=0.0, scale=1.0, var=["x"], features_shape=[2], name="p")
    with pytest.raises(ScopeError, match=r"not one value per row: .* without \.mean\(\)"):
        bound(p.log_prob().mean(), {"x": torch.zeros(3, 2)})


def test_wrong_data():
    p = Normal(loc=0.0, scale=1.0, var=["x"], features_shape=[2], name="p")
    with pytest.raises(MissingVariableError, match="lacks x; it has y"):
        bound(p.log_prob(), {"y": torch.zeros(3, 2)})
    with pytest.raises(DataError, match="0 of x"):
        bound(p.log_prob(), {"x": torch.zeros(0, 2)})


def test_estimate_of_one_row_has_no_standard_error():
    one = Estimate(torch.tensor([1.0]), "exact", 1)
    assert one.mean == 1.0
    assert math.isnan(one.standard_error)
