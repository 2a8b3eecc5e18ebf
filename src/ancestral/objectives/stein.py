r"""The kernel Stein discrepancy: of draws from a law whose log density, or energy, is known.

.. math::
    KSD^2(r \| p) = E_{r(x)r(x')}[u_p(x, x')], \qquad
    u_p = s^\top k\, s' + s^\top \nabla_{x'} k + s'^\top \nabla_x k
    + \mathrm{tr} \nabla_x \nabla_{x'} k

with the score :math:`s = \nabla_x \log p(x)`, so that the constant of p is not needed. It is 0 only
if r = p. Its estimate is the U-statistic, over pairs of different draws: unbiased, so that it may
be negative. The kernels :math:`k = \phi(\lVert x-x'\rVert^2)` are the Gaussian one,
:math:`e^{-\lVert x-x'\rVert^2/2h^2}`, and the inverse multiquadric one,
:math:`(1 + \lVert x-x'\rVert^2/h^2)^{-1/2}`, whose heavy tails notice draws that go astray.

Source: Liu, Lee and Jordan, A Kernelized Stein Discrepancy for Goodness-of-fit Tests (2016),
theorem 3.6; Gorham and Mackey, Measuring Sample Quality with Kernels (2017).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import OptionError, VariableError, did_you_mean
from ancestral.distributions import Distribution
from ancestral.distributions.energy_model import EnergyModel
from ancestral.estimators.rows import Pairs
from ancestral.losses import E, Function, Node, values
from ancestral.objectives.mmd import fresh

Radial = Callable[[Tensor, float], tuple[Tensor, Tensor, Tensor]]


def KernelStein(
    r: Distribution, p: Any, *, kernel: str = "inverse_multiquadric", bandwidth: float = 1.0
) -> Node:
    """The squared discrepancy of the draws of r from p, one number.

    Args:
        r: The law that is drawn from, of one variable, without free conditions.
        p: The law of one variable whose density is known, or its log density, a ``Function`` of
            one argument, up to a constant: of an energy, minus that.
        kernel: ``"inverse_multiquadric"`` or ``"gaussian"``.
        bandwidth: h, in the units of x.

    Raises:
        VariableError: If a law is of several variables, or has conditions.
        OptionError: If there is no such kernel or bandwidth, or p is neither.

    Example:
        >>> from ancestral.distributions import Normal
        >>> r = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[2], name="r")
        >>> p = Normal(var=["x"], loc=1.0, scale=1.0, features_shape=[2])
        >>> print(KernelStein(r, p))
        E_{r(x)r(x')}[u(x, x', ∇log_p(x), ∇log_p(x'))]
    """
    if kernel not in KERNELS:
        raise OptionError(f"no kernel {kernel!r}; {did_you_mean(str(kernel), KERNELS)}")
    if not isinstance(bandwidth, (int, float)) or not bandwidth > 0:
        raise OptionError(f"bandwidth={bandwidth!r} of a kernel must be a positive number.")
    log_p = _log_density(p)
    for law in (r, p) if isinstance(p, Distribution) else (r,):
        if len(law.var) != 1 or law.cond_var:
            raise VariableError(
                f"KernelStein: {law.prob_text} must be the law of one variable without conditions."
            )
    r1 = fresh(r, r)
    x, x1 = values([r.var[0], r1.var[0]])
    u = Function(partial(stein_kernel, radial=KERNELS[kernel], bandwidth=bandwidth), name="u")
    return E(r * r1, u(x, x1, log_p.grad(x), log_p.grad(x1))).estimate({r: Pairs()})


class _LogDensity(nn.Module):
    """The log density of a law as a function of its variable."""

    def __init__(self, law: Distribution) -> None:
        super().__init__()
        self.law = law

    def forward(self, x: Tensor) -> Tensor:
        return self.law.get_log_prob({self.law.var[0]: x})


class _MinusEnergy(nn.Module):
    """Minus the energy of a law that is given by one."""

    def __init__(self, law: EnergyModel) -> None:
        super().__init__()
        self.law = law

    def forward(self, x: Tensor) -> Tensor:
        return self.law.minus_energy(x)


def _log_density(p: Any) -> Function:
    if isinstance(p, Function):
        return p
    if isinstance(p, EnergyModel):
        return Function(_MinusEnergy(p), name="log_p")
    if isinstance(p, Distribution):
        return Function(_LogDensity(p), name=f"log_{p.name}")
    raise OptionError(
        f"KernelStein: p is a law, or Function(log_density), whose slope is known; got a "
        f"{type(p).__name__}."
    )


def stein_kernel(
    x: Tensor, y: Tensor, s: Tensor, t: Tensor, radial: Radial, bandwidth: float
) -> Tensor:
    """u of two points, row by row.

    Args:
        x: Points, shape ``(B, *event)``.
        y: Others, the same.
        s: The scores at x.
        t: The scores at y.
        radial: Of the squared distance and the bandwidth, the kernel and its two derivatives.
        bandwidth: h.
    """
    x, y, s, t = (v.reshape(len(v), -1) for v in (x, y, s, t))
    gap = x - y
    square = gap.square().sum(-1)
    k, slope, bend = radial(square, bandwidth)
    return (
        k * (s * t).sum(-1)
        - 2 * slope * ((s - t) * gap).sum(-1)
        - 2 * x.shape[-1] * slope
        - 4 * square * bend
    )


def _gaussian(square: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
    k = (-0.5 / h**2 * square).exp()
    return k, -0.5 / h**2 * k, 0.25 / h**4 * k


def _inverse_multiquadric(square: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
    base = 1 + square / h**2
    return base**-0.5, -0.5 / h**2 * base**-1.5, 0.75 / h**4 * base**-2.5


KERNELS: dict[str, Radial] = {
    "gaussian": _gaussian,
    "inverse_multiquadric": _inverse_multiquadric,
}
