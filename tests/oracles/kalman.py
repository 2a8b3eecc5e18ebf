"""Linear-Gaussian state space models, exactly: z_t = A z_{t-1} + w_t, x_t = C z_t + v_t.

The likelihood stands twice, by the Kalman filter and by the covariance of all observations at
once; the smoother is what conditioning that covariance gives.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """w_t ~ N(0, Q), v_t ~ N(0, R), and z_0 known."""

    A: Array
    Q: Array
    C: Array
    R: Array
    z0: Array

    def of_states(self, steps: int) -> tuple[Array, Array]:
        """Mean and covariance of z_1, ..., z_T, one behind another."""
        d = len(self.A)
        mean, cov = np.zeros(steps * d), np.zeros((steps * d, steps * d))
        m, P = self.z0, np.zeros((d, d))
        for t in range(steps):
            m, P = self.A @ m, self.A @ P @ self.A.T + self.Q
            at = slice(t * d, (t + 1) * d)
            mean[at], cov[at, at] = m, P
            across = P
            for s in range(t + 1, steps):
                across = self.A @ across
                later = slice(s * d, (s + 1) * d)
                cov[later, at], cov[at, later] = across, across.T
        return mean, cov

    def of_seen(self, seen: Array) -> tuple[Array, Array]:
        """The matrix that takes z_1, ..., z_T to the seen observations, and their noise."""
        H = np.kron(np.eye(len(seen)), self.C)[np.repeat(seen > 0, len(self.C))]
        return H, np.kron(np.eye(int((seen > 0).sum())), self.R)


def log_normal(x: Array, mean: Array, cov: Array) -> float:
    """log N(x; mean, cov)."""
    away = x - mean
    _, log_det = np.linalg.slogdet(2 * np.pi * cov)
    return float(-0.5 * (away @ np.linalg.solve(cov, away) + log_det))


def filtered(model: Model, x: Array, seen: Array) -> tuple[float, Array, Array]:
    """log p(x) of the seen observations by the Kalman filter; mean and covariance of each state
    given the observations up to it.
    """
    m, P, total = model.z0, np.zeros_like(model.Q), 0.0
    means, covs = [], []
    for t in range(len(x)):
        m, P = model.A @ m, model.A @ P @ model.A.T + model.Q
        if seen[t] > 0:
            S = model.C @ P @ model.C.T + model.R
            total += log_normal(x[t], model.C @ m, S)
            gain = P @ model.C.T @ np.linalg.inv(S)
            m, P = m + gain @ (x[t] - model.C @ m), P - gain @ model.C @ P
        means.append(m)
        covs.append(P)
    return total, np.array(means), np.array(covs)


def log_likelihood(model: Model, x: Array, seen: Array) -> float:
    """log p(x) of the seen observations, all at once."""
    mean, cov = model.of_states(len(x))
    H, R = model.of_seen(seen)
    return log_normal(x[seen > 0].ravel(), H @ mean, H @ cov @ H.T + R)


def smoother(model: Model, x: Array, seen: Array) -> tuple[Array, Array, Array]:
    """The posterior as a chain, z_t = F_t z_{t-1} + b_t + noise of covariance V_t.

    Returns:
        F, b and V, one for each step.
    """
    steps, d = len(x), len(model.A)
    mean, cov = model.of_states(steps)
    H, R = model.of_seen(seen)
    gain = cov @ H.T @ np.linalg.inv(H @ cov @ H.T + R)
    mean = mean + gain @ (x[seen > 0].ravel() - H @ mean)
    cov = cov - gain @ H @ cov
    F, b, V = np.zeros((steps, d, d)), np.zeros((steps, d)), np.zeros((steps, d, d))
    for t in range(steps):
        at, before = slice(t * d, (t + 1) * d), slice((t - 1) * d, t * d)
        b[t], V[t] = mean[at], cov[at, at]
        if t:
            F[t] = cov[at, before] @ np.linalg.inv(cov[before, before])
            b[t] = mean[at] - F[t] @ mean[before]
            V[t] = cov[at, at] - F[t] @ cov[before, at]
    return F, b, V
