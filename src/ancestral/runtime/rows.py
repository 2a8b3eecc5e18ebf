"""Rows seen a second time: values along another axis, and means over different rows."""

import ast
import itertools
import math
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import union
from ancestral.core.errors import ShapeError
from ancestral.core.rng import blank, uniform
from ancestral.distributions.rows import noise_shape, taken_apart
from ancestral.program import instructions as ir
from ancestral.runtime.operands import Code, Operand
from ancestral.runtime.run import ParamSet, Run, wrong_noise
from ancestral.runtime.source import NoiseOf
from ancestral.runtime.writer import Names, Writer, literal


def _order(step: ir.Again) -> list[int]:
    """Where each dimension of the result stands in the operand."""
    renamed = tuple(step.new if a == step.old else a for a in step.arg.axes)
    return [renamed.index(a) for a in union(renamed)]


def again(step: ir.Again, run: Run) -> Any:
    """The value, or the parameters, along the other axis."""
    found = run.values[step.arg]
    if not isinstance(found, ParamSet):
        return _moved(step, found)
    rows = {k: _moved(step, v) for k, v in found.rows.items()}
    first = next(iter(rows.values()), None)
    sizes = found.sizes if first is None else tuple(first.shape[: len(step.out.axes)])
    return ParamSet(rows, found.fixed, sizes)


def _moved(step: ir.Again, value: Tensor) -> Tensor:
    dim, order = step.arg.axes.index(step.old), _order(step)
    if step.new.parts > 1:
        each = value.shape[dim] // step.new.parts
        if each == 0:
            raise ShapeError(
                f"{step.arg.name}: {step.new.parts} copies of a law in disjoint pairs need as many "
                f"rows, but the batch has {value.shape[dim]}."
            )
        value = value.narrow(dim, step.part * each, each)
    if order != sorted(order):
        value = value.permute(*order, *range(len(order), value.dim()))
    return value


def text_of_again(w: Writer, step: ir.Again) -> None:
    """The text of :func:`again`."""
    if not isinstance(w.names[step.arg], Names):
        w.put(step.out, "t", _text_moved(w, step, w.text(step.arg), len(w.shape(step.arg))))
        return
    names: Names = w.names[step.arg]
    found: ParamSet = w.run.values[step.arg]
    rows: dict[str, Operand] = {}
    for key, operand in names.rows.items():
        event = found.rows[key].dim() - len(step.arg.axes)
        text = w.assign("t", _text_moved(w, step, literal(operand), event))
        rows[key] = Code(ast.Name(text, ast.Load()))
    w.names[step.out] = Names(rows, names.fixed)


def _text_moved(w: Writer, step: ir.Again, text: str, event: int) -> str:
    dim, order = step.arg.axes.index(step.old), _order(step)
    if step.new.parts > 1:
        each = w.size(step.new)
        text = f"{text}.narrow({dim}, {step.part} * {each}, {each})"
    if order != sorted(order):
        every = [*order, *range(len(order), len(order) + event)]
        text = f"{text}.permute({', '.join(map(str, every))})"
    return text


def take_apart(step: ir.TakeApart, run: Run) -> Tensor:
    """The rows with entries from different rows."""
    value: Tensor = run.values[step.arg]
    dim, event = step.arg.axes.index(step.row), value.dim() - len(step.arg.axes)
    shape = noise_shape(value, dim, event, permuted=step.permuted)
    noise = run.noise.get(step.noise)
    if noise is not None and tuple(noise.shape) != shape:
        raise wrong_noise(step.noise, noise, shape)
    if noise is None:
        noise = uniform(blank(shape, _floating(value)), run.generator)
    run.drawn[step.noise] = noise
    return taken_apart(value, noise, dim, event)


def _floating(value: Tensor) -> Tensor:
    return value if value.is_floating_point() else torch.empty((), device=value.device)


def text_of_take_apart(w: Writer, step: ir.TakeApart) -> None:
    """The text of :func:`take_apart`."""
    noise, name = w.run.drawn[step.noise], f"noise{len(w.noise)}"
    event = tuple(noise.shape[1:])
    w.noise.append(
        NoiseOf(step.noise, "uniform", (step.row,), event, noise.dtype, noise.device, None)
    )
    apart, dim = w.bind("taken_apart", taken_apart), step.arg.axes.index(step.row)
    w.put(step.out, "z", f"{apart}({w.text(step.arg)}, {name}, {dim}, {len(w.shape(step.arg))})")


def distinct_mean(value: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    """The mean over entries whose indices along some dimensions of one size all differ.

    Args:
        value: Any shape.
        dims: The dimensions.
        keep: Whether the first of them is kept: the mean is over the others.

    Example:
        >>> distinct_mean(torch.tensor([[9.0, 1.0], [3.0, 9.0]]), (0, 1), False)
        tensor(2.)
        >>> distinct_mean(torch.tensor([[9.0, 1.0], [3.0, 9.0]]), (0, 1), True)
        tensor([1., 3.])
    """
    first, rows, many = dims[0], value.shape[dims[0]], len(dims)
    last = value.movedim(dims, tuple(range(-many, 0)))
    if many == 2:  # what is off the diagonal, as a view: what stands on it is never read
        off = last.flatten(-2)[..., 1:].unflatten(-1, (rows - 1, rows + 1))[..., :-1]
        each = off.flatten(-2).unflatten(-1, (rows, rows - 1)) if keep else off
        out: Tensor = each.mean(-1) if keep else each.mean((-2, -1))
    else:
        index = torch.arange(rows, device=value.device)
        grid = torch.meshgrid(*[index] * many, indexing="ij")
        apart = torch.ones_like(grid[0], dtype=torch.bool)
        for a, b in itertools.combinations(grid, 2):
            apart = apart & (a != b)
        total = torch.where(apart, last, 0.0)
        over = tuple(range(1 - many if keep else -many, 0))
        out = total.sum(over) / math.prod(rows - i for i in range(1 if keep else 0, many))
    return out.movedim(-1, first) if keep else out


def distinct(step: ir.Distinct, run: Run) -> Tensor:
    """The mean over different rows."""
    value: Tensor = run.values[step.arg]
    dims = tuple(step.arg.axes.index(a) for a in step.over)
    if value.shape[dims[0]] < len(dims):
        raise ShapeError(
            f"{step.text}: {len(dims)} copies of a law are different rows, but the batch has "
            f"{value.shape[dims[0]]}. Give at least {len(dims)} rows."
        )
    return distinct_mean(value, dims, step.keep)


def text_of_distinct(w: Writer, step: ir.Distinct) -> None:
    """The text of :func:`distinct`."""
    dims = tuple(step.arg.axes.index(a) for a in step.over)
    name = w.bind("distinct_mean", distinct_mean)
    w.put(step.out, "t", f"{name}({w.text(step.arg)}, {dims}, {step.keep})")
