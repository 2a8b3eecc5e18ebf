"""The one batch axis that networks see: values folded into it, and outputs unfolded."""

import math
from typing import Any

from torch import Tensor

from ancestral.core.axes import Axes, fold, unfold
from ancestral.core.errors import ShapeError
from ancestral.program import instructions as ir
from ancestral.runtime.run import Run


def sizes_of(run: Run, registers: tuple[ir.Register, ...], axes: Axes) -> tuple[int, ...]:
    """The sizes of axes, as registers have them."""
    known = dict(zip(axes, run.sizes(axes), strict=True))
    for r in registers:
        for axis, size in zip(r.axes, run.values[r].shape, strict=False):
            known[axis] = size
    return tuple(known.values())


def folded(
    registers: tuple[ir.Register, ...], axes: Axes, run: Run
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Values with one batch axis, and the sizes that it stands for."""
    args = fold([run.values[r] for r in registers], [r.axes for r in registers], axes)
    return args, sizes_of(run, registers, axes)


def unfolded(step: Any, out: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The output of a function with several axes again in place of the batch axis.

    Raises:
        ShapeError: If it has not kept the rows.
    """
    batch = math.prod(sizes)
    if not isinstance(out, Tensor) or out.dim() == 0 or out.shape[0] != batch:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ShapeError(
            f"{step.text} returned {shape} for {batch} rows. A function must return a tensor "
            "whose first axis is the rows."
        )
    return unfold(out, sizes) if step.out.axes else out[0]
