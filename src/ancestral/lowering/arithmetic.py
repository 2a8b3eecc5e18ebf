"""Rules for values and arithmetic: each node as a linear combination of registers."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.axes import ROW, union
from ancestral.core.errors import OptionError, ScopeError, did_you_mean
from ancestral.core.names import listing
from ancestral.distributions.net_of_weights import places_in_call
from ancestral.losses.apply import Apply, BatchFunction, Grad, Jvp, Norm
from ancestral.losses.chain import LogMeanExp
from ancestral.losses.globals import SIZE
from ancestral.losses.node import (
    Add,
    Clamp,
    Constant,
    Detach,
    Div,
    Extremum,
    Let,
    Mul,
    Neg,
    Node,
    Planned,
    Pow,
    Reduce,
    Sub,
    Unary,
    Value,
)
from ancestral.losses.over import reduced
from ancestral.losses.scope import free
from ancestral.lowering.build import LOSS, NUMBER, OUTPUT, VALUE, Flow, Sum
from ancestral.lowering.context import Lowering, Scope, label
from ancestral.printing import loss as loss_text
from ancestral.program import instructions as ir


def constant(lw: Lowering, node: Constant, scope: Scope) -> Sum:
    """A number adds to the bias; a trained 0-d tensor is a register."""
    if isinstance(node.value, Tensor):
        value = node.value
        source = Flow(frozenset({("tensor", id(value))}))
        key = ("tensor", id(value))
        return Sum({lw.build.emit(key, "c", (), lambda out: ir.Number(out, value), source): 1.0})
    return Sum({}, node.value)


def value(lw: Lowering, node: Value, scope: Scope) -> Sum:
    """A bound or given variable, which may have an event."""
    if node.name in scope.values:
        bound = scope.values[node.name]
        is_number = bound.number is not None or bound.kind == NUMBER
        return replace(bound, kind=NUMBER if is_number else VALUE)
    return Sum({lw.input(node.name): 1.0}, kind=NUMBER if node.name in lw.scalars else VALUE)


def apply(lw: Lowering, node: Apply, scope: Scope) -> Sum:
    """A function at a point."""
    args, move = lw.unmoved(_registers(lw, node, node.args, scope, 0))
    if isinstance(node.fn, BatchFunction):
        _check_batch(node, args, moved=move is not None)
    slot = lw.build.function_slot(node.fn)
    make = partial(ir.Call, fn=slot, args=args, text=label(node))
    out = _applied(lw, node, ("call", slot, args), args, make)
    if isinstance(node.fn, BatchFunction):
        lw.plug_in.update(out.terms)  # of a batch's own law, which is not that of its draws
    return out if move is None else replace(out, terms={move(r): c for r, c in out.terms.items()})


def _check_batch(node: Apply, args: "Registers", *, moved: bool) -> None:
    """Raise if a function of whole batches would be given anything but one row per row."""
    axes = union(*(r.axes for r in args))
    if moved or len(axes) != 1 or axes[0].kind != ROW:
        told = ", ".join(a.name for a in axes) or "none"
        raise OptionError(
            f"{loss_text.text(node)} reads all rows of one batch at once, but its arguments have "
            f"the axes: {told}. Leave out sample_shape=, copies, enumeration and over_rows, and "
            "draw from both laws on the same rows."
        )


def grad(lw: Lowering, node: Grad, scope: Scope) -> Sum:
    """The derivative of a function at a point."""
    _refuse_weights(node)
    args = _registers(lw, node, node.args, scope, 0)
    slot = lw.build.function_slot(node.fn)
    make = partial(ir.Slope, fn=slot, args=args, wrt=node.wrt, text=label(node))
    return _applied(lw, node, ("slope", slot, args, node.wrt), args, make)


def jvp(lw: Lowering, node: Jvp, scope: Scope) -> Sum:
    """The derivative of a function along a direction."""
    _refuse_weights(node)
    args = _registers(lw, node, node.args, scope, 0)
    along = _registers(lw, node, node.along, scope, len(args))
    slot = lw.build.function_slot(node.fn)
    make = partial(ir.Push, fn=slot, args=args, along=along, text=label(node))
    return _applied(lw, node, ("push", slot, args, along), (*args, *along), make)


def _refuse_weights(node: Grad | Jvp) -> None:
    """Raise if a derivative is taken of a network whose weights are an argument."""
    if places_in_call(node.fn.net, len(node.args)):
        raise OptionError(
            f"{loss_text.text(node)} is a derivative of a network whose weights are a variable. "
            "Write the derivative into a module that has the network, "
            "torch.func.vjp(lambda x: w.apply(x, weights), x), and apply that."
        )


Registers = tuple[ir.Register, ...]


def _registers(
    lw: Lowering, node: Node, args: tuple[Node, ...], scope: Scope, first: int
) -> Registers:
    lowered = [lw.lower(a, scope.below(node, first + i)) for i, a in enumerate(args)]
    return tuple(lw.build.register(v) for v in lowered)


def _applied(lw: Lowering, node: Any, key: Any, read: Registers, make: Any) -> Sum:
    """The register of a step that calls a function; its value may have an event."""
    flow = Flow(frozenset({("function", lw.build.function_slot(node.fn))}))
    for r in read:
        flow = flow | lw.build.flow[r]
    out = lw.build.emit(key, node.fn.name, union(*(r.axes for r in read)), make, flow)
    return Sum({out: 1.0}, kind=OUTPUT if isinstance(node, Apply) else VALUE)


def add(lw: Lowering, node: Add, scope: Scope) -> Sum:
    """The sum, equal terms collected."""
    return _pair(lw, node, scope, 1.0)


def sub(lw: Lowering, node: Sub, scope: Scope) -> Sum:
    """The difference, equal terms collected."""
    return _pair(lw, node, scope, -1.0)


def _pair(lw: Lowering, node: Add | Sub, scope: Scope, sign: float) -> Sum:
    left, right = _both(lw, node, scope)
    return left.plus(right, sign)


def _both(lw: Lowering, node: Any, scope: Scope) -> tuple[Sum, Sum]:
    """Two operands; next to a term that is one number per row, a value must be so too."""
    left = lw.lower(node.left, scope.below(node, 0))
    right = lw.lower(node.right, scope.below(node, 1))
    if left.terms and left.kind == LOSS and right.kind < NUMBER:
        right = Sum({lw.scalar(node.right, right, node.left): 1.0})
    if right.terms and right.kind == LOSS and left.kind < NUMBER:
        left = Sum({lw.scalar(node.left, left, node.right): 1.0})
    return left, right


def neg(lw: Lowering, node: Neg, scope: Scope) -> Sum:
    """The negative."""
    return lw.lower(node.arg, scope.below(node, 0)).times(-1.0)


def mul(lw: Lowering, node: Mul, scope: Scope) -> Sum:
    """A product; by a number, a scaling."""
    left, right = _both(lw, node, scope)
    if left.number is not None:
        return right.times(left.number)
    if right.number is not None:
        return left.times(right.number)
    out = lw.build.elementwise("mul", (lw.build.register(left), lw.build.register(right)))
    return Sum({out: 1.0}, kind=min(left.kind, right.kind))


def div(lw: Lowering, node: Div, scope: Scope) -> Sum:
    """A quotient; by a number, a scaling; of a number, a scaled reciprocal, as in torch."""
    left, right = _both(lw, node, scope)
    if right.number:
        return left.times(1.0 / right.number)
    if left.number is not None and right.number is None:
        out = lw.build.elementwise("pow", (lw.build.register(right),), (-1.0,))
        return Sum({out: 1.0}, kind=right.kind).times(left.number)
    out = lw.build.elementwise("div", (lw.build.register(left), lw.build.register(right)))
    return Sum({out: 1.0}, kind=min(left.kind, right.kind))


def pow(lw: Lowering, node: Pow, scope: Scope) -> Sum:
    """A power by a number."""
    base = lw.lower(node.base, scope.below(node, 0))
    return _of_each(lw, "pow", base, (float(node.exponent),))


def unary(lw: Lowering, node: Unary, scope: Scope) -> Sum:
    """exp, log or abs."""
    arg = lw.lower(node.arg, scope.below(node, 0))
    if node.kind == "log" and list(arg.terms.values()) == [1.0] and not arg.bias:
        (register,) = arg.terms  # of a sum over values in logarithms, no exponential is taken
        step = lw.build.made.get(register)
        if isinstance(step, ir.Elementwise) and step.op == "exp":
            return Sum({step.args[0]: 1.0}, kind=arg.kind)
    return _of_each(lw, node.kind, arg)


def clamp(lw: Lowering, node: Clamp, scope: Scope) -> Sum:
    """The value cut off below and above."""
    arg = lw.lower(node.arg, scope.below(node, 0))
    return _of_each(lw, "clamp", arg, (node.low, node.high))


def extremum(lw: Lowering, node: Extremum, scope: Scope) -> Sum:
    """The smaller or larger of two; beside a number, the value cut off there."""
    left, right = _both(lw, node, scope)
    for value, bound in ((left, right.number), (right, left.number)):
        if bound is not None:
            return _of_each(
                lw, "clamp", value, (None, bound) if node.which == "min" else (bound, None)
            )
    out = lw.build.elementwise(node.which, (lw.build.register(left), lw.build.register(right)))
    return Sum({out: 1.0}, kind=min(left.kind, right.kind))


def _of_each(lw: Lowering, op: str, arg: Sum, extra: tuple[float | None, ...] = ()) -> Sum:
    """A function of each element; of a number, a number."""
    if arg.number is not None:
        number = torch.tensor(arg.number, dtype=torch.float64)
        of_number = F.logsigmoid if op == "logsigmoid" else getattr(torch, op)
        return Sum({}, of_number(number, *extra).item(), arg.kind)
    return Sum({lw.build.elementwise(op, (lw.build.register(arg),), extra): 1.0}, kind=arg.kind)


def norm(lw: Lowering, node: Norm, scope: Scope) -> Sum:
    """The norm of an event."""
    arg = lw.build.register(lw.lower(node.arg, scope.below(node, 0)))
    key = ("norm", arg, node.squared)
    out = lw.build.emit(key, "norm", arg.axes, lambda out: ir.Norm(out, arg, node.squared))
    return Sum({out: 1.0}, kind=NUMBER)


def reduce(lw: Lowering, node: Reduce, scope: Scope) -> Sum:
    """A mean or sum over rows or a named axis."""
    arg = lw.lower(node.arg, scope.below(node, 0))
    if node.axis is None and SIZE in lw.scalars and SIZE in free(node.arg):
        _check_one_set(lw, arg)
    return _reduced(lw, node, node.how, node.axis, arg, scope)


def _check_one_set(lw: Lowering, arg: Sum) -> None:
    """Raise if the number of rows of one data set would stand for that of another, too."""
    lw.sized.update(a for a in arg.axes if a.kind == ROW)
    if len(lw.sized) > 1:
        told = (
            f"the rows of {listing([n for n, a in lw.plates.items() if a == axis])}"
            for axis in sorted(lw.sized, key=lambda a: a.name)
        )
        raise ScopeError(
            f"data_size={SIZE} is the number of rows of one data set, but terms of globals stand "
            f"beside {' and beside '.join(told)}. Write the terms of globals once, and the rows of "
            "each further set times its own number of rows: "
            "loss.sum() + 500 * E(q, p_2.log_prob()).mean()."
        )


def log_mean_exp(lw: Lowering, node: LogMeanExp, scope: Scope) -> Sum:
    """The logarithm of a mean or sum of exponentials."""
    arg = lw.lower(node.arg, scope.below(node, 0))
    return _reduced(lw, node, node.how, node.axis, arg, scope)


def _reduced(lw: Lowering, node: Any, how: str, name: str | None, arg: Sum, scope: Scope) -> Sum:
    register = lw.scalar(node.arg, arg)
    if name is None:
        level = reduced(node)
        axes = [a for a in register.axes if a.kind == ROW and a.age == level]
        if not axes:
            return Sum({register: 1.0})  # nothing is left to average: the value is one number
        return Sum({lw.build.reduce(how, axes[0], register): 1.0})
    if name not in scope.copies:
        raise ScopeError(
            f"{loss_text.text(node)}: nothing binds the axis {name!r}. It comes from a law with "
            f"copies in an expectation around it, E(q.iid({name}=10), ...); "
            f"{did_you_mean(name, scope.copies)}"
        )
    axis = scope.copies[name]
    if axis in register.axes:
        return Sum({lw.build.reduce(how, axis, register): 1.0})
    if how in ("mean", "logmeanexp"):
        return Sum({register: 1.0})  # no term depends on the copy
    if how == "sum":
        return Sum({register: float(axis.size or 1)})
    return Sum({register: 1.0}, math.log(axis.size or 1))


def detach(lw: Lowering, node: Detach, scope: Scope) -> Sum:
    """The value with its gradient cut, term by term, so that draws stay shared."""
    arg = lw.lower(node.arg, scope.below(node, 0))
    return Sum({lw.build.cut(r): c for r, c in arg.terms.items()}, arg.bias, arg.kind)


def let(lw: Lowering, node: Let, scope: Scope) -> Sum:
    """The term with names bound to values of the outer scope."""
    values, rows = dict(scope.values), dict(scope.rows)
    for i, (name, binding) in enumerate(zip(node.names, node.bindings, strict=True)):
        values[name] = lw.lower(binding, scope.below(node, i))
        rows[name] = frozenset(a for n in free(binding) for a in lw.rows(n, scope))
    inside = replace(scope.below(node, len(node.names)), values=values, rows=rows)
    return lw.lower(node.arg, inside)


def planned(lw: Lowering, node: Planned, scope: Scope) -> Sum:
    """The term with estimators chosen for laws."""
    choices = {**scope.choices, **{id(law): c for law, c in node.choices if c.how != "rows"}}
    pairs = {**scope.pairs, **{id(law): c for law, c in node.choices if c.how == "rows"}}
    return lw.lower(node.arg, replace(scope.below(node, 0), choices=choices, pairs=pairs))
