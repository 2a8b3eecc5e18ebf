r"""Bijections: :math:`y = f(x)` with an inverse and a Jacobian that are known.

A density moves along one by the change of variables,

.. math:: \log p_y(y) = \log p_x(x) - \log\left|\det\frac{\partial f}{\partial x}\right|,
    \quad x = f^{-1}(y),

so that a bijection is asked for a value together with the logarithm of its Jacobian's determinant.

A *conditional* one, :math:`y = f(x; c)`, is one for each context c, a vector that a network has
made of what the law is conditioned on. The network of the context runs once, whichever the
direction and however many the layers.
"""

import math
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import OptionError


class Bijection(nn.Module):
    r"""An invertible map :math:`y = f(x)`.

    To add one, write a file with a class that has :meth:`forward_and_log_det` and
    :meth:`inverse_and_log_det`, and says in ``event_dims`` how many last axes of a value one
    application couples: 0 for a map of each component by itself, whose log-determinants are one
    per component; 1 for a map of vectors, with one per vector. ``domain`` and ``codomain`` are the
    open intervals between which components of x and of y lie.

    A conditional one says ``takes_context``, and both its methods take a second argument: the
    context, shape ``(*rows, C)``, with as many axes of rows as x has.
    """

    event_dims: int = 0
    takes_context: bool = False
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

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The value :math:`f(x)`, of a conditional one :math:`f(x; c)`."""
        return moved(self, x, context, inverse=False)[0]

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """The value :math:`f^{-1}(y)`, of a conditional one :math:`f^{-1}(y; c)`."""
        return moved(self, y, context, inverse=True)[0]

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Arguments of the constructor that the contract checks try; under ``context`` the number
        C of entries of the context of a conditional one.
        """
        return [{}]


def moved(
    f: Bijection, value: Tensor, context: Tensor | None, *, inverse: bool
) -> tuple[Tensor, Tensor]:
    """A bijection, or its inverse, with the log-determinant; the context goes to those that take
    one.

    Raises:
        OptionError: If one that takes a context has none.
    """
    move: Any = f.inverse_and_log_det if inverse else f.forward_and_log_det
    out: tuple[Tensor, Tensor] = move(value, context) if f.takes_context else move(value)
    return out


def needed(context: Tensor | None, f: Bijection) -> Tensor:
    """The context of a conditional bijection.

    Raises:
        OptionError: If there is none.
    """
    if context is None:
        raise OptionError(
            f"{type(f).__name__} is a map given a context, which is missing. Give it, "
            "f(x, context), or let a law give it: NormalizingFlow(..., cond_var=[...], "
            "context=net)."
        )
    return context
