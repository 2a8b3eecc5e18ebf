"""Losses over time as formulas: a sum over steps, under the draws that are handed on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ancestral.losses.iterative import IterativeLoss
from ancestral.losses.node import Node
from ancestral.losses.prob import Expectation
from ancestral.printing import law


def iterative(
    node: IterativeLoss, c: Any, at: Callable[[Node, Any, int], str], ranks: tuple[int, int, int]
) -> tuple[str, int]:
    """A loss over time as a formula with its precedence.

    Args:
        node: The loss.
        c: The context.
        at: Prints a term in a context, in brackets if it binds less than a number.
        ranks: That number for what stands in a sum, and those of a sum and of an expectation.
    """
    d, spelled, carried = c.dialect, c.spelled, {name for name, _ in node.update}
    nested = _binding(node.step, carried)
    drawn = [v for e in nested for v in e.law.var]
    names = {v: d.indexed(spelled(v), "t") for v in (*node.series, *drawn)}
    names |= {alias: d.timed(spelled(name), "before") for name, alias in node.update}
    inside = replace(c, names={**c.names, **names})
    body = at(_opened(node.step, carried), inside, ranks[0])
    if node.mask is not None:
        body = d.form("product", left=d.indexed(spelled(node.mask), "t"), right=body)
    axis = d.name(node.timestep[0] if node.timestep else "t")
    if node.max_iter is None:
        out = d.form("sum", axis=axis, inside=body)
    else:
        last = d.number(str(node.max_iter - 1))
        out = d.form("sum_before", axis=axis, last=last, inside=body)
    if not nested:
        return out, ranks[1]
    whole = nested[0].law
    through = {v: d.timed(spelled(v), "through") for v in (*node.series, *drawn)}
    given = [v for v in whole.cond_var if v not in dict(node.update).values()]
    over = law.over(d.name(whole.name), whole.var, given, d, {**c.names, **through})
    return d.form("expectation", law=over, body=out), ranks[2]


def _binding(node: Node, names: set[str]) -> list[Expectation]:
    """The expectations that draw what is handed on."""
    if isinstance(node, Expectation) and names & set(node.law.var):
        return [node]
    return [found for child in node.children for found in _binding(child, names)]


def _opened(node: Node, names: set[str]) -> Node:
    """The step without those expectations: they stand around the sum."""
    if isinstance(node, Expectation) and names & set(node.law.var):
        return node.body
    return node.with_children([_opened(child, names) for child in node.children])
