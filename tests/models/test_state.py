"""State: what steps hand to the next. The buffer of an energy's chains stands for all of it."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ancestral.core.errors import CheckpointError, ShapeError, TrainingError
from ancestral.distributions import EmpiricalDistribution, EnergyModel, Normal
from ancestral.losses import ContrastiveDivergence, E, Function, Parameter, PersistentCD, values
from ancestral.models import Model, Player
from ancestral.runtime import compiled
from ancestral.samplers import Langevin

NAME, KEPT, ROWS = "p(x).buffer", 12, 5
x = values("x")
p_data = EmpiricalDistribution(["x"])


class Well(nn.Module):
    """|w x|^2."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, value):
        return (self.w * value).square().sum(-1)


def plan(buffer=KEPT, **options):
    return PersistentCD(Langevin(steps=2, step_size=0.1), buffer=buffer, **options)


def energy_model(buffer=KEPT, **options):
    p = EnergyModel(var=["x"], net=Well())
    loss = -E(p_data, p.log_prob()).estimate({p: plan(buffer)})
    options = {"optimizer_params": {"lr": 0.01}, **options}
    return p, loss, Model(loss=loss, **options)


@pytest.fixture
def batch():
    return {"x": torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(0))}


def step(model, batch, seed=0):
    return model.train(batch, generator=torch.Generator().manual_seed(seed))


def test_a_step_takes_it_and_gives_it_back(batch):
    _, _, model = energy_model()
    assert model.state == {}
    for i in range(4):  # the interpreter, then the generated step
        before = model.state
        copied = {k: v.clone() for k, v in before.items()}
        step(model, batch, i)
        after = model.state[NAME]
        assert after.shape == (KEPT, 2)
        assert not after.requires_grad
        if before:
            changed = (after != before[NAME]).any(-1)
            assert changed.sum() == ROWS  # different entries, as many as rows
            assert torch.equal(before[NAME], copied[NAME])  # what was given is as it was


def test_it_goes_on_as_if_nothing_had_been_between(batch, tmp_path):
    """A save, a copy, a pickle, another batch size in between: the same steps to the bit."""
    _, _, model = energy_model(optimizer=torch.optim.SGD)
    for i in range(3):
        step(model, batch, i)
    model.save(tmp_path)
    twin, (_, _, loaded) = copy.deepcopy(model), energy_model(optimizer=torch.optim.SGD)
    loaded.load(tmp_path)
    pickled = pickle.loads(pickle.dumps(model))
    wanted = [step(model, batch, 7), step(model, {"x": batch["x"][:3]}, 8)]
    for other in (twin, loaded, pickled):
        assert [step(other, batch, 7), step(other, {"x": batch["x"][:3]}, 8)] == wanted
        assert torch.equal(other.state[NAME], model.state[NAME])
        assert other._carried is not model._carried


def test_what_was_not_saved_is_fresh(batch, tmp_path):
    _, _, model = energy_model()
    model.save(tmp_path)
    step(model, batch)
    model.load(tmp_path)
    assert model.state == {}
    step(model, batch)
    model.save(tmp_path)
    _, _, other = energy_model(buffer=2 * KEPT)
    with pytest.raises(
        CheckpointError, match=r"another shape.*p\(x\)\.buffer.*\[12, 2\].*\[24, 2\]"
    ):
        other.load(tmp_path)
    p = EnergyModel(var=["x"], net=Well())
    chosen = ContrastiveDivergence(Langevin(steps=2))
    plain = Model(loss=-E(p_data, p.log_prob()).estimate({p: chosen}))
    with pytest.raises(CheckpointError, match=r"unknown.*p\(x\)\.buffer"):
        plain.load(tmp_path)


def test_a_step_that_fails_leaves_it(batch):
    p, _, model = energy_model()
    step(model, batch)
    before = model.state[NAME]
    with torch.no_grad():
        p.energy.w[0] = torch.nan
    with pytest.raises(TrainingError):
        step(model, batch)
    assert torch.equal(model.state[NAME], before)


def test_it_follows_the_weights(batch):
    p, _, model = energy_model(optimizer=torch.optim.SGD)
    step(model, batch)
    p.double()
    assert model.state[NAME].dtype == torch.float64
    model.train({"x": batch["x"].double()})
    assert model._carried.values[NAME].dtype == torch.float64


def test_another_loss_with_other_sizes_makes_it_anew(batch):
    p, _, model = energy_model()
    step(model, batch)
    model.set_loss(-E(p_data, p.log_prob()).estimate({p: plan(2 * KEPT)}))
    step(model, batch)
    assert model.state[NAME].shape == (2 * KEPT, 2)


def test_the_test_reads_it_and_eval_does_not(batch):
    """Chains of no length to speak of end where they start: the buffer, or the initial law."""
    still = PersistentCD(Langevin(steps=1, step_size=1e-12), buffer=KEPT)
    energy = Function(Well(), name="E")
    start = Normal(loc=3.0, scale=0.1, var=["x"])
    p = EnergyModel(var=["x"], net=energy, initial=start, features_shape=[2])
    value = E(p.detach(), energy(x)).estimate({p: still})
    model = Model(loss=-E(p_data, p.log_prob()).estimate({p: still}), test_loss=value)
    step(model, batch)
    model._carried.values[NAME] = torch.zeros(KEPT, 2)
    for _ in range(2):
        assert model.test(batch) < 1e-6
        assert value.eval() > 20.0
    assert torch.equal(model.state[NAME], torch.zeros(KEPT, 2))


def test_more_rows_than_entries_are_refused(batch):
    _, _, model = energy_model(buffer=ROWS - 1)
    with pytest.raises(
        ShapeError, match="keeps 4 chains, but the batch asks for 5: give buffer=5"
    ):
        step(model, batch)
    _, _, model = energy_model(buffer=ROWS)
    for _ in range(3):
        step(model, batch)
    with pytest.raises(ShapeError, match="buffer=10"):
        step(model, {"x": torch.randn(2 * ROWS, 2)})


@pytest.mark.parametrize("order", ["in turn", "together"])
def test_players_share_it_by_name(order, batch):
    """A law of each player; each has a buffer, and each of its steps takes it up."""
    laws = {n: EnergyModel(var=["x"], net=Well(), name=n) for n in "pq"}
    players = [
        Player(n, maximise=E(p_data, p.log_prob()).estimate({p: plan()}), over=[p])
        for n, p in laws.items()
    ]
    model = Model(players=players, order=order)
    for i in range(3):
        before = model.state
        found = step(model, batch, i)
        assert set(found) == {"p", "q"}
        assert set(model.state) == {"p(x).buffer", "q(x).buffer"}
        for name, value in model.state.items():
            assert not before or (value != before[name]).any(-1).sum() == ROWS


def test_two_draws_in_one_step_take_it_up_in_turn(batch):
    energy = Function(Well(), name="E")
    p = EnergyModel(var=["x"], net=energy, features_shape=[2])
    product = E(p.detach(), energy(x)) * E(p.detach(), energy(x))
    loss = product.estimate({p: plan(2 * ROWS)})
    program = loss.program()
    assert [n for n in program.draws if n.startswith("x") and "." not in n] == ["x", "x#2"]
    assert list(program.kept) == [NAME]
    assert str(program).count("what the last step left") == 1
    model = Model(loss=loss, distributions=[energy])
    for _ in range(3):
        assert model.train(batch_n=ROWS).isfinite()


def test_fit_and_schedules_beside_it(batch):
    p = EnergyModel(var=["x"], net=Well())
    loss = -Parameter("beta") * E(p_data, p.log_prob()).estimate({p: plan()})
    model = Model(loss=loss, schedules={"beta": lambda i: 0.5})
    data = torch.randn(4 * ROWS, 2)
    model.fit({"x": data}, epochs=2, batch_size=ROWS, progress=False)
    assert model.state[NAME].shape == (KEPT, 2)


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize("choice", [True, "gradient"])
def test_a_compiled_step_is_the_same(choice, batch, monkeypatch):
    """Also where the gradient would be in the graph: what a step leaves comes with its value."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    found = []
    for how in (False, choice):
        _, _, model = energy_model(optimizer=torch.optim.SGD, compile=how)
        values = [step(model, batch, i).item() for i in range(4)]
        found.append((values, model.state[NAME]))
        function = model._steps.of(model._turns[0])
        if how:
            assert not next(iter(function._steps.values())).function.gave_up
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)
