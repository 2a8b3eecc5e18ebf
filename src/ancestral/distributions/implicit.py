r"""Implicit reparameterisation: the gradient of a draw whose noise depends on parameters.

A draw :math:`z` of a law with distribution function :math:`F(z;\theta)` keeps its rank when the
parameters move, :math:`F(z;\theta) = u`, so that

.. math:: \frac{dz}{d\theta} = -\frac{\partial F(z;\theta)/\partial\theta}{p(z;\theta)}

whatever way the draw was made (Figurnov, Mohamed, Mnih, Implicit Reparameterization Gradients,
2018, eq. 3).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Attach(torch.autograd.Function):
    """A value that is given the derivatives with respect to parameters, one after the other.

    The value is constant to everything else. Its second derivatives are not known: asking for them
    is an error of autograd.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, *parameters_and_slopes: Tensor) -> Tensor:
        """The value as it is."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the derivatives."""
        pairs = len(inputs) // 2
        ctx.save_for_backward(*inputs[1 + pairs :])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The chain rule."""
        slopes = ctx.saved_tensors
        return (None, *(grad * slope for slope in slopes), *(None for _ in slopes))


def attach(value: Tensor, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """A value with its derivatives attached.

    Args:
        value: Shape ``(*shape)``, without gradient.
        pairs: Each a parameter that broadcasts to ``shape``, and the derivative of the value with
            respect to it.

    Example:
        >>> theta = torch.tensor(2.0, requires_grad=True)
        >>> z = attach(torch.tensor([5.0, 7.0]), (theta, torch.tensor([1.0, 10.0])))
        >>> z.sum().backward()
        >>> z.tolist(), theta.grad
        ([5.0, 7.0], tensor(11.))
    """
    pairs = tuple(pair for pair in pairs if pair[0].requires_grad)
    if not pairs:
        return value.detach()
    parameters = [torch.as_tensor(p, dtype=value.dtype).expand(value.shape) for p, _ in pairs]
    slopes = [slope.detach().expand(value.shape) for _, slope in pairs]
    out: Tensor = Attach.apply(value.detach(), *parameters, *slopes)
    return out
