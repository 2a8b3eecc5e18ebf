r"""Covariance functions :math:`k(a, b)` of Gaussian processes, their sums and products.

A kernel is a module that takes inputs of shapes ``(*rows, N, D)`` and ``(*rows, M, D)`` and returns
covariances ``(*rows, N, M)``. Its parameters are positive: numbers or tensors are constants, an
``nn.Parameter`` is trained. One of yours needs ``forward(a, b)`` alone.

Source: Rasmussen, Williams, Gaussian Processes for Machine Learning, 2006, chapter 4.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError
from ancestral.distributions.constraints import check, positive

Positive = float | Tensor
Covariance = Callable[[Tensor, Tensor], Tensor]


class Kernel(nn.Module):
    """The base of kernels: they are added and multiplied.

    Example:
        >>> k = RBF(lengthscale=1.0) * Periodic(lengthscale=1.0, period=2.0) + Linear()
        >>> k(torch.zeros(2, 1), torch.ones(3, 1)).shape
        torch.Size([2, 3])
    """

    def __add__(self, other: "Kernel") -> "Sum":
        return Sum(self, other)

    def __mul__(self, other: "Kernel") -> "Product":
        return Product(self, other)

    def at(self, points: Tensor) -> Covariance:
        """The kernel with what it takes from points, shape ``(N, D)``; most take nothing."""
        return self

    def _keep(self, **parameters: Positive) -> None:
        """Register parameters: trained, or constant."""
        for name, value in parameters.items():
            told = f"{type(self).__name__}: {name}"
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                tensor = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else
                                         torch.get_default_dtype())  # fmt: skip
                self.register_buffer(name, tensor.detach().clone())
            check(positive, getattr(self, name), told)


class Sum(Kernel):
    """The sum of kernels: of independent functions."""

    def __init__(self, *parts: Kernel) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def at(self, points: Tensor) -> Covariance:
        """Each part at the points."""
        parts = [_at(part, points) for part in self.parts]
        return lambda a, b: _sum(part(a, b) for part in parts)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The covariances."""
        return _sum(part(a, b) for part in self.parts)


class Product(Kernel):
    """The product of kernels."""

    def __init__(self, *parts: Kernel) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def at(self, points: Tensor) -> Covariance:
        """Each part at the points."""
        parts = [_at(part, points) for part in self.parts]
        return lambda a, b: _product(part(a, b) for part in parts)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The covariances."""
        return _product(part(a, b) for part in self.parts)


class RBF(Kernel):
    r""":math:`v\,e^{-r^2/2}` with :math:`r = |a - b| / \ell`: smooth functions.

    Args:
        lengthscale: :math:`\ell`, one number, or one for each entry of the inputs. Left out, it
            is taken from N particles, :math:`2\ell^2 = \mathrm{med}^2 / \log(N + 1)` with the
            median of their distances: for Stein gradients, whose points move; a Gaussian process
            needs a number.
        variance: v.

    Source of the median: Liu and Wang (2016), section 5, where it is log N.
    """

    lengthscale: Tensor | None
    variance: Tensor

    def __init__(self, lengthscale: Positive | None = None, variance: Positive = 1.0) -> None:
        super().__init__()
        if lengthscale is None:
            self.register_buffer("lengthscale", None)
        else:
            self._keep(lengthscale=lengthscale)
        self._keep(variance=variance)

    def at(self, points: Tensor) -> Covariance:
        """With the median of the points' distances where no lengthscale was given."""
        if self.lengthscale is not None:
            return self
        lengthscale = median_lengthscale(points)
        return lambda a, b: self._with(a, b, lengthscale)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The covariances."""
        if self.lengthscale is None:
            raise OptionError(
                "RBF() has no lengthscale: it takes one from particles, in SVGD(RBF()). "
                "Elsewhere write RBF(lengthscale=1.0), in the units of the inputs."
            )
        return self._with(a, b, self.lengthscale)

    def _with(self, a: Tensor, b: Tensor, lengthscale: Tensor) -> Tensor:
        return self.variance * (-0.5 * _square(a, b, lengthscale)).exp()


class Matern(Kernel):
    r"""The Matérn kernels, of functions that are 0, 1 or 2 times differentiable: with
    :math:`s = \sqrt{2\nu}\,r`, :math:`v\,e^{-s}` for :math:`\nu = \frac12`, times :math:`1 + s`
    for :math:`\frac32`, times :math:`1 + s + \frac{s^2}3` for :math:`\frac52`.

    Args:
        nu: 0.5, 1.5 or 2.5.
        lengthscale: :math:`\ell`, one number, or one for each entry of the inputs.
        variance: v.

    Raises:
        OptionError: If nu is another number.
    """

    lengthscale: Tensor
    variance: Tensor

    def __init__(self, nu: float, lengthscale: Positive, variance: Positive = 1.0) -> None:
        super().__init__()
        if nu not in (0.5, 1.5, 2.5):
            raise OptionError(f"Matern: nu={nu!r} must be 0.5, 1.5 or 2.5. Smoother: RBF.")
        self.nu = nu
        self._keep(lengthscale=lengthscale, variance=variance)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The covariances."""
        square = 2.0 * self.nu * _square(a, b, self.lengthscale)
        far = square > 0  # at no distance the root has no derivative
        s = torch.where(far, torch.where(far, square, 1.0).sqrt(), 0.0)
        factor = {0.5: torch.ones_like(s), 1.5: 1.0 + s, 2.5: 1.0 + s + square / 3.0}[self.nu]
        return self.variance * factor * (-s).exp()

    def extra_repr(self) -> str:
        """Its smoothness."""
        return f"nu={self.nu}"


class Periodic(Kernel):
    r""":math:`v\exp\left(-2\sum_d\sin^2(\pi(a_d - b_d)/T)/\ell^2\right)`: periodic functions.

    Args:
        lengthscale: :math:`\ell`, relative to the period.
        period: T.
        variance: v.
    """

    lengthscale: Tensor
    period: Tensor
    variance: Tensor

    def __init__(self, lengthscale: Positive, period: Positive, variance: Positive = 1.0) -> None:
        super().__init__()
        self._keep(lengthscale=lengthscale, period=period, variance=variance)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The covariances."""
        turn = math.pi * (a.unsqueeze(-2) - b.unsqueeze(-3)) / self.period
        return self.variance * (-2.0 * (turn.sin() / self.lengthscale).square().sum(-1)).exp()


class Linear(Kernel):
    r""":math:`v\,a^\top b`: linear functions through the origin.

    Args:
        variance: v.
    """

    variance: Tensor

    def __init__(self, variance: Positive = 1.0) -> None:
        super().__init__()
        self._keep(variance=variance)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The covariances."""
        return self.variance * (a @ b.mT)


def median_lengthscale(points: Tensor) -> Tensor:
    r""":math:`\mathrm{med} / \sqrt{2\log(N + 1)}` of N points ``(N, D)``; of one point, 1.

    Example:
        >>> median_lengthscale(torch.tensor([[0.0], [3.0], [6.0]])) * (2 * math.log(4)) ** 0.5
        tensor(3.)
    """
    count = points.shape[0]
    if count == 1:
        return torch.ones((), dtype=points.dtype, device=points.device)
    above = torch.triu_indices(count, count, 1, device=points.device)
    apart = (points.unsqueeze(-2) - points.unsqueeze(-3)).square().sum(-1)[above[0], above[1]]
    found = apart.median().sqrt() / math.sqrt(2.0 * math.log(count + 1))
    return torch.where(found > 0, found, 1.0)  # points that are one: any will do


def _at(part: nn.Module, points: Tensor) -> Covariance:
    return part.at(points) if isinstance(part, Kernel) else part


def _sum(parts: Iterable[Tensor]) -> Tensor:
    first, *rest = parts
    return sum(rest, first)


def _product(parts: Iterable[Tensor]) -> Tensor:
    first, *rest = parts
    return math.prod(rest, start=first)


def _square(a: Tensor, b: Tensor, lengthscale: Tensor) -> Tensor:
    """Squared distances; by differences, so that near points keep their digits."""
    return ((a / lengthscale).unsqueeze(-2) - (b / lengthscale).unsqueeze(-3)).square().sum(-1)
