"""The rule of games: the objectives of all players, as one evaluation."""

from functools import partial

from ancestral.core.axes import union
from ancestral.core.errors import ScopeError
from ancestral.losses.game import Game
from ancestral.lowering.build import Flow, Sum
from ancestral.lowering.context import Lowering, Scope
from ancestral.printing import loss as loss_text
from ancestral.program import instructions as ir


def objectives(lw: Lowering, node: Game, scope: Scope) -> Sum:
    """Each player's objective; they share draws as the terms of a sum do."""
    if scope.path:
        raise ScopeError(
            f"{loss_text.text(node)} is a game, with one value for each player, and no term of a "
            "loss. Give its players to Model(players=[...])."
        )
    found = [
        lw.scalar(o, lw.lower(o, scope.below(node, i))) for i, o in enumerate(node.objectives)
    ]
    make = partial(ir.Several, args=tuple(found))
    flow = Flow()
    for register in found:
        flow = flow | lw.build.flow[register]
    axes = union(*(r.axes for r in found))
    return Sum({lw.build.emit(("several", *found), "values", axes, make, flow): 1.0})


def flows(program: ir.Program, flow: dict[ir.Register, Flow]) -> list[Flow]:
    """Where the gradient of each objective of a program comes from; a loss has one."""
    last = next(s for s in program.steps if s.out is program.result)
    results = last.args if isinstance(last, ir.Several) else (program.result,)
    return [flow[r] for r in results]
