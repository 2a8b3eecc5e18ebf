"""Autoencoders whose code has a price, a capacity or moments to match; the bottleneck classifier.

Short runs beat a constant, with seeds 0 and 1; special cases are other models to the bit.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from ancestral.data import digits
from ancestral.distributions import EmpiricalDistribution
from ancestral.evaluation import bound
from ancestral.losses import KL, MMD, E
from ancestral.zoo.beta_vae import beta_vae
from ancestral.zoo.info_vae import info_vae
from ancestral.zoo.vae import vae
from ancestral.zoo.vib import vib

EVERY = [beta_vae, info_vae, vib]
SMALL = {"hidden": (64,), "latent": 6, "lr": 3e-3}
SEEDS = pytest.mark.parametrize("seed", [0, 1])


@pytest.fixture(scope="module", autouse=True)
def data():
    """Digits; what torch imports with its first optimizer takes seconds, which no test pays."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    return digits()


def baseline(data) -> float:
    """Nats per row of independent pixels: 25."""
    share = data.train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(data.test["x"])
    return -float(F.binary_cross_entropy(share, data.test["x"], reduction="none").sum(-1).mean())


def restored(recipe, data) -> float:
    """The first term of each objective, on held-out rows."""
    fit = E(recipe.posterior, recipe.decoder.log_prob())
    return bound(fit, data.test, laws=recipe.laws).mean


@pytest.mark.parametrize("recipe", EVERY, ids=lambda f: f.__name__)
def test_formula_is_that_of_the_docstring(recipe):
    assert str(recipe().objective) == recipe.__doc__.partition("\n")[0].removesuffix(".")


def losses(recipe, data, steps=5) -> list[float]:
    """Of a few steps, from weights and noise of one seed."""
    torch.manual_seed(0)
    for law in recipe.laws:
        for weight in law.parameters():
            torch.nn.init.normal_(weight, std=0.1)
    return [float(recipe.model.train({"x": data.train["x"][:64]})) for _ in range(steps)]


def test_at_price_one_it_is_the_vae_to_the_bit(data):
    plain = losses(vae(**SMALL), data)
    assert losses(beta_vae(beta=1.0, **SMALL), data) == plain
    assert losses(info_vae(alpha=0.0, lam=1.0, **SMALL), data) == plain
    assert losses(beta_vae(beta=2.0, **SMALL), data) != plain


@SEEDS
def test_a_price_saves_nats(data, seed):
    spent = []
    for beta in (0.25, 1.0):
        torch.manual_seed(seed)
        recipe = beta_vae(beta=beta, **SMALL)
        recipe.model.fit({"x": data.train["x"]}, epochs=10, batch_size=64, progress=False)
        kl = KL(recipe.posterior, recipe.generative.factors[1].law)
        spent.append(bound(kl, data.test, laws=recipe.laws).mean)
        assert restored(recipe, data) > baseline(data) + 1.0
    assert spent[1] < 0.7 * spent[0]


def test_the_capacity_rises_with_the_steps(data):
    """|KL - C| is 0 at C = KL, and C is the schedule's value at the model's step."""
    recipe = beta_vae(capacity=20.0, steps=10, gamma=3.0, **SMALL)
    x, noise = data.train["x"][:5], {"z": torch.randn(5, 6)}
    p, prior = (factor.law for factor in recipe.generative.factors)
    fit, kl = E(recipe.posterior, p.log_prob()), KL(recipe.posterior, prior)
    with torch.no_grad():
        f, d = fit.eval({"x": x}, noise=noise), kl.eval({"x": x})
        for c in (0.0, 2.0, 50.0):
            found = recipe.objective.eval({"x": x, "C": c}, noise=noise)
            torch.testing.assert_close(found, f - 3.0 * (d - c).abs())
    rises = recipe.model.schedules.functions["C"]
    assert [rises(step) for step in (0, 5, 10, 99)] == [0.0, 10.0, 20.0, 20.0]


@SEEDS
def test_the_code_takes_up_its_capacity(data, seed):
    torch.manual_seed(seed)
    recipe = beta_vae(capacity=5.0, steps=100, gamma=5.0, **SMALL)
    recipe.model.fit({"x": data.train["x"]}, epochs=20, batch_size=64, progress=False)
    kl = KL(recipe.posterior, recipe.generative.factors[1].law)
    assert abs(bound(kl, data.test, laws=recipe.laws).mean - 5.0) < 0.5
    assert restored(recipe, data) > baseline(data) + 3.0


def test_the_encoder_learns_from_the_discrepancy(data):
    """The gradient of MMD alone is that by hand, from the same draws, and not zero."""
    torch.manual_seed(0)
    recipe, x = info_vae(**SMALL), data.train["x"][:16]
    q, (_, prior) = recipe.posterior, (factor.law for factor in recipe.generative.factors)
    aggregate = (q * EmpiricalDistribution(["x"])).marginalize_var("x")
    eps, eta = torch.randn(16, 6), torch.randn(16, 6)
    loss = MMD(aggregate, prior, bandwidth=6**0.5)
    loss.eval({"x": x}, noise={"z": eps, "z'": eta}).backward()
    found = [weight.grad.clone() for weight in q.parameters()]
    q.zero_grad()
    loc, raw = q.net(x).chunk(2, -1)
    z = loc + F.softplus(raw) * eps

    def k(a, b):
        return (-torch.cdist(a, b).square() / 12).exp()

    def pairs(a):
        return (k(a, a).sum() - len(a)) / (len(a) * (len(a) - 1))

    off = ~torch.eye(16, dtype=torch.bool)
    squares = (z[:, None] - z[None]).square().sum(-1)[off]  # cdist has no derivative at 0
    within = (-squares / 12).exp().mean()
    (within - 2 * k(z, eta).mean() + pairs(eta)).backward()
    for weight, grad in zip(q.parameters(), found, strict=True):
        torch.testing.assert_close(grad, weight.grad, rtol=1e-3, atol=1e-6)
        assert float(grad.abs().max()) > 1e-6


@SEEDS
def test_matched_codes_restore_more_than_priced_ones(data, seed):
    found = []
    for alpha, lam in ((0.0, 1.0), (1.0, 30.0)):
        torch.manual_seed(seed)
        recipe = info_vae(alpha=alpha, lam=lam, **SMALL)
        recipe.model.fit({"x": data.train["x"]}, epochs=14, batch_size=64, progress=False)
        found.append(restored(recipe, data))
    assert found[1] > found[0] + 1.0 > baseline(data) + 2.0
    z = recipe.posterior.sample({"x": data.test["x"]})["z"]
    assert float(z.mean(0).norm()) < 1.0  # of a prior's 297 draws it is 0.14 on average
    assert 0.3 < float(z.var(0).mean()) < 3.0


@SEEDS
def test_the_bottleneck_tells_digits_apart(data, seed):
    """The constant guess is right in one of ten; a code of few nats is enough."""
    torch.manual_seed(seed)
    recipe = vib(**SMALL)
    given, held = (
        {"x": part["x"], "y": torch.eye(10)[part["label"]]} for part in (data.train, data.test)
    )
    recipe.model.fit(given, epochs=10, batch_size=64, progress=False)
    p, r = recipe.posterior, recipe.generative.factors[1].law
    logits = recipe.decoder.factors[0].law.get_params({"z": p.sample_mean(held)})["logits"]
    assert (logits.argmax(-1) == data.test["label"]).double().mean() > 0.8
    found = bound(recipe.objective, held, laws=recipe.laws)
    assert found.mean > -math.log(10) + 1.0
    assert bound(KL(p, r), held, laws=recipe.laws).mean > 1.0
