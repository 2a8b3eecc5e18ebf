r"""The exact log density of a law with discrete variables integrated out,
:math:`\log p(x) = \log \sum_z \exp \sum_i \log p_i`.

The sums are taken variable by variable, in logarithms: along a chain these are the forward messages
of a hidden Markov model, at a cost linear in its length.

Source: Rabiner, A tutorial on hidden Markov models (1989), equations 18 to 21.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ancestral.core.axes import PLAN, Axis
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.eager import parents_first
from ancestral.lowering.build import Flow, Sum
from ancestral.lowering.context import Lowering, Scope
from ancestral.lowering.eliminate import contract
from ancestral.program import instructions as ir

OLDEST = 1_000_000  # older than any axis of a draw, with which values of a sum may meet


def log_marginal(
    lw: Lowering,
    law: Distribution,
    scope: Scope,
    density: Callable[[Lowering, Factor, Scope], ir.Register],
) -> Sum:
    """The log density of the variables that are left.

    Args:
        lw: The lowering.
        law: The law; what it integrates out has values that can be listed.
        scope: The scope.
        density: The log density of a factor.
    """
    values, axes = dict(scope.values), list[Axis]()
    for factor in parents_first(law.factors):
        if factor.var[0] in law.integrated:
            every = _values(lw, factor, replace(scope, values=values))
            values[factor.var[0]] = Sum({every: 1.0})
            axes += every.axes
    inside = replace(scope, values=values)
    terms = [density(lw, factor, inside) for factor in law.factors]
    total = Sum()
    for term in contract(lw, terms, axes, logs=True):
        total = total.plus(Sum({term: 1.0}))
    return total


def _values(lw: Lowering, factor: Factor, scope: Scope) -> ir.Register:
    """Every value of a factor's variable, along an axis of its own."""
    params, slot = lw.params(factor, scope), lw.build.law_slot(factor.law)
    var = factor.var[0]
    axis = Axis(var, PLAN, None, age=OLDEST + len(lw.build.steps))
    make = partial(ir.Table, law=slot, params=params, text=lw.label(factor, scope))
    return lw.build.emit(("every value", slot, params, var), var, (axis,), make, Flow())
