"""Model.fit: whole runs over the forms of data that people have."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ancestral.distributions import EmpiricalDistribution, Normal
from ancestral.losses import KL, E, Parameter
from ancestral.models import Model
from tests.models.parts import Parts, parts, quiet, same, weights

N = 50


class Named(Dataset):
    """Rows as dicts, with an entry that no loss knows."""

    def __init__(self, x) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i):
        return {"path": f"{i}.png", "label": i, "x": self.x[i]}


def frozen(w: Parts, **options) -> Model:
    """A model whose step changes nothing."""
    return w.model(optimizer=torch.optim.SGD, optimizer_params={"lr": 0.0}, **options)


def expected(w: Parts, x) -> float:
    """Minus the closed-form part of the ELBO, which has no noise, averaged over rows."""
    return KL(w.q, w.prior).mean().eval({"x": x}).item()


FORMS = {
    "a dict": lambda x: ({"x": x}, {}),
    "a dict with more in it": lambda x: (
        {"names": torch.arange(3), "x": x, "y": torch.zeros(len(x)), "note": "digits"},
        {},
    ),
    "a tuple": lambda x: ((x,), {"vars": ("x",)}),
    "a tuple, one name": lambda x: ((x,), {"vars": "x"}),
    "a list with more in it": lambda x: ([x, torch.arange(3)], {"vars": ["x"]}),
    "a loader of tuples": lambda x: (
        DataLoader(TensorDataset(x, torch.arange(len(x))), batch_size=16),
        {"vars": ("x", "y")},
    ),
    "a loader of dicts": lambda x: (DataLoader(Named(x), batch_size=16), {}),
    "batches one by one": lambda x: (iter([{"x": x[:16]}, {"x": x[16:]}]), {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_data(name):
    """The last batch is short, and counts by its rows: the mean is that over all data."""
    w = parts(torch.float64, rows=N)
    data, options = FORMS[name](w.x)
    held, _ = FORMS[name](w.x[:21])
    history = quiet(w).fit(data, 1, batch_size=16, validation=held, progress=False, **options)
    assert history["loss"] == [pytest.approx(expected(w, w.x), rel=1e-12)]
    assert history["validation"] == [pytest.approx(expected(w, w.x[:21]), rel=1e-12)]


def test_a_mean_over_batches_would_be_another():
    w = parts(torch.float64, rows=N)
    batches = [expected(w, w.x[i : i + 16]) for i in range(0, N, 16)]
    assert sum(batches) / len(batches) != pytest.approx(expected(w, w.x), rel=1e-6)


def test_it_learns():
    w = parts(rows=64)
    w.x[:, 3:] = w.x[:, :3]  # something to learn
    model = w.model(optimizer_params={"lr": 0.02})
    history = model.fit({"x": w.x}, 60, batch_size=32, validation={"x": w.x}, progress=False)
    assert len(history) == 60
    assert history["loss"][-1] < history["loss"][0] - 0.3
    assert history["validation"][-1] < history["validation"][0] - 0.3
    assert history["epoch"] == list(range(1, 61))
    assert all(s > 0 for s in history["seconds"])


def test_no_epochs():
    w = parts()
    before = weights(w.q)
    history = w.model().fit({"x": w.x}, 0, validation={"x": w.x})
    assert history.records == []
    assert len(history) == 0
    assert same(before, weights(w.q))


def test_without_validation():
    w = parts()
    assert w.model().fit({"x": w.x}, 2, progress=False)["validation"] == [None, None]


# -- order and randomness ---------------------------------------------------------------------
def order_of(**options) -> list[list[int]]:
    """The rows of each epoch, in the order in which they come."""
    w = parts(rows=10)
    seen: list[int] = []

    def look(batch):
        seen.extend(batch["row"].tolist())
        return batch

    data = {"x": w.x, "row": torch.arange(10)}
    torch.manual_seed(5)
    quiet(w).fit(data, 2, batch_size=4, transform=look, progress=False, **options)
    return [seen[:10], seen[10:]]


def test_shuffling():
    first, second = order_of()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != list(range(10))
    assert order_of(shuffle=False) == [list(range(10))] * 2


def test_held_out_data_do_not_disturb_the_order():
    assert order_of(validation={"x": parts(rows=7).x}) == order_of()


def test_a_generator_orders_the_rows():
    def generator(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    assert order_of(generator=generator(1)) == order_of(generator=generator(1))
    assert order_of(generator=generator(1)) != order_of(generator=generator(2))


def run(default: int, own: int | None) -> list[float]:
    w = parts(rows=20)
    torch.manual_seed(default)
    g = None if own is None else torch.Generator().manual_seed(own)
    return w.model().fit(
        {"x": w.x}, 3, batch_size=8, generator=g, validation={"x": w.x}, progress=False
    )["loss"]


def test_the_same_seed_gives_the_same_run():
    assert run(1, None) == run(1, None)
    assert run(1, None) != run(2, None)
    assert run(1, 7) == run(2, 7), "order and draws are the generator's"
    assert run(1, 7) != run(1, 8)


# -- transform, scalars, callbacks ------------------------------------------------------------
def test_a_transform_may_make_what_the_loss_needs():
    w = parts(torch.float64, rows=N)
    data = {"image": w.x * 2, "ids": torch.arange(N)}
    seen = []

    def halve(batch):
        seen.append({k: tuple(v.shape) for k, v in batch.items()})
        return {"x": batch["image"] / 2}

    model = quiet(w)
    history = model.fit(data, 1, transform=halve, batch_size=30, progress=False)
    assert history["loss"] == [pytest.approx(expected(w, w.x), rel=1e-12)]
    assert seen == [{"image": (30, 6), "ids": (30,)}, {"image": (20, 6), "ids": (20,)}]
    loader = DataLoader(TensorDataset(w.x * 2), batch_size=30)
    history = model.fit(loader, 1, vars=["image"], transform=halve, progress=False)
    assert history["loss"] == [pytest.approx(expected(w, w.x), rel=1e-12)]


def test_a_transform_sees_entries_of_any_size_as_they_are():
    w = parts(torch.float64, rows=N)
    table = torch.arange(3)

    def look(batch):
        assert batch["table"] is table
        assert batch["path"] == "a.png"
        return batch

    data = {"table": table, "x": w.x, "path": "a.png"}
    history = quiet(w).fit(data, 1, transform=look, batch_size=16, progress=False)
    assert history["loss"] == [pytest.approx(expected(w, w.x), rel=1e-12)]


def test_validation_is_not_transformed():
    w = parts(torch.float64, rows=N)
    history = quiet(w).fit(
        {"x": w.x},
        1,
        transform=lambda batch: {"x": 1 - batch["x"]},
        validation={"x": w.x},
        progress=False,
    )
    assert history["loss"] == [pytest.approx(expected(w, 1 - w.x), rel=1e-12)]
    assert history["validation"] == [pytest.approx(expected(w, w.x), rel=1e-12)]


@pytest.mark.parametrize("beta", [0.25, torch.tensor(0.25)])
@pytest.mark.parametrize("where", ["option", "data"])
def test_a_weight(beta, where):
    w = parts(torch.float64, rows=N)
    model = Model(
        loss=Parameter("beta") * KL(w.q, w.prior).mean(),
        test_loss=KL(w.q, w.prior).mean(),
        distributions=[w.q],
        optimizer_params={"lr": 0.0},
    )
    data, scalars = {"x": w.x}, {"beta": beta}
    if where == "data":
        data, scalars = {**scalars, **data}, {}
    history = model.fit(data, 1, validation={"x": w.x}, progress=False, **scalars)
    assert history["loss"] == [pytest.approx(0.25 * expected(w, w.x), rel=1e-12)]
    assert history["validation"] == [pytest.approx(expected(w, w.x), rel=1e-12)]


def test_a_test_loss_with_variables_of_its_own():
    w = parts(rows=N)
    p = Normal(var=["y"], cond_var=["x"], net=nn.Linear(6, 2), name="r")
    model = Model(loss=w.loss - p.log_prob().mean(), test_loss=w.loss)
    data = {"x": w.x, "y": torch.randn(N, 1)}
    assert len(model.fit(data, 1, validation={"x": w.x}, progress=False)) == 1


def test_callbacks():
    w = parts()
    model = w.model()
    seen = []
    history = model.fit(
        {"x": w.x},
        2,
        validation={"x": w.x},
        progress=False,
        callbacks=[lambda m, r: seen.append((m, r)), lambda m, r: r.update(more=1)],
    )
    assert [m for m, _ in seen] == [model, model]
    assert [r for _, r in seen] == history.records
    assert history["more"] == [1, 1]


def test_an_interrupt_leaves_the_model_as_it_is():
    w = parts(rows=20)
    model = w.model()
    count = 0

    def stop(batch):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return batch

    with pytest.raises(KeyboardInterrupt):
        model.fit({"x": w.x}, 9, batch_size=8, transform=stop, progress=False)
    assert {float(s["step"]) for s in model.optimizer.state.values()} == {3.0}
    assert math.isfinite(model.train({"x": w.x}))
    assert len(model.fit({"x": w.x}, 1, progress=False)) == 1


# -- devices and precision --------------------------------------------------------------------
@pytest.mark.parametrize("form", ["dict", "loader"])
def test_batches_go_to_the_device_of_the_laws(form, monkeypatch):
    w = parts(rows=N)
    model = quiet(w)
    w.q.to("meta")
    seen = []

    def train(batch, **options):
        seen.append((batch["x"].device.type, batch["x"].shape))
        return torch.zeros(())

    monkeypatch.setattr(model, "train", train)
    monkeypatch.setattr(model, "test", train)
    data = {"x": w.x} if form == "dict" else DataLoader(Named(w.x), batch_size=30)
    model.fit(data, 1, batch_size=30, validation=data, progress=False)
    assert seen == [("meta", (30, 6)), ("meta", (20, 6))] * 2


def test_half_precision_is_not_summed_in_half_precision(monkeypatch):
    w = parts(rows=1000)
    model = quiet(w)
    third = torch.tensor(1 / 3, dtype=torch.bfloat16)
    monkeypatch.setattr(model, "train", lambda batch, **options: third)
    history = model.fit({"x": w.x}, 1, batch_size=1, progress=False)
    assert history["loss"] == [pytest.approx(float(third), rel=1e-5)]


def test_frozen_and_noisy_runs_agree_in_the_mean():
    """With noise: the epoch's loss is the mean over rows of what train() returned."""
    w = parts(torch.float64, rows=N)
    model = frozen(w)
    returned = []
    train = model.train

    def remember(batch, **options):
        returned.append((float(train(batch, **options)), len(batch["x"])))
        return torch.tensor(returned[-1][0], dtype=torch.float64)

    model.train = remember  # type: ignore[method-assign]
    history = model.fit({"x": w.x}, 1, batch_size=16, progress=False)
    mean = sum(loss * n for loss, n in returned) / N
    assert [n for _, n in returned] == [16, 16, 16, 2]
    assert history["loss"] == [pytest.approx(mean, rel=1e-12)]


def test_an_expectation_over_data():
    """An E over an empirical law is a scalar; its rows still count."""
    w = parts(torch.float64, rows=N)
    data = EmpiricalDistribution(var=["x"])
    model = Model(
        loss=E(data, KL(w.q, w.prior)), distributions=[w.q], optimizer_params={"lr": 0.0}
    )
    history = model.fit({"x": w.x}, 1, batch_size=16, progress=False)
    assert history["loss"] == [pytest.approx(expected(w, w.x), rel=1e-12)]
