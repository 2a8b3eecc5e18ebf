"""The gradient of a function at the rows of a batch, eager and inside a compiled graph.

Eager code takes ``torch.autograd.grad``, the fastest way. It is not traced into a graph whose
result is differentiated again, as it needs a leaf that is made inside of it: there stands
``torch.func.grad``, which has the same values.
"""

from collections.abc import Callable, Sequence

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
