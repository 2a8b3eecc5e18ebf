"""From an expression to a program: the passes in order."""

from ancestral.distributions import EnergyModel
from ancestral.losses.apply import Apply, Grad, Jvp, Norm
from ancestral.losses.chain import ClosedForm, LogMeanExp
from ancestral.losses.game import Game
from ancestral.losses.globals import SIZE
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
    Node,
    Planned,
    Pow,
    Reduce,
    Sub,
    Unary,
    Value,
)
from ancestral.losses.over import OverRows
from ancestral.losses.prob import Expectation, LogProb, Prob
from ancestral.losses.scope import free, inputs
from ancestral.lowering import arithmetic, energy, game, laws
from ancestral.lowering.build import Flow
from ancestral.lowering.check import check_names, shared_by_rows
from ancestral.lowering.context import Lowering, Rules, Scope
from ancestral.lowering.draws import Counts
from ancestral.lowering.gradient_only import spread
from ancestral.lowering.iterative import iterative
from ancestral.lowering.over import over_rows
from ancestral.lowering.primal import one_pass
from ancestral.lowering.rewrite import rewrite
from ancestral.lowering.scan import pruned
from ancestral.printing.listing import listing
from ancestral.program.instructions import Program, Register

RULES: Rules = {
    Constant: arithmetic.constant,
    Value: arithmetic.value,
    Apply: arithmetic.apply,
    Grad: arithmetic.grad,
    Jvp: arithmetic.jvp,
    Add: arithmetic.add,
    Sub: arithmetic.sub,
    Neg: arithmetic.neg,
    Mul: arithmetic.mul,
    Div: arithmetic.div,
    Pow: arithmetic.pow,
    Unary: arithmetic.unary,
    Clamp: arithmetic.clamp,
    Extremum: arithmetic.extremum,
    Norm: arithmetic.norm,
    Reduce: arithmetic.reduce,
    LogMeanExp: arithmetic.log_mean_exp,
    Detach: arithmetic.detach,
    Let: arithmetic.let,
    Planned: arithmetic.planned,
    LogProb: laws.log_prob,
    Prob: laws.prob,
    ClosedForm: laws.closed_form,
    Expectation: laws.expectation,
    IterativeLoss: iterative,
    OverRows: over_rows,
    Game: game.objectives,
    EnergyModel: energy.log_density,  # a law, which has more to say than its parameters
}


def lower(node: Node, scalars: frozenset[str] = frozenset()) -> Program:
    """The program of a loss; ``scalars`` are the given values that have no rows."""
    return lower_with_flow(node, scalars)[0]


def inputs_of(node: Node, tree: Node) -> tuple[str, ...]:
    """The given values, with the number of rows of the data set where a global asks for it."""
    named = inputs(node)
    return (*named, SIZE) if SIZE in free(tree) and SIZE not in named else named


def lower_with_flow(
    node: Node, scalars: frozenset[str] = frozenset(), tree: Node | None = None
) -> tuple[Program, Flow, dict[Register, Flow]]:
    """The program, and where its gradient comes from.

    Args:
        node: The loss.
        scalars: The given values that have no rows.
        tree: The loss rewritten, where that was done already.
    """
    check_names(node)
    tree = rewrite(node) if tree is None else tree
    named = inputs_of(node, tree)
    scalars = scalars | (set(named) - set(inputs(node))) | shared_by_rows(node)
    counts: Counts = {}
    while True:  # a number of draws may be written to the right of where it takes effect
        lw = Lowering(tree, RULES, scalars, counts)
        result = lw.scalar(tree, lw.lower(tree, Scope()))
        if lw.ledger.counts == counts:
            break
        counts = lw.ledger.counts
    wanted = [result, *lw.bound.values(), *lw.kept.values()]
    steps = one_pass(pruned(lw.build.steps, wanted))
    program = Program(
        steps=steps,
        result=result,
        laws=tuple(lw.build.laws),
        functions=tuple(lw.build.functions),
        inputs=named,
        scalars=scalars,
        draws=lw.noise,
        scope=lw.bound,
        shapes=lw.shapes,
        plug_in=frozenset(lw.plug_in),
        merged=tuple(lw.build.merged.values()),
        reading=listing,
        gradient_only=spread(steps, lw),
        kept=lw.kept,
    )
    return program, lw.build.flow[result], lw.build.flow
