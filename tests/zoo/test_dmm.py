"""The zoo's deep Markov model is its paper's bound, and learns how notes move."""

import pytest
import torch

from ancestral.zoo.dmm import dmm
from tests.zoo.sequences import independent, notes, per_step


def test_formula_is_that_of_the_docstring():
    assert str(dmm().objective) == dmm.__doc__.partition("\n")[0].rstrip(".")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_beats_independent_pixels_on_held_out_sequences(seed):
    """The baseline is -3.35 nats per step; which note comes next can be known."""
    train, test = notes(256, seed), notes(256, seed + 100)
    torch.manual_seed(seed)
    recipe = dmm(pixels=8, latent=8, hidden=32, lr=2e-2)
    recipe.model.fit(train, epochs=25, batch_size=32, progress=False)
    with torch.no_grad():
        bound = recipe.objective.eval(test)
    assert per_step(bound, test["m"]) > independent(train, test) + 0.3


def test_what_pads_a_row_changes_nothing():
    recipe, data = dmm(pixels=8, latent=4, hidden=8), notes(6, 0)
    noise = {"z": torch.randn(6, data["x"].shape[1], 4)}
    padded = {**data, "x": torch.where(data["m"][..., None] > 0, data["x"], torch.nan)}
    found = recipe.objective.eval(data, noise=noise)
    torch.testing.assert_close(recipe.objective.eval(padded, noise=noise), found)


def test_draws_go_on_from_a_beginning():
    recipe, data = dmm(pixels=8, latent=4, hidden=8), notes(6, 0)
    data = {name: value[:, :5] for name, value in data.items()}
    z = recipe.posterior.sample(data)["z"]
    on = recipe.generative.sample({"z": z, "x": data["x"]}, length=9)
    assert on["x"].shape == (6, 9, 8)
    torch.testing.assert_close(on["x"][:, :5], data["x"])
