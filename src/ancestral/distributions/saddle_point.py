r"""Log probabilities of counts that keep their digits at counts of millions.

A binomial coefficient of large numbers is a difference of log gamma functions that are far larger
than it. With Stirling's formula taken off each of them, what is left of a log probability is a sum
of terms of its own size (Loader, Fast and accurate computation of binomial probabilities, 2000):
the Poisson law is

.. math:: \log P(x; \lambda) = -x\,(t - 1 - \log t) - \delta(x) - \tfrac12\log 2\pi x,
    \qquad t = \lambda / x,

and the others are products and quotients of Poisson laws. All functions here work in double
precision and return it. They take :math:`\log\lambda` besides :math:`\lambda`, which may underflow.
"""

import torch
from torch import Tensor

from ancestral.distributions.count_sums import mean_over_counts
from ancestral.distributions.gamma_function import (
    HALF_LOG_TWO_PI,
    deviance,
    excess,
    stirling_error,
)


def log_poisson(x: Tensor, rate: Tensor, log_rate: Tensor) -> Tensor:
    r""":math:`x\log\lambda - \lambda - \log\Gamma(x+1)`, for x >= 0, whole or not.

    Example:
        >>> one = torch.ones((), dtype=torch.float64)
        >>> log_poisson(1e6 * one, 1e6 * one, (1e6 * one).log())
        tensor(-7.8267, dtype=torch.float64)
    """
    some = torch.where(x > 0, x, 1.0)
    halves = HALF_LOG_TWO_PI + 0.5 * some.log()
    out = -depth(some, rate, log_rate) - stirling_error(some) - halves
    return torch.where(x > 0, out, -rate)


def depth(x: Tensor, rate: Tensor, log_rate: Tensor) -> Tensor:
    r""":math:`x (t - 1 - \log t)` with :math:`t = \lambda/x`, by the logarithm where t is small."""
    t = rate / x
    small = t < 0.1
    away = rate - x - x * (log_rate - x.log())
    return torch.where(small, away, x * deviance(torch.where(small, 1.0, t)))


def log_peak(n: Tensor) -> Tensor:
    r"""The Poisson law of rate n at n: :math:`-\delta(n) - \frac12\log 2\pi n`; 0 at n = 0."""
    some = torch.where(n > 0, n, 1.0)
    peak = -stirling_error(some) - HALF_LOG_TWO_PI - 0.5 * some.log()
    return torch.where(n > 0, peak, 0.0)


def log_binomial(
    x: Tensor, n: Tensor, on: tuple[Tensor, Tensor], off: tuple[Tensor, Tensor]
) -> Tensor:
    r""":math:`\log\binom nx + x\log\pi + (n-x)\log(1-\pi)`, for 0 <= x <= n.

    It is :math:`P(x; n\pi)\,P(n-x; n(1-\pi)) / P(n; n)`, with P of Poisson laws.

    Args:
        x: How many of n.
        n: Their number, whole or not.
        on: :math:`\pi` and :math:`\log\pi`.
        off: :math:`1-\pi` and :math:`\log(1-\pi)`.
    """
    log_n = torch.where(n > 0, n, 1.0).log()
    above = log_poisson(x, n * on[0], log_n + on[1])
    below = log_poisson(n - x, n * off[0], log_n + off[1])
    # without part the formula is exact, and has no -inf from a rate of 0
    inside = above + below - log_peak(n)
    return torch.where(x <= 0, n * off[1], torch.where(x >= n, n * on[1], inside))


def mean_log_poisson(n: Tensor, on: tuple[Tensor, Tensor], off: tuple[Tensor, Tensor]) -> Tensor:
    r""":math:`E[\log P(X; n\pi)]` of the Poisson law with rate :math:`n\pi`, where X is one of n
    with :math:`\pi`: minus what a category adds to the entropy of counts with a given sum.

    Arguments are those of :func:`log_binomial`.
    """
    rate, log_rate = n * on[0], torch.where(n > 0, n, 1.0).log() + on[1]
    flip = on[0] > off[0]  # from the end that is nearer to the mean

    def place(k: Tensor) -> Tensor:
        return torch.where(flip, n - k, k).clamp(min=0.0)

    return mean_over_counts(
        lambda k: log_binomial(place(k), n, on, off),
        lambda k: log_poisson(place(k), rate, log_rate),
        n * torch.minimum(on[0], off[0]),
        rate * off[0],
        n,
    )


def log_negative_binomial(
    x: Tensor, r: Tensor, on: tuple[Tensor, Tensor], off: tuple[Tensor, Tensor]
) -> Tensor:
    r""":math:`\log\frac{\Gamma(x+r)}{\Gamma(r)\,x!} + r\log(1-\pi) + x\log\pi`, for x >= 0, r > 0.

    It is r / (x + r) times the binomial law of x among x + r, unless x + r has lost digits of r.
    Then, with :math:`u = (r-1)/(x+1)`, :math:`\log\frac{\Gamma(x+r)}{\Gamma(x+1)} =
    (r-1)\log(x+r) - (x+1)(u - \log(1+u)) - \frac12\log(1+u)` but for Stirling's errors.

    Example:
        >>> r, off = torch.tensor([0.5, 1e-15], dtype=torch.float64)
        >>> log_negative_binomial(1e15 + 0 * r, r, (1 - off, (-off).log1p()), (off, off.log()))
        tensor(-36.1111, dtype=torch.float64)
    """
    far = x > 1e4 * r
    near = torch.where(far, r, x)
    total = near + r
    inside = log_binomial(near, total, on, off) - (near / r).log1p()
    k = torch.where(far, x, 1e4 * r)
    u = (r - 1.0) / (k + 1.0)
    ratio = (k + r) / r * off[0].clamp(min=torch.finfo(torch.float64).tiny)
    orders = stirling_error(k + r) - stirling_error(k + 1.0) - (k + 1.0) * excess(u)
    constant = r + 0.5 * r.log() - HALF_LOG_TWO_PI - stirling_error(r)  # r log r - log Gamma(r)
    rest = orders - 0.5 * u.log1p() - (k + r).log() + constant
    return torch.where(far, rest + r * ratio.log() + k * on[1], inside)
