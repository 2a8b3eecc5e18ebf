"""What a law by SciPy is, and the forms that several share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import integrate, special, stats

Array = np.ndarray


@dataclass(frozen=True)
class Oracle:
    """A law with given parameters, component by component.

    Args:
        log_density: The log density of each component of a value.
        mean: Its mean, or None if a value is no number.
        variance: Its variance, likewise.
        entropy: The entropy of each component, in nats.
        kl: The divergence from another oracle of the family, component by component.
        frozen: What SciPy computes with.
    """

    log_density: Callable[[Array], Array]
    mean: Array | None
    variance: Array | None
    entropy: Array
    kl: Callable[["Oracle"], Array]
    frozen: Any = None


def continuous(frozen: Any) -> Oracle:
    """By SciPy's law; divergences are integrals."""

    def kl(other: Oracle) -> Array:
        def one(index: int) -> float:
            def density(x: float) -> float:
                log_q, log_p = (np.ravel(f(x))[index] for f in (frozen.logpdf, other.log_density))
                return np.exp(log_q) * (log_q - log_p)

            middle = np.ravel(frozen.mean())[index]
            width = 40 * np.ravel(frozen.std())[index]
            low, high = (np.broadcast_to(end, shape).ravel()[index] for end in frozen.support())
            low, high = max(middle - width, low), min(middle + width, high)
            extra = np.ravel(other.mean)
            points = [p for p in (middle, extra[index]) if low < p < high]
            return integrate.quad(density, low, high, points=points,
                                  limit=400, epsabs=1e-12, epsrel=1e-12)[0]  # fmt: skip

        shape = np.shape(frozen.mean())
        return np.array([one(i) for i in range(int(np.prod(shape)))]).reshape(shape)

    return Oracle(frozen.logpdf, frozen.mean(), frozen.var(), frozen.entropy(), kl, frozen)


def by_quantiles(frozen: Any) -> Oracle:
    """A law without moments: its divergences are integrals over ranks."""

    def kl(other: Oracle) -> Array:
        def one(index: int) -> float:
            def ratio(u: float) -> float:
                x = frozen.ppf(u)
                return np.ravel(frozen.logpdf(x) - other.log_density(x))[index]

            return integrate.quad(ratio, 0, 1, limit=400, epsabs=1e-12, epsrel=1e-12)[0]

        shape = np.shape(frozen.median())
        return np.array([one(i) for i in range(int(np.prod(shape)))]).reshape(shape)

    return Oracle(frozen.logpdf, None, None, frozen.entropy(), kl, frozen)


def log_level(x: Array, loc: Array, scale: Array) -> Array:
    """The log probability of a level from 0 to 255 of a rounded logistic variable."""
    upper, lower = (x + 0.5 - loc) / scale, (x - 0.5 - loc) / scale
    inner = special.log_expit(upper) + special.log_expit(-lower) + np.log(-np.expm1(-1 / scale))
    top = np.where(x >= 255, special.log_expit(-lower), inner)
    return np.where(x <= 0, special.log_expit(upper), top)


def of_levels(loc: Array, scale: Array) -> tuple[Array, Array, Array]:
    """Mean, variance and entropy, by sums over the levels."""
    x = np.arange(256.0).reshape(-1, *(1,) * np.ndim(loc))
    p = np.exp(log_level(x, loc, scale))
    mean = (p * x).sum(0)
    return mean, (p * (x - mean) ** 2).sum(0), special.entr(p).sum(0)


def chance(probs: Array | None, logits: Array | None) -> Array:
    """The probability of success."""
    return special.expit(logits) if probs is None else probs


def by_component(log_density: Callable[..., Array], x: Array, *params: Array) -> Array:
    """A function of one vector and its parameters, at each component of each row."""
    rows = [log_density(x[:, i], *(p[i] for p in params)) for i in range(x.shape[1])]
    return np.stack([np.reshape(row, len(x)) for row in rows], 1)


def gaussian(loc: Array, covariance: Array) -> Oracle:
    """Of normal vectors."""
    size = loc.shape[-1]

    def log_density(x: Array) -> Array:
        return by_component(
            lambda x, m, c: stats.multivariate_normal(m, c).logpdf(x), x, loc, covariance
        )

    def kl(other: Oracle) -> Array:
        m, c = other.frozen
        inverse = np.linalg.inv(c)
        d = m - loc
        trace = np.einsum("nij,nji->n", inverse, covariance)
        distance = np.einsum("ni,nij,nj->n", d, inverse, d)
        return 0.5 * (
            trace + distance - size + np.log(np.linalg.det(c) / np.linalg.det(covariance))
        )

    entropy = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    return Oracle(log_density, loc, variance, entropy, kl, (loc, covariance))


def product(factor: Array) -> Array:
    """A covariance from its factor."""
    return factor @ np.swapaxes(factor, -1, -2)
