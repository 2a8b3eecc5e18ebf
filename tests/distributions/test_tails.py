"""Distribution functions by incomplete gamma and beta functions: transforms, quantiles, edges."""

import pytest
import torch

from ancestral.distributions import (
    Beta,
    Binomial,
    Gamma,
    Geometric,
    InverseGamma,
    Laplace,
    NegativeBinomial,
    Poisson,
    StudentT,
    VonMises,
)

f64 = torch.float64


def wide(count: int, low: float = -3, high: float = 6) -> torch.Tensor:
    """Numbers spread over magnitudes."""
    return 10 ** (low + (high - low) * torch.rand(count, dtype=f64))


def ranks(count: int) -> torch.Tensor:
    """Of both tails, 1e-18 to 1 - 1e-12."""
    tails = 10 ** (-18 * torch.rand(count // 2, dtype=f64))
    return torch.cat([tails, 1 - 10 ** (-12 * torch.rand(count - count // 2, dtype=f64))])


LAWS = {
    "Gamma": lambda n: (Gamma, {"concentration": wide(n), "rate": wide(n)}),
    "InverseGamma": lambda n: (InverseGamma, {"concentration": wide(n), "rate": wide(n)}),
    "Beta": lambda n: (Beta, {"concentration1": wide(n), "concentration0": wide(n)}),
    "StudentT": lambda n: (
        StudentT,
        {"df": wide(n, -1, 10), "loc": torch.zeros(n, dtype=f64), "scale": wide(n)},
    ),
    "Laplace": lambda n: (Laplace, {"loc": torch.zeros(n, dtype=f64), "scale": wide(n)}),
    "VonMises": lambda n: (
        VonMises,
        {"loc": torch.zeros(n, dtype=f64), "concentration": wide(n)},
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_quantiles_have_their_rank(name):
    """To 1e-10 of the logarithm of the smaller tail, or what the rounding of x changes it by."""
    torch.manual_seed(0)
    family, params = LAWS[name](600)
    u = ranks(600)
    x = family.icdf(u, **params)
    inside = (x.abs() > 1e-290) & (x.abs() < 1e290) & (x != 1.0)
    inside &= (name != "VonMises") | (x.abs() < torch.pi)  # where the end itself is the quantile
    log_p = family.log_density(torch.where(inside, x, 0.5), **params)
    move = torch.where(u <= 0.5, family.log_cdf(x, **params), family.log_sf(x, **params))
    wanted = torch.where(u <= 0.5, u.log(), (1 - u).log())
    rounding = 1e-15 * (log_p + x.abs().log() - wanted).exp()
    error = (move - wanted).abs() / wanted.abs().clamp(min=1.0)
    assert inside.sum() > 500 or name in ("Beta", "InverseGamma", "Gamma")
    assert inside.sum() > 350
    assert ((error < 1e-10 + rounding) | ~inside).all(), error[inside].max()


COUNTS = {
    "Poisson": lambda n: (Poisson, {"rate": wide(n)}),
    "Binomial": lambda n: (
        Binomial,
        {"total_count": wide(n, 0).round(), "logits": 4 * torch.randn(n, dtype=f64)},
    ),
    "NegativeBinomial": lambda n: (
        NegativeBinomial,
        {"total_count": wide(n, -3, 4), "logits": 3 * torch.randn(n, dtype=f64)},
    ),
    "Geometric": lambda n: (Geometric, {"logits": 5 * torch.randn(n, dtype=f64)}),
}


@pytest.mark.parametrize("name", COUNTS)
def test_quantiles_of_counts_are_the_first_that_reach_a_rank(name):
    torch.manual_seed(0)
    family, params = COUNTS[name](300)
    u = ranks(300)
    k = family.icdf(u, **params)
    assert ((k == k.round()) & (k >= 0)).all()
    for count, reached in ((k, True), (k - 1, False)):
        below, above = family.log_cdf(count, **params), family.log_sf(count, **params)
        gap = torch.where(u > 0.5, (1 - u).log() - above, below - u.log())
        assert ((gap >= -1e-11) if reached else (gap < 1e-11)).all()
    ends = torch.tensor([0.0, 1.0], dtype=f64)
    first = {key: v[:1] for key, v in params.items()}
    last = params["total_count"][0].item() if name == "Binomial" else torch.inf
    assert family.icdf(ends, **first).tolist() == [0.0, last]


@pytest.mark.parametrize("name", [*LAWS, *COUNTS])
def test_ends_of_the_support(name):
    family, params = (LAWS | COUNTS)[name](4)
    if "loc" in params:
        return
    x = torch.tensor([-1.0, torch.inf], dtype=f64)[:, None]
    if name == "Beta":
        x = torch.tensor([0.0, 1.0], dtype=f64)[:, None]
    assert family.log_cdf(x, **params).tolist() == [[-torch.inf] * 4, [0.0] * 4]
    assert family.log_sf(x, **params).tolist() == [[0.0] * 4, [-torch.inf] * 4]


@pytest.mark.parametrize("name", [*LAWS, *COUNTS])
def test_derivatives_in_the_value_are_the_density(name):
    """d log P / dx = p / P, d log Q / dx = -p / Q; of counts those in parameters are checked."""
    torch.manual_seed(1)
    if name in COUNTS:
        return
    family, params = LAWS[name](300)
    x = family.icdf(torch.rand(300, dtype=f64), **params).clamp(-1e200, 1e200)
    x = torch.where(x.abs() < 1e-200, 1e-200, x)
    x = x.clamp(max=1 - 1e-9) if name == "Beta" else x
    x.requires_grad_()
    log_p = family.log_density(x, **params)
    for move, sign in ((family.log_cdf, 1), (family.log_sf, -1)):
        value = move(x, **params)
        (slope,) = torch.autograd.grad(value.sum(), x)
        wanted = sign * (log_p - value).exp()
        assert (((slope - wanted) / wanted).abs() < 1e-9)[wanted.abs() > 1e-290].all()


def test_the_median_of_student_t_has_a_derivative():
    x = torch.zeros(1, dtype=f64, requires_grad=True)
    p = {"df": torch.full((1,), 3.0, dtype=f64), "loc": 0.0, "scale": 1.0}
    StudentT.log_cdf(x, **p).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * StudentT.log_density(x.detach(), **p).exp())


def moves(family):
    def of(u, x, params):
        return family.icdf(u, **params), family.log_cdf(x, **params), family.log_sf(x, **params)

    return of


def given(name):
    torch.manual_seed(0)
    family, params = (LAWS | COUNTS)[name](3)
    u = torch.tensor([0.1, 0.4, 0.8], dtype=f64)
    return family, (u, family.icdf(u, **params), params)


@pytest.mark.parametrize("name", [*LAWS, *COUNTS])
def test_vmap(name):
    family, inputs = given(name)
    for found, wanted in zip(
        torch.vmap(moves(family))(*inputs), moves(family)(*inputs), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=0)


def same_as_traced(function, *inputs):
    torch.compiler.reset()
    traced = torch.compile(function, fullgraph=True, backend="eager")(*inputs)
    torch.testing.assert_close(traced, function(*inputs), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["Gamma", "StudentT", "Poisson", "Laplace"])
def test_one_graph(name):
    """Of distribution functions by either integral; quantiles take longer."""
    family, (u, x, params) = given(name)
    same_as_traced(lambda x, params: family.log_cdf(x, **params), x, params)
    if name == "Laplace":
        same_as_traced(lambda u, params: family.icdf(u, **params), u, params)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LAWS, *COUNTS])
def test_one_graph_of_all(name):
    family, inputs = given(name)
    same_as_traced(moves(family), *inputs)
