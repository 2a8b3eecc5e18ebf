"""The log density of a law at the table of its own values, in the interpreter and as text.

At each of K values the formula of a one-hot law sums K terms, of which all but one are 0. The law
lists the K numbers instead (its move ``log_values``), along the axis of the table.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ancestral.program.listed import ListedDensity
from ancestral.runtime.run import ParamSet, Run
from ancestral.runtime.writer import Names, Writer

Meaning = Callable[[Any, Run], Any]
Text = Callable[[Writer, Any], None]


def meaning(otherwise: Meaning) -> Meaning:
    """What the instruction does; where the law has no list of the kind, ``otherwise``."""

    def listed(step: ListedDensity, run: Run) -> Any:
        if not _fits(step, run):
            return otherwise(step, run)
        found: ParamSet = run.values[step.params]
        moves: Any = run.program.laws[step.law].moves
        out: Tensor = moves.log_values(**found.rows, **found.fixed)
        place, behind = _place(step)
        if found.rows:
            return out.movedim(-1, place)
        return out[(None,) * place + (...,) + (None,) * behind]

    return listed


def text(otherwise: Text) -> Text:
    """The text of :func:`meaning`."""

    def listed(w: Writer, step: ListedDensity) -> None:
        if not _fits(step, w.run):
            return otherwise(w, step)
        names: Names = w.names[step.params]
        moves: Any = w.program.laws[step.law].moves
        given = w.params(step.params, step.params.axes)
        found, (place, behind) = w.inlined(moves.log_values, [], given), _place(step)
        move = f".movedim(-1, {place})" if place + behind > 1 else ".t()"
        if not names.rows:
            move = f"[{', '.join(['None'] * place + ['...'] + ['None'] * behind)}]"
        if (behind if names.rows else place + behind) == 0:
            move = ""  # the values stand last as it is
        found = found if not move or found.isidentifier() else w.assign("t", found)
        return w.put(step.out, "t", f"{found}{move}")

    return listed


def _place(step: ListedDensity) -> tuple[int, int]:
    """How many axes stand before that of the table, and how many behind it."""
    place = step.out.axes.index(step.value.axes[0])
    return place, len(step.out.axes) - 1 - place


def _fits(step: ListedDensity, run: Run) -> bool:
    """Whether the parameters are those of one component with as many values as the table."""
    law, values = run.program.laws[step.law], run.values[step.value]
    found: ParamSet = run.values[step.params]
    given = [tuple(v.shape[len(step.params.axes) :]) for v in found.rows.values()]
    given += [tuple(v.shape) if isinstance(v, Tensor) else () for v in found.fixed.values()]
    return values.dim() == 1 + law.moves.value_dims and given == [(values.shape[0],)]
