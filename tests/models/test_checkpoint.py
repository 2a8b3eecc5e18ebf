"""Model.save and Model.load: what comes back."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E
from ancestral.models import Model
from tests.models.checkpoints import MANIFEST, WEIGHTS, trained, value
from tests.models.parts import LATENT, PIXELS, parts, same, weights


@pytest.mark.parametrize("kind", [str, Path])
def test_round_trip(tmp_path, kind):
    model, x, eps = trained()
    folder = kind(tmp_path / "a folder" / "モデル")
    model.save(folder)
    other, _, _ = trained(seed=1)
    assert value(other, x, eps) != value(model, x, eps)
    other.load(folder)
    assert value(other, x, eps) == value(model, x, eps)
    assert same(weights(model.distributions), weights(other.distributions))
    assert sorted(os.listdir(folder)) == [MANIFEST, WEIGHTS]


def test_training_goes_on_after_loading(saved):
    model, x, eps = trained(seed=1)
    model.load(saved)
    before = weights(model.distributions)
    model.train({"x": x}, noise={"z": eps})
    assert not same(before, weights(model.distributions))
    held = {id(p) for g in model.optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in model.trained}


def with_prior(loc, scale=1.0) -> Model:
    w = parts(torch.float64)
    prior = Normal(loc=loc, scale=scale, var=["z"], features_shape=[LATENT], name="prior")
    loss = -(E(w.q, w.p.log_prob()) - KL(w.q, prior.double())).mean()
    return Model(loss=loss, distributions=[w.p, w.q])


@pytest.mark.parametrize("used", [False, True])
def test_constants_come_back_and_are_used(tmp_path, used):
    """Built at 1, saved at 0: the closed form is again that of a standard normal; and reversed."""
    _, x, eps = trained()
    for saved_at, built_at in ((0.0, 1.0), (1.0, 0.0), ([0.0, 2.0], [1.0, 1.0])):
        model = with_prior(torch.tensor(saved_at))
        expected = value(model, x, eps)
        model.save(tmp_path)
        other = with_prior(torch.tensor(built_at))
        if used:
            for _ in range(2):
                assert value(other, x, eps) != pytest.approx(expected, rel=1e-3)
        other.load(tmp_path)
        for _ in range(2):
            assert value(other, x, eps) == pytest.approx(expected, rel=1e-14)


def test_tensors_of_any_layout(tmp_path):
    def build(scale: float) -> tuple[Normal, Model]:
        loc = scale * torch.arange(6.0).reshape(2, 3)
        p = Normal(var=["x"], loc=loc.t(), scale=torch.tensor(scale).expand(3, 2), name="p")
        q = Normal(var=["x"], loc=nn.Parameter(loc.t()), scale=1.0, name="q")
        return p, Model(loss=KL(q, p).mean())

    p, model = build(2.0)
    model.save(tmp_path)
    other, loaded = build(1.0)
    loaded.load(tmp_path)
    assert torch.equal(other.loc, p.loc)
    assert torch.equal(other.scale, p.scale)
    assert float(loaded.test()) == float(model.test())


def test_two_laws_from_one_tensor_stay_apart(tmp_path):
    shared = torch.zeros(2)
    q = Normal(var=["x"], loc=nn.Parameter(torch.zeros(2)), scale=1.0, name="q")
    a = Normal(var=["x"], loc=shared, scale=1.0, name="a")
    b = Normal(var=["x"], loc=shared, scale=1.0, name="b")
    model = Model(loss=(KL(q, a) + KL(q, b)).mean())
    model.save(tmp_path)
    model.load(tmp_path)
    a.loc.fill_(1.0)
    assert b.loc.tolist() == [0.0, 0.0]


def test_tied_weights_stay_tied(tmp_path):
    def build(seed: int) -> tuple[nn.Linear, nn.Linear, Model]:
        torch.manual_seed(seed)
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.weight = first.weight
        p = Normal(var=["x"], cond_var=["z"], net=nn.Sequential(first, nn.Linear(3, 6)), name="p")
        r = Normal(var=["y"], cond_var=["z"], net=nn.Sequential(second, nn.Linear(3, 6)), name="r")
        return first, second, Model(loss=-(p.log_prob() + r.log_prob()).mean())

    first, _, model = build(0)
    model.save(tmp_path)
    other, tied, loaded = build(1)
    loaded.load(tmp_path)
    assert other.weight is tied.weight
    assert torch.equal(first.weight, other.weight)
    assert len(loaded.trained) == len(model.trained)


def test_statistics_and_frozen_networks(tmp_path):
    def build(seed: int) -> Model:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(PIXELS, 4), nn.BatchNorm1d(4), nn.Linear(4, 2 * LATENT))
        q = Normal(var=["z"], cond_var=["x"], net=net, name="q")
        p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(LATENT, PIXELS), name="p")
        q.requires_grad_(False)
        return Model(loss=-E(q, p.log_prob()).mean(), distributions=[p])

    x, eps = parts().x, torch.randn(8, LATENT)
    model = build(0)
    for _ in range(3):
        model.train({"x": x})
    model.save(tmp_path)
    other = build(1)
    other.load(tmp_path)
    assert value(other, x, eps) == value(model, x, eps)


def test_another_precision(saved):
    """As with torch's load_state_dict, values are converted to the model's precision."""
    w = parts(torch.float32, seed=1)
    w.model().load(saved)
    model, _, _ = trained()
    torch.testing.assert_close(
        w.q.fc1.weight.double(), model.trained[4].double(), rtol=1e-6, atol=0
    )
    assert w.q.fc1.weight.dtype == torch.float32


def test_a_number_in_the_loss(tmp_path):
    def build(start: float) -> tuple[nn.Parameter, Model]:
        weight = nn.Parameter(torch.tensor(start))
        return weight, Model(loss=weight * parts().loss)

    _, model = build(2.0)
    model.save(tmp_path)
    weight, other = build(3.0)
    other.load(tmp_path)
    assert weight.item() == 2.0
