"""Laws of counts, categories and levels by SciPy; see ``scipy_laws``."""

from typing import Any

import numpy as np
from scipy import special, stats

from tests.oracles.scipy_base import Array, Oracle, chance, log_level, of_levels


def DiscretizedLogistic(loc: Array, scale: Array) -> Oracle:
    mean, variance, entropy = of_levels(loc, scale)
    return Oracle(
        lambda x: log_level(x, loc, scale), mean, variance, entropy, lambda other: np.nan
    )


def Bernoulli(probs: Array | None = None, logits: Array | None = None) -> Oracle:
    pi = special.expit(logits) if probs is None else probs
    frozen = stats.bernoulli(pi)

    def kl(other: Oracle) -> Array:
        return special.rel_entr(pi, other.mean) + special.rel_entr(1 - pi, 1 - other.mean)

    return Oracle(
        frozen.logpmf, frozen.mean(), frozen.var(), special.entr(pi) + special.entr(1 - pi), kl
    )


def Categorical(
    probs: Array | None = None, logits: Array | None = None, onehot: bool = True
) -> Oracle:
    pi = special.softmax(logits, -1) if probs is None else probs

    def log_density(x: Array) -> Array:
        if onehot:
            full = np.broadcast_to(pi, np.shape(x))
            rows = zip(
                np.reshape(x, (-1, pi.shape[-1])), full.reshape(-1, pi.shape[-1]), strict=True
            )
            each = [stats.multinomial(1, p / p.sum()).logpmf(row) for row, p in rows]
            return np.reshape(each, np.shape(x)[:-1])
        log_pi = np.broadcast_to(np.log(pi), (*np.shape(x), pi.shape[-1]))
        return np.take_along_axis(log_pi, np.asarray(x)[..., None], -1)[..., 0]

    return Oracle(
        log_density,
        pi if onehot else None,
        pi * (1 - pi) if onehot else None,
        stats.entropy(pi, axis=-1),
        lambda other: stats.entropy(pi, other.frozen, axis=-1),
        frozen=pi,
    )


def _kl_of_counts(q: Array, p: Array) -> Array:
    """Of log probabilities along the first axis, which leaves out next to nothing."""
    return np.sum(np.exp(q) * (q - p), 0)


def _counting(frozen: Any, entropy: Array | None = None, top: int = 4000) -> Oracle:
    grid = np.arange(top).reshape(-1, *(1,) * np.ndim(frozen.mean()))

    def kl(other: Oracle) -> Array:
        return _kl_of_counts(frozen.logpmf(grid), other.log_density(grid))

    if entropy is None:
        entropy = special.entr(frozen.pmf(grid)).sum(0)
    return Oracle(frozen.logpmf, frozen.mean(), frozen.var(), entropy, kl, frozen)


def Poisson(rate: Array) -> Oracle:
    return _counting(stats.poisson(rate), top=150)


def Geometric(probs: Array | None = None, logits: Array | None = None) -> Oracle:
    pi = chance(probs, logits)
    entropy = (special.entr(pi) + special.entr(1 - pi)) / pi
    odds = (1 - pi) / pi

    def log_density(x: Array) -> Array:
        return np.log(pi) + special.xlog1py(x, -pi)

    def kl(other: Oracle) -> Array:
        grid = np.arange(1000).reshape(-1, *(1,) * np.ndim(pi))
        return _kl_of_counts(log_density(grid), other.log_density(grid))

    return Oracle(log_density, odds, odds / pi, entropy, kl)


def Binomial(
    total_count: Array, probs: Array | None = None, logits: Array | None = None
) -> Oracle:
    return _counting(stats.binom(total_count, chance(probs, logits)))


def NegativeBinomial(
    total_count: Array, probs: Array | None = None, logits: Array | None = None
) -> Oracle:
    return _counting(stats.nbinom(total_count, 1 - chance(probs, logits)))


def OrderedLogistic(loc: Array, cutpoints: Array) -> Oracle:
    below = special.expit(cutpoints - np.asarray(loc)[..., None])
    edge = np.zeros((*below.shape[:-1], 1))
    pi = np.diff(np.concatenate([edge, below, edge + 1], -1), axis=-1)

    def log_density(x: Array) -> Array:
        full = np.broadcast_to(np.log(pi), (*np.shape(x), pi.shape[-1]))
        return np.take_along_axis(full, np.asarray(x)[..., None], -1)[..., 0]

    return Oracle(
        log_density,
        None,
        None,
        stats.entropy(pi, axis=-1),
        lambda other: stats.entropy(pi, other.frozen, axis=-1),
        frozen=pi,
    )


def Multinomial(
    total_count: Array, probs: Array | None = None, logits: Array | None = None
) -> Oracle:
    pi = special.softmax(logits, -1) if probs is None else probs

    def log_density(x: Array) -> Array:
        orders = special.gammaln(total_count + 1) - special.gammaln(x + 1).sum(-1)
        return orders + special.xlogy(x, pi).sum(-1)

    n = total_count[..., None]
    each = zip(total_count, pi, strict=True)
    entropy = np.array([stats.multinomial(int(m), p / p.sum()).entropy() for m, p in each])
    return Oracle(log_density, n * pi, n * pi * (1 - pi), entropy, lambda other: None)


def DirichletMultinomial(total_count: Array, concentration: Array) -> Oracle:
    pairs = list(zip(concentration, total_count.astype(int), strict=True))
    laws = [stats.dirichlet_multinomial(a, n) for a, n in pairs]

    def log_density(x: Array) -> Array:
        return np.stack([law.logpmf(x[:, i].astype(int)) for i, law in enumerate(laws)], 1)

    mean = np.stack([law.mean() for law in laws])
    variance = np.stack([law.var() for law in laws])
    return Oracle(log_density, mean, variance, None, lambda other: None)


def _inflated(gate: Array, counts: Oracle) -> Oracle:
    def log_density(x: Array) -> Array:
        plain = np.log1p(-gate) + counts.log_density(x)
        return np.where(x == 0, np.logaddexp(np.log(gate), plain), plain)

    mean, variance = counts.mean, counts.variance
    assert mean is not None
    assert variance is not None
    spread = (1 - gate) * (variance + gate * mean**2)
    grid = np.arange(4000).reshape(-1, *(1,) * np.ndim(mean))
    entropy = special.entr(np.exp(log_density(grid))).sum(0)
    return Oracle(log_density, (1 - gate) * mean, spread, entropy, lambda other: None)


def ZeroInflatedPoisson(gate: Array, rate: Array) -> Oracle:
    return _inflated(gate, Poisson(rate))


def ZeroInflatedNegativeBinomial(gate: Array, **params: Array) -> Oracle:
    return _inflated(gate, NegativeBinomial(**params))
