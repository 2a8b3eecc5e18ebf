"""Discriminators that losses carry: a model trains them; and the GAN of Pixyz."""

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import OptionError, TrainingError
from ancestral.distributions import EmpiricalDistribution, Implicit, Normal
from ancestral.losses import (
    KL,
    AdversarialHinge,
    AdversarialJensenShannon,
    AdversarialKullbackLeibler,
    AdversarialWassersteinDistance,
    E,
    sqnorm,
    values,
)
from ancestral.models import GAN, Model, Player
from tests.models.parts import same, weights


class World:
    """A generator, a network of logits, and data."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        self.critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.p = Implicit(self.generator, var=["x"], noise=[2], name="p").double()
        self.data = EmpiricalDistribution(["x"])
        self.x = torch.randn(6, 3, dtype=torch.float64)

    def js(self, **options):
        return AdversarialJensenShannon(self.data, self.p, self.critic, **options)


def test_gan_is_pixyzs_loop():
    """(loss, d_loss) of three rounds: the discriminator first, each on draws of its own."""
    w = World()
    g, d = copy.deepcopy(w.generator), copy.deepcopy(w.critic)
    model = GAN(w.p, w.critic, torch.optim.SGD, {"lr": 0.1}, torch.optim.Adam, {"lr": 0.01})
    assert str(model.loss) == "JS_d[p_{data}(x) || p(x)]"
    g_step = torch.optim.SGD(g.parameters(), lr=0.1, fused=True)
    d_step = torch.optim.Adam(d.parameters(), lr=0.01, fused=True)
    ours, theirs = (torch.Generator().manual_seed(4) for _ in range(2))
    for _ in range(3):
        fake = g(torch.randn(6, 2, dtype=torch.float64, generator=theirs)).detach()
        d_loss = -F.logsigmoid(d(w.x)).mean() - F.logsigmoid(-d(fake)).mean()
        d_step.zero_grad()
        d_loss.backward()
        d_step.step()
        fake = g(torch.randn(6, 2, dtype=torch.float64, generator=theirs))
        loss = -F.logsigmoid(-d(w.x)).mean() - F.logsigmoid(d(fake)).mean()
        g_step.zero_grad()
        loss.backward()
        g_step.step()
        before = weights(w.generator)
        found = model.train({"x": w.x}, generator=ours)
        assert [v.item() for v in found] == pytest.approx([loss.item(), d_loss.item()], rel=1e-11)
        assert not same(before, weights(w.generator))


def test_the_discriminators_step_leaves_the_generator_unchanged():
    w = World()
    model = GAN(w.p, w.critic)
    before = weights(w.generator)
    model.play_next({"x": w.x})
    assert same(before, weights(w.generator))
    before = weights(w.critic)
    loss = model.train({"x": w.x}, adversarial_loss=False)
    assert loss.shape == ()
    assert same(before, weights(w.critic))


def test_gan_is_tested_fitted_and_saved(tmp_path):
    w = World()
    model = GAN(w.p, w.critic)
    loss, d_loss = model.test({"x": w.x})
    assert not loss.requires_grad
    assert d_loss > 0
    assert model.test({"x": w.x}, adversarial_loss=False).shape == ()
    history = model.fit({"x": w.x}, 3, batch_size=3, validation={"x": w.x}, progress=False)
    assert all(isinstance(v, float) for v in history["loss"] + history["validation"])
    assert history["d"][0] < 0  # the objective that it maximises
    model.save(tmp_path)
    before = weights(w.critic)
    model.train({"x": w.x})
    model.load(tmp_path)
    assert same(before, weights(w.critic))


def test_the_order_of_arguments_is_pixyzs():
    words = list(inspect.signature(GAN).parameters)
    assert words[:8] == [
        "p", "discriminator", "optimizer", "optimizer_params", "d_optimizer",
        "d_optimizer_params", "clip_grad_norm", "clip_grad_value",
    ]  # fmt: skip
    words = list(inspect.signature(AdversarialJensenShannon).parameters)
    assert words[:6] == [
        "p", "q", "discriminator", "optimizer", "optimizer_params", "inverse_g_loss"
    ]  # fmt: skip


def test_options_on_the_node_are_data_for_the_model():
    w = World()
    js = w.js(optimizer=torch.optim.SGD, optimizer_params={"lr": 0.5})
    model = Model(js, distributions=[w.p])
    assert isinstance(model.optimizers["d"], torch.optim.SGD)
    assert isinstance(model.optimizer, torch.optim.Adam)
    wasserstein = AdversarialWassersteinDistance(w.data, w.p, w.critic, clip_value=0.02)
    Model(wasserstein).train({"x": w.x})
    assert max(float(p.detach().abs().max()) for p in w.critic.parameters()) <= 0.02


def test_one_discriminator_of_two_terms_is_one_player():
    w = World()
    noisy = Normal(loc="w", scale=1.0, var=["x"], cond_var=["w"], name="n")
    blurred = (noisy * w.p.replace_var(x="w")).marginalize_var("w")
    other = AdversarialJensenShannon(w.data, blurred, w.critic)
    model = Model(w.js() + other, distributions=[w.p])
    assert list(model.optimizers) == ["d", ""]
    model.train({"x": w.x})


def test_a_seated_discriminator_is_not_added():
    """Sentence 5: the term stands in one objective, its dual is another player's."""
    w = World()
    q = Normal(loc=nn.Parameter(torch.ones(3).double()), scale=1.0, var=["x"], name="q")
    zero = Normal(loc=0.0, scale=1.0, var=["x"], features_shape=[3], name="p").double()
    kl = AdversarialKullbackLeibler(q, zero, w.critic)
    players = [
        Player("q", minimise=2.0 * kl + KL(q, zero), over=[q]),
        Player("d", maximise=kl.dual(), over=[w.critic]),
    ]
    model = Model(players=players, order="together")
    assert list(model.optimizers) == ["q", "d"]
    assert str(model.loss) == (
        "q: min 2 KL_d[q(x) || p(x)] + KL[q(x) || p(x)];  "
        "d: max E_{q(x)}[log σ(d(x))] + E_{p(x)}[log(1 - σ(d(x)))]"
    )
    assert set(model.train(batch_n=8)) == {"q", "d"}
    added = Model(players=players[:1])
    assert list(added.optimizers) == ["d", "q"]


def test_a_loss_without_data_draws_as_many_rows_as_the_batch():
    """A generator's own loss mentions no data: it has the rows of the game's."""
    w = World()
    model = Model(AdversarialHinge(w.data, w.p, w.critic), distributions=[w.p])
    rows = []
    w.generator.register_forward_hook(lambda m, given, out: rows.append(len(out)))
    for _ in range(2):
        model.train({"x": w.x})
    assert rows == [6] * 4
    model.train({"x": w.x}, batch_n=5)
    assert rows[-1] == 5


def test_mistakes_are_named():
    w = World()
    with pytest.raises(OptionError, match="is the discriminator 'd' of .* Leave it out"):
        Model(w.js(), distributions=[w.p, w.critic])
    inside = E(w.data, w.js() * sqnorm(values("x")))
    with pytest.raises(TrainingError, match="'d' is a discriminator inside of an expectation"):
        Model(inside, distributions=[w.p])
    with pytest.raises(TrainingError, match=r"has players \(d, "):
        Model(w.js(), distributions=[w.p]).set_loss(w.js())
    with pytest.raises(OptionError, match="did you mean 'd_optimizer'"):
        GAN(w.p, w.critic, d_optimiser=torch.optim.Adam)
    two = w.js() + AdversarialJensenShannon(w.data, w.p, nn.Linear(3, 1))
    with pytest.raises(OptionError, match="two are called 'd'"):
        Model(two, distributions=[w.p])
