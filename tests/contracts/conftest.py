"""What takes long the first time, outside of the tests' own time."""

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture(scope="session", autouse=True)
def _meta_kernels() -> None:
    """The first operation on the meta device imports seconds of Python."""
    ghost = torch.rand(2, device="meta")
    F.binary_cross_entropy(ghost, ghost)
