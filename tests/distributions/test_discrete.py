"""Laws at the edge: exact logits, cut-off probabilities, rare draws, both tails of the noise."""

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp
from scipy import stats
from torch import nn

from ancestral.core.errors import LikelihoodWarning, SamplingError, SupportError
from ancestral.core.rng import NOISE, laplace, uniform
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Laplace,
    Logistic,
    NegativeBinomial,
)
from ancestral.losses import KullbackLeibler


@pytest.mark.parametrize("logit", [-800.0, -40.0, -1e-8, 0.0, 3.0, 40.0, 800.0])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_density_of_logits_is_exact(logit, x):
    mpmath.mp.dps = 50
    wanted = -mpmath.log1p(mpmath.exp(-logit if x else logit))
    for dtype, tolerance in ((torch.float32, 2e-7), (torch.float64, 4e-16)):
        p = Bernoulli(logits=torch.tensor([logit], dtype=dtype))
        found = p.get_log_prob({"x": torch.tensor([[x]], dtype=dtype)})
        assert float(found) == pytest.approx(float(wanted), rel=tolerance, abs=tolerance)


def test_density_of_categorical_logits_is_exact():
    logits = torch.tensor([0.0, -800.0, -torch.inf, 5.0], dtype=torch.float64, requires_grad=True)
    p = Categorical(logits=nn.Parameter(logits.detach()), onehot=False)
    found = p.get_log_prob({"x": torch.arange(4)})
    total = mpmath.log(mpmath.exp(5) + 1)
    for k, wanted in ((0, -total), (1, -800 - total), (3, 5 - total)):
        assert found[k].item() == pytest.approx(float(wanted), rel=1e-15)
    assert found[2] == -torch.inf
    found[[0, 1, 3]].sum().backward()
    assert p.logits.grad.isfinite().all()


def test_divergence_of_nearly_certain_laws():
    """(1 - pi) of logit 20 is 2e-9, which single precision loses next to 1."""
    mpmath.mp.dps = 50
    on, off = 1 / (1 + mpmath.exp(-20)), 1 / (1 + mpmath.exp(20))
    wanted = on * mpmath.log(on) + off * (mpmath.log(off) + 1000)
    q, p = (Bernoulli(logits=torch.tensor([v]), name=n) for v, n in ((20.0, "q"), (1000.0, "p")))
    assert KullbackLeibler(q, p).eval().item() == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("onehot", [True, False])
def test_excluded_category_is_harmless(onehot):
    p = Categorical(logits=nn.Parameter(torch.tensor([0.0, -torch.inf, 1.0])), onehot=onehot)
    q = Categorical(logits=torch.tensor([1.0, -torch.inf, 1.0]), onehot=onehot, name="q")
    x = p.sample(batch_n=1000)["x"]
    index = x.argmax(-1) if onehot else x
    assert not (index == 1).any()
    values = (p.get_log_prob({"x": x}).sum(), p.get_entropy().sum(), KullbackLeibler(p, q).eval())
    for value in values:
        assert value.isfinite()
        p.zero_grad()
        value.backward()
        assert p.logits.grad.isfinite().all()


@pytest.mark.parametrize("law", [Bernoulli, Categorical])
def test_probability_of_zero_is_cut_off(law):
    """A tiny probability has its own logarithm down to -100."""
    probs = torch.tensor([1e-30, 1e-60, 0.0, 1.0], dtype=torch.float64)
    if law is Bernoulli:
        found = Bernoulli(probs=probs).get_log_prob({"x": torch.ones(1, 4)}, sum_features=False)
    else:
        found = Categorical(probs=probs, onehot=False).get_log_prob({"x": torch.arange(4)})
    wanted = [-30 * 2.302585092994046, -100.0, -100.0, 0.0]
    np.testing.assert_allclose(found.flatten().numpy(), wanted, rtol=1e-7)


def test_gradient_at_zero_and_one_is_finite_and_has_the_right_sign():
    probs = nn.Parameter(torch.tensor([0.0, 1.0, 0.0, 1.0]))
    Bernoulli(probs=probs).get_log_prob({"x": torch.tensor([[1.0, 0.0, 0.0, 1.0]])}).backward()
    assert probs.grad.isfinite().all()
    assert probs.grad[0] > 0 > probs.grad[1]


def test_infinite_logit_of_a_bernoulli_is_refused():
    with pytest.raises(SupportError, match="logits must be finite"):
        Bernoulli(logits=float("inf"))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.float64])
def test_values_may_be_whole_numbers(dtype):
    x = torch.tensor([[1, 0, 0]]).to(dtype)
    wanted = torch.tensor([0.25, 0.75, 0.75]).log().sum()
    for p in (Bernoulli(probs=0.25, features_shape=[3]), Bernoulli(probs=torch.full((3,), 0.25))):
        found = p.get_log_prob({"x": x})
        torch.testing.assert_close(found, wanted[None].to(found.dtype))
    c = Categorical(probs=torch.tensor([0.25, 0.5, 0.25]))
    found = c.get_log_prob({"x": x})
    torch.testing.assert_close(found.exp(), torch.tensor([0.25]).to(found.dtype))


def test_numbers_take_the_precision_of_the_value():
    torch.set_default_dtype(torch.float64)
    p = Bernoulli(probs=0.3)
    torch.set_default_dtype(torch.float32)
    found = p.get_log_prob({"x": torch.tensor([1.0], dtype=torch.float64)})
    assert found.item() == pytest.approx(float(mpmath.log(mpmath.mpf(0.3))), rel=1e-15)
    assert p.get_entropy().dtype == torch.float64
    assert Bernoulli(logits=0.5).sample(batch_n=3)["x"].dtype == torch.float32


def test_grey_values():
    x = torch.tensor([[0.25]])
    p = Bernoulli(probs=torch.tensor([0.25]), grey=True)
    q = Bernoulli(probs=torch.tensor([0.25]))
    assert p.log_prob().eval({"x": x}) == p.get_log_prob({"x": x})
    with pytest.warns(LikelihoodWarning, match="not a likelihood"):
        q.log_prob().eval({"x": x})


def test_index_has_no_mean():
    p = Categorical(probs=torch.tensor([0.2, 0.8]), onehot=False)
    for ask in (p.sample_mean, p.sample_variance, lambda: p.sample(sample_mean=True)):
        with pytest.raises(SamplingError, match="has no (mean|variance) in closed form"):
            ask()
    assert torch.equal(Categorical(probs=p.probs).sample_mean(), p.probs[None])


def test_rare_categories_are_drawn_at_their_rate():
    """Probability 1e-3 in 200000 draws: 200 +- 5 * 14; a factor of 1.4 would be detected."""
    logits = torch.tensor([1e-3, 0.999]).log()
    for onehot in (True, False):
        x = Categorical(logits=logits, onehot=onehot).sample(batch_n=200_000)["x"]
        count = (x[:, 0] if onehot else 1 - x).sum().item()
        assert abs(count - 200) < 5 * 200**0.5


def test_laplace_noise_is_the_quantile_and_finite(monkeypatch):
    """Of uniform noise in (-1, 1), whose ends would be infinite."""
    u = torch.tensor([2e-12 - 1, -0.8, 0.0, 0.4, 1 - 2e-9], dtype=torch.float64)
    ends = []

    def given(self, low, high, generator=None):
        ends.append((low, high))
        return self.copy_(u)

    monkeypatch.setattr(torch.Tensor, "uniform_", given)
    wanted = stats.laplace(0.3, 2.0).ppf(0.5 * (u.numpy() + 1))
    found = Laplace.draw(laplace(u), 0.3, 2.0)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-7, atol=1e-12)
    assert ends == [(torch.finfo(u.dtype).eps / 2 - 1, 1)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_finite(kind, dtype):
    """Of each dtype, that of a million draws; with few bits the ends are met often."""
    torch.manual_seed(0)
    assert NOISE[kind](torch.empty(1_000_000, dtype=dtype)).isfinite().all()


def test_both_tails_of_uniform_noise_are_as_long(monkeypatch):
    """torch.rand may be 0: by way of the smallest number it would make an outlier of -86."""
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)
    low = Logistic.draw(uniform(torch.zeros(1)), 0.0, 1.0)
    high = Logistic.draw(torch.tensor([1 - 2.0**-24]), 0.0, 1.0)
    assert -low == pytest.approx(high.item(), abs=0.7)  # log 2: half a step
    assert uniform(torch.zeros(1)) > 0


def test_counts_far_beyond_the_number_of_failures_keep_its_digits():
    """x + r has lost those of r; each probability then was a wrong multiple of the right one."""
    torch.manual_seed(0)
    r = 10 ** (6 * torch.rand(60, dtype=torch.float64) - 3)
    x = (10 ** (15 * torch.rand(60, dtype=torch.float64))).floor()
    logits = (x / r).log()
    found = NegativeBinomial.log_density(x, r, logits=logits)
    with mp.workdps(50):
        for k, n, eta, value in zip(x.tolist(), r.tolist(), logits.tolist(), found, strict=True):
            k, n, eta = mp.mpf(k), mp.mpf(n), mp.mpf(eta)
            wanted = mp.loggamma(k + n) - mp.loggamma(n) - mp.loggamma(k + 1)
            wanted -= n * mp.log1p(mp.exp(eta)) + k * mp.log1p(mp.exp(-eta))
            assert value.item() == pytest.approx(float(wanted), rel=1e-10, abs=1e-10)
