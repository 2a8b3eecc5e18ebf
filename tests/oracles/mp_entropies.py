r"""Entropies of counts in 50 digits, by one integral each instead of a sum over counts.

With Malmsten's :math:`\log\Gamma(z) = \int_0^\infty \left((z-1)e^{-t} - \frac{e^{-t} - e^{-zt}}
{1-e^{-t}}\right)\frac{dt}t` the mean of a log gamma function of a count needs no more of the law
than its mean and its generating function :math:`E e^{-tX}`.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mpmath import mp

from tests.oracles.mp_matrices import LAWS
from tests.oracles.mp_reference import Number
from tests.oracles.mp_vectors import log_odds_pair

STEP = mp.mpf(1) / 6  # on the logarithm of t: exact to e^(-6 pi^2)


def _integral(f: Callable[[Number], Number], size: Number, slow: Number) -> Number:
    """Of f(t) / t, which is about ``size`` t near 0 and falls with the rate ``slow`` far out."""
    first, last = -60 - mp.log(1 + size), mp.log(60 / min(slow, mp.mpf(1)))
    steps = range(int(first / STEP), int(last / STEP) + 2)
    return STEP * sum(f(mp.exp(k * STEP)) for k in steps)


@lru_cache(16)
def _negative_binomial(total_count: Number, on: Number, off: Number) -> Number:
    r, odds = total_count, mp.exp(on - off)

    def gap(t: Number) -> Number:
        """Of log Gamma(X + r) - log Gamma(X + 1)."""
        short = -mp.expm1(-t)
        shared = mp.exp(-r * mp.log1p(odds * short))
        return mp.exp(-t) * (r - 1 + mp.expm1((1 - r) * t) * shared / short)

    orders = _integral(gap, (r + 1) * (r * odds + r + 1), r)
    return mp.loggamma(r) - r * off - r * odds * on - orders


def negative_binomial(total_count: Number, **p: Number) -> Number:
    """The entropy of a negative binomial law."""
    return _negative_binomial(total_count, *log_odds_pair(**p))


def multinomial(total_count: Number, logits: Any = None, probs: Any = None) -> Number:
    """That of P(x) as a product of Poisson laws of rates n pi, over that of the sum."""
    n = total_count
    if probs is None:
        total = sum(mp.exp(v) for v in logits)
        probs = [mp.exp(v) / total for v in logits]
    out = n * mp.log(n) - n - mp.loggamma(n + 1)
    for pi in probs:
        out -= n * pi * mp.log(n * pi) - n * pi - _mean_log_factorial(n, pi)
    return out


@lru_cache(64)
def _mean_log_factorial(n: Number, pi: Number) -> Number:
    """E log X! of the binomial law."""

    def rest(t: Number) -> Number:
        short = -mp.expm1(-t)
        return mp.exp(-t) * (n * pi + mp.expm1(n * mp.log1p(-pi * short)) / short)

    return _integral(rest, n * n * pi, mp.mpf(1))


def _inflated(
    log_prob: Callable[..., Number], entropy: Callable[..., Number]
) -> Callable[..., Number]:
    """With more zeros: of all other counts each log probability has log(1 - gate) more."""

    def inflated(gate: Number, **p: Number) -> Number:
        log_zero = log_prob(x=mp.mpf(0), **p)
        zero = mp.exp(log_zero)
        here, others = gate + (1 - gate) * zero, entropy(**p) + zero * log_zero
        return (1 - gate) * (others - (1 - zero) * mp.log1p(-gate)) - here * mp.log(here)

    return inflated


WAYS = ("logits", "probs")
ENTROPIES: Mapping[str, Callable[..., Number]] = {
    **{f"NegativeBinomial.{way}": negative_binomial for way in WAYS},
    **{f"Multinomial.{way}": multinomial for way in WAYS},
    **{
        f"ZeroInflatedNegativeBinomial.{way}": _inflated(
            LAWS[f"NegativeBinomial.{way}"].functions["log_prob"], negative_binomial
        )
        for way in WAYS
    },
    "ZeroInflatedPoisson": _inflated(
        LAWS["Poisson"].functions["log_prob"], LAWS["Poisson"].functions["entropy"]
    ),
}
