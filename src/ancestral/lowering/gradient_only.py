"""Pass: terms with a gradient and no value.

Some plans estimate the gradient of a term whose value nobody knows: of the log density of an
energy, whose constant is an integral; of the divergence of a law of particles, which is infinite.
Such a term stands in a program with the right gradient and another value, and says so. What is
made of it linearly has the right gradient too. All else is refused: the derivative of a product
or a logarithm reads the value.
"""

from collections.abc import Iterable, Mapping

from ancestral.core.errors import GradientError
from ancestral.lowering.context import Lowering
from ancestral.program import instructions as ir

LINEAR = (ir.Linear, ir.Scalar, ir.Again, ir.Distinct, ir.Several, ir.LeftOut)


def spread(steps: Iterable[ir.Step], lw: Lowering) -> Mapping[ir.Register, str]:
    """The terms of a program that have a gradient only, and what is made of them.

    Args:
        steps: The program.
        lw: How it was made; its ``gradient_only`` has the terms themselves.

    Returns:
        For each register what its value is.

    Raises:
        GradientError: If one of them is used in a way whose derivative reads its value.
    """
    found: dict[ir.Register, str] = {}
    if not lw.gradient_only:
        return found
    for step in steps:
        read = [r for r in ir.Program.operands(step) if r in found]
        if step.out in lw.gradient_only:
            found[step.out] = lw.gradient_only[step.out]
        elif read:
            if not _is_linear(step, read, lw):
                raise GradientError(
                    f"{read[0].name} has a gradient and no value: what its program computes is "
                    f"{found[read[0]]}. It stands in {_named(step)}, which reads the value, so "
                    "that what comes of it would be silently wrong. Add it to the other terms, "
                    "times numbers or values without trained parameters."
                )
            found[step.out] = found[read[0]]
    return found


def value_of_plan(program: ir.Program) -> str | None:
    """What a program computes, if that is no estimate of its loss; of a game, for any player."""
    return program.gradient_only.get(program.result)


def _is_linear(step: ir.Step, read: list[ir.Register], lw: Lowering) -> bool:
    if isinstance(step, LINEAR):
        return True
    if isinstance(step, ir.Reduce):
        return step.how in ("mean", "sum")
    if not isinstance(step, ir.Elementwise) or step.op not in ("mul", "div") or len(read) > 1:
        return False
    if step.op == "div" and step.args[0] is not read[0]:
        return False
    others = (r for r in step.args if r is not read[0])
    return len(set(step.args)) == len(step.args) and not any(map(lw.build.is_trained, others))


def _named(step: ir.Step) -> str:
    told = {"mul": "a product", "div": "a quotient"}
    if isinstance(step, ir.Surrogate):
        return f"an expectation with {step.estimator}"
    if isinstance(step, ir.Cut):
        return ".detach()"
    if isinstance(step, ir.Elementwise):
        return told.get(step.op, step.op)
    return step.how if isinstance(step, ir.Reduce) else f"a {type(step).__name__.lower()}"
