"""Importance sampling against exact log-likelihoods, and in parts against the whole.

The oracle: z ~ N(0, 1), x|z ~ N(z, 1), so x ~ N(0, 2) and log p(1) = -1.515512; with q = N(0, 1)
the bound with one draw is L_1 = -1.918939.
"""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import DataError, MissingVariableError, OptionError
from ancestral.distributions import Normal
from ancestral.evaluation import bound, log_likelihood
from ancestral.losses import KL, E

LOG_P, L_1 = -1.515512, -1.918939


def model(q_loc: float = 0.0, q_scale: float = 1.0):
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[1], name="p")
    p = Normal(loc="z", scale=1.0, var=["x"], cond_var=["z"], features_shape=[1], name="p")
    q = Normal(loc=q_loc, scale=q_scale, var=["z"], features_shape=[1], name="q")
    return prior, p, q


def ones(n: int) -> dict[str, torch.Tensor]:
    return {"x": torch.ones(n, 1, dtype=torch.float64)}


def test_one_draw_is_the_elbo_of_the_oracle():
    prior, p, q = model()
    # 5 standard errors: log w = -(1-z)^2/2 - log(2 pi)/2 has standard deviation sqrt(1.5), so over
    # 200000 rows a bias above 0.0137 nats would be seen
    found = log_likelihood(p * prior, q, ones(200_000), k=1)
    assert found.standard_error == pytest.approx(math.sqrt(1.5 / 200_000), rel=0.02)
    assert abs(found.mean - L_1) < 5 * found.standard_error


def test_many_draws_reach_the_log_likelihood():
    prior, p, q = model()
    k, rows = 2000, 500
    found = log_likelihood(p * prior, q, ones(rows), k=k)
    # The bias of the estimate is Var[w] / (2 K E[w]^2) to first order: here
    # E[w^2]/E[w]^2 = (4/3)^.5 * exp(-1/3 + 1/2) = 1.364, so 9.1e-5, and the standard error of the
    # mean over rows is sqrt(.364 / K / rows) = 6.0e-4. A bias above 0.003 nats would be seen.
    error = math.sqrt(0.364 / k / rows)
    assert found.standard_error == pytest.approx(error, rel=0.2)
    assert abs(found.mean - LOG_P) < 5 * error + 0.364 / (2 * k)
    assert found.k == k
    assert found.rows == rows


def test_the_exact_posterior_has_no_noise_at_all():
    prior, p, q = model(q_loc=0.5, q_scale=math.sqrt(0.5))
    found = log_likelihood(p * prior, q, ones(3), k=7)
    torch.testing.assert_close(found.values, torch.full((3,), LOG_P).double(), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("k", "chunk"), [(10, 3), (10, 10), (10, 7), (10, 25), (1, 1), (5, 1000)])
def test_parts_combine_to_the_whole(k, chunk):
    """With the exact posterior any way of cutting rows and draws gives the exact value."""
    prior, p, q = model(q_loc=0.5, q_scale=math.sqrt(0.5))
    found = log_likelihood(p * prior, q, ones(11), k=k, chunk=chunk)
    assert found.values.shape == (11,)
    torch.testing.assert_close(found.values, torch.full((11,), LOG_P).double(), atol=2e-6, rtol=0)


def test_cutting_the_draws_does_not_bias():
    """100 draws in parts of 7: a mistake in weighing the parts would show as log(7/100) or so."""
    prior, p, q = model()
    k, rows = 100, 200
    found = log_likelihood(p * prior, q, ones(rows), k=k, chunk=7)
    assert abs(found.mean - LOG_P) < 5 * math.sqrt(0.364 / k / rows) + 2 * 0.364 / (2 * k)


def test_memory_is_bounded_by_chunk():
    largest = 0

    class Decoder(nn.Module):
        def forward(self, z):
            nonlocal largest
            largest = max(largest, z.numel())
            return {"loc": z, "scale": torch.ones_like(z)}

    prior, _, q = model()
    p = Normal(var=["x"], cond_var=["z"], net=Decoder(), name="p")
    log_likelihood(p * prior, q, ones(50), k=40, chunk=60)
    assert 0 < largest <= 60


def test_networks_are_in_evaluation_mode_only_meanwhile():
    seen = []

    class Decoder(nn.Module):
        def forward(self, z):
            seen.append(self.training)
            return {"loc": z, "scale": torch.ones_like(z)}

    prior, _, q = model()
    p = Normal(var=["x"], cond_var=["z"], net=Decoder(), name="p")
    log_likelihood(p * prior, q, ones(2), k=2)
    assert seen
    assert not any(seen)
    assert p.net.training
    assert q.training


def test_other_keys_are_ignored_and_no_gradient_is_kept():
    prior, p, q = model()
    found = log_likelihood(p * prior, q, {**ones(3), "label": torch.zeros(3)}, k=2)
    assert not found.values.requires_grad


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ({"y": torch.ones(2, 1)}, MissingVariableError, "the data lacks x; it has y"),
        ({}, MissingVariableError, "the data lacks x; it has nothing"),
        ({"x": torch.ones(0, 1)}, DataError, "at least one row"),
    ],
)
def test_wrong_data(data, error, says):
    prior, p, q = model()
    with pytest.raises(error, match=says):
        log_likelihood(p * prior, q, data)


@pytest.mark.parametrize("options", [{"k": 0}, {"chunk": 0}, {"k": -1}])
def test_wrong_numbers(options):
    prior, p, q = model()
    with pytest.raises(OptionError, match="at least 1"):
        log_likelihood(p * prior, q, ones(2), **options)


def test_importance_sampling_lies_above_the_bound():
    prior, p, q = model()
    elbo = E(q, p.log_prob()) - KL(q, prior)
    lower = bound(elbo, ones(1000), laws=(prior, p, q), draws=4)
    upper = log_likelihood(p * prior, q, ones(1000), k=100)
    assert upper.mean - lower.mean == pytest.approx(LOG_P - L_1, abs=5 * lower.standard_error)
