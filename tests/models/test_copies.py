"""A model is copied, pickled and thrown away like any object of torch."""

import copy
import gc
import math
import pickle
import weakref

import pytest
import torch

from ancestral.core.errors import AncestralError, PlugInWarning
from ancestral.losses import E
from ancestral.models import Model
from tests.models.parts import draws, parts, same, weights


def test_a_copy_has_weights_of_its_own():
    w = parts(torch.float64)
    model = w.model()
    model.train({"x": w.x})
    other = copy.deepcopy(model)
    assert not {id(p) for p in model.trained} & {id(p) for p in other.trained}
    assert same(weights(model.distributions), weights(other.distributions))
    before = weights(model.distributions)
    other.train({"x": w.x})
    assert same(before, weights(model.distributions))
    assert not same(before, weights(other.distributions))
    held = {id(p) for g in other.optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in other.trained}


def test_a_copy_goes_on_where_the_model_was():
    """Adam's moments too: both take the same further steps, in any order."""
    w = parts(torch.float64)
    model = w.model(optimizer_params={"lr": 0.05})
    eps = draws(6, w)
    for e in eps[:3]:
        model.train({"x": w.x}, noise={"z": e})
    other = copy.deepcopy(model)
    a = [float(other.train({"x": w.x}, noise={"z": e})) for e in eps[3:]]
    b = [float(model.train({"x": w.x}, noise={"z": e})) for e in eps[3:]]
    assert a == b
    assert same(weights(model.distributions), weights(other.distributions))


def test_a_copy_is_of_the_same_equation():
    model = parts().model()
    other = copy.deepcopy(model)
    assert repr(other) == repr(model)
    assert other.test_loss is other.loss
    other.set_loss(2 * other.loss)
    assert str(model.loss) != str(other.loss)


def test_a_fixed_law_is_copied_too():
    w = parts()
    other = copy.deepcopy(w.model())
    w.prior.loc.fill_(5.0)
    (prior,) = (m for m in other._state["fixed"] if m.name == "p_{prior}")
    assert float(prior.loc) == 0.0


def test_pickle():
    w = parts(torch.float64)
    model = w.model()
    eps = draws(4, w)
    for e in eps[:2]:
        model.train({"x": w.x}, noise={"z": e})
    other = pickle.loads(pickle.dumps(model))
    a = [float(other.train({"x": w.x}, noise={"z": e})) for e in eps[2:]]
    b = [float(model.train({"x": w.x}, noise={"z": e})) for e in eps[2:]]
    assert a == b


def test_a_plug_in_estimate_is_said_once(tmp_path):
    """When the model is built; neither at a step nor by a copy (warnings are errors here)."""
    w = parts()
    bound = (E(w.q, w.p.log_prob()) / 10).exp()
    with pytest.warns(PlugInWarning) as said:
        model = Model(loss=-bound.mean(), distributions=[w.p, w.q])
    assert len(said) == 1
    model.train({"x": w.x})
    model.test({"x": w.x})
    model.save(tmp_path)
    model.load(tmp_path)
    model.train({"x": w.x})
    w.p.fc1.requires_grad_(False)
    model.train({"x": w.x})
    copy.deepcopy(model).train({"x": w.x})
    with pytest.warns(PlugInWarning):
        model.set_loss(2 * model.loss)


def test_a_history_is_pickled():
    w = parts()
    history = w.model().fit({"x": w.x}, 2, progress=False)
    assert pickle.loads(pickle.dumps(history)).records == history.records


def _used(kind: str):
    """A model that has been through something, and weak references to all of it."""
    w = parts()
    model = w.model()
    model.train({"x": w.x})
    if kind == "tested":
        model.test({"x": w.x})
    if kind == "fitted":
        model.fit({"x": w.x}, 2, validation={"x": w.x}, progress=False)
    if kind == "saw an error":
        for wrong in (w.x[:, :5], w.x * math.nan, {"y": w.x}):
            with pytest.raises(AncestralError):
                model.train({"x": wrong} if isinstance(wrong, torch.Tensor) else wrong)
    if kind == "copied":
        copy.deepcopy(model)
    parameter = weakref.ref(w.q.fc1.weight)
    return model, [weakref.ref(o) for o in (model, w.p, w.q, w.prior, w.x, w.elbo)] + [parameter]


@pytest.mark.parametrize("kind", ["trained", "tested", "fitted", "saw an error", "copied"])
def test_nothing_stays_alive(kind):
    model, references = _used(kind)
    assert all(r() is not None for r in references[:3])
    del model
    gc.collect()
    assert [r() for r in references] == [None] * len(references)


@pytest.mark.parametrize("kind", ["trained", "tested", "fitted"])
def test_nothing_waits_for_the_collector(kind):
    """Weights go when the last name of them goes: on an accelerator memory is scarce."""
    gc.collect()
    gc.disable()
    try:
        model, references = _used(kind)
        del model
        assert [r() for r in references] == [None] * len(references)
    finally:
        gc.enable()


def test_a_batch_does_not_outlive_its_step():
    w = parts()
    model = w.model()
    for _ in range(3):
        batch = {"x": (torch.rand(8, 6) > 0.5).float()}
        reference = weakref.ref(batch["x"])
        model.train(batch)
        del batch
        gc.collect()
        assert reference() is None
