"""Mixtures: known values, mixture density networks, the posterior over components, training."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ancestral.core.errors import GradientError, OptionError, ParameterError, ShapeError
from ancestral.distributions import (
    BernoulliMixture,
    Categorical,
    Dirichlet,
    GaussianMixture,
    Mixture,
    Normal,
    NormalMixture,
    Poisson,
)
from ancestral.losses import E, Enumerate, Function, KullbackLeibler, values

HALF = torch.tensor([0.5, 0.5])
LOC = torch.tensor([[-2.0, 0.0], [3.0, 1.0]])


class PoissonMixture(Mixture):
    """A law of the user's: counts, each with weights of its own."""

    family = Poisson
    joint = 0


class Density(nn.Module):
    """A mixture density network of three components of two entries."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 3 + 2 * 6)

    def forward(self, c):
        logits, loc, scale = self.layer(c).split([3, 6, 6], -1)
        return {
            "weight_logits": logits,
            "loc": loc.unflatten(-1, (3, 2)),
            "scale": scale.exp().unflatten(-1, (3, 2)),
        }


def test_v3_equal_components_are_one():
    """Pixyz sums the weighted log densities of experts: +0.234 for what is -0.919."""
    p = NormalMixture(weights=HALF, loc=torch.zeros(2, 1), scale=1.0)
    assert p.get_log_prob({"x": torch.zeros(1, 1)}).item() == pytest.approx(-0.918939, abs=1e-6)
    assert "weights" in p.state_dict()


def test_v10_draws_have_the_axes_that_were_asked_for():
    """Pixyz's mixture ignores sample_shape."""
    p = NormalMixture(weights=HALF, loc=LOC, scale=0.1)
    x = p.sample(batch_n=5, sample_shape=[400])["x"]
    assert x.shape == (400, 5, 2)
    near = (x.unsqueeze(-2) - LOC).abs().amax(-1) < 1  # a vector is of one component
    assert (near.sum(-1) == 1).all()
    assert abs(near[..., 0].double().mean() - 0.5) < 5 * 0.5 / 2000**0.5
    y = Normal(var=["y"], cond_var=["x"], loc="x", scale=1.0)
    drawn = (y * p).sample(batch_n=4, sample_shape=[3])
    assert drawn["y"].shape == drawn["x"].shape == (3, 4, 2)


def test_posterior_is_bayes_rule():
    p = GaussianMixture(
        weights=torch.tensor([0.2, 0.8]), loc=LOC, scale_tril=torch.eye(2).expand(2, 2, 2)
    )
    x = torch.randn(7, 2)
    q = p.posterior()
    assert q.prob_text == "q(k|x)"
    parts = [Normal(loc=m, scale=torch.ones(2)).get_log_prob({"x": x}).exp() for m in LOC]
    joint = torch.stack([0.2 * parts[0], 0.8 * parts[1]], -1)
    found = q.sample_mean({"x": x})
    torch.testing.assert_close(found, joint / joint.sum(-1, keepdim=True))
    assert q.sample({"x": x})["k"].shape == (7, 2)
    assert p.posterior(onehot=False).sample({"x": x})["k"].shape == (7,)


def test_evidence_is_the_bound_at_the_posterior():
    """E_q(k|x)[log p(x|k) + log p(k) - log q(k|x)] = log p(x) where q is the posterior."""
    p = NormalMixture(weights=torch.tensor([0.3, 0.7]), loc=LOC, scale=1.0)
    prior = Categorical(var=["k"], name="p", probs=torch.tensor([0.3, 0.7]))
    part = Normal(
        var=["x"],
        cond_var=["k"],
        name="p",
        net=lambda k: {"loc": k @ LOC, "scale": torch.ones(2).expand(len(k), 2)},
    )
    q, x = p.posterior(), torch.randn(5, 2)
    bound = E(q, part.log_prob()).estimate({q: Enumerate()}) - KullbackLeibler(q, prior)
    torch.testing.assert_close(bound.mean().eval({"x": x}), p.get_log_prob({"x": x}).mean())


def test_mixture_density_network():
    torch.manual_seed(0)
    p = NormalMixture(var=["x"], cond_var=["c"], name="p", net=Density())
    c = torch.randn(6, 1)
    x = p.sample({"c": c}, sample_shape=[2])["x"]
    assert x.shape == (2, 6, 2)
    assert p.get_log_prob({"c": c, "x": x}).shape == (2, 6)
    loss = (-p.log_prob()).mean()
    function = loss.function()
    first = function({"c": c, "x": x[0]})
    assert torch.equal(function({"c": c, "x": x[0]}), first)  # the generated text
    assert first.item() == pytest.approx(-p.get_log_prob({"c": c, "x": x[0]}).mean().item())
    first.backward()
    assert all(w.grad is not None for w in p.parameters())
    q = p.posterior()
    assert q.cond_var == ["x", "c"]
    assert q.sample_mean({"c": c, "x": x[0]}).shape == (6, 3)


def test_mixture_is_fitted():
    """Two clusters are found by gradient: the log density of held-out data is that of the truth."""
    torch.manual_seed(0)
    truth = NormalMixture(weights=torch.tensor([0.3, 0.7]), loc=LOC, scale=0.5)
    data, held_out = (truth.sample(batch_n=1000)["x"] for _ in range(2))
    p = NormalMixture(
        weight_logits=nn.Parameter(torch.zeros(2)),
        loc=nn.Parameter(torch.tensor([[-1.0, 0.0], [1.0, 0.0]])),
        scale=nn.Parameter(torch.ones(2, 2)),
    )
    function = (-p.log_prob()).mean().function()
    optimizer = torch.optim.Adam(nn.Module.parameters(p), lr=0.05)
    for _ in range(250):
        optimizer.zero_grad()
        function({"x": data}).backward()
        optimizer.step()
    gap = truth.get_log_prob({"x": held_out}) - p.get_log_prob({"x": held_out})
    assert gap.mean() < 0.02  # a single normal law: 1.2


def test_draws_have_no_pathwise_gradient():
    p = NormalMixture(
        var=["z"], weight_logits=nn.Parameter(torch.zeros(2)), loc=LOC, scale=1.0, name="q"
    )
    with pytest.raises(GradientError, match="Score"):
        E(p, p.log_prob()).eval()


def test_family_of_the_user():
    p = PoissonMixture(weights=HALF, rate=torch.tensor([1.0, 10.0]))
    x = torch.arange(60.0)
    assert p.get_log_prob({"x": x}).exp().sum().item() == pytest.approx(1.0)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(p)))
    assert torch.equal(twin.get_log_prob({"x": x}), p.get_log_prob({"x": x}))
    assert p.sample_mean().item() == pytest.approx(5.5)


def test_a_move_of_the_users_own_wins():
    """It was overwritten by what the family would give, in silence."""

    class Own(NormalMixture):
        @classmethod
        def mean_of(cls, **params):
            return 7.0 * torch.ones(2)

        @classmethod
        def log_cdf(cls, x, **params):
            return 0.0 * x

    class Heir(Own):
        pass

    for family in (Own, Heir):
        p = family(weights=HALF, loc=LOC, scale=1.0)
        assert p.sample_mean().tolist() == [[7.0, 7.0]]
        # what the class does not say is still derived
        torch.testing.assert_close(p.sample_variance(), torch.tensor([[7.25, 1.25]]))
        assert family.log_cdf(HALF).tolist() == [0.0, 0.0]


def test_unusable_families_and_parameters_are_refused():
    with pytest.raises(OptionError, match="Dirichlet laws is not known"):

        class Wrong(Mixture):
            family = Dirichlet

    with pytest.raises(
        OptionError, match=r"BernoulliMixture\(\) has no option 'loc'; known: .*probs"
    ):
        BernoulliMixture(weights=HALF, loc=LOC)
    with pytest.raises(ParameterError):
        NormalMixture(weights=HALF, weight_logits=HALF, loc=LOC, scale=1.0)


def test_a_draw_is_a_function_of_given_noise_and_can_be_compiled():
    """What chooses a component and the component's own noise are two; one may be left out."""
    params = {"weights": torch.tensor([0.2, 0.8]), "loc": torch.tensor([[-5.0], [5.0]])}
    p = NormalMixture(var=["x"], scale=0.1, name="p", **params)
    loss = E(p, Function(lambda x: x.sum(-1), name="f")(values("x")))
    component = torch.tensor([[-9.0, 9.0], [9.0, -9.0], [0.1, 0.1]])
    noise = {"x": torch.tensor([[1.0], [2.0], [3.0]]), "x.component": component}
    wanted = torch.tensor([-4.9, 5.2, 5.3]).mean()
    f = loss.function()
    for _ in range(2):
        found = f(noise=noise, batch_n=3)
        torch.testing.assert_close(found, wanted)
    chosen = f(noise={"x.component": component[:1]}, batch_n=1)
    assert -6 < chosen < -4
    with pytest.raises(ShapeError, match=r"noise=\{'x.component'"):
        f(noise={"x.component": component}, batch_n=1)
    compiled = loss.function(compile="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(noise=noise, batch_n=3), wanted)
