r"""Exact enumeration of a discrete law, :math:`E_q[f] = \sum_y q(y)\,f(y)`: no noise, no bias."""

from dataclasses import dataclass, field
from typing import ClassVar

from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class Enumerate(Estimator):
    """Sum over every value of the law; the cost grows with their number."""

    how: ClassVar[str] = "table"
    draws: None = field(default=None, init=False, repr=False)  # every value stands once
