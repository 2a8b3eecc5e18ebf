r"""The hyperbolic tangent, :math:`y = \tanh x`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.bijections.base import Bijection


class Tanh(Bijection):
    r"""The map of each component :math:`y = \tanh x`, with
    :math:`\log|\partial y/\partial x| = \log(1-y^2) = 2(\log 2 - |x| - \log(1 + e^{-2|x|}))`.

    From about x = 9 on (single precision) the tangent is 1 to the last digit. The ends stand for
    the values that are rounded to them: the inverse takes the number next to the end, so that a
    density there is finite, and not NaN.

    Example:
        >>> Tanh().inverse_and_log_det(torch.tensor([0.5, 1.0]))
        (tensor([0.5493, 8.6643]), tensor([ 0.2877, 15.9424]))
    """

    codomain = (-1.0, 1.0)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\tanh x` and the logarithm of :math:`1 - \tanh^2 x`, without cancellation."""
        return x.tanh(), _log_slope(x)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\frac12\log\frac{1+y}{1-y}` and minus the logarithm of :math:`1 - y^2`."""
        end = 1.0 - torch.finfo(y.dtype).eps / 2
        inside = y.clamp(-end, end)
        return inside.atanh(), -(torch.log1p(-inside) + torch.log1p(inside))


def _log_slope(x: Tensor) -> Tensor:
    size = x.abs()
    return 2.0 * (math.log(2.0) - size - F.softplus(-2.0 * size))
