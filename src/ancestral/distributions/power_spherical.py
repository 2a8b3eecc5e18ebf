r"""The power spherical law, :math:`p(x) \propto (1 + \mu^\top x)^\kappa`, of directions."""

import math
from typing import Any

import torch
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.directional import Directional, direction
from ancestral.distributions.dirichlet import draw_dirichlet
from ancestral.distributions.gamma_function import digamma_error, double, log_beta, result_like
from ancestral.distributions.incomplete_beta import slopes_in_shapes
from ancestral.distributions.noise import per_vector


class PowerSpherical(Directional):
    r"""The power spherical law of a unit vector of D >= 2 entries, a density of area. With
    :math:`a = \frac{D-1}2 + \kappa` and :math:`b = \frac{D-1}2`,
    :math:`\log p(x) = \kappa\log\frac{1+\mu^\top x}2 - 2b\log 2 - b\log\pi + \log\Gamma(a+b) -
    \log\Gamma(a)`.

    It serves where a von Mises-Fisher law does, without Bessel functions or rejection: the
    distance from :math:`\mu` is that of a Beta variable, through which draws have their gradient.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, D)``.
        loc: Mean direction :math:`\mu`, a unit vector, shape ``(*event, D)``: a tensor, an
            ``nn.Parameter``, or a condition's name. It is divided by its length.
        concentration: :math:`\kappa > 0`, shape ``(*event)``: a number, or likewise.
        net: A network of the conditions that returns a dict of parameters.

    Source: De Cao, Aziz, The Power Spherical distribution, 2020.

    Example:
        >>> p = PowerSpherical(loc=torch.tensor([0.0, 0.0, 1.0]), concentration=1.0)
        >>> p.get_log_prob({"x": torch.tensor([[0.0, 0.0, 1.0]])}).exp() * 2 * math.pi
        tensor([1.0000])
    """

    has_density = True

    @staticmethod
    def away(kappa: Tensor, size: int, generator: Generator = None) -> Tensor:
        """Draws of w, from Beta(b, a)."""
        a = kappa + 0.5 * (size - 1)
        pair = torch.stack([torch.full_like(a, 0.5 * (size - 1)), a], -1)
        return draw_dirichlet(pair, generator)[..., 0]  # the small one, to all its digits

    @staticmethod
    def slope(w: Tensor, kappa: Tensor, size: int) -> Tensor:
        r"""The derivative of w with respect to :math:`\kappa`, that is to a."""
        a = kappa + 0.5 * (size - 1)
        b = torch.full_like(a, 0.5 * (size - 1))
        return w * (1.0 - w) * slopes_in_shapes(b, a, w, 1.0 - w)[1]

    @staticmethod
    def log_density(x: Tensor, loc: Any, concentration: Any) -> Tensor:
        """The log density of each vector."""
        cosine = (direction(double(loc)) * double(x)).sum(-1)
        kappa = double(concentration)
        # exactly opposite the mean the density is 0
        near = (0.5 + 0.5 * cosine).clamp(min=torch.finfo(torch.float64).tiny)
        return result_like(
            kappa * near.log() - _log_normaliser(kappa, x.shape[-1]), x, loc, concentration
        )

    @staticmethod
    def mean_of(loc: Any, concentration: Any) -> Any:
        r""":math:`\frac{a-b}{a+b}\mu`."""
        ratio = concentration / (concentration + (loc.shape[-1] - 1.0))
        return per_vector(ratio, loc) * direction(loc)

    @staticmethod
    def variance_of(loc: Any, concentration: Any) -> Any:
        r"""Entry by entry, from the mean and variance of :math:`t = \mu^\top x`:
        :math:`\mu_i^2 \mathrm{Var}\,t + (1-\mu_i^2)\frac{1 - E t^2}{D-1}`.
        """
        free = loc.shape[-1] - 1.0
        kappa = per_vector(concentration, loc)
        a, b = kappa + 0.5 * free, 0.5 * free
        mean, spread = kappa / (a + b), 4.0 * a * b / ((a + b) ** 2 * (a + b + 1.0))
        along = direction(loc).square()
        return along * spread + (1.0 - along) * (1.0 - spread - mean**2) / free

    @staticmethod
    def entropy_of(loc: Any, concentration: Any) -> Any:
        r""":math:`-\kappa(\psi(a) - \psi(a+b))` plus the logarithm of the normaliser."""
        kappa, half = double(concentration), 0.5 * (loc.shape[-1] - 1)
        a, n = kappa + half, kappa + 2.0 * half
        slope = (half / a).log1p() + 0.5 / a - 0.5 / n + digamma_error(a) - digamma_error(n)
        return result_like(
            kappa * slope + _log_normaliser(kappa, loc.shape[-1]), loc, concentration
        )


def _log_normaliser(kappa: Tensor, size: int) -> Tensor:
    r""":math:`2b\log 2 + b\log\pi + \log\Gamma(a) - \log\Gamma(a+b)`."""
    b = torch.tensor(0.5 * (size - 1), dtype=torch.float64, device=kappa.device)
    return b * math.log(4.0 * math.pi) + log_beta(kappa + b, b) - b.lgamma()
