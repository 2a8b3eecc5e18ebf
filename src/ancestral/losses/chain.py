r"""Divergences of joint laws, decomposed by the chain rule.

.. math:: KL[q(a)q(b|a) \| p(a)p(b|a)] = KL[q(a)\|p(a)] + E_{q(a)}\, KL[q(b|a)\|p(b|a)]

Each term of two elementary laws has a closed form where one is registered, and stands as
Monte Carlo where none is. Entropy and cross-entropy decompose alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ancestral.distributions import Distribution, Joint, Sequence
from ancestral.distributions.base import Factor
from ancestral.distributions.closed_forms import closed_entropy, closed_kl
from ancestral.distributions.eager import parents_first
from ancestral.losses.node import Add, Neg, Node, Sub
from ancestral.losses.prob import CrossEntropy, Entropy, Expectation, KullbackLeibler, LogProb


@dataclass(frozen=True, eq=False, repr=False)
class ClosedForm(Node):
    """A closed form of elementary laws: ``which`` is ``kl`` or ``entropy``."""

    which: str
    q: Factor
    p: Factor | None = None


@dataclass(frozen=True, eq=False, repr=False)
class LogMeanExp(Node):
    """The logarithm of a mean or sum of exponentials over rows or a named axis, stable."""

    how: str
    axis: str | None
    arg: Node


def expand(node: KullbackLeibler | CrossEntropy | Entropy) -> Node:
    """The same quantity as closed forms and expectations of log densities."""
    if isinstance(node, KullbackLeibler):
        if not node.analytical:
            body = Sub(LogProb(node.q), LogProb(node.p))
            return Expectation(node.q, body, draws=node.draws)
        return _sum_over(node.q, node.p, _kl_term, node.draws)
    if isinstance(node, CrossEntropy):
        if not node.analytical:
            return Neg(Expectation(node.q, LogProb(node.p), draws=node.draws))
        return _sum_over(node.q, node.p, _ce_term, node.draws)
    if not node.analytical:
        return Neg(Expectation(node.q, LogProb(node.q), draws=node.draws))
    return _sum_over(node.q, None, _entropy_term, node.draws)


def is_closed(node: CrossEntropy) -> bool:
    """Whether a cross-entropy stands as KL + H: every term of it has a closed form."""
    if not node.analytical:
        return False
    q, p = matched(node.q, node.p)
    return all(fits(f, g, node.q) for f, g in zip(q, p, strict=True) if g is not None)


def matched(q: Distribution, p: Distribution | None) -> tuple[list[Factor], list[Factor | None]]:
    """The factors of q, parents first, each with the factor of p that has its variable."""
    factors = parents_first(q.factors)
    if p is None:
        return factors, [None] * len(factors)
    by_var = {v: g for g in p.factors for v in g.var}
    return factors, [by_var[f.var[0]] for f in factors]


def one(factor: Factor) -> Joint:
    """A factor as a law of its own."""
    return Joint((factor,), name=factor.law.name)


Term = tuple[Node, set[str]]  # a term and the variables of q that it reads


def fits(f: Factor, g: Factor, q: Distribution) -> bool:
    """Whether KL[f || g] has a closed form, and g reads nothing that is drawn after f."""
    return closed_kl(f.law, g.law) is not None and not set(g.cond_var) & _after(f, q)


def _after(factor: Factor, q: Distribution) -> set[str]:
    """The variable of a factor and all that are drawn from it."""
    found = set(factor.var)
    for f in parents_first(q.factors):
        if found & set(f.cond_var):
            found |= set(f.var)
    return found


def _kl_term(f: Factor, g: Factor, q: Distribution) -> Term:
    if isinstance(f.law, Sequence) and isinstance(g.law, Sequence):  # step by step, at a draw
        return ClosedForm("kl", f, g), {*f.var, *f.cond_var, *g.cond_var}
    if fits(f, g, q):
        return ClosedForm("kl", f, g), {*f.cond_var, *g.cond_var}
    return Sub(LogProb(one(f)), LogProb(one(g))), {*f.var, *f.cond_var, *g.cond_var}


def _entropy_term(f: Factor, g: Any, q: Distribution) -> Term:
    if closed_entropy(f.law) is not None:
        return ClosedForm("entropy", f), set(f.cond_var)
    return Neg(LogProb(one(f))), {*f.var, *f.cond_var}


def _ce_term(f: Factor, g: Factor, q: Distribution) -> Term:
    if fits(f, g, q) and closed_entropy(f.law) is not None:
        both = Add(ClosedForm("kl", f, g), ClosedForm("entropy", f))
        return both, {*f.cond_var, *g.cond_var}
    return Neg(LogProb(one(g))), {*f.var, *g.cond_var}


def _sum_over(
    q: Distribution, p: Distribution | None, term: Callable[..., Term], draws: int | None
) -> Node:
    total: Node | None = None
    for f, g in zip(*matched(q, p), strict=True):
        node, reads = term(f, g, q)
        outer = _ancestors(q, reads)
        if outer:
            node = Expectation(Joint(outer, name=q.name), node, draws=draws)
        total = node if total is None else Add(total, node)
    assert total is not None
    return total


def _ancestors(q: Distribution, reads: set[str]) -> list[Factor]:
    """The factors of q that draw these variables, and those that they are drawn from."""
    wanted = set(reads)
    for f in reversed(parents_first(q.factors)):
        if wanted & set(f.var):
            wanted |= set(f.cond_var)
    return [f for f in q.factors if wanted & set(f.var)]
