r"""A mean over the rows of a data set, with what it takes to read it.

For values v_1..v_N the mean is :math:`\bar v = \frac1N \sum_n v_n` and its standard error
:math:`\sqrt{\frac{1}{N(N-1)} \sum_n (v_n - \bar v)^2}`, over rows. Noise of the estimator within
a row is part of it.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from ancestral.core.errors import DataError, MissingVariableError, ShapeError


@dataclass(frozen=True, eq=False)
class Estimate:
    """One estimated quantity.

    Args:
        values: (N,) one value per row, in nats, on the CPU in float64.
        estimator: How each value was made, in words.
        k: Draws per row.

    Example:
        >>> import torch
        >>> print(Estimate(torch.tensor([-1.0, -3.0]), "importance sampling", k=50))
        -2.000 ± 1.000 nats (importance sampling, K = 50, 2 rows)
    """

    values: Tensor
    estimator: str
    k: int

    @property
    def rows(self) -> int:
        """N."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The mean over rows."""
        return float(self.values.double().mean())

    @property
    def standard_error(self) -> float:
        """The standard error of the mean over rows; nan for one row."""
        if self.rows < 2:
            return math.nan
        return float(self.values.double().std(correction=1)) / math.sqrt(self.rows)

    def per(self, sizes: Tensor) -> Self:
        r"""The ratio :math:`r = \sum_n v_n / \sum_n s_n`, e.g. nats per frame of sequences.

        Its rows are :math:`r + (v_n - r s_n) / \bar s`, whose mean is r, and whose standard error
        is that of a ratio.

        Args:
            sizes: (N,) how many units each row has.

        Source: Cochran, Sampling Techniques (1977), section 6.4.

        Example:
            >>> import torch
            >>> found = Estimate(torch.tensor([-2.0, -9.0]), "importance sampling", k=50)
            >>> found.per(torch.tensor([1, 3])).mean
            -2.75
        """
        v, s = self.values.double(), sizes.to("cpu").double()
        if s.shape != v.shape:
            raise ShapeError(
                f"per(sizes): sizes of shape {tuple(s.shape)} for {self.rows} rows; give one for "
                "each row."
            )
        ratio = v.sum() / s.sum()
        return replace(self, values=ratio + (v - ratio * s) / s.mean())

    def __str__(self) -> str:
        return (
            f"{self.mean:.3f} ± {self.standard_error:.3f} nats "
            f"({self.estimator}, K = {self.k}, {self.rows} rows)"
        )


def rows_of(data: Mapping[str, Tensor], needed: list[str]) -> dict[str, Tensor]:
    """The variables that are needed, after a check that they have the same number of rows.

    Raises:
        MissingVariableError: If one is missing.
        DataError: If there are no rows, or their numbers differ.
    """
    missing = [name for name in needed if name not in data]
    if missing:
        raise MissingVariableError(
            f"the data lacks {', '.join(missing)}; it has {', '.join(data) or 'nothing'}"
        )
    chosen = {name: data[name] for name in needed}
    lengths = {name: len(value) for name, value in chosen.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DataError(
            "an estimate over a data set needs at least one row, and as many of each variable; "
            f"there are {', '.join(f'{n} of {name}' for name, n in lengths.items()) or 'none'}"
        )
    return chosen


def placed(rows: Mapping[str, Tensor], laws: tuple[nn.Module, ...]) -> dict[str, Tensor]:
    """The rows of one batch where the laws' parameters are; as they are if there are none."""
    place = next((p.device for law in laws for p in law.parameters()), None)
    return {name: value if place is None else value.to(place) for name, value in rows.items()}


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Dropout and batch statistics off inside, every part as it was after."""
    training = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in training:
            part.training = mode
