"""The rule of terms at the values of other rows: variables along an axis of rows of its own."""

from dataclasses import replace

from ancestral.core.axes import PLAN, ROW, Axis
from ancestral.core.errors import ScopeError
from ancestral.losses.over import OverRows
from ancestral.lowering.build import Sum
from ancestral.lowering.context import Lowering, Scope
from ancestral.printing import loss as loss_text
from ancestral.program import instructions as ir


def over_rows(lw: Lowering, node: OverRows, scope: Scope) -> Sum:
    """The term with its variables along ``m``, which has the entries of the rows ``n``."""
    values, rows = dict(scope.values), dict(scope.rows)
    found = {name: (lw.value(name, scope), _rows_of(lw, node, name, scope)) for name in node.names}
    if len({old for _, old in found.values()}) > 1:
        raise ScopeError(
            f"{loss_text.text(node)}: {', '.join(node.names)} have rows of two data sets. Take "
            "them over their rows one after the other: .over_rows('x').over_rows('y')."
        )
    for name, (register, old) in found.items():
        new = axis_over(old, node.level)
        values[name] = Sum({lw.again(register, old, new): 1.0})
        rows[name] = frozenset({new})
    return lw.lower(node.arg, replace(scope.below(node, 0), values=values, rows=rows))


def axis_over(row: Axis, level: int) -> Axis:
    """The axis of rows that are added; newer ones stand in front."""
    return Axis(row.name.replace("n", "m", 1) + "'" * (level - 1), ROW, like=row, age=level)


def _rows_of(lw: Lowering, node: OverRows, name: str, scope: Scope) -> Axis:
    """The rows that a variable has, one axis of its value."""
    register: ir.Register = lw.value(name, scope)
    found = [a for a in register.axes if a.kind == ROW]
    tables = [a for a in register.axes if a.kind == PLAN and a.size is None]
    if len(found) == 1 and not tables:
        return found[0]
    if len(found) > 1:
        told = f"{name} is taken from pairs of rows already"
    elif tables or lw.rows(name, scope):
        told = f"{name} has no rows: its values are enumerated. Use Score(...) in place of it"
    else:
        told = f"{name} has no rows: it is one value for all of them"
    raise ScopeError(f"{loss_text.text(node)}: {told}.")
