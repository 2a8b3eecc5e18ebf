r"""A bijection in the other direction, :math:`f^{-1}`."""

from typing import Any

from torch import Tensor

from ancestral.bijections.affine import Affine
from ancestral.bijections.base import Bijection
from ancestral.bijections.exp import Exp


class Inverse(Bijection):
    r"""The map :math:`y = f^{-1}(x)`, e.g. the logarithm as ``Inverse(Exp())``.

    Args:
        bijection: The map f.

    Example:
        >>> import torch
        >>> Inverse(Exp())(torch.tensor([1.0]))
        tensor([0.])
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection
        self.event_dims = bijection.event_dims
        self.domain, self.codomain = bijection.codomain, bijection.domain

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse's value and log-determinant."""
        return self.bijection.inverse_and_log_det(x)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The map's own value and log-determinant."""
        return self.bijection.forward_and_log_det(y)

    def sign(self) -> float | Tensor:
        """That of the map."""
        return self.bijection.sign()

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """The logarithm, and a trained map."""
        return [{"bijection": Exp()}, *({"bijection": Affine(**e)} for e in Affine.examples())]
