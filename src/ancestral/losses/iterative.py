r"""The closed set of nodes, time: a step's loss, summed over steps that hand values on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ancestral.core.errors import OptionError, ScopeError, did_you_mean
from ancestral.core.names import as_names, listing
from ancestral.distributions import Distribution
from ancestral.losses.node import Node
from ancestral.losses.prob import Expectation


@dataclass(frozen=True, eq=False, repr=False, init=False)
class IterativeLoss(Node):
    r"""A loss summed over time, :math:`\sum_t \ell(x_t, h_{t-1})`, with values that are carried.

    The expectations of a step are nested: what a step draws and hands on is given in the next,
    :math:`E_{d_1}[\ell_1 + E_{d_2|d_1}[\ell_2 + \dots]]`. Time is the first axis of series, as in
    Pixyz, ``(T, rows, ...)``; laws of sequences, which have it behind the rows, are
    :class:`~ancestral.distributions.Sequence`.

    Args:
        step_loss: The loss of one step.
        max_iter: The number of steps, the first of the series; all of them if not given.
        series_var: The variables that are sequences, of which a step sees one entry.
        update_value: What a step draws, and the name by which the next step reads it; before the
            first step that name is given. With ``return_dict`` it is its last value.
        slice_step: A law that is drawn in each step around its loss. A deterministic one may read
            series: it sees them whole, time first, and the number of the step, so that its
            ``forward(self, x, t)`` may return ``{"x_t": x[t], "x_next": x[t + 1]}``; the step then
            reads these.
        timestep_var: Names for the number of the step, counted from 0.
        mask: A variable of shape ``(T, rows)``: 1 for the steps of a row that count.

    Raises:
        ScopeError: If nothing in the step draws what is handed on.
        OptionError: If nothing says how many steps there are.

    Example:
        >>> from ancestral.losses import Parameter
        >>> total = IterativeLoss(Parameter("t"), max_iter=3, timestep_var=["t"])
        >>> print(total.eval(), total.latex())
        tensor(3.) \sum_{t=0}^{2} t
    """

    step: Node
    whole: tuple[str, ...]
    max_iter: int | None
    series: tuple[str, ...]
    update: tuple[tuple[str, str], ...]
    timestep: tuple[str, ...]
    mask: str | None

    def __init__(
        self,
        step_loss: Any,
        max_iter: int | None = None,
        series_var: str | Iterable[str] | None = None,
        update_value: Mapping[str, str] | None = None,
        slice_step: Distribution | None = None,
        timestep_var: str | Iterable[str] | None = None,
        mask: str | None = None,
    ) -> None:
        series = as_names(series_var or (), "series_var")
        if max_iter is None and not series:
            raise OptionError(
                "IterativeLoss: nothing says how many steps there are. Give max_iter=10, or "
                "series_var=[...] with the variables that are sequences."
            )
        if max_iter is not None and (not isinstance(max_iter, int) or max_iter < 1):
            raise OptionError(f"IterativeLoss: max_iter={max_iter!r} must be a number of steps.")
        timestep = as_names(timestep_var or (), "timestep_var")
        object.__setattr__(self, "step", step_loss)
        self._coerce("step")
        object.__setattr__(self, "whole", _seen_whole(slice_step, series, timestep))
        if slice_step is not None:
            object.__setattr__(self, "step", Expectation(slice_step, self.step))
        object.__setattr__(self, "max_iter", max_iter)
        object.__setattr__(self, "series", series)
        object.__setattr__(self, "update", tuple((update_value or {}).items()))
        object.__setattr__(self, "timestep", timestep)
        object.__setattr__(self, "mask", mask)
        drawn = drawn_names(self.step)
        for name, alias in self.update:
            if name not in drawn:
                raise ScopeError(
                    f"IterativeLoss: update_value hands {name!r} on as {alias!r}, but no "
                    f"expectation in the step draws it; {did_you_mean(name, drawn)}"
                )


def _seen_whole(
    law: Distribution | None, series: Sequence[str], timestep: Sequence[str]
) -> tuple[str, ...]:
    """The series that the law of ``slice_step`` reads.

    Raises:
        OptionError: If it reads some, but is not a function of them and of the step alone.
    """
    whole = tuple(n for n in series if law is not None and n in law.cond_var)
    if law is None or not whole:
        return ()
    others = [c for c in law.cond_var if c not in (*series, *timestep)]
    if any(f.law.is_random for f in law.factors) or len(law.factors) > 1 or others:
        raise OptionError(
            f"IterativeLoss: slice_step={law.prob_text} reads the whole of {listing(whole)}. Make "
            "it one Deterministic law of series and of the name in timestep_var alone"
            + (f"; {listing(others)} can be read in the step." if others else ".")
        )
    return whole


def drawn_names(node: Node) -> Sequence[str]:
    """The names that expectations in a loss bind."""
    own = node.law.var if isinstance(node, Expectation) else []
    return [*own, *(name for child in node.children for name in drawn_names(child))]
