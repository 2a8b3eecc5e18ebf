"""Constants that are single numbers: known when a loss is lowered, so that N(0, 1) is special."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ancestral.core.errors import GradientError


def as_constant(what: str, value: Tensor) -> Tensor:
    """A constant of a law: a copy of its own, in floating point.

    Raises:
        GradientError: If it has a gradient, which a constant would cut.
    """
    if value.requires_grad:
        key = what.rpartition(" ")[2]
        raise GradientError(
            f"{what} is a tensor with a gradient, which a constant would cut. Give "
            f"nn.Parameter(...) to train it, {key}.detach() to keep it fixed, or the name of a "
            "condition to pass it in."
        )
    if not value.is_floating_point():
        value = value.to(torch.get_default_dtype())
    return value.clone(memory_format=torch.contiguous_format)


class Numbers:
    """The values of 0-d buffers, read once, since reading waits for the device.

    A number counts as long as its buffer is the same tensor and nobody wrote into it: a constant
    that is changed in place is a tensor like others from then on.

    Example:
        >>> import torch
        >>> numbers, buffers = Numbers(), {"loc": torch.zeros(())}
        >>> numbers.read(buffers)
        >>> numbers.current(buffers)
        {'loc': 0.0}
        >>> _ = buffers["loc"].fill_(1.0)
        >>> numbers.current(buffers)
        {}
    """

    def __init__(self) -> None:
        self._read: dict[str, tuple[float, Tensor, int]] = {}

    def read(self, buffers: Mapping[str, Tensor | None]) -> None:
        """Read every 0-d buffer that has a value (one on the meta device has none)."""
        for key, tensor in buffers.items():
            if tensor is not None and tensor.dim() == 0 and tensor.device.type != "meta":
                self._read[key] = (tensor.item(), tensor, _writes(tensor))

    def current(self, buffers: Mapping[str, Tensor | None]) -> dict[str, float]:
        """The numbers whose buffers are as they were when they were read."""
        if torch.compiler.is_compiling():  # the graph reads the buffers, whatever is written there
            return {}
        return {
            key: number
            for key, (number, tensor, version) in self._read.items()
            if buffers.get(key) is tensor and _writes(tensor) == version
        }

    def keep(self, numbers: Mapping[str, float], buffers: Mapping[str, Tensor | None]) -> None:
        """Take these numbers for the values of buffers that were moved or cast."""
        moved = {key: buffers[key] for key in numbers}
        self._read = {k: (numbers[k], t, _writes(t)) for k, t in moved.items() if t is not None}

    def __getstate__(self) -> dict[str, tuple[float, Tensor]]:
        """For copies, which start to count the writes of a tensor anew."""
        return {k: (n, t) for k, (n, t, version) in self._read.items() if _writes(t) == version}

    def __setstate__(self, state: dict[str, tuple[float, Tensor]]) -> None:
        self._read = {k: (n, t, _writes(t)) for k, (n, t) in state.items()}


def _writes(tensor: Tensor) -> int:
    """How often it was written to; of a tensor of inference mode that is not counted."""
    return 0 if tensor.is_inference() else tensor._version
