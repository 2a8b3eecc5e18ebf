"""Plates: which data variables have the same rows.

Variables that meet in a term have; terms that lose their rows before they meet, by ``.mean()``,
by ``.sum()`` or in an expectation that leaves no row free, may have rows of their own (labelled
and unlabelled data).
"""

from collections.abc import Callable, Iterable, Mapping

from ancestral.core.axes import ROW, Axis
from ancestral.distributions.rows import given_names
from ancestral.losses.chain import LogMeanExp
from ancestral.losses.iterative import IterativeLoss
from ancestral.losses.node import Let, Node, Planned, Reduce
from ancestral.losses.over import reduced
from ancestral.losses.prob import Expectation
from ancestral.losses.scope import free, inputs, read_by_plans

Seen = Mapping[str, frozenset[str]]  # a name in a term, and the given variables behind it
Meet = Callable[[frozenset[str]], None]


def plates(
    root: Node, scalars: frozenset[str], loops: Mapping[str, Axis] | None = None
) -> dict[str, Axis]:
    """The row axis of each given variable that is no scalar; of a series that of its steps."""
    loops = loops or {}
    names = [n for n in inputs(root) if n not in scalars]
    parent = {n: n for n in names if n not in loops}

    def find(n: str) -> str:
        while parent[n] != n:
            n = parent[n]
        return n

    def meet(together: frozenset[str]) -> None:
        first, *rest = sorted(together & parent.keys(), key=names.index) or [""]
        for n in rest:
            a, b = sorted((find(first), find(n)), key=names.index)
            parent[b] = a

    meet(_rows(root, {n: frozenset({n}) for n in names}, frozenset(names), meet))
    roots = list(dict.fromkeys(find(n) for n in parent))
    axes = {r: Axis("n" if i == 0 else f"n{i + 1}", ROW) for i, r in enumerate(roots)}
    return {n: loops[n] if n in loops else axes[find(n)] for n in names}


def _rows(node: Node, seen: Seen, given: frozenset[str], meet: Meet) -> frozenset[str]:
    """The given variables whose rows a term still has; those that lose them together meet."""
    if isinstance(node, Let):
        behind = [_rows(b, seen, given, meet) for b in node.bindings]
        return _rows(node.arg, {**seen, **dict(zip(node.names, behind, strict=True))}, given, meet)
    if isinstance(node, Expectation):
        conditions = _behind(node.law.cond_var, seen)
        data = frozenset(given_names(node.law.factors)) & given
        kept = conditions | _behind(free(node), seen)
        told = _behind([node.rows_of] if node.rows_of else [], seen)
        drawn = conditions | data or told or kept or _behind(free(node, data=True), seen)
        shared = {v for f in node.law.factors if f.law.plate is None for v in f.var}
        rows = {v: frozenset() if v in shared else drawn for v in node.law.var}
        inside = {**seen, **rows}
        every = conditions | data | _rows(node.body, inside, given, meet)
        if kept:
            return every
        meet(every)
        return frozenset()
    if isinstance(node, IterativeLoss):
        own = [*node.series, *node.timestep]
        inside = {**seen, **dict.fromkeys(own, frozenset[str]())}
        first = _behind((alias for _, alias in node.update), seen)
        return first | _rows(node.step, inside, given, meet)
    if not node.children:
        return _behind(free(node), seen)
    found = frozenset[str]().union(*(_rows(child, seen, given, meet) for child in node.children))
    if isinstance(node, Planned):
        found |= _behind(read_by_plans(node), seen)
    if isinstance(node, (Reduce, LogMeanExp)) and node.axis is None:
        meet(found)
        return found if reduced(node) else frozenset()
    return found


def _behind(names: Iterable[str], seen: Seen) -> frozenset[str]:
    return frozenset[str]().union(*(seen.get(n, frozenset()) for n in names))
