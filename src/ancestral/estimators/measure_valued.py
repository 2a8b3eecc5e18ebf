r"""Measure-valued gradients of normal laws: differences of the integrand, and no derivative of it.

The derivative of a density in a parameter is a difference of two densities times a constant. Of
:math:`N(z; \mu, \sigma^2)`

.. math::
    \partial_\mu E[f(z)] &= \frac{1}{\sigma\sqrt{2\pi}}
    \left(E[f(\mu + \sigma W)] - E[f(\mu - \sigma W)]\right), \\
    \partial_\sigma E[f(z)] &= \frac1\sigma
    \left(E[f(\mu + \sigma M)] - E[f(\mu + \sigma\epsilon)]\right)

with W of the Weibull law :math:`w\,e^{-w^2/2}` (Rayleigh's), M of the double-sided Maxwell law
:math:`m^2 e^{-m^2/2} / \sqrt{2\pi}`, and :math:`\epsilon` standard normal. Both parts of a
difference are coupled, which lowers its variance: W is the same in both, and M is
:math:`\pm\sqrt{\epsilon^2 + 2e}` with the sign of :math:`\epsilon`, the noise of the draw itself,
and an exponential e; :math:`W = \sqrt{2e}`. (Given M, :math:`\epsilon / M` is uniform.)

Of a vector each component has differences of its own, the others left as they are drawn: 3D + 1
evaluations of the integrand for D components, in one pass. Nothing is asked of f, which may jump.

Source: Mohamed, Rosca, Figurnov and Mnih, Monte Carlo Gradient Estimation in Machine Learning
(2020), table 1 and section 6; Rosca, Figurnov, Mohamed and Mnih, Measure-Valued Derivatives for
Approximate Bayesian Inference (2019), section 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.distributions.normal import Normal
from ancestral.estimators.base import Estimator

GAP = "gap"  # the part of the noise that the draw itself does without


class _Noise:
    """The noise of a draw and of what it is compared with."""

    noise: ClassVar[dict[str, str]] = {"": "normal", GAP: "exponential"}

    @staticmethod
    def noise_shape(event: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """One number for each component, in both parts."""
        return {"": tuple(event), GAP: tuple(event)}


@dataclass(frozen=True)
class MeasureValued(Estimator):
    """Weak derivatives of a normal law with independent components: for integrands that jump.

    The integrand is evaluated 3D + 1 times for a draw of D components, without a backward pass
    but the one through the draw itself. Other draws that are made given this one are made anew
    for each evaluation.

    Args:
        draws: How many draws estimate the expectation.

    Raises:
        OptionError: In a loss, if the law is not ``Normal``, or one number of the integrand reads
            its draws of several rows or copies.

    Example:
        >>> from ancestral.losses import E, Function, values
        >>> loc = torch.nn.Parameter(torch.zeros(1))
        >>> q = Normal(loc=loc, scale=1.0, var=["z"], name="q")
        >>> step = Function(lambda z: (z[:, 0] > 0).float(), name="step")(values("z"))
        >>> _ = torch.manual_seed(0)
        >>> value = E(q, step).estimate({q: MeasureValued(draws=2)}).eval(batch_n=1)
        >>> torch.autograd.grad(value, loc)  # the density at the step, without noise
        (tensor([0.3989]),)
    """

    how: ClassVar[str] = "versions"
    count: ClassVar[int | None] = None  # it depends on the event
    joint: ClassVar[bool] = False
    called: ClassVar[tuple[str, str]] = ("the draw and its couples", "weights")

    def serves(self, moves: type) -> bool:
        """Whether it is for laws with these moves."""
        return moves is Normal

    def moves(self, moves: type) -> type:
        """By which the noise is made."""
        return _Noise

    def versions(
        self, moves: Any, params: dict[str, Any], axes: int, eps: Tensor, gap: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The draw z, then z with one component at each of its three couples, and their weights.

        Args:
            moves: Those of the law.
            params: ``loc`` and ``scale``.
            axes: How many axes stand before the event.
            eps: Normal noise, shape ``(*axes, *event)``.
            gap: Exponential noise, likewise.

        Returns:
            Shapes ``(1 + 3 D, *axes, *event)`` and ``(1 + 3 D, *axes)``, of which the second alone
            has a gradient.
        """
        event = eps.shape[axes:]
        flat = (eps.reshape(*eps.shape[:axes], -1), gap.reshape(*gap.shape[:axes], -1))
        loc, scale = (_flat(params[key], eps, axes) for key in ("loc", "scale"))
        m, s = loc.detach(), scale.detach()
        rayleigh = (2.0 * flat[1]).sqrt()
        maxwell = (flat[0].square() + 2.0 * flat[1]).sqrt().copysign(flat[0])
        z = m + s * flat[0]
        own = torch.eye(z.shape[-1], dtype=torch.bool, device=z.device)
        own = own.reshape(-1, *(1,) * axes, z.shape[-1])  # (D, 1, ..., 1, D)
        couples = (m + s * rayleigh, m - s * rayleigh, m + s * maxwell)
        every = torch.cat([z[None], *(torch.where(own, c, z) for c in couples)])
        by_loc = (loc / (s * math.sqrt(2.0 * math.pi))).movedim(-1, 0)  # (D, *axes)
        by_scale = (scale / s).movedim(-1, 0)
        weights = torch.cat([-by_scale.sum(0)[None], by_loc, -by_loc, by_scale])
        return every.reshape(*every.shape[:-1], *event), weights

    def weigh(self, f: Tensor, weights: Tensor, axis: int) -> Tensor:
        """The integrand at the draw, with the differences times the gradients of the weights.

        Args:
            f: The integrand at the versions.
            weights: Broadcastable to ``f``.
            axis: The dimension of the versions.
        """
        term = (f.detach() * weights).sum(axis)
        return f.select(axis, 0) + (term - term.detach())


def _flat(value: Any, like: Tensor, axes: int) -> Tensor:
    """A parameter, with the event as one axis."""
    wide = torch.as_tensor(value, dtype=like.dtype, device=like.device).expand(like.shape)
    return wide.reshape(*like.shape[:axes], -1)
