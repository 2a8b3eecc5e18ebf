"""Models with latent variables: their equations, and short runs on held-out digits.

Each run beats the law that knows only how often each pixel, and each label, occurs in training;
with seeds 0 and 1.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from ancestral.data import digits
from ancestral.distributions import ProductOfNormal
from ancestral.evaluation import bound, log_likelihood
from ancestral.losses import KL, E, Enumerate
from ancestral.zoo.cvae import cvae
from ancestral.zoo.hierarchical_vi import hierarchical_vi
from ancestral.zoo.iwae import iwae
from ancestral.zoo.jmvae import jmvae
from ancestral.zoo.m2 import m2
from ancestral.zoo.mvae import mvae
from ancestral.zoo.vae import vae
from ancestral.zoo.vi import vi

EVERY = [vae, vi, hierarchical_vi, iwae, cvae, m2, jmvae, mvae]
SMALL = {"hidden": (64,), "latent": 8, "lr": 3e-3}
SEEDS = pytest.mark.parametrize("seed", [0, 1])


@pytest.fixture(scope="module")
def data():
    """Training and test rows, with one-hot labels."""
    parts = digits()
    return [{"x": p["x"], "y": torch.eye(10)[p["label"]]} for p in (parts.train, parts.test)]


def baseline(data, *, labels=False):
    """Nats per row of independent pixels, and of independent labels: 25 and 2.3."""
    train, test = data
    share = train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(test["x"])
    found = -F.binary_cross_entropy(share, test["x"], reduction="none").sum(-1).mean()
    return found + (test["y"] @ train["y"].mean(0).log()).mean() if labels else found


@pytest.mark.parametrize("recipe", EVERY, ids=lambda f: f.__name__)
def test_formula_is_that_of_the_docstring(recipe):
    assert str(recipe().objective) == recipe.__doc__.partition("\n")[0].removesuffix(".")


@SEEDS
def test_iwae(data, seed):
    torch.manual_seed(seed)
    recipe = iwae(k=5, **SMALL)
    recipe.model.fit({"x": data[0]["x"]}, epochs=10, batch_size=64, progress=False)
    found = bound(recipe.objective, data[1])
    assert found.mean > baseline(data) + 2.0


@SEEDS
@pytest.mark.parametrize(
    ("make", "latent"), [(vi, 8), (hierarchical_vi, (8, 4))], ids=["vi", "hierarchical_vi"]
)
def test_bounds_by_draws_alone(data, make, latent, seed):
    torch.manual_seed(seed)
    recipe = make(hidden=(64,), latent=latent, lr=3e-3)
    recipe.model.fit({"x": data[0]["x"]}, epochs=12, batch_size=64, progress=False)
    found = bound(recipe.objective, data[1], laws=recipe.laws, draws=4)
    assert found.mean > baseline(data) + 2.0
    above = log_likelihood(recipe.generative, recipe.posterior, data[1], k=5)
    assert above.mean > found.mean


def test_the_bound_by_draws_has_the_mean_of_the_closed_one(data):
    """5 standard errors of 400 draws of 7 rows, which would see a tenth of a nat."""
    recipe, x = vi(**SMALL), data[1]["x"][:7]
    p, prior = recipe.generative.factors
    closed = E(recipe.posterior, p.law.log_prob()) - KL(recipe.posterior, prior.law)
    run, exact = recipe.objective.function(), closed.function()
    many = {"x": x.repeat(400, 1)}
    with torch.no_grad():
        noise = {"z": torch.randn(2800, 8)}
        gap = (run(many, noise=noise) - exact(many, noise=noise)).double()
    error = float(gap.std()) / math.sqrt(len(gap))
    assert abs(float(gap.mean())) < 5 * error < 0.2


@SEEDS
def test_cvae(data, seed):
    torch.manual_seed(seed)
    recipe = cvae(**SMALL)
    recipe.model.fit(data[0], epochs=14, batch_size=64, progress=False)
    assert bound(recipe.objective, data[1], draws=4).mean > baseline(data) + 2.0
    drawn = recipe.generative.sample({"y": torch.eye(10)})
    assert drawn["x"].shape == (10, 64)


@SEEDS
def test_m2_learns_from_a_hundred_labels(data, seed):
    """The constant guess is right in one of ten; the labels alone are 100 of 1300 rows."""
    torch.manual_seed(seed)
    recipe, (train, test) = m2(**SMALL), data
    few = {n: train[n][:100].repeat(13, 1) for n in ("x", "y")}
    recipe.model.fit({**few, "x_u": train["x"]}, epochs=6, batch_size=100, progress=False)
    q_y = recipe.model.distributions[1]
    guess = q_y.get_params({"x": test["x"]})["logits"].argmax(-1)
    constant = train["y"].mean(0).max()
    assert (guess == test["y"].argmax(-1)).double().mean() > 0.6 > 5 * constant
    assert bound(recipe.objective, test, draws=4).mean > baseline(data, labels=True)


@SEEDS
def test_jmvae_draws_labels_from_images(data, seed):
    torch.manual_seed(seed)
    recipe, (train, test) = jmvae(**SMALL), data
    recipe.model.fit(train, epochs=15, batch_size=64, progress=False)
    assert bound(recipe.objective, test, draws=4).mean > baseline(data, labels=True) + 2.0
    _, p_y, _, q_x, _ = recipe.model.distributions
    guess = p_y.get_params({"z": q_x.sample_mean({"x": test["x"]})})["logits"].argmax(-1)
    assert (guess == test["y"].argmax(-1)).double().mean() > 0.5


@SEEDS
def test_mvae_draws_labels_from_images(data, seed):
    """By way of the expert of the image alone; the constant guess is right in one of ten."""
    torch.manual_seed(seed)
    recipe, (train, test) = mvae(hidden=(128,), latent=4, lr=2e-3), data
    recipe.model.fit(train, epochs=16, batch_size=64, progress=False)
    both = {**test, "S": torch.ones(len(test["x"]), 2)}
    assert bound(recipe.objective, both, draws=4).mean > baseline(data, labels=True) + 1.0
    _, p_y, q_x, _ = recipe.model.distributions
    z = ProductOfNormal([q_x]).sample_mean({"x": test["x"]})
    guess = p_y.get_params({"z": z})["logits"].argmax(-1)
    assert (guess == test["y"].argmax(-1)).double().mean() > 0.2


def test_iwae_with_one_draw_is_the_monte_carlo_bound_of_the_vae(data):
    torch.manual_seed(0)
    recipe, x = iwae(k=1, **SMALL), data[1]["x"][:7]
    joint, q = recipe.generative, recipe.posterior
    elbo = E(q, joint.log_prob() - q.log_prob())
    eps = torch.randn(7, 8)
    one = recipe.objective.eval({"x": x}, noise={"z": eps[None]})
    torch.testing.assert_close(one, elbo.eval({"x": x}, noise={"z": eps}))


def test_one_plan_of_m2_is_another_gradient_of_one_equation():
    """The same sentence, its sum over y exact or drawn: the mean of the second is the first."""
    torch.manual_seed(0)
    recipe = m2(pixels=6, classes=3, latent=2, hidden=(4,))
    q_y = recipe.model.distributions[1]
    equation = str(recipe.model.loss)
    assert "E_{q(y|x_u)}[E_{q(z|x_u,y)}" in equation
    labelled = recipe.objective
    loss = E(q_y, labelled).mean()
    assert str(loss.estimate({q_y: Enumerate()})) == str(loss)
    exact = loss.estimate({q_y: Enumerate()}).function()
    drawn = E(q_y.detach(), labelled).mean().function()
    x = (torch.rand(400, 6) > 0.5).float()
    with torch.no_grad():
        found = torch.stack([drawn({"x": x}) - exact({"x": x}) for _ in range(60)]).double()
    assert abs(float(found.mean())) < 5 * float(found.std()) / math.sqrt(len(found)) < 0.1
