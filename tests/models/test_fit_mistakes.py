"""Model.fit: data and options that it refuses, and what it says."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ancestral.core.errors import (
    DataError,
    MissingVariableError,
    OptionError,
    TrainingError,
    VariableError,
)
from ancestral.distributions import Normal
from ancestral.models import Model
from tests.models.parts import parts, quiet, same, weights


class Rows(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, i):
        return torch.zeros(6)


BOTH = r"fit\(\{'x': x\}, \.\.\.\), or fit\(\(x,\), \.\.\., vars=\('x',\)\)"
X = torch.zeros(8, 6)
MISTAKES = {
    "a bare tuple": ((X,), {}, DataError, f"got a tuple. Give {BOTH}"),
    "a bare tensor": (X, {}, DataError, f"got a Tensor. Give {BOTH}"),
    "a list of batches": ([{"x": X}], {}, DataError, BOTH),
    "a path": ("data.pt", {}, DataError, f"got a str. Give {BOTH}"),
    "nothing": (None, {}, DataError, f"got a NoneType. Give {BOTH}"),
    "a loader of tuples without names": (
        DataLoader(TensorDataset(X)),
        {},
        DataError,
        f"got a list. Give {BOTH}",
    ),
    "a data set without a loader": (Rows(), {}, DataError, r"got a Rows\. Wrap it: DataLoader"),
    "a tuple that is too short": ((X,), {"vars": ("x", "y")}, DataError, "names 2 tensors, got 1"),
    "a name twice": ((X, X), {"vars": ("x", "x")}, VariableError, "x twice"),
    "no rows": ({"x": X[:0]}, {}, DataError, "no rows; it is empty"),
    "an empty dict": ({}, {}, MissingVariableError, "needs x; the data has none"),
    "an empty loader": (DataLoader(Rows(), sampler=[]), {"vars": "x"}, DataError, "gave no batch"),
    "a batch without rows": (
        iter([{"x": X}, {"x": X[:0]}]),
        {},
        DataError,
        "a batch has no rows",
    ),
    "a variable is missing": ({"X": X}, {}, MissingVariableError, "needs x; .* did you mean 'X'"),
    "numpy": ({"x": np.zeros((8, 6))}, {}, DataError, r"x must be a tensor, got ndarray"),
    "an iterator": (iter([{"x": X}]), {"epochs": 2}, DataError, "gives its batches once"),
    "a misspelt option": ({"x": X}, {"batchsize": 3}, OptionError, "did you mean 'batch_size'"),
    "an option of train": ({"x": X}, {"noise": {}}, OptionError, "no parameter 'noise'"),
    "batches of no rows": ({"x": X}, {"batch_size": 0}, OptionError, "batch_size=0 must be"),
    "half a batch": ({"x": X}, {"batch_size": 0.5}, OptionError, "batch_size=0.5 must be"),
    "a negative number": ({"x": X}, {"epochs": -1}, OptionError, "epochs=-1 must be"),
    "epochs by halves": ({"x": X}, {"epochs": 1.5}, OptionError, "epochs=1.5 must be"),
    "a transform that forgets": (
        {"x": X},
        {"transform": lambda batch: None},
        DataError,
        "transform must return the batch.*NoneType",
    ),
    "a transform that drops": (
        {"x": X},
        {"transform": lambda batch: {}},
        MissingVariableError,
        "needs x",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    data, options, error, message = MISTAKES[name]
    w = parts()
    with pytest.raises(error, match=message):
        quiet(w).fit(data, options.pop("epochs", 1), progress=False, **options)


@pytest.mark.parametrize(
    ("held", "error"),
    [(X, DataError), ({"y": X}, MissingVariableError), ({"x": X[:0]}, DataError)],
)
def test_validation_data_are_looked_at_before_the_first_step(held, error):
    w = parts()
    model = w.model()
    before = weights(w.q)
    with pytest.raises(error):
        model.fit({"x": w.x}, 1, validation=held, progress=False)
    assert same(before, weights(w.q))


def test_validation_by_row():
    w = parts()
    with pytest.raises(TrainingError, match=r"validation takes one number.*\.mean\(\)"):
        w.model(test_loss=-w.elbo).fit({"x": w.x}, 1, validation={"x": w.x}, progress=False)


def test_rows_that_do_not_fit():
    p = Normal(var=["y"], cond_var=["x"], net=nn.Linear(3, 6), name="p")
    model = Model(loss=-p.log_prob().mean())
    with pytest.raises(DataError, match="different numbers of rows: y 4, x 5"):
        model.fit({"x": torch.zeros(5, 3), "y": torch.zeros(4, 3)}, 1, progress=False)


def test_the_two_forms_name_every_variable():
    p = Normal(var=["y"], cond_var=["x"], net=nn.Linear(3, 6), name="p")
    message = r"fit\(\{'y': y, 'x': x\}, \.\.\.\), or fit\(\(y, x\), \.\.\., vars=\('y', 'x'\)\)"
    with pytest.raises(DataError, match=message):
        Model(loss=-p.log_prob().mean()).fit((X, X), 1)
