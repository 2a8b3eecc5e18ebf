"""Integrands with the gradient of their draws: score terms, and sums over tables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from ancestral.core.axes import ROW, Axis
from ancestral.distributions import Sequence
from ancestral.distributions.base import Factor
from ancestral.estimators.base import Estimator
from ancestral.lowering import particles, sequence, versions
from ancestral.lowering.baselines import baselined
from ancestral.lowering.build import Flow, Sum, law_key
from ancestral.lowering.context import Lowering, Scope
from ancestral.lowering.eliminate import Table, expected
from ancestral.lowering.hierarchy import cut
from ancestral.program import instructions as ir


@dataclass(frozen=True)
class Drawn:
    """A factor that an expectation has drawn: its value, and how its gradient is found."""

    factor: Factor
    value: ir.Register
    estimator: Estimator | None = None
    axis: Axis | None = None  # of draws, or of a table
    noise: str = ""  # the name of the draw
    plan: Estimator | None = None  # the estimator, where it reads more than the integrand
    channel: ir.Register | None = None  # along which such a plan scales the draw's gradient


def density(
    lw: Lowering, factor: Factor, scope: Scope, counts: ir.Register | None = None
) -> ir.Register:
    """The register of a factor's log density, and of where it counts; of a sequence, summed over
    time. At its own draw without parameters, where the plan cuts them.
    """
    chosen = scope.choices.get(id(factor.law)) if lw.own else None
    if getattr(chosen, "cuts_own", False) and not factor.detached:
        values = tuple(lw.value(v, scope) for v in factor.var)
        given = tuple(lw.value(c, scope) for c in factor.cond_var)
        if (values, law_key(factor.law), given) in lw.own:
            out = lw.density(cut(lw, factor, scope), scope, counts)
            lw.cut_own[out] = values
            return out
    if isinstance(factor.law, Sequence):
        return sequence.density(lw, factor, scope, counts)
    if factor.law.has_points:
        return particles.density(lw, factor, scope)
    return lw.density(factor, scope, counts)


def estimate(
    lw: Lowering, inner: Sum, drawn: list[Drawn], scope: Scope, mixed: Axis | None = None
) -> Sum:
    """The integrand with its score terms, and summed over its tables.

    Where it reads draws of all rows in each, these are ``mixed``: their joint density counts.
    """
    values: Mapping[str, Sum] = {
        **scope.values,
        **{d.factor.var[0]: Sum({d.value: 1.0}) for d in drawn},
    }
    scope = replace(scope, values=values)
    tables: list[Table] = []  # drawn after all that is still to come
    for d in reversed(drawn):
        if d.estimator is None or d.estimator.over_copies:
            continue
        if d.estimator.how == "table" and d.axis is not None:
            tables.insert(0, Table(d.axis, partial(density, lw, d.factor, scope)))
            continue
        if d.estimator.how == "versions":
            inner, tables = _at_draw(lw, _summed(lw, inner, tables), drawn, d, mixed), []
            continue
        behind = [*inner.terms, *(t.log_q() for t in tables)]
        if not any(c.draw == d.noise for r in behind for c in lw.build.flow[r].cuts):
            continue  # the integrand does not depend on the draw
        inner, tables = _summed(lw, inner, tables), []
        mine, rest = _downstream(lw, inner, d)
        if mine.terms:
            inner = rest.plus(Sum({_scored(lw, mine, drawn, d, scope, mixed): 1.0}))
    return _summed(lw, inner, tables)


def _summed(lw: Lowering, body: Sum, tables: list[Table]) -> Sum:
    """The terms summed over tables, each over those that it reads."""
    return expected(lw, replace(_apart(lw, body), kind=body.kind), tables) if tables else body


def _at_draw(lw: Lowering, body: Sum, drawn: list[Drawn], d: Drawn, mixed: Axis | None) -> Sum:
    """The terms that see versions of a draw at the draw itself, with its gradient."""
    assert d.channel is not None
    axis, apart = d.channel.axes[0], _apart(lw, body)
    mine = {r: c for r, c in apart.terms.items() if axis in r.axes}
    rest = Sum({r: c for r, c in apart.terms.items() if r not in mine}, apart.bias)
    for r in [r for r in mine if not any(c.draw == d.noise for c in lw.build.flow[r].cuts)]:
        still = versions.at_draw(lw, r, axis, lw.build.flow[r])  # its path to the draw is cut
        rest = rest.plus(Sum({still: mine.pop(r)}))
    if not mine:
        return rest
    f = lw.build.register(Sum(mine))
    return rest.plus(Sum({versions.weighed(lw, f, d, drawn, mixed): 1.0}))


def _downstream(lw: Lowering, body: Sum, d: Drawn) -> tuple[Sum, Sum]:
    """The terms that depend on a draw, and the others, beside which its score has the mean 0."""

    def reads(r: ir.Register) -> bool:
        return any(c.draw == d.noise for c in lw.build.flow[r].cuts)

    apart = _apart(lw, body) if any(map(reads, body.terms)) else body
    if not apart.bias and all(map(reads, apart.terms)):
        return body, Sum()
    mine = {r: c for r, c in apart.terms.items() if reads(r)}
    rest = {r: c for r, c in apart.terms.items() if not reads(r)}
    return Sum(mine), Sum(rest, apart.bias)


def _apart(lw: Lowering, body: Sum) -> Sum:
    """A combination with the terms of those among its terms that are sums themselves."""
    found = Sum(bias=body.bias)
    for r, c in body.terms.items():
        step, parts = lw.build.made.get(r), Sum({r: 1.0})
        if isinstance(step, ir.Linear):
            parts = _apart(lw, _terms(step))
        elif isinstance(step, ir.Scalar) and isinstance(lw.build.made.get(step.arg), ir.Linear):
            parts = _numbers(lw, step)
        found = found.plus(parts.times(c))
    return found


def _terms(step: ir.Linear) -> Sum:
    found = Sum(bias=step.bias)
    for c, r in step.terms:
        found = found.plus(Sum({r: c}))
    return found


def _numbers(lw: Lowering, step: ir.Scalar) -> Sum:
    """A sum of values that is one number per row, as a sum of such numbers."""
    inner = lw.build.made[step.arg]
    assert isinstance(inner, ir.Linear)
    found = Sum(bias=inner.bias)
    for c, r in inner.terms:
        make = partial(ir.Scalar, arg=r, squeeze=step.squeeze, text=step.text, beside=step.beside)
        found = found.plus(Sum({lw.build.emit(("scalar", r), r.name, r.axes, make): c}))
    return found


def _scored(
    lw: Lowering, body: Sum, drawn: list[Drawn], d: Drawn, scope: Scope, mixed: Axis | None
) -> ir.Register:
    """Terms with the score of a draw times what they are; that of its own density is left out."""
    assert d.estimator is not None
    joint = log_q = _joint_density(lw, drawn, d, scope)
    if log_q in body.terms:
        cuts = Flow(cuts=lw.build.flow[log_q].cuts)  # it still depends on the draws
        make = partial(ir.Cut, arg=log_q)
        own = lw.build.emit(("own", log_q), f"sg[{log_q.name}]", log_q.axes, make, cuts)
        lw.own_scores.add(own)
        body = Sum({own if r is log_q else r: c for r, c in body.terms.items()})
    f = lw.build.register(body)
    axis = d.axis if d.axis is not None else _own_rows(drawn, d, f, mixed)
    for extra in log_q.axes:
        if extra not in f.axes or extra == mixed:  # it reads several: their joint density
            joint = lw.build.reduce("sum", extra, joint)
    flow = Flow(
        lw.build.flow[f].sources | lw.build.flow[joint].sources,
        frozenset(c for c in lw.build.flow[f].cuts if c.draw != d.noise),
    )
    if getattr(getattr(d.estimator, "baseline", None), "keeps", False):
        which = d.factor, d.value, d.noise
        return baselined(lw, f, joint, which, d.estimator, scope, flow)
    return lw.build.emit(
        ("surrogate", d.estimator, f, joint),
        f.name,
        f.axes,
        partial(ir.Surrogate, estimator=d.estimator, f=f, log_q=joint, axis=axis),
        flow,
    )


def _own_rows(drawn: list[Drawn], d: Drawn, body: ir.Register, mixed: Axis | None) -> Axis | None:
    """The rows of a draw, where each is a draw of its own, which no other row's integrand reads."""
    rows = [a for a in d.value.axes if a.kind == ROW]
    alone = mixed is None and sum(copy.noise == d.noise for copy in drawn) == 1
    wanted = [a for a in body.axes if a.kind == ROW]
    return rows[0] if alone and len(rows) == 1 and rows == wanted else None


def _joint_density(lw: Lowering, drawn: list[Drawn], d: Drawn, scope: Scope) -> ir.Register:
    """The log density of a draw; of one that stands at several rows, of all of these."""
    total = Sum()
    for copy in drawn:
        if copy.noise == d.noise:
            total = total.plus(Sum({density(lw, copy.factor, scope): 1.0}))
    return lw.build.register(total)
