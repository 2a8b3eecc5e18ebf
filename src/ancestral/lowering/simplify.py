r"""Closed forms in place of Monte Carlo: :math:`E_q[\log q - \log p] = KL[q\|p]` and such.

Only ``.simplify()`` makes such a change: an expectation is otherwise estimated as written.
"""

from dataclasses import replace

from ancestral.distributions import Distribution, Joint
from ancestral.distributions.base import Factor
from ancestral.distributions.closed_forms import closed_entropy, closed_kl
from ancestral.losses.node import Add, Neg, Node, Sub
from ancestral.losses.prob import Entropy, Expectation, KullbackLeibler, LogProb
from ancestral.losses.scope import free


def simplify(node: Node) -> Node:
    """The expression with every expectation of log densities in closed form where there is one."""
    node = node.with_children([simplify(child) for child in node.children])
    return _expectation(node) if isinstance(node, Expectation) else node


def _expectation(node: Expectation) -> Node:
    """Split the body into signed terms, pair log q with log p over the same variables."""
    terms = _factors(node.body)
    if terms is None or len(node.law.factors) != 1 or node.law.factors[0].copies:
        return node
    q = node.law.factors[0]
    own = [i for i, (s, t) in enumerate(terms) if isinstance(t, LogProb) and _is(t, q)]
    out: list[tuple[float, Node]] = []
    for i in own:
        sign = terms[i][0]
        pair = next(
            (
                j
                for j, (s, t) in enumerate(terms)
                if s == -sign and isinstance(t, LogProb) and _over(t, q) and j not in own
            ),
            None,
        )
        other = None if pair is None else terms[pair][1]
        if isinstance(other, LogProb):
            out.append((sign, KullbackLeibler(node.law, other.law)))
            terms = [t for k, t in enumerate(terms) if k not in (i, pair)]
        elif closed_entropy(q.law) is not None:
            out.append((-sign, Entropy(node.law)))
            terms = [t for k, t in enumerate(terms) if k != i]
        break
    if not out:
        return node
    result: Node | None = None
    if terms:
        result = _sum([(s, t) for s, t in terms])
        result = replace(node, body=result) if _reads(result, q.var) else result
    for s, t in out:
        if result is None:
            result = t if s > 0 else Neg(t)
        else:
            result = Add(result, t) if s > 0 else Sub(result, t)
    assert result is not None
    return result


def _reads(node: Node, names: tuple[str, ...]) -> bool:
    return bool(set(free(node)) & set(names))


def _is(term: LogProb, q: Factor) -> bool:
    f = term.law.factors[0]
    return len(term.law.factors) == 1 and (f.law, f.var, f.cond_var, f.detached) == (
        q.law, q.var, q.cond_var, q.detached
    )  # fmt: skip


def _over(term: LogProb, q: Factor) -> bool:
    f = term.law.factors[0]
    fits = closed_kl(q.law, f.law) is not None
    return f.var == q.var and fits and not set(f.cond_var) & set(q.var)


def _factors(node: Node, sign: float = 1.0) -> list[tuple[float, Node]] | None:
    """A body as signed terms, joint densities as the densities of their factors."""
    if isinstance(node, Add):
        return [*(_factors(node.left, sign) or []), *(_factors(node.right, sign) or [])]
    if isinstance(node, Sub):
        return [*(_factors(node.left, sign) or []), *(_factors(node.right, -sign) or [])]
    if isinstance(node, Neg):
        return _factors(node.arg, -sign)
    if isinstance(node, LogProb) and node.mask is None and not node.law.integrated:
        return [(sign, LogProb(_single(node.law, i))) for i in range(len(node.law.factors))]
    return [(sign, node)]


def _single(law: Distribution, index: int) -> Distribution:
    factor = law.factors[index]
    return law if len(law.factors) == 1 else Joint((factor,), name=factor.law.name)


def _sum(terms: list[tuple[float, Node]]) -> Node:
    sign, total = terms[0]
    total = total if sign > 0 else Neg(total)
    for sign, term in terms[1:]:
        total = Add(total, term) if sign > 0 else Sub(total, term)
    return total
