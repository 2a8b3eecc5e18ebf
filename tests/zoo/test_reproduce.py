"""Every file of the zoo that reproduces its paper does so in one form, from its seed."""

import ast
import inspect
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

import ancestral.zoo
from ancestral.core.errors import OptionError
from ancestral.data import SequenceData
from ancestral.data.images import image_data
from ancestral.evaluation import Measurement, Reference, Reproduction
from ancestral.models import Model

FILES = sorted(Path(ancestral.zoo.__file__).parent.glob("[!_]*.py"))
FORM = {"seed": 0, "data_dir": None, "progress": True, "device": "cpu"}
ROWS = 256


def reproduces(path: Path) -> bool:
    body = ast.parse(path.read_text("utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "reproduce" for node in body)


EVERY = [import_module(f"ancestral.zoo.{path.stem}") for path in FILES if reproduces(path)]
each = pytest.mark.parametrize("module", EVERY, ids=lambda m: m.__name__.rpartition(".")[2])


@pytest.fixture(scope="module", autouse=True)
def _optimizers_are_imported():
    """What torch imports with its first optimizer takes seconds; no test is charged for it."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def small_mnist(data_dir=None, pixels="binary"):
    """Images of MNIST's size, few of them."""
    random = np.random.RandomState(0)
    parts = [
        (random.randint(0, 256, (n, 28, 28)).astype(np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for n in (60, 20, 40)
    ]
    train, validation, test = parts
    return image_data(
        "mnist", train=train, validation=validation, test=test, peak=255, threshold=127,
        pixels=pixels, source="noise",
    )  # fmt: skip


def small_piano_rolls(name="jsb", data_dir=None):
    """Sequences of 88 keys, few and short."""
    random = np.random.RandomState(0)
    x = torch.from_numpy(random.randint(0, 2, (6, 7, 88)).astype(np.float32))
    part = {"x": x, "m": (torch.arange(7) < torch.tensor([[7]] * 3 + [[4]] * 3)).float()}
    return SequenceData("jsb", "noise", part, part, part)


def one_epoch(fit):
    """`Model.fit` with one pass over the first rows, whatever it is asked for."""

    def short(model, data, epochs, **options):
        few = {name: rows[:ROWS] for name, rows in data.items()}
        held = options.pop("validation", None)
        held = held and {name: rows[:ROWS] for name, rows in held.items()}
        return fit(model, few, 1, validation=held, **options)

    return short


@each
def test_its_form(module):
    parameters = inspect.signature(module.reproduce).parameters.values()
    assert {p.name: p.default for p in parameters} == FORM
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    assert module.reproduce.__doc__


@each
def test_what_it_leaves(module, monkeypatch):
    """Its training cut short: numbers that say what they are held against, and a picture."""
    monkeypatch.setattr(Model, "fit", one_epoch(Model.fit))
    if hasattr(module, "mnist"):
        monkeypatch.setattr(module, "mnist", small_mnist)
    if hasattr(module, "piano_rolls"):
        monkeypatch.setattr(module, "piano_rolls", small_piano_rolls)
    found = module.reproduce(seed=1, progress=False)
    assert isinstance(found, Reproduction)
    assert found.picture.startswith(b"\x89PNG")
    assert len(found.picture) < 200_000
    assert found.caption.endswith(".")
    assert found.measurements
    for one in found.measurements:
        assert math.isfinite(one.value)
        assert math.isfinite(one.reference.value)
        assert one.reference.source


def test_a_measurement_is_reached_where_it_says():
    reference = Reference(1.0, "by hand", "exact")
    around = Measurement("slope", 1.0, "", "mean", reference, at_most=1.1, at_least=0.9)
    assert around.missed_by == 0.0
    for value, gap in ((1.2, 0.1), (0.7, 0.2), (math.nan, math.inf), (-math.inf, math.inf)):
        assert replace(around, value=value).missed_by == pytest.approx(gap)
    with pytest.raises(OptionError, match="say when it is reached"):
        Measurement("slope", 1.2, "", "mean", reference)
