r"""The logistic function, :math:`y = 1/(1 + e^{-x})`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.bijections.base import Bijection


class Sigmoid(Bijection):
    r"""The map of each component :math:`y = 1/(1 + e^{-x})`, with
    :math:`\log|\partial y/\partial x| = \log y + \log(1-y) = -|x| - 2\log(1 + e^{-|x|})`.

    The ends stand for the values that are rounded to them: the inverse takes the number next to
    the end.

    Example:
        >>> Sigmoid().forward_and_log_det(torch.tensor([0.0]))
        (tensor([0.5000]), tensor([-1.3863]))
    """

    codomain = (0.0, 1.0)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logistic function and the logarithm of its slope."""
        size = x.abs()
        return x.sigmoid(), -size - 2.0 * F.softplus(-size)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\log y - \log(1-y)` and :math:`-\log y - \log(1-y)`."""
        kind = torch.finfo(y.dtype)
        inside = y.clamp(kind.tiny, 1.0 - kind.eps / 2)
        log_y, log_rest = inside.log(), torch.log1p(-inside)
        return log_y - log_rest, -log_y - log_rest
