"""Saved models for the tests of saving and loading."""

import pytest
import torch

from ancestral.core.errors import CheckpointError
from ancestral.models import Model
from tests.models.parts import draws, parts, same, weights

WEIGHTS, MANIFEST = "weights.safetensors", "model.json"


def trained(seed: int = 0, steps: int = 2) -> tuple[Model, torch.Tensor, torch.Tensor]:
    """A model, a batch and noise for it."""
    w = parts(torch.float64, seed=seed)
    model, (eps,) = w.model(), draws(1, w)
    for _ in range(steps):
        model.train({"x": w.x})
    return model, w.x, eps


def value(model: Model, x, eps) -> float:
    return float(model.test({"x": x}, noise={"z": eps}))


def refused(folder, message: str, model: Model | None = None) -> None:
    """Loading raises, and the model is as it was."""
    model = trained(seed=1)[0] if model is None else model
    before = weights(model._state)
    with pytest.raises(CheckpointError, match=message):
        model.load(folder)
    assert same(before, weights(model._state))
