"""What torch imports with its first optimizer takes seconds; no test should be charged for it."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _torch_has_made_an_optimizer():
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
