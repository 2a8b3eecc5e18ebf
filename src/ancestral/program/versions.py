r"""Instructions of estimators that evaluate the integrand at several versions of a draw.

The versions stand along an axis of the plan, so that every network on the way sees them in one
pass: the draw itself first, then those that the estimator compares it with.
"""

from dataclasses import dataclass
from typing import Any

from ancestral.core.axes import Axis
from ancestral.program import instructions as ir


@dataclass(frozen=True, eq=False)
class Versions(ir.Draw):
    """The pair of the versions of a draw, along the first axis, and of what weighs them."""

    estimator: Any = None


@dataclass(frozen=True, eq=False)
class Plain(ir.Step):
    """What stands at the versions of a draw, at the draw itself."""

    arg: ir.Register
    axis: Axis


@dataclass(frozen=True, eq=False)
class Weighed(ir.Step):
    """The integrand at the draw, with an estimator's gradient made of all versions.

    Args:
        f: The integrand at all versions.
        weights: What the estimator acts through.
        axis: That of the versions.
    """

    estimator: Any
    f: ir.Register
    weights: ir.Register
    axis: Axis
