"""The zoo's adversarial models: their papers' equations, and tiny runs that beat a constant."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.data import digits
from ancestral.data.points import crescent, ring
from ancestral.evaluation import bound
from ancestral.losses import KL, E
from ancestral.zoo.factor_vae import factor_vae
from ancestral.zoo.gan import gan
from ancestral.zoo.wgan_gp import wgan_gp

SEEDS = [0, 1]


def energy(a: Tensor, b: Tensor) -> float:
    """The unbiased estimate of the energy distance of two samples; 0 for equal laws."""
    n, m = len(a), len(b)
    within = torch.cdist(a, a).sum() / (n * (n - 1)) + torch.cdist(b, b).sum() / (m * (m - 1))
    return float(2 * torch.cdist(a, b).mean() - within)


def beats_the_best_normal_law(recipe, train: Tensor, held: Tensor, share: float) -> bool:
    """Whether draws are nearer to held-out rows than draws of the normal law that fits best."""
    fitted = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T))
    (draws,) = recipe.generative.sample(batch_n=len(held), return_all=False).values()
    return energy(draws.detach(), held) < share * energy(fitted.sample((len(held),)), held)


@pytest.mark.parametrize("seed", SEEDS)
def test_gan_bends_as_the_data_does(seed):
    """Baseline .12 in energy distance, the best normal law; the run comes below half of it."""
    torch.manual_seed(seed)
    train, held = crescent(4096), crescent(1000)
    recipe = gan()
    recipe.model.fit({"x": train}, epochs=40, batch_size=256, progress=False)
    assert beats_the_best_normal_law(recipe, train, held, share=0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_wgan_gp_finds_the_ring(seed):
    """Baseline .07, the best normal law, which fills the ring."""
    torch.manual_seed(seed)
    train, held = ring(4096), ring(1000)
    recipe = wgan_gp(penalty=1.0, steps=3, lr=2e-3)
    recipe.model.fit({"x": train}, epochs=45, batch_size=256, progress=False)
    assert beats_the_best_normal_law(recipe, train, held, share=0.8)


def test_factor_vae_is_its_docstrings_formula():
    assert str(factor_vae().objective) == factor_vae.__doc__.partition("\n")[0].rstrip(".")


@pytest.mark.parametrize("seed", SEEDS)
def test_factor_vae_beats_independent_pixels(seed):
    """The bound on held-out digits, 2 nats above pixels that are Bernoulli with their means."""
    torch.manual_seed(seed)
    data = digits()
    share = data.train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(data.test["x"])
    baseline = -F.binary_cross_entropy(share, data.test["x"], reduction="none").sum(-1).mean()
    recipe = factor_vae(hidden=(64,), latent=6)
    history = recipe.model.fit({"x": data.train["x"]}, epochs=25, batch_size=64, progress=False)
    p, prior = (f.law for f in recipe.generative.factors)
    elbo = E(recipe.posterior, p.log_prob()) - KL(recipe.posterior, prior)
    found = bound(elbo, data.test, laws=(recipe.generative, recipe.posterior))
    assert found.mean > baseline + 2.0
    assert len(history["d"]) == 25  # what the discriminator reached, epoch by epoch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gan", "wgan_gp", "factor_vae"])
def test_it_runs_alone(name):
    done = subprocess.run(
        [sys.executable, "-m", f"ancestral.zoo.{name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
