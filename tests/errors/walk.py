"""The objects of the walk-through, small, in which the mistakes are made."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import (
    E,
    KullbackLeibler,
)


class Inference(Normal):
    """q(z|x) of the walk-through, small."""

    def __init__(self) -> None:
        super().__init__(cond_var=["x"], var=["z"], name="q")
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        loc, scale = self.fc(x).chunk(2, -1)
        return {"loc": loc, "scale": F.softplus(scale)}


class Generator(Bernoulli):
    """p(x|z) of the walk-through, small."""

    def __init__(self) -> None:
        super().__init__(cond_var=["z"], var=["x"], name="p")
        self.fc = nn.Linear(2, 6)

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        return {"probs": torch.sigmoid(self.fc(z))}


def walk() -> SimpleNamespace:
    """The walk-through's objects."""
    torch.manual_seed(0)
    p, q = Generator(), Inference()
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p_{prior}")
    elbo = E(q, p.log_prob()) - KullbackLeibler(q, prior)
    x = (torch.arange(48.0).reshape(8, 6) % 5 > 2).float()
    return SimpleNamespace(p=p, q=q, prior=prior, elbo=elbo, x=x)
