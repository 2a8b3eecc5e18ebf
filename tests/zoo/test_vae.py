"""The zoo's VAE is its paper's equation, learns on held-out digits, and steps as by hand."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from ancestral.data import digits
from ancestral.evaluation import bound, log_likelihood
from ancestral.zoo.vae import vae


def test_formula_is_that_of_the_docstring():
    assert str(vae().objective) == vae.__doc__.partition("\n")[0].rstrip(".")


def test_a_short_run_beats_independent_pixels_on_held_out_digits():
    """The baseline: each pixel a Bernoulli with its training mean, 25 nats."""
    data = digits()
    share = data.train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(data.test["x"])
    baseline = -F.binary_cross_entropy(share, data.test["x"], reduction="none").sum(-1).mean()
    recipe = vae(hidden=(128,), latent=8)
    recipe.model.fit({"x": data.train["x"]}, epochs=30, batch_size=64, progress=False)
    found = bound(recipe.objective, data.test, laws=(recipe.generative, recipe.posterior))
    assert found.mean > baseline + 2.0
    above = log_likelihood(recipe.generative, recipe.posterior, data.test, k=50)
    assert above.mean > found.mean


def test_grey_pixels_are_meant():
    recipe = vae(grey=True, hidden=(8,))
    recipe.model.fit({"x": digits("grey").train["x"][:64]}, epochs=1, progress=False)


def test_steps_as_by_hand():
    """200 steps on digits in float64 agree to 1e-8 with plain torch, fed the same noise."""
    x = digits().train["x"].double()
    recipe = vae(hidden=(32,), latent=4)
    mine = torch.nn.ModuleList([recipe.generative, recipe.posterior]).double()
    start = [value.clone() for value in mine.parameters()]
    encoder = torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8)
    ).double()
    decoder = torch.nn.Sequential(
        torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 64)
    ).double()
    with torch.no_grad():
        for value, first in zip(
            [*decoder.parameters(), *encoder.parameters()], start, strict=True
        ):
            value.copy_(first)
    optimizer = torch.optim.Adam([*decoder.parameters(), *encoder.parameters()], lr=1e-3)
    for step in range(200):
        batch = x[torch.randint(len(x), (64,))]
        eps = torch.randn(64, 4, dtype=torch.float64)
        found = float(recipe.model.train({"x": batch}, noise={"z": eps}))
        loc, raw = encoder(batch).chunk(2, -1)
        scale = F.softplus(raw)
        logits = decoder(loc + scale * eps)
        likelihood = -F.binary_cross_entropy_with_logits(logits, batch, reduction="none").sum(-1)
        divergence = (0.5 * (loc**2 + scale**2 - 1) - scale.log()).sum(-1)
        loss = (divergence - likelihood).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert found == pytest.approx(loss.item(), rel=1e-8), step
        assert math.isfinite(found)


@pytest.mark.slow
def test_it_runs_alone():
    done = subprocess.run(
        [sys.executable, "-m", "ancestral.zoo.vae"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)]\n")
    assert "nats (importance sampling, K = 1000, 297 rows)" in done.stdout
