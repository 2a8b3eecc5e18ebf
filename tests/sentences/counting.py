"""What the golden sentences ask: passes of each network, draws, value and gradient by hand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.lowering.reading import draws, passes

__all__ = ["agrees", "counted", "draws", "passes"]


@contextmanager
def counted(**networks: nn.Module) -> Iterator[dict[str, list[int]]]:
    """The passes of each network inside the block: the rows that it saw, one entry per pass.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> with counted(q=net) as seen:
        ...     _ = net(torch.zeros(5, 2)), net(torch.zeros(7, 2))
        >>> seen
        {'q': [5, 7]}
    """
    seen: dict[str, list[int]] = {name: [] for name in networks}

    def hook(name: str) -> Callable[..., None]:
        def run(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            seen[name].append(next(v for v in (*args, *kwargs.values())).shape[0])

        return run

    handles = [
        net.register_forward_pre_hook(hook(name), with_kwargs=True)
        for name, net in networks.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def agrees(
    loss: Any,
    batch: Mapping[str, Tensor],
    hand: Callable[[], Tensor],
    modules: Sequence[nn.Module],
    *,
    tolerance: float = 1e-12,
    **options: Any,
) -> Tensor:
    """The value, after asserting that it and its gradient are those of an evaluation by hand.

    The interpreter runs first, the generated step second: they have one value and one gradient, to
    the bit. Both need fixed noise: ``noise={"z": eps}`` among the options.

    Args:
        loss: A loss whose value is one number.
        batch: The data.
        hand: The independent evaluation, on the same noise.
        modules: Whose parameters the gradient is taken in.
        tolerance: Absolute and relative, for float64.
        options: Of the loss function.
    """
    parameters = list(dict.fromkeys(p for m in modules for p in m.parameters()))
    function = loss.function()
    found = [_value_and_gradient(lambda: function(batch, **options), parameters) for _ in "12"]
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two), (one, two)
    for mine, by_hand in zip(found[0], _value_and_gradient(hand, parameters), strict=True):
        torch.testing.assert_close(mine, by_hand, rtol=tolerance, atol=tolerance)
    return found[0][0]


def _value_and_gradient(
    evaluate: Callable[[], Tensor], parameters: Sequence[nn.Parameter]
) -> list[Tensor]:
    value = evaluate()
    gradient = torch.autograd.grad(value, parameters, allow_unused=True)
    pairs = zip(gradient, parameters, strict=True)
    return [value.detach(), *(torch.zeros_like(p) if g is None else g for g, p in pairs)]
