"""Losses as text, LaTeX and MathML, brackets from one precedence table."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ancestral.distributions import Distribution, Sequence
from ancestral.losses.adversarial import Adversarial
from ancestral.losses.apply import Apply, Grad, Jvp, Norm
from ancestral.losses.chain import ClosedForm, LogMeanExp, expand, is_closed, one
from ancestral.losses.game import Game
from ancestral.losses.globals import spread
from ancestral.losses.iterative import IterativeLoss
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
    Planned,
    Pow,
    Reduce,
    Sub,
    Unary,
    Value,
)
from ancestral.losses.over import OverRows, reduced
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)
from ancestral.losses.scope import free
from ancestral.printing import game, law
from ancestral.printing.context import Context, Printed
from ancestral.printing.dialect import LATEX, TEXT, number
from ancestral.printing.iterative import iterative
from ancestral.printing.mathml import MATHML, document

ROWS = "jlmhst"  # the letters of rows that over_rows adds
SUM, MINUS, SERIES, QUOTIENT, PRODUCT, PREFIX, POWER, ATOM = range(8)


def text(node: Any) -> str:
    """A loss as Unicode text."""
    return write(spread(node), Context(TEXT))[0]


def latex(node: Any) -> str:
    """A loss in LaTeX."""
    return write(spread(node), Context(LATEX))[0]


def mathml(node: Any) -> str:
    """A loss in MathML."""
    return document(write(spread(node), Context(MATHML))[0])


def write(node: Any, c: Context) -> Printed:
    """A node as a formula with its precedence."""
    return RULES[type(node)](node, c)


def _at(node: Any, c: Context, least: int) -> str:
    """A node's formula, in brackets if it binds less than ``least``."""
    out, precedence = write(node, c)
    return out if precedence >= least else c.dialect.bracket(out)


def _number(value: float, c: Context) -> Printed:
    if value < 0:
        return c.dialect.form("minus", inside=c.dialect.number(number(-value))), MINUS
    is_power = c.dialect.stacks and "e" in number(value)  # a product with a power of ten
    return c.dialect.number(number(value)), PRODUCT if is_power else ATOM


def _constant(node: Constant, c: Context) -> Printed:
    return _number(node.number, c)


def _value(node: Value, c: Context) -> Printed:
    return c.values.get(node.name) or (c.spelled(node.name), ATOM)


def _point(node: Apply | Grad | Jvp, c: Context) -> tuple[str, list[str]]:
    """A function at a point, and the point's entries."""
    args = [write(a, c)[0] for a in node.args]
    inside = c.dialect.separator.join(args)
    name = c.dialect.name(node.fn.name)
    f = c.dialect.form("detached", name=name) if node.fn.is_detached else name
    return c.dialect.form("apply", f=f, args=inside), args


def _apply(node: Apply, c: Context) -> Printed:
    return _point(node, c)[0], ATOM


def _grad(node: Grad, c: Context) -> Printed:
    point, args = _point(node, c)
    if len(args) == 1:
        return c.dialect.form("slope", point=point), ATOM
    return c.dialect.form("slope_wrt", point=point, wrt=args[node.wrt]), ATOM


def _jvp(node: Jvp, c: Context) -> Printed:
    along = c.dialect.separator.join(write(a, c)[0] for a in node.along)
    return c.dialect.form("push", point=_point(node, c)[0], along=along), ATOM


def _add(node: Add, c: Context) -> Printed:
    positive = _without_minus(node.right)
    if positive is not None:
        return _sub(Sub(node.left, positive), c)
    left, right = (
        _at(node.left, c, SUM),
        _at(node.right, c, SUM if _reads_on(node.right) else SERIES),
    )
    return c.dialect.form("plus", left=left, right=right), SUM


def _reads_on(node: Any) -> bool:
    """Whether a sum behind a plus needs no brackets: it begins with no minus."""
    first = node
    while isinstance(first, (Add, Sub)):
        first = first.left
    return first is not node and _without_minus(first) is None


def _sub(node: Sub, c: Context) -> Printed:
    left, right = _at(node.left, c, SUM), _at(node.right, c, SERIES)
    return c.dialect.form("difference", left=left, right=right), SUM


def _without_minus(node: Any) -> Any:
    """The term without the minus that it would print first, or ``None`` if it prints none."""
    if isinstance(node, Neg):
        return node.arg
    if isinstance(node, Constant):
        return Constant(-node.number) if node.number < 0 else None
    if isinstance(node, Mul):
        for factor, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(factor, Constant) and factor.number < 0 and factor is not other:
                return Mul(Constant(-factor.number), other)
    if isinstance(node, CrossEntropy):
        return None if is_closed(node) else Expectation(node.q, LogProb(node.p))
    if isinstance(node, Entropy):
        return None if node.analytical else Expectation(node.q, LogProb(node.q))
    return None


def _neg(node: Neg, c: Context) -> Printed:
    return c.dialect.form("minus", inside=_at(node.arg, c, SERIES)), MINUS


def _mul(node: Mul, c: Context) -> Printed:
    left, right = node.left, node.right
    if left is right:
        return _pow(Pow(left, 2), c)
    if isinstance(right, Constant) and not isinstance(left, Constant):
        left, right = right, left
    negative = isinstance(left, Constant) and left.number < 0
    if negative and isinstance(left, Constant):
        left = Constant(-left.number)
    first, second = _at(left, c, PRODUCT), _at(right, c, PREFIX)
    kind = "times" if _leads_with_number(second) else "product"
    body = c.dialect.form(kind, left=first, right=second)
    return (c.dialect.form("minus", inside=body), MINUS) if negative else (body, PRODUCT)


def _leads_with_number(written: str) -> bool:
    """Whether a factor prints a number first, which would read on from a number before it."""
    return re.match(r"(?:<\w+[^>]*>)*\d", written) is not None


def _div(node: Div, c: Context) -> Printed:
    stacks = c.dialect.stacks
    above = _at(node.left, c, SUM if stacks else QUOTIENT)
    below = _at(node.right, c, SUM if stacks else POWER)
    form = c.dialect.form("fraction", above=above, below=below)
    return form, PRODUCT if stacks else QUOTIENT


def _pow(node: Pow, c: Context) -> Printed:
    exponent, precedence = _number(float(node.exponent), c)
    if precedence < ATOM and not c.dialect.stacks:
        exponent = c.dialect.bracket(exponent)
    return c.dialect.form("power", base=_at(node.base, c, ATOM), exponent=exponent), POWER


def _unary(node: Unary, c: Context) -> Printed:
    inside = write(node.arg, c)[0]
    if node.kind == "abs":
        bars = "abs_of_bars" if "|" in inside else "abs"
        return c.dialect.form(bars, inside=inside), ATOM
    if node.kind == "sigmoid":
        return c.dialect.form("apply", f=c.dialect.name("sigma"), args=inside), ATOM
    if node.kind == "logsigmoid":
        return _unary(Unary("log", Unary("sigmoid", node.arg)), c)
    if node.kind == "log" and isinstance(node.arg, Unary) and node.arg.kind == "sigmoid":
        return c.dialect.form("log", density=inside), PREFIX
    return c.dialect.call(node.kind, inside), ATOM


def _clamp(node: Clamp, c: Context) -> Printed:
    bounds = [
        c.dialect.form("bound", name=c.dialect.function(word), value=_number(b, c)[0])
        for word, b in (("min", node.low), ("max", node.high))
        if b is not None
    ]
    return c.dialect.call("clamp", write(node.arg, c)[0], *bounds), ATOM


def _extremum(node: Extremum, c: Context) -> Printed:
    return c.dialect.call(node.which, write(node.left, c)[0], write(node.right, c)[0]), ATOM


def _norm(node: Norm, c: Context) -> Printed:
    out = c.dialect.form("norm", inside=write(node.arg, c)[0])
    if not node.squared:
        return out, ATOM
    return c.dialect.form("power", base=out, exponent=c.dialect.number("2")), POWER


def _reduce(node: Reduce, c: Context) -> Printed:
    level = 0 if node.axis is not None else reduced(node)
    if node.axis is None and not level:
        return c.dialect.call(node.how, write(node.arg, c)[0]), ATOM
    letter = ROWS[level - 1] if node.axis is None else node.axis
    inside, axis = _at(node.arg, c, PREFIX), c.dialect.name(letter)
    known = None if node.axis is None else c.sizes.get(node.axis)
    if node.axis is None:
        total = c.dialect.form("sum", axis=axis, inside=inside)
        size = c.dialect.name("n")
    elif known is None:
        total = c.dialect.form("sum", axis=axis, inside=inside)
        size = c.dialect.name(node.axis.upper())
    else:
        size = c.dialect.number(str(known))
        total = c.dialect.form("sum_to", axis=axis, size=size, inside=inside)
    if node.how == "sum":
        return total, SERIES
    return c.dialect.form("mean", size=size, sum=total), SERIES


def _over_rows(node: OverRows, c: Context) -> Printed:
    """The term with an index at the variables: ``q(θ_j|x)``."""
    letter, values = ROWS[node.level - 1], dict(c.values)
    names = {**c.names, **{v: c.dialect.indexed(c.spelled(v), letter) for v in node.names}}
    for v in (v for v in node.names if v in values):
        inside, precedence = values[v]
        inside = inside if precedence >= ATOM else c.dialect.bracket(inside)
        values[v] = c.dialect.indexed(inside, letter), ATOM
    return write(node.arg, replace(c, names=names, values=values))


def _detach(node: Detach, c: Context) -> Printed:
    return c.dialect.form("detach", inside=write(node.arg, c)[0]), ATOM


def _let(node: Let, c: Context) -> Printed:
    names, values, reads = dict(c.names), dict(c.values), dict(c.reads)
    for name, binding in zip(node.names, node.bindings, strict=True):
        names[name], _ = values[name] = write(binding, c)
        reads[name] = c.read(free(binding))
        if isinstance(binding, Constant):
            own = c.dialect.name(name)
            names[name] = c.dialect.form("bound", name=own, value=names[name])
    return write(node.arg, replace(c, names=names, values=values, reads=reads))


def _planned(node: Planned, c: Context) -> Printed:
    return write(node.arg, c)


def _log_prob(node: LogProb, c: Context) -> Printed:
    out, *others = law.logs(node.law, c.dialect, c.names, node.mask)
    for term in others:
        out = c.dialect.form("plus", left=out, right=term)
    summed = node.mask is not None or any(isinstance(f.law, Sequence) for f in node.law.factors)
    return out, SUM if others else SERIES if summed else PREFIX


def _prob(node: Prob, c: Context) -> Printed:
    return law.whole(node.law, c.dialect, c.names), ATOM


def _inside(drawn: Distribution, c: Context) -> Context:
    """The context inside an expectation: the names of copies are indexed."""
    names, sizes = dict(c.names), dict(c.sizes)
    for f in drawn.factors:
        if f.copies:
            axis, sizes[f.copies[0]] = f.copies[0], f.copies[1]
            names.update({v: c.dialect.indexed(c.spelled(v), axis) for v in f.var})
    return replace(c, names=names, sizes=sizes)


def _expectation(node: Expectation, c: Context) -> Printed:
    c = c.binding(node.law.var, node)
    subscript = law.drawn(node.law, c.dialect, c.names)
    copied = [f for f in node.law.factors if f.copies]
    if copied and copied[0].copies:
        size = c.dialect.number(str(copied[0].copies[1]))
        names = [c.dialect.base(c.spelled(v)) for f in copied for v in f.var]
        each = c.dialect.separator.join(c.dialect.form("each", name=n, size=size) for n in names)
        subscript = c.dialect.form("copies", each=each, law=subscript)
    body = write(node.body, _inside(node.law, c))[0]
    return c.dialect.form("expectation", law=subscript, body=body), ATOM


def _kl(node: KullbackLeibler, c: Context) -> Printed:
    if not node.analytical:
        return write(expand(node), c)
    names = c.binding(node.q.var, node).names
    if chained := law.chain_rule(node.q, node.p, c.dialect, names):
        return chained, ATOM
    q, p = (law.whole(d, c.dialect, names) for d in (node.q, node.p))
    return c.dialect.form("divergence", q=q, p=p), ATOM


def _cross_entropy(node: CrossEntropy, c: Context) -> Printed:
    if is_closed(node):
        return write(Add(KullbackLeibler(node.q, node.p), Entropy(node.q)), c)
    return write(Neg(Expectation(node.q, LogProb(node.p))), c)


def _entropy(node: Entropy, c: Context) -> Printed:
    if not node.analytical:
        return write(expand(node), c)
    q = law.whole(node.q, c.dialect, c.binding(node.q.var, node).names)
    return c.dialect.form("entropy", q=q), ATOM


def _closed(node: ClosedForm, c: Context) -> Printed:
    q = one(node.q)
    if node.p is None:
        return write(Entropy(q), c)
    return write(KullbackLeibler(q, one(node.p)), c)


def _log_mean_exp(node: LogMeanExp, c: Context) -> Printed:
    how = "mean" if "mean" in node.how else "sum"
    return write(Unary("log", Reduce(how, node.axis, Unary("exp", node.arg))), c)


def _game(node: Game, c: Context) -> Printed:
    written = [_at(o, c, SUM) for o in node.objectives]
    return game.written(node, c.dialect, written), SUM


RULES: dict[type, Callable[[Any, Context], Printed]] = {
    Constant: _constant,
    Value: _value,
    Apply: _apply,
    Grad: _grad,
    Jvp: _jvp,
    Add: _add,
    Sub: _sub,
    Neg: _neg,
    Mul: _mul,
    Div: _div,
    Pow: _pow,
    Unary: _unary,
    Clamp: _clamp,
    Extremum: _extremum,
    Norm: _norm,
    Reduce: _reduce,
    OverRows: _over_rows,
    Detach: _detach,
    Let: _let,
    Planned: _planned,
    LogProb: _log_prob,
    Prob: _prob,
    Expectation: _expectation,
    KullbackLeibler: _kl,
    CrossEntropy: _cross_entropy,
    Entropy: _entropy,
    ClosedForm: _closed,
    LogMeanExp: _log_mean_exp,
    IterativeLoss: lambda node, c: iterative(node, c, _at, (PREFIX, SERIES, ATOM)),
    Game: _game,
    Adversarial: lambda node, c: (
        game.divergence(node, c.dialect, c.binding(node.q.var, node).names),
        ATOM,
    ),
}
