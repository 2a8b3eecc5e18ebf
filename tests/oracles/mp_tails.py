"""Incomplete gamma and beta functions in 50 digits: series and continued fractions, to their end.

mpmath's own give up at parameters of thousands. The smaller tail is computed, the other is what is
left of 1.
"""

from functools import lru_cache
from typing import Any

from mpmath import mp

Number = Any


@lru_cache(16)
def log_gamma_tails(a: Number, x: Number) -> tuple[Number, Number]:
    """The logarithms of both regularised incomplete gamma functions, for a, x > 0."""
    front = a * mp.log(x) - x - mp.loggamma(a)
    if x < a + 1:
        return _pair(front + mp.log(_gamma_series(a, x)))
    return _pair(front - mp.log(_gamma_fraction(a, x)))[::-1]


def _pair(tail: Number) -> tuple[Number, Number]:
    """A log probability and that of the rest."""
    with mp.workdps(2 * mp.dps):
        return tail, mp.log(-mp.expm1(tail))


def _gamma_series(a: Number, x: Number) -> Number:
    """The sum of x^k / a (a+1) ... (a+k)."""
    total = term = 1 / a
    k = a
    while term > total * mp.eps:
        k += 1
        term *= x / k
        total += term
    return total


def _gamma_fraction(a: Number, x: Number) -> Number:
    """x + 1 - a - 1 (1-a) / (x + 3 - a - 2 (2-a) / ...), by Lentz's rule."""
    b = x + 1 - a
    total = c = b
    d, k, step = mp.mpf(0), 0, mp.mpf(0)
    while abs(step - 1) > mp.eps:
        k += 1
        part = k * (a - k)
        b += 2
        d = 1 / (b + part * d)
        c = b + part / c
        step = c * d
        total *= step
    return total


@lru_cache(16)
def log_beta_tails(a: Number, b: Number, x: Number, y: Number) -> tuple[Number, Number]:
    """The logarithms of I_x(a, b) and of what is left, for x + y = 1."""
    if x * (a + b + 2) > a + 1:
        return log_beta_tails(b, a, y, x)[::-1]
    front = a * mp.log(x) + b * mp.log(y) - mp.log(a)
    front -= mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return _pair(front - mp.log(_beta_fraction(a, b, x)))


def _beta_fraction(a: Number, b: Number, x: Number) -> Number:
    """1 + d_1 / (1 + d_2 / (1 + ...)), by Lentz's rule."""
    total = c = mp.mpf(1)
    d, m, step = mp.mpf(0), 0, mp.mpf(0)
    while abs(step - 1) > mp.eps:
        odd = m % 2
        k = m // 2
        part = (
            -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
            if not odd
            else (k + 1) * (b - k - 1) * x / ((a + 2 * k + 1) * (a + 2 * k + 2))
        )
        m += 1
        d = 1 / (1 + part * d)
        c = 1 + part / c
        step = c * d
        total *= step
    return total
