"""Mixtures by SciPy; see ``scipy_laws``."""

from collections.abc import Callable

import numpy as np
from scipy import special, stats

from tests.oracles.scipy_base import Array, Oracle, chance, log_level, of_levels
from tests.oracles.scipy_vectors import MultivariateNormal


def _mixture(
    weights: Array | None,
    weight_logits: Array | None,
    each: Callable[[Array], Array],
    mean: Array | None,
    variance: Array | None,
) -> Oracle:
    """Of log densities of components, in the last axis, and their moments ``(*event, K, D)``."""
    pi = special.softmax(weight_logits, -1) if weights is None else weights

    def log_density(x: Array) -> Array:
        return special.logsumexp(np.log(pi) + each(x), -1)

    if mean is None or variance is None:
        return Oracle(log_density, None, None, None, lambda other: None)
    share = pi.reshape(*pi.shape, *(1,) * (mean.ndim - pi.ndim))
    axis = pi.ndim - 1
    middle = (share * mean).sum(axis)
    spread = (share * (variance + mean**2)).sum(axis) - middle**2
    return Oracle(log_density, middle, spread, None, lambda other: None)


def NormalMixture(
    loc: Array, scale: Array, weights: Array | None = None, weight_logits: Array | None = None
) -> Oracle:
    parts = stats.norm(loc, scale)
    return _mixture(weights, weight_logits, lambda x: parts.logpdf(x[..., None, :]).sum(-1),
                    loc, scale**2)  # fmt: skip


def GaussianMixture(
    loc: Array,
    weights: Array | None = None,
    weight_logits: Array | None = None,
    **scale: Array,
) -> Oracle:
    size = loc.shape[1]
    parts = [
        MultivariateNormal(loc[:, k], **{key: v[:, k] for key, v in scale.items()})
        for k in range(size)
    ]
    variance = np.stack([part.variance for part in parts], 1)

    def each(x: Array) -> Array:
        return np.stack([part.log_density(x) for part in parts], -1)

    return _mixture(weights, weight_logits, each, loc, variance)


def LogisticMixture(
    loc: Array, scale: Array, weights: Array | None = None, weight_logits: Array | None = None
) -> Oracle:
    parts = stats.logistic(loc, scale)
    return _mixture(weights, weight_logits, lambda x: parts.logpdf(x[..., None]), loc, parts.var())


def DiscretizedLogisticMixture(
    loc: Array, scale: Array, weights: Array | None = None, weight_logits: Array | None = None
) -> Oracle:
    def each(x: Array) -> Array:
        return log_level(np.asarray(x)[..., None], loc, scale)

    return _mixture(weights, weight_logits, each, *of_levels(loc, scale)[:2])


def BernoulliMixture(
    probs: Array | None = None,
    logits: Array | None = None,
    weights: Array | None = None,
    weight_logits: Array | None = None,
) -> Oracle:
    on = chance(probs, logits)
    parts = stats.bernoulli(on)
    return _mixture(weights, weight_logits, lambda x: parts.logpmf(x[..., None, :]).sum(-1),
                    on, on * (1 - on))  # fmt: skip
