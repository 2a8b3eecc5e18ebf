"""The zoo's adversarially learned inference: its game, and the posterior of a linear model."""

import pytest
import torch
import torch.nn.functional as F

from ancestral.zoo.ali import ali

W, B, SCALE = torch.tensor([1.5, 1.0, -0.5]), torch.tensor([0.5, 0.0, -0.5]), 0.5


@pytest.fixture(scope="module", autouse=True)
def _optimizers_are_imported():
    """What torch imports with its first optimizer takes seconds; no test is charged for it."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def rows(n: int) -> dict[str, torch.Tensor]:
    """Probabilistic PCA: x = W z + b + s e."""
    return {"x": torch.randn(n, 1) * W + B + SCALE * torch.randn(n, 3)}


def fitted(seed: int, epochs: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """W and the slope of the encoder's mean, as learned, and the error of this mean.

    The posterior mean is W'(x - b)/(W'W + s^2) up to the sign of z. The error is mean square on
    held-out rows, in units of that of the baseline, the prior's mean 0.
    """
    torch.manual_seed(seed)
    recipe, x = ali(width=3, latent=1, hidden=(), lr=1e-2), rows(8192)
    recipe.model.fit(x, epochs=epochs, batch_size=128, progress=False)
    for optimizer in recipe.model.optimizers.values():
        optimizer.param_groups[0]["lr"] = 1e-3
    recipe.model.fit(x, epochs=epochs // 2, batch_size=128, progress=False)
    p, q = recipe.generative.factors[0].law, recipe.posterior
    loading, slope = p.net[0].weight[:3, 0].detach(), q.net[0].weight[0].detach()
    held = rows(2000)
    exact = (held["x"] - B) @ W / (W @ W + SCALE**2)
    found = q.sample_mean(held)[:, 0].detach() * (loading @ W).sign()
    return loading, slope, float((found - exact).square().mean() / exact.square().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_beats_the_prior(seed):
    """A quarter of the error of the prior's mean."""
    *_, error = fitted(seed, epochs=6)
    assert error < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_linear_laws_recover_the_posterior_of_ppca(seed):
    """Directions within a cosine of .95, which one by chance has in 5 of 100 cases, the
    generator's within .99; a twentieth of the error of the prior's mean.
    """
    loading, slope, error = fitted(seed, epochs=16)
    assert F.cosine_similarity(loading, W, dim=0).abs() > 0.99
    assert F.cosine_similarity(slope, W, dim=0).abs() > 0.95
    assert error < 0.05


def test_the_game_is_that_of_the_pairs():
    """Both players' values by hand, from the draws of one evaluation."""
    torch.manual_seed(0)
    recipe, x = ali(hidden=(8,)), torch.randn(16, 2)
    p = recipe.generative.factors[0].law
    d, q = recipe.model.distributions[0], recipe.posterior
    noise = {"z": torch.randn(16, 1), "z#2": torch.randn(16, 1), "x": torch.randn(16, 2)}
    first, second = recipe.model.loss.eval({"x": x}, noise=noise)

    def draw(law, e, **given):
        loc, scale = law.net(*given.values()).chunk(2, -1)
        return loc + F.softplus(scale) * e

    z, z_p = draw(q, noise["z"], x=x), noise["z#2"]
    inferred = d(x, z).squeeze(-1)
    generated = d(draw(p, noise["x"], z=z_p), z_p).squeeze(-1)
    torch.testing.assert_close(first, (F.logsigmoid(inferred) + F.logsigmoid(-generated)).mean())
    torch.testing.assert_close(second, (F.logsigmoid(-inferred) + F.logsigmoid(generated)).mean())
