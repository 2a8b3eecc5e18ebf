"""Flows: laws known under another name, draws that are not inverted, gradients to both parts."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

from ancestral.bijections import Affine, Bijection, Exp, Inverse, Sigmoid, Softplus, Tanh
from ancestral.core.errors import DensityError, GradientError, OptionError, SupportError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    Gamma,
    Gumbel,
    Logistic,
    LogNormal,
    MultivariateNormal,
    Normal,
    NormalizingFlow,
    TransformedDistribution,
    Uniform,
)
from ancestral.losses import E, Expectation, Function, KullbackLeibler, LogProb, Score, values
from ancestral.models import Model

X = torch.tensor([[0.3, 0.9], [1.7, 0.2], [0.6, 2.5]], dtype=torch.float64)


def number(value: float) -> torch.Tensor:
    return torch.tensor([value, value], dtype=torch.float64)


def normal(**names) -> Normal:
    return Normal(loc=number(0.0), scale=number(1.0), **names)


class Triangle(Bijection):
    """(x, y) to (x, y + tanh(a x)): one that couples vectors, with a weight."""

    event_dims = 1

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))
        self.calls = {"forward": 0, "inverse": 0}

    def _moved(self, x, sign):
        shift = torch.tanh(self.a * x[..., :1])
        return x + sign * torch.cat([torch.zeros_like(shift), shift], -1), x[..., 0] * 0.0

    def forward_and_log_det(self, x):
        self.calls["forward"] += 1
        return self._moved(x, 1.0)

    def inverse_and_log_det(self, y):
        self.calls["inverse"] += 1
        return self._moved(y, -1.0)


# -- values ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("flow", "known"),
    [
        (
            NormalizingFlow(Normal(loc=number(0.2), scale=number(0.7)), Exp()),
            LogNormal(loc=number(0.2), scale=number(0.7)),
        ),
        (
            NormalizingFlow(normal(), [Affine(1.0, -2.0)]),
            Normal(loc=number(1.0), scale=number(2.0)),
        ),
        (
            NormalizingFlow(Uniform(low=number(0.0), high=number(1.0)), [Inverse(Sigmoid())]),
            Logistic(loc=number(0.0), scale=number(1.0)),
        ),
        (
            NormalizingFlow(
                Gamma(concentration=number(1.0), rate=number(1.0)),
                [Inverse(Exp()), Affine(0.0, -1.0)],
            ),
            Gumbel(loc=number(0.0), scale=number(1.0)),
        ),
    ],
    ids=["log-normal", "normal", "logistic", "gumbel"],
)
def test_it_is_a_law_that_is_known(flow, known):
    found = flow.double().get_log_prob({"x": X}, sum_features=False)
    torch.testing.assert_close(found, known.get_log_prob({"x": X}, sum_features=False))
    torch.testing.assert_close(LogProb(flow).eval({"x": X}), found.sum(-1))


@pytest.mark.parametrize("factor", [2.0, -2.0])
def test_distribution_function_of_a_monotone_map(factor):
    flow = NormalizingFlow(Normal(loc=number(0.2), scale=number(0.7)), Affine(1.0, factor))
    known = Normal(loc=1.0 + factor * number(0.2), scale=number(1.4))
    for name in ("get_log_cdf", "get_log_sf"):
        torch.testing.assert_close(getattr(flow, name)({"x": X}), getattr(known, name)({"x": X}))
    u = torch.tensor([[0.1, 0.8]], dtype=torch.float64)
    if factor > 0:
        torch.testing.assert_close(flow.get_icdf(u), known.get_icdf(u))
    else:
        with pytest.raises(DensityError, match="has no icdf"):
            flow.get_icdf(u)
    with pytest.raises(DensityError, match="has no log_cdf"):
        NormalizingFlow(normal(), Triangle(0.1)).get_log_cdf({"x": X})


def test_parameters_are_those_of_the_base():
    flow = NormalizingFlow(Normal(loc=number(0.2), scale=number(0.7)), Exp())
    assert set(flow.get_params()) == {"loc", "scale"}


def test_density_at_the_end_of_a_tangent_is_finite():
    """The tangent rounds to 1: torch's density is NaN there."""
    p = NormalizingFlow(Normal(loc=0.0, scale=5.0, features_shape=[1]), Tanh())
    ends = torch.tensor([[1.0], [-1.0]]).requires_grad_()
    out = p.get_log_prob({"x": ends})
    out.sum().backward()
    assert out.isfinite().all()
    assert ends.grad.isfinite().all()


def test_a_vector_is_moved_as_a_whole():
    p = NormalizingFlow(normal(), Triangle(0.7))
    each = p.get_log_prob({"x": X}, sum_features=False)
    assert each.shape == (3,)
    z = X - torch.stack([torch.zeros(3), torch.tanh(0.7 * X[:, 0])], -1)
    torch.testing.assert_close(each, normal().get_log_prob({"x": z}))


def test_base_with_a_covariance():
    base = MultivariateNormal(
        loc=number(0.0), covariance_matrix=torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    )
    p = NormalizingFlow(base, Exp())
    found = p.get_log_prob({"x": X})
    torch.testing.assert_close(found, base.get_log_prob({"x": X.log()}) - X.log().sum(-1))


def test_flow_of_a_flow_is_one():
    two = NormalizingFlow(NormalizingFlow(normal(), Exp()), Affine(0.0, 3.0))
    one = NormalizingFlow(normal(), [Exp(), Affine(0.0, 3.0)])
    torch.testing.assert_close(two.get_log_prob({"x": X}), one.get_log_prob({"x": X}))
    elbo = E(two, two.log_prob()).mean()
    noise = {"x.base": torch.ones(1, 2, dtype=torch.float64)}
    same = E(one, one.log_prob()).mean().eval(noise=noise)
    torch.testing.assert_close(elbo.eval(noise=noise), same)


# -- the draw-and-density move --------------------------------------------------------------------
def test_own_draw_is_not_inverted():
    f = Triangle(0.4)
    q = NormalizingFlow(normal(name="q_0"), f, var=["z"], name="q")
    prior = normal(var=["z"])
    loss = E(q, prior.log_prob() - q.log_prob()).mean()
    loss.eval(batch_n=5)
    assert f.calls == {"forward": 1, "inverse": 0}


def test_another_draw_is_inverted():
    f = Triangle(0.4)
    q = NormalizingFlow(normal(), f, var=["z"], name="q")
    E(normal(var=["z"]), q.log_prob()).mean().eval(batch_n=5)
    assert f.calls == {"forward": 0, "inverse": 1}


def test_density_of_a_draw_is_that_by_the_inverse():
    f = Triangle(0.4)
    q = NormalizingFlow(normal(name="q_0"), f, var=["z"], name="q")
    noise = {"z.base": torch.randn(6, 2, dtype=torch.float64)}
    found = E(q, q.log_prob()).mean().eval(noise=noise, batch_n=6)
    z = f(noise["z.base"])
    torch.testing.assert_close(found, q.get_log_prob({"z": z}).mean())


# -- gradients ------------------------------------------------------------------------------------
def test_gradient_of_a_flow_posterior_reaches_encoder_and_flow():
    """In Pixyz a flow posterior gives no gradient to its base's encoder."""
    encoder, f = nn.Linear(3, 4), Affine(nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2)))
    q0 = Normal(var=["z"], cond_var=["x"], net=encoder, name="q_0")
    q = NormalizingFlow(q0, [f, Tanh()], var=["z"], name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(2, 3))
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2])
    elbo = E(q, p.log_prob()) - KullbackLeibler(q, prior)
    model = Model(loss=-elbo.mean(), optimizer=torch.optim.SGD, optimizer_params={"lr": 0.1})
    before = [v.clone() for v in (*encoder.parameters(), *f.parameters())]
    model.train({"x": torch.ones(4, 3)})
    after = (*encoder.parameters(), *f.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_pathwise_and_score_gradients_are_the_closed_form():
    """E[x] for x = a z + b: d/da is 0 and d/db is 1; five standard errors of 40,000 draws, which
    would detect an error of 4 %.
    """
    a, b = nn.Parameter(number(1.5)), nn.Parameter(number(-0.5))
    q = NormalizingFlow(normal(), Affine(b, a), var=["x"], name="q")
    total = Function(lambda x: x.sum(-1), name="total")
    f = Expectation(q, total(values("x"))).mean()
    torch.manual_seed(0)
    for plan, count in ((f, 40_000), (f.estimate({q: Score()}), 40_000)):
        a.grad = b.grad = None
        plan.eval(batch_n=count).backward()
        error = 5 * (4.0 / count) ** 0.5 * 1.5
        assert (b.grad - 1.0).abs().max() < error
        assert a.grad.abs().max() < error


def test_cut_parameters_leave_the_gradient_of_the_value():
    f = Affine(nn.Parameter(number(0.5)), nn.Parameter(number(2.0)))
    loc = nn.Parameter(number(0.3))
    q = NormalizingFlow(Normal(loc=loc, scale=number(1.0)), f, var=["z"], name="q")
    x = X.clone().requires_grad_()
    q.detach().log_prob().mean().eval({"z": x}).backward()
    assert all(v.grad is None for v in (loc, f.loc, f.scale))
    torch.testing.assert_close(x.grad, -((X - 0.5) / 2 - 0.3) / 2 / 3)


def test_flow_of_a_base_without_pathwise_gradient_asks_for_an_estimator():
    class Coarse(Normal):
        reparametrised = False

    base = Coarse(loc=nn.Parameter(number(0.0)), scale=number(1.0))
    q = NormalizingFlow(base, Exp(), var=["z"], name="q")
    with pytest.raises(GradientError, match="z"):
        E(q, normal(var=["z"]).log_prob()).mean().eval(batch_n=3)


# -- in every place where a law may stand ---------------------------------------------------------
def test_it_stands_in_a_product():
    """In Pixyz a flow cannot be a factor."""
    prior = NormalizingFlow(normal(), Exp(), var=["z"])
    p = Normal(loc="z", scale=number(1.0), var=["x"], cond_var=["z"])
    joint = p * prior
    drawn = joint.sample(batch_n=4)
    assert {k: tuple(v.shape) for k, v in drawn.items()} == {"x": (4, 2), "z": (4, 2)}
    parts = p.get_log_prob(drawn) + prior.get_log_prob(drawn)
    torch.testing.assert_close(joint.get_log_prob(drawn), parts)


@pytest.mark.parametrize("copies", [None, 3])
def test_interpreter_and_step_agree(copies):
    q0 = Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4).double(), name="q_0")
    q = NormalizingFlow(q0, [Affine(0.1, -2.0), Softplus()], var=["z"], name="q")
    prior = LogNormal(loc=number(0.0), scale=number(1.0), var=["z"])
    ratio = prior.log_prob() - q.log_prob()
    loss = E(q, ratio) if copies is None else E(q.iid(k=copies), ratio.exp().mean("k").log())
    run = loss.mean().function()
    x = torch.randn(5, 3, dtype=torch.float64)
    lead = (5,) if copies is None else (copies, 5)
    noise = {"z.base": torch.randn(*lead, 2, dtype=torch.float64)}
    first, second = run({"x": x}, noise=noise), run({"x": x}, noise=noise)
    assert torch.equal(first, second)  # the first batch runs in the interpreter
    z = torch.nn.functional.softplus(0.1 - 2.0 * q0.sample({"x": x})["z"])
    assert z.shape == (5, 2)


def test_compiled_step_is_one_graph():
    q = NormalizingFlow(Normal(loc=0.0, scale=1.0, features_shape=[2]), Tanh(), var=["z"])
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="r")
    loss = E(q, prior.log_prob() - q.log_prob()).mean()
    run, plain = loss.function(compile="aot_eager"), loss.function()
    noise = {"z.base": torch.randn(5, 2)}
    for _ in range(2):
        found = run(noise=noise, batch_n=5)
    torch.testing.assert_close(found, plain(noise=noise, batch_n=5))


def test_copies_pickles_and_freedom():
    q = NormalizingFlow(normal(), Triangle(0.3), var=["x"])
    for twin in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        torch.testing.assert_close(twin.get_log_prob({"x": X}), q.get_log_prob({"x": X}))
        assert twin.bijection.a is not q.bijection.a
    weight = weakref.ref(q.bijection.a)
    E(q, q.log_prob()).mean().eval(batch_n=2)
    del q, twin
    gc.collect()
    assert weight() is None


def test_listing_names_base_and_bijection():
    q = NormalizingFlow(normal(name="q_0"), Exp(), var=["z"], name="q")
    text = str(E(q, q.log_prob()).program())
    assert "z.base ~ q_0(z.base)" in text
    assert "f of q(z) at z.base, with log|det|" in text


def test_pixyz_name():
    assert TransformedDistribution is NormalizingFlow


# -- refusals -------------------------------------------------------------------------------------
def test_value_that_is_not_reached():
    p = NormalizingFlow(normal(), Tanh(), var=["x"])
    with pytest.raises(SupportError, match=r"in the image of p\(x\), got 1\.7"):
        p.get_log_prob({"x": X})
    edge = NormalizingFlow(normal(), [Exp(), Affine(1.0, 2.0)], var=["x"])
    with pytest.raises(SupportError, match=r"in the image of p\(x\), got 1 at"):
        edge.get_log_prob({"x": torch.ones(1, 2, dtype=torch.float64)})
    with pytest.raises(SupportError, match=r"between -1 and 1, got 1\.7 at index \(1, 0\)"):
        p.log_prob().mean().eval({"x": X})


@pytest.mark.parametrize(
    "base",
    [
        Categorical(logits=torch.zeros(3)),
        Bernoulli(logits=torch.zeros(3)),
        Deterministic(var=["z"], cond_var=["x"], net=lambda x: x),
        nn.Linear(2, 2),
        normal(var=["a"]) * normal(var=["b"]),
    ],
    ids=["categorical", "bernoulli", "deterministic", "network", "product"],
)
def test_base_that_no_bijection_can_move(base):
    with pytest.raises(OptionError, match="NormalizingFlow"):
        NormalizingFlow(base, Exp())


def test_function_that_is_no_bijection():
    for given in (torch.exp, [torch.exp, Exp()]):
        with pytest.raises(OptionError, match="takes bijections, got builtin_function"):
            NormalizingFlow(normal(), given)
