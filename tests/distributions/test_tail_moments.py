"""Mean, variance and entropy of truncated laws against mpmath, with gradients, if there are any."""

import pytest
import torch
from mpmath import mp

from ancestral.core.errors import SamplingError
from ancestral.distributions import (
    Beta,
    Cauchy,
    Exponential,
    Gamma,
    Gumbel,
    Laplace,
    Logistic,
    LogNormal,
    Normal,
    Poisson,
    StudentT,
    Truncated,
    TruncatedNormal,
)

f64 = torch.float64
INF = float("inf")
THIRD = mp.mpf(0.3)


def by_density(density, *points):
    """Total mass, mean and mean square by integrals between these points."""
    return [mp.quad(lambda x, k=k: x**k * density(x), points) for k in range(3)]


def gumbel(x):
    return mp.exp(THIRD - x - mp.exp(THIRD - x))


def incomplete(a, b, end):
    """Of a gamma law up to an end."""
    return [mp.gammainc(mp.mpf(a) + k, 0, b * end) / mp.mpf(b) ** (a + k) for k in range(3)]


def student(df):
    """The upper half."""
    n, half = mp.mpf(df), mp.mpf(1) / 2
    return [mp.beta((k + 1) * half, (n - k) / 2) * n ** (k * half) for k in range(3)]


def log_normal(scale):
    """From 1 on."""
    s = mp.mpf(scale)
    return [mp.exp((k * s) ** 2 / 2) * mp.ncdf(k * s) for k in range(3)]


CASES = {
    "gumbel": (Gumbel, (0.3, 1.0), -1.0, INF, lambda: by_density(gumbel, -1, 1, 4, 12, 60)),
    "far": (Gumbel, (0.3, 1.0), 60.0, 65.0, lambda: by_density(gumbel, 60, 62, 65)),
    "laplace": (
        Laplace,
        (0.3, 1.0),
        -1.0,
        5.0,
        lambda: by_density(lambda x: mp.exp(-abs(x - THIRD)), -1, THIRD, 5),
    ),
    "logistic": (
        Logistic,
        (0.3, 1.0),
        -1.0,
        INF,
        lambda: by_density(lambda x: mp.sech((x - THIRD) / 2) ** 2, -1, 2, 6, 20, 120),
    ),
    "no end of its own": (Gamma, (3.0, 2.0), -INF, 3.0, lambda: incomplete(3, 2, 3)),
    "infinite density": (Gamma, (0.5, 2.0), -INF, 3.0, lambda: incomplete(0.5, 2, 3)),
    "of many magnitudes": (Gamma, (1e-3, 2.0), -INF, 1.0, lambda: incomplete(1e-3, 2, 1)),
    "narrow peak": (Gamma, (1e4, 2.0), 0.0, 5010.0, lambda: incomplete(1e4, 2, 5010)),
    "beta": (
        Beta,
        (0.5, 3.0),
        0.125,
        0.75,
        lambda: by_density(lambda x: (1 - x) ** 2 / mp.sqrt(x), 0.125, 0.75),
    ),
    "power tail": (StudentT, (2.5, 0.0, 1.0), 0.0, INF, lambda: student(2.5)),
    "huge": (LogNormal, (0.0, 5.0), 1.0, INF, lambda: log_normal(5)),
}


def moments(family, numbers, low, high, *, grad=False):
    law = Truncated(family(**dict(zip(family.domains, numbers, strict=False))), low, high)
    keys = [key for key in law.moves.domains if key in family.domains][: len(numbers)]
    theta = [torch.tensor(v, dtype=f64, requires_grad=grad) for v in (*numbers, low, high)]
    params = dict(zip([*keys, "lower", "upper"], theta, strict=True))
    return theta, (law.moves.mean_of(**params), law.moves.variance_of(**params))


@pytest.mark.parametrize("name", CASES)
def test_moments_of_truncated_laws(name):
    family, numbers, low, high, oracle = CASES[name]
    with mp.workdps(60):
        mass, first, second = oracle()
        mean = first / mass
        variance = second / mass - mean**2
    _, found = moments(family, numbers, low, high)
    for value, wanted in zip(found, (mean, variance), strict=True):
        assert value.item() == pytest.approx(float(wanted), rel=1e-10)


@pytest.mark.parametrize(
    "ends", [(-0.5, 0.7), (-1e6, 1e6), (12.0, INF), (-INF, -30.0), (0.5, 0.51)]
)
def test_moments_and_gradients_are_those_of_the_truncated_normal_law(ends):
    theta, found = moments(Normal, (0.3, 1.1), *ends, grad=True)
    keys = ("loc", "scale", "low", "high")
    given = dict(zip(keys, theta, strict=True))
    exact = (TruncatedNormal.mean_of(**given), TruncatedNormal.variance_of(**given))
    trained = [t for t in theta if t.isfinite()]
    for value, wanted in zip(found, exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)
        slopes = (torch.autograd.grad(v, trained) for v in (value, wanted))
        torch.testing.assert_close(*slopes, rtol=1e-7, atol=1e-7)

    q = Truncated(Normal(loc=0.3, scale=1.1), *ends).moves
    mine = dict(zip(("loc", "scale", "lower", "upper"), theta, strict=True))
    value, wanted = q.entropy_of(**mine), TruncatedNormal.entropy_of(**given)
    torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-10)
    slopes = (torch.autograd.grad(v, trained) for v in (value, wanted))
    torch.testing.assert_close(*slopes, rtol=1e-7, atol=1e-7)


DENSITIES = {
    "gumbel": (gumbel, -1, 1, 4, 12, 60),
    "far": (gumbel, 60, 62, 65),
    "laplace": (lambda x: mp.exp(-abs(x - THIRD)), -1, THIRD, 5),
    "logistic": (lambda x: mp.sech((x - THIRD) / 2) ** 2, -1, 2, 6, 20, 120),
    "no end of its own": (lambda x: x**2 * mp.exp(-2 * x), 0, 1, 3),
    "infinite density": (lambda x: mp.exp(-2 * x) / mp.sqrt(x), 0, 0.01, 3),
    "narrow peak": (lambda x: mp.exp(9999 * mp.log(x / 5000) - 2 * (x - 5000)),
                    4600, 4800, 4950, 5000, 5010),
    "beta": (lambda x: (1 - x) ** 2 / mp.sqrt(x), 0.125, 0.75),
    "power tail": (lambda x: (1 + x**2 / 2.5) ** -1.75, 0, 1, 10, 1e2, 1e3, 1e5, 1e8, 1e12),
    "huge": (lambda x: mp.exp(-(mp.log(x) ** 2) / 50) / x, 1, 10, 1e3, 1e9, 1e20, 1e40),
}  # fmt: skip


@pytest.mark.parametrize("name", DENSITIES)
def test_entropies_of_truncated_laws(name):
    family, numbers, low, high, _ = CASES[name]
    density, *points = DENSITIES[name]
    with mp.workdps(60):
        mass = mp.quad(density, points)
        surprise = mp.quad(lambda x: density(x) * mp.log(density(x)) if density(x) else 0, points)
        wanted = mp.log(mass) - surprise / mass
    keys = [*list(family.domains)[: len(numbers)], "lower", "upper"]
    every = [torch.tensor(v, dtype=f64) for v in (*numbers, low, high)]
    law = Truncated(family(**dict(zip(keys[:-2], numbers, strict=True))), low, high)
    found = law.moves.entropy_of(**dict(zip(keys, every, strict=True)))
    assert found.item() == pytest.approx(float(wanted), rel=1e-10, abs=1e-10)


def test_an_entropy_whose_quantiles_are_below_all_numbers_is_none():
    """Half of the mass of this gamma law is below 1e-300: -inf would be wrong."""
    law = Truncated(Gamma(concentration=torch.tensor(1e-3, dtype=f64), rate=2.0), high=1.0)
    assert law.get_entropy().isnan()


def test_moments_that_are_infinite():
    assert all(v == INF for v in moments(Cauchy, (0.3, 1.1), -2.0, INF)[1])
    assert moments(Cauchy, (0.3, 1.1), -INF, 5.0)[1][0] == -INF
    mean, variance = moments(StudentT, (1.5, 0.0, 1.0), -1.0, INF)[1]
    assert mean.isfinite()
    assert variance == INF


def test_means_are_drawn_and_counts_have_none():
    p = Truncated(Exponential(rate=torch.tensor([1.0, 2.0])), low=torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(p.sample_mean(), torch.tensor([[2.0, 1.0]]))
    torch.testing.assert_close(p.sample_variance(), torch.tensor([[1.0, 0.25]]))
    with pytest.raises(SamplingError, match="has no mean in closed form"):
        Truncated(Poisson(rate=1.0), low=1).sample_mean()
