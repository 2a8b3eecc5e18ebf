r"""Schedules: values that a model gives to a loss's parameters at each step, such as an annealed
weight :math:`\beta`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, did_you_mean
from ancestral.losses import Node
from ancestral.losses.scope import value_names
from ancestral.lowering.function import precision

Schedule = Callable[[int], float]


class Schedules(nn.Module):
    """The schedules of a model, and the number of steps that they have seen, which is saved.

    A value reaches the step as a 0-d tensor, so that another one compiles nothing anew.

    Args:
        functions: Name of a parameter to a function of the step, counted from 0.
        losses: Where the parameters stand.

    Raises:
        OptionError: If no loss has such a parameter, or a schedule cannot be called.
    """

    steps: Tensor

    def __init__(self, functions: Mapping[str, Schedule], *losses: Any) -> None:
        super().__init__()
        losses = tuple(loss for loss in losses if isinstance(loss, Node))
        known = dict.fromkeys(name for loss in losses for name in sorted(value_names(loss)))
        for name, function in functions.items():
            if name not in known:
                raise OptionError(
                    f"schedules={{{name!r}: ...}}: {losses[0]} has no parameter {name!r}; "
                    f"{did_you_mean(name, known)}"
                )
            if not callable(function):
                raise OptionError(
                    f"schedules={{{name!r}: ...}} takes a function of the step, e.g. lambda step: "
                    f"min(1.0, step / 1000), got {type(function).__name__}."
                )
        self.functions = dict(functions)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def tick(self) -> None:
        """One more step was made."""
        self.steps += 1

    def fill(self, batch: Any, given: Mapping[str, Any]) -> Any:
        """A batch with the values of this step, where the caller gives none.

        Args:
            batch: What the caller gave; what is no batch is for others to refuse.
            given: What he gave apart.
        """
        if batch is not None and not isinstance(batch, Mapping):
            return batch
        filled = dict(batch or {})
        dtype = precision(filled.values())
        step = int(self.steps)
        for name, function in self.functions.items():
            if name not in filled and name not in given:
                filled[name] = torch.tensor(float(function(step)), dtype=dtype)
        return filled
