"""Which draw an expectation takes of a law, and which axes that draw has."""

from typing import Any

from ancestral.core.axes import COPY, PLAN, Axis
from ancestral.distributions.base import Factor
from ancestral.estimators.base import Estimator
from ancestral.losses.prob import Expectation
from ancestral.lowering.build import law_key
from ancestral.lowering.context import Lowering, Scope
from ancestral.lowering.draws import Record
from ancestral.program import instructions as ir


def key_of(
    factor: Factor, params: ir.Register, chosen: Estimator, row: Axis | None = None
) -> tuple[Any, ...]:
    """What makes two draws draws of one law: law, names, conditions, axes, way of drawing."""
    how = chosen.how if factor.law.moves.reparametrised else "cut"
    how = "table" if chosen.how == "table" else how
    how = repr(chosen) if chosen.how in ("through", "relaxed", "versions", "layers") else how
    return (law_key(factor.law), factor.var, params, factor.copies, how, row)


def record_of(
    lw: Lowering,
    node: Expectation,
    factor: Factor,
    params: ir.Register,
    chosen: Estimator,
    scope: Scope,
    row: Axis,
    context: tuple[ir.Register, ...] = (),
) -> tuple[Record, Axis | None, set[Axis]]:
    """Which draw an expectation takes, the axis of its draws, and all that a draw has."""
    count = node.draws if node.draws is not None else chosen.draws
    key = (*key_of(factor, params, chosen, None if factor.law.plate is None else row), *context)
    record = lw.ledger.assign(key, factor.var, scope.path, scope.depth, count)
    return record, *own_axes(factor, record, row)


def own_axes(factor: Factor, record: Record, row: Axis) -> tuple[Axis | None, set[Axis]]:
    """The axis of the draws of an expectation, if there are several, and all that a draw has."""
    axis = None
    if record.count is not None and record.count > 1:
        name = f"draws#{record.depth + 1}" if record.depth else "draws"
        axis = Axis(name, PLAN, record.count, age=record.depth)
    own = {axis} if axis else set[Axis]()
    if factor.law.plate is not None:  # a global has one draw for all rows
        own.add(row)
    if factor.copies:
        own.add(Axis(factor.copies[0], COPY, factor.copies[1]))
    return axis, own
