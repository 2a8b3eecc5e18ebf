r"""Divergences from any law whose mean, variance and entropy are known.

The log density of a normal law is linear in x and x^2, that of an exponential law in x, so that
:math:`KL[q \| p] = -H[q] - E_q[\log p]` needs no more of q than its moments. Both terms grow with
the logarithm of a scale, of which most cancels: they are computed in double precision.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions.elementary import HALF_LOG_TWO_PI
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.law import Law

Form = Callable[[dict[str, Any], dict[str, Any]], Tensor]


def kl_to_normal(family: type[Law]) -> Form:
    r""":math:`\frac12 E_q[(x-\mu)^2]/\sigma^2 + \log\sigma + \frac12\log 2\pi - H[q]`."""

    def form(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
        own, loc, scale = _doubles(q), double(p["loc"]), double(p["scale"])
        square = ((family.mean_of(**own) - loc) / scale) ** 2 + family.variance_of(
            **own
        ) / scale**2
        square = torch.where(square.isnan(), torch.inf, square)  # where q has no mean
        out = 0.5 * square + scale.log() + HALF_LOG_TWO_PI - family.entropy_of(**own)
        return result_like(out, *q.values(), *p.values())

    return form


def kl_to_exponential(family: type[Law]) -> Form:
    r""":math:`\lambda E_q[x] - \log\lambda - H[q]`, of laws of positive values."""

    def form(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
        own, rate = _doubles(q), double(p["rate"])
        out = rate * family.mean_of(**own) - rate.log() - family.entropy_of(**own)
        return result_like(out, *q.values(), *p.values())

    return form


def _doubles(params: dict[str, Any]) -> dict[str, Any]:
    return {key: double(value) for key, value in params.items()}
