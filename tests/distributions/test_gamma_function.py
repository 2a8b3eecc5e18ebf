"""Functions that the moves of laws are made of, against mpmath in 40 digits."""

import itertools

import pytest
import torch
from mpmath import mp

from ancestral.distributions import gamma_function as g
from ancestral.distributions.bernoulli import Bernoulli
from ancestral.distributions.beta import kl_beta
from ancestral.distributions.dirichlet import kl_dirichlet
from ancestral.distributions.implicit import attach
from ancestral.distributions.truncated_normal import TruncatedNormal

NAMES = ("concentration1", "concentration0")
GRID = torch.cat([torch.logspace(-3, 8, 400), torch.linspace(1.8, 2.2, 41)]).double()


def by_mpmath(f, grid: torch.Tensor) -> torch.Tensor:
    with mp.workdps(40):
        return torch.tensor([float(f(mp.mpf(v))) for v in grid.tolist()], dtype=torch.float64)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (
            g.stirling_error,
            lambda x: mp.loggamma(x) - (x - mp.mpf(1) / 2) * mp.log(x) + x - mp.log(2 * mp.pi) / 2,
        ),
        (g.digamma_error, lambda x: mp.log(x) - 1 / (2 * x) - mp.psi(0, x)),
    ],
    ids=["stirling", "digamma"],
)
def test_what_is_left_of_stirlings_formula(found, wanted):
    """An error of 4e-16, times a shape of 10, moved a log density by 4e-15."""
    exact = by_mpmath(wanted, GRID)
    gap = (found(GRID) - exact).abs()
    assert (gap <= 5e-16 * exact.abs().clamp(min=1.0)).all()
    far = GRID > g.LARGE
    assert (gap[far] <= 1e-15 * exact[far].abs()).all()  # there relative to itself, too


DTYPES = (torch.float32, torch.float64, torch.int64)


@pytest.mark.parametrize("eta", [torch.zeros(()), torch.zeros(2), torch.zeros(2).double()])
def test_a_bernoulli_density_has_torchs_dtype(eta):
    """Also of a 0-d tensor, which does not raise the precision of others."""
    for dtype, shape in itertools.product(DTYPES, [(), (2,)]):
        x = torch.ones(shape, dtype=dtype)
        assert Bernoulli.log_density(x, logits=eta).dtype == torch.result_type(eta, x)


def compiled(function):
    return torch.compile(function, fullgraph=True, backend="eager")


def test_moves_are_traced_whole():
    """Also a draw whose parameters have no gradient, and densities outside of a step."""
    x = torch.tensor([0.0, 1.0])
    found = compiled(lambda x, eta: Bernoulli.log_density(x, logits=eta))(x, torch.ones(2))
    assert torch.equal(found, Bernoulli.log_density(x, logits=torch.ones(2)))
    params = TruncatedNormal.examples()[0]
    u = torch.full((3,), 0.3, dtype=torch.float64)
    for move in (TruncatedNormal.draw, TruncatedNormal.log_density, TruncatedNormal.icdf):
        assert torch.equal(compiled(lambda u, move=move: move(u, **params))(u), move(u, **params))
    theta = torch.ones(3, dtype=torch.float64)
    assert torch.equal(compiled(lambda u: attach(u, (theta, u)))(u), u)


@pytest.mark.parametrize(
    ("q", "p"),
    [
        ((1e6, 0.02), (962.0, 0.003)),
        ((1e6, 1e-3), (1.5e6, 5e-4)),
        ((1e6, 1e6), (1e6 + 1.0, 1e6)),
        ((1e12, 3e12), (1e12 + 1e3, 3e12)),
        ((1e12, 1.0), (2e12, 1.0)),
    ],
)
def test_divergences_of_beta_laws_keep_their_digits_at_large_concentrations(q, p):
    """Differences of divergences of gamma functions; their leading terms cancel."""
    with mp.workdps(60):
        (a, b), (c, d) = (map(mp.mpf, pair) for pair in (q, p))
        logs = [mp.loggamma(s) + mp.loggamma(t) - mp.loggamma(s + t) for s, t in ((a, b), (c, d))]
        wanted = logs[1] - logs[0] + (c - a + d - b) * mp.psi(0, a + b)
        wanted += (a - c) * mp.psi(0, a) + (b - d) * mp.psi(0, b)
    mine, its = (torch.tensor(pair, dtype=torch.float64) for pair in (q, p))
    found = [kl_dirichlet({"concentration": mine}, {"concentration": its})]
    found.append(kl_beta(*(dict(zip(NAMES, pair, strict=True)) for pair in (mine, its))))
    for value in found:
        assert value.item() == pytest.approx(float(wanted), rel=1e-10, abs=1e-10)
