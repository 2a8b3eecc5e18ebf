r"""Differences of log gamma functions that keep their digits where the functions are large.

:math:`\log\Gamma(10^6) \approx 1.3\cdot 10^7`, so that a log density that is a difference of such
numbers has no correct digit in single precision, and six fewer than it could have in double. What
is left of :math:`\log\Gamma` and of its derivative when Stirling's formula is taken off,

.. math::
    \delta(x) = \log\Gamma(x) - (x-\tfrac12)\log x + x - \tfrac12\log 2\pi, \qquad
    \varepsilon(x) = \log x - \tfrac1{2x} - \psi(x),

is small, and the rest of a density is then written in terms that vanish together (Loader, Fast and
accurate computation of binomial probabilities, 2000). All functions here work in double precision
and return it.
"""

from typing import Any

import torch
from torch import Tensor

from ancestral.distributions.elementary import HALF_LOG_TWO_PI

LARGE = 12.0  # from here on eight terms of the asymptotic series are exact to 1e-17

# B_{2k} / (2k (2k - 1)) and B_{2k} / 2k
_DELTA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_EPSILON = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)


def double(value: Any) -> Tensor:
    """A number or tensor as a tensor in double precision, with its gradient."""
    if isinstance(value, Tensor):
        return value.double()
    return torch.tensor(value, dtype=torch.float64)


def result_like(value: Tensor, *given: Any) -> Tensor:
    """A result in the precision that torch gives to an operation on what was given."""
    tensors = [v for v in given if isinstance(v, Tensor)]
    if not tensors:
        return value
    dtype = tensors[0].dtype
    for other in tensors[1:]:
        dtype = torch.promote_types(dtype, other.dtype)
    return value.to(dtype if dtype.is_floating_point else torch.get_default_dtype())


def _series(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """A polynomial in 1/x^2."""
    square = x**-2
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * square + c
    return total


def stirling_error(x: Tensor) -> Tensor:
    r""":math:`\delta(x)`, for x > 0.

    Example:
        >>> stirling_error(torch.tensor([1.0, 1e6], dtype=torch.float64))
        tensor([8.1061e-02, 8.3333e-08], dtype=torch.float64)
    """
    large, small = x.clamp(min=LARGE), x.clamp(max=LARGE)
    direct = small.lgamma() - (small - 0.5) * small.log() + small - HALF_LOG_TWO_PI
    return torch.where(x > LARGE, _series(_DELTA, large) / large, direct)


def digamma_error(x: Tensor) -> Tensor:
    r""":math:`\varepsilon(x)`, for x > 0."""
    large, small = x.clamp(min=LARGE), x.clamp(max=LARGE)
    direct = small.log() - 0.5 / small - small.digamma()
    return torch.where(x > LARGE, _series(_EPSILON, large) / large**2, direct)


def deviance(t: Tensor) -> Tensor:
    r""":math:`t - 1 - \log t \ge 0`, for t > 0, exact near its zero at 1."""
    near = (t - 1.0).abs() < 0.5
    away = torch.where(near, 2.0, t)
    return torch.where(near, excess(torch.where(near, t - 1.0, 0.0)), away - 1.0 - away.log())


def excess(u: Tensor) -> Tensor:
    r""":math:`u - \log(1 + u) \ge 0`, exact near 0."""
    near = u.abs() < 0.05
    w = torch.where(near, u, 0.0)
    # log(1+u) = 2 artanh s with s = u / (2 + u): u - 2s - 2(s^3/3 + s^5/5 + ...), u - 2s = u s
    s = w / (2.0 + w)
    square = s * s
    tail = 1 / 15 + torch.zeros_like(s)
    for n in (13, 11, 9, 7, 5, 3):
        tail = tail * square + 1 / n
    away = torch.where(near, 1.0, u)
    return torch.where(near, w * s - 2.0 * s * square * tail, away - away.log1p())


def log_gamma_bregman(p: Tensor, q: Tensor) -> Tensor:
    r""":math:`\log\Gamma(p) - \log\Gamma(q) - (p-q)\,\psi(q) \ge 0`."""
    ratio = p / q
    main = q * (ratio * deviance(1.0 / ratio)) + 0.5 * deviance(ratio)
    return main + stirling_error(p) - stirling_error(q) + (p - q) * digamma_error(q)


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`\log B(a, b) = \log\Gamma(a) + \log\Gamma(b) - \log\Gamma(a+b)`."""
    n = a + b
    errors = stirling_error(a) + stirling_error(b) - stirling_error(n)
    halves = HALF_LOG_TWO_PI + 0.5 * (n.log() - a.log() - b.log())
    return halves + errors - a * (b / a).log1p() - b * (a / b).log1p()
