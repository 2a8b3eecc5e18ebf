"""Laws of vectors, directions, matrices and sequences by SciPy; see ``scipy_laws``."""

from dataclasses import replace

import numpy as np
from scipy import special, stats

from tests.oracles.scipy_base import Array, Oracle, gaussian, product


def MultivariateNormal(
    loc: Array,
    covariance_matrix: Array | None = None,
    precision_matrix: Array | None = None,
    scale_tril: Array | None = None,
) -> Oracle:
    if scale_tril is not None:
        return gaussian(loc, scale_tril @ np.swapaxes(scale_tril, -1, -2))
    if precision_matrix is not None:
        return gaussian(loc, np.linalg.inv(precision_matrix))
    assert covariance_matrix is not None
    return gaussian(loc, covariance_matrix)


def LowRankMultivariateNormal(loc: Array, cov_factor: Array, cov_diag: Array) -> Oracle:
    own = cov_diag[..., None] * np.eye(cov_diag.shape[-1])
    return gaussian(loc, cov_factor @ np.swapaxes(cov_factor, -1, -2) + own)


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


def MatrixNormal(
    loc: Array,
    row_scale_tril: Array | None = None,
    row_covariance: Array | None = None,
    column_scale_tril: Array | None = None,
    column_covariance: Array | None = None,
) -> Oracle:
    """By the law of its entries as one vector."""
    row = product(row_scale_tril) if row_covariance is None else row_covariance
    column = product(column_scale_tril) if column_covariance is None else column_covariance
    laws = [stats.matrix_normal(*args) for args in zip(loc, row, column, strict=True)]
    whole = np.stack([np.kron(u, v) for u, v in zip(row, column, strict=True)])
    flat = gaussian(loc.reshape(len(loc), -1), whole)
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
        v = product(scale_tril)
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
    return gaussian(mean, product(factor))
