"""Conditioning on part of a joint law: posteriors of conjugate pairs, and the refusal of others.

The defining property is checked for every pair of the table: for a given x, log p(x, z) and
log p(z|x) differ by log p(x), which does not depend on z.
"""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import DensityError, ShapeError, VariableError
from ancestral.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Distribution,
    Exponential,
    Gamma,
    Geometric,
    Laplace,
    LogNormal,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
)
from ancestral.distributions.kl import families, pairs
from ancestral.losses import KL, E

Z, ZX = {"var": ["z"], "name": "p_{prior}"}, {"var": ["x"], "cond_var": ["z"]}
DOUBLE = torch.float64


def double(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=DOUBLE)


LOWER = double([1.0, 0.0], [0.4, 0.7])
OTHER = double([0.6, 0.0], [-0.3, 1.1])
PRIORS = {
    "Normal": lambda: Normal(loc=double(0.3, -1.0), scale=double(0.8, 2.0), **Z),
    "Beta": lambda: Beta(concentration1=double(0.7, 2.0), concentration0=double(1.5, 3.0), **Z),
    "Gamma": lambda: Gamma(concentration=double(0.7, 2.5), rate=double(1.5, 0.4), **Z),
    "Dirichlet": lambda: Dirichlet(concentration=double(0.7, 2.0, 1.2), **Z),
    "MultivariateNormal": lambda: MultivariateNormal(loc=double(0.5, -1), scale_tril=LOWER, **Z),
}
LIKELIHOODS = {
    ("Normal", "Normal"): lambda: Normal(loc="z", scale=double(0.5, 1.5), **ZX),
    ("LogNormal", "Normal"): lambda: LogNormal(loc="z", scale=double(0.5, 1.5), **ZX),
    ("Bernoulli", "Beta"): lambda: Bernoulli(probs="z", **ZX),
    ("Binomial", "Beta"): lambda: Binomial(total_count=double(7, 3), probs="z", **ZX),
    ("Geometric", "Beta"): lambda: Geometric(probs="z", **ZX),
    ("NegativeBinomial", "Beta"): lambda: NegativeBinomial(total_count=2.5, probs="z", **ZX),
    ("Poisson", "Gamma"): lambda: Poisson(rate="z", **ZX),
    ("Exponential", "Gamma"): lambda: Exponential(rate="z", **ZX),
    ("Gamma", "Gamma"): lambda: Gamma(concentration=1.7, rate="z", **ZX),
    ("Categorical", "Dirichlet"): lambda: Categorical(probs="z", **ZX),
    ("Multinomial", "Dirichlet"): lambda: Multinomial(total_count=5, probs="z", **ZX),
    ("MultivariateNormal", "MultivariateNormal"): lambda: MultivariateNormal(
        loc="z", covariance_matrix=OTHER @ OTHER.mT, **ZX
    ),
}


def spread_of_evidence(joint: Distribution, q: Distribution, x: torch.Tensor) -> torch.Tensor:
    """How much log p(x, z) - log p(z|x) differs between values of z, which are the posterior's."""
    z = q.sample({"x": x}, sample_shape=[6])["z"]
    at = {"x": x.expand(6, *x.shape), "z": z}
    evidence = joint.get_log_prob(at) - q.get_log_prob(at)
    assert evidence.shape == z.shape[: evidence.dim()]
    return (evidence - evidence[:1]).abs().max()


def test_every_pair_of_the_table_is_tested():
    assert {(p, prior) for p, _, prior in pairs(families())} == set(LIKELIHOODS)


@pytest.mark.parametrize("names", LIKELIHOODS, ids="-".join)
def test_joint_over_posterior_does_not_depend_on_z(names):
    torch.manual_seed(0)
    joint = LIKELIHOODS[names]() * PRIORS[names[1]]()
    q = joint.condition("x", name="q")
    x = joint.sample(batch_n=5)["x"]
    assert q.latex() == r"q(z|x) \propto p(x|z)p_{prior}(z)"
    assert q.distribution_name == f"{names[1]}Posterior"
    assert isinstance(q, type(PRIORS[names[1]]()))
    assert spread_of_evidence(joint, q, x) < 1e-10
    assert q.get_entropy({"x": x}).shape == (5,)  # the family's closed forms are its own


def test_parameters_are_those_of_the_textbooks():
    x = double([1.0, 0.0], [1.0, 1.0])
    q = (Bernoulli(probs="z", **ZX) * PRIORS["Beta"]()).condition("x")
    assert q.get_params({"x": x})["concentration1"].tolist() == [[1.7, 2.0], [1.7, 3.0]]
    assert q.get_params({"x": x})["concentration0"].tolist() == [[1.5, 4.0], [1.5, 3.0]]
    q = (Poisson(rate="z", **ZX) * PRIORS["Gamma"]()).condition("x")
    assert q.get_params({"x": 3 * x})["concentration"].tolist() == [[3.7, 2.5], [3.7, 5.5]]
    assert q.get_params({"x": 3 * x})["rate"].tolist() == [[2.5, 1.4], [2.5, 1.4]]
    q = (Normal(loc="z", scale=2.0, **ZX) * Normal(loc=1.0, scale=3.0, **Z)).condition("x")
    found = q.get_params({"x": double([4.0])})
    torch.testing.assert_close(found["loc"], double([(1 / 9 + 4 / 4) / (1 / 9 + 1 / 4)]))
    torch.testing.assert_close(found["scale"], double([(1 / 9 + 1 / 4) ** -0.5]))


def test_categories_by_index():
    p = Categorical(probs="z", onehot=False, **ZX)
    joint = p * PRIORS["Dirichlet"]()
    q = joint.condition("x")
    assert q.get_params({"x": torch.tensor([2])})["concentration"].tolist() == [[0.7, 2.0, 2.2]]
    assert spread_of_evidence(joint, q, torch.tensor([0, 2, 1])) < 1e-10


@pytest.mark.parametrize("names", LIKELIHOODS, ids="-".join)
def test_an_axis_of_size_one_is_one_value_with_many_observations(names):
    """The posterior after n observations at once is that after n, one by one."""
    torch.manual_seed(0)
    first = PRIORS[names[1]]()
    params = {k: v[..., :1] if v.shape == (2,) else v for k, v in first.get_params().items()}
    if names[1] == "MultivariateNormal":
        params = {"loc": double([0.5, -1.0]), "scale_tril": LOWER}
    core = first.moves.value_dims
    prior = type(first)(**params, **Z, features_shape=[1, *first.features_shape[:core]])
    single = LIKELIHOODS[names]()
    fixed = {k: getattr(single, k) for k in single.given if k not in single.bound}
    fixed = {k: v[:1] if v.shape == (2,) else v for k, v in fixed.items()}
    bound = dict(single.bound)
    many = type(single)(**fixed, **bound, **ZX, features_shape=[4, *prior.features_shape[1:]])
    joint = many * prior
    q = joint.condition("x", name="q")
    x = joint.sample(batch_n=3)["x"]
    assert x.shape == (3, 4, *prior.features_shape[1:])
    assert q.sample({"x": x})["z"].shape == (3, *prior.features_shape)
    assert spread_of_evidence(joint, q, x) < 1e-10
    one = type(single)(**fixed, **bound, **ZX, features_shape=list(prior.features_shape))
    step = prior
    for i in range(4):
        p = one.replace_var(x=f"x_{i}")
        step = (p * step).condition(f"x_{i}")
    each = step.get_params({f"x_{i}": x[:, i : i + 1] for i in range(4)})
    for key, value in q.get_params({"x": x}).items():
        torch.testing.assert_close(value.expand_as(each[key]), each[key])


def test_several_likelihoods_and_what_cancels():
    p_x = Normal(loc="z", scale=0.5, var=["x"], cond_var=["z"], features_shape=[1])
    p_y = Normal(loc="z", scale="c", var=["y"], cond_var=["z", "c"], features_shape=[1])
    p_c = Exponential(rate=1.0, var=["c"], features_shape=[1], name="r")
    joint = p_x * p_y * Normal(loc=0.0, scale=1.0, features_shape=[1], **Z) * p_c
    q = joint.condition(["x", "y", "c"], name="q")
    assert q.latex() == r"q(z|x,y,c) \propto p(x|z)p(y|z,c)p_{prior}(z)"
    at = {"x": torch.tensor([[1.0]]), "y": torch.tensor([[-2.0]]), "c": torch.tensor([[2.0]])}
    torch.testing.assert_close(q.sample_variance(at), torch.tensor([[1 / (1 + 4 + 0.25)]]))
    torch.testing.assert_close(q.sample_mean(at), torch.tensor([[(4.0 - 0.5) / 5.25]]))
    given_all_parents = joint.condition(["z", "y", "c"])
    assert given_all_parents.prob_text == "p(x|z)"


def test_renamed_laws_and_a_prior_with_a_network():
    net = nn.Linear(3, 4)
    prior = Normal(var=["z"], cond_var=["x"], net=net, name="r").replace_var(x="c", z="h")
    p = Normal(loc="z", scale=1.0, **ZX).replace_var(z="h")
    q = (p * prior).condition("x", name="q")
    assert q.latex() == r"q(h|x,c) \propto p(x|h)r(h|c)"
    c, x = torch.randn(5, 3), torch.randn(5, 2)
    at = {"c": c, "x": x}
    r = prior.get_params({"c": c})
    own = r["scale"] ** -2
    loc = (x + own * r["loc"]) / (1.0 + own)
    torch.testing.assert_close(q.get_params(at)["loc"], loc)
    q.sample(at, reparam=True)["h"].sum().backward()
    assert net.weight.grad.abs().sum() > 0
    net.zero_grad()
    cut = (p * prior.detach()).condition("x")
    assert not cut.get_params(at)["loc"].requires_grad


def test_trained_parameters_are_live_and_saved():
    """Empirical Bayes: the gradient of a loss with the posterior reaches both laws."""
    scale, a = nn.Parameter(double(0.5)), nn.Parameter(double(2.0, 3.0))
    p = Normal(loc="z", scale=scale, **ZX)
    prior = Normal(loc=a, scale=1.0, **Z)
    q = (p * prior).condition("x", name="q")
    x = double([1.0, -1.0], [0.2, 0.4])
    before = q.sample_mean({"x": x})
    twin = copy.deepcopy(q)
    with torch.no_grad():
        a.add_(1.0)
    assert not torch.equal(q.sample_mean({"x": x}), before)
    assert torch.equal(twin.sample_mean({"x": x}), before)
    assert set(q.state_dict()) == {"likelihood.scale", "prior.loc", "prior.scale"}
    twin.load_state_dict(q.state_dict())
    assert torch.equal(twin.sample_mean({"x": x}), q.sample_mean({"x": x}))
    # the bound is tight: for any noise its value is log p(x), and so is its gradient
    wanted = torch.distributions.Normal(a, (1.0 + scale**2).sqrt()).log_prob(x).sum(-1).mean()
    tight = E(q, p.log_prob() + prior.log_prob() - q.log_prob()).mean().eval({"x": x})
    torch.testing.assert_close(tight, wanted)
    grads = torch.autograd.grad(tight, [scale, a], retain_graph=True)
    torch.testing.assert_close(grads, torch.autograd.grad(wanted, [scale, a]))
    closed = KL(q, prior).mean().eval({"x": x})  # of the prior's family: no draw is needed
    mine = torch.distributions.Normal(**q.get_params({"x": x}))
    by_hand = torch.distributions.kl_divergence(mine, torch.distributions.Normal(a, 1.0))
    torch.testing.assert_close(closed, by_hand.sum(-1).mean())


def test_scales_whose_squares_leave_the_range_of_floats():
    p = Normal(loc="z", scale=torch.tensor([1e-25]), **ZX)
    q = (p * Normal(loc=0.0, scale=torch.tensor([1e25]), **Z)).condition("x")
    found = q.get_params({"x": torch.tensor([[2.0]])})
    torch.testing.assert_close(found["loc"], torch.tensor([[2.0]]))
    assert found["scale"].item() == pytest.approx(1e-25)


def test_other_pairs_are_refused_with_what_to_do():
    normal, beta = Normal(loc=0.0, scale=1.0, **Z), PRIORS["Beta"]()
    with pytest.raises(DensityError, match=r"Laplace p\(x\|z\) and Normal .* no conjugate pair"):
        (Laplace(loc="z", scale=1.0, **ZX) * normal).condition("x")
    with pytest.raises(DensityError, match=r"log_prob\(\), as the target of a sampler, or learn"):
        (Bernoulli(net=nn.Linear(2, 2), **ZX) * normal).condition("x")
    with pytest.raises(DensityError, match="only if probs='z', the variable itself"):
        (Bernoulli(logits="z", **ZX) * beta).condition("x")
    with pytest.raises(DensityError, match="do not come from a network"):
        (Normal(net=nn.Linear(2, 4), **ZX) * normal).condition("x")
    with pytest.raises(NotImplementedError, match="only if loc='z'"):  # loc and scale are both z
        (Normal(loc="z", scale="z", **ZX) * normal).condition("x")


def test_what_is_no_single_variable_is_refused():
    joint = Normal(loc="z", scale=1.0, **ZX) * Normal(loc=0.0, scale=1.0, **Z)
    with pytest.raises(VariableError, match="draws no variable 'y' to condition on"):
        joint.condition("y")
    with pytest.raises(VariableError, match="leaves nothing"):
        joint.condition(["x", "z"])
    with pytest.raises(VariableError, match="leaves z, y. It gives the law of one"):
        (joint * Normal(loc="z", scale=1.0, var=["y"], cond_var=["z"])).condition("x")
    with pytest.raises(VariableError, match="copies of"):
        joint.iid(k=3).condition("x")
    with pytest.raises(VariableError, match="integrals"):
        joint.marginalize_var("z").condition("x")


def test_axes_that_do_not_fit_are_refused():
    p = Normal(loc="z", scale=1.0, features_shape=[5], **ZX)
    with pytest.raises(ShapeError, match="axis of size 1 in their place"):
        (p * Normal(loc=0.0, scale=1.0, features_shape=[], **Z)).condition("x")
    q = (Poisson(rate="z", **ZX) * PRIORS["Gamma"]()).condition("x")
    with pytest.raises(ShapeError, match="do not fit the event"):
        q.get_params({"x": torch.ones(4, 3)})
