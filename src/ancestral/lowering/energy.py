r"""Rules for energies: a log density without its constant, and draws by chains.

With a plan of chains, :math:`\log p(x)` is lowered to the energy gap :math:`E(x^-) - E(x)` between
where chains end and the value: its gradient is that of the log density, its value is not. Without
one it is :math:`-E(x)`, right up to the constant, and the path to the parameters through the
constant counts as cut. A draw in an expectation is where chains end, its gradient cut.
"""

from functools import partial
from typing import Any

from ancestral.core.axes import PLAN, Axes, Axis, union
from ancestral.core.errors import OptionError
from ancestral.distributions.base import Factor
from ancestral.losses.node import Node
from ancestral.losses.prob import Expectation
from ancestral.lowering.build import CutPath, Flow, Sum, law_key
from ancestral.lowering.context import Lowering, Map, Scope
from ancestral.lowering.draws import Record, loop_of
from ancestral.printing import loss as loss_text
from ancestral.printing.law import energy as energy_text
from ancestral.program import chains as ir_chains
from ancestral.program import instructions as ir

CHOICES = "PersistentCD(Langevin(60)) or ContrastiveDivergence(Langevin(1))"


# -- densities ------------------------------------------------------------------------------------
def log_density(lw: Lowering, factor: Factor, scope: Scope) -> Sum:
    """The log density of an energy at a value: the gap to chains, or minus the energy."""
    if factor.detached:
        raise OptionError(
            f"{factor.text}: its log density is minus an energy, whose parameters cannot be cut "
            "apart from its value. Freeze them, with requires_grad_(False)."
        )
    point = tuple(lw.value(n, scope) for n in (*factor.var, *factor.cond_var))
    at_value = _energy(lw, factor, point, scope)
    plan = _plan(factor, scope, f"log {factor.text}")
    if plan is None:
        return Sum({_without_constant(lw, factor, at_value, point): 1.0})
    axes = union(*(r.axes for r in point))
    record = assign(lw, factor, scope, axes, plan, None)
    ends = ends_of_chains(lw, factor, scope, record, axes, plan, point[0])
    at_ends = _energy(lw, factor, (lw.build.cut(ends, Flow()), *point[1:]), scope)
    if len(point) == 1:  # one constant for all rows: the mean over all chains
        for axis in axes:
            at_ends = lw.build.reduce("mean", axis, at_ends)
    gap = lw.build.register(Sum({at_ends: 1.0, at_value: -1.0}))
    lw.gradient_only[gap] = (
        f"the energy gap between the chains of {factor.text} and its values, not log "
        f"{factor.text}, whose constant is not known"
    )
    return Sum({gap: 1.0})


def _energy(
    lw: Lowering, factor: Factor, point: tuple[ir.Register, ...], scope: Scope
) -> ir.Register:
    """The register of the energy at a point, one number per row; the same as of a function."""
    plain, move = lw.unmoved(point)
    slot, text = _slot(lw, factor), ir.Label(lambda: energy_text(factor))
    flow = Flow(frozenset({("function", slot)}))
    for r in plain:
        flow = flow | lw.build.flow[r]
    axes = union(*(r.axes for r in plain))
    made = partial(ir.Call, fn=slot, args=plain, text=text)
    out = lw.build.emit(("call", slot, plain), "E", axes, made, flow)
    out = out if move is None else move(out)
    one = partial(ir.Scalar, arg=out, squeeze=True, text=text)
    return lw.build.emit(("scalar", out), "E", out.axes, one)


def _slot(lw: Lowering, factor: Factor) -> int:
    return lw.build.function_slot(Map(factor.law.energy))


def _without_constant(
    lw: Lowering, factor: Factor, energy: ir.Register, point: tuple[ir.Register, ...]
) -> ir.Register:
    """Minus the energy, with the path through its constant cut."""
    hidden: set[Any] = {("function", _slot(lw, factor))}
    for r in point[1:]:
        hidden |= lw.build.flow[r].sources
    why = (
        f"the constant of log {factor.text} depends on parameters of its energy or conditions, and "
        "is not known, so the gradient to them would be wrong. Choose how to estimate it: "
        f".estimate({{{factor.law.name}: ...}}) with {CHOICES}. Or write another objective, in "
        "which the constant is none: noise contrastive estimation, with f = Function(net) the "
        "energy, E(p_data, (-f(x) - q.log_prob()).sigmoid().log()) + E(q, (f(x) + "
        "q.log_prob()).sigmoid().log()) of a law q with a density; or denoising score matching, "
        "E(p_data * p_e, sqnorm(f.grad(x + s * e) - e / s)). Or freeze the energy, with "
        "requires_grad_(False)."
    )
    law = lw.build.law_slot(factor.law)
    cut = CutPath(f"log {factor.text}", law, frozenset(hidden), why)
    flow = lw.build.flow[energy]
    make = partial(ir_chains.Unnormalised, arg=energy, text=ir.Label(lambda: factor.text))
    flow = Flow(flow.sources, flow.cuts | {cut})
    return lw.build.emit(("unnormalised", energy), "-E", energy.axes, make, flow)


# -- draws ----------------------------------------------------------------------------------------
def _plan(factor: Factor, scope: Scope, what: str) -> Any:
    """The plan of chains that was chosen, if one was."""
    chosen = scope.choices.get(id(factor.law))
    if chosen is not None and chosen.how != "chain":
        raise OptionError(
            f"{chosen} for {what}: an EnergyModel has draws by chains alone, and a density without "
            f"its constant. Use {CHOICES}."
        )
    return chosen


def plan_of_draw(factor: Factor, node: Node, scope: Scope) -> Any:
    """The plan of chains for a draw in an expectation."""
    return _plan(factor, scope, loss_text.text(node))


def assign(
    lw: Lowering, factor: Factor, scope: Scope, axes: Axes, plan: Any, count: int | None
) -> Record:
    """The draw of an energy that an expectation or a density takes: chains of a plan, on rows."""
    conditions = tuple(lw.value(c, scope) for c in factor.cond_var)
    key = (law_key(factor.law), factor.var, conditions, factor.copies, f"chain {plan!r}", axes)
    return lw.ledger.assign(key, factor.var, scope.path, scope.depth, count)


def drawn(
    lw: Lowering, node: Expectation, factor: Factor, scope: Scope, record: Record, axes: Axes
) -> ir.Register:
    """The register of a draw in an expectation, along these axes."""
    plan, var = plan_of_draw(factor, node, scope), factor.var[0]
    data = None
    if plan is not None and plan.start == "data":
        if var not in lw.plates:
            raise OptionError(
                f"{type(plan).__name__} for {loss_text.text(node)}: its chains start at data, but "
                f"no data is called {var!r} here. Use PersistentCD(...), or leave the plan out: "
                "chains then start at the law's initial=."
            )
        data = lw.input(var)
    ends = ends_of_chains(lw, factor, scope, record, axes, plan, data)
    return lw.build.cut(ends, Flow()) if factor.detached else ends


def ends_of_chains(
    lw: Lowering,
    factor: Factor,
    scope: Scope,
    record: Record,
    axes: Axes,
    plan: Any,
    data: ir.Register | None,
) -> ir.Register:
    """The register of where chains end."""
    law: Any = factor.law
    var = factor.var[0]
    if law.declared_shape is not None:
        lw.shapes.setdefault(var, tuple(law.declared_shape))
    conditions = tuple(lw.value(c, scope) for c in factor.cond_var)
    axes, noise = union(axes, *(r.axes for r in conditions)), lw.ledger.name(var, record)
    sampler, slot = law.chains if plan is None else plan.sampler, _slot(lw, factor)
    buffer = None
    if plan is None:
        start = _started(lw, factor, noise, axes)
    elif plan.start == "data":
        assert data is not None
        start, axes = data, union(axes, data.axes)
    else:
        start, *buffer = _recalled(lw, factor, scope, record, noise, axes, plan)
    hidden: frozenset[Any] = frozenset({("function", slot)})
    for r in conditions:
        hidden |= lw.build.flow[r].sources
    why = (
        f"{noise} is drawn from {factor.text} by chains, which no gradient passes: that through "
        f"its value is there, that through the law, to the energy, would be lost. Write "
        f"{law.name}.detach() if none is meant. The gradient of the log likelihood is that of "
        f"E(p_data, {law.name}.log_prob()).estimate({{{law.name}: PersistentCD(...)}})."
    )
    cut = CutPath(noise, lw.build.law_slot(law), hidden, why)
    text = lw.label(factor, scope)
    make = partial(
        ir_chains.Chain, fn=slot, start=start, conditions=conditions, sampler=sampler,
        noise=noise, text=text,
    )  # fmt: skip
    ends = lw.build.emit(("chain", record.index), noise, axes, make, Flow(cuts=frozenset({cut})))
    lw.noise |= {f"{noise}.{part}" if part else noise: ends for part in sampler.noise}
    if buffer:
        name, state, index = buffer
        store = partial(ir_chains.Store, state=state, index=index, value=ends)
        lw.kept[name] = lw.build.emit(("store", record.index), name, state.axes, store, Flow())
    return ends


def _started(lw: Lowering, factor: Factor, noise: str, axes: Axes) -> ir.Register:
    """The register of draws of the law that chains start from."""
    law: Any = factor.law
    slot, start, var = lw.build.law_slot(law), f"{noise}.start", factor.var[0]
    make = partial(
        ir_chains.Start, law=slot, noise=start, var=var,
        text=ir.Label(lambda: law.start.prob_text),
    )  # fmt: skip
    out = lw.build.emit(("start", start), start, axes, make, Flow())
    lw.noise[start] = out
    return out


def _recalled(
    lw: Lowering, factor: Factor, scope: Scope, record: Record, noise: str, axes: Axes, plan: Any
) -> tuple[Any, ...]:
    """The register of entries of a buffer; its name, itself and the register of which they are."""
    law: Any = factor.law
    if factor.cond_var:
        raise OptionError(
            f"{type(plan).__name__} for {factor.text}: the chains that it keeps are those of one "
            "law, but a law with conditions is another one in each row. Use "
            "ContrastiveDivergence(Langevin(...)), whose chains start at the data."
        )
    if loop_of(scope.path) is not None:
        raise OptionError(
            f"{type(plan).__name__} for {factor.text} inside of a loss over time: nothing is kept "
            "from one of its steps to the next. Use ContrastiveDivergence(Langevin(...))."
        )
    name = f"{law.prob_text}.buffer"
    entries = (Axis("buffer", PLAN, plan.buffer, age=-1),)
    fresh = partial(law.first_entries, plan.buffer, factor.var[0])
    text = ir.Label(lambda: f"the chains of {factor.text}")
    make = partial(ir_chains.State, name=name, fresh=fresh, text=text)
    state = lw.kept.get(name) or lw.build.emit(("state", name), f"state.{name}", entries, make)
    rows = f"{noise}.rows"
    choose = partial(ir_chains.Choose, state=state, noise=rows, axis=entries[0])
    index = lw.build.emit(("choose", record.index), rows, axes, choose, Flow())
    lw.noise[rows] = index
    new = _started(lw, factor, noise, axes) if plan.reinit else None
    again = f"{noise}.again"
    recall = partial(
        ir_chains.Recall, state=state, index=index, fresh=new, noise=again, share=plan.reinit
    )
    start = lw.build.emit(("recall", record.index), f"{noise}.from", axes, recall, Flow())
    if plan.reinit:
        lw.noise[again] = start
    return start, name, state, index
