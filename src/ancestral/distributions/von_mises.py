r"""The von Mises law of an angle, :math:`p(x) \propto e^{\kappa\cos(x-\mu)}`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.constraints import Constraint, identity, positive, real
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.implicit import attach
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise
from ancestral.distributions.quadrature import integrate

LOG_TWO_PI = math.log(2 * math.pi)
STEPS = 12  # of a quantile
_LEAN = (1 / 2, 1 / 8, 1 / 8, 25 / 128, 13 / 32, 1073 / 1024)  # of 1 - A in powers of 1/kappa


class VonMises(Law):
    r"""The von Mises law with independent components,
    :math:`\log p(x) = \kappa\cos(x-\mu) - \log 2\pi I_0(\kappa)`.

    Angles that differ by a multiple of :math:`2\pi` have one density. A draw lies within
    :math:`\pi` of the location, so that it moves with it; mean, variance and distribution
    function are those of this interval. Draws are made by rejection (Best and Fisher, 1979);
    their gradient is that of implicit reparameterisation.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Location :math:`\mu`, an angle: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        concentration: Concentration :math:`\kappa > 0`, likewise; about one over the variance.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the location, the second half through softplus the concentration.

    Example:
        >>> VonMises(loc=0.0, concentration=1e-6).get_log_prob({"x": torch.zeros(1)})
        tensor([-1.8379])
    """

    domains = {"loc": real, "concentration": positive}
    split = {"loc": identity, "concentration": F.softplus}
    reparametrised = True
    noise = "standard angle"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        concentration: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"loc": loc, "concentration": concentration}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Angles, of which one turn around the location has all mass."""
        loc = params["loc"]
        return Constraint(
            "an angle", torch.isfinite, of_real=lambda t: loc + math.pi * torch.tanh(0.5 * t)
        )

    @staticmethod
    def noise_of(
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        loc: Any,
        concentration: Any,
    ) -> Tensor:
        """A draw around 0."""
        kappa = as_noise(concentration, shape, like)
        if like.is_meta:
            return torch.empty_like(kappa)
        return _rejected(kappa.double(), generator).to(like.dtype)

    @staticmethod
    def draw(noise: Tensor, loc: Any, concentration: Any) -> Tensor:
        """The draw around 0 with its derivative, turned to the location."""
        return loc + _implicit(noise, concentration)

    @staticmethod
    def log_density(x: Tensor, loc: Any, concentration: Any) -> Tensor:
        r""":math:`-2\kappa\sin^2\frac{x-\mu}2 - \log 2\pi e^{-\kappa}I_0(\kappa)`."""
        k = double(concentration)
        half = torch.sin(0.5 * (double(x) - double(loc)))
        out = -2.0 * k * half * half - torch.special.i0e(k).log() - LOG_TWO_PI
        return result_like(out, x, loc, concentration)

    @staticmethod
    def log_cdf(x: Tensor, loc: Any, concentration: Any) -> Tensor:
        r"""The log probability of the angles from :math:`\mu-\pi` to x."""
        z = (double(x) - double(loc)).clamp(-math.pi, math.pi)
        return result_like(_log_below(z, double(concentration)), x, loc, concentration)

    @staticmethod
    def log_sf(x: Tensor, loc: Any, concentration: Any) -> Tensor:
        """The distribution function of the mirror image."""
        z = (double(loc) - double(x)).clamp(-math.pi, math.pi)
        return result_like(_log_below(z, double(concentration)), x, loc, concentration)

    @staticmethod
    def icdf(u: Tensor, loc: Any, concentration: Any) -> Tensor:
        """The angle within half a turn of the location that has a rank, by Newton's rule."""
        rank, k = torch.broadcast_tensors(double(u), double(concentration))
        tail = torch.minimum(rank, 1.0 - rank)
        z = _quantile(tail, k)
        return result_like(double(loc) + torch.where(rank < 0.5, z, -z), u, loc, concentration)

    @staticmethod
    def mean_of(loc: Any, concentration: Any) -> Any:
        r""":math:`\mu`."""
        return loc

    @staticmethod
    def variance_of(loc: Any, concentration: Any) -> Any:
        r""":math:`E[(x-\mu)^2]`, by an integral."""
        k = double(concentration)
        end = _reach(torch.zeros_like(k), k)
        square = integrate(
            lambda d: d * d * torch.exp(-2.0 * k * (0.5 * d).sin() ** 2), -end, end, 64
        )
        return result_like(square / (2 * math.pi * torch.special.i0e(k)), concentration)

    @staticmethod
    def entropy_of(loc: Any, concentration: Any) -> Any:
        r""":math:`\kappa(1 - A) + \log 2\pi e^{-\kappa}I_0(\kappa)` with :math:`A = I_1/I_0`."""
        k = double(concentration)
        out = k * _lean(k) + torch.special.i0e(k).log() + LOG_TWO_PI
        return result_like(out, concentration)


def _lean(k: Tensor) -> Tensor:
    r""":math:`1 - I_1(\kappa)/I_0(\kappa)`, by its asymptotic series where the ratio is near 1."""
    large = k > 200.0
    far, near = torch.where(large, k, 200.0), torch.where(large, 1.0, k)
    total = torch.zeros_like(k)
    for c in reversed(_LEAN):
        total = (total + c) / far
    return torch.where(large, total, 1.0 - torch.special.i1e(near) / torch.special.i0e(near))


def _reach(r: Tensor, k: Tensor) -> Tensor:
    """How far from an angle the density is more than e^-40 of what it is there."""
    return (torch.acos((r.cos() - 40.0 / k).clamp(min=-1.0)) - r.abs()).clamp(min=0.0)


def _log_below(z: Tensor, k: Tensor) -> Tensor:
    r"""The log probability of angles from :math:`-\pi` to z around 0, by the highest point r."""
    r = z.clamp(max=0.0)
    with torch.no_grad():
        reach = _reach(r, k) + 1e-6  # where it is the whole turn, the end of the turn counts
    left, right = torch.minimum(r + math.pi, reach), torch.minimum(z - r, reach)
    total = integrate(
        lambda d: torch.exp(-2.0 * k * (0.5 * d).sin() * (0.5 * d + r).sin()), -left, right, 64
    )
    return total.log() - 2.0 * k * (0.5 * r).sin() ** 2 - torch.special.i0e(k).log() - LOG_TWO_PI


def _quantile(tail: Tensor, k: Tensor) -> Tensor:
    """The angle up to 0 with a probability of at most a half below it.

    From the quantile of the normal or uniform law on, each step is right for a density that is
    exponential from there on, with the slope of the logarithm that it has; bisection stands in for
    a step that leaves the bracket. The last step carries the derivatives.
    """
    wanted = tail.clamp(min=1e-300).log()
    with torch.no_grad():
        low, high = torch.full_like(tail, -math.pi), torch.zeros_like(tail)
        normal = torch.special.ndtri(tail.clamp(min=1e-300)) * k.rsqrt()
        z = torch.maximum(normal, 2.0 * math.pi * (tail - 0.5)).clamp(-math.pi, 0.0)
        for _ in range(STEPS):
            gap, hazard = _off(z, k, wanted)
            low, high = torch.where(gap < 0, z, low), torch.where(gap > 0, z, high)
            away = -torch.expm1(-gap) / hazard  # what the mass to go is of the density
            slope = (-k * z.sin()).clamp(min=1e-12)
            moved = z + torch.log1p(-slope * away) / slope
            inside = (moved >= low) & (moved <= high)  # at the end a step is none
            z = torch.where(gap == 0, z, torch.where(inside, moved, 0.5 * (low + high)))
    gap, hazard = _off(z, k, wanted)
    return torch.where(gap.isfinite(), z - gap / hazard.detach(), z).clamp(-math.pi, 0.0)


def _off(z: Tensor, k: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """How far the log probability below an angle is from a wanted one, and its slope."""
    below = _log_below(z, k)
    log_p = -2.0 * k * (0.5 * z).sin() ** 2 - torch.special.i0e(k).log() - LOG_TWO_PI
    return below - wanted, (log_p - below).exp()


def _rejected(k: Tensor, generator: Generator) -> Tensor:
    """Draws around 0 from a wrapped Cauchy law, until each is accepted."""
    safe = k.clamp(min=1e-5)
    tau = 1.0 + (1.0 + 4.0 * safe * safe).sqrt()
    rho = (tau - (2.0 * tau).sqrt()) / (2.0 * safe)
    above = (1.0 - rho) ** 2 / (2.0 * rho)  # s - 1 of the paper: small if k is large
    out, waiting = torch.zeros_like(k), torch.ones_like(k, dtype=torch.bool)
    while bool(waiting.any()):
        turn, u, side = torch.rand((3, *k.shape), dtype=k.dtype, device=k.device,
                                   generator=generator)  # fmt: skip
        z = torch.cos(math.pi * turn)
        short = above * (1.0 - z) / (1.0 + above + z)  # 1 - cos of the proposal
        c = k * (above + short)
        good = waiting & ((c * (2.0 - c) > u) | ((c / u).log() + 1.0 >= c))
        angle = 2.0 * torch.asin((0.5 * short).clamp(max=1.0).sqrt())
        out = torch.where(good, torch.where(side < 0.5, -angle, angle), out)
        waiting = waiting & ~good
    return out


def _implicit(noise: Tensor, concentration: Any) -> Tensor:
    r"""A draw around 0 with :math:`\frac{dz}{d\kappa} = -\frac1{p(z)}\int_0^z p(t)(\cos t - A)dt`;
    in a tail the integral over what follows, of which the whole is 0, has no cancellation.
    """
    if not isinstance(concentration, Tensor) or not concentration.requires_grad:
        return noise
    k, z = double(as_noise(concentration, noise.shape, noise)), double(noise).abs()
    lean = _lean(k)

    def slope(t: Tensor) -> Tensor:
        ratio = torch.exp(2.0 * k * (0.5 * (z - t)).sin() * (0.5 * (z + t)).sin())
        return ratio * (lean - 2.0 * (0.5 * t).sin() ** 2)

    tail = 2.0 * k * (0.5 * z).sin() ** 2 > 8.0
    end = torch.minimum(z + _reach(z, k), torch.full_like(z, math.pi))
    low, high = torch.where(tail, end, 0.0), z
    total = -integrate(slope, low, high, 64)
    return attach(noise, (concentration, (total * double(noise).sign()).to(noise.dtype)))


def kl_von_mises(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\kappa_p(1 - A_q\cos(\mu_q-\mu_p)) - \kappa_q(1 - A_q) +
    \log\frac{e^{-\kappa_p}I_0(\kappa_p)}{e^{-\kappa_q}I_0(\kappa_q)}`.
    """
    k_q, k_p = double(q["concentration"]), double(p["concentration"])
    turn = torch.sin(0.5 * (double(q["loc"]) - double(p["loc"]))) ** 2
    lean = _lean(k_q)
    mean = k_p * (lean + 2.0 * (1.0 - lean) * turn) - k_q * lean
    out = mean + torch.special.i0e(k_p).log() - torch.special.i0e(k_q).log()
    return result_like(out, *q.values(), *p.values())


VonMises.closed_kl = {VonMises: kl_von_mises}
