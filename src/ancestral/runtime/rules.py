"""What each instruction means: one function per kind, and the table that names them."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.axes import Axes, align, lift, sum_event, unfold
from ancestral.core.errors import ShapeError
from ancestral.core.slope import slope
from ancestral.distributions.closed_forms import closed_entropy, closed_kl
from ancestral.distributions.layout import span_shape, spanned
from ancestral.distributions.net_of_weights import places_of_weights
from ancestral.distributions.network import check_rows, failed
from ancestral.program import instructions as ir
from ancestral.program import loops
from ancestral.program.layers import LayerParams
from ancestral.program.listed import ListedDensity
from ancestral.program.relaxed import Relaxed, RelaxedDensity
from ancestral.runtime import baselines, chains, copies, layers, listed, versions
from ancestral.runtime.batch import folded, sizes_of, unfolded
from ancestral.runtime.derivatives import push
from ancestral.runtime.draws import draw, event_of, span
from ancestral.runtime.experts import experts, left_out, present, shown
from ancestral.runtime.rows import again, distinct, take_apart
from ancestral.runtime.run import ParamSet, Run
from ancestral.runtime.scan import MEANINGS, scan
from ancestral.runtime.transform import part, transform
from ancestral.runtime.weights import called, conditions_of, params_of


def _together(run: Run, registers: tuple[ir.Register, ...], axes: Axes) -> list[Tensor]:
    """Values with their axes aligned; an event scalar is lifted to meet an event."""
    out = [align(run.values[r], r.axes, axes) if r.axes else run.values[r] for r in registers]
    ranks = [run.values[r].dim() - len(r.axes) for r in registers]
    event = max(ranks)
    if event:
        shapes = {tuple(run.values[r].shape[len(r.axes) :]) for r in registers} - {()}
        if len(shapes) > 1:
            told = " and ".join(f"{r.name} {tuple(run.values[r].shape)}" for r in registers)
            raise ShapeError(f"event shapes do not fit: {told}. Bring them to one event shape.")
        out = [
            lift(v, len(axes) if r.axes else 0, event) if rank == 0 else v
            for v, r, rank in zip(out, registers, ranks, strict=True)
        ]
    return out


def _input(step: ir.Input, run: Run) -> Tensor:
    return run.data[step.var]


def _number(step: ir.Number, run: Run) -> Tensor:
    if isinstance(step.value, Tensor):
        return step.value
    like = next((v for v in run.data.values() if v.is_floating_point()), torch.empty(()))
    return torch.tensor(step.value, dtype=like.dtype, device=like.device)


def _params(step: ir.Params, run: Run) -> ParamSet:
    law, axes = run.program.laws[step.law], step.out.axes
    conditions = conditions_of(step, run, law)
    sizes = sizes_of(run, step.conditions, axes)
    batch = math.prod(sizes)
    names = [r.name for r in step.conditions]
    try:
        out = params_of(step, run, law, conditions)
    except RuntimeError as error:
        raise failed(step.text, names, conditions, error) from error
    if not places_of_weights(law):
        check_rows(law, step.text, names, conditions, out)
    run.raw[step.out] = out
    fixed = {k: v for k, v in out.items() if not _has_rows(law, k) or not isinstance(v, Tensor)}
    free = {k: v for k, v in out.items() if k not in fixed}
    if not conditions:
        return ParamSet({}, {**free, **fixed}, ())
    ranks = {k: len(spanned(law.moves, k, tuple(v.shape))) for k, v in free.items()}
    rank = max(ranks.values(), default=0)
    rows: dict[str, Tensor] = {}
    for key, v in free.items():
        widest = rank if law.is_random else ranks[key]  # variables of a function are its own
        if ranks[key] < widest or v.dim() == 0 or (widest == 1 and v.shape[0] not in (1, batch)):
            fixed[key] = v  # follows the event alone, as in torch's broadcasting
        elif v.shape[0] in (1, batch):
            v = v.expand(batch, *v.shape[1:]) if v.shape[0] != batch else v
            rows[key] = unfold(v, sizes) if axes else v[0]
        else:
            raise ShapeError(
                f"{step.text}: the network returned {key} of shape {tuple(v.shape)} for {batch} "
                f"rows. Its first axis must be the rows: ({batch}, ...)."
            )
    if axes and not rows:  # nothing depends on the rows: every row has the same parameters
        like = law.anchor()
        rows = {
            k: torch.as_tensor(v, dtype=like.dtype, device=like.device).expand(
                *sizes, *(v.shape if isinstance(v, Tensor) else ())
            )
            for k, v in fixed.items()
        }
        fixed = {}
    return ParamSet(rows if axes else {}, fixed if axes else {**rows, **fixed}, sizes)


def _has_rows(law: Any, key: str) -> bool:
    return key not in law.given or key in law.bound


def _pick(step: ir.Pick, run: Run) -> Tensor:
    found: ParamSet = run.values[step.params]
    value: Tensor = {**found.rows, **found.fixed}[step.key]
    return value


def _table(step: ir.Table, run: Run) -> Tensor:
    law, found = run.program.laws[step.law], run.values[step.params]
    like = next(
        (v for v in (*found.rows.values(), *found.fixed.values()) if isinstance(v, Tensor)), None
    )
    moves: Any = law.moves
    values: Tensor = moves.values(
        found.event(len(step.params.axes), moves)
        or run.program.shapes.get(str(step.out.name), ()),
        law.anchor() if like is None else like,
    )
    run.rows[step.out.axes[0]] = values.shape[0]  # a draw may follow it that no parameter does
    return values


def _density(step: ir.Density, run: Run) -> Tensor:
    law, axes = run.program.laws[step.law], step.out.axes
    params = run.values[step.params].aligned(step.params.axes, axes)
    x = align(run.values[step.value], step.value.axes, axes)
    if x.dim() == 0:  # a number stands for the whole event
        x = x.expand(value_event(step, run))
    return sum_event(law.moves.log_density(x, **params), len(axes))


def value_event(step: ir.Density, run: Run) -> tuple[int, ...]:
    """The event shape that a law gives to a value of it."""
    law, found = run.program.laws[step.law], run.values[step.params]
    event = event_of(step.text, step.var, law, found, step.params, run)
    value: tuple[int, ...] = law.moves.value_shape(event)
    return value


def _closed(step: ir.Closed, run: Run) -> Tensor:
    axes, laws = step.out.axes, [run.program.laws[i] for i in step.laws]
    sets: list[ParamSet] = [run.values[r] for r in step.params]
    params = [s.aligned(r.axes, axes) for s, r in zip(sets, step.params, strict=True)]
    if step.which == "kl":
        form: Any = closed_kl(*laws)
        out = form(*params)
    else:
        form = closed_entropy(laws[0])
        out = form(**params[0])
    like = next((v for p in params for v in p.values() if isinstance(v, Tensor)), laws[0].anchor())
    out = torch.as_tensor(out, dtype=like.dtype, device=like.device)
    moves = [law.moves for law in laws]
    event = [s.event(len(r.axes), m) for s, r, m in zip(sets, step.params, moves, strict=True)]
    extra = max(m.param_dims for m in moves)  # of a normal against a multivariate one: the latter
    spanning = span(step.text, step.var, *event)
    declared = span_shape(moves[0], run.program.shapes.get(step.var, ()))
    spanning = span(step.text, step.var, spanning, declared)
    spanning = spanning[: len(spanning) - extra]
    sizes = {
        a: n
        for r, s in zip(step.params, sets, strict=True)
        for a, n in zip(r.axes, s.sizes, strict=True)
    }
    lead = tuple(sizes[a] for a in axes)  # a form may leave out the parameters that have the rows
    run.closed[step.out] = form, (tuple(out.shape), spanning, lead)
    if tuple(out.shape) != (*lead, *spanning):
        out = out.expand(*lead, *spanning)
    return sum_event(out, len(lead))


def _call(step: ir.Call, run: Run) -> Tensor:
    out = called(step, run, lambda args: _applied(step, run, args))
    return unfolded(step, out, sizes_of(run, step.args, step.out.axes))


def _slope(step: ir.Slope, run: Run) -> Tensor:
    args, sizes = folded(step.args, step.out.axes, run)

    def one_number_per_row(*point: Tensor) -> Tensor:
        y = _applied(step, run, list(point))
        if y.numel() != math.prod(sizes):
            raise ShapeError(
                f"{step.text}: the function returned {tuple(y.shape)} for {math.prod(sizes)} "
                "rows. A gradient is taken of one number per row."
            )
        return y

    return unfolded(step, slope(one_number_per_row, args, step.wrt), sizes)


def _push(step: ir.Push, run: Run) -> Tensor:
    return _push_both(step, run)[1]


def _push_both(step: ir.Push, run: Run) -> tuple[Tensor, Tensor]:
    every, sizes = folded((*step.args, *step.along), step.out.axes, run)
    args = every[: len(step.args)]
    along = [  # a number stands for a constant direction
        v.reshape(-1, *(1,) * (a.dim() - 1)).to(a.dtype).expand_as(a) if v.dim() == 1 else v
        for a, v in zip(args, every[len(step.args) :], strict=True)
    ]
    net = run.program.functions[step.fn].net
    try:
        value, slope_of_it = push(net, args, along)
    except RuntimeError as error:
        raise failed(step.text, [r.name for r in step.args], args, error) from error
    return unfolded(step, value, sizes), unfolded(step, slope_of_it, sizes)


def _applied(step: ir.Call | ir.Slope, run: Run, args: list[Tensor]) -> Tensor:
    try:
        out: Tensor = run.program.functions[step.fn].net(*args)
    except RuntimeError as error:
        raise failed(step.text, [r.name for r in step.args], args, error) from error
    return out


OPS: dict[str, Callable[..., Tensor]] = {
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "exp": torch.exp,
    "log": torch.log,
    "abs": torch.abs,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "clamp": torch.clamp,
    "min": torch.minimum,
    "max": torch.maximum,
}


def _elementwise(step: ir.Elementwise, run: Run) -> Tensor:
    args = _together(run, step.args, step.out.axes)
    return OPS[step.op](*args, *step.extra)


def _linear(step: ir.Linear, run: Run) -> Tensor:
    registers = tuple(r for _, r in step.terms)
    total: Tensor | None = None
    for (c, _), v in zip(step.terms, _together(run, registers, step.out.axes), strict=True):
        if total is None:
            total = v if c == 1.0 else -v if c == -1.0 else c * v
        else:
            total = torch.add(total, v, alpha=c) if c != 1.0 else total + v
    assert total is not None
    return total + step.bias if step.bias else total


def _reduce(step: ir.Reduce, run: Run) -> Tensor:
    value: Tensor = run.values[step.arg]
    dim = step.arg.axes.index(step.axis)
    over = () if value.dim() == 1 else (dim,)  # of a vector as a whole: a shorter way in torch
    if step.how == "mean":
        return value.mean(*over)
    if step.how == "sum":
        return value.sum(*over)
    total = value.logsumexp(dim)
    return total - math.log(value.shape[dim]) if step.how == "logmeanexp" else total


def _norm(step: ir.Norm, run: Run) -> Tensor:
    value: Tensor = run.values[step.arg]
    if step.squared:
        return sum_event(value.square(), len(step.out.axes))
    flat = (
        value.flatten(len(step.out.axes)) if value.dim() > len(step.out.axes) else value[..., None]
    )
    length: Tensor = torch.linalg.vector_norm(flat, dim=-1)
    return length


def _scalar(step: ir.Scalar, run: Run) -> Tensor:
    value: Tensor = run.values[step.arg]
    axes = len(step.out.axes)
    if value.dim() == axes:
        return value
    if step.squeeze and math.prod(value.shape[axes:]) == 1:
        return value.reshape(value.shape[:axes])
    rows = tuple(value.shape[:axes])
    beside = f" beside {step.beside} of shape {rows}" if step.beside else ""
    raise ShapeError(
        f"{step.text} has shape {tuple(value.shape)}{beside}: its event shape is "
        f"{tuple(value.shape[axes:])}, but a term of a loss is one number per row. Give it with "
        f"shape {rows}, e.g. .squeeze(-1), or reduce it with sqnorm() or a Function."
    )


def _cut(step: ir.Cut, run: Run) -> Any:
    value: Any = run.values[step.arg]
    if isinstance(value, ParamSet):
        return ParamSet(
            {k: v.detach() for k, v in value.rows.items()},
            {k: v.detach() if isinstance(v, Tensor) else v for k, v in value.fixed.items()},
            value.sizes,
        )
    cut: Tensor = value.detach()
    return cut


def _surrogate(step: ir.Surrogate, run: Run) -> Tensor:
    f: Tensor = run.values[step.f]
    log_q = align(run.values[step.log_q], step.log_q.axes, step.f.axes)
    axis = step.f.axes.index(step.axis) if step.axis in step.f.axes else None
    out: Tensor = step.estimator.surrogate(f, log_q, axis)
    return out


def _interact(step: ir.Interact, run: Run) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = step.plan.interact(run.values[step.points])
    return found


def _several(step: ir.Several, run: Run) -> tuple[Tensor, ...]:
    return tuple(run.values[r] for r in step.args)


RULES: dict[type, Callable[[Any, Run], Any]] = {
    ir.Input: _input,
    ir.Number: _number,
    ir.Params: _params,
    ir.Pick: _pick,
    ir.Draw: draw,
    Relaxed: draw,
    ir.Table: _table,
    ir.Density: _density,
    RelaxedDensity: _density,
    ListedDensity: listed.meaning(_density),
    ir.Closed: _closed,
    ir.Call: _call,
    ir.Transform: transform,
    ir.Part: part,
    ir.Interact: _interact,
    ir.Slope: _slope,
    ir.Push: _push,
    ir.PushBoth: _push_both,
    ir.Elementwise: _elementwise,
    ir.Linear: _linear,
    ir.Reduce: _reduce,
    ir.Present: present,
    ir.Shown: shown,
    ir.LeftOut: left_out,
    ir.Experts: experts,
    ir.Again: again,
    ir.Distinct: distinct,
    ir.TakeApart: take_apart,
    ir.Norm: _norm,
    ir.Scalar: _scalar,
    ir.Cut: _cut,
    ir.Surrogate: _surrogate,
    ir.Several: _several,
    loops.Scan: lambda step, run: scan(step, run, RULES),
    **MEANINGS,
    **chains.MEANINGS,
    **copies.MEANINGS,
    **versions.MEANINGS,
    **baselines.MEANINGS,
    **layers.MEANINGS,
    LayerParams: _params,
}
