"""The zoo's VRNN is its paper's bound, and learns how notes move."""

import pytest
import torch

from ancestral.zoo.vrnn import vrnn
from tests.zoo.sequences import independent, notes, per_step


def test_formula_is_that_of_the_docstring():
    assert str(vrnn().objective) == vrnn.__doc__.partition("\n")[0].rstrip(".")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_beats_independent_pixels_on_held_out_sequences(seed):
    """The baseline is -3.35 nats per step; which note comes next can be known."""
    train, test = notes(256, seed), notes(256, seed + 100)
    torch.manual_seed(seed)
    recipe = vrnn(pixels=8, latent=8, hidden=32, lr=2e-2)
    recipe.model.fit(train, epochs=16, batch_size=32, progress=False)
    with torch.no_grad():
        bound = recipe.objective.eval(test)
    assert per_step(bound, test["m"]) > independent(train, test) + 0.3


def test_draws_go_on_from_a_beginning():
    recipe, data = vrnn(pixels=8, latent=4, hidden=8), notes(6, 0)
    x = data["x"][:, :5]
    z = recipe.posterior.sample({"x": x})["z"]
    on = recipe.generative.sample({"z": z, "x": x}, length=9)
    assert on["x"].shape == (6, 9, 8)
    torch.testing.assert_close(on["x"][:, :5], x)
