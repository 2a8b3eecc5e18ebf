"""Sentence 7: Triple-GAN; a classifier and a generator against one discriminator of pairs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import OptionError, ParameterError, VariableError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    EmpiricalDistribution,
    Implicit,
    MixtureModel,
    Normal,
)
from ancestral.losses import KL, E, Enumerate, LeaveOneOut, Score
from ancestral.models import Model, Player
from tests.sentences.counting import counted

ALPHA, LABELLED, UNLABELLED = 0.3, 4, 7


class Join(nn.Module):
    """A network of several values side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs).double()

    def forward(self, *given):
        return self.layer(torch.cat(given, -1))


class World:
    """p(x,y) labelled rows, p(x_u) unlabelled ones, a classifier C, a generator G."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.c_net, self.g_net, self.d_net = Join(2, 3), Join(3 + 2, 2), Join(2 + 3, 1)
        self.C = Categorical(var=["y"], cond_var=["x"], net=self.c_net, name="p_c")
        noise = Normal(loc=0.0, scale=1.0, var=["e"], features_shape=[2], name="p").double()
        self.G = Implicit(self.g_net, ["x"], ["y"], "p_g", noise=noise)
        d = Bernoulli(var=["r"], cond_var=["x", "y"], net=self.d_net, name="d")
        self.d = d
        p_data, p_y = EmpiricalDistribution(["x", "y"]), EmpiricalDistribution(["y"], name="p")
        p_u = EmpiricalDistribution(["x"], name="p_u", data=["x_u"])
        self.parts = self.C * p_u, self.G * p_y
        self.fake = MixtureModel(self.parts, weights=[ALPHA, 1 - ALPHA])
        self.real, self.false = (d.log_prob().constant_var({"r": r}) for r in (1, 0))
        self.V = E(p_data, self.real) + E(self.fake, self.false)
        self.label, self.p_data = E(p_data, self.C.log_prob()), p_data
        self.batch = {
            "x": torch.randn(LABELLED, 2).double(),
            "y": F.one_hot(torch.arange(LABELLED) % 3, 3).double(),
            "x_u": torch.randn(UNLABELLED, 2).double(),
        }

    def model(self, choice) -> Model:
        v = self.V.estimate({self.C: choice})
        players = [
            Player("d", maximise=v, over=[self.d]),
            Player("C,G", minimise=v - self.label, over=[self.C, self.G]),
        ]
        return Model(players=players)


def test_it_prints_as_one_game():
    """The classifier's own term stands in it: the discriminator has no part in that."""
    assert str(World().model(Enumerate()).loss) == (
        "min_{C,G} max_d E_{p_{data}(x,y)}[log d(r=1|x,y)] + "
        "0.3 E_{p_c(y|x)p_u(x)}[log d(r=0|x,y)] + "
        "0.7 E_{p_g(x|y)p(y)}[log d(r=0|x,y)] - E_{p_{data}(x,y)}[log p_c(y|x)]"
    )
    assert World().model(Enumerate()).loss.latex() == (
        r"\min_{C,G} \max_{d} \mathbb{E}_{p_{data}(x,y)} \left[\log d(r=1|x,y) \right] + "
        r"0.3 \mathbb{E}_{p_{c}(y|x)p_{u}(x)} \left[\log d(r=0|x,y) \right] + "
        r"0.7 \mathbb{E}_{p_{g}(x|y)p(y)} \left[\log d(r=0|x,y) \right] - "
        r"\mathbb{E}_{p_{data}(x,y)} \left[\log p_{c}(y|x) \right]"
    )


def test_a_mixture_is_the_weighted_sum():
    """Exact over its components: the same program, to the bit, and no noise of choosing."""
    w = World()
    c, g = w.parts
    written = E(c, w.false) * ALPHA + E(g, w.false) * (1 - ALPHA)
    choice = {w.C: Score(LeaveOneOut(), draws=2)}
    mixed, by_hand = (
        (E(w.p_data, w.real) + term).estimate(choice) for term in (E(w.fake, w.false), written)
    )
    assert str(mixed) == str(by_hand)
    assert str(mixed.program()) == str(by_hand.program())
    found = []
    for loss in (mixed, by_hand):
        torch.manual_seed(3)
        value = loss.eval(w.batch)
        nets = [*w.c_net.parameters(), *w.g_net.parameters(), *w.d_net.parameters()]
        found.append([value.detach(), *torch.autograd.grad(value, nets)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_options_of_an_expectation_reach_its_parts():
    w = World()
    several = E(w.fake, w.false, sample_shape=[3]).estimate({w.C: Score()})
    with counted(d=w.d_net, c=w.c_net, g=w.g_net) as seen:
        several.eval(w.batch)
    assert seen == {"d": [3 * UNLABELLED, 3 * LABELLED], "c": [UNLABELLED], "g": [3 * LABELLED]}
    cut = E(w.fake.detach(), w.false)
    value = cut.eval(w.batch)
    value.backward()
    assert all(p.grad is None for p in (*w.c_net.parameters(), *w.g_net.parameters()))
    assert all(p.grad is not None for p in w.d_net.parameters())
    moved = w.fake.replace_var(x="a")
    assert (moved.var, w.fake.cond_var) == (["y", "a"], [])
    assert str(E(moved.detach(), w.false.replace_var(x="a"))).startswith(
        "0.3 E_{sg[p_c](y|a)sg[p_u](a)}"
    )


def test_what_a_mixture_of_joint_laws_is_not():
    w = World()
    assert repr(w.fake) == "p(y,x) = 0.3 p_c(y|x)p_u(x) + 0.7 p_g(x|e,y)p(e)p(y)"
    for word in ("sample", "log_prob", "get_log_prob"):
        with pytest.raises(AttributeError, match=f"{word}.*what an expectation is over"):
            getattr(w.fake, word)
    with pytest.raises(OptionError, match="takes a law"):
        KL(w.fake, w.fake)
    for weights, text in (([0.5], "one number for each"), ([0.5, 0.6], "sum 1")):
        with pytest.raises(ParameterError, match=text):
            MixtureModel(w.parts, weights=weights)
    with pytest.raises(ParameterError, match=r"write the sum of\s+expectations"):
        MixtureModel(w.parts, weights=nn.Parameter(torch.tensor([0.5, 0.5])))
    with pytest.raises(VariableError, match="different variables"):
        MixtureModel([w.parts[0], w.G.replace_var(x="a")], weights=[0.5, 0.5])
    with pytest.raises(VariableError, match="no variable w"):
        w.fake.replace_var(w="x")
    with pytest.raises(OptionError, match="no option"):
        MixtureModel(w.parts, weight=[0.5, 0.5])
    with pytest.raises(VariableError, match="one for each"):
        EmpiricalDistribution(["x", "y"], data=["x_u"])


def test_passes():
    """d's turn: d at l, u and l rows. The other turn: the same, and C at the labelled rows too.

    The score of y ~ C(y|x) has the other rows as baseline; with two draws, each the other's.
    """
    _passes(Score(LeaveOneOut()), [LABELLED, LABELLED, UNLABELLED])
    _passes(Score(LeaveOneOut(), draws=2), [LABELLED, LABELLED, 2 * UNLABELLED])


def _passes(chosen, rows):
    w = World()
    model = w.model(chosen)
    for _ in range(2):
        with counted(d=w.d_net, c=w.c_net, g=w.g_net) as seen:
            model.train(w.batch)
        assert sorted(seen["d"][:3]) == sorted(seen["d"][3:]) == sorted(rows)
        assert seen["c"][0] == UNLABELLED
        assert sorted(seen["c"][1:]) == [LABELLED, UNLABELLED]
        assert seen["g"] == [LABELLED] * 2


def test_gradients_by_hand():
    """Each player's own, with y summed over: the game's term for d mentions C and G, and no check
    asks who trains them.
    """
    w = World()
    model = w.model(Enumerate())
    e = torch.randn(LABELLED, 2).double()
    x, y, x_u = w.batch["x"], w.batch["y"], w.batch["x_u"]

    def value():
        total = F.logsigmoid(w.d_net(x, y)).mean()
        log_c = F.log_softmax(w.c_net(x_u), -1)
        each = [
            F.logsigmoid(-w.d_net(x_u, F.one_hot(torch.full((UNLABELLED,), k), 3).double()))[:, 0]
            for k in range(3)
        ]
        total = total + ALPHA * (log_c.exp() * torch.stack(each, -1)).sum(-1).mean()
        return total + (1 - ALPHA) * F.logsigmoid(-w.d_net(w.g_net(e, y), y)).mean()

    game = value()
    wanted = torch.autograd.grad(-game, list(w.d_net.parameters()))
    found = model.play_next(w.batch, noise={"e": e})
    assert found["d"].item() == pytest.approx(game.item(), rel=1e-12)
    for p, g in zip(w.d_net.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-10, atol=1e-12)
    label = (F.log_softmax(w.c_net(x), -1) * y).sum(-1).mean()
    own = [*w.c_net.parameters(), *w.g_net.parameters()]
    both = value() - label
    wanted = torch.autograd.grad(both, own)
    found = model.play_next(w.batch, noise={"e": e})
    assert found["C,G"].item() == pytest.approx(both.item(), rel=1e-12)
    for p, g in zip(own, wanted, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-10, atol=1e-12)
