"""Where torch.distributions 2.13 is wrong, these laws are right: values by mpmath, 30 digits."""

import pytest
import torch
from mpmath import mp
from scipy import stats

from ancestral.bijections import Tanh
from ancestral.core.errors import ShapeError
from ancestral.distributions import (
    Beta,
    ContinuousBernoulli,
    Dirichlet,
    Gamma,
    Laplace,
    Logistic,
    Normal,
    NormalizingFlow,
    StudentT,
)
from ancestral.losses import KullbackLeibler
from tests.oracles.slopes import beta_slopes, gamma_slope


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


def test_a_normal_value_through_tanh_has_a_density_at_one():
    """torch: nan, since artanh 1 is infinite. 1 stands for all values that round to it."""
    x, log_det = Tanh().inverse_and_log_det(torch.ones(1))
    log_p = Normal(loc=0.0, scale=1.0).get_log_prob({"x": x}) + log_det
    assert log_p.isfinite().all()
    p = NormalizingFlow(Normal(loc=0.0, scale=1.0, features_shape=[1]), Tanh(), var=["x"])
    assert torch.equal(p.get_log_prob({"x": torch.ones(1, 1)}), log_p)
    assert x.item() == pytest.approx(float(mp.atanh(1 - mp.mpf(2) ** -25)), rel=0.1)


def test_every_pair_of_laws_of_numbers_has_a_divergence():
    """torch: NotImplementedError but for 87 pairs. Without a closed form it is a mean over draws.

    Of 20000, within 5 standard errors: an error of 3 % of the standard deviation of one would be
    detected.
    """
    q = Logistic(loc=0.0, scale=1.0, var=["x"], name="q", features_shape=[20_000])
    p = Laplace(loc=0.5, scale=1.5, var=["x"], name="p", features_shape=[20_000])
    ratio = stats.logistic().logpdf, stats.laplace(0.5, 1.5).logpdf
    mean, second = (
        stats.logistic().expect(lambda x, n=n: (ratio[0](x) - ratio[1](x)) ** n, lb=-60, ub=60)
        for n in (1, 2)
    )
    torch.manual_seed(0)
    found = KullbackLeibler(q, p).eval().item() / 20_000
    assert abs(found - mean) < 5 * ((second - mean**2) / 20_000) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_a_beta_draw_of_unequal_concentrations(dtype):
    """torch: -2.7e-4 and 8.0e-4 for the first two, 7 and 41 times too far from what they are."""
    a = torch.tensor([1.88, 4.1, 0.3, 30.0], dtype=dtype, requires_grad=True)
    b = torch.tensor([4.7e4, 7.36e4, 0.7, 2.0], dtype=dtype, requires_grad=True)
    x = torch.tensor([1.29e-4, 1.08e-4, 0.2, 0.95], dtype=dtype)
    found = torch.autograd.grad(Beta.draw(x, a, b).sum(), [a, b])
    wanted = beta_slopes(*(v.detach().double().numpy() for v in (a, b, x)))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), torch.from_numpy(other), rtol=1e-6, atol=0)
    alpha = torch.stack([a, b], -1).detach().requires_grad_()
    pair = Dirichlet.draw(torch.stack([x, 1 - x], -1), alpha)
    (slope,) = torch.autograd.grad(pair[:, 0].sum(), alpha)
    torch.testing.assert_close(slope, torch.stack(found, -1), rtol=1e-3, atol=0)


def test_gradients_of_draws_are_exact():
    """torch: off by up to 7e-4 of itself for gamma draws."""
    torch.manual_seed(0)
    a, b = 10 ** (5 * torch.rand(2, 4000, dtype=torch.float64) - 1)
    a.requires_grad_()
    x = Gamma.noise_of((4000,), a, concentration=a, rate=1.0)
    (found,) = torch.autograd.grad(Gamma.draw(x, a, 1.0).sum(), a)
    wanted = torch.from_numpy(gamma_slope(a.detach().numpy(), x.numpy()))
    inside = x > 1e-12  # where SciPy's quantiles have their digits
    torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-7, atol=0)
    x = Beta.noise_of((4000,), a, concentration1=a, concentration0=b)
    (found,) = torch.autograd.grad(Beta.draw(x, a, b).sum(), a)
    wanted = torch.from_numpy(beta_slopes(a.detach().numpy(), b.numpy(), x.numpy())[0])
    inside = (x > 1e-12) & (x < 1 - 1e-6)
    gap = ((found - wanted) / wanted)[inside].abs()
    assert gap.quantile(0.99) < 1e-6  # SciPy's own quantiles fail here and there
    assert gap.median() < 1e-8
