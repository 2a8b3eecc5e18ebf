r"""Global variables beside rows: a batch stands for the data set, and a global counts once in it.

A law with ``plate=None`` (of weights, of what all rows share) has one draw for all rows. Beside its
divergence, entropy or log density the rows of a batch of size B stand for all N rows:

.. math:: \mathrm{mean}(f_n - KL) = \frac{1}{B}\sum_n f_n - \frac{1}{N} KL, \qquad
    \mathrm{sum}(f_n - KL) = \frac{N}{B}\sum_n f_n - KL

so that N, which a batch does not tell, is an input of the loss: ``data_size=``.
"""

from typing import Any

from ancestral.core.errors import ScopeError, VariableError
from ancestral.distributions import Joint
from ancestral.losses.chain import ClosedForm
from ancestral.losses.node import (
    Add,
    Constant,
    Detach,
    Div,
    Let,
    Mul,
    Neg,
    Node,
    Planned,
    Reduce,
    Sub,
    Value,
)
from ancestral.losses.over import reduced
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)
from ancestral.losses.scope import free, value_names

SIZE = "N"  # the name of the number of rows of the data set


def _laws(node: Any) -> list[Any]:
    """The elementary laws whose density, divergence or entropy a node takes."""
    if isinstance(node, (LogProb, Prob)):
        return [f.law for f in node.law.factors]
    if isinstance(node, (KullbackLeibler, CrossEntropy, Entropy)):
        return [f.law for f in node.q.factors]
    return [node.q.law] if isinstance(node, ClosedForm) else []


def has_global(node: Any) -> bool:
    """Whether a term of a global variable stands in an expression, and not under a reduction."""
    if isinstance(node, Reduce) and node.axis is None and not reduced(node):
        return False
    mine = any(law.plate is None for law in _laws(node))
    return mine or any(has_global(child) for child in node.children)


def spread(node: Node) -> Node:
    """The expression with what each reduction over rows means where globals stand beside rows."""
    node = node.with_children([spread(child) for child in node.children])
    return over_data_set(node) if isinstance(node, Reduce) else node


def over_data_set(node: Reduce) -> Node:
    """A mean over rows with the terms of globals divided by N; a sum as N such means.

    Raises:
        ScopeError: If a global's term is not a term of a sum.
        VariableError: If a variable of the loss is called N.
    """
    if node.axis is not None or reduced(node) or not has_global(node.arg):
        return node
    if SIZE in free(node.arg):
        raise VariableError(
            f"a variable of the loss is called {SIZE}, which is the number of rows of the data set "
            f"beside a global variable. Rename it: loss.replace_var({SIZE}='...')."
        )
    mean = Reduce("mean", None, _shared(node.arg, frozenset()))
    return mean if node.how == "mean" else Mul(Value(SIZE), mean)


def _shared(node: Any, bound: frozenset[str]) -> Node:
    """A term with those of globals divided by N; ``bound`` are the globals drawn around it."""
    if not has_global(node):
        return node  # type: ignore[no-any-return]
    if not _has_rows(node, bound):
        return Div(node, Value(SIZE))
    if isinstance(node, (Add, Sub, Neg, Detach, Planned, Let)):
        inside = [_shared(child, bound) for child in node.children[:-1]]
        if isinstance(node, Let):
            inside = list(node.children[:-1])
        return node.with_children([*inside, _shared(node.children[-1], bound)])
    if isinstance(node, (Mul, Div)):
        parts = [_shared(c, bound) if _is_number(o, bound) else c for c, o in _pairs(node)]
        if not any(has_global(c) and not _is_number(o, bound) for c, o in _pairs(node)):
            return node.with_children(parts)
    if isinstance(node, Expectation):
        drawn = {v for f in node.law.factors if f.law.plate is None for v in f.var}
        return node.with_children([_shared(node.body, bound | drawn)])
    if isinstance(node, LogProb) and node.mask is None:
        every = node.law.factors
        rows = [f for f in every if f.law.plate is not None]
        others = [f for f in every if f.law.plate is None]
        return Add(
            LogProb(Joint(rows, node.law.integrated)), Div(LogProb(Joint(others)), Value(SIZE))
        )
    raise ScopeError(
        f"a {type(node).__name__} of a term with rows and one of a global variable, under a mean "
        "or sum over rows: there the global's term counts once for the data set, so that it must "
        "be a term of a sum. Reduce the rows first: f(rows.mean()) with the global's term outside."
    )


def _pairs(node: Mul | Div) -> list[tuple[Node, Node]]:
    return [(node.left, node.right), (node.right, node.left)]


def _is_number(node: Node, bound: frozenset[str]) -> bool:
    return isinstance(node, Constant) or not (has_global(node) or _has_rows(node, bound))


def _has_rows(node: Any, bound: frozenset[str]) -> bool:
    """Whether a term leaves something free that has rows."""
    return bool(set(free(node)) - bound - value_names(node))
