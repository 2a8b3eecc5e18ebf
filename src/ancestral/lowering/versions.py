"""Draws of which the integrand is evaluated at several versions, along an axis of the plan."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from ancestral.core.axes import PLAN, Axis, union
from ancestral.core.errors import OptionError
from ancestral.distributions.base import Factor
from ancestral.distributions.noise import kinds, named
from ancestral.lowering.build import CutPath, Flow
from ancestral.lowering.context import Lowering, Scope
from ancestral.lowering.draws import Record, loop_of
from ancestral.program import instructions as ir
from ancestral.program import versions
from ancestral.program.baselines import Baselined


def draw(
    lw: Lowering,
    factor: Factor,
    params: ir.Register,
    chosen: Any,
    record: Record,
    own: Iterable[Axis],
    scope: Scope,
) -> tuple[ir.Register, ir.Register | None, str]:
    """The versions of a draw, what weighs them, and its name; of a law that is detached the draw
    itself, and nothing.

    Args:
        lw: The lowering.
        factor: What is drawn.
        params: Its parameters.
        chosen: The estimator.
        record: Which draw it is.
        own: The axes that the draw has besides those of its parameters.
        scope: Where it stands.

    Raises:
        OptionError: In a loop over time, whose steps would each multiply the versions.
    """
    if loop_of(scope.path) is not None:
        raise OptionError(
            f"{chosen} for {factor.text} inside of a loss over time: its steps would each multiply "
            "the versions of all that follow. Use Score(LeaveOneOut(), draws=4)."
        )
    law, var, noise = factor.law, factor.var[0], lw.ledger.name(factor.var[0], record)
    axis = Axis("versions", PLAN, chosen.count, age=1000 + record.index)
    slot, flow = lw.build.law_slot(law), lw.build.flow[params]
    cut = CutPath(noise, slot, flow.sources)
    pair = lw.build.emit(
        ("versions", record.index),
        f"{noise}.versions",
        (axis, *union(params.axes, own)),
        lambda out: versions.Versions(
            out, slot, params, noise, var, True, lw.label(factor, scope), estimator=chosen
        ),
        Flow(flow.sources, flow.cuts | {cut}),
    )
    lw.noise |= {named(noise, part): pair for part in kinds(chosen.moves(law.moves))}
    value, weights = (
        lw.build.emit(
            ("part", pair, i),
            (noise, f"weights of {noise}")[i],
            pair.axes,
            partial(ir.Part, pair=pair, index=i, called=chosen.called),
            (lw.build.flow[pair], flow)[i],
        )
        for i in (0, 1)
    )
    if factor.detached:
        return at_draw(lw, value, axis, Flow(), noise), None, noise
    return value, weights, noise


def at_draw(
    lw: Lowering, arg: ir.Register, axis: Axis, flow: Flow, name: str | None = None
) -> ir.Register:
    """What stands at the versions of a draw, at the draw itself."""
    axes = tuple(a for a in arg.axes if a != axis)
    make = partial(versions.Plain, arg=arg, axis=axis)
    return lw.build.emit(("plain", arg, axis), name or arg.name, axes, make, flow)


def weighed(lw: Lowering, f: ir.Register, d: Any, drawn: Sequence[Any], mixed: Any) -> ir.Register:
    """An integrand at the draw, with the gradient that its versions give.

    Args:
        lw: The lowering.
        f: The integrand at all versions.
        d: The draw.
        drawn: All draws of the expectation.
        mixed: The rows, if a row of the integrand reads draws of all of them.

    Raises:
        OptionError: If the integrand reads several draws in one number, and the estimator needs
            versions of each; or if its gradient at a relaxed draw is cut in parts.
    """
    if d.estimator.relaxes:
        _check_whole(lw, f, d)
    weights, axis = d.channel, d.channel.axes[0]
    if d.value in lw.moved:
        weights = lw.again(weights, *lw.moved[d.value][1])
    several = sum(copy.noise == d.noise for copy in drawn) > 1
    extra = [a for a in weights.axes if a not in f.axes or a == mixed]
    if several or (extra and not d.estimator.joint):
        told = "several rows" if several else " and ".join(a.name for a in extra)
        raise OptionError(
            f"{d.estimator} for {d.factor.text}: one number of the integrand reads its draws of "
            f"{told}. Use Score(LeaveOneOut(), draws=4)."
        )
    for a in extra:  # their joint density
        weights = lw.build.reduce("sum", a, weights)
    flow = lw.build.flow[f]
    return lw.build.emit(
        ("weighed", d.estimator, f, weights),
        f.name,
        tuple(a for a in f.axes if a != axis),
        partial(versions.Weighed, estimator=d.estimator, f=f, weights=weights, axis=axis),
        Flow(
            flow.sources | lw.build.flow[weights].sources,
            frozenset(c for c in flow.cuts if c.draw != d.noise),
        ),
    )


def _check_whole(lw: Lowering, f: ir.Register, d: Any) -> None:
    """Raise if an integrand that is differentiated at relaxed values has factors that pass no
    gradient on: what its derivative lacks would stay in the mean.
    """
    seen, todo = set[ir.Register](), [f]
    while todo:
        r = todo.pop()
        if r in seen or r in lw.own_scores:
            continue
        seen.add(r)
        step = lw.build.made.get(r)
        if step is None:
            continue
        cuts = lw.build.flow[step.arg].cuts if isinstance(step, ir.Cut) else ()
        if isinstance(step, ir.Cut) and any(c.draw == d.noise for c in cuts):
            raise OptionError(
                f"{d.estimator} for {d.factor.text}: {f.name} reads {d.factor.var[0]} in "
                f"{step.arg.name}.detach(), too, and its derivative at relaxed values would lack "
                "that part. Detach the whole term, or nothing of it; or use "
                "Score(LeaveOneOut(), draws=4)."
            )
        unread = (step.learned,) if isinstance(step, Baselined) else ()
        todo += [a for a in ir.Program.operands(step) if a not in unread]
