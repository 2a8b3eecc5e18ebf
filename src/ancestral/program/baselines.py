"""Instructions of baselines that steps hand on: moments of the learning signal of a draw."""

from dataclasses import dataclass
from typing import Any

from ancestral.program.instructions import Register, Step, Surrogate


@dataclass(frozen=True, eq=False)
class Baselined(Surrogate):
    """The integrand with an estimator's gradient, whose baseline was learned before this step.

    Args:
        moments: What the steps before have left.
        learned: What a network says; its cost is added, with the value 0.
    """

    moments: Register
    learned: Register | None = None


@dataclass(frozen=True, eq=False)
class Moved(Step):
    """The moments after this step."""

    baseline: Any
    moments: Register
    f: Register
    learned: Register | None = None
