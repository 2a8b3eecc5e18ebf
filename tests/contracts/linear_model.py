"""A linear model of independent normal weights, whose mean log likelihood is known."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import MeanField, Normal, weights

f64 = torch.float64


def linear(inputs: int = 3, outputs: int = 2) -> tuple[Any, Any, Any]:
    """A linear model of normal weights, and its posterior with free parameters."""
    torch.manual_seed(0)
    net = nn.Linear(inputs, outputs).double()
    w = weights(net, prior=Normal(loc=0.0, scale=1.0).double())
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.5, name="p").double()
    q = MeanField(w, init_scale=torch.rand(w.size, dtype=f64) + 0.2).double()
    return w, p, q


def data(rows: int = 5, inputs: int = 3, outputs: int = 2) -> dict[str, Tensor]:
    """Inputs and targets."""
    torch.manual_seed(1)
    return {"x": torch.randn(rows, inputs, dtype=f64), "y": torch.randn(rows, outputs, dtype=f64)}


def exact(w: Any, q: Any, batch: dict[str, Tensor]) -> Tensor:
    """E[log p(y|x,w)] of each row, which is normal: in closed form."""
    params = q.get_params()
    mean, scale = (w.unflatten(params[k]) for k in ("loc", "scale"))
    at = F.linear(batch["x"], mean["weight"], mean["bias"])
    var = F.linear(batch["x"] ** 2, scale["weight"] ** 2, scale["bias"] ** 2)
    out: Tensor = (
        -0.5 * ((batch["y"] - at) ** 2 + var) / 0.25 - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    ).sum(-1)
    return out
