"""Scope: which variables a loss leaves free, which it needs as input, and substitution."""

from collections.abc import Iterable, Mapping
from typing import Any

from ancestral.core.errors import OptionError, VariableError, did_you_mean
from ancestral.distributions import Distribution
from ancestral.distributions.rows import given_names
from ancestral.losses.chain import ClosedForm
from ancestral.losses.iterative import IterativeLoss
from ancestral.losses.node import Constant, Let, Node, Planned, Value
from ancestral.losses.plan import drawn_factors
from ancestral.losses.prob import (
    CrossEntropy,
    Entropy,
    Expectation,
    KullbackLeibler,
    LogProb,
    Prob,
)

Names = tuple[str, ...]


def _ordered(names: Iterable[str]) -> Names:
    return tuple(dict.fromkeys(names))


def free(node: Any, *, data: bool = False) -> Names:
    """The variables that a loss leaves free, in the order in which they appear.

    Args:
        node: The loss.
        data: Count the variables of empirical laws too, which are bound, but must be given; and
            those whose rows alone count.
    """
    return _ordered(name for name, given in _mentions(node) if data or not given)


DATA, ROWS = "data", "rows"
# a variable, and whether an empirical law reads its data or draws only follow its rows
Mentions = list[tuple[str, str]]


def _mentions(node: Any) -> Mentions:
    if isinstance(node, Value):
        return [(node.name, "")]
    if isinstance(node, (LogProb, Prob)):
        mask = [node.mask] if isinstance(node, LogProb) and node.mask is not None else []
        return _plain([*_valued(node.law), *node.law.cond_var, *mask])
    if isinstance(node, Expectation):
        data = [(v, DATA) for v in given_names(node.law.factors)]
        followed = [(node.rows_of, ROWS)] if node.rows_of is not None else []
        inside = _without(node.body, node.law.var)
        return [*_plain(node.law.cond_var), *data, *inside, *followed]
    if isinstance(node, (KullbackLeibler, CrossEntropy)):
        second = [c for c in node.p.cond_var if c not in node.q.var]
        return _plain([*node.q.cond_var, *second])
    if isinstance(node, Entropy):
        return _plain(node.q.cond_var)
    if isinstance(node, ClosedForm):
        second = [] if node.p is None else [c for c in node.p.cond_var if c not in node.q.var]
        return _plain([*node.q.cond_var, *second])
    if isinstance(node, IterativeLoss):
        given = _plain([*([node.mask] if node.mask else []), *(a for _, a in node.update)])
        return [*_plain(node.series), *given, *_without(node.step, node.timestep)]
    if isinstance(node, Let):
        bindings = [mention for b in node.bindings for mention in _mentions(b)]
        return [*_without(node.arg, node.names), *bindings]
    named = [] if not isinstance(node, Planned) else read_by_plans(node)
    return [*(m for child in node.children for m in _mentions(child)), *_plain(named)]


def read_by_plans(node: Planned) -> list[str]:
    """The given variables that plans name, such as what a baseline sees; draws are not given."""
    named = [name for _, choice in node.choices for name in getattr(choice, "reads", ())]
    drawn = {v for f in drawn_factors(node) for v in f.var} if named else set()
    return [name for name in named if name not in drawn]


def _valued(law: Distribution) -> list[str]:
    """The variables at whose values a density is: all but states, functions of the others."""
    states = {v for f in law.factors for v in f.states}
    return [v for v in law.var if v not in states]


def _plain(names: Iterable[str]) -> Mentions:
    return [(name, "") for name in names]


def _without(node: Any, bound: Iterable[str]) -> Mentions:
    """The mentions in a node where names are bound; data stays data."""
    return [(n, given) for n, given in _mentions(node) if given == DATA or n not in bound]


def inputs(node: Any) -> Names:
    """The variables whose values must be given: free ones, and those of empirical laws."""
    return free(node, data=True)


def data_names(node: Any) -> Names:
    """The variables that empirical laws read."""
    return _ordered(name for name, given in _mentions(node) if given == DATA)


def _check_names(node: Any, names: Mapping[str, Any], method: str) -> None:
    known = free(node)
    for name in names:
        if name not in known and name in inputs(node):
            raise VariableError(
                f"{method}: in {node} an empirical law draws {name!r}, so it is not free. Rename "
                f"it there: law.replace_var({name}='...')."
            )
        if name not in known:
            raise VariableError(
                f"{method}: {node} has no free variable {name!r}; {did_you_mean(name, known)}"
            )


def rename(node: Any, renaming: Mapping[str, Any]) -> Node:
    """The loss with free variables renamed, or at other values, without capture by bound ones.

    Raises:
        OptionError: If what stands in for a variable is neither a name nor a value.
    """
    _check_names(node, renaming, "replace_var")
    return Let(tuple(renaming), tuple(_stand_in(*pair) for pair in renaming.items()), node)


def _stand_in(name: str, new: Any) -> Node:
    if isinstance(new, str):
        return Value(new)
    if isinstance(new, Node):
        return new
    raise OptionError(
        f"replace_var({name}={new!r}): a variable stands for another, {name}='y', or for a value "
        f"computed from others, {name}={name} + u with {name}, u = values('{name} u'). A number "
        f"is set by constant_var({{{name!r}: ...}})."
    )


def fix(node: Any, constants: Mapping[str, float]) -> Node:
    """The loss with free variables set to numbers."""
    _check_names(node, constants, "constant_var")
    return Let(tuple(constants), tuple(Constant(float(c)) for c in constants.values()), node)


def value_names(node: Any) -> set[str]:
    """The free names that stand only as values, never in a law: weights such as beta."""
    return (_mentioned(node, Value) - _mentioned(node, Distribution)) & set(inputs(node))


def _mentioned(node: Any, kind: type) -> set[str]:
    found = {node.name} if isinstance(node, Value) and kind is Value else set()
    if kind is Distribution:
        laws = [getattr(node, k) for k in ("law", "q", "p") if hasattr(node, k)]
        found |= {v for law in laws if isinstance(law, Distribution) for v in _over(law)}
        if isinstance(node, Let):  # a renamed variable of a law, or what its value is made of
            read = _mentioned(node.arg, Distribution)
            for name, b in zip(node.names, node.bindings, strict=True):
                if isinstance(b, Value) or name in read:
                    found |= set(free(b))
    return found.union(*(_mentioned(child, kind) for child in node.children))


def _over(law: Distribution) -> list[str]:
    return [*law.all_var, *law.cond_var]
