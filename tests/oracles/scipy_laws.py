"""Laws by SciPy: what densities, moments, entropies and divergences should be.

One function for each law, by the name of its class and with the names of its parameters. Nothing
of the package under test is imported here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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


def _continuous(frozen: Any) -> Oracle:
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


def _by_quantiles(frozen: Any) -> Oracle:
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


def Normal(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.norm(loc, scale))


def Laplace(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.laplace(loc, scale))


def LogNormal(loc: Array, scale: Array) -> Oracle:
    def kl(other: Oracle) -> Array:  # it does not see a map of the values
        (s,), p = other.frozen.args, other.frozen.kwds
        return _continuous(stats.norm(loc, scale)).kl(
            _continuous(stats.norm(np.log(p["scale"]), s))
        )

    return replace(_continuous(stats.lognorm(scale, scale=np.exp(loc))), kl=kl)


def Exponential(rate: Array) -> Oracle:
    return _continuous(stats.expon(scale=1 / rate))


def Uniform(low: Array, high: Array) -> Oracle:
    def kl(other: Oracle) -> Array:
        (a, b), (c, d) = frozen.support(), other.frozen.support()
        return np.where((c <= a) & (b <= d), np.log((d - c) / (b - a)), np.inf)

    frozen = stats.uniform(low, high - low)
    return replace(_continuous(frozen), kl=kl)


def HalfNormal(scale: Array) -> Oracle:
    return _continuous(stats.halfnorm(scale=scale))


def Gumbel(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.gumbel_r(loc, scale))


def Logistic(loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.logistic(loc, scale))


def Cauchy(loc: Array, scale: Array) -> Oracle:
    return _by_quantiles(stats.cauchy(loc, scale))


def HalfCauchy(scale: Array) -> Oracle:
    return _by_quantiles(stats.halfcauchy(scale=scale))


def Gamma(concentration: Array, rate: Array) -> Oracle:
    return _continuous(stats.gamma(concentration, scale=1 / rate))


def InverseGamma(concentration: Array, rate: Array) -> Oracle:
    def kl(other: Oracle) -> Array:  # it does not see a map of the values
        (a,), b = other.frozen.args, other.frozen.kwds["scale"]
        return Gamma(concentration, rate).kl(Gamma(a, b))

    return replace(_continuous(stats.invgamma(concentration, scale=rate)), kl=kl)


def Beta(concentration1: Array, concentration0: Array) -> Oracle:
    return _continuous(stats.beta(concentration1, concentration0))


def StudentT(df: Array, loc: Array, scale: Array) -> Oracle:
    return _continuous(stats.t(df, loc, scale))


def Kumaraswamy(concentration1: Array, concentration0: Array) -> Oracle:
    a, b = concentration1, concentration0
    first, second = (b * special.beta(1 + n / a, b) for n in (1, 2))
    harmonic = special.digamma(b + 1) + np.euler_gamma

    def log_density(x: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * np.log1p(-(x**a))

    entropy = 1 - 1 / b + (1 - 1 / a) * harmonic - np.log(a * b)
    return Oracle(log_density, first, second - first**2, entropy, lambda other: np.nan)


def ContinuousBernoulli(probs: Array | None = None, logits: Array | None = None) -> Oracle:
    eta = special.logit(probs) if logits is None else logits
    log_total = np.log(np.expm1(eta) / eta)
    mean = 1 / -np.expm1(-eta) - 1 / eta
    variance = eta**-2.0 - 0.25 / np.sinh(eta / 2) ** 2

    def kl(other: Oracle) -> Array:
        return (eta - other.frozen[0]) * mean - log_total + other.frozen[1]

    return Oracle(
        lambda x: eta * x - log_total,
        mean,
        variance,
        log_total - eta * mean,
        kl,
        (eta, log_total),
    )


def FoldedNormal(loc: Array, scale: Array) -> Oracle:
    def log_density(x: Array) -> Array:
        return np.logaddexp(stats.norm.logpdf(x, loc, scale), stats.norm.logpdf(-x, loc, scale))

    frozen = stats.foldnorm(np.abs(loc) / scale, scale=scale)
    return replace(_continuous(frozen), log_density=log_density)


def TruncatedNormal(loc: Array, scale: Array, low: Array, high: Array) -> Oracle:
    return _continuous(stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale))


def VonMises(loc: Array, concentration: Array) -> Oracle:
    k = concentration
    log_turn = np.log(2 * np.pi * special.i0e(k))
    ratio = special.i1e(k) / special.i0e(k)

    def square(index: int) -> float:
        def density(z: float) -> float:
            return z * z * np.exp(k[index] * (np.cos(z) - 1) - log_turn[index])

        return 2 * integrate.quad(density, 0, np.pi, epsabs=1e-14, epsrel=1e-13)[0]

    def kl(other: Oracle) -> Array:
        m, n, other_turn = other.frozen
        mean = k * (ratio - 1) - n * (ratio * np.cos(loc - m) - 1)
        return mean - log_turn + other_turn

    return Oracle(
        lambda x: k * (np.cos(x - loc) - 1) - log_turn,
        loc,
        np.array([square(i) for i in range(len(k))]),
        log_turn - k * (ratio - 1),
        kl,
        (loc, k, log_turn),
    )


def _log_level(x: Array, loc: Array, scale: Array) -> Array:
    upper, lower = (x + 0.5 - loc) / scale, (x - 0.5 - loc) / scale
    inner = special.log_expit(upper) + special.log_expit(-lower) + np.log(-np.expm1(-1 / scale))
    top = np.where(x >= 255, special.log_expit(-lower), inner)
    return np.where(x <= 0, special.log_expit(upper), top)


def _of_levels(loc: Array, scale: Array) -> tuple[Array, Array, Array]:
    """Mean, variance and entropy, by sums over the levels."""
    x = np.arange(256.0).reshape(-1, *(1,) * np.ndim(loc))
    p = np.exp(_log_level(x, loc, scale))
    mean = (p * x).sum(0)
    return mean, (p * (x - mean) ** 2).sum(0), special.entr(p).sum(0)


def DiscretizedLogistic(loc: Array, scale: Array) -> Oracle:
    mean, variance, entropy = _of_levels(loc, scale)
    return Oracle(
        lambda x: _log_level(x, loc, scale), mean, variance, entropy, lambda other: np.nan
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


def _odds(probs: Array | None, logits: Array | None) -> Array:
    return special.expit(logits) if probs is None else probs


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
    pi = _odds(probs, logits)
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
    return _counting(stats.binom(total_count, _odds(probs, logits)))


def NegativeBinomial(
    total_count: Array, probs: Array | None = None, logits: Array | None = None
) -> Oracle:
    return _counting(stats.nbinom(total_count, 1 - _odds(probs, logits)))


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


def _by_component(log_density: Callable[..., Array], x: Array, *params: Array) -> Array:
    """A function of one vector and its parameters, at each component of each row."""
    rows = [log_density(x[:, i], *(p[i] for p in params)) for i in range(x.shape[1])]
    return np.stack([np.reshape(row, len(x)) for row in rows], 1)


def _gaussian(loc: Array, covariance: Array) -> Oracle:
    size = loc.shape[-1]

    def log_density(x: Array) -> Array:
        return _by_component(
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


def MultivariateNormal(
    loc: Array,
    covariance_matrix: Array | None = None,
    precision_matrix: Array | None = None,
    scale_tril: Array | None = None,
) -> Oracle:
    if scale_tril is not None:
        return _gaussian(loc, scale_tril @ np.swapaxes(scale_tril, -1, -2))
    if precision_matrix is not None:
        return _gaussian(loc, np.linalg.inv(precision_matrix))
    assert covariance_matrix is not None
    return _gaussian(loc, covariance_matrix)


def LowRankMultivariateNormal(loc: Array, cov_factor: Array, cov_diag: Array) -> Oracle:
    own = cov_diag[..., None] * np.eye(cov_diag.shape[-1])
    return _gaussian(loc, cov_factor @ np.swapaxes(cov_factor, -1, -2) + own)


def Dirichlet(concentration: Array) -> Oracle:
    laws = [stats.dirichlet(a) for a in concentration]
    total = concentration.sum(-1)

    def log_density(x: Array) -> Array:
        constant = special.gammaln(total) - special.gammaln(concentration).sum(-1)
        return constant + special.xlogy(concentration - 1, x).sum(-1)

    def kl(other: Oracle) -> Array:
        beta = other.frozen
        digamma = special.digamma(concentration) - special.digamma(total)[..., None]
        mine = special.gammaln(total) - special.gammaln(concentration).sum(-1)
        its = special.gammaln(beta.sum(-1)) - special.gammaln(beta).sum(-1)
        return mine - its + ((concentration - beta) * digamma).sum(-1)

    return Oracle(
        log_density,
        np.stack([law.mean() for law in laws]),
        np.stack([law.var() for law in laws]),
        np.stack([law.entropy() for law in laws]),
        kl,
        concentration,
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


def RelaxedBernoulli(
    temperature: Array, probs: Array | None = None, logits: Array | None = None
) -> Oracle:
    eta = special.logit(probs) if logits is None else logits
    frozen = stats.logistic(eta / temperature, 1 / temperature)

    def log_density(x: Array) -> Array:
        return frozen.logpdf(special.logit(x)) - np.log(x) - np.log1p(-x)

    return Oracle(log_density, None, None, None, lambda other: None)


def RelaxedCategorical(
    temperature: Array, probs: Array | None = None, logits: Array | None = None
) -> Oracle:
    eta = np.log(probs) if logits is None else logits
    size, lift = eta.shape[-1], temperature[..., None]

    def log_density(x: Array) -> Array:
        parts = eta - (lift + 1) * np.log(x)
        whole = special.logsumexp(eta - lift * np.log(x), -1, keepdims=True)
        constant = special.gammaln(size) + (size - 1) * np.log(temperature)
        return constant + (parts - whole).sum(-1)

    return Oracle(log_density, None, None, None, lambda other: None)


def ExpRelaxedCategorical(
    temperature: Array, probs: Array | None = None, logits: Array | None = None
) -> Oracle:
    plain = RelaxedCategorical(temperature, probs, logits)

    def log_density(y: Array) -> Array:
        return plain.log_density(np.exp(y)) + y.sum(-1)

    return Oracle(log_density, None, None, None, lambda other: None)


# -- zero-inflated, directions --------------------------------------------------------------------
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


def PowerSpherical(loc: Array, concentration: Array) -> Oracle:
    size = loc.shape[-1]
    mu, b = loc / np.linalg.norm(loc, axis=-1, keepdims=True), (size - 1) / 2
    a = concentration + b
    t = stats.beta(a, b, loc=-1, scale=2)
    constant = (a + b) * np.log(2) + b * np.log(np.pi) + special.gammaln(a)
    constant = constant - special.gammaln(a + b)

    def log_density(x: Array) -> Array:
        return concentration * np.log1p((mu * x).sum(-1)) - constant

    slope = np.log(2) + special.digamma(a) - special.digamma(a + b)
    square = t.var() + t.mean() ** 2
    second = ((1 - square) / (size - 1))[..., None]
    variance = mu**2 * t.var()[..., None] + (1 - mu**2) * second
    entropy = constant - concentration * slope
    return Oracle(log_density, t.mean()[..., None] * mu, variance, entropy, lambda other: None)


# -- mixtures -------------------------------------------------------------------------------------
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
        return _log_level(np.asarray(x)[..., None], loc, scale)

    return _mixture(weights, weight_logits, each, *_of_levels(loc, scale)[:2])


def BernoulliMixture(
    probs: Array | None = None,
    logits: Array | None = None,
    weights: Array | None = None,
    weight_logits: Array | None = None,
) -> Oracle:
    on = _odds(probs, logits)
    parts = stats.bernoulli(on)
    return _mixture(weights, weight_logits, lambda x: parts.logpmf(x[..., None, :]).sum(-1),
                    on, on * (1 - on))  # fmt: skip


def VonMisesFisher(loc: Array, concentration: Array) -> Oracle:
    size = loc.shape[-1]
    mu = loc / np.linalg.norm(loc, axis=-1, keepdims=True)
    laws = [stats.vonmises_fisher(*args) for args in zip(mu, concentration, strict=True)]
    order = size / 2 - 1
    mean = special.ive(order + 1, concentration) / special.ive(order, concentration)
    log_z = np.log(special.ive(order, concentration)) + size / 2 * np.log(2 * np.pi)
    log_z = log_z - order * np.log(concentration)
    across = mean / concentration  # of each direction orthogonal to the mean
    along = 1 - (size - 1) * across - mean**2
    variance = mu**2 * along[:, None] + (1 - mu**2) * across[:, None]

    def log_density(x: Array) -> Array:
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return np.stack([law.logpdf(x[:, i]) for i, law in enumerate(laws)], -1)

    def kl(other: Oracle) -> Array:
        nu, kappa, its_z = other.frozen
        cosine = (mu * nu).sum(-1)
        return concentration * (mean - 1) - log_z - kappa * (mean * cosine - 1) + its_z

    entropy = np.array([law.entropy() for law in laws])
    frozen = (mu, concentration, log_z)
    return Oracle(log_density, mean[:, None] * mu, variance, entropy, kl, frozen)


# -- matrices -------------------------------------------------------------------------------------
def MatrixNormal(
    loc: Array,
    row_scale_tril: Array | None = None,
    row_covariance: Array | None = None,
    column_scale_tril: Array | None = None,
    column_covariance: Array | None = None,
) -> Oracle:
    """By the law of its entries as one vector."""
    row = _product(row_scale_tril) if row_covariance is None else row_covariance
    column = _product(column_scale_tril) if column_covariance is None else column_covariance
    laws = [stats.matrix_normal(*args) for args in zip(loc, row, column, strict=True)]
    whole = np.stack([np.kron(u, v) for u, v in zip(row, column, strict=True)])
    flat = _gaussian(loc.reshape(len(loc), -1), whole)
    return replace(
        flat,
        log_density=lambda x: np.stack([law.logpdf(x[:, i]) for i, law in enumerate(laws)], -1),
        mean=loc,
        variance=flat.variance.reshape(loc.shape),
        entropy=np.stack([law.entropy() for law in laws]),
    )


def Wishart(
    df: Array,
    covariance_matrix: Array | None = None,
    precision_matrix: Array | None = None,
    scale_tril: Array | None = None,
) -> Oracle:
    if scale_tril is not None:
        v = _product(scale_tril)
    else:
        v = np.linalg.inv(precision_matrix) if covariance_matrix is None else covariance_matrix
    laws = [stats.wishart(*args) for args in zip(df, v, strict=True)]
    size = v.shape[-1]

    def log_density(x: Array) -> Array:
        each = [law.logpdf(np.moveaxis(x[:, i], 0, -1)) for i, law in enumerate(laws)]
        return np.stack(each, -1)

    def kl(other: Oracle) -> Array:
        nu, w = other.frozen
        inside = np.linalg.inv(w) @ v
        steps = np.arange(size)[:, None] / 2
        slope = special.digamma(df / 2 - steps).sum(0)
        gammas = special.multigammaln(nu / 2, size) - special.multigammaln(df / 2, size)
        trace = np.trace(inside, axis1=-2, axis2=-1)
        log_det = np.log(np.linalg.det(inside))
        return 0.5 * (df * (trace - size) - nu * log_det + (df - nu) * slope) + gammas

    return Oracle(
        log_density,
        np.stack([law.mean() for law in laws]),
        np.stack([law.var() for law in laws]),
        np.stack([law.entropy() for law in laws]),
        kl,
        (df, v),
    )


def LKJCholesky(dim: int, concentration: Array) -> Oracle:
    """By the Beta laws of the squared lengths of rows."""
    eta = concentration[..., None]
    rows = np.arange(1, dim)
    half, above = rows / 2, eta + (dim - 1 - rows) / 2
    volume = half * np.log(np.pi) - special.gammaln(half) + special.betaln(half, above)

    def log_density(x: Array) -> Array:
        diagonal = np.diagonal(x, axis1=-2, axis2=-1)[..., 1:]
        return ((2 * above - 2) * np.log(diagonal) - volume).sum(-1)

    def whole(below: Array, diagonal: Array, first: float) -> Array:
        out = np.zeros((len(concentration), dim, dim))
        out[:, 0, 0] = first
        for row in rows:
            out[:, row, :row] = below
            out[:, row, row] = diagonal[:, row - 1]
        return out

    mean = np.exp(special.betaln(half, above + 0.5) - special.betaln(half, above))
    variance = above / (above + half) - mean**2
    slope = special.digamma(above + half) - special.digamma(above)

    def kl(other: Oracle) -> Array:
        its, its_volume = other.frozen
        return ((its - above) * slope + its_volume - volume).sum(-1)

    return Oracle(
        log_density,
        whole(np.zeros((len(concentration), 1)), mean, 1.0),
        whole(1 / (2 * eta + dim - 1), variance, 0.0),
        ((above - 1) * slope + volume).sum(-1),
        kl,
        (above, volume),
    )


def _product(factor: Array) -> Array:
    return factor @ np.swapaxes(factor, -1, -2)


# -- sequences ------------------------------------------------------------------------------------
def AutoregressiveNormal(
    steps: int,
    drift: Array,
    coefficient: Array,
    scale: Array,
    initial_loc: Array | None = None,
    initial_scale: Array | None = None,
) -> Oracle:
    """By the covariance of all steps."""
    m = drift / (1 - coefficient) if initial_loc is None else initial_loc
    s = scale / np.sqrt(1 - coefficient**2) if initial_scale is None else initial_scale
    factor, mean = np.zeros((len(drift), steps, steps)), np.zeros((len(drift), steps))
    for t in range(steps):
        mean[:, t] = m if t == 0 else drift + coefficient * mean[:, t - 1]
        for u in range(t + 1):
            factor[:, t, u] = (s if u == 0 else scale) * coefficient ** (t - u)
    return _gaussian(mean, _product(factor))
