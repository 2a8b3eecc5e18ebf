r"""Scenes of one dimension, seen from viewpoints: what a model that answers queries learns from.

.. math::
    s \sim GP(0, e^{-(a-b)^2/2l^2}), \qquad x_j = s(v + \delta_j) + \sigma\epsilon_j

A view from v is a row of pixels around v. All views of a scene are jointly normal, so that the best
answer to a query is known.
"""

import torch
from torch import Tensor

NOISE, LENGTH, REACH = 0.2, 0.5, 0.2  # sigma; l; how far the outermost pixels are from v


def scenes(
    rows: int, *, views: int = 4, pixels: int = 3, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Views of scenes, one scene a row, and what is seen from one viewpoint more.

    Args:
        rows: N, the number of scenes.
        views: M.
        pixels: P, of each view.
        generator: Source of randomness; torch's default generator if not given.

    Returns:
        The views "x", shape (N, M, P), from "v", shape (N, M, 1), uniform on [-1, 1]; and "x_q",
        shape (N, P), from "v_q", shape (N, 1).

    Example:
        >>> {name: tuple(value.shape) for name, value in scenes(10).items()}
        {'x': (10, 4, 3), 'v': (10, 4, 1), 'x_q': (10, 3), 'v_q': (10, 1)}
    """
    v = 2 * torch.rand(rows, views + 1, 1, generator=generator) - 1
    root = torch.linalg.cholesky(_covariance(v, pixels))
    noise = torch.randn(rows, root.shape[-1], 1, generator=generator)
    x = (root @ noise).reshape(rows, views + 1, pixels)
    return {"x": x[:, 1:], "v": v[:, 1:], "x_q": x[:, 0], "v_q": v[:, 0]}


def log_answer(data: dict[str, Tensor], *, given: bool = True) -> Tensor:
    """The log density of the answers, log p(x_q|v_q, x, v), shape (N,).

    Args:
        data: As :func:`scenes` returns it.
        given: Whether the views are; log p(x_q|v_q) if not.
    """
    pixels = data["x_q"].shape[1]
    cov = _covariance(torch.cat([data["v_q"][:, None], data["v"]], 1), pixels)
    mean, spread = torch.zeros_like(data["x_q"]), cov[:, :pixels, :pixels]
    if given:
        slope = torch.linalg.solve(cov[:, pixels:, pixels:], cov[:, pixels:, :pixels]).mT
        mean = (slope @ data["x"].flatten(1)[..., None]).squeeze(-1)
        spread = spread - slope @ cov[:, pixels:, :pixels]
    found: Tensor = torch.distributions.MultivariateNormal(mean, spread).log_prob(data["x_q"])
    return found


def _covariance(v: Tensor, pixels: int) -> Tensor:
    """Of all pixels seen from v of shape (N, M, 1); shape (N, M P, M P)."""
    at = (v + torch.linspace(-REACH, REACH, pixels, dtype=v.dtype)).flatten(1)
    square = (at[:, :, None] - at[:, None]).square()
    noise = NOISE**2 * torch.eye(at.shape[1], dtype=v.dtype)
    return (-square / (2 * LENGTH**2)).exp() + noise
