"""The zoo's beta-TCVAE: its density of the aggregate is that by hand, its price has an effect."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from ancestral.data import digits
from ancestral.evaluation import bound
from ancestral.losses import KL, E
from ancestral.zoo.beta_tcvae import beta_tcvae, total_correlation

SMALL = {"hidden": (64, 32), "latent": 3, "lr": 3e-3}


@pytest.fixture(scope="module", autouse=True)
def data():
    """Digits; what torch imports with its first optimizer takes seconds, which no test pays."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    return digits()


def laws(recipe):
    return [factor.law for factor in recipe.posterior.factors[:-1]]


def test_formula_is_that_of_the_docstring():
    assert str(beta_tcvae().objective) == beta_tcvae.__doc__.partition("\n")[0].removesuffix(".")


def test_value_and_gradient_are_those_by_hand(data):
    torch.manual_seed(0)
    recipe, x, eps = beta_tcvae(beta=4.0, **SMALL), data.train["x"][:16], torch.randn(16, 3)
    noise = {f"z_{d + 1}": eps[:, d : d + 1] for d in range(3)}
    found = recipe.objective.eval({"x": x}, noise=noise)
    weights = list(recipe.posterior.parameters())
    grads = torch.autograd.grad(found.mean(), weights)

    h = recipe.posterior.factors[-1].law.net(x)
    loc, raw = torch.stack([law.net(h) for law in laws(recipe)], 1).unbind(-1)  # (16, 3)
    scale = F.softplus(raw)
    z = loc + scale * eps
    pairs = Normal(loc, scale).log_prob(z[:, None])  # (row of z, row j of the law, 3)
    joint = pairs.sum(-1).exp().mean(1).log()
    each = pairs.exp().mean(1).log().sum(-1)
    logits = recipe.decoder.factors[0].law.net(z)
    fit = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    kl = (0.5 * (loc**2 + scale**2 - 1) - scale.log()).sum(-1)
    hand = fit - kl - 3.0 * (joint - each)
    torch.testing.assert_close(found, hand, rtol=1e-4, atol=1e-4)
    again = torch.autograd.grad(hand.mean(), weights)
    for one, other in zip(grads, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_at_price_one_it_is_the_bound_of_the_vae(data):
    recipe, x = beta_tcvae(beta=1.0, **SMALL), data.train["x"][:9]
    q, (p, *prior) = recipe.posterior, (factor.law for factor in recipe.generative.factors)
    *each, f = (factor.law for factor in q.factors)
    elbo = E(q, p.log_prob()) - E(f, sum(KL(a, b) for a, b in zip(each, prior, strict=True)))
    noise = {f"z_{d + 1}": torch.randn(9, 1) for d in range(3)}
    found = recipe.objective.eval({"x": x}, noise=noise)
    torch.testing.assert_close(found, elbo.eval({"x": x}, noise=noise), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_price_makes_coordinates_independent(data, seed):
    """Beside the VAE of the same networks, and still far above independent pixels (25 nats)."""
    found = []
    for beta in (1.0, 6.0):
        torch.manual_seed(seed)
        recipe = beta_tcvae(beta=beta, **{**SMALL, "lr": 5e-3})
        recipe.model.fit({"x": data.train["x"]}, epochs=20, batch_size=100, progress=False)
        among = E(recipe.posterior, total_correlation(laws(recipe)))
        found.append(bound(among, data.test, laws=recipe.laws, draws=4).mean)
        fit = E(recipe.posterior, recipe.decoder.log_prob())
        assert bound(fit, data.test, laws=recipe.laws).mean > -25.2 + 1.0
    assert found[1] < found[0]
