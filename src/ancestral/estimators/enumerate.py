r"""Exact enumeration of a discrete law, :math:`E_q[f] = \sum_y q(y)\,f(y)`: no noise, no bias.

Each term of a sum is weighted by the marginal of the variables that it reads, which messages along
the graph of the laws give: a chain costs as much per step whatever its length.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class Enumerate(Estimator):
    """Sum over every value of the law; the cost grows with their number.

    Of several laws those that no term reads together are never put together, so that
    ``E(q1 * q2 * ... * qT, f)`` over a chain, with f a sum over its steps, takes T times the square
    of the number of values.
    """

    how: ClassVar[str] = "table"
    draws: None = field(default=None, init=False, repr=False)  # every value stands once
