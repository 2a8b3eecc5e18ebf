r"""Bijections: :math:`y = f(x)` with an inverse and a Jacobian that are known.

A density moves along one by the change of variables,

.. math:: \log p_y(y) = \log p_x(x) - \log\left|\det\frac{\partial f}{\partial x}\right|,
    \quad x = f^{-1}(y),

so that a bijection is asked for a value together with the logarithm of its Jacobian's determinant.
"""

import math
from typing import Any

from torch import Tensor, nn


class Bijection(nn.Module):
    r"""An invertible map :math:`y = f(x)`.

    To add one, write a file with a class that has :meth:`forward_and_log_det` and
    :meth:`inverse_and_log_det`, and says in ``event_dims`` how many last axes of a value one
    application couples: 0 for a map of each component by itself, whose log-determinants are one
    per component; 1 for a map of vectors, with one per vector. ``domain`` and ``codomain`` are the
    open intervals between which components of x and of y lie.
    """

    event_dims: int = 0
    domain: tuple[float, float] = (-math.inf, math.inf)
    codomain: tuple[float, float] = (-math.inf, math.inf)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""The value and :math:`\log|\det\partial f/\partial x|`.

        Args:
            x: Shape ``(*rows, *event)``, inside ``domain``.

        Returns:
            ``f(x)`` of the same shape, and the log-determinants without the last ``event_dims``
            axes.
        """
        raise NotImplementedError

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""The value and :math:`\log|\det\partial f^{-1}/\partial y|`, of the inverse.

        Args:
            y: Shape ``(*rows, *event)``, inside ``codomain``.
        """
        raise NotImplementedError

    def sign(self) -> float | Tensor:
        """Of a map of each component: 1 where it increases, -1 where it decreases."""
        return 1.0

    def forward(self, x: Tensor) -> Tensor:
        """The value :math:`f(x)`."""
        return self.forward_and_log_det(x)[0]

    def inverse(self, y: Tensor) -> Tensor:
        """The value :math:`f^{-1}(y)`."""
        return self.inverse_and_log_det(y)[0]

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Arguments of the constructor that the contract checks try."""
        return [{}]
