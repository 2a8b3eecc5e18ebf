"""A recurrent network that reads sequences from their ends."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Backward(nn.Module):
    r"""A recurrent network over a whole sequence, from its last step to its first.

    Its output at time t is a function of :math:`x_t, \dots, x_T`, where T is the last step that a
    row has: padding behind it is neither read nor written to, so that a row has the same outputs
    whatever it is padded with, NaN too.

    Args:
        in_features: Width of x.
        hidden: Width of the output.
        cell: Makes the network, e.g. ``nn.GRU``; it is called with ``batch_first=True``.

    Example:
        >>> back = Backward(3, 5)
        >>> back(torch.zeros(2, 7, 3), torch.ones(2, 7)).shape
        torch.Size([2, 7, 5])
    """

    masked = ("x",)  # may be NaN where the mask is off

    def __init__(
        self, in_features: int, hidden: int, cell: Callable[..., nn.Module] = nn.GRU
    ) -> None:
        super().__init__()
        self.rnn = cell(in_features, hidden, batch_first=True)

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """The outputs.

        Args:
            x: Shape ``(rows, T, in_features)``.
            m: Shape ``(rows, T)``: 1 for the steps that a row has, its first ones.

        Returns:
            Shape ``(rows, T, hidden)``.
        """
        time = torch.arange(x.shape[1], device=x.device)
        last = (m > 0).sum(1, keepdim=True) - 1
        turned = torch.where(time <= last, last - time, time).unsqueeze(-1)  # its own inverse
        x = torch.where((m > 0).unsqueeze(-1), x, 0.0)
        out: Tensor = self.rnn(x.gather(1, turned.expand_as(x)))[0]
        return out.gather(1, turned.expand_as(out))
