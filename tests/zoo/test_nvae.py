"""The zoo's NVAE is its paper's bound, exact on a chain of normal laws."""

import math

import pytest
import torch
import torch.nn.functional as F

from ancestral.data import digits
from ancestral.evaluation import bound
from ancestral.losses import E
from ancestral.zoo.nvae import nvae

A, B, S = 0.9, 1.3, 0.7


@pytest.fixture(scope="module", autouse=True)
def _optimizers_are_imported():
    """What torch imports with its first optimizer takes seconds; no test is charged for it."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def test_formula_is_that_of_the_docstring():
    assert str(nvae().objective) == nvae.__doc__.partition("\n")[0].rstrip(".")


@torch.no_grad()
def chain():
    """z1 ~ N(0, 1), then z2, z3 and x, each a multiple of the one before and noise.

    Returns:
        The recipe with the weights of these laws and of their true conditionals, and Var[x].
    """
    recipe = nvae(pixels=1, levels=3, latent=1, hidden=(), binary=False)
    for weight in recipe.model.distributions.double().parameters():
        weight.zero_()
    p, q1, q2, q3, p2, p3 = recipe.model.distributions
    raw = math.log(math.expm1(S))  # softplus of it is the standard deviation
    for law, slope in ((p2, A), (p3, A), (p, B)):
        law.net[-1].weight[0, -1], law.net[-1].bias[1] = slope, raw
    exactly = {"dtype": torch.float64}
    step = torch.eye(4, **exactly) - torch.diag(torch.tensor([A, A, B], **exactly), -1)
    root = torch.linalg.inv(step) * torch.tensor([1.0, S, S, S], **exactly)
    cov = root @ root.T  # of (z1, z2, z3, x)
    for i, q in enumerate((q1, q2, q3)):
        given = [*range(i), 3]
        slope = torch.linalg.solve(cov[given][:, given], cov[given, i])
        sd = (cov[i, i] - slope @ cov[given, i]).sqrt()
        if i == 0:
            q.net[-1].weight[0], q.net[-1].bias[1] = slope, sd.expm1().log()
            continue
        net = q.net.difference[-1]
        net.weight[0] = slope
        net.weight[0, i - 1] -= A  # the mean of the prior, which it is added to
        net.bias[1] = (sd / S).log()
    return recipe, cov[3, 3]


def test_the_bound_is_log_p_at_the_true_conditionals():
    """For every draw, to 1e-10; with divergences in closed form on average, within 5 s.e.

    An error of a mean or of log σ by .01 would show in the first, one of 2 % in the second.
    """
    torch.manual_seed(0)
    recipe, variance = chain()
    x = torch.randn(20, 1).double() * 2
    exact = -0.5 * (x[:, 0] ** 2 / variance + variance.log() + math.log(2 * math.pi))
    q = recipe.posterior
    drawn = E(q, recipe.generative.log_prob() - q.log_prob()).eval({"x": x})
    torch.testing.assert_close(drawn, exact, rtol=0, atol=1e-10)
    found = recipe.objective.eval({"x": x.repeat(2000, 1)}).detach().unflatten(0, (2000, 20))
    error = found.std(0) / math.sqrt(2000)
    assert ((found.mean(0) - exact).abs() < 5 * error).all()
    assert error.max() < 0.05


def test_another_posterior_is_below():
    """By the divergence of a mean that is moved by a tenth of its standard deviation, .005."""
    torch.manual_seed(0)
    recipe, variance = chain()
    q1, x = recipe.model.distributions[1], torch.randn(20, 1).double()
    scale = F.softplus(q1.net[-1].bias[1])
    exact = -0.5 * (x[:, 0] ** 2 / variance + variance.log() + math.log(2 * math.pi))
    with torch.no_grad():
        q1.net[-1].bias[0] += 0.1 * scale
    q = recipe.posterior
    loss = E(q, recipe.generative.log_prob() - q.log_prob())
    gap = (exact - loss.eval({"x": x.repeat(4000, 1)}).unflatten(0, (4000, 20))).mean(1).detach()
    assert abs(float(gap.mean()) - 0.005) < 5 * float(gap.std()) / math.sqrt(4000) < 0.003


def test_a_posterior_begins_at_its_prior():
    """Without its difference it is the prior, whatever the prior is."""
    recipe, x = nvae(), torch.rand(3, 64)
    _, _, q2, _, p2, _ = recipe.model.distributions
    with torch.no_grad():
        for weight in q2.net.difference.parameters():
            weight.zero_()
    z = {"z1": torch.randn(3, 6)}
    ours, theirs = q2.get_params({**z, "x": x}), p2.get_params(z)
    torch.testing.assert_close(ours["loc"], theirs["loc"])
    torch.testing.assert_close(ours["scale"], theirs["scale"])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_run_beats_independent_pixels_on_held_out_digits(seed):
    """Two nats above the baseline of 25, with every level in use."""
    torch.manual_seed(seed)
    data = digits()
    share = data.train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(data.test["x"])
    baseline = -F.binary_cross_entropy(share, data.test["x"], reduction="none").sum(-1).mean()
    recipe = nvae(hidden=(64,), latent=4, lr=4e-3)
    recipe.model.fit({"x": data.train["x"]}, epochs=12, batch_size=64, progress=False)
    found = bound(recipe.objective, data.test, laws=recipe.laws, draws=4)
    assert found.mean > baseline + 2.0
    assert recipe.generative.sample(batch_n=5)["x"].shape == (5, 64)
