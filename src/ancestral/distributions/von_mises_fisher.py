r"""The von Mises-Fisher law, :math:`p(x) \propto e^{\kappa\mu^\top x}`, of directions."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.directional import Directional, direction
from ancestral.distributions.dirichlet import draw_dirichlet
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.noise import per_vector
from ancestral.distributions.quadrature import integrate


class VonMisesFisher(Directional):
    r"""The von Mises-Fisher law of a unit vector of D >= 2 entries, a density of area. With
    :math:`\nu = \frac D2 - 1`,
    :math:`\log p(x) = \kappa\mu^\top x + \nu\log\kappa - \frac D2\log 2\pi - \log I_\nu(\kappa)`.

    On the circle it is the von Mises law of the angle. The normaliser is an integral over the
    angle from the mean, exact in any dimension for any concentration. Draws are made by rejection
    (Wood); their gradient is that of implicit reparameterisation of that angle (Davidson et al.),
    beside that of the rotation to the mean. A power spherical law is cheaper.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, ``(*event, D)``.
        loc: Mean direction :math:`\mu`, a unit vector, shape ``(*event, D)``: a tensor, an
            ``nn.Parameter``, or a condition's name. It is divided by its length, as values are.
        concentration: :math:`\kappa > 0`, shape ``(*event)``: a number, or likewise.
        net: A network of the conditions that returns a dict of parameters.

    Source: Wood, Simulation of the von Mises Fisher distribution, 1994; Davidson et al.,
    Hyperspherical Variational Auto-Encoders, 2018.

    Example:
        >>> p = VonMisesFisher(loc=torch.tensor([0.0, 0.0, 1.0]), concentration=1e-3)
        >>> p.get_log_prob({"x": torch.tensor([[1.0, 0.0, 0.0]])}).exp() * 4 * math.pi
        tensor([1.0000])
    """

    has_density = True

    @staticmethod
    def away(kappa: Tensor, size: int, generator: Generator = None) -> Tensor:
        r"""Draws of w, by Wood's method, until each is accepted: with b below and z from
        Beta(m, m), :math:`m = \frac{D-1}2`, it proposes :math:`w = \frac{bz}{1-(1-b)z}`.
        """
        kappa, half = kappa.double(), 0.5 * (size - 1.0)
        b = half / (kappa + (kappa.square() + half * half).sqrt())
        gap = 2.0 * b / (1.0 + b)  # 1 - x_0 of the paper
        pair = torch.full((*kappa.shape, 2), half, dtype=kappa.dtype, device=kappa.device)
        out, waiting = torch.zeros_like(kappa), torch.ones_like(kappa, dtype=torch.bool)
        while not kappa.is_meta and bool(waiting.any()):
            z = draw_dirichlet(pair, generator)
            w = b * z[..., 0] / (z[..., 1] + b * z[..., 0])
            u = torch.rand(kappa.shape, dtype=b.dtype, device=b.device, generator=generator)
            share = (1.0 + 2.0 * w * (1.0 - gap) / gap) / (2.0 - gap)
            good = kappa * (gap - 2.0 * w) + 2.0 * half * share.log() >= u.log()
            out = torch.where(waiting & good, w, out)
            waiting = waiting & ~good
        return out

    @staticmethod
    def slope(w: Tensor, kappa: Tensor, size: int) -> Tensor:
        r"""The derivative of :math:`w = \sin^2\frac\theta2` with respect to :math:`\kappa`, from
        :math:`\frac{d\theta}{d\kappa} = -\frac1{f(\theta)}\int_0^\theta f(t)(\cos t - A)dt`;
        above the peak the integral over what follows, of which the whole is 0, has no
        cancellation.
        """
        angles, angle = _Angles(kappa, size), 2.0 * w.sqrt().clamp(max=1.0).asin()
        lean, fall = angles.mean(_short), angles.fall(angle)

        def ratio(t: Tensor) -> Tensor:
            return (fall - angles.fall(t)).exp() * (lean - _short(t))

        high, low = torch.maximum(angle, angles.high), torch.minimum(angle, angles.low)
        turn = -integrate(ratio, torch.where(angle > angles.peak, high, low), angle, 64)
        return 0.5 * angle.sin() * turn

    @staticmethod
    def log_density(x: Tensor, loc: Any, concentration: Any) -> Tensor:
        r"""The log density of each vector, :math:`-\frac\kappa2|x-\mu|^2` less the normaliser of
        this form.
        """
        kappa = double(concentration).to(x.device)
        square = (direction(double(x)) - direction(double(loc))).square().sum(-1)
        log_z = _Angles(kappa, x.shape[-1]).log_normaliser()
        return result_like(-0.5 * kappa * square - log_z, x, loc, concentration)

    @staticmethod
    def mean_of(loc: Any, concentration: Any) -> Any:
        r""":math:`A\mu` with :math:`A = I_{\nu+1}(\kappa) / I_\nu(\kappa) =
        \frac\kappa{D-1}E\sin^2\theta`, which keeps its digits where A is small.
        """
        kappa = double(concentration)
        square = _Angles(kappa, loc.shape[-1]).mean(lambda angle: angle.sin().square())
        mean = kappa * square / (loc.shape[-1] - 1.0)
        return per_vector(result_like(mean, concentration), loc) * direction(loc)

    @staticmethod
    def variance_of(loc: Any, concentration: Any) -> Any:
        r"""Entry by entry, from the mean and variance of :math:`t = \mu^\top x`:
        :math:`\mu_i^2 \mathrm{Var}\,t + (1-\mu_i^2)\frac{1 - E t^2}{D-1}`.
        """
        angles = _Angles(double(concentration), loc.shape[-1])
        lean = angles.mean(_short)
        spread = angles.mean(lambda angle: (_short(angle) - lean).square())
        across = angles.mean(lambda angle: angle.sin().square()) / (loc.shape[-1] - 1.0)
        along = direction(loc).square()
        spread, across = (per_vector(result_like(v, concentration), loc) for v in (spread, across))
        return along * spread + (1.0 - along) * across

    @staticmethod
    def entropy_of(loc: Any, concentration: Any) -> Any:
        r""":math:`\kappa(1 - A)` plus the logarithm of the normaliser."""
        kappa = double(concentration)
        angles = _Angles(kappa, loc.shape[-1])
        out = kappa * angles.mean(_short) + angles.log_normaliser()
        return result_like(out, loc, concentration)


def _short(angle: Tensor) -> Tensor:
    r""":math:`1 - \cos\theta`, to all its digits."""
    return 2.0 * (0.5 * angle).sin().square()


class _Angles:
    r"""Integrals over the angle :math:`\theta` from the mean, of which the density is
    :math:`f(\theta) \propto e^{-\kappa(1-\cos\theta)}\sin^n\theta` with :math:`n = D - 2`.

    With its peak at :math:`\cos\theta = c`, where :math:`\kappa(1-c^2) = nc`, and
    :math:`u = c - \cos\theta` it falls from there by :math:`\log\frac{f(c)}{f(\theta)} =
    \kappa u - \frac n2\log\left(1 + \frac{u(2c-u)}{1-c^2}\right) =
    \frac n2\left(e(\frac u{1-c}) + e(\frac{-u}{1+c})\right)` with :math:`e(v) = v - \log(1+v)`,
    which bounds what is above e^-40 of the peak. All of this is constant to derivatives, which are
    those of :math:`e^{-\kappa(1-\cos\theta)}` at fixed angles: exact, of any order.
    """

    def __init__(self, kappa: Tensor, size: int) -> None:
        self.kappa, self.fixed, self.n = kappa, kappa.detach(), float(size - 2)
        n = self.n
        slope = 2.0 / (n + (n * n + 4.0 * self.fixed.square()).sqrt())  # c over kappa
        unit = slope / (1.0 + slope * self.fixed)
        self.above, self.cosine = n * unit, slope * self.fixed  # 1 - c and c
        self.peak = self._angle(self.above)
        # e(v) > v^2 / (2 + 4v/3) if v > 0, and e(-v) > v^2 / 2
        self.high = self._angle(unit * (n + 160 / 3 + ((160 / 3) ** 2 + 160 * n) ** 0.5))
        self.low = self._angle(self.above * (1.0 - min(1.0, (160 / n) ** 0.5 if n else 1.0)))
        self.sine = n * slope  # sin^2 at the peak

    @staticmethod
    def _angle(short: Tensor) -> Tensor:
        return 2.0 * (0.5 * short).clamp(max=1.0).sqrt().asin()

    def fall(self, angle: Tensor) -> Tensor:
        """How far the logarithm of the density is below its peak."""
        u = 2.0 * (0.5 * (angle - self.peak)).sin() * (0.5 * (angle + self.peak)).sin()
        if self.n == 0:
            return self.fixed * u
        share = u * (2.0 * self.cosine - u) / self.sine
        return self.fixed * u - 0.5 * self.n * share.clamp(min=-1.0).log1p()

    def weight(self, angle: Tensor) -> Tensor:
        """The density, divided by its peak."""
        moved = (self.kappa - self.fixed) * _short(angle)  # 0, with a derivative
        return (-self.fall(angle) - moved).exp()

    def mean(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """The expectation of a function of the angle."""

        def both(angle: Tensor) -> Tensor:
            angle = angle.squeeze(-1)
            weight = self.weight(angle)
            return torch.stack([f(angle) * weight, weight], -1)

        top, whole = integrate(both, self.low[..., None], self.high[..., None], 64).unbind(-1)
        return top / whole

    def log_normaliser(self) -> Tensor:
        r""":math:`\log\int e^{-\kappa(1-\mu^\top x)}dx` over the sphere."""
        half = 0.5 * (self.n + 1.0)
        area = math.log(2.0) + half * math.log(math.pi) - math.lgamma(half)
        peak = 0.5 * self.n * self.sine.log() if self.n else 0.0
        return (
            area
            + (peak - self.fixed * self.above)
            + (integrate(self.weight, self.low, self.high, 64).log())
        )


def kl_von_mises_fisher(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\kappa_p\left(1 - A_q + \frac{A_q}2|\mu_q-\mu_p|^2\right) - \kappa_q(1 - A_q)` plus
    the logarithm of the ratio of the normalisers.
    """
    mine, its = double(q["concentration"]), double(p["concentration"])
    size = q["loc"].shape[-1]
    mu_q, mu_p = direction(double(q["loc"])), direction(double(p["loc"]))
    of_q, of_p = _Angles(mine, size), _Angles(its, size)
    lean = of_q.mean(_short)
    turned = 0.5 * (1.0 - lean) * (mu_q - mu_p).square().sum(-1)
    out = its * (lean + turned) - mine * lean + of_p.log_normaliser() - of_q.log_normaliser()
    return result_like(out, *q.values(), *p.values())


VonMisesFisher.closed_kl = {VonMisesFisher: kl_von_mises_fisher}
