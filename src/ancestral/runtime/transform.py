"""Bijections in a program: a value with its log-determinant, as it is run and as it is written."""

from collections.abc import Callable

from torch import Tensor

from ancestral.bijections import Bijection
from ancestral.core.axes import fold, sum_event
from ancestral.distributions.network import failed
from ancestral.distributions.pushforward import Direction
from ancestral.program import instructions as ir
from ancestral.runtime.batch import sizes_of, unfolded
from ancestral.runtime.run import Run
from ancestral.runtime.writer import Writer, summed

Move = Callable[..., tuple[Tensor, Tensor]]


def direction(bijection: Bijection, *, inverse: bool, cut: bool) -> Move:
    """A bijection's direction as a function of a point, and of a context if it takes one.

    Args:
        bijection: The map.
        inverse: Whether it is the inverse that is wanted.
        cut: Whether no gradient is to reach the bijection's parameters, though one reaches the
            point.
    """
    if cut:
        return Direction(bijection, inverse=inverse).cut
    return bijection.inverse_and_log_det if inverse else bijection.forward_and_log_det


def transform(step: ir.Transform, run: Run) -> tuple[Tensor, Tensor]:
    """The value and the log-determinant, which is summed over the event."""
    arg: Tensor = run.values[step.arg]
    declared = run.program.shapes.get(step.var, ())
    if arg.dim() == 0 and declared:  # a number stands for the whole event
        arg = arg.expand(declared)
    read = _read(step)
    values = [arg, *(run.values[r] for r in read[1:])]
    point = fold(values, [r.axes for r in read], step.out.axes)
    sizes = sizes_of(run, read, step.out.axes)
    move = direction(run.program.functions[step.fn].net, inverse=step.inverse, cut=step.cut)
    try:
        value, log_det = move(*point)
    except RuntimeError as error:
        raise failed(step.text, [r.name for r in read], point, error) from error
    axes = len(step.out.axes)
    return unfolded(step, value, sizes), sum_event(unfolded(step, log_det, sizes), axes)


def _read(step: ir.Transform) -> tuple[ir.Register, ...]:
    """The registers of the point, and of the context."""
    return (step.arg,) if step.context is None else (step.arg, step.context)


def part(step: ir.Part, run: Run) -> Tensor:
    """One of a pair."""
    found: Tensor = run.values[step.pair][step.index]
    return found


def text_of_transform(w: Writer, step: ir.Transform) -> None:
    """The text of :func:`transform`."""
    axes, shape = step.out.axes, w.shape(step.arg)
    declared = w.program.shapes.get(step.var, ())
    if w.run.values[step.arg].dim() == 0 and declared:  # a number stands for the whole event
        name, shape = w.assign("t", f"{w.text(step.arg)}.expand({declared})"), declared
        args = [name if axes else f"{name}[None]", *w.folded(_read(step)[1:], axes)]
    else:
        args = w.folded(_read(step), axes)
    net = w.program.functions[step.fn].net
    f = w.bind("flow", direction(net, inverse=step.inverse, cut=step.cut))
    value, log_det = w.fresh("z" if step.inverse else "x"), w.fresh("t")
    w.lines.append(f"{value}, {log_det} = {f}({', '.join(args)})")
    event = tuple(w.run.values[step.out][0].shape[len(axes) :])
    left = len(shape) - net.event_dims
    log_det = w.unfolded(log_det, axes, shape[:left])
    w.names[step.out] = w.unfolded(value, axes, event), summed(log_det, len(axes), left)


def text_of_part(w: Writer, step: ir.Part) -> None:
    """The text of :func:`part`."""
    w.put(step.out, "t", w.names[step.pair][step.index])
