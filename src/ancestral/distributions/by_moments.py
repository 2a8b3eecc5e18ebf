r"""Divergences from any law whose mean, variance and entropy are known.

The log density of a normal law is linear in x and x^2, that of an exponential law in x, so that
:math:`KL[q \| p] = -H[q] - E_q[\log p]` needs no more of q than its moments.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions.elementary import HALF_LOG_TWO_PI, log
from ancestral.distributions.law import Law

Form = Callable[[dict[str, Any], dict[str, Any]], Tensor]


def kl_to_normal(family: type[Law]) -> Form:
    r""":math:`\frac12 E_q[(x-\mu)^2]/\sigma^2 + \log\sigma + \frac12\log 2\pi - H[q]`."""

    def form(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
        shift = (family.mean_of(**q) - p["loc"]) / p["scale"]
        square = torch.as_tensor(shift**2 + family.variance_of(**q) / p["scale"] ** 2)
        square = torch.where(square.isnan(), torch.inf, square)  # where q has no mean
        return 0.5 * square + log(p["scale"]) + HALF_LOG_TWO_PI - family.entropy_of(**q)

    return form


def kl_to_exponential(family: type[Law]) -> Form:
    r""":math:`\lambda E_q[x] - \log\lambda - H[q]`, of laws of positive values."""

    def form(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
        out = p["rate"] * family.mean_of(**q) - log(p["rate"]) - family.entropy_of(**q)
        return torch.as_tensor(out)

    return form
