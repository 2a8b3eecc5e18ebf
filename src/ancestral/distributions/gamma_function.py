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

LARGE = 2.0  # from here on both errors are polynomials; below, the terms are too small to cancel

# x delta(x) and x^2 epsilon(x) for x >= LARGE, by powers of t = 2 LARGE^2 / x^2 - 1, from
# interpolation at Chebyshev nodes: the first is exact to 4e-17 of itself, the second to 8e-17
# fmt: off
_DELTA = (
    0.08299751240324939, -0.0003252875794219988, 9.773076002433428e-06, -6.710545111320217e-07,
    7.475027616615437e-08, -1.1511077562218722e-08, 2.2385182053511225e-09, -5.19475369993385e-10,
    1.3844473466621578e-10, -4.0895720679608024e-11, 1.3291431344866657e-11,
    -5.3391714528271185e-12, 2.0959094109239965e-12, -1.4283290691274335e-13,
    3.723538503718188e-15, -3.935823913146991e-13, 1.939715035610121e-13,
)
_EPSILON = (
    0.08234693724440534, -0.0009367704342563345, 4.483905295280206e-05, -4.099379362249397e-06,
    5.576415338028201e-07, -9.975976488760714e-08, 2.182967303029965e-08, -5.575932767748433e-09,
    1.6103255041371209e-09, -5.156867522500473e-10, 1.7919213934262403e-10, -6.229779948073581e-11,
    2.3920561759164983e-11, -1.6581050115325952e-11, 7.95310119036776e-12, 2.3961774811559324e-12,
    -1.5425512624726962e-12, -2.224659023336636e-12, 1.2092786511223703e-12,
)
# fmt: on


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


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """A polynomial in 2 LARGE^2 / x^2 - 1, for x >= LARGE."""
    t = 2.0 * (LARGE / x) ** 2 - 1.0
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * t + c
    return total


def stirling_error(x: Tensor) -> Tensor:
    r""":math:`\delta(x)`, for x > 0.

    Example:
        >>> stirling_error(torch.tensor([1.0, 1e6], dtype=torch.float64))
        tensor([8.1061e-02, 8.3333e-08], dtype=torch.float64)
    """
    large, small = x.clamp(min=LARGE), x.clamp(max=LARGE)
    direct = small.lgamma() - (small - 0.5) * small.log() + small - HALF_LOG_TWO_PI
    return torch.where(x > LARGE, _polynomial(_DELTA, large) / large, direct)


def digamma_error(x: Tensor) -> Tensor:
    r""":math:`\varepsilon(x)`, for x > 0."""
    large, small = x.clamp(min=LARGE), x.clamp(max=LARGE)
    direct = small.log() + 0.5 / small - (small + 1.0).digamma()  # as psi(x+1) = psi(x) + 1/x
    return torch.where(x > LARGE, _polynomial(_EPSILON, large) / large**2, direct)


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


def log_gamma_bregman(p: Tensor, q: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    r""":math:`D(p, q) = \log\Gamma(p) - \log\Gamma(q) - (p-q)\,\psi(q) \ge 0`.

    Divergences of laws normalised by a beta function are :math:`\sum_k D(p_k, q_k) - D(P, Q)` with
    P, Q the sums, whose leading terms cancel where p and q are large. The ``scale`` c adds
    :math:`(c-1)q - p\log c` to each, which changes no such difference; with c = P/Q the leading
    terms are :math:`P\sum_k s_k\log\frac{s_k}{t_k}`, with the shares :math:`s_k = p_k/P` and
    :math:`t_k = q_k/Q`: the last one is 0, and the others' sum has positive terms only.
    """
    main = p * deviance(q / p * scale) + 0.5 * deviance(p / q)
    return main + stirling_error(p) - stirling_error(q) + (p - q) * digamma_error(q)


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`\log B(a, b) = \log\Gamma(a) + \log\Gamma(b) - \log\Gamma(a+b)`."""
    n = a + b
    errors = stirling_error(a) + stirling_error(b) - stirling_error(n)
    halves = HALF_LOG_TWO_PI + 0.5 * (n.log() - a.log() - b.log())
    return halves + errors - a * (b / a).log1p() - b * (a / b).log1p()
