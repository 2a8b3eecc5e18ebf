r"""Derivatives of a function at the rows of a batch, eager and inside a compiled graph.

Eager code takes the fastest way: reverse mode by ``torch.autograd.grad``, forward mode by
``torch.func.jvp``. Neither is traced into one graph whose result is differentiated again: the
first needs a leaf that is made inside the graph, the second has no kernels for a symbolic number
of rows. Inside a graph stand two transforms with the same values:

.. math::
    \nabla_x \textstyle\sum_n f(x_n), \qquad
    \partial f(x)\,v = \partial_u \big(u \mapsto \partial f(x)^\top u\big)^\top v,

the second being reverse mode twice, as the pull-back is linear in :math:`u`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def slope(f: Callable[..., Tensor], args: Sequence[Tensor], wrt: int) -> Tensor:
    r"""The gradient :math:`\nabla_x f(x, \dots)` row by row, differentiable itself.

    Args:
        f: Returns one number per row, shape ``(B,)`` or ``(B, 1)``.
        args: The point, each ``(B, *event)``.
        wrt: The argument that it is taken with respect to.

    Returns:
        A tensor of the shape of ``args[wrt]``.

    Example:
        >>> slope(lambda x: x.square().sum(1), (torch.ones(2, 3),), 0).detach()
        tensor([[2., 2., 2.],
                [2., 2., 2.]])
    """
    if torch.compiler.is_compiling():

        def total(*point: Tensor) -> Tensor:
            return f(*point).sum()

        out: Tensor = torch.func.grad(total, argnums=wrt)(*args)
        return out
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        x = args[wrt]
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = f(*args[:wrt], x, *args[wrt + 1 :])
        (out,) = torch.autograd.grad(y.sum(), x, create_graph=keep)
    return out


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
