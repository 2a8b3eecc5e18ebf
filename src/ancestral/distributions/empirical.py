r"""The empirical law of the data, :math:`p_{data}(x)`."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from ancestral.distributions.law import Law, Params


class EmpiricalDistribution(Law):
    r"""The law of given rows, :math:`p_{data}(x)`: drawing takes the rows that are in the input.

    Args:
        var: Names of its variables; they are also its inputs.
        name: How it prints.

    Example:
        >>> import torch
        >>> EmpiricalDistribution(["x"]).sample({"x": torch.ones(2, 1)})
        {'x': tensor([[1.],
                [1.]])}
    """

    is_data = True
    has_density = False
    reparametrised = True
    several = True

    def __init__(self, var: str | Iterable[str] | None = None, name: str = "p_{data}") -> None:
        super().__init__(var, (), name, None, None, {})

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """It takes no parameters."""
        return [{}]

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """It has none."""
        return {}
