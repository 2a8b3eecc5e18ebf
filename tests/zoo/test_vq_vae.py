"""The zoo's VQ-VAE is its paper's objective, and stores digits in few bits."""

import math

import pytest
import torch
import torch.nn.functional as F

from ancestral.data import digits
from ancestral.evaluation import bound
from ancestral.losses import E
from ancestral.zoo.vq_vae import vq_vae

SMALL = {"hidden": (64,), "features": 4, "codes": 32, "lr": 3e-3}


def test_formula_is_that_of_the_docstring():
    assert str(vq_vae().objective) == vq_vae.__doc__.partition("\n")[0].rstrip(".")


@pytest.mark.parametrize("decay", [None, 0.95], ids=["gradient", "averages"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_beats_independent_pixels_on_held_out_digits(seed, decay):
    """log p(x|e) less the nats of its codes, at least 2 above the baseline of 25."""
    torch.manual_seed(seed)
    data = digits()
    share = data.train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(data.test["x"])
    baseline = -F.binary_cross_entropy(share, data.test["x"], reduction="none").sum(-1).mean()
    recipe = vq_vae(**SMALL, decay=decay)
    recipe.model.fit({"x": data.train["x"]}, epochs=14, batch_size=64, progress=False)
    p, nearest, _ = recipe.model.distributions
    fit = bound(E(recipe.posterior, p.log_prob()), data.test)
    assert fit.mean - 2 * math.log(32) > baseline + 2.0
    z = recipe.posterior.sample({"x": data.test["x"]})["z"]
    assert len(nearest.net.nearest(z).unique()) > 16  # the codes have not collapsed


def test_gradients_go_where_the_equation_says():
    """Straight through e to the encoder, to codes from the second term alone; by hand, float64."""
    torch.manual_seed(0)
    recipe = vq_vae(pixels=6, hidden=(5,), codes=3, features=2)
    p, nearest, f = recipe.model.distributions.double()
    x = (torch.rand(9, 6) > 0.5).double()
    recipe.model.loss.eval({"x": x}).backward()
    found = {m: [w.grad.clone() for w in m.parameters()] for m in (p, nearest, f)}
    for module in found:
        module.zero_grad()

    z = f.net(x)
    e = nearest.net.weight[torch.cdist(z, nearest.net.weight).argmin(-1)]
    through = e.detach() + z - z.detach()
    fit = F.binary_cross_entropy_with_logits(p.net(through), x, reduction="none").sum(-1)
    codes = (z.detach() - e).square().sum((1, 2))
    (fit + codes + 0.25 * (z - e.detach()).square().sum((1, 2))).mean().backward()
    for module, gradients in found.items():
        torch.testing.assert_close(gradients, [w.grad for w in module.parameters()])


def test_draws_are_made_of_codes():
    recipe = vq_vae(**SMALL)
    drawn = recipe.generative.sample(batch_n=5)
    assert drawn["x"].shape == (5, 64)
    codes = recipe.model.distributions[1].net.weight
    assert torch.cdist(drawn["e"].flatten(0, 1), codes).min(-1).values.max() < 1e-3


def test_averages_are_saved_with_the_model():
    recipe, x = vq_vae(**SMALL, decay=0.9), digits().train["x"][:64]
    recipe.model.train({"x": x})
    twin = vq_vae(**SMALL, decay=0.9)
    twin.model.distributions.load_state_dict(recipe.model.distributions.state_dict())
    ours, theirs = (r.model.distributions[1].net for r in (recipe, twin))
    assert torch.equal(ours.weight, theirs.weight)
    assert ours.count.sum() > 0
