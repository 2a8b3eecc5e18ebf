"""Sentence 5: FactorVAE; a density ratio whose logit stands in another player's loss."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.distributions import Bernoulli, EmpiricalDistribution, Normal
from ancestral.losses import KL, AdversarialKullbackLeibler, E, Function
from ancestral.models import Model, Player
from tests.sentences.counting import counted, draws, passes

ROWS, GAMMA = 6, 4.0


class Laws:
    """The networks and laws of the sentence, its two terms and a batch."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(5, 4).double(), nn.Linear(2, 5).double()
        self.critic = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.q = Normal(var=["z"], cond_var=["x"], net=self.encoder, name="q")
        self.p = Bernoulli(var=["x"], cond_var=["z"], net=self.decoder, name="p")
        prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p").double()
        self.d = Function(self.critic, name="d")
        q_agg = (self.q * EmpiricalDistribution(["x"])).marginalize_var("x")
        self.tc = AdversarialKullbackLeibler(q_agg, q_agg.factorized(), discriminator=self.d)
        self.vae = E(self.q, self.p.log_prob()) - KL(self.q, prior) - GAMMA * self.tc
        self.x = (torch.rand(ROWS, 5) > 0.5).double()

    def model(self, order: str = "together") -> Model:
        players = [
            Player("vae", minimise=-self.vae.mean(), over=[self.p, self.q]),
            Player("d", maximise=self.tc.dual(), over=[self.d]),
        ]
        return Model(players=players, order=order)


def test_it_prints():
    w = Laws()
    assert str(w.vae) == (
        "E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)] - 4 KL_d[q(z) || Π_j q(z_j)]"
    )
    assert str(w.model().loss).endswith(
        ";  d: max E_{q(z)}[log σ(d(z))] + E_{Π_j q(z_j)}[log(1 - σ(d(z)))]"
    )
    assert w.vae.latex() == (
        r"\mathbb{E}_{q(z|x)} \left[\log p(x|z) \right] - D_{KL} \left[q(z|x)||p(z) \right] - "
        r"4 D_{KL}^{d} \left[q(z)||\prod_{j} q(z_{j}) \right]"
    )
    assert (
        w.model()
        .loss.latex()
        .endswith(
            r"d: \; \max \; \mathbb{E}_{q(z)} \left[\log \sigma(d(z)) \right] + "
            r"\mathbb{E}_{\prod_{j} q(z_{j})} \left[\log \left(1 - \sigma(d(z)) \right) \right]"
        )
    )


def test_one_evaluation_for_both_players():
    """The encoder once, one draw of z for all terms, the discriminator at it and at its columns."""
    w = Laws()
    model = w.model()
    for _ in range(2):
        with counted(q=w.encoder, p=w.decoder, d=w.critic) as seen:
            model.train({"x": w.x})
        assert seen == {"q": [ROWS], "p": [ROWS], "d": [ROWS, ROWS]}
    assert draws(model.loss) == ["z"]
    assert passes(model.loss).count("q(z|x)") == 1


def test_each_player_has_its_own_gradient_at_the_same_weights():
    """To the bit those of two evaluations, of which each is detached from the other's weights."""
    together, apart = Laws(), Laws()
    noise = {"z": torch.randn(ROWS, 2).double()}
    torch.manual_seed(1)  # of the shifts
    together.model().train({"x": together.x}, noise=noise)
    for loss, mine, modules in (
        (-apart.vae.mean(), [together.p, together.q], [apart.p, apart.q]),
        (-apart.tc.dual(), [together.critic], [apart.critic]),
    ):
        torch.manual_seed(1)
        own = [p for m in modules for p in m.parameters()]
        wanted = torch.autograd.grad(loss.eval({"x": apart.x}, noise=noise), own)
        found = [p.grad for m in mine for p in m.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_the_first_player_by_hand():
    """-mean(log p - KL - gamma d(z)), with the gradient that d passes on to the encoder."""
    w = Laws()
    encoder, decoder, critic = (copy.deepcopy(m) for m in (w.encoder, w.decoder, w.critic))
    eps = torch.randn(ROWS, 2).double()
    value = w.model().train({"x": w.x}, noise={"z": eps})["vae"]
    loc, raw = encoder(w.x).chunk(2, -1)
    scale = F.softplus(raw)
    z = loc + scale * eps
    log_p = -F.binary_cross_entropy_with_logits(decoder(z), w.x, reduction="none").sum(-1)
    kl = (0.5 * (loc**2 + scale**2 - 1) - scale.log()).sum(-1)
    loss = -(log_p - kl - GAMMA * critic(z).mean()).mean()
    assert value.item() == pytest.approx(loss.item(), rel=1e-12)
    loss.backward()
    for mine, hand in ((w.encoder, encoder), (w.decoder, decoder)):
        for a, b in zip(mine.parameters(), hand.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)


def test_the_second_player_by_hand():
    """mean log σ(d(z)) + mean log(1 - σ(d(z'))), column j of z' from the row s_j further on."""
    w = Laws()
    critic, eps = copy.deepcopy(w.critic), torch.randn(ROWS, 2).double()
    order = torch.tensor([0.3, 0.1, 0.9, 0.2, 0.8, 0.4]).double()  # in order: rows 1, 3, 0, ...
    noise = {"z": eps, "z.rows": order}
    loc, raw = w.encoder(w.x).detach().chunk(2, -1)
    z = loc + F.softplus(raw) * eps
    first, second = order.argsort()[:2].tolist()
    apart = torch.stack([z.roll(-first, 0)[:, 0], z.roll(-second, 0)[:, 1]], -1)
    dual = (F.logsigmoid(critic(z)) + F.logsigmoid(-critic(apart))).mean()
    value = w.model().train({"x": w.x}, noise=noise)["d"]
    assert abs(value.item()) == pytest.approx(-dual.item(), rel=1e-12)
    (-dual).backward()
    for a, b in zip(w.critic.parameters(), critic.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)


def test_in_turn_the_discriminator_keeps_no_graph_of_the_encoder():
    w = Laws()
    model = w.model("in turn")
    graphs = []
    w.encoder.register_forward_hook(lambda m, given, out: graphs.append(out.requires_grad))
    model.train({"x": w.x}), model.train({"x": w.x})
    assert graphs == [True, False, True, False]
