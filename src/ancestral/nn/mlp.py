"""A multilayer perceptron."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Sequential):
    r"""Linear layers with an activation between them: :math:`W_L\,a(\dots a(W_1 x + b_1)) + b_L`.

    Several inputs are concatenated, as those of a law with several conditions.

    Args:
        in_features: Width of the input, shape ``(rows, in_features)``; of several, of all.
        out_features: Width of the output.
        hidden: Widths of the layers between.
        activation: Makes the activation, e.g. ``nn.ReLU``.

    Example:
        >>> import torch
        >>> MLP(4, 2, hidden=(8,))(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
        >>> MLP(4, 2, hidden=(8,))(torch.zeros(3, 1), torch.zeros(3, 3)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (512, 512),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        widths = (in_features, *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers, nn.Linear(widths[-1], out_features))

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output, shape ``(rows, out_features)``."""
        out: Tensor = super().forward(inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1))
        return out
