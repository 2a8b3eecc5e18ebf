"""The reference interpreter: it walks the steps once, and keeps one value per register.

What a step means stands in :mod:`ancestral.runtime.rules`. The generated step must agree with it
to the bit.
"""

from typing import Any, Protocol

from torch import Tensor

from ancestral.program import instructions as ir
from ancestral.runtime.rules import RULES
from ancestral.runtime.run import Run


class Watching(Protocol):
    """Sees each step before and after it runs, and may raise."""

    def before(self, run: Run, step: ir.Step) -> None:
        """Look at the operands of a step."""

    def after(self, run: Run, step: ir.Step, value: Any) -> None:
        """Look at the result of a step."""


def interpret(run: Run, watch: Watching | None = None) -> Tensor:
    """Run the program, each step watched if asked for."""
    run.start()
    run.watch = watch
    for step in run.program.steps:
        if watch is not None:
            watch.before(run, step)
        value = RULES[type(step)](step, run)
        run.values[step.out] = value
        if watch is not None:
            watch.after(run, step, value)
    run.kept = {name: run.values[r] for name, r in run.program.kept.items()}
    result: Tensor = run.values[run.program.result]
    return result
