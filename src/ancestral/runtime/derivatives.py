r"""Derivatives along a direction at the rows of a batch, eager and inside a compiled graph.

Eager code takes the fastest way, forward mode by ``torch.func.jvp``. It is not traced into one
graph whose result is differentiated again, as it has no kernels for a symbolic number of rows.
Inside a graph stands a transform with the same values, reverse mode twice:

.. math:: \partial f(x)\,v = \partial_u \big(u \mapsto \partial f(x)^\top u\big)^\top v,

as the pull-back is linear in :math:`u`. The gradient of a number is
:func:`~ancestral.core.slope.slope`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def push(
    f: Callable[..., Tensor], args: Sequence[Tensor], along: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    r"""A function's value :math:`f(x)` and derivative :math:`\partial f(x)\,v` along a direction.

    Args:
        f: The function.
        args: The point :math:`x`, one tensor per argument.
        along: The direction :math:`v`, tensors of the same shapes.

    Returns:
        Two tensors of the shape of ``f(*args)``.
    """
    if not torch.compiler.is_compiling():
        jvp: Any = torch.func.jvp  # its annotation knows the call that returns three things too
        value, tangent = jvp(f, tuple(args), tuple(along))
        return value, tangent
    vjp: Any = torch.func.vjp  # its annotation knows only the call that returns three things
    y, pull_back = vjp(f, *args)
    _, twice = vjp(lambda u: pull_back(u), torch.zeros_like(y))
    return y, twice(tuple(along))[0]
