"""Where torch.distributions 2.13 is wrong, these laws are right: values by mpmath, 30 digits."""

import pytest
import torch

from ancestral.core.errors import ShapeError
from ancestral.distributions import ContinuousBernoulli, Normal, StudentT
from ancestral.losses import KullbackLeibler


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_of_continuous_bernoulli_laws_far_apart(dtype):
    """torch: -16.7, which no divergence is."""
    q = ContinuousBernoulli(logits=torch.tensor([-500.0], dtype=dtype), var=["x"], name="q")
    p = ContinuousBernoulli(logits=torch.tensor([20.0], dtype=dtype), var=["x"], name="p")
    found = KullbackLeibler(q, p).eval()
    torch.testing.assert_close(
        found, torch.tensor(22.1788758228070, dtype=dtype), rtol=1e-6, atol=0.0
    )


def test_student_t_of_many_degrees_of_freedom_is_normal():
    """torch: -0.0 in single precision, without the constant."""
    p = StudentT(df=1e10, loc=torch.zeros(1), scale=1.0)
    assert p.get_log_prob({"x": torch.zeros(1)}).item() == pytest.approx(-0.91893853, abs=1e-7)


def test_normal_of_a_tiny_scale_has_a_density_at_its_mean():
    """torch: nan, from 0 times infinity, since 1e-60 is no single precision number."""
    for scale in (1e-30, torch.tensor([1e-30])):
        found = Normal(loc=torch.zeros(1), scale=scale).get_log_prob({"x": torch.zeros(1)})
        assert found.item() == pytest.approx(68.1586142563, abs=1e-5)


def test_a_column_never_meets_a_row():
    """torch: (3,) against (3, 1) is (3, 3), silently."""
    p = Normal(loc=torch.zeros(3), scale=torch.ones(3))
    q = Normal(cond_var=["m"], loc="m", scale=1.0)
    with pytest.raises(ShapeError):
        p.get_log_prob({"x": torch.zeros(3, 1)})
    with pytest.raises(ShapeError):
        q.get_log_prob({"x": torch.zeros(3), "m": torch.zeros(3, 1)})
    with pytest.raises(ShapeError):
        q.get_log_prob({"x": torch.zeros(3, 1), "m": torch.zeros(3)})
