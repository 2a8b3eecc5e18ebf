"""Estimators that read more than the integrand: the densities of their own draw, and the log
weights of a bound over copies.

What such an estimator leaves out of the gradient, or scales, is right for integrands of one form:
linear in the density of the draw, or the logarithm of a mean of exponentials over its copies. The
form is read off the program; any other is refused.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from ancestral.core.axes import Axis
from ancestral.core.errors import OptionError
from ancestral.distributions.base import Factor
from ancestral.losses.prob import Expectation
from ancestral.lowering.build import Flow, Sum
from ancestral.lowering.context import Lowering, Scope
from ancestral.lowering.estimate import Drawn, density
from ancestral.lowering.gradient_only import LINEAR
from ancestral.lowering.hierarchy import can_be_fixed, given_draws, given_versions
from ancestral.printing import loss as loss_text
from ancestral.program import copies
from ancestral.program import instructions as ir

LOGS = ("logmeanexp", "logsumexp")


# -- draws --------------------------------------------------------------------------------------
def check_conditions(
    lw: Lowering, node: Expectation, factor: Factor, chosen: Any, scope: Scope
) -> None:
    """Raise if a law whose own density is cut has conditions that are draws with a path, and the
    density cannot pass a gradient on to these that is not its parameters'.
    """
    found = given_draws(lw, factor, scope)
    if not found:
        return
    name = found[0]
    told = (
        f"{chosen} for {loss_text.text(node)}: {factor.text} is drawn given {name}, a draw that "
    )
    told += "passes a gradient"
    if chosen.over_copies and not _is_gated_once(lw, factor, scope):
        raise OptionError(
            f"{told} on, which must be scaled once. Use {chosen} for {name}, too, of the same "
            f"copies; or Pathwise() for {factor.text}."
        )
    if given_versions(lw, factor, scope) or not can_be_fixed(factor.law):
        raise OptionError(
            f"{told} on. Its parameters can be cut apart from {name} by a second pass through its "
            "network: of a law with net=, which holds all of them, without dropout or batch norm, "
            f"and where {name} is drawn once. Use Pathwise() for {factor.text}."
        )


def before_gates(lw: Lowering, factor: Factor, scope: Scope) -> Scope:
    """The scope in which the parameters of a gated draw are made: its gradient is scaled there, and
    not again at the gates of the draws that it is given.
    """
    chosen: Any = scope.choices.get(id(factor.law))
    if not lw.gates or not getattr(chosen, "cuts_own", False) or not chosen.over_copies:
        return scope
    given = {name: lw.value(name, scope) for name in factor.cond_var}
    plain = {name: Sum({lw.gates[r]: 1.0}) for name, r in given.items() if r in lw.gates}
    return replace(scope, values={**scope.values, **plain}) if plain else scope


def _is_gated_once(lw: Lowering, factor: Factor, scope: Scope) -> bool:
    """Whether each draw that a gated draw is given has a gate of its own, and none is behind it."""
    gated_draws = set(lw.gates.values())
    inside = before_gates(lw, factor, scope)
    for name in factor.cond_var:
        for r in lw.build.behind([lw.value(name, inside)], through_cuts=False):
            step = lw.build.made.get(r)
            if isinstance(step, copies.Gate):
                return False
            passes = isinstance(step, ir.Draw) and not step.cut and lw.build.is_trained(r)
            if passes and r not in gated_draws:
                return False
    return True


def gated(
    lw: Lowering, value: ir.Register, chosen: Any, scope: Scope
) -> tuple[ir.Register, ir.Register]:
    """A draw as one expectation sees it, its gradient scaled on the way back; and the channel."""
    key = ("gate", value, chosen, scope.path)
    flow = lw.build.flow[value]
    pair = lw.build.emit(
        key, value.name, value.axes, partial(copies.Gate, estimator=chosen, arg=value), flow
    )
    name, told = value.name, ("the draw", "the channel of its scales")
    z, channel = (
        lw.build.emit(
            ("part", pair, i),
            (name, f"scales of {name}")[i],
            value.axes,
            partial(ir.Part, pair=pair, index=i, called=told),
            (flow, Flow())[i],
        )
        for i in (0, 1)
    )
    lw.gates[z] = value
    return z, channel


# -- the density of the own draw, cut -----------------------------------------------------------
def check_linear(lw: Lowering, node: Expectation, body: Sum, d: Drawn) -> None:
    """Raise if the integrand is not linear in the density of the draw, whose score is left out."""
    own = {r for r, values in lw.cut_own.items() if values[0] is d.value}
    if not all(_is_linear(lw, r, own, d.value) for r in body.terms):
        raise OptionError(
            f"{d.plan} for {loss_text.text(node)}: the score of {d.factor.text} that it leaves out "
            "has the mean 0 only where the integrand is linear in the log density, times numbers "
            "or values that do not depend on the draw. Use Pathwise(); for a bound over copies "
            "DReG()."
        )


def _is_linear(lw: Lowering, r: ir.Register, own: set[ir.Register], draw: ir.Register) -> bool:
    if r in own or not own & behind(lw, [r], through_cuts=False):
        return True
    step = lw.build.made[r]
    read = [a for a in ir.Program.operands(step) if own & behind(lw, [a], through_cuts=False)]
    if isinstance(step, ir.Elementwise):
        first = step.op == "mul" or (step.op == "div" and step.args[0] in read)
        others = [a for a in step.args if a not in read]
        if not first or len(read) != 1 or draw in behind(lw, others):
            return False
        if len(others) != len(step.args) - 1:  # its square
            return False
    elif isinstance(step, ir.Reduce):
        if step.how not in ("mean", "sum"):
            return False
    elif isinstance(step, ir.Surrogate):
        if read != [step.f]:
            return False
    elif not isinstance(step, LINEAR):
        return False
    return all(_is_linear(lw, a, own, draw) for a in read)


# -- bounds over copies -------------------------------------------------------------------------
def over_copies(
    lw: Lowering, node: Expectation, body: Sum, drawn: Iterable[Drawn], scope: Scope
) -> Sum:
    """The integrand with the gradients of the draws whose estimators see all log weights."""
    shares: dict[ir.Register, float] = {}  # of the channel of each gated draw
    for d in drawn:
        named = d.factor.copies
        if d.plan is None or not d.plan.over_copies or d.factor.detached or named is None:
            continue
        found = [r for r in body.terms if d.value in behind(lw, [r])]
        if not found:
            continue  # the integrand does not depend on the draw
        axis = scope.copies[named[0]]
        bound = found[0]
        log_w = _log_weights(lw, bound, axis)
        if len(found) > 1 or log_w is None:
            raise OptionError(
                f"{d.plan} for {loss_text.text(node)}: it is for the logarithm of a mean over "
                f'copies alone, w.exp().mean("{axis.name}").log(). Put other terms that read '
                f"{d.factor.var[0]} into an expectation of their own; else use "
                f"{'Pathwise()' if d.plan.how == 'path' else 'Score(LeaveOneOut(), draws=4)'}."
            )
        share = _share(lw, node, d, log_w, shares, scope)
        new = _with_gradient(lw, node, d, bound, log_w, axis, scope, share)
        terms = {(new if r is bound else r): c for r, c in body.terms.items()}
        body = Sum(terms, body.bias, body.kind)
    return body


def _log_weights(lw: Lowering, bound: ir.Register, axis: Axis) -> ir.Register | None:
    """The log weights of a bound over this axis, which other laws may have had their turn at."""
    step = lw.build.made[bound]
    while isinstance(step, copies.OverCopies):
        step = lw.build.made[step.f]
    is_bound = isinstance(step, ir.Reduce) and step.how in LOGS and step.axis == axis
    return step.arg if is_bound and isinstance(step, ir.Reduce) else None


def _with_gradient(
    lw: Lowering,
    node: Expectation,
    d: Drawn,
    bound: ir.Register,
    log_w: ir.Register,
    axis: Axis,
    scope: Scope,
    share: float,
) -> ir.Register:
    """A bound with the gradient of one law's draws."""
    flow = lw.build.flow[bound]
    if d.channel is not None:
        own = d.channel
        if own.axes != log_w.axes:
            told = ", ".join(a.name for a in log_w.axes), ", ".join(a.name for a in own.axes)
            raise OptionError(
                f"{d.plan} for {loss_text.text(node)}: each draw must have one weight, but the "
                f"weights have the axes ({told[0]}) and {d.factor.var[0]} has ({told[1]}). Use "
                "Pathwise()."
            )
    else:
        mine = frozenset(c for c in flow.cuts if c.draw == d.noise)
        if not mine:
            return bound
        own = density(lw, d.factor, scope)
        for extra in own.axes:
            if extra not in log_w.axes:  # the weight reads several: their joint density
                own = lw.build.reduce("sum", extra, own)
        flow = Flow(flow.sources, flow.cuts - mine)
    return lw.build.emit(
        ("over copies", d.plan, bound, own),
        bound.name,
        bound.axes,
        partial(
            copies.OverCopies,
            estimator=d.plan,
            f=bound,
            log_w=log_w,
            own=own,
            axis=axis,
            coefficient=share,
        ),
        Flow(flow.sources | lw.build.flow[own].sources, flow.cuts),
    )


def _share(
    lw: Lowering,
    node: Expectation,
    d: Drawn,
    log_w: ir.Register,
    shares: dict[ir.Register, float],
    scope: Scope,
) -> float:
    """How much of the scale of a gated draw is its weight; in a hierarchy it is one for all."""
    if d.channel is None:
        return 1.0
    share = shares[d.value] = _coefficient(lw, node, d, log_w)
    behind_it = lw.build.behind([lw.gates[d.value]], through_cuts=False)
    for other, its in shares.items():
        if lw.gates[other] in behind_it and its != share:
            raise OptionError(
                f"{d.plan} for {loss_text.text(node)}: {d.factor.text} is drawn given a draw whose "
                f"log density stands in the log weights times {-its:g}, its own times {-share:g}: "
                "no one scale is right for both. Use Pathwise()."
            )
    return share


def _coefficient(lw: Lowering, node: Expectation, d: Drawn, log_w: ir.Register) -> float:
    """With which minus the density of the draw stands in the log weights."""
    own = {r for r, values in lw.cut_own.items() if values[0] is d.value}

    def of(r: ir.Register) -> float:
        if r in own:
            return 1.0
        if not own & behind(lw, [r], through_cuts=False):
            return 0.0
        step = lw.build.made[r]
        if not isinstance(step, ir.Linear):
            raise OptionError(
                f"{d.plan} for {loss_text.text(node)}: log {d.factor.text} must stand in the log "
                "weights times a number. Use Pathwise()."
            )
        return sum(c * of(a) for c, a in step.terms)

    found = -of(log_w)
    for r in behind(lw, [log_w]) if found else ():
        step = lw.build.made.get(r)
        cut = isinstance(step, ir.Cut) or (isinstance(step, ir.Draw) and step.cut)
        if cut and step is not None and d.value in behind(lw, ir.Program.operands(step)):
            raise OptionError(
                f"{d.plan} for {loss_text.text(node)}: the log weights read {d.factor.var[0]} "
                f"through {r.name}, which passes no gradient on, so that the scales would be "
                "wrong. Use Pathwise()."
            )
    return found


def behind(
    lw: Lowering, registers: Iterable[ir.Register], *, through_cuts: bool = True
) -> set[ir.Register]:
    """The registers, and all that they are made from; or only as far as gradients go."""
    return lw.build.behind(registers, through_cuts=through_cuts)
