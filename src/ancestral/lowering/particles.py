"""Laws of points: an expectation is the mean over all of them, along an axis of their own."""

from functools import partial
from typing import Any

from ancestral.core.axes import PLAN, Axis
from ancestral.core.errors import DensityError, OptionError
from ancestral.distributions.base import Factor
from ancestral.losses.prob import Expectation
from ancestral.lowering.build import law_key
from ancestral.lowering.context import Lowering, Scope
from ancestral.printing import loss as loss_text
from ancestral.program import instructions as ir

OWN = ".points"  # how points print before they see each other
VALUE = "the mean log joint at the particles, without log {}"


def check(lw: Lowering, node: Expectation, factor: Factor, scope: Scope) -> Any:
    """The plan for a law of points, if there is one.

    Raises:
        OptionError: If it is a plan for draws.
    """
    chosen = scope.choices.get(id(factor.law))
    several = node.draws is not None or getattr(chosen, "draws", None) is not None
    if several or factor.copies or (chosen is not None and chosen.how not in ("path", "points")):
        raise OptionError(
            f"{loss_text.text(node)}: {factor.text} is a law of {_count(factor)} points, and its "
            "expectation the mean over all of them. Leave out numbers of draws, copies and plans "
            "for draws; SVGD(RBF()) is one for particles."
        )
    return chosen


def draw(
    lw: Lowering, node: Expectation, factor: Factor, scope: Scope
) -> tuple[ir.Register, Axis]:
    """All points along an axis; under a plan of particles, with their interaction."""
    chosen, var = check(lw, node, factor, scope), factor.var[0]
    params = lw.params(factor, scope)
    how = "points" if chosen is None else repr(chosen)
    key = (law_key(factor.law), factor.var, params, factor.copies, how, None)
    record = lw.ledger.assign(key, factor.var, scope.path, scope.depth, None)
    axis = Axis(var, PLAN, _count(factor), age=1000 + record.index)
    make = partial(ir.Pick, params=params, key="points")
    by_plan = chosen is not None and chosen.how == "points"
    name = f"{var}{OWN}" if by_plan else var
    value = lw.build.emit(("points", record.index), name, (axis,), make, lw.build.flow[params])
    if by_plan:
        points, value = value, _interaction(lw, value, chosen, 0)
        lw.interactions[value] = points
    value = lw.build.cut(value) if factor.detached else value
    return value, axis


def _interaction(lw: Lowering, points: ir.Register, plan: Any, part: int) -> ir.Register:
    """A part of the interaction of points: these, or what stands for their log density."""
    pair = lw.build.emit(
        ("interact", points, plan),
        points.name,
        points.axes,
        partial(ir.Interact, plan=plan, points=points),
    )
    name = points.name.removesuffix(OWN)
    name, axes = (name, points.axes) if part == 0 else (f"log {name}", ())
    called = ("the particles", "log q")
    return lw.build.emit(
        ("part", pair, part), name, axes, partial(ir.Part, pair=pair, index=part, called=called)
    )


def density(lw: Lowering, factor: Factor, scope: Scope) -> ir.Register:
    """What stands for the log density of points at themselves: a gradient, and no value.

    Raises:
        DensityError: If no plan gives it one, or it is asked elsewhere.
    """
    plan = scope.choices.get(id(factor.law))
    value = scope.values.get(factor.var[0])
    registers = [] if value is None else list(value.terms)
    found = lw.interactions.get(registers[0]) if len(registers) == 1 else None
    if plan is None or plan.how != "points" or found is None:
        raise DensityError(
            f"log {factor.text}: a law of {_count(factor)} points has no density, so that its "
            "divergence and entropy have no value. They have a gradient: "
            f".estimate({{{factor.law.name}: SVGD(RBF())}}). For points that each climb alone, an "
            f"ensemble, leave them out: E({factor.law.name}, ...), with log p(...) inside."
        )
    out = _interaction(lw, found, plan, 1)
    lw.gradient_only[out] = VALUE.format(factor.text)
    return lw.build.cut(out) if factor.detached else out


def _count(factor: Factor) -> int:
    points: Any = factor.law.points
    return int(points.shape[0])
