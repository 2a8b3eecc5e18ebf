"""Rules for laws: densities, closed forms, and expectations, which bind the draws of a law."""

from dataclasses import replace
from functools import partial

from ancestral.core.axes import COPY, PLAN, Axis, union
from ancestral.core.errors import OptionError, ScopeError
from ancestral.distributions import EnergyModel, Law, Sequence
from ancestral.distributions.base import Factor
from ancestral.distributions.noise import kinds, named
from ancestral.estimators.base import Estimator
from ancestral.losses.chain import ClosedForm
from ancestral.losses.node import Constant
from ancestral.losses.over import levels, mixes_rows
from ancestral.losses.prob import Expectation, LogProb, Prob
from ancestral.lowering import energy, experts, flows, layers, particles, sequence, versions
from ancestral.lowering.build import LOSS, CutPath, Flow, Sum, law_key
from ancestral.lowering.choice import choice
from ancestral.lowering.context import Lowering, Map, Scope, base_of, label
from ancestral.lowering.copies import (
    before_gates,
    check_conditions,
    check_linear,
    gated,
    over_copies,
)
from ancestral.lowering.estimate import Drawn, density, estimate
from ancestral.lowering.marginal import log_marginal
from ancestral.lowering.records import key_of, own_axes, record_of
from ancestral.lowering.rows import Rows, keeps_rows, row_axis
from ancestral.printing import loss as loss_text
from ancestral.program import instructions as ir
from ancestral.program.relaxed import Relaxed


def log_prob(lw: Lowering, node: LogProb, scope: Scope) -> Sum:
    """The sum of the factors' log densities, of those that are present."""
    if node.law.integrated:
        return log_marginal(lw, node.law, scope, density)
    total = Sum()
    mask = None if node.mask is None else lw.value(node.mask, scope)
    for i, factor in enumerate(node.law.factors):
        if mask is None:
            total = total.plus(Sum({density(lw, factor, scope): 1.0}))
            continue
        held = experts.is_present(lw, mask, i, len(node.law.factors), loss_text.text(node))
        shown = {v: Sum({experts.show(lw, lw.value(v, scope), held): 1.0}) for v in factor.var}
        term = density(lw, factor, replace(scope, values={**scope.values, **shown}), held)
        total = total.plus(Sum({experts.left_out(lw, term, held): 1.0}))
    return total


def prob(lw: Lowering, node: Prob, scope: Scope) -> Sum:
    """The exponential of the log density."""
    log = lw.build.register(log_prob(lw, LogProb(node.law), scope))
    return Sum({lw.build.elementwise("exp", (log,)): 1.0})


def closed_form(lw: Lowering, node: ClosedForm, scope: Scope) -> Sum:
    """A closed form over the parameters of one or two laws."""
    if isinstance(node.q.law, Sequence):
        return sequence.divergence(lw, node, scope)
    factors = [f for f in (node.q, node.p) if f is not None]
    params = []
    for f in factors:
        register = lw.params(f, scope)
        params.append(lw.build.cut(register) if f.detached else register)
    slots = tuple(lw.build.law_slot(f.law) for f in factors)
    registers = tuple(params)
    out = lw.build.emit(
        ("closed", node.which, slots, registers),
        node.which,
        union(*(r.axes for r in registers)),
        lambda out: ir.Closed(out, node.which, slots, registers, node.q.var[0], label(node)),
    )
    return Sum({out: 1.0})


def expectation(lw: Lowering, node: Expectation, scope: Scope) -> Sum:
    """Draw each factor parents first, lower the body with the draws bound, average."""
    row, keep = row_axis(lw, node, scope), keeps_rows(lw, node, scope)
    drawn, inside, rows = _bind(lw, node, scope, row, keep=keep)
    if levels(node.body):
        raise ScopeError(
            f"{loss_text.text(node)}: the rows that over_rows adds are left free in the "
            "expectation. Reduce it inside: .over_rows(...).mean(), .sum() or .logsumexp()."
        )
    inner = lw.lower(node.body, inside)
    if inner.kind != LOSS:
        inner = Sum({lw.scalar(node.body, inner): 1.0})
    _check_copies(node, inside, inner)
    for d in drawn:
        lw.drawn_as.setdefault(d.factor.var[0], []).append(d.value)
    if scope.depth == 0:
        lw.bound.update({d.factor.var[0]: d.value for d in drawn})
    means = [d.axis for d in drawn if d.axis is not None]
    averaged = {*means, *rows.averaged}
    layers.check(lw, drawn, inner.terms, mixed=mixes_rows(node.body))
    for d in drawn:
        if d.plan is not None and d.plan.cuts_own and not d.plan.over_copies:
            check_linear(lw, node, inner, d)
    inner = over_copies(lw, node, inner, drawn, replace(inside, path=()))
    if not averaged & set(inner.axes) and all(d.estimator is None for d in drawn):
        return inner  # a sum in an expectation meets the terms beside it
    mixed = row if mixes_rows(node.body) else None  # a row of the body reads draws of all rows
    inner = estimate(lw, inner, drawn, replace(inside, path=()), mixed)
    if not averaged & set(inner.axes):  # tables are summed already; weights may have brought axes
        return inner
    body = lw.build.register(inner)
    for axis in dict.fromkeys(means):
        if axis in body.axes:
            body = lw.build.reduce("mean", axis, body)
    return Sum({rows.average(body): 1.0})


def _bind(
    lw: Lowering, node: Expectation, scope: Scope, row: Axis, *, keep: bool
) -> tuple[list[Drawn], Scope, Rows]:
    """The draws of each factor, parents first, the scope inside, and how rows are seen there."""
    here = scope.below(node, -1)
    values: dict[str, Sum] = dict(scope.values)
    copies: dict[str, Axis] = dict(scope.copies)
    drawn: list[Drawn] = []
    seen = Rows(lw, node, scope, row, keep=keep)
    made: dict[int, list[Drawn]] = {}  # by factor, along the rows that they were drawn on
    for factor in seen.factors:
        new = _drawn_again(lw, factor, made.get(id(seen.original(factor))))
        if not new:
            new = _draw(lw, node, factor, replace(here, values=seen.unmoved(factor, values)), row)
        made[id(factor)] = new
        for d in new:
            value = seen.move(factor, d.factor.var[0], d.value)
            drawn.append(replace(d, value=value))
            values[d.factor.var[0]] = Sum({value: 1.0})
        if factor.copies:
            copies[factor.copies[0]] = Axis(factor.copies[0], COPY, factor.copies[1])
    for name in node.law.integrated:  # drawn, but not seen: the name keeps its outer meaning
        values.pop(name, None)
        values.update({name: scope.values[name]} if name in scope.values else {})
    shared = {v for f in seen.factors if f.law.plate is None for v in f.var}
    own = {v: frozenset[Axis]() if v in shared else seen.of(v) for v in node.law.var}
    rows = {**scope.rows, **own}
    inside = scope.below(node, 0)
    inside = replace(inside, values=values, rows=rows, copies=copies, depth=scope.depth + 1)
    return drawn, inside, seen


def _drawn_again(lw: Lowering, factor: Factor, made: list[Drawn] | None) -> list[Drawn]:
    """What a copy of a factor sees of its draw; of every value of a law it takes its own."""
    if made is None or any(d.estimator is not None and d.estimator.how == "table" for d in made):
        return []
    whole = len(made) > 1 and made[0].factor.var != made[0].factor.var[:1]  # one density of all
    new = [
        replace(d, factor=factor if whole and i == 0 else replace(factor, var=(v,)))
        for i, (d, v) in enumerate(zip(made, factor.var, strict=True))
    ]
    return [replace(d, value=lw.build.cut(d.value)) if factor.detached else d for d in new]


def _check_copies(node: Expectation, inside: Scope, body: Sum) -> None:
    """Raise if the axis of a law's copies is not reduced in the body."""
    for axis in (inside.copies[f.copies[0]] for f in node.law.factors if f.copies):
        if axis in body.axes:
            raise ScopeError(
                f"{loss_text.text(node)}: the axis {axis.name!r} of its copies is left free. "
                f'Reduce it inside, e.g. .mean("{axis}") or .exp().mean("{axis}").log().'
            )


def _draw(lw: Lowering, node: Expectation, factor: Factor, scope: Scope, row: Axis) -> list[Drawn]:
    """The registers of a factor's variables."""
    law = factor.law
    if law.is_data:
        named = zip(factor.var, factor.given or factor.var, strict=True)
        return [Drawn(replace(factor, var=(v,)), lw.input(name)) for v, name in named]
    if isinstance(law, Sequence):
        return _sequence(lw, node, factor, scope, row)
    if law.rearranged is not None:
        return _rearranged(lw, node, factor, scope, row)
    if isinstance(law, EnergyModel):
        return [_by_chains(lw, node, factor, scope, row)]
    if law.has_points:
        points, every = particles.draw(lw, node, factor, scope)
        return [Drawn(factor, points, None, every)]
    params = lw.params(factor, before_gates(lw, factor, scope))
    if not law.is_random:
        out = []
        for own, var in zip(law.var, factor.var, strict=True):
            make = partial(ir.Pick, params=params, key=own)
            flow = lw.build.flow[params]
            if not law.reparametrised:
                flow = Flow(cuts=frozenset({_cut_path(lw, law, var, flow)}) | flow.cuts)
            register = lw.build.emit(("pick", params, own), var, params.axes, make, flow)
            register = lw.build.cut(register) if factor.detached else register
            out.append(Drawn(replace(factor, var=(var,)), register))
        return out
    chosen = choice(node, factor, scope)
    if chosen.how == "table":
        return [_table(lw, factor, params, chosen, scope)]
    if chosen.how == "layers":
        record, axis, _ = record_of(lw, node, factor, params, chosen, scope, row)
        which = (record.index, lw.ledger.name(factor.var[0], record), axis)
        return [Drawn(factor, layers.draw(lw, factor, params, chosen, which, scope), None, axis)]
    if chosen.how == "versions":
        record, axis, lead = record_of(lw, node, factor, params, chosen, scope, row)
        found = versions.draw(lw, factor, params, chosen, record, lead, scope)
        value, weights, name = found
        score = chosen if weights is not None else None
        return [Drawn(factor, value, score, axis, name, channel=weights)]
    return _one_draw(lw, node, factor, params, chosen, scope, row)


def _by_chains(lw: Lowering, node: Expectation, factor: Factor, scope: Scope, row: Axis) -> Drawn:
    """A draw of a law that is given by its energy: where chains end."""
    plan = energy.plan_of_draw(factor, node, scope)
    conditions = (lw.value(c, scope).axes for c in factor.cond_var)
    axes = union((row,) if factor.law.plate is not None else (), *conditions)
    record = energy.assign(lw, factor, scope, axes, plan, node.draws)
    axis, own = own_axes(factor, record, row)
    value = energy.drawn(lw, node, factor, scope, record, union(axes, own))
    return Drawn(factor, value, None, axis, lw.ledger.name(factor.var[0], record))


def _rearranged(
    lw: Lowering, node: Expectation, factor: Factor, scope: Scope, row: Axis
) -> list[Drawn]:
    """The registers of variables that are put together from rows of draws of another law."""
    law, inner = factor.law, factor.law.rearranged
    assert inner is not None
    names = zip(law.cond_var, factor.cond_var, strict=True)
    values = {own: scope.values[c] for own, c in names if c in scope.values}
    scope = replace(scope, values={**scope.values, **values})
    inside = _bind(
        lw, Expectation(inner, Constant(0.0), draws=node.draws), scope, row, keep=False
    )[1]
    args = tuple(lw.build.register(inside.values[v]) for v in law.var)
    couple, arg = getattr(law, "couple", None), args[0]
    if couple is not None:
        slot = lw.build.function_slot(Map(couple))
        if any(r.axes != (row,) for r in args):
            raise OptionError(
                f"{loss_text.text(node)}: a coupling matches the rows of one draw of a batch. "
                "Leave out sample_shape= and copies."
            )
        call = partial(ir.Call, fn=slot, args=args, text=lw.label(factor, scope))
        matched = lw.build.emit(("coupled", args, slot), factor.var[0], (row,), call)
        found = zip(factor.var, (matched, args[1]), strict=True)
        return [
            Drawn(replace(factor, var=(v,)), lw.build.cut(r) if factor.detached else r)
            for v, r in found
        ]
    if row not in arg.axes:
        raise OptionError(
            f"{loss_text.text(node)}: the draws of {inner.prob_text} have no rows to take entries "
            "from."
        )
    permuted = scope.pairs.get(id(law)) is not None
    noise = f"{arg.name}.rows"
    key = ("apart", arg, permuted)
    make = partial(ir.TakeApart, arg=arg, noise=noise, row=row, permuted=permuted)
    value = lw.build.emit(key, factor.var[0], arg.axes, make)
    lw.noise[noise] = value
    return [Drawn(factor, lw.build.cut(value) if factor.detached else value)]


def _table(
    lw: Lowering, factor: Factor, params: ir.Register, chosen: Estimator, scope: Scope
) -> Drawn:
    var = factor.var[0]
    if factor.copies:
        raise OptionError(
            f"Enumerate() of {factor.text}: its {factor.copies[1]} copies cannot be enumerated "
            "one by one. Use Score(...), or one copy."
        )
    key = key_of(factor, params, chosen)
    record = lw.ledger.assign(key, factor.var, scope.path, scope.depth, None)
    axis = Axis(var, PLAN, None, age=1000 + record.index)
    slot = lw.build.law_slot(factor.law)
    value = lw.build.emit(
        ("table", record.index),
        var,
        (axis,),
        lambda out: ir.Table(out, slot, params, lw.label(factor, scope)),
        Flow(),
    )
    return Drawn(factor, value, chosen, axis)


def _one_draw(
    lw: Lowering,
    node: Expectation,
    factor: Factor,
    params: ir.Register,
    chosen: Estimator,
    scope: Scope,
    row: Axis,
) -> list[Drawn]:
    law, var = factor.law, factor.var[0]
    context = flows.context(lw, factor, scope)
    record, axis, own = record_of(lw, node, factor, params, chosen, scope, row, context)
    base = base_of(factor)
    slot = lw.build.law_slot(base.law)
    noise = lw.ledger.name(var, record).replace(var, base.var[0], 1)
    smooth = chosen.how in ("through", "relaxed")
    path = smooth or (chosen.how == "path" and law.moves.reparametrised)
    make = Relaxed if chosen.how == "relaxed" else ir.Draw
    through = getattr(chosen, "temperature", None)
    behind = lw.build.flow[params]
    for r in context:
        behind = behind | lw.build.flow[r]
    flow = (
        behind if path else Flow(cuts=frozenset({_cut_path(lw, law, noise, behind)}) | behind.cuts)
    )
    value = lw.build.emit(
        ("draw", record.index),
        noise,
        union(params.axes, own, *(r.axes for r in context)),
        lambda out: make(
            out, slot, params, noise, base.var[0], not path, lw.label(base, scope), through
        ),
        flow,
    )
    lw.noise |= {named(noise, part): value for part in kinds(base.law.moves) or ("",)}
    if law.pushforward is not None:
        value = flows.pushed(lw, factor, value, context, scope)
        value = value if path else lw.build.cut(value, flow)
    channel = None
    if chosen.cuts_own and not factor.detached:
        check_conditions(lw, node, factor, chosen, scope)
        if chosen.over_copies:
            value, channel = gated(lw, value, chosen, scope)
    value = lw.build.cut(value) if factor.detached else value
    drawn: list[Drawn] = []
    parts = flows.parted(lw, factor, value)
    if chosen.cuts_own and not factor.detached:
        given = tuple(lw.value(c, scope) for c in factor.cond_var)
        lw.own.add((tuple(parts.values()), law_key(law), given))
    for v, part in parts.items():
        if drawn:  # its density, and its score term, are those of the whole
            drawn.append(Drawn(replace(factor, var=(v,)), part, None, axis))
            continue
        score = chosen if chosen.how == "cut" else None
        plan = chosen if chosen.cuts_own or chosen.over_copies else None
        drawn.append(Drawn(factor, part, score, axis, noise, plan, channel))
    return drawn


def _sequence(
    lw: Lowering, node: Expectation, factor: Factor, scope: Scope, row: Axis
) -> list[Drawn]:
    """The variables of a sequence law, which are one draw."""
    chosen = choice(node, factor, scope)
    count = node.draws if node.draws is not None else chosen.draws
    conditions = tuple(lw.value(c, scope) for c in factor.cond_var)
    key = (law_key(factor.law), factor.var, conditions, factor.copies, chosen.how, row)
    record = lw.ledger.assign(key, factor.var, scope.path, scope.depth, count)
    axis, own = own_axes(factor, record, row)
    path = chosen.how == "path" and factor.law.moves.reparametrised
    names = {sequence.at(v, "t"): lw.ledger.name(v, record) for v in factor.var}
    how = sequence.Drawing(record.index, union(own), path, names)
    drawn: list[Drawn] = []
    for var, value in sequence.draw(lw, factor, scope, how).items():
        value = lw.build.cut(value) if factor.detached else value
        score = chosen if chosen.how == "cut" and not drawn else None  # of all, with the first
        mine = replace(factor, var=(var,)) if drawn else factor
        drawn.append(Drawn(mine, value, score, axis, next(iter(names.values()))))
    return drawn


def _cut_path(lw: Lowering, law: Law, noise: str, behind: Flow) -> CutPath:
    """What a draw without a pathwise gradient hides: its parameters, and its bijection's."""
    sources = behind.sources
    if law.pushforward is not None:
        sources |= {("function", lw.build.function_slot(Map(law.pushforward.bijection)))}
    return CutPath(noise, lw.build.law_slot(law), sources)
