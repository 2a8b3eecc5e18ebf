r"""The soft rectifier, :math:`y = \log(1 + e^x)`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.bijections.base import Bijection


class Softplus(Bijection):
    r"""The map of each component :math:`y = \log(1 + e^x)`, with
    :math:`\log|\partial y/\partial x| = -\log(1 + e^{-x})`.

    Example:
        >>> f = Softplus()
        >>> y, log_det = f.forward_and_log_det(torch.tensor([0.0, 3.0]))
        >>> y, log_det
        (tensor([0.6931, 3.0486]), tensor([-0.6931, -0.0486]))
        >>> torch.allclose(f.inverse(y), torch.tensor([0.0, 3.0]), atol=1e-6)
        True
    """

    codomain = (0.0, float("inf"))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\log(1 + e^x)` as a sum that keeps all digits, and :math:`\log\sigma(x)`."""
        return x.clamp(min=0.0) + torch.log1p((-x.abs()).exp()), F.logsigmoid(x)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\log(e^y - 1) = y + \log(1 - e^{-y})` and :math:`-\log(1 - e^{-y})`."""
        log_rest = (-torch.expm1(-y)).log()
        return y + log_rest, -log_rest
