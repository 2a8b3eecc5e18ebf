"""Schedules feed parameters of a loss as tensors; where they stand is saved."""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError
from ancestral.distributions import Normal
from ancestral.losses import KL, E, Parameter
from ancestral.models import Model, Player
from ancestral.runtime import compiled
from tests.models.parts import draws, parts, same, weights

HALVES = {"beta": lambda step: step / 2}


def annealed(w, **options):
    """A VAE whose divergence has the weight beta."""
    loss = (Parameter("beta") * KL(w.q, w.prior) - E(w.q, w.p.log_prob())).mean()
    return Model(loss, distributions=[w.p, w.q], **options)


def test_a_schedule_is_the_value_given_by_hand():
    v, w = parts(torch.float64), parts(torch.float64)
    noise = draws(5, w)
    by_hand, scheduled = annealed(v), annealed(w, schedules=HALVES)
    for step, eps in enumerate(noise):
        one = by_hand.train({"x": v.x}, noise={"z": eps}, beta=step / 2)
        other = scheduled.train({"x": w.x}, noise={"z": eps})
        assert torch.equal(one, other)
        assert torch.equal(
            by_hand.test({"x": v.x}, noise={"z": eps}, beta=(step + 1) / 2),
            scheduled.test({"x": w.x}, noise={"z": eps}),
        )
    assert same(weights(by_hand.distributions), weights(scheduled.distributions))


def test_a_value_that_is_given_wins():
    w = parts()
    model, noise = annealed(w, schedules=HALVES), draws(1, w)[0]
    assert model.test({"x": w.x}, noise={"z": noise}, beta=7.0) == annealed(w).test(
        {"x": w.x}, noise={"z": noise}, beta=7.0
    )


def test_one_text_and_one_graph_for_all_values(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()
    w = parts()
    model = annealed(w, schedules=HALVES, compile=True)
    with torch.compiler.set_stance("default"):
        for _ in range(3):
            model.train({"x": w.x})
        with torch.compiler.set_stance("fail_on_recompile"):
            for _ in range(3):
                model.train({"x": w.x})
    function = model._steps.of(model._turns[0])
    assert len(function._steps) == 1
    torch._dynamo.reset()


def test_where_it_stands_is_saved_and_copied(tmp_path):
    w = parts()
    model = annealed(w, schedules=HALVES)
    for _ in range(3):
        model.train({"x": w.x})
    model.save(tmp_path)
    other = annealed(parts(seed=1), schedules=HALVES)
    other.load(tmp_path)
    seen = []
    for m in (model, other, copy.deepcopy(model)):
        m.schedules.functions["beta"] = lambda step: seen.append(step) or 1.0
        m.train({"x": w.x})
    assert seen == [3, 3, 3]


def test_fit_needs_no_data_for_it():
    w = parts()
    model = annealed(w, schedules=HALVES)
    model.fit({"x": w.x}, 2, batch_size=4, progress=False, validation={"x": w.x})
    assert int(model.schedules.steps) == 4


def test_players_see_one_value_in_a_round():
    p, q = (
        Normal(loc=nn.Parameter(torch.zeros(2)), scale=1.0, var=[v], name=v) for v in ("a", "b")
    )
    zero = Normal(loc=0.0, scale=1.0, var=["a"], features_shape=[2], name="p_0")
    seen = []
    model = Model(
        players=[
            Player("p", minimise=Parameter("beta") * KL(p, zero), over=[p], steps=2),
            Player("q", minimise=KL(q, zero.replace_var(a="b")), over=[q]),
        ],
        schedules={"beta": lambda step: seen.append(step) or 1.0},
    )
    for _ in range(6):
        model.play_next({})
    model.train({})
    assert seen == [0, 0, 0, 1, 1, 1, 2]
    assert int(model.schedules.steps) == 3


def test_mistakes_are_named():
    w = parts()
    with pytest.raises(OptionError, match=r"has no parameter 'bta'; did you mean 'beta'\?"):
        annealed(w, schedules={"bta": lambda step: 1.0})
    with pytest.raises(OptionError, match="takes a function of the step"):
        annealed(w, schedules={"beta": 0.5})
