"""Loops in a program, and sequences seen step by step: as they are run and as they are written."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import Axis, align, union
from ancestral.core.errors import ShapeError
from ancestral.distributions.chains import check_carried, present
from ancestral.program import instructions as ir
from ancestral.program import loops
from ancestral.runtime import series
from ancestral.runtime.run import ParamSet, Run
from ancestral.runtime.writer import Names, Writer, literal


# -- sequences ------------------------------------------------------------------------------------
def retime(step: ir.Retime, run: Run) -> Tensor:
    """The same tensor; a sequence must be as long as those that it meets."""
    value: Tensor = run.values[step.arg]
    for axis in step.out.axes[len(step.arg.axes) :]:
        place = len(step.arg.axes)
        if value.dim() <= place:
            raise ShapeError(
                f"{step.out.name} has shape {tuple(value.shape)}, but it is a sequence: time is "
                "its first axis behind the rows, (rows, T, ...)."
            )
        size = run.rows.setdefault(axis, value.shape[place])
        if size != value.shape[place]:
            raise ShapeError(
                f"{step.out.name} has {value.shape[place]} steps (shape {tuple(value.shape)}), but "
                f"it meets sequences of {size} steps. Time is the axis behind the rows: give all "
                "of them one length, padded, with a mask."
            )
    return value


def text_of_retime(w: Writer, step: ir.Retime) -> None:
    """The text of :func:`retime`."""
    w.names[step.out] = w.text(step.arg)


def initial(step: loops.Initial, run: Run) -> Tensor:
    """The first value of a carry, for each row."""
    value, have, event = _initial(step, run)
    sizes = run.sizes(step.out.axes)
    if value.dim() == 0:
        return value.expand(*sizes, *event)
    return align(value, have, step.out.axes).expand(*sizes, *value.shape[len(have) :])


def _initial(step: loops.Initial, run: Run) -> tuple[Tensor, Any, tuple[int, ...]]:
    if step.arg is not None:
        return run.values[step.arg], step.arg.axes, ()
    value: Tensor = getattr(run.program.laws[step.law], step.key)
    like = next((v for v in run.data.values() if v.is_floating_point()), value)
    if not value.requires_grad and value.dim() == 0:
        value = value.to(like.dtype)
    return value, (), run.program.shapes.get(step.var, ())


def text_of_initial(w: Writer, step: loops.Initial) -> None:
    """The text of :func:`initial`."""
    value, have, event = _initial(step, w.run)
    shape = tuple(value.shape[len(have) :]) if value.dim() else event
    sizes = ", ".join([*map(w.size, step.out.axes), *map(str, shape)])
    if step.arg is not None:
        name = w.aligned(w.text(step.arg), have, step.out.axes, shape)
    else:
        kept = getattr(w.program.laws[step.law], step.key)
        name = f"{w.bind('law', w.program.laws[step.law])}.{step.key}"
        name = name if kept.dtype == value.dtype else f"{name}.to({value.dtype})"
    w.put(step.out, "z", f"{name}.expand({sizes})" if sizes else name)


def shift(step: loops.Shift, run: Run) -> Tensor:
    """The first value, then all but the last of the sequence."""
    value, dim = run.values[step.arg], step.out.axes.index(step.axis)
    value, first = align(value, step.arg.axes, step.out.axes), run.values[step.initial]
    axes = len(step.out.axes)  # time among them
    check_carried(step.arg.name, first.shape[len(step.initial.axes) :], value.shape[axes:])
    first, before = first.unsqueeze(dim), value.narrow(dim, 0, value.shape[dim] - 1)
    if step.arg.axes != step.out.axes:  # what it starts from has several draws, or values
        before = before.expand(*(-1 if i == dim else n for i, n in enumerate(first.shape)))
    return torch.cat([first, before], dim)


def text_of_shift(w: Writer, step: loops.Shift) -> None:
    """The text of :func:`shift`."""
    dim, first = step.out.axes.index(step.axis), w.text(step.initial)
    kept = (":" if a in step.arg.axes else "None" for a in step.out.axes[:dim])
    before = f"{w.text(step.arg)}[{', '.join([*kept, ':-1'])}]"
    if step.arg.axes != step.out.axes:  # what it starts from has several draws, or values
        sizes = ["-1" if a == step.axis else w.size(a) for a in step.out.axes]
        before += f".expand({', '.join([*sizes, *['-1'] * len(w.shape(step.arg))])})"
    w.put(step.out, "z", f"torch.cat([{first}.unsqueeze({dim}), {before}], {dim})")


def last(step: loops.Last, run: Run) -> Tensor:
    """The entry at the last time."""
    value: Tensor = run.values[step.arg]
    return value.select(step.arg.axes.index(step.axis), -1)


def text_of_last(w: Writer, step: loops.Last) -> None:
    """The text of :func:`last`."""
    place = step.arg.axes.index(step.axis)
    w.put(step.out, "t", f"{w.text(step.arg)}.select({place}, -1)")


def length(step: loops.Length, run: Run) -> Tensor:
    """How many steps there are."""
    like = next((v for v in run.data.values() if v.is_floating_point()), torch.empty(()))
    return torch.tensor(float(run.sizes((step.axis,))[0]), dtype=like.dtype, device=like.device)


def text_of_length(w: Writer, step: loops.Length) -> None:
    """The text of :func:`length`."""
    made: Tensor = w.run.values[step.out]
    told = f"dtype={made.dtype}, device={str(made.device)!r}"
    w.put(step.out, "t", f"torch.tensor(float({w.size(step.axis)}), {told})")


def keep(step: loops.Keep, run: Run) -> Tensor:
    """The value where a mask is on, a number elsewhere."""
    value, mask = run.values[step.arg], run.values[step.mask]
    if mask.dim() != len(step.mask.axes):
        raise ShapeError(
            f"{step.text}, {step.mask.name}, has shape {tuple(mask.shape)}: it is one number for "
            "each row and step, shape (rows, T)."
        )
    if step.repeat:
        return present(value, mask, step.fill)
    on, event = align(mask, step.mask.axes, step.out.axes) > 0, value.dim() - len(step.arg.axes)
    value = align(value, step.arg.axes, step.out.axes)
    return torch.where(on.reshape(*on.shape, *(1,) * event), value, step.fill)


def text_of_keep(w: Writer, step: loops.Keep) -> None:
    """The text of :func:`keep`."""
    if step.repeat:
        args = f"{w.text(step.arg)}, {w.text(step.mask)}, {step.fill!r}"
        w.put(step.out, "x", f"{w.bind('present', present)}({args})")
        return
    event = len(w.shape(step.arg))
    on = w.aligned(w.text(step.mask), step.mask.axes, step.out.axes, ())
    on = f"({on} > 0)" + (f"[..., {', '.join(['None'] * event)}]" if event else "")
    value = w.aligned(w.text(step.arg), step.arg.axes, step.out.axes, w.shape(step.arg))
    w.put(step.out, "t", f"torch.where({on}, {value}, {step.fill!r})")


def clock(step: loops.Clock, run: Run) -> Tensor:
    """The numbers of the steps."""
    like = next((v for v in run.data.values() if v.is_floating_point()), torch.empty(()))
    return torch.arange(*run.sizes((step.axis,)), dtype=like.dtype, device=like.device)


def text_of_clock(w: Writer, step: loops.Clock) -> None:
    """The text of :func:`clock`."""
    made: Tensor = w.run.values[step.out]
    told = f"{w.size(step.axis)}, dtype={made.dtype}, device={str(made.device)!r}"
    w.put(step.out, "t", f"torch.arange({told})")


# -- loops ----------------------------------------------------------------------------------------
Rules = dict[type, Callable[[Any, Run], Any]]


def scan(step: loops.Scan, run: Run, rules: Rules) -> dict[ir.Register, Any]:
    """Run the body once for each step, and keep what is wanted of all rounds."""
    (size,) = run.sizes((step.axis,))
    series = [(inner, _rounds(run.values[outer], outer, step)) for outer, inner in step.series]
    carried = [run.values[c.initial] for c in step.carries]
    kept: dict[ir.Register, list[Any]] = {r: [] for r in step.outputs}
    outer_round = run.round
    for i in range(size):
        run.round = i
        for inner, rounds in series:
            run.values[inner] = rounds[i]
        for carry, value in zip(step.carries, carried, strict=True):
            run.values[carry.inner] = value
        for s in step.body:
            if run.watch is not None:
                run.watch.before(run, s)
            value = run.values[s.out] = rules[type(s)](s, run)
            if run.watch is not None:
                run.watch.after(run, s, value)
        carried = [run.values[c.after] for c in step.carries]
        if i == 0:
            _check_carries(step, run)
        for r, found in kept.items():
            found.append(run.values[r])
    run.round = outer_round
    return {r: _stacked(found, r, step.axis) for r, found in kept.items()}


def _check_carries(step: loops.Scan, run: Run) -> None:
    """Raise if what is carried has other axes after the first round than before it."""
    for c in step.carries:
        before, after = run.values[c.initial], run.values[c.after]
        if isinstance(before, Tensor) and isinstance(after, Tensor):
            events = before.shape[len(c.initial.axes) :], after.shape[len(c.after.axes) :]
            check_carried(c.after.name, *events)


def _rounds(value: Any, outer: ir.Register, step: loops.Scan) -> list[Any]:
    """A register with the axis of time, round by round."""
    dim = outer.axes.index(step.axis)
    if not isinstance(value, ParamSet):
        return list(value.unbind(dim))
    sizes = tuple(n for i, n in enumerate(value.sizes) if i != dim)
    rows = {k: v.unbind(dim) for k, v in value.rows.items()}
    return [
        ParamSet({k: v[i] for k, v in rows.items()}, value.fixed, sizes)
        for i in range(value.sizes[dim])
    ]


def _stacked(found: list[Any], inner: ir.Register, axis: Axis) -> Any:
    """The results of all rounds with an axis of time."""
    dim, last = union(inner.axes, (axis,)).index(axis), found[-1]
    if not isinstance(last, ParamSet):
        return torch.stack(found, dim)
    rows = {k: torch.stack([f.rows[k] for f in found], dim) for k in last.rows}
    sizes = (*last.sizes[:dim], len(found), *last.sizes[dim:])
    return ParamSet(rows, last.fixed, sizes)


def stacked(step: loops.Stacked, run: Run) -> Any:
    """What a loop has kept of a register."""
    return run.values[step.scan][step.inner]


def text_of_scan(w: Writer, step: loops.Scan) -> None:
    """The text of :func:`scan`: a ``for`` with straight lines in it."""
    outside, w.lines = w.lines, []
    w.rounds.append(([], []))
    carried = []
    for carry in step.carries:
        name = w.names[carry.inner] = w.fresh("z")
        outside.append(f"{name} = {w.text(carry.initial)}")
        carried.append((name, carry.after))
    for outer, inner in step.series:
        _text_of_series(w, outer, inner, outer.axes.index(step.axis))
    for s in step.body:
        w.write(s)
    lists = {r: _appended(w, r) for r in step.outputs}
    news = [w.text(after) for _, after in carried]
    if carried:
        w.lines.append(f"{', '.join(n for n, _ in carried)} = {', '.join(news)}")
    heads, items = w.rounds.pop()
    over = f"range({w.size(step.axis)})"
    if heads:
        over = f"zip({', '.join(items)}, strict=True)" if items[1:] else items[0]
    body = [f"    {line}" for part in w.lines for line in part.split("\n")]
    names = [name for found in lists.values() for name, _ in found.values()]
    w.lines = [*outside, *(f"{name} = []" for name in names)]
    w.lines.append("\n".join([f"for {', '.join(heads) or '_'} in {over}:", *body]))
    w.names[step.out] = lists


def _text_of_series(w: Writer, outer: ir.Register, inner: ir.Register, dim: int) -> None:
    found = w.names[outer]
    if not isinstance(found, Names):
        w.names[inner] = w.each("x", f"{found}.unbind({dim})")
        return
    rows = {k: w.each_operand(v, dim) for k, v in found.rows.items()}
    w.names[inner] = Names(rows, found.fixed)


def _appended(w: Writer, register: ir.Register) -> dict[str, tuple[str, str]]:
    """Lines that keep a register of each round: the names of the lists, by parameter."""
    found = w.names[register]
    parts = {"": found}
    if isinstance(found, Names):
        parts = {k: literal(v) for k, v in found.rows.items()}
    lists = {k: (w.fresh("list"), text) for k, text in parts.items()}
    w.lines += [f"{name}.append({text})" for name, text in lists.values()]
    return lists


def text_of_stacked(w: Writer, step: loops.Stacked) -> None:
    """The text of :func:`stacked`."""
    lists = w.names[step.scan][step.inner]
    inner = w.names[step.inner]
    dim = next(i for i, a in enumerate(step.out.axes) if a not in step.inner.axes)
    if not isinstance(inner, Names):
        w.put(step.out, "z", f"torch.stack({lists[''][0]}, {dim})")
        return
    rows = {k: w.operand_of(f"torch.stack({name}, {dim})") for k, (name, _) in lists.items()}
    w.names[step.out] = Names(rows, inner.fixed)


MEANINGS: Rules = {
    **series.MEANINGS,
    ir.Retime: retime,
    loops.Initial: initial,
    loops.Shift: shift,
    loops.Keep: keep,
    loops.Last: last,
    loops.Length: length,
    loops.Clock: clock,
    loops.Stacked: stacked,
}
TEXTS: dict[type, Callable[[Writer, Any], None]] = {
    **series.TEXTS,
    ir.Retime: text_of_retime,
    loops.Initial: text_of_initial,
    loops.Shift: text_of_shift,
    loops.Keep: text_of_keep,
    loops.Last: text_of_last,
    loops.Length: text_of_length,
    loops.Clock: text_of_clock,
    loops.Scan: text_of_scan,
    loops.Stacked: text_of_stacked,
}
