"""Bijections of one number in 50 digits, from their definitions; nothing of ours is imported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpmath import mp

Formula = Callable[[Any], Any]
mp.dps = 50
STEP = mp.mpf(10) ** -20


@dataclass(frozen=True)
class Oracle:
    """A map and its inverse, with the logarithms of the slopes."""

    forward: Formula
    log_slope: Formula
    inverse: Formula
    inverse_log_slope: Formula


def _log_logistic(x: Any) -> Any:
    return -mp.log1p(mp.exp(-x)) if x > 0 else x - mp.log1p(mp.exp(x))


def _log_sech_square(x: Any) -> Any:
    size = abs(x)
    return 2 * (mp.log(2) - size - mp.log1p(mp.exp(-2 * size)))


def _softplus(x: Any) -> Any:
    return x + mp.log1p(mp.exp(-x)) if x > 0 else mp.log1p(mp.exp(x))


BIJECTIONS = {
    "Exp": Oracle(mp.exp, lambda x: x, mp.log, lambda y: -mp.log(y)),
    "Tanh": Oracle(mp.tanh, _log_sech_square, mp.atanh, lambda y: -mp.log((1 - y) * (1 + y))),
    "Sigmoid": Oracle(
        lambda x: mp.exp(_log_logistic(x)),
        lambda x: _log_logistic(x) + _log_logistic(-x),
        lambda y: mp.log(y / (1 - y)),
        lambda y: -mp.log(y) - mp.log1p(-y),
    ),
    "Softplus": Oracle(
        _softplus,
        _log_logistic,
        lambda y: y + mp.log(-mp.expm1(-y)),
        lambda y: -mp.log(-mp.expm1(-y)),
    ),
}


def condition(f: Formula, at: Any) -> Any:
    """The condition number of a formula: ``|x f'(x) / f(x)|``."""
    value = f(at)
    if at == 0 or value == 0:
        return mp.mpf(0)
    return abs((f(at * (1 + STEP)) - value) / STEP / value)
