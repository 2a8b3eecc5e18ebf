"""The zoo's TD-VAE is its paper's bound, and learns what comes next."""

import pytest
import torch

from ancestral.zoo.td_vae import td_vae
from tests.zoo.sequences import independent, switches

STEPS = 4


def test_formula_is_that_of_the_docstring():
    assert str(td_vae().objective) == td_vae.__doc__.partition("\n")[0].rstrip(".")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_beats_independent_pixels_on_held_out_sequences(seed):
    """The baseline is -5.5 nats; after what was seen the pixels to come are nearly known."""
    train, test = switches(256, seed), switches(256, seed + 100)
    torch.manual_seed(seed)
    recipe = td_vae(pixels=8, latent=8, hidden=32, longest=1, lr=1e-2)
    recipe.model.fit({"x": train["x"][:, :STEPS]}, epochs=40, batch_size=64, progress=False)
    with torch.no_grad():
        bound = recipe.objective.eval({"x": test["x"][:, :STEPS].repeat(4, 1, 1)})
    assert float(bound.mean()) > independent(train, test) + 0.5


def test_it_jumps_from_a_belief():
    recipe = td_vae(pixels=8, latent=4, hidden=8)
    given = {"x": switches(6, 0)["x"], "t1": torch.full((6,), 3.0)}
    assert recipe.generative.sample(given)["x2"].shape == (6, 8)
