r"""A network whose parameters are cut: :math:`f_{\mathrm{sg}[\theta]}(x)`."""

from typing import Any

from torch import nn
from torch.func import functional_call


def without_gradient(net: nn.Module, *args: Any, **by_name: Any) -> Any:
    """What a network returns, where no gradient reaches its parameters, though one reaches
    the arguments.

    Example:
        >>> import torch
        >>> net, x = torch.nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
        >>> without_gradient(net, x).sum().backward()
        >>> net.weight.grad is None, x.grad is None
        (True, False)
    """
    fixed = {name: p.detach() for name, p in net.named_parameters()}
    return functional_call(net, fixed, args, by_name)


class Detached(nn.Module):
    """A network as it is at each call, with its parameters cut; they are no parameters of this.

    Args:
        net: The network.

    Example:
        >>> import torch
        >>> list(Detached(torch.nn.Linear(2, 1)).parameters())
        []
    """

    net: nn.Module

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "net", net)  # seen, not owned

    def forward(self, *args: Any) -> Any:
        """What the network returns."""
        return without_gradient(self.net, *args)
