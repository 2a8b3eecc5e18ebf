r"""A bijection in the other direction, :math:`f^{-1}`."""

from typing import Any

from torch import Tensor

from ancestral.bijections.affine import Affine
from ancestral.bijections.base import Bijection, moved
from ancestral.bijections.conditional_affine import ConditionalAffine
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
        self.event_dims, self.takes_context = bijection.event_dims, bijection.takes_context
        self.domain, self.codomain = bijection.codomain, bijection.domain

    def forward_and_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The inverse's value and log-determinant."""
        return moved(self.bijection, x, context, inverse=True)

    def inverse_and_log_det(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The map's own value and log-determinant."""
        return moved(self.bijection, y, context, inverse=False)

    def sign(self) -> float | Tensor:
        """That of the map."""
        return self.bijection.sign()

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """The logarithm, a trained map, and a conditional one."""
        plain = [{"bijection": Affine(**e)} for e in Affine.examples()]
        (given,) = ConditionalAffine.examples()
        conditional = {"bijection": ConditionalAffine(given["net"]), "context": given["context"]}
        return [{"bijection": Exp()}, *plain, conditional]
