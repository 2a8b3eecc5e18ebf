r"""Bijections one after the other, :math:`f_n\circ\dots\circ f_1`."""

import math
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from ancestral.bijections.affine import Affine
from ancestral.bijections.base import Bijection, moved
from ancestral.bijections.conditional_affine import ConditionalAffine
from ancestral.bijections.tanh import Tanh
from ancestral.core.errors import OptionError


class Chain(Bijection):
    r"""The map :math:`y = f_n(\dots f_1(x))`; the first of the list is applied first. The
    log-determinants add up. Those that take a context are given that of the chain.

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
        self.takes_context = any(part.takes_context for part in parts)
        if parts:
            self.domain, self.codomain = parts[0].domain, parts[-1].codomain

    def forward_and_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The last value, and the sum of the log-determinants."""
        total = x.new_zeros(x.shape[: x.dim() - self.event_dims])
        for part in self._parts():
            x, log_det = moved(part, x, context, inverse=False)
            total = total + _over(log_det, self.event_dims - part.event_dims)
        return x, total

    def inverse_and_log_det(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The inverses in the other order."""
        total = y.new_zeros(y.shape[: y.dim() - self.event_dims])
        for part in reversed(self._parts()):
            y, log_det = moved(part, y, context, inverse=True)
            total = total + _over(log_det, self.event_dims - part.event_dims)
        return y, total

    def sign(self) -> float | Tensor:
        """The product of the signs."""
        return math.prod((part.sign() for part in self._parts()), start=1.0)

    def _parts(self) -> list[Bijection]:
        return cast("list[Bijection]", list(self.bijections))

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """None, one, three of them, and one of them conditional."""
        (given,) = ConditionalAffine.examples()
        conditional = ConditionalAffine(given["net"])
        return [
            {"bijections": []},
            {"bijections": [Tanh()]},
            {"bijections": [Affine(0.3, 0.5), Tanh(), Affine(-1.0, -2.0)]},
            {
                "bijections": [Affine(0.0, -0.5), conditional, Tanh()],
                "context": given["context"],
            },
        ]


def _over(log_det: Tensor, axes: int) -> Tensor:
    return log_det.sum(tuple(range(-axes, 0))) if axes else log_det
