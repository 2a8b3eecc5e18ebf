"""What is refused of players, and how it is said; the equation of their game."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import GradientError, OptionError, ScopeError, TrainingError
from ancestral.distributions import EmpiricalDistribution, Implicit, Normal
from ancestral.losses import E, Function, norm, sqnorm, values
from ancestral.models import Model, Player
from tests.models.games import game


def test_an_objective_each():
    w = game()
    with pytest.raises(OptionError, match="takes one objective, a loss: .* got none"):
        Player("d", over=[w.d])
    with pytest.raises(OptionError, match="got Add, Add"):
        Player("d", minimise=w.value, maximise=w.value, over=[w.d])
    with pytest.raises(OptionError, match="got int"):
        Player("d", minimise=3, over=[w.d])
    with pytest.raises(OptionError, match=r"over=\[...\] names the laws and networks"):
        Player("d", minimise=w.value)
    with pytest.raises(OptionError, match="did you mean 'minimise'"):
        Player("d", minimize=w.value, over=[w.d])
    with pytest.raises(OptionError, match="steps=0 must be a whole number >= 1"):
        Player("d", minimise=w.value, over=[w.d], steps=0)
    with pytest.raises(OptionError, match="none of epoch, loss, validation, seconds"):
        Player("loss", minimise=w.value, over=[w.d])
    with pytest.raises(OptionError, match="clip_weights=-1 must be > 0"):
        Player("d", minimise=w.value, over=[w.d], clip_weights=-1)


def test_a_model_has_a_loss_or_players():
    w = game()
    d, g = w.players()
    with pytest.raises(OptionError, match=r"beside loss=...: each player says it itself"):
        Model(w.value, players=[d, g])
    with pytest.raises(OptionError, match="Model.loss=.... takes a loss"):
        Model()
    with pytest.raises(OptionError, match="takes Players, e.g. .* got Sequential"):
        Model(players=[w.critic])
    with pytest.raises(OptionError, match="two are called 'd'"):
        Model(players=[d, d])
    with pytest.raises(OptionError, match="give 'in turn'"):
        Model(players=[d, g], order="alternating")
    with pytest.raises(OptionError, match="make one step at the same weights"):
        w.model("together", 2)
    with pytest.raises(OptionError, match="none is left to retain. Leave compile out"):
        w.model("together", compile=True, retain_graph=True)
    with pytest.raises(TrainingError, match="has players .d, g., each with an objective"):
        w.model().set_loss(w.value)
    with pytest.raises(TrainingError, match=r"model.optimizers\['d'\], model.optimizers\['g'\]"):
        _ = w.model().optimizer
    built = torch.optim.Adam(w.critic.parameters())
    with pytest.raises(OptionError, match="each player needs its own"):
        Model(players=[d, g], optimizer=built)


def test_a_parameter_that_no_player_trains():
    w = game()
    d, _ = w.players()
    with pytest.raises(TrainingError, match=r"player 'd': .*p_g\(x\|noise_x\) is in the loss"):
        Model(players=[d])
    w.generator.requires_grad_(False)
    Model(players=[d])


def test_a_player_whose_objective_does_not_mention_it():
    w = game()
    real = E(w.p_data, w.d(values("x")))
    d, _ = w.players()
    with pytest.raises(TrainingError, match=r"player 'g': .* not in the loss, so it would never"):
        Model(players=[d, Player("g", minimise=real, over=[w.p_g])])


def test_a_player_whom_no_gradient_reaches():
    """Another player's parameters may be cut from it; its own may not."""
    w = game()
    d, _ = w.players()
    lost = E(w.p_g, w.d(values("x")).detach()) + E(w.p_data, w.d(values("x")))
    model = Model(players=[d, Player("g", minimise=lost, over=[w.p_g])])
    with pytest.raises(GradientError, match="player 'g': .*no gradient"):
        model.train({"x": w.x})


def test_a_shared_parameter_needs_turns():
    w = game()
    players = [
        Player("d", maximise=w.value, over=[w.d]),
        Player("g", minimise=w.value, over=[w.p_g, w.d]),
    ]
    with pytest.raises(TrainingError, match="'d' and 'g' train one parameter"):
        Model(players=players, order="together")
    Model(players=players).train({"x": w.x})


class TwoHeads(nn.Module):
    """A trunk with two heads, as a network of each."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.a, self.b, self.unused = (nn.Linear(3, 3) for _ in range(4))

    def head(self, name: str) -> nn.Module:
        return nn.Sequential(self.trunk, getattr(self, name))


def test_a_head_that_another_player_uses():
    """A network of two players, each of whose losses uses one head, is legal; an unused one not."""
    torch.manual_seed(0)
    both, data = TwoHeads(), EmpiricalDistribution(["x"])
    a, b = (Function(both.head(n), name=n) for n in ("a", "b"))
    x = values("x")

    def players(*over):
        return [
            Player("a", minimise=E(data, sqnorm(a(x))), over=over),
            Player("b", minimise=E(data, sqnorm(b(x))), over=over),
        ]

    model = Model(players=players(both.trunk, both.a, both.b))
    before = [p.clone() for p in (both.trunk.weight, both.a.weight, both.b.weight)]
    model.train({"x": torch.randn(4, 3)})
    after = (both.trunk.weight, both.a.weight, both.b.weight)
    assert not any(torch.equal(p, q) for p, q in zip(before, after, strict=True))
    with pytest.raises(GradientError, match=r"player 'b': .*no gradient reaches"):
        Model(players=players(both)).train({"x": torch.randn(4, 3)})


def test_rows_are_left():
    p = Normal(loc=nn.Parameter(torch.zeros(2)), scale=1.0, var=["x"], name="p")
    with pytest.raises(TrainingError, match="player 'p': log p.x. has one value per row"):
        Model(players=[Player("p", maximise=p.log_prob(), over=[p])])


def test_a_game_is_no_term():
    w = game()
    with pytest.raises(ScopeError, match="is a game, with one value for each player"):
        (2 * w.model().loss).eval({"x": w.x})


# -- the equation ---------------------------------------------------------------------------------
def test_a_saddle_point():
    w = game()
    found = w.model().loss
    assert str(
        found
    ) == "min_g max_d E_{p_data(x)}[log(d(x))] + E_{p_g(x)}[log(1 - d(x))]".replace(
        "p_data", "p_{data}"
    )
    assert found.latex().startswith(r"\min_{g} \max_{d} \mathbb{E}_{p_{data}(x)}")
    assert "<munder><mi>min</mi><mrow><mi>g</mi></mrow></munder>" in found.mathml()


def test_terms_that_a_player_has_no_part_in_are_left_out():
    """Triple-GAN: the classifier's own term stands in the game, the critic does not see it."""
    torch.manual_seed(0)
    u = Normal(loc=nn.Parameter(torch.zeros(3)), scale=1.0, var=["x"], name="p_c")
    d, x = Function(nn.Linear(3, 1), name="d"), values("x")
    data = EmpiricalDistribution(["x"])
    v = E(data, d(x)) - E(u, d(x))
    model = Model(
        players=[
            Player("d", maximise=v, over=[d]),
            Player("c", minimise=v - E(data, u.log_prob()), over=[u]),
        ]
    )
    assert str(model.loss) == (
        "min_c max_d E_{p_{data}(x)}[d(x)] - E_{p_c(x)}[d(x)] - E_{p_{data}(x)}[log p_c(x)]"
    )


def test_objectives_that_are_no_saddle_point():
    """WGAN-GP: both minimise, so each objective stands alone."""
    p_g = Implicit(nn.Linear(2, 3), var=["x_f"], noise=[2], name="p_g")
    f, x, xf = Function(nn.Linear(3, 1), name="f"), *values("x x_f")
    critic = E(p_g, f(xf)) - E(EmpiricalDistribution(["x"]), f(x)) + E(p_g, norm(f.grad(xf)))
    model = Model(
        players=[
            Player("f", minimise=critic, over=[f], steps=5),
            Player("g", minimise=-E(p_g, f(xf)), over=[p_g]),
        ]
    )
    assert str(model.loss) == (
        "f: min E_{p_g(x_f)}[f(x_f)] - E_{p_{data}(x)}[f(x)] + E_{p_g(x_f)}[||∇f(x_f)||];  "
        "g: min -E_{p_g(x_f)}[f(x_f)]"
    )
    assert r"f: \; \min \; \mathbb{E}" in model.loss.latex()
    assert "<mo>:</mo><mi>min</mi>" in model.loss.mathml()


def test_a_player_that_was_frozen_whole_is_told_so():
    """Frozen between two steps: the cause is named, and nothing is freed or trained."""
    w = game()
    model = w.model()
    model.train({"x": w.x})
    w.critic.requires_grad_(False)
    before = [p.clone() for p in w.critic.parameters()]
    with pytest.raises(
        TrainingError, match=r"player 'd': every parameter .* is frozen.*requires_"
    ):
        model.train({"x": w.x})
    assert not any(p.requires_grad for p in w.critic.parameters())
    assert all(map(torch.equal, before, w.critic.parameters()))
