"""Mixtures of given laws: Pixyz's interface, components of other families, conditional weights."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from ancestral.bijections import Affine, AffineCoupling, ConditionalAffine
from ancestral.core.errors import GradientError, ParameterError, ShapeError, VariableError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Exponential,
    Gumbel,
    Laplace,
    LowRankMultivariateNormal,
    MixtureModel,
    MultivariateNormal,
    Normal,
    NormalizingFlow,
    Poisson,
)
from ancestral.losses import E, Function, Score, sqnorm, values
from tests.lowering.reading import draws, twice

LOCS = torch.tensor([[-2.0, 0.0], [3.0, 1.0], [0.0, -1.0]])


def three(prior: Categorical | None = None) -> MixtureModel:
    """A mixture of three normal laws."""
    laws = [Normal(loc=m, scale=0.5 + i, name=f"p_{i}") for i, m in enumerate(LOCS)]
    probs = torch.full((3,), 1 / 3)
    return MixtureModel(laws, prior or Categorical(var=["z"], probs=probs, name="prior"))


def test_parity_14_print_density_posterior():
    p = three()
    x = torch.tensor([[0.5, 0.2], [-1.0, 1.0]])
    terms = " + ".join(f"p_{{{k}}}(x|z={k})prior(z={k})" for k in range(3))
    assert p.latex() == f"p(x) = {terms}"
    assert str(p).splitlines()[1].endswith("p_0(x|z=0)prior(z=0) + p_1(x|z=1)prior(z=1) + "
                                           "p_2(x|z=2)prior(z=2)")  # fmt: skip
    assert "<mn>2</mn>" in p.mathml()
    each = torch.stack(
        [torch.distributions.Normal(m, 0.5 + i).log_prob(x).sum(-1) for i, m in enumerate(LOCS)]
    ) - np.log(3)
    torch.testing.assert_close(p.get_log_prob({"x": x}), each.logsumexp(0))
    torch.testing.assert_close(p.get_log_prob({"x": x}, return_hidden=True), each)
    posterior = p.posterior()
    assert posterior.latex() == r"p(z|x) = \frac{p(z,x)}{p(x)}"
    assert str(posterior).splitlines()[1] == "  p(z|x) = p(z,x) / p(x)"
    every = torch.stack(
        [posterior.get_log_prob({"x": x, "z": torch.eye(3)[k].expand(2, 3)}) for k in range(3)]
    )
    torch.testing.assert_close(every, each - each.logsumexp(0))
    torch.testing.assert_close(every.exp().sum(0), torch.ones(2))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: three(Normal(var=["z"], loc=0.0, scale=1.0)), ParameterError, "Categorical law"),
        (
            lambda: three(Categorical(var=["z"], probs=torch.full((2,), 0.5), name="prior")),
            ValueError,
            r"prior\(z\) has 2 categories, but there are 3 components",
        ),
        (lambda: three(Categorical(var=["x"], probs=torch.ones(3) / 3)), VariableError, "'k'"),
        (lambda: MixtureModel([]), ParameterError, "a list of laws"),
        (lambda: MixtureModel([Normal(loc=0.0, scale=1.0)]), ParameterError, "either prior="),
        (
            lambda: MixtureModel(
                [Normal(loc=0.0, scale=1.0)], weights=nn.Parameter(torch.ones(1))
            ),
            ParameterError,
            r"logits=nn.Parameter",
        ),
        (
            lambda: MixtureModel(
                [Normal(loc=0.0, scale=1.0), Normal(var=["y"], loc=0.0, scale=1.0)],
                weights=[0.5, 0.5],
            ),
            VariableError,
            "different variables",
        ),
        (
            lambda: MixtureModel(
                [Normal(loc=torch.zeros(2), scale=1.0), Normal(loc=torch.zeros(3), scale=1.0)],
                weights=[0.5, 0.5],
            ),
            ShapeError,
            "different event shapes",
        ),
        (
            lambda: MixtureModel(
                [Poisson(rate=1.0), Normal(loc=0.0, scale=1.0)], weights=[0.5, 0.5]
            ).get_log_prob({"x": torch.zeros(1)}),
            ParameterError,
            "laws of their own family",
        ),
        (
            lambda: MixtureModel(
                [Normal(loc=0.0, scale=1.0) * Normal(var=["y"], loc=0.0, scale=1.0)],
                Categorical(var=["k"], probs=torch.ones(1)),
            ),
            ParameterError,
            r"weights= in place of prior=.*a \* E\(p_0, f\)",
        ),
    ],
)
def test_mistakes_are_named(make, error, text):
    """Parity 14: a prior that is not categorical, or a wrong count, is a ValueError."""
    with pytest.raises(error, match=text):
        make()
    assert issubclass(error, ValueError)


def test_v10_draws_have_the_axes_that_were_asked_for():
    p = three()
    drawn = p.sample(batch_n=5, sample_shape=[400], return_hidden=True)
    assert drawn["x"].shape == (400, 5, 2)
    assert drawn["z"].shape == (400, 5, 3)
    shares = drawn["z"].mean((0, 1))
    assert ((shares - 1 / 3).abs() < 5 * (2 / 9 / 2000) ** 0.5).all()
    centre = drawn["z"] @ LOCS
    first = drawn["z"][..., 0] == 1
    assert (drawn["x"] - centre)[first].std().item() == pytest.approx(0.5, rel=0.1)
    assert set(p.sample(batch_n=2)) == {"x"}


def test_weights_may_depend_on_conditions():
    """A mixture density network of given laws, which Pixyz refuses."""
    prior = Categorical(var=["z"], cond_var=["y"], net=nn.Linear(1, 2), name="prior")
    laws = [
        Normal(cond_var=["y"], net=nn.Linear(1, 4), name="p_0"),
        Laplace(cond_var=["w"], loc="w", scale=0.7, name="p_1"),
    ]
    p = MixtureModel(laws, prior)
    assert p.prob_text == "p(x|y,w)"
    assert p.latex() == "p(x|y,w) = p_{0}(x|y,z=0)prior(z=0|y) + p_{1}(x|w,z=1)prior(z=1|y)"
    given = {"y": torch.randn(4, 1), "w": torch.randn(4, 2), "x": torch.randn(4, 2)}
    log_pi = prior.get_params([given["y"]])["logits"].log_softmax(-1)
    each = torch.stack([law.get_log_prob(given) for law in laws], -1)
    torch.testing.assert_close(p.get_log_prob(given), (log_pi + each).logsumexp(-1))
    loss = -p.log_prob().mean()
    step = loss.function()
    first, second = (step(given) for _ in range(2))
    assert torch.equal(first, second)
    second.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in p.parameters())
    assert p.sample(given, sample_shape=[3])["x"].shape == (3, 4, 2)


def test_components_of_other_families_have_one_distribution_function():
    p = MixtureModel([Normal(loc=0.3, scale=0.7), Gumbel(loc=-1.0, scale=2.0)], weights=[0.3, 0.7])
    assert p.latex() == "p(x) = 0.3 p(x) + 0.7 p(x)"
    x = torch.linspace(-3, 4, 15, dtype=torch.float64)
    parts = stats.norm(0.3, 0.7), stats.gumbel_r(-1.0, 2.0)
    for found, name in ((p.get_log_prob, "pdf"), (p.get_cdf, "cdf"), (p.get_log_sf, "sf")):
        wanted = sum(
            w * getattr(q, name)(x.numpy()) for w, q in zip((0.3, 0.7), parts, strict=True)
        )
        value = found({"x": x}).numpy()
        np.testing.assert_allclose(value if name == "cdf" else np.exp(value), wanted, rtol=1e-6)
    mean = 0.3 * 0.3 + 0.7 * parts[1].mean()
    second = 0.3 * (0.49 + 0.09) + 0.7 * (parts[1].var() + parts[1].mean() ** 2)
    assert p.sample_mean().item() == pytest.approx(mean, rel=1e-6)
    assert p.sample_variance().item() == pytest.approx(second - mean**2, rel=1e-6)


def test_outside_of_one_support_the_other_component_counts():
    p = MixtureModel([Exponential(rate=1.0), Normal(loc=0.0, scale=1.0)], weights=[0.5, 0.5])
    x = torch.tensor([-1.0, 1.0])
    wanted = 0.5 * stats.norm.pdf(x.numpy()) + 0.5 * stats.expon.pdf(x.numpy())
    np.testing.assert_allclose(p.get_log_prob({"x": x}).exp().numpy(), wanted, rtol=1e-6)
    p = MixtureModel([Exponential(rate=1.0), Exponential(rate=2.0)], weights=[0.5, 0.5])
    with pytest.raises(ValueError, match="must be 0 or more"):
        p.get_log_prob({"x": x})


def test_vectors_and_labels():
    cov = torch.tensor([[1.0, 0.3], [0.3, 0.5]])
    low = LowRankMultivariateNormal(
        loc=LOCS[1], cov_factor=torch.tensor([[0.5], [-0.2]]), cov_diag=torch.tensor([0.3, 0.4])
    )
    laws = [
        MultivariateNormal(loc=LOCS[0], covariance_matrix=cov),
        low,
        Normal(loc=LOCS[2], scale=1.0),
    ]
    p = MixtureModel(laws, weights=[0.2, 0.5, 0.3])
    x = p.sample(batch_n=6, sample_shape=[2])["x"]
    assert x.shape == (2, 6, 2)
    each = torch.stack([law.get_log_prob({"x": x}) for law in laws], -1)
    wanted = (torch.tensor([0.2, 0.5, 0.3]).log() + each).logsumexp(-1)
    torch.testing.assert_close(p.get_log_prob({"x": x}), wanted)
    for onehot in (True, False):
        labels = [Categorical(probs=v, onehot=onehot) for v in torch.eye(3)[:2] * 0.4 + 0.2]
        q = MixtureModel(labels, weights=[0.25, 0.75])
        value = torch.tensor([[1.0, 0.0, 0.0]]) if onehot else torch.tensor([0])
        assert q.get_log_prob({"x": value}).exp().item() == pytest.approx(0.25 * 0.6 + 0.75 * 0.2)
        assert q.sample(batch_n=4)["x"].shape == ((4, 3) if onehot else (4,))


def test_a_component_is_chosen_for_the_whole_event():
    laws = [Bernoulli(probs=v, features_shape=[2, 3]) for v in (0.0, 1.0)]
    x = MixtureModel(laws, weights=[0.5, 0.5]).sample(batch_n=200)["x"]
    assert ((x.flatten(1) == x[:, :1, 0]).all(-1)).all()
    assert 0.25 < x.mean() < 0.75
    image = Normal(cond_var=["y"], net=lambda y: {"loc": y, "scale": 1.0 + 0 * y})
    with pytest.raises(ShapeError, match=r"features_shape=\[...\] of a component"):
        MixtureModel([image], weights=[1.0]).sample({"y": torch.zeros(2, 3, 4)})


def test_draws_ask_for_an_estimator():
    p = MixtureModel(
        [Normal(loc=nn.Parameter(m), scale=1.0) for m in LOCS[:2]], weights=[0.5, 0.5]
    )
    f = Function(lambda x: x.square().sum(-1), name="f")
    loss = E(p, f(values("x"))).mean()
    with pytest.raises(GradientError, match="Score"):
        loss.eval(batch_n=4)
    value = loss.estimate({p: Score(draws=4)}).eval(batch_n=4)
    value.backward()
    assert all(w.grad.isfinite().all() for w in p.parameters())


def test_copies_and_state():
    p = three()
    x = torch.randn(4, 2)
    for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        torch.testing.assert_close(twin.get_log_prob({"x": x}), p.get_log_prob({"x": x}))
        assert twin._every[0].law is twin.components[0]
        assert twin._prior.law is twin.prior
    assert "prior.probs" in p.state_dict()


def test_numbers_with_a_declared_event_shape():
    laws = [Normal(loc=m, scale=1.0, features_shape=[2]) for m in (0.0, 1.0)]
    p = MixtureModel(laws, weights=[0.3, 0.7])
    x = torch.randn(4, 2)
    each = torch.stack([law.get_log_prob({"x": x}) for law in laws], -1)
    wanted = (torch.tensor([0.3, 0.7]).log() + each).logsumexp(-1)
    torch.testing.assert_close(p.get_log_prob({"x": x}), wanted)
    torch.testing.assert_close(p.log_prob().eval({"x": x}), wanted)


# -- flows among the components -------------------------------------------------------------------
def with_flows():
    """A flow that couples entries, one with a context, and a normal law."""
    torch.manual_seed(0)
    base = Normal(loc=0.0, scale=1.0, features_shape=[2]).double()
    shift = Affine(0.5, 2.0).double()
    plain = [AffineCoupling(nn.Linear(1, 2).double()), shift]
    laws = [
        NormalizingFlow(base, plain, var=["x"], name="a"),
        NormalizingFlow(base, ConditionalAffine(nn.Linear(3, 4).double()), var=["x"],
                        cond_var=["y"], context=nn.Linear(5, 3).double(), name="b"),
        Normal(var=["x"], loc=torch.ones(2).double(), scale=2.0, name="c"),
    ]  # fmt: skip
    return laws, MixtureModel(laws, weights=[0.2, 0.5, 0.3])


def test_flows_are_components():
    laws, p = with_flows()
    assert p.latex() == "p(x|y) = 0.2 a(x) + 0.5 b(x|y) + 0.3 c(x)"
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    batch = {"x": torch.randn(4, 2).double(), "y": torch.randn(4, 5).double()}
    own = [{k: batch[k] for k in (*q.var, *q.cond_var)} for q in laws]
    each = torch.stack([q.get_log_prob(v) for q, v in zip(laws, own, strict=True)], -1)
    wanted = (each + weights.log()).logsumexp(-1)
    torch.testing.assert_close(p.get_log_prob(batch), wanted)
    found = twice(p.log_prob(), batch)
    torch.testing.assert_close(found, wanted)
    parameters = list(p.parameters())
    for a, b in zip(torch.autograd.grad(found.sum(), parameters),
                    torch.autograd.grad(wanted.sum(), parameters), strict=True):  # fmt: skip
        torch.testing.assert_close(a, b)
    shares = p.posterior().get_params(batch)["logits"].softmax(-1)
    torch.testing.assert_close(shares, (each + weights.log()).softmax(-1))
    for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        torch.testing.assert_close(twin.get_log_prob(batch), wanted)


def test_flows_among_components_are_drawn():
    """The mean of 40000 draws; 5 standard errors are 0.06, and a component left out is 0.5."""
    laws, p = with_flows()
    y = torch.randn(1, 5, dtype=torch.float64)
    torch.manual_seed(0)
    drawn = p.sample({"y": y}, sample_shape=[40_000])["x"]
    assert drawn.shape == (40_000, 1, 2)
    each = [q.sample({"y": y} if q.cond_var else None, sample_shape=[40_000])["x"] for q in laws]
    share = zip([0.2, 0.5, 0.3], each, strict=True)
    wanted = torch.stack([w * v.mean(0) for w, v in share]).sum(0)
    assert (drawn.mean(0) - wanted).abs().max() < 0.06
    wide = E(Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[2], name="r").double(),
             p.log_prob(), sample_shape=6)  # fmt: skip
    assert torch.isfinite(twice(wide, {"y": y})).all()
    loss = E(p, laws[0].log_prob()).estimate({p: Score()})
    assert torch.isfinite(twice(loss, {"y": y})).all()


def test_flows_over_several_variables_are_mixed_as_joint_laws():
    """What an expectation is over, exactly: 0.25 * 2^2 + 0.75 * 4^2 with given noise of 1."""
    base = Normal(loc=0.0, scale=1.0, features_shape=[2]).double()
    parts = [
        NormalizingFlow(base, Affine(0.0, c).double(), var=["a", "b"], sizes=[1, 1], name=name)
        for name, c in (("p", 2.0), ("q", 4.0))
    ]
    loss = E(MixtureModel(parts, weights=[0.25, 0.75]), sqnorm(values("a")))
    assert str(loss) == "0.25 E_{p(a,b)}[||a||^2] + 0.75 E_{q(a,b)}[||a||^2]"
    ones = torch.ones(3, 2, dtype=torch.float64)
    names = draws(loss)
    found = twice(loss, {}, noise=dict.fromkeys(names, ones), batch_n=3)
    torch.testing.assert_close(found, torch.tensor(13.0, dtype=torch.float64))
    prior = Categorical(var=["k"], probs=torch.tensor([0.25, 0.75]))
    with pytest.raises(ParameterError, match="laws of one variable"):
        MixtureModel(parts, prior)
