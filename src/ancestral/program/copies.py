r"""Instructions of estimators that see the log weights of a bound, one for each copy of a draw.

In :math:`\log \frac1K \sum_k \exp \ell_k` an estimator of the gradient by the draws may read every
:math:`\ell_k`, where one of a plain expectation reads the integrand alone.
"""

from dataclasses import dataclass
from typing import Any

from ancestral.core.axes import Axis
from ancestral.program.instructions import Register, Step


@dataclass(frozen=True, eq=False)
class Gate(Step):
    """The pair of a draw, whose gradient is scaled on its way back, and of the channel along which
    the scales come: two zeros for each draw.
    """

    estimator: Any
    arg: Register


@dataclass(frozen=True, eq=False)
class OverCopies(Step):
    """A bound over copies with an estimator's gradient for a draw.

    Args:
        f: The bound.
        log_w: The log weight of each copy.
        own: What the estimator acts through: the log density of the draw, or the channel of a gate.
        axis: That of the copies.
        coefficient: With which minus the log density of the draw stands in the log weights.
    """

    estimator: Any
    f: Register
    log_w: Register
    own: Register
    axis: Axis
    coefficient: float = 1.0
