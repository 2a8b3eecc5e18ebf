"""The zoo's DRAW is its paper's bound, that of the VAE at T = 1, and gains by its steps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.data import digits
from ancestral.distributions import Bernoulli, Normal
from ancestral.evaluation import bound
from ancestral.losses import KL, E
from ancestral.zoo.draw import draw

SMALL = {"hidden": 32, "latent": 4, "lr": 1e-2}


@pytest.fixture(scope="module", autouse=True)
def _optimizers_are_imported():
    """What torch imports with its first optimizer takes seconds; no test is charged for it."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def test_formula_is_that_of_the_docstring():
    assert str(draw().objective) == draw.__doc__.partition("\n")[0].rstrip(".")


class FirstStep(nn.Module):
    """One pass through the cells of a DRAW with one step, as encoder or decoder of a VAE."""

    def __init__(self, q, part: str) -> None:
        super().__init__()
        self.q, self.part = [q], part

    def forward(self, value):
        (q,) = self.q
        nets = {f.law.name + f.law.var[0]: f.law.net for f in q.factors_of_step}
        e, d, c = (getattr(q, f"initial_{i}").expand(len(value), -1) for i in range(3))
        if self.part == "encoder":
            return nets["qz"](nets["fe"](value, e, d, c))
        return nets["fd"](value, d, c)["c"]


def test_one_step_is_the_vae():
    """The same weights and noise: bound and gradient to 1e-12, in float64."""
    torch.manual_seed(0)
    recipe = draw(pixels=9, steps=1, latent=3, hidden=5)
    _, q, _ = recipe.model.distributions.double()
    for value in recipe.model.trained:
        nn.init.normal_(value, std=0.5)
    x, eps = (torch.rand(7, 9) > 0.5).double(), torch.randn(7, 3).double()

    q_vae = Normal(var=["z"], cond_var=["x"], net=FirstStep(q, "encoder"), name="q")
    p_vae = Bernoulli(var=["x"], cond_var=["z"], net=FirstStep(q, "decoder"), name="p")
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[3], name="p").double()
    elbo = E(q_vae, p_vae.log_prob()) - KL(q_vae, prior)

    found = recipe.objective.eval({"x": x}, noise={"z": eps[:, None]})
    exact = elbo.eval({"x": x}, noise={"z": eps})
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)
    weights = recipe.model.trained
    ours, theirs = (torch.autograd.grad(v.sum(), weights) for v in (found, exact))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def gain(steps: int, epochs: int, seed: int) -> tuple[float, float]:
    """The bounds on held-out digits of one step, and of some, after runs of equal length."""
    data, found = digits(), []
    for number in (1, steps):
        torch.manual_seed(seed)
        recipe = draw(steps=number, **SMALL)
        recipe.model.fit({"x": data.train["x"]}, epochs=epochs, batch_size=64, progress=False)
        found.append(bound(recipe.objective, data.test, laws=recipe.laws, draws=4).mean)
    return found[0], found[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_four_steps_beat_one_and_independent_pixels(seed):
    """A nat above the same weights with one step, two above pixels with their means (25 nats)."""
    data = digits()
    share = data.train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(data.test["x"])
    baseline = -F.binary_cross_entropy(share, data.test["x"], reduction="none").sum(-1).mean()
    one, four = gain(4, epochs=5, seed=seed)
    assert four > max(one + 1.0, float(baseline) + 2.0)


@pytest.mark.slow
def test_ten_steps_beat_one():
    one, ten = gain(10, epochs=20, seed=0)
    assert ten > one + 1.0
