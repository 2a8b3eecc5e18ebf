r"""Bijections one after the other, :math:`f_n\circ\dots\circ f_1`."""

import math
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from ancestral.bijections.affine import Affine
from ancestral.bijections.base import Bijection
from ancestral.bijections.tanh import Tanh
from ancestral.core.errors import OptionError


class Chain(Bijection):
    r"""The map :math:`y = f_n(\dots f_1(x))`; the first of the list is applied first. The
    log-determinants add up.

    Args:
        bijections: The maps in the order in which they are applied.

    Raises:
        OptionError: If one of them is no bijection.

    Example:
        >>> import torch
        >>> f = Chain([Affine(scale=2.0), Affine(loc=1.0)])
        >>> f.forward_and_log_det(torch.tensor([3.0]))
        (tensor([7.]), tensor([0.6931]))
    """

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        parts = list(bijections)
        for part in parts:
            if not isinstance(part, Bijection):
                raise OptionError(
                    f"Chain takes bijections, got {type(part).__name__}. Of a plain function no "
                    "inverse is known; derive from Bijection and write both directions."
                )
        self.bijections = nn.ModuleList(parts)
        self.event_dims = max((part.event_dims for part in parts), default=0)
        if parts:
            self.domain, self.codomain = parts[0].domain, parts[-1].codomain

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last value, and the sum of the log-determinants."""
        total = x.new_zeros(x.shape[: x.dim() - self.event_dims])
        for part in self._parts():
            x, log_det = part.forward_and_log_det(x)
            total = total + _over(log_det, self.event_dims - part.event_dims)
        return x, total

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The inverses in the other order."""
        total = y.new_zeros(y.shape[: y.dim() - self.event_dims])
        for part in reversed(self._parts()):
            y, log_det = part.inverse_and_log_det(y)
            total = total + _over(log_det, self.event_dims - part.event_dims)
        return y, total

    def sign(self) -> float | Tensor:
        """The product of the signs."""
        return math.prod((part.sign() for part in self._parts()), start=1.0)

    def _parts(self) -> list[Bijection]:
        return cast("list[Bijection]", list(self.bijections))

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """None, one, and three of them."""
        return [
            {"bijections": []},
            {"bijections": [Tanh()]},
            {"bijections": [Affine(0.3, 0.5), Tanh(), Affine(-1.0, -2.0)]},
        ]


def _over(log_det: Tensor, axes: int) -> Tensor:
    return log_det.sum(tuple(range(-axes, 0))) if axes else log_det
