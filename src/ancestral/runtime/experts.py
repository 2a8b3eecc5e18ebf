"""Modalities that may be missing: what is shown of them, and experts combined."""

import ast
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import align
from ancestral.core.errors import ShapeError
from ancestral.program import instructions as ir
from ancestral.runtime.operands import Code, Operand
from ancestral.runtime.run import ParamSet, Run
from ancestral.runtime.writer import Names, Writer, literal

# What stands for a missing value: in the support of nearly every law, where no logarithm and no
# derivative is infinite. What is computed from it is left out.
FILL = 0.5


def present(step: ir.Present, run: Run) -> Tensor:
    """Whether a modality is present."""
    mask: Tensor = run.values[step.mask]
    if mask.dim() == len(step.mask.axes) or mask.shape[-1] != step.width:
        raise ShapeError(
            f"{step.text}: the mask {step.mask.name} has shape {tuple(mask.shape)}; its last axis "
            f"must have one entry for each of the {step.width} modalities, 1 if it is present and "
            "0 if not."
        )
    return mask[..., step.column] != 0


def text_of_present(w: Writer, step: ir.Present) -> None:
    """The text of :func:`present`."""
    w.put(step.out, "m", f"{w.text(step.mask)}[..., {step.column}] != 0")


def _summarised(step: ir.Shown) -> list[int]:
    """The dimensions of the mask that the value shown does not have: any of them counts."""
    return [i for i, a in enumerate(step.present.axes) if a not in step.out.axes]


def shown(step: ir.Shown, run: Run) -> Tensor:
    """The value, with a number in its place where it is missing."""
    held: Tensor = run.values[step.present]
    over = _summarised(step)
    left = tuple(a for a in step.present.axes if a in step.out.axes)
    held = held.any(tuple(over)) if over else held
    value = align(run.values[step.arg], step.arg.axes, step.out.axes)
    held = align(held, left, step.out.axes)
    event = run.values[step.arg].dim() - len(step.arg.axes)
    return torch.where(held.reshape(held.shape + (1,) * event), value, fill(value))


def fill(value: Tensor) -> float | int:
    """What stands for a missing value."""
    return FILL if value.is_floating_point() else 0


def text_of_shown(w: Writer, step: ir.Shown) -> None:
    """The text of :func:`shown`."""
    held, over = w.text(step.present), _summarised(step)
    left = tuple(a for a in step.present.axes if a in step.out.axes)
    if over:
        held = w.assign("m", f"{held}.any({tuple(over) if len(over) > 1 else over[0]})")
    event = len(w.shape(step.arg))
    value = w.aligned(w.text(step.arg), step.arg.axes, step.out.axes, w.shape(step.arg))
    held = lifted(w.aligned(held, left, step.out.axes, ()), event)
    w.put(step.out, "x", f"torch.where({held}, {value}, {fill(w.run.values[step.arg])!r})")


def lifted(text: str, event: int) -> str:
    """A mask with as many more axes as an event has."""
    return f"{text}[..., {', '.join(['None'] * event)}]" if event else text


def left_out(step: ir.LeftOut, run: Run) -> Tensor:
    """The term, 0 where its modality is missing."""
    held, term = (align(run.values[r], r.axes, step.out.axes) for r in (step.present, step.arg))
    return torch.where(held, term, 0.0)


def text_of_left_out(w: Writer, step: ir.LeftOut) -> None:
    """The text of :func:`left_out`."""
    held, term = (
        w.aligned(w.text(r), r.axes, step.out.axes, ()) for r in (step.present, step.arg)
    )
    w.put(step.out, "t", f"torch.where({held}, {term}, 0.0)")


def _event(run: Run, step: ir.Experts) -> int:
    """The number of event axes of the experts' parameters."""
    ranks = [0]
    for r in step.params:
        found: ParamSet = run.values[r]
        ranks += [v.dim() - len(r.axes) for v in found.rows.values()]
        ranks += [v.dim() for v in found.fixed.values() if isinstance(v, Tensor)]
    return max(ranks)


def experts(step: ir.Experts, run: Run) -> ParamSet:
    """The parameters of a law that experts make."""
    law: Any = run.program.laws[step.law]
    axes, event = step.out.axes, _event(run, step)
    params = [run.values[r].aligned(r.axes, axes) for r in step.params]
    held = [
        None if p is None else _lift(align(run.values[p], p.axes, axes), event)
        for p in step.present
    ]
    out = law.combined(
        tuple(p["loc"] for p in params),
        tuple(p["scale"] for p in params),
        tuple(held),
        law.weight_modalities,
        event,
    )
    rows = {k: v for k, v in out.items() if k != "weight_logits" or v.dim() > 1}
    fixed = {k: v for k, v in out.items() if k not in rows}
    sizes = tuple(out["loc"].shape[: len(axes)])
    return ParamSet(rows, fixed, sizes) if axes else ParamSet({}, out, ())


def _lift(held: Tensor, event: int) -> Tensor:
    return held.reshape(held.shape + (1,) * event)


def text_of_experts(w: Writer, step: ir.Experts) -> None:
    """The text of :func:`experts`."""
    law: Any = w.program.laws[step.law]
    axes, event = step.out.axes, _event(w.run, step)
    params = [w.params(r, axes) for r in step.params]
    held = [
        "None" if p is None else lifted(w.aligned(w.text(p), p.axes, axes, ()), event)
        for p in step.present
    ]
    weights = "None"
    if law.weight_modalities is not None:
        weights = f"{w.bind('law', law)}.weight_modalities"
    parts = ", ".join(
        f"({', '.join(every)},)"
        for every in (
            [literal(p["loc"]) for p in params],
            [literal(p["scale"]) for p in params],
            held,
        )
    )
    combined = w.bind("combined", type(law).combined)
    out = w.assign("out", f"{combined}({parts}, {weights}, {event})")
    found: ParamSet = w.run.values[step.out]
    rows: dict[str, Operand] = {}
    fixed: dict[str, Operand] = {}
    for key in (*found.rows, *found.fixed):
        name = Code(ast.Name(w.assign(key, f"{out}[{key!r}]"), ast.Load()))
        (rows if key in found.rows else fixed)[key] = name
    w.names[step.out] = Names(rows, fixed)
