"""What torch imports with its first optimizer takes seconds; no test should be charged for it."""

import pytest
import torch

from tests.models.checkpoints import trained


@pytest.fixture(scope="session", autouse=True)
def _torch_has_made_an_optimizer():
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])


@pytest.fixture
def saved(tmp_path):
    """The folder of a saved model."""
    model, _, _ = trained()
    model.save(tmp_path / "run")
    return tmp_path / "run"
