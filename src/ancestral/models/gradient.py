"""A gradient that comes with the loss, from one compiled graph: ``compile="gradient"``.

``.backward()`` then never runs. What else it does besides the derivative is done here (leaving it
in ``.grad``) or refused (averaging over processes, which happens in hooks of it).
"""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from ancestral.core.errors import TrainingError
from ancestral.losses import Node
from ancestral.models.parameters import label
from ancestral.runtime.compiled import Gradient

WRAPPERS = ("torch.nn.parallel.distributed", "torch.distributed")


def check_one_process(loss: Node, modules: Iterable[nn.Module]) -> None:
    """Raise if a module averages its gradients over processes.

    Args:
        loss: The expression, for the message.
        modules: The laws and networks that it computes with.

    Raises:
        TrainingError: If one of them is wrapped, or has a wrapped network in it.
    """
    for module in modules:
        for part in module.modules():
            found = [c for c in type(part).__mro__ if c.__module__.startswith(WRAPPERS)]
            if found:
                raise TrainingError(
                    f'{loss}: compile="gradient", but {label(module)} has a '
                    f"{found[0].__name__} in it. That averages gradients over processes in hooks "
                    "of backward(), which a gradient inside the graph never calls: each process "
                    "would train on its own rows alone. Write compile=True, which compiles the "
                    "loss and leaves backward() as it is."
                )


def clear(optimizer: Optimizer) -> None:
    """``optimizer.zero_grad()``, at a tenth of its time where it is torch's own."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:
        optimizer.zero_grad(set_to_none=True)
        return
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = None


def receive(weights: Sequence[Tensor], gradient: Gradient) -> None:
    """Leave a gradient in ``.grad`` as a backward pass would: added to what is there.

    Args:
        weights: What the gradient was taken in.
        gradient: For each a tensor of its shape, or ``None`` if it has no part in the loss.
    """
    for weight, g in zip(weights, gradient, strict=True):
        if g is not None:
            weight.grad = g if weight.grad is None else weight.grad + g
