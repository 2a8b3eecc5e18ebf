"""Players: each trains its own parameters on its own objective, in turn or together."""

import copy
import functools
import pickle

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError
from ancestral.distributions import Normal
from ancestral.losses import E, Parameter, sqnorm, values
from ancestral.models import Model, Player
from ancestral.runtime import compiled
from tests.models.games import NOISE, by_hand, calls_of, flat, game
from tests.models.parts import same, weights


@pytest.mark.parametrize(
    ("order", "steps", "plan"),
    [("in turn", 1, ["d", "g"]), ("in turn", 2, ["d", "d", "g"]), ("together", 1, ["dg"])],
)
def test_steps_equal_a_loop_by_hand(order, steps, plan):
    """Values and weights over twelve evaluations, by Adam, to rounding in float64."""
    w = game()
    noise = w.noises(12)
    values, last = by_hand(w, noise, plan)
    model = w.model(order, steps)
    told = [model.play_next({"x": w.x}, noise={NOISE: e}) for e in noise]
    assert [list(t) for t in told] == [list(plan[i % len(plan)]) for i in range(12)]
    found = [float(next(iter(t.values()))) for t in told]
    assert found == pytest.approx(values, rel=1e-12)
    torch.testing.assert_close(flat(w), last, rtol=1e-10, atol=1e-12)


def test_train_uses_one_batch_for_all():
    """A round is the evaluations of both players on that batch, each on draws of its own."""
    w = game()
    draws = torch.Generator().manual_seed(3)
    noise = [torch.randn(6, 2, dtype=torch.float64, generator=draws) for _ in range(2)]
    hand, _ = by_hand(w, noise, ["d", "g"])
    found = w.model().train({"x": w.x}, generator=torch.Generator().manual_seed(3))
    assert list(found) == ["d", "g"]
    assert [float(v) for v in found.values()] == pytest.approx(hand, rel=1e-13)


def test_together_is_two_detached_evaluations_to_the_bit():
    w, v = game(), game()
    noise = w.noises(1)[0]
    w.model("together").train({"x": w.x}, noise={NOISE: noise})
    found = {}
    for name, sign, own in (("d", -1, v.critic), ("g", 1, v.generator)):
        fake = v.generator(noise)
        fake = fake.detach() if name == "d" else fake
        value = v.critic(v.x).log().mean() + (1 - v.critic(fake)).log().mean()
        found[name] = torch.autograd.grad(sign * value, list(own.parameters()))
    for own, grads in ((w.critic, found["d"]), (w.generator, found["g"])):
        for p, g in zip(own.parameters(), grads, strict=True):
            assert torch.equal(p.grad, g)


def test_passes_and_graphs_in_turn():
    """The critic's turn keeps no graph of the fake; the generator's none of the critic at data."""
    w = game()
    model = w.model()
    real, fake = [("D", 6, True)], [("G", 6, False), ("D", 6, True)]
    d_turn = real + fake
    g_turn = [("D", 6, False), ("G", 6, True), ("D", 6, True)]
    for _ in range(2):  # by the interpreter, then by the text
        found = calls_of(w, lambda: model.train({"x": w.x}))
        assert sorted(found[:3]) == sorted(d_turn)
        assert sorted(found[3:]) == sorted(g_turn)


def test_passes_together():
    w = game()
    model = w.model("together")
    for _ in range(2):
        found = calls_of(w, lambda: model.train({"x": w.x}))
        assert sorted(found) == [("D", 6, True), ("D", 6, True), ("G", 6, True)]


def test_other_players_receive_no_gradient():
    w = game()
    model = w.model()
    model.play_next({"x": w.x})
    assert all(p.grad is None for p in w.generator.parameters())
    assert all(p.grad is not None for p in w.critic.parameters())
    before = [p.grad.clone() for p in w.critic.parameters()]
    model.play_next({"x": w.x})
    assert all(torch.equal(p.grad, g) for p, g in zip(w.critic.parameters(), before, strict=True))
    assert all(p.requires_grad for p in model.trained)


def test_an_error_leaves_all_parameters_trainable():
    w = game()
    model = w.model()
    with pytest.raises(ValueError, match=r"player 'd': .*x"):
        model.train({"x": torch.full_like(w.x, torch.nan)})
    assert all(p.requires_grad for p in model.trained)


def test_what_is_not_finite_is_named_with_its_player():
    w = game()
    model = w.model()
    model.train({"x": w.x}), model.train({"x": w.x})
    with torch.no_grad():
        w.critic[2].weight.fill_(torch.inf)
    with pytest.raises(ValueError, match=r"player 'd': .*2.weight of Sequential is not"):
        model.train({"x": w.x})


def test_fit_fetches_one_batch_for_each_step(monkeypatch):
    """Over three epochs of five batches the order d, d, g goes on where it was."""
    w = game()
    model = w.model(steps=2)
    order, play = [], Model._play
    monkeypatch.setattr(
        Model,
        "_play",
        lambda self, i, given: order.append(self._cycle[i].name) or play(self, i, given),
    )
    history = model.fit({"x": torch.randn(10, 3).double()}, 3, batch_size=2, progress=False)
    assert order == (["d", "d", "g"] * 5)
    assert len(history["d"]) == len(history["g"]) == 3
    assert history["loss"][0] == {"d": history["d"][0], "g": history["g"][0]}


def test_validation_and_progress_tell_of_each_player(capsys):
    w = game()
    data = {"x": torch.randn(8, 3).double()}
    history = w.model().fit(data, 2, batch_size=4, validation=data)
    assert set(history["validation"][0]) == {"d", "g"}
    shown = capsys.readouterr().err
    assert "loss d -1." in shown
    assert "validation d -1." in shown
    assert "with loss d -1" in repr(history)


def test_the_test_gives_each_objective_and_changes_nothing():
    w = game()
    model = w.model()
    before = weights(model.distributions)
    found = model.test({"x": w.x}, noise={NOISE: w.noises(1)[0]})
    assert found["d"] == found["g"]
    assert not found["d"].requires_grad
    assert same(before, weights(model.distributions))
    other = Model(players=w.players(), test_loss=E(w.p_g, w.d(values("x"))))
    assert 0 < other.test({"x": w.x}) < 1


def test_copies_pickles_and_files(tmp_path):
    w = game()
    model = w.model()
    model.train({"x": w.x})
    model.save(tmp_path)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(other) == repr(model)
        held = {
            id(p) for o in other.optimizers.values() for g in o.param_groups for p in g["params"]
        }
        assert held == {id(p) for p in other.trained}
        draws = [torch.Generator().manual_seed(1) for _ in range(2)]
        twin = copy.deepcopy(model)
        assert other.train({"x": w.x}, generator=draws[0]) == twin.train(
            {"x": w.x}, generator=draws[1]
        )
        assert same(weights(other.distributions), weights(twin.distributions))
    saved = weights(model.distributions)
    model.train({"x": w.x})
    model.load(tmp_path)
    assert same(saved, weights(model.distributions))


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize(
    ("order", "compile"),
    [("in turn", "eager"), ("in turn", "gradient"), ("together", "eager")],
)
def test_each_player_has_a_graph_of_its_own(order, compile, monkeypatch):
    """Captured rounds equal eager ones; that compilers are right is tested elsewhere.

    Players who play together have one graph, with all their gradients in it.
    """
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()
    found = []
    for choice in (False, compile):
        model, x = game().model(order, compile=choice), game().x
        with torch.random.fork_rng():
            torch.manual_seed(7)
            found.append([float(v) for _ in range(3) for v in model.train({"x": x}).values()])
    assert found[0] == pytest.approx(found[1], rel=1e-9)
    torch._dynamo.reset()


def test_weights_are_clipped_after_each_step():
    w = game()
    model = Model(players=[
        Player("d", maximise=w.value, over=[w.d], clip_weights=0.01),
        Player("g", minimise=w.value, over=[w.p_g]),
    ])  # fmt: skip
    model.train({"x": w.x})
    assert max(float(p.detach().abs().max()) for p in w.critic.parameters()) == 0.01
    assert max(float(p.detach().abs().max()) for p in w.generator.parameters()) > 0.1


def test_players_have_optimizers_of_their_own():
    w = game()
    d, g = w.players(optimizer=torch.optim.SGD, optimizer_params={"lr": 0.5})
    model = Model(players=[d, g], optimizer_params={"lr": 0.1, "betas": (0.5, 0.9)})
    assert isinstance(model.optimizers["d"], torch.optim.SGD)
    assert model.optimizers["g"].param_groups[0]["betas"] == (0.5, 0.9)
    made = functools.partial(torch.optim.AdamW, lr=0.2)
    model = Model(players=[d, g], optimizer=made)
    assert isinstance(model.optimizers["g"], torch.optim.AdamW)


def test_noise_and_scalars_go_to_whom_they_concern():
    p = Normal(loc=nn.Parameter(torch.zeros(2)), scale=1.0, var=["a"], name="p")
    q = Normal(loc=nn.Parameter(torch.zeros(2)), scale=1.0, var=["b"], name="q")
    a, b = values("a b")
    model = Model(
        players=[
            Player("p", minimise=E(p, Parameter("beta") * sqnorm(a)), over=[p]),
            Player("q", maximise=E(q, sqnorm(b)), over=[q]),
        ]
    )
    noise = {"a": torch.ones(1, 2), "b": -torch.ones(1, 2)}
    found = model.train(beta=3.0, noise=noise)
    assert {k: float(v) for k, v in found.items()} == {"p": 6.0, "q": 2.0}
    with pytest.raises(OptionError, match="no parameter or option 'bta'"):
        model.train(bta=3.0)
    with pytest.raises(OptionError, match="makes no such draw"):
        model.train(beta=3.0, noise={"c": torch.ones(1, 2)})


def test_freezing_a_player_between_steps():
    w = game()
    model = w.model()
    model.train({"x": w.x})
    w.critic[0].bias.requires_grad_(False)
    before = w.critic[0].bias.clone()
    model.train({"x": w.x})
    assert torch.equal(before, w.critic[0].bias)
    assert not w.critic[0].bias.requires_grad
    w.critic[0].bias.requires_grad_(True)
    model.train({"x": w.x})
    assert not torch.equal(before, w.critic[0].bias)
