"""Laws of matrices: what they are of other laws, at shapes beyond those of the contract."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import special, stats
from torch import nn

from ancestral.core.errors import OptionError, ParameterError, ShapeError, SupportError
from ancestral.distributions import (
    AutoregressiveNormal,
    LKJCholesky,
    MatrixNormal,
    MultivariateNormal,
    Normal,
    VonMisesFisher,
    Wishart,
)
from ancestral.losses import E, KullbackLeibler
from tests.oracles.slopes import gamma_slope

f64 = torch.float64


def triangle(size: int, seed: int) -> torch.Tensor:
    """A lower triangle with a positive diagonal."""
    made = torch.randn(size, size, dtype=f64, generator=torch.Generator().manual_seed(seed))
    return made.tril(-1) + torch.diag_embed(made.diagonal().exp())


ROW, COLUMN = triangle(2, 0), triangle(3, 1)
MEAN = torch.linspace(-1.3, 2.0, 6, dtype=f64).reshape(2, 3)


def weights(name="q", loc=MEAN, row=ROW, column=COLUMN, **others):
    return MatrixNormal(
        var=["w"], name=name, loc=loc, row_scale_tril=row, column_scale_tril=column, **others
    )


def as_vector(name="q", loc=MEAN, row=ROW, column=COLUMN):
    factor = torch.kron(row, column)  # of the entries, row by row
    return MultivariateNormal(var=["w"], name=name, loc=loc.flatten(), scale_tril=factor)


# -- matrix normal --------------------------------------------------------------------------------
def test_matrix_normal_is_the_law_of_its_entries():
    p, flat = weights(), as_vector()
    torch.manual_seed(0)
    w = p.sample(batch_n=4, sample_shape=[2])["w"]
    torch.manual_seed(0)
    v = flat.sample(batch_n=4, sample_shape=[2])["w"]
    assert w.shape == (2, 4, 2, 3)
    torch.testing.assert_close(w.flatten(-2), v)
    torch.testing.assert_close(p.get_log_prob({"w": w}), flat.get_log_prob({"w": v}))
    torch.testing.assert_close(p.get_entropy(), flat.get_entropy())
    torch.testing.assert_close(p.sample_variance().flatten(-2), flat.sample_variance())
    other, its = (f("p", -MEAN, triangle(2, 2), triangle(3, 3)) for f in (weights, as_vector))
    torch.testing.assert_close(KullbackLeibler(p, other).eval(), KullbackLeibler(flat, its).eval())


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 0.7), (-MEAN, MEAN.abs())], ids=["one", "each"])
def test_divergence_of_weights_from_a_factorised_prior(loc, scale):
    p = Normal(var=["w"], name="p", loc=loc, scale=scale, features_shape=[2, 3])
    flat = [torch.as_tensor(v, dtype=f64).expand(2, 3).flatten() for v in (loc, scale)]
    wanted = KullbackLeibler(as_vector(), Normal(var=["w"], name="p", loc=flat[0], scale=flat[1]))
    torch.testing.assert_close(KullbackLeibler(weights(), p).eval(), wanted.eval())


def test_rows_have_matrices_of_their_own():
    """A network of conditions; the generated text is the interpreter, and one graph."""
    net = nn.Linear(2, 6).double()
    q = MatrixNormal(
        var=["w"],
        cond_var=["x"],
        name="q",
        row_scale_tril=nn.Parameter(ROW.clone()),
        column_covariance=COLUMN @ COLUMN.mT,
        net=lambda x: {"loc": net(x).unflatten(-1, (2, 3))},
    )
    loss = (KullbackLeibler(q, weights("p")) + E(q, q.log_prob(), draws=3)).mean()
    x, noise = torch.randn(5, 2, dtype=f64), {"w": torch.randn(3, 5, 2, 3, dtype=f64)}
    function = loss.function()
    first = function({"x": x}, noise=noise)
    assert torch.equal(function({"x": x}, noise=noise), first)
    w = q.sample({"x": x}, sample_shape=[2])["w"]
    found = q.get_log_prob({"x": x, "w": w})
    for row in range(5):
        one = weights(loc=net(x[row]).detach().reshape(2, 3))
        torch.testing.assert_close(found[:, row], one.get_log_prob({"w": w[:, row]}))


def test_factors_must_fit_one_another():
    with pytest.raises(ShapeError, match="do not fit one another"):
        weights(row=COLUMN)
    with pytest.raises(ParameterError, match="takes one of them"):
        weights(row_covariance=ROW @ ROW.mT)


# -- Wishart --------------------------------------------------------------------------------------
def forms(lower):
    """The three ways of giving one scale."""
    covariance = lower @ lower.mT
    return [
        {"scale_tril": lower},
        {"covariance_matrix": covariance},
        {"precision_matrix": torch.linalg.inv(covariance)},
    ]


def scatter(name="q", df=5.5, **scale):
    return Wishart(var=["s"], name=name, df=df, **(scale or {"scale_tril": COLUMN}))


@pytest.mark.parametrize("form", forms(COLUMN), ids=lambda form: next(iter(form)))
def test_wishart_does_not_depend_on_the_parametrisation(form):
    """Against SciPy at three rows, and the sum of outer products of normal vectors."""
    p = scatter(**form)
    wanted = stats.wishart(5.5, (COLUMN @ COLUMN.mT).numpy())
    s = p.sample(batch_n=3000)["s"]
    exact = torch.from_numpy(wanted.logpdf(s.movedim(0, -1).numpy()))
    torch.testing.assert_close(p.get_log_prob({"s": s}), exact)
    assert p.get_entropy().item() == pytest.approx(wanted.entropy(), rel=1e-12)
    other = scatter("p", 3.2, scale_tril=triangle(3, 3))
    closed = KullbackLeibler(p, other).eval()
    ratio = p.get_log_prob({"s": s}) - other.get_log_prob({"s": s})
    assert (ratio.mean() - closed).abs() < 5 * ratio.std() / len(s) ** 0.5
    error = (s.mean(0) - p.sample_mean()[0]).abs()
    assert (error < 5 * p.sample_variance()[0].sqrt() / len(s) ** 0.5).all()


def test_degrees_of_freedom_must_exceed_the_size():
    """At two rows 1.5 will do, at three it will not: in constants, and from a network."""
    for wrong in (1.5, torch.tensor([3.0, 2.0])):
        with pytest.raises(SupportError, match="df must be above 2 for matrices of 3 rows"):
            scatter(df=wrong)
    assert scatter(df=1.5, scale_tril=ROW).sample()["s"].shape == (1, 2, 2)
    q = Wishart(
        var=["s"], cond_var=["x"], name="q", scale_tril=COLUMN, net=lambda x: {"df": x[:, 0]}
    )
    loss = KullbackLeibler(q, scatter("p")).mean()
    assert loss.eval({"x": torch.full((4, 1), 2.5, dtype=f64)}).isfinite()
    with pytest.raises(SupportError, match="df must be above 2"):
        loss.eval({"x": torch.full((4, 1), 1.5, dtype=f64)})


def test_gradient_of_a_wishart_draw_is_exact_for_one_row():
    """Of one row it is v times a chi-square law: twice a gamma law of half the degrees."""
    df = torch.tensor([0.7, 3.0, 40.0], dtype=f64, requires_grad=True)
    v = torch.tensor([0.5, 1.0, 2.0], dtype=f64, requires_grad=True)
    factor = v.sqrt()[:, None, None]
    noise = Wishart.noise_of((3, 1, 1), v, df=df, scale_tril=factor)
    x = Wishart.draw(noise, df=df, scale_tril=factor).flatten()
    half, g = 0.5 * df.detach(), (x / (2.0 * v)).detach()
    slope = torch.from_numpy(gamma_slope(half.numpy(), g.numpy()))
    found = torch.autograd.grad(x.sum(), [df, v])
    torch.testing.assert_close(found[0], slope * v.detach())
    torch.testing.assert_close(found[1], (x / v).detach())


# -- LKJ ------------------------------------------------------------------------------------------
def correlated(name="q", concentration=1.3, dim=4):
    return LKJCholesky(
        var=["l"], name=name, dim=dim, concentration=torch.tensor(concentration, dtype=f64)
    )


@pytest.mark.parametrize(("size", "eta"), [(2, 0.4), (3, 0.4), (3, 1.0), (5, 2.7)])
def test_normaliser_is_the_product_of_beta_functions(size, eta):
    """Of vines (Lewandowski et al., eq. 16): partial correlations have Beta laws.

    The density of C is |C|^(eta - 1) over 2^a prod_k B(b_k, b_k)^(D - k) with b_k = eta +
    (D - 1 - k)/2 and a = sum_k (2 eta - 2 + D - k)(D - k); dC is prod_i L_ii^(D - i) dL.
    """
    log_c = 0.0
    for k in range(1, size):
        b = eta + (size - 1 - k) / 2
        log_c += (2 * eta - 2 + size - k) * (size - k) * math.log(2)
        log_c += (size - k) * float(special.betaln(b, b))
    p = correlated(concentration=eta, dim=size)
    factor = p.sample(batch_n=3)["l"]
    log = factor.diagonal(dim1=-2, dim2=-1).log()
    wanted = 2 * (eta - 1) * log.sum(-1) - log_c
    wanted = wanted + (torch.arange(size - 1, -1, -1) * log).sum(-1)
    torch.testing.assert_close(p.get_log_prob({"l": factor}), wanted)


@pytest.mark.parametrize("size", [2, 5])
def test_every_correlation_has_the_same_beta_law(size):
    """(1 + C_ij) / 2 is Beta(eta + D/2 - 1) in both: 5000 draws, a distance of 0.04 at 6e-7."""
    p = correlated(concentration=0.6, dim=size)
    factor = p.sample(batch_n=5000)["l"]
    c = factor @ factor.mT
    assert p.support({}).holds(factor).all()
    a = 0.6 + size / 2 - 1
    for i in range(size):
        for j in range(i):
            assert stats.kstest(c[:, i, j].numpy(), stats.beta(a, a, -1, 2).cdf).pvalue > 6e-7


def test_lkj_tells_its_size_by_its_event_shape():
    p = LKJCholesky(features_shape=[6, 4, 4], concentration=2.0)
    assert p.dim == 4
    assert p.sample(batch_n=2)["x"].shape == (2, 6, 4, 4)
    q = LKJCholesky(cond_var=["y"], dim=4, net=nn.Linear(3, 6))
    assert q.sample({"y": torch.ones(5, 3)}, sample_shape=[2])["x"].shape == (2, 5, 6, 4, 4)
    for wrong in ({}, {"dim": 1}, {"dim": 3, "features_shape": [4, 4]}, {"features_shape": [4]}):
        with pytest.raises(OptionError, match="give the size of the matrix"):
            LKJCholesky(concentration=1.0, **wrong)


def test_covariance_of_scales_and_correlations_is_trained():
    """The prior of a covariance matrix in Stan: scales times a factor of correlations."""
    eta = nn.Parameter(torch.tensor(3.0))
    q, p = LKJCholesky(var=["l"], name="q", dim=3, concentration=eta), correlated("p", dim=3)
    scale = torch.tensor([0.5, 1.0, 2.0])
    x = MultivariateNormal(
        var=["x"], cond_var=["l"], net=lambda l: {"scale_tril": scale[:, None] * l}, loc=0.0
    )
    loss = KullbackLeibler(q, p) - E(q, x.log_prob())
    torch.manual_seed(0)
    loss.mean().eval({"x": torch.randn(7, 3) * scale}).backward()
    assert eta.grad.isfinite()
    assert eta.grad != 0


# -- all of them ----------------------------------------------------------------------------------
PAIRS = [(weights(), weights("p", -MEAN, triangle(2, 2), triangle(3, 3)))]
PAIRS += [(scatter(**f), scatter("p", 3.2, scale_tril=triangle(3, 3))) for f in forms(COLUMN)]
PAIRS += [(correlated(), correlated("p", 2.0))]
PAIRS += [
    (
        AutoregressiveNormal(name="q", steps=9, drift=0.1, coefficient=0.5, scale=2.0),
        AutoregressiveNormal(
            name="p",
            steps=9,
            drift=0.0,
            coefficient=1.0,
            scale=1.0,
            initial_loc=0.0,
            initial_scale=3.0,
        ),
    ),
    (
        VonMisesFisher(name="q", loc=F.normalize(MEAN, dim=-1), concentration=3.0),
        VonMisesFisher(name="p", loc=-F.normalize(MEAN, dim=-1), concentration=0.5),
    ),
]


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize(("q", "p"), PAIRS, ids=lambda law: law.distribution_name)
def test_draws_densities_and_divergences_are_one_graph(q, p):
    """Noise that depends on parameters is drawn inside of the step, which a graph refuses."""
    data, loss = {}, E(q, p.log_prob()) + KullbackLeibler(q, p)
    if hasattr(q, "noise_of"):
        with pytest.raises(OptionError, match="no graph can hold that"):
            loss.function(compile="eager")({})
        data, loss = q.sample(batch_n=3), p.log_prob() + KullbackLeibler(q, p)
    found = []
    for options in ({}, {"compile": "eager"}):
        torch.manual_seed(0)
        found.append(loss.function(**options)(data))
    torch.testing.assert_close(*found)
