"""Parts of series, time first: their first steps, and what a function takes from them whole."""

import ast
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import ShapeError
from ancestral.program import loops
from ancestral.runtime.operands import Code, Operand
from ancestral.runtime.run import ParamSet, Run
from ancestral.runtime.writer import Names, Writer


def prefix(step: loops.Prefix, run: Run) -> Tensor:
    """The first steps."""
    value: Tensor = run.values[step.arg]
    (size,) = run.sizes((step.axis,))
    if value.shape[0] < size:
        raise ShapeError(
            f"max_iter={size}: {step.arg.name} has {value.shape[0]} steps (shape "
            f"{tuple(value.shape)}, time first). Give a series that is as long, or a smaller "
            "max_iter."
        )
    return value.narrow(0, 0, size)


def text_of_prefix(w: Writer, step: loops.Prefix) -> None:
    """The text of :func:`prefix`."""
    w.put(step.out, "x", f"{w.text(step.arg)}[:{w.size(step.axis)}]")


class Slicing:
    """A function that is called once for each step.

    Args:
        call: A law's network: by its conditions' own names to its variables by name.
        names: The own names of what it is given; ``None`` stands for those of the step's number.
        steps: The names that get the number of the step.
        var: The variables, in the order in which they are returned.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        names: Sequence[str],
        steps: Sequence[str],
        var: Sequence[str],
    ) -> None:
        self.call, self.names, self.steps, self.var = call, names, steps, var

    def __call__(self, size: int, *series: Tensor) -> tuple[Tensor, ...]:
        """Each variable in all steps, time first."""
        whole = dict(zip(self.names, series, strict=True))
        found = [self.call(**whole, **dict.fromkeys(self.steps, t)) for t in range(size)]
        return tuple(torch.stack([f[v] for f in found]) for v in self.var)


def _slicing(step: loops.Slices, run: Run) -> Slicing:
    law = run.program.laws[step.law]
    order = [own for own, _ in step.args]

    def call(**given: Any) -> Any:
        return law.params([given[own] for own in order])

    names = [own for own, register in step.args if register is not None]
    return Slicing(call, names, [own for own in order if own not in names], law.var)


def slices(step: loops.Slices, run: Run) -> ParamSet:
    """The law's variables in all steps."""
    sizes = run.sizes(step.out.axes)
    made = _slicing(step, run)
    given = [run.values[register] for _, register in step.args if register is not None]
    try:
        found = made(sizes[0], *given)
    except IndexError as error:
        raise ShapeError(
            f"{step.text}: its function reaches beyond the {given[0].shape[0]} steps of a series "
            f"in a loop of {sizes[0]} ({error}). Give max_iter= the number of steps for which it "
            "has values."
        ) from error
    for name, value in zip(made.var, found, strict=True):
        if value.dim() < 2 or value.shape[1] != sizes[1]:
            raise ShapeError(
                f"{step.text}: its function returned {name} of shape {tuple(value.shape[1:])} for "
                f"one step of {sizes[1]} rows. Series have time first, (T, rows, ...): return "
                "entries such as x[t]."
            )
    return ParamSet(dict(zip(made.var, found, strict=True)), {}, sizes)


def text_of_slices(w: Writer, step: loops.Slices) -> None:
    """The text of :func:`slices`."""
    made = _slicing(step, w.run)
    given = [w.text(register) for _, register in step.args if register is not None]
    names = [w.fresh("x") for _ in made.var]
    call = f"{w.bind('f', made)}({', '.join([w.size(step.axis), *given])})"
    w.lines.append(f"{', '.join(names)}, = {call}")
    operands: dict[str, Operand] = {
        v: Code(ast.Name(n, ast.Load())) for v, n in zip(made.var, names, strict=True)
    }
    w.names[step.out] = Names(operands, {})


MEANINGS: dict[type, Callable[[Any, Run], Any]] = {loops.Prefix: prefix, loops.Slices: slices}
TEXTS: dict[type, Callable[[Writer, Any], None]] = {
    loops.Prefix: text_of_prefix,
    loops.Slices: text_of_slices,
}
