r"""Elementary functions in the forms that keep their digits, of tensors or of known numbers.

A subtraction such as :math:`1 - e^{-x}` loses everything when its sides meet; each function here is
written in two branches, one for either side, and its gradient is finite in both.
"""

import math
from typing import Any

import torch
from torch import Tensor

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
EULER = 0.5772156649015329


def log(value: Tensor | float) -> Any:
    """The logarithm of a number or tensor."""
    return math.log(value) if isinstance(value, float) else value.log()


def log1mexp(x: Tensor) -> Tensor:
    r""":math:`\log(1 - e^{-x})` for x >= 0; at 0 it is -inf.

    Example:
        >>> log1mexp(torch.tensor([1e-20, 50.0]))
        tensor([-4.6052e+01, -1.9287e-22])
    """
    small = x < 0.7  # near log 2, where both forms are as good
    near, far = torch.where(small, x, 0.7), torch.where(small, 0.7, x)
    return torch.where(small, (-torch.expm1(-near)).log(), torch.log1p(-torch.exp(-far)))


def log1p_square(z: Tensor) -> Tensor:
    r""":math:`\log(1 + z^2)`, without overflow."""
    size = z.abs()
    large = size > 1.0
    far = torch.where(large, size, 1.0)
    near = torch.where(large, 0.0, z)
    return torch.where(large, 2.0 * far.log() + (far**-2).log1p(), (near * near).log1p())
