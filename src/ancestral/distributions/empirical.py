r"""The empirical law of the data, :math:`p_{data}(x)`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ancestral.core.errors import VariableError
from ancestral.core.names import as_names
from ancestral.distributions.factor import Factor
from ancestral.distributions.law import Law, Params


class EmpiricalDistribution(Law):
    r"""The law of given rows, :math:`p_{data}(x)`: drawing takes the rows that are in the input.

    Args:
        var: Names of its variables; they are also its inputs.
        name: How it prints.
        data: The names under which its rows are given, whatever its variables are called: so a
            second data set is a law of the same variable. By default these are its variables'
            names, outside too: a renamed law reads the data of its new name.

    Raises:
        VariableError: If there is not one name in ``data`` for each variable.

    Example:
        >>> import torch
        >>> EmpiricalDistribution(["x"]).sample({"x": torch.ones(2, 1)})
        {'x': tensor([[1.],
                [1.]])}
        >>> EmpiricalDistribution(["x"], name="p_u", data=["x_u"]).input_var
        ['x_u']
    """

    is_data = True
    has_density = False
    reparametrised = True
    several = True

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        name: str = "p_{data}",
        *,
        data: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(var, (), name, None, None, {})
        self._data = None if data is None else as_names(data, "data")
        if self._data is not None and len(self._data) != len(self.var):
            raise VariableError(
                f"{self.prob_text}: data={list(self._data)} are the names of {len(self._data)} "
                f"tensors, but it has {len(self.var)} variables. Give one for each, in order."
            )

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """It takes no parameters."""
        return [{}]

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The law itself, and where its rows are given."""
        return tuple(replace(f, given=self._data) for f in super().factors)

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """It has none."""
        return {}
