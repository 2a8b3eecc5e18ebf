"""Truncated laws: the truncated normal one, both far tails, counts, gradients of draws."""

import copy
import pickle

import pytest
import torch
from mpmath import mp
from scipy import stats
from torch import nn

from ancestral.core.errors import ParameterError, SamplingError, SupportError
from ancestral.distributions import (
    Bernoulli,
    Exponential,
    Gumbel,
    Logistic,
    MultivariateNormal,
    Normal,
    Poisson,
    Truncated,
    TruncatedNormal,
)
from ancestral.losses import E
from ancestral.testing import LAW_CHECKS, check_distribution

f64 = torch.float64
INF = float("inf")


@pytest.mark.parametrize(
    "ends", [(-0.5, 0.7), (2.0, 4.0), (-9.0, -8.0), (12.0, INF), (-INF, -30.0)]
)
def test_of_a_normal_law_is_the_truncated_normal_law(ends):
    loc, scale = torch.tensor(0.3, dtype=f64), torch.tensor(1.1, dtype=f64)
    p = Truncated(Normal(loc=loc, scale=scale), *ends)
    q = TruncatedNormal(loc=loc, scale=scale, low=ends[0], high=ends[1])
    u = torch.linspace(0.001, 0.999, 21, dtype=f64)
    x = q.get_icdf(u)
    torch.testing.assert_close(p.get_icdf(u), x, rtol=1e-10, atol=1e-10)
    for of_p, of_q in (
        (p.get_log_prob, q.get_log_prob),
        (p.get_log_cdf, q.get_log_cdf),
        (p.get_log_sf, q.get_log_sf),
    ):
        torch.testing.assert_close(of_p({"x": x}), of_q({"x": x}), rtol=1e-9, atol=1e-9)


def test_draws_have_the_gradient_of_the_truncated_normal_law():
    low, high = torch.tensor([-1.0, 2.0, -INF, 9.0]), torch.tensor([0.5, INF, -6.0, 9.5])
    given = [torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=f64), torch.full((4,), 1.3, dtype=f64)]
    noise = torch.tensor([[0.01], [0.3], [0.8], [0.999]], dtype=f64).expand(4, 4)
    moves = Truncated(Normal(loc=0.0, scale=1.0), low=0.0).moves
    found = []
    for draw, names in ((moves.draw, ("lower", "upper")), (TruncatedNormal.draw, ("low", "high"))):
        loc, scale = (v.clone().requires_grad_() for v in given)
        ends = dict(zip(names, (low.double(), high.double()), strict=True))
        z = draw(noise, loc=loc, scale=scale, **ends)
        found.append((z.detach(), *torch.autograd.grad(z.sum(), [loc, scale])))
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("law", "tail", "low", "high"),
    [
        (Gumbel(loc=0.0, scale=1.0), lambda x: 1 - mp.exp(-mp.exp(-x)), 60.0, 65.0),
        (Logistic(loc=0.0, scale=1.0), lambda x: 1 / (1 + mp.exp(x)), 80.0, INF),
        (Logistic(loc=0.0, scale=1.0), lambda x: 1 / (1 + mp.exp(x)), -90.0, -80.0),
        (Normal(loc=0.0, scale=1.0), lambda x: mp.erfc(x / mp.sqrt(2)) / 2, 40.0, 41.0),
    ],
    ids=["gumbel", "logistic", "below", "normal"],
)
def test_far_tails_keep_their_digits(law, tail, low, high):
    with mp.workdps(60):
        p = Truncated(law.double(), low, high)
        x = torch.tensor([low + 0.25, low + 0.9], dtype=f64)
        ends = [tail(mp.mpf(low)), tail(mp.mpf(high)) if high < INF else mp.mpf(0)]
        for value, found in zip(x.tolist(), p.get_log_sf({"x": x}).tolist(), strict=True):
            wanted = mp.log((tail(mp.mpf(value)) - ends[1]) / (ends[0] - ends[1]))
            assert found == pytest.approx(float(wanted), rel=1e-9)
            density = mp.log(-mp.diff(tail, mp.mpf(value)) / (ends[0] - ends[1]))
            assert p.get_log_prob({"x": torch.tensor([value], dtype=f64)}).item() == pytest.approx(
                float(density), rel=1e-9
            )
        u = torch.tensor([0.1, 0.5, 0.9], dtype=f64)
        torch.testing.assert_close(p.get_cdf({"x": p.get_icdf(u)}), u, rtol=1e-9, atol=0)


def test_draws_of_a_gumbel_law_have_its_gradient():
    """By differences of the quantile; a trained end has one too."""
    moves = Truncated(Gumbel(loc=0.0, scale=1.0), low=0.0).moves
    names = ("loc", "scale", "lower", "upper")
    theta = [torch.tensor(v, dtype=f64, requires_grad=True) for v in (0.4, 1.2, 1.0, 3.0)]
    for u in (0.02, 0.4, 0.97):
        noise = torch.tensor(u, dtype=f64)
        z = moves.draw(noise, **dict(zip(names, theta, strict=True)))
        for i, grad in enumerate(torch.autograd.grad(z, theta)):
            ends = []
            for sign in (1, -1):
                moved = [t.detach() + sign * 1e-6 * (i == j) for j, t in enumerate(theta)]
                ends.append(moves.icdf(noise, **dict(zip(names, moved, strict=True))))
            wanted = ((ends[0] - ends[1]) / 2e-6).item()
            assert grad.item() == pytest.approx(wanted, rel=1e-5, abs=1e-7), names[i]


def test_counts_without_zero():
    p = Truncated(Poisson(rate=torch.tensor(0.8, dtype=f64)), low=1)
    x = torch.arange(1.0, 40.0, dtype=f64)
    wanted = stats.poisson.pmf(x.numpy(), 0.8) / stats.poisson.sf(0, 0.8)
    found = p.get_log_prob({"x": x}).exp()
    assert found.numpy() == pytest.approx(wanted, rel=1e-10)
    assert found.sum().item() == pytest.approx(1.0)
    assert p.get_cdf({"x": x}).numpy() == pytest.approx(wanted.cumsum(), rel=1e-9)
    drawn = p.sample(batch_n=4000)["x"]
    assert drawn.min() == 1
    mean, var = 0.8 / stats.poisson.sf(0, 0.8), None
    var = mean * (1.8 - mean)
    assert abs(drawn.mean().item() - mean) < 5 * (var / 4000) ** 0.5
    with pytest.raises(SupportError, match="inside of the law's interval"):
        p.get_log_prob({"x": torch.zeros(1, dtype=f64)})
    with pytest.raises(SamplingError, match="reparam=True is not possible"):
        p.sample(reparam=True)


def test_ends_from_conditions_and_a_network():
    law = Normal(cond_var=["y"], net=nn.Linear(2, 6))
    p = Truncated(law, low="a", high=2.0, name="p", cond_var=["a"])
    assert str(p).splitlines()[1] == "  p(x|y,a) ∝ p(x|y) [a ≤ x ≤ 2]"
    y, a = torch.randn(5, 2), torch.randn(5, 3).clamp(max=1.0)
    x = p.sample({"y": y, "a": a}, sample_shape=[50])["x"]
    assert x.shape == (50, 5, 3)
    assert ((x >= a) & (x <= 2)).all()
    params = law.get_params([y])
    own = stats.truncnorm(
        *(
            (end - params["loc"]).div(params["scale"]).detach().numpy()
            for end in (a, torch.tensor(2.0))
        ),
        params["loc"].detach().numpy(),
        params["scale"].detach().numpy(),
    )
    wanted = own.logpdf(x[0].numpy()).sum(-1)
    assert p.get_log_prob({"x": x[0], "y": y, "a": a}).tolist() == pytest.approx(wanted, rel=1e-4)
    loss = (E(p, p.log_prob()) - p.log_prob()).mean()
    step = loss.function()
    given = {"x": x[0], "y": y, "a": a}
    noise = {"x": torch.rand(5, 3)}
    first, second = (step(given, noise=noise) for _ in range(2))
    assert torch.equal(first, second)
    second.backward()
    assert law.net.weight.grad.isfinite().all()


def test_copies_and_state():
    p = Truncated(Exponential(rate=nn.Parameter(torch.ones(3))), high=nn.Parameter(torch.ones(3)))
    assert set(p.state_dict()) == {"lower", "upper", "law.rate"}
    for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        x = torch.full((1, 3), 0.4)
        assert torch.equal(twin.get_log_prob({"x": x}), p.get_log_prob({"x": x}))
    p.get_log_prob({"x": torch.full((1, 3), 0.4)}).sum().backward()
    assert p.upper.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Truncated(Normal(loc=0.0, scale=1.0)), ParameterError, "low= or high="),
        (
            lambda: Truncated(Normal(loc=0.0, scale=1.0), 1.0, 0.0),
            SupportError,
            "lower must be below",
        ),
        (lambda: Truncated(Bernoulli(probs=0.5), 0.0), ParameterError, "has no log_cdf"),
        (
            lambda: Truncated(
                MultivariateNormal(loc=torch.zeros(2), scale_tril=torch.eye(2)), 0.0
            ),
            ParameterError,
            "Condition by rejection",
        ),
    ],
)
def test_mistakes_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("which", ["log_density", "log_cdf", "log_sf", "mean_of", "entropy_of"])
def test_an_infinite_end_leaves_the_gradient_finite(which):
    """Of the scale it was NaN: an infinite distance times zero."""
    low, high = torch.tensor([-INF, 2.0], dtype=f64), torch.tensor([-6.0, INF], dtype=f64)
    x = () if which.endswith("_of") else (torch.tensor([-6.5, 2.5], dtype=f64),)
    theta = [torch.tensor(v, dtype=f64, requires_grad=True) for v in ([0.3, -0.2], [1.3, 0.9])]
    move = getattr(TruncatedNormal, which)
    assert torch.autograd.gradcheck(lambda m, s: move(*x, m, s, low, high), theta)


RATE = torch.tensor([[0.9, 2.0, 3.5], [4.0, 1.2, 7.0]], dtype=torch.float64)
COUNTS = [
    {"law": Poisson(rate=RATE), "low": 0.5, "high": 6.5},
    {"law": Poisson(rate=RATE.flip(0) + 0.5), "low": 0.5, "high": 8.5},
]
# ends between two counts have no effect
ASKED = [check for check in LAW_CHECKS if check != "derivatives of parts"]
SLOW = {"draws follow the density", "precision and device follow"}  # a search for each quantile


@pytest.mark.parametrize(
    "check", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in ASKED]
)
def test_counts_keep_the_contract(check):
    check_distribution(Truncated, COUNTS, only=[check])


def test_no_slope_where_nothing_is_left():
    """Beyond the last count of an interval nothing is left: -inf, not a gradient of NaN."""
    p = Truncated(Poisson(rate=nn.Parameter(torch.tensor(2.0))), low=1, high=6)
    values = p.get_log_sf({"x": torch.tensor([3.0, 6.0])})
    values[0].backward()
    assert values[1] == -INF
    assert p.law.rate.grad.isfinite()
