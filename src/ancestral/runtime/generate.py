"""The generated step: a program as straight-line PyTorch text.

The first batch has run in the interpreter; with what it saw (which parameters a network returns,
event shapes, dtypes) every step comes to a line or two that an expert would write. The text is a
factory over networks and functions: nothing else keeps weights alive, all names are our own.
"""

import ast
import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import Axes
from ancestral.core.slope import slope
from ancestral.distributions.network import Parts
from ancestral.program import instructions as ir
from ancestral.program.layers import LayerParams
from ancestral.program.listed import ListedDensity
from ancestral.program.relaxed import Relaxed, RelaxedDensity
from ancestral.runtime import baselines, chains, copies, layers, listed, versions
from ancestral.runtime.derivatives import push
from ancestral.runtime.drawing import text_of_draw
from ancestral.runtime.experts import (
    text_of_experts,
    text_of_left_out,
    text_of_present,
    text_of_shown,
)
from ancestral.runtime.operands import NUMBER, Code, Known, NotInlineError, Operand, code
from ancestral.runtime.rows import text_of_again, text_of_distinct, text_of_take_apart
from ancestral.runtime.rules import value_event
from ancestral.runtime.run import ParamSet, Run
from ancestral.runtime.scan import TEXTS
from ancestral.runtime.source import Source
from ancestral.runtime.transform import text_of_part, text_of_transform
from ancestral.runtime.weights import text_of_call, text_of_function, text_of_interact
from ancestral.runtime.writer import Names, Writer, literal, summed


def generate(run: Run) -> Source:
    """The text of a program, for inputs like those of a run that the interpreter has made."""
    writer = Writer(run)
    writer.write = lambda step: RULES[type(step)](writer, step)
    for step in run.program.steps:
        if isinstance(step, ir.Input):
            _input(writer, step)
    for step in run.program.steps:
        if not isinstance(step, ir.Input):
            writer.write(step)
    source = writer.source()
    del (
        writer.inliner,
        writer.write,
    )  # it refers back to the writer, which holds the run: both go at once now
    return source


def _input(w: Writer, step: ir.Input) -> None:
    name = w.fresh("x" if step.out.axes else "s")
    w.inputs.append((step.var, name))
    w.names[step.out] = name


def _number(w: Writer, step: ir.Number) -> None:
    w.names[step.out] = w.bind("c", w.run.values[step.out])


def _params(w: Writer, step: ir.Params) -> None:
    law, axes = w.program.laws[step.law], step.out.axes
    found: ParamSet = w.run.values[step.out]
    raw = w.run.raw[step.out]
    names = Names()
    w.names[step.out] = names
    for key in law.given:
        if key in law.bound:
            r = step.conditions[law.cond_var.index(law.bound[key])]
            text = w.aligned(w.text(r), r.axes, axes, w.shape(r))
            (names.rows if axes else names.fixed)[key] = Code(ast.Name(text, ast.Load()))
        elif isinstance(raw[key], Tensor):
            text = w.assign(_stem(key), f"{w.bind('law', law)}.{key}")
            kind = ((), tuple(raw[key].shape), raw[key].dtype)
            names.fixed[key] = Code(ast.Name(text, ast.Load()), kind)
        else:
            names.fixed[key] = Known(raw[key])
            w.literal.append((law, key))
    rest = [k for k in raw if k not in law.given]
    if rest:
        for key, text in zip(rest, _outputs(w, step, law, raw, rest), strict=True):
            _output(w, step, names, key, text, found, raw[key])
    _expand_fixed(w, step, names, found)


def _outputs(w: Writer, step: ir.Params, law: Any, raw: Any, keys: list[str]) -> list[str]:
    """Run a network: the names of the parameters that it returns, or is split into."""
    (net, network), names = w.network(law, keys), [w.fresh(_stem(key)) for key in keys]
    call = text_of_call(w, step, law, net, network.call)
    if network.in_order:
        w.lines.append(f"{', '.join(names)} = {call}")
        return names
    if not (network.is_bare and isinstance(raw, Parts)):
        out = call if len(keys) == 1 else w.assign("out", call)
        w.lines.append(f"{', '.join(names)} = {', '.join(f'{out}[{key!r}]' for key in keys)}")
        return names
    split = f".chunk({len(keys)}, -1)" if len(keys) > 1 else ""
    w.lines.append(f"{', '.join(names)} = {call}{split}")
    for key, name in zip(keys, names, strict=True):
        linked = w.inlined(law.split[key], [Code(ast.Name(name, ast.Load()))], {})
        if linked != name:
            w.lines.append(f"{name} = {linked}")
    return names


def _output(
    w: Writer, step: ir.Params, names: Names, key: str, text: str, found: ParamSet, raw: Any
) -> None:
    """One output of a network: with the rows, or of event shape alone."""
    axes = step.out.axes
    event = tuple(found.rows[key].shape[len(axes) :]) if key in found.rows else ()
    if key not in found.rows or not isinstance(raw, Tensor) or raw.dim() != 1 + len(event):
        fixed = found.fixed.get(key, raw)
        kind = ((), tuple(fixed.shape), fixed.dtype) if isinstance(raw, Tensor) else NUMBER
        if isinstance(raw, Tensor) and step.conditions and fixed.dim() < raw.dim():
            text = f"{text}[0]"  # the conditions have no rows: the network saw one
        names.fixed[key] = Code(ast.Name(text, ast.Load()), kind)
        return
    whole = text
    if axes and raw.shape[0] == 1 and math.prod(found.sizes) != 1:
        whole = f"{whole}.expand({', '.join(['*'.join(map(w.size, axes)), *map(str, event)])})"
    whole = w.unfolded(whole, axes, event)
    if whole != text:
        w.lines.append(f"{text} = {whole}")
    names.rows[key] = Code(ast.Name(text, ast.Load()))


def _expand_fixed(w: Writer, step: ir.Params, names: Names, found: ParamSet) -> None:
    """Parameters that do not depend on the rows, expanded to them as the interpreter does."""
    for key in [k for k in names.fixed if k in found.rows]:
        value = found.rows[key]
        event = tuple(value.shape[len(step.out.axes) :])
        sizes = ", ".join([*map(w.size, step.out.axes), *map(str, event)])
        text = literal(names.fixed.pop(key))
        if not text.isidentifier():
            constant = torch.as_tensor(float(text), dtype=value.dtype, device=value.device)
            text = w.bind("c", constant)
        names.rows[key] = Code(
            ast.Name(w.assign(_stem(key), f"{text}.expand({sizes})"), ast.Load())
        )


def _stem(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else "parameter"


def _pick(w: Writer, step: ir.Pick) -> None:
    names: Names = w.names[step.params]
    w.names[step.out] = ast.unparse(code({**names.rows, **names.fixed}[step.key]))


def _table(w: Writer, step: ir.Table) -> None:
    w.names[step.out] = w.bind("c", w.run.values[step.out])


def _density(w: Writer, step: ir.Density) -> None:
    law, axes = w.program.laws[step.law], step.out.axes
    x, shape = w.operand(step.value, axes), w.shape(step.value)
    if w.run.values[step.value].dim() == 0:  # a number stands for the whole event
        shape = value_event(step, w.run)
        text = w.assign("t", f"{w.text(step.value)}.expand({shape})")
        x = Code(ast.Name(text, ast.Load()), ((), shape, w.run.values[step.value].dtype))
    text = w.inlined(law.moves.log_density, [x], w.params(step.params, axes))
    event = len(shape) - law.moves.value_dims
    w.put(step.out, "t", summed(text, len(axes), event))


def _closed(w: Writer, step: ir.Closed) -> None:
    axes = step.out.axes
    function, plain = w.run.closed[step.out]
    params = [w.params(r, axes) for r in step.params]
    shape, span, lead = plain
    value: Any = None
    numbers = [{k: v.value for k, v in p.items() if isinstance(v, Known)} for p in params]
    if sum(map(len, numbers)) == sum(map(len, params)):  # of numbers alone it is a number
        value = function(*numbers) if step.which == "kl" else function(**numbers[0])
    else:
        parts: list[Operand] = [Known(p) for p in params] if step.which == "kl" else []
        text = w.inlined(function, parts, {} if parts else params[0])
        with contextlib.suppress(ValueError):  # nor does it depend on all parameters
            value = None if shape else float(text)
    if value is not None:
        like = w.run.values[step.out]
        text = w.bind("c", torch.as_tensor(value, dtype=like.dtype, device=like.device))
    if shape != (*lead, *span):
        sizes = [*(w.size(a) for a in axes[len(axes) - len(lead) :]), *map(str, span)]
        text = f"({text}).expand({', '.join(sizes)})" if sizes else text
    w.put(step.out, "t", summed(text, len(lead), len(span)))


def _call(w: Writer, step: ir.Call) -> None:
    call = text_of_function(w, step)
    w.put(step.out, "t", w.unfolded(call, step.out.axes, w.shape(step.out)))


def _slope(w: Writer, step: ir.Slope) -> None:
    args = ", ".join(w.folded(step.args, step.out.axes))
    f, name = w.bind("f", w.program.functions[step.fn].net), w.bind("slope", slope)
    text = f"{name}({f}, ({args},), {step.wrt})"
    w.put(step.out, "t", w.unfolded(text, step.out.axes, w.shape(step.out)))


def _push(w: Writer, step: ir.Push) -> None:
    every = w.folded((*step.args, *step.along), step.out.axes)
    args, along = every[: len(step.args)], every[len(step.args) :]
    for i, (a, r) in enumerate(zip(step.args, step.along, strict=True)):
        event = len(w.shape(a))
        if event and not w.shape(r):  # a number stands for a constant direction
            ones = ", ".join(["-1", *["1"] * event])
            like = w.assign("t", args[i])
            args[i], along[i] = (
                like,
                f"({along[i]}).reshape({ones}).to({like}.dtype).expand_as({like})",
            )
    f, name = w.bind("f", w.program.functions[step.fn].net), w.bind("push", push)
    text = f"{name}({f}, ({', '.join(args)},), ({', '.join(along)},))"
    if not isinstance(step, ir.PushBoth):
        w.put(step.out, "t", w.unfolded(f"{text}[1]", step.out.axes, w.shape(step.out)))
        return
    both = w.fresh("t"), w.fresh("t")
    w.lines.append(f"{', '.join(both)} = {text}")
    shape = tuple(w.run.values[step.out][0].shape[len(step.out.axes) :])
    w.names[step.out] = tuple(w.unfolded(t, step.out.axes, shape) for t in both)


OPERATORS = {
    "mul": "{} * {}",
    "div": "{} / {}",
    "exp": "{}.exp()",
    "log": "{}.log()",
    "abs": "{}.abs()",
    "sigmoid": "{}.sigmoid()",
    "logsigmoid": "F.logsigmoid({})",
}


def _together(w: Writer, registers: tuple[ir.Register, ...], axes: Axes) -> list[str]:
    """Names with their axes aligned; an event scalar is lifted to meet an event."""
    event = max(len(w.shape(r)) for r in registers)
    out = []
    for r in registers:
        own = len(w.shape(r))
        name = w.aligned(w.text(r), r.axes, axes, w.shape(r))
        if r.axes and own < event:
            dims = ", ".join(["..."] + ["None"] * (event - own))
            name = w.assign("t", f"{name}[{dims}]")
        out.append(name)
    return out


def _elementwise(w: Writer, step: ir.Elementwise) -> None:
    args = _together(w, step.args, step.out.axes)
    if step.op in OPERATORS:
        text = OPERATORS[step.op].format(*args)
    elif step.op == "pow":
        text = f"{args[0]} ** {step.extra[0]!r}"
    elif step.op == "clamp":
        text = f"{args[0]}.clamp({step.extra[0]!r}, {step.extra[1]!r})"
    else:
        text = f"torch.{'minimum' if step.op == 'min' else 'maximum'}({args[0]}, {args[1]})"
    w.put(step.out, "t", text)


def _linear(w: Writer, step: ir.Linear) -> None:
    names = _together(w, tuple(r for _, r in step.terms), step.out.axes)
    text = ""
    for (c, _), name in zip(step.terms, names, strict=True):
        if not text:
            text = name if c == 1.0 else f"-{name}" if c == -1.0 else f"{c!r} * {name}"
        elif abs(c) == 1.0:
            text = f"{text} {'+' if c > 0 else '-'} {name}"
        else:
            text = f"torch.add({text}, {name}, alpha={c!r})"
    if step.bias:
        text = f"{text} {'+' if step.bias > 0 else '-'} {abs(step.bias)!r}"
    w.put(step.out, "t", text)


def _reduce(w: Writer, step: ir.Reduce) -> None:
    dim, name = step.arg.axes.index(step.axis), w.text(step.arg)
    if step.how in ("mean", "sum"):
        over = "" if w.run.values[step.arg].dim() == 1 else dim
        w.put(step.out, "t", f"{name}.{step.how}({over})")
        return
    text = f"{name}.logsumexp({dim})"
    if step.how == "logmeanexp":
        size = step.axis.size
        text += f" - {math.log(size)!r}" if size else f" - math.log({name}.shape[{dim}])"
    w.put(step.out, "t", text)


def _norm(w: Writer, step: ir.Norm) -> None:
    name, axes, event = w.text(step.arg), len(step.out.axes), len(w.shape(step.arg))
    if step.squared:
        w.put(step.out, "t", summed(f"{name}.square()", axes, event))
        return
    flat = f"{name}.flatten({axes})" if event else f"{name}[..., None]"
    w.put(step.out, "t", f"torch.linalg.vector_norm({flat}, dim=-1)")


def _scalar(w: Writer, step: ir.Scalar) -> None:
    event = w.shape(step.arg)
    name = w.text(step.arg)
    w.put(
        step.out, "t", name if not event else f"{name}.flatten({len(step.out.axes)}).squeeze(-1)"
    )


def _cut(w: Writer, step: ir.Cut) -> None:
    if isinstance(w.names[step.arg], Names):
        names: Names = w.names[step.arg]
        w.names[step.out] = Names(
            {k: _detached(w, v) for k, v in names.rows.items()},
            {k: _detached(w, v) for k, v in names.fixed.items()},
        )
        return
    w.put(step.out, "t", f"{w.text(step.arg)}.detach()")


def _detached(w: Writer, operand: Operand) -> Operand:
    if isinstance(operand, Known):
        return operand
    return Code(ast.Name(w.assign("t", f"{literal(operand)}.detach()"), ast.Load()), operand.kind)


def _surrogate(w: Writer, step: ir.Surrogate) -> None:
    f = Code(ast.Name(w.text(step.f), ast.Load()))
    log_q = Code(
        ast.Name(w.aligned(w.text(step.log_q), step.log_q.axes, step.f.axes, ()), ast.Load())
    )
    axis = step.f.axes.index(step.axis) if step.axis in step.f.axes else None
    estimator = step.estimator
    args: list[Operand] = [Known(estimator), f, log_q, Known(axis)]
    before = len(w.lines), dict(w.counts)
    try:
        text = ast.unparse(code(w.inliner.call(type(estimator).surrogate, args, {})))
    except NotInlineError:
        del w.lines[before[0] :]
        w.counts = before[1]
        name = w.bind("estimate", estimator.surrogate)
        text = f"{name}({literal(f)}, {literal(log_q)}, {axis!r})"
    w.put(step.out, "t", text)


def _several(w: Writer, step: ir.Several) -> None:
    w.names[step.out] = f"({', '.join(map(w.text, step.args))},)"


RULES: dict[type, Callable[[Writer, Any], None]] = {
    ir.Number: _number,
    ir.Params: _params,
    ir.Pick: _pick,
    ir.Draw: text_of_draw,
    Relaxed: text_of_draw,
    ir.Table: _table,
    ir.Density: _density,
    RelaxedDensity: _density,
    ListedDensity: listed.text(_density),
    ir.Closed: _closed,
    ir.Call: _call,
    ir.Transform: text_of_transform,
    ir.Part: text_of_part,
    ir.Interact: text_of_interact,
    ir.Slope: _slope,
    ir.Push: _push,
    ir.PushBoth: _push,
    ir.Elementwise: _elementwise,
    ir.Linear: _linear,
    ir.Reduce: _reduce,
    ir.Present: text_of_present,
    ir.Shown: text_of_shown,
    ir.LeftOut: text_of_left_out,
    ir.Experts: text_of_experts,
    ir.Again: text_of_again,
    ir.Distinct: text_of_distinct,
    ir.TakeApart: text_of_take_apart,
    ir.Norm: _norm,
    ir.Scalar: _scalar,
    ir.Cut: _cut,
    ir.Surrogate: _surrogate,
    ir.Several: _several,
    **TEXTS,
    **chains.TEXTS,
    **copies.TEXTS,
    **versions.TEXTS,
    **baselines.TEXTS,
    **layers.TEXTS,
    LayerParams: _params,
}
