"""What is checked while a program runs on the first batch, and on each new shape or dtype.

Each step's result is looked at once: shapes, devices, domains of parameters, supports of values,
and whether everything is finite. What is found is named by the term of the equation.
"""

from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import align
from ancestral.core.errors import (
    DataError,
    DeviceError,
    ShapeError,
    SupportError,
)
from ancestral.distributions.law import Law
from ancestral.distributions.layout import spanned
from ancestral.distributions.support import check_support, first, worst
from ancestral.program import instructions as ir
from ancestral.program import loops
from ancestral.program.relaxed import RelaxedDensity
from ancestral.runtime.run import ParamSet, Run


class Watch:
    """Checks of one run; keeps the event shapes that laws and data have given to variables."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        self.numbers: set[ir.Register] = set()  # each stands for a whole event

    def before(self, run: Run, step: ir.Step) -> None:
        """Look at operands: of shapes or values that do not fit torch may refuse or be silent."""
        if isinstance(step, ir.Density):
            self._value(run, step)
        elif isinstance(step, ir.Draw):
            self._draw(run, step)
        elif isinstance(step, ir.Closed):
            self._closed(run, step)
        elif isinstance(step, ir.Params):
            self._devices(run, step)

    def after(self, run: Run, step: ir.Step, value: Any) -> None:
        """Look at the result of one step."""
        if isinstance(step, ir.Input):
            self._input(run, step, value)
        elif isinstance(step, ir.Params):
            self._params(run, step, value)
        elif isinstance(step, ir.Experts):
            for key in ("loc", "scale"):
                finite(f"{key} of {step.text}", {**value.rows, **value.fixed}[key])
        elif isinstance(step, ir.Draw):
            finite(f"the draw {step.out.name} from {step.text}", value)
        elif isinstance(step, ir.Density):
            counts = _counts(run, step)
            value = value if counts is None else torch.where(counts, value, 0.0)
            finite(f"log {step.text}", value)
        elif isinstance(step, ir.Closed):
            finite(str(step.text), value)
        elif isinstance(step, ir.Transform):
            self._transform(run, step, value)
        elif isinstance(step, ir.Call):
            finite(str(step.text), value)
        elif isinstance(step, ir.Number):
            self.numbers.add(step.out)
        elif isinstance(step, ir.Elementwise) and step.op in ("log", "div", "exp", "pow"):
            finite(f"{step.op} in the loss", value)

    def _input(self, run: Run, step: ir.Input, value: Tensor) -> None:
        rows = len(step.out.axes)
        if value.dim() < rows:
            raise ShapeError(
                f"{step.var} has shape {tuple(value.shape)}, but its first axis must be rows."
            )
        for axis, size in zip(step.out.axes, value.shape, strict=False):
            if run.rows[axis] != size:
                first = next(
                    s.var
                    for s in run.program.steps
                    if isinstance(s, ir.Input) and axis in s.out.axes and s.var in run.data
                )
                raise ShapeError(
                    f"{step.var} has {size} rows and {first} has {run.rows[axis]}, but they meet "
                    "in one term. Give them the same number of rows, or reduce each with .mean()."
                )
        if not _may_be_missing(run, step.out):
            finite(f"the data {step.var}", value, DataError)

    def _devices(self, run: Run, step: ir.Params) -> None:
        weight = next(torch.nn.Module.parameters(run.program.laws[step.law]), None)
        for r in step.conditions:
            given = run.values[r]
            if weight is not None and weight.device != given.device:
                raise DeviceError(
                    f"{step.text}: {r.name} is on {given.device}, its parameters are on "
                    f"{weight.device}. Move the batch: {r.name}.to({str(weight.device)!r})."
                )

    def _params(self, run: Run, step: ir.Params, value: ParamSet) -> None:
        law = run.program.laws[step.law]
        tensors = {**value.rows, **value.fixed}
        for key, v in tensors.items():
            domain = law.domains.get(key) or law.moves.domains.get(key)
            v = torch.as_tensor(v)
            if domain is None:
                finite(f"{key} of {step.text}", v)
                continue
            holds = domain.holds(v)
            if not bool(holds.all()):
                nan = " (NaN)" if v.is_floating_point() and bool(torch.isnan(v).any()) else ""
                raise SupportError(
                    f"{step.text}: {key} must be {domain.name}, got {worst(v, holds)}{nan} at "
                    f"{first(holds)}. {domain.fix}".rstrip()
                )
        if law.is_random:  # the variables of a function need not fit one another
            self._rows_fit(step, law.moves, value)
            self._events_fit(step, law.moves, value)
        law.check_together(tensors, str(step.text))

    def _events_fit(self, step: ir.Params, moves: type[Law], value: ParamSet) -> None:
        lead = len(step.out.axes)
        events = {k: tuple(v.shape[lead:]) for k, v in value.rows.items()}
        try:
            torch.broadcast_shapes(*(spanned(moves, k, e) for k, e in events.items()))
        except RuntimeError:
            told = " and ".join(f"{k} with {e}" for k, e in events.items())
            raise ShapeError(
                f"{step.text}: the network returned {told} behind the rows, which do not fit one "
                "another. Give them one event shape."
            ) from None

    def _rows_fit(self, step: ir.Params, moves: type[Law], value: ParamSet) -> None:
        lead = len(step.out.axes)
        for key, v in value.rows.items():
            for other, w in value.fixed.items():
                if not isinstance(w, Tensor) or w.dim() == 0:
                    continue
                event = tuple(v.shape[lead:])
                mine = spanned(moves, key, event)
                parts = len(mine) - moves.param_dims  # the axes behind these differ as they may
                try:
                    both = torch.broadcast_shapes(mine, spanned(moves, other, tuple(w.shape)))
                    fits = tuple(both[: len(both) - moves.param_dims]) == mine[:parts]
                except RuntimeError:
                    fits = False
                if not fits:
                    raise ShapeError(
                        f"{step.text}: {key} has shape {tuple(v.shape)}, event shape {event}, but "
                        f"{other} has shape {tuple(w.shape)}, which does not fit it. Give both "
                        f"the event shape {event}, rows in front."
                    )

    def _value(self, run: Run, step: ir.Density) -> None:
        law, found = run.program.laws[step.law], run.values[step.params]
        x = run.values[step.value]
        if step.value in self.numbers:
            self._support(run, step, x)
            return
        event = tuple(x.shape[len(step.value.axes) :])
        of_law = _event(law, found, step.params)
        if of_law is None:
            of_law = run.program.shapes.get(step.var) or None
        self.unify(
            step.var, event, f"the value of {step.out.name.replace('log ', '')}'s {step.var}"
        )
        if of_law is not None and tuple(of_law) != event:
            raise ShapeError(
                f"log {step.text}: {step.var} has event shape {event} (shape {tuple(x.shape)}), "
                f"but the parameters of {step.text} have event shape {tuple(of_law)}. "
                f"{self._advice(run, step, x, tuple(of_law))}"
            )
        self._support(run, step, x)

    def _advice(self, run: Run, step: ir.Density, x: Tensor, wanted: tuple[int, ...]) -> str:
        """What to do about a value whose event shape is not its law's."""
        law, found = run.program.laws[step.law], run.values[step.params]
        support = law.support({**found.rows, **found.fixed})
        event = tuple(x.shape[len(step.value.axes) :])
        if law.moves.value_dims and event == wanted[:-1] and support is not None:
            return str(support.fix)  # labels where a vector is wanted
        if tuple(x.shape) == wanted:
            return f"If it is one row, give it that axis: {step.var}[None]."
        return (
            f"Make the network return {event}, or give {step.var} the event shape {wanted}, "
            "rows in front."
        )

    def _transform(self, run: Run, step: ir.Transform, pair: tuple[Tensor, Tensor]) -> None:
        if not step.inverse:
            finite(f"the draw {step.out.name} from {step.text}", pair[0])
            finite(f"log|det| at the draw {step.out.name} from {step.text}", pair[1])
            return
        x, f = run.values[step.arg], run.program.functions[step.fn].net
        low, high = f.codomain
        holds = (x >= low) & (x <= high)
        if pair[0].shape == x.shape:
            holds &= torch.isfinite(pair[0])
        if not bool(holds.all()):
            raise SupportError(
                f"log {step.text}: {step.var} must be a value that the flow reaches, between "
                f"{low:g} and {high:g}, got {worst(x, holds)} at {first(holds)}. Scale the data "
                "into it, or end the flow with a bijection that reaches all of them."
            )

    def _draw(self, run: Run, step: ir.Draw) -> None:
        event = _event(run.program.laws[step.law], run.values[step.params], step.params)
        declared = run.program.shapes.get(step.var)
        if event is not None and declared and len(event) < len(declared):
            raise ShapeError(
                f"{step.text}: its parameters give {step.var} the event shape {event}, but it is "
                f"{tuple(declared)} where it is declared. Make the network return "
                f"{tuple(declared)}, rows in front."
            )

    def _support(self, run: Run, step: ir.Density, x: Tensor) -> None:
        law, found = run.program.laws[step.law], run.values[step.params]
        relaxed = isinstance(step, RelaxedDensity)
        if relaxed and hasattr(law.moves, "relaxed"):  # linear between its values
            return
        axes, have, counts = step.out.axes, step.value.axes, _counts(run, step)
        if counts is not None or axes[len(axes) - len(have) :] != have:
            x = align(x, have, axes)
        params = found.aligned(step.params.axes, axes)
        try:
            check_support(str(step.text), step.var, law, x, params, counts)
        except SupportError as error:
            if not relaxed:
                raise
            raise SupportError(
                f"{error} The plan puts relaxed values in the place of {step.var}, between which a "
                f"{law.distribution_name} has no density; use Score(LeaveOneOut(), draws=4)."
            ) from None

    def _closed(self, run: Run, step: ir.Closed) -> None:
        known = []
        for slot, r in zip(step.laws, step.params, strict=True):
            event = _event(run.program.laws[slot], run.values[r], r)
            if event is not None:
                known.append(event)
        declared = run.program.shapes.get(step.var)
        if declared:
            known.append(tuple(declared))
        if len(set(known)) > 1:
            told = " and ".join(str(tuple(e)) for e in dict.fromkeys(known))
            raise ShapeError(
                f"{step.text}: its laws have different event shapes for {step.var}: {told}. Give "
                "both laws the same (features_shape of the prior, width of the network)."
            )

    def unify(self, var: str, shape: tuple[int, ...], source: str) -> None:
        """Raise if a variable has another event shape elsewhere."""
        known, before = self.shapes.setdefault(var, (shape, source))
        if known != shape:
            raise ShapeError(
                f"{var} has event shape {shape} in {source}, but {known} in {before}. A variable "
                "has one event shape."
            )


def _counts(run: Run, step: ir.Density) -> Tensor | None:
    """The rows of a density that count, or ``None`` if all do."""
    if step.counts is None:
        return None
    axes, counts = step.counts.axes, run.values[step.counts] > 0
    over = [i for i, a in enumerate(axes) if a not in step.out.axes]
    counts = counts.any(tuple(over)) if over else counts  # in one plan, or in another
    return align(counts, tuple(a for a in axes if a in step.out.axes), step.out.axes)


def _may_be_missing(run: Run, register: ir.Register) -> bool:
    """Whether all that reads a value are laws that leave out the rows where it is missing."""
    readers = [s for s in run.program.steps if register in ir.Program.operands(s)]
    return bool(readers) and all(_leaves_out(run, register, s) for s in readers)


def _leaves_out(run: Run, register: ir.Register, step: ir.Step) -> bool:
    if isinstance(step, ir.Retime):
        return _may_be_missing(run, step.out)
    if isinstance(step, loops.Keep):
        return register is step.arg
    if isinstance(step, ir.Shown):
        return register is step.arg
    if not isinstance(step, ir.Params) or register not in step.conditions:
        return False
    law = run.program.laws[step.law]
    return law.cond_var[step.conditions.index(register)] in law.masked


def _event(law: Any, found: ParamSet, params: ir.Register) -> tuple[int, ...] | None:
    """The event shape that parameters give to a value; None if they are numbers, which fit any."""
    event = found.event(len(params.axes), law.moves)
    follows = any(key not in law.given or key in law.bound for key in found.rows)
    if not event and not follows:
        return None
    if law.is_complete and not law.bound and law.declared_shape is not None:
        return tuple(law.declared_shape)  # its constants fit it, or stand for copies in a plate
    value: tuple[int, ...] = law.moves.value_shape(event)
    return value


def finite(what: str, value: Any, error: type[Exception] = SupportError) -> None:
    """Raise if a result is not finite, naming the row."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.is_meta:
        return
    holds = torch.isfinite(value)
    if bool(holds.all()):
        return
    kind = "NaN" if bool(torch.isnan(value).any()) else "infinite"
    raise error(
        f"{what} is {kind} at {first(holds)} (shape {tuple(value.shape)}). "
        + ("Mend or drop that row." if error is DataError else "Look at the network behind it.")
    )
