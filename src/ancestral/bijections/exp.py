r"""The exponential, :math:`y = e^x`."""

from torch import Tensor

from ancestral.bijections.base import Bijection


class Exp(Bijection):
    r"""The map of each component :math:`y = e^x`, with :math:`\log|\partial y/\partial x| = x`.

    Example:
        >>> import torch
        >>> Exp().inverse_and_log_det(torch.tensor([1.0, 2.0]))
        (tensor([0.0000, 0.6931]), tensor([-0.0000, -0.6931]))
    """

    codomain = (0.0, float("inf"))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """:math:`e^x` and x."""
        return x.exp(), x

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\log y` and :math:`-\log y`."""
        x = y.log()
        return x, -x
