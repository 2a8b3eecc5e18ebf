"""Which rows the factors of an expectation's law are taken from: copies are different rows.

Within one expectation factors share rows. Where the batch itself is what is drawn from, a copy of a
law is the same draw along a row axis of its own, ``n'``, and the mean is over pairs of different
rows: a U-statistic.
"""

from collections.abc import Mapping
from typing import Any

from ancestral.core.axes import ROW, Axis
from ancestral.core.errors import OptionError, ScopeError
from ancestral.core.names import listing
from ancestral.distributions.base import Factor
from ancestral.distributions.eager import parents_first
from ancestral.distributions.rows import originals
from ancestral.losses.prob import Expectation
from ancestral.losses.scope import data_names, free
from ancestral.lowering.build import Sum, law_key
from ancestral.lowering.context import Lowering, Scope, label
from ancestral.printing import loss as loss_text
from ancestral.program import instructions as ir


def row_axis(lw: Lowering, node: Expectation, scope: Scope) -> Axis:
    """The rows that an unconditional draw follows: of the law's conditions, of all it mentions; or
    those that it is told to.
    """
    found: set[Axis] = set()
    for names, data in ((node.law.cond_var, ()), (free(node), data_names(node))):
        rows = {a for name in names for a in lw.rows(name, scope)}
        found = rows | {lw.plates[name] for name in data if name in lw.plates} or found
        if len(found - {a for a in found if a.like in found}) == 1:
            break
    found -= {a for a in found if a.like in found}  # the same rows, seen once more
    if node.rows_of is not None:
        return _told(lw, node, node.rows_of, found, scope)
    found = found or set(lw.plates.values())
    if len(found) > 1:
        first = {axis: name for name, axis in reversed(lw.plates.items())}
        told = " or ".join(f"rows_of={first[a]!r}" for a in dict.fromkeys(lw.plates.values()))
        raise ScopeError(
            f"{loss_text.text(node)}: its draws could follow the rows of either of two data sets. "
            f"Say whose, E(..., {told}); or reduce each with .mean() before they meet."
        )
    return found.pop() if found else Axis("n", ROW)


def _told(lw: Lowering, node: Expectation, name: str, found: set[Axis], scope: Scope) -> Axis:
    """The rows of the variable that an expectation names, checked."""
    where = f"{loss_text.text(node)} with rows_of={name!r}"
    own = lw.rows(name, scope)
    if len(own) != 1:
        raise ScopeError(f"{where}: {name} has no rows of its own. Name a variable of the data.")
    if found and not own & found:
        others = [n for n, axis in lw.plates.items() if axis in found]
        raise ScopeError(
            f"{where}: its draws follow those of {listing(others)}, which it reads. Leave rows_of "
            "out."
        )
    if name not in scope.values:
        lw.input(name)  # what tells the number of rows
    return next(iter(own))


def keeps_rows(lw: Lowering, node: Expectation, scope: Scope) -> bool:
    """Whether something that the expectation leaves free has rows."""
    return any(lw.rows(name, scope) for name in free(node))


class Rows:
    """How the factors of an expectation see the batch.

    Args:
        lw: The lowering.
        node: The expectation.
        scope: What surrounds it.
        row: The axis of the rows that its draws follow.
        keep: Whether it leaves rows free.
    """

    def __init__(
        self, lw: Lowering, node: Expectation, scope: Scope, row: Axis, *, keep: bool
    ) -> None:
        self.lw, self.node, self.scope, self.row, self.keep = lw, node, scope, row, keep
        self._level: dict[str, int] = {}  # of a variable: which copy of the batch it is taken from
        self._twin: dict[int, Factor] = {}  # of a copy, by its identity: what it is a copy of
        self._plain: dict[str, ir.Register] = {}  # variables as they were drawn
        self.factors = parents_first(node.law.factors)
        self._arrange(self.factors)
        plans = self._plans(self.factors)
        self._disjoint = any(p.disjoint for p in plans) and bool(self._twin)
        copies = 1 + max(self._level.values(), default=0)
        self._apart = [row, *(self._axis(i) for i in range(1, copies))]  # pairwise different
        self._crossed = [] if keep or self._disjoint else self._cross()
        if self._disjoint:
            if keep:
                raise OptionError(
                    f"Pairs(disjoint=True) for {loss_text.text(node)}: it leaves rows free, and "
                    "each of them has no pair of its own. Leave the plan out."
                )
            part = Axis(f"{row.name}/{copies}", ROW, like=row, parts=copies)
            self._apart = [part]

    def _axis(self, level: int) -> Axis:
        return Axis(self.row.name + "'" * level, ROW, like=self.row)

    def _plans(self, factors: Any) -> list[Any]:
        found = (self.scope.pairs.get(id(f.law)) for f in factors)
        return [p for p in found if hasattr(p, "disjoint")]

    # -- which copy each factor belongs to ----------------------------------------------------
    def _arrange(self, factors: list[Factor]) -> None:
        first, names = originals(factors), dict[str, str]()
        drawn = {v for f in factors for v in f.var}
        for i, f in enumerate(factors):
            inner = [c for c in f.cond_var if c in drawn]
            twin = first.get(id(f)) if f.law.is_data else self._find(f, factors[:i], inner, names)
            level = {self._level.get(c, 0) for c in inner}
            if twin is not None and twin is not f:
                self._twin[id(f)] = twin
                names.update(zip(f.var, twin.var, strict=True))
                if not inner:
                    mine = [g for g in factors[:i] if self._twin.get(id(g)) is twin]
                    level = {1 + len(mine)}
            self._level.update(dict.fromkeys(f.var, level.pop() if len(level) == 1 else 0))

    def _find(
        self, f: Factor, before: list[Factor], inner: list[str], names: Mapping[str, str]
    ) -> Factor | None:
        """The factor that this one is a copy of: its conditions are copies of that one's."""
        if not inner and (self.keep or f.cond_var or not self._plans([f])):
            return None  # a law without rows is drawn anew
        if any(c not in names for c in inner):
            return None
        conditions = tuple(names.get(c, c) for c in f.cond_var)
        same = (
            g
            for g in before
            if id(g) not in self._twin
            and law_key(g.law) == law_key(f.law)
            and (g.cond_var, g.copies) == (conditions, f.copies)
            and not (g.detached and not f.detached)
        )
        return next(same, None)

    def _cross(self) -> list[Axis]:
        """The axes of independent parts that are paired with all rows of the others."""
        parts = [p for p in self._parts() if all(self._level[v] == 0 for f in p for v in f.var)]
        chosen = [p for p in parts if self._plans(p)]
        moved = chosen if len(chosen) < len(parts) else chosen[1:]
        start = len(self._apart)
        for i, part in enumerate(moved):
            self._level.update({v: start + i for f in part for v in f.var})
        return [self._axis(start + i) for i in range(len(moved))]

    def _parts(self) -> list[list[Factor]]:
        """The factors in groups that share no variable, neither drawn nor given."""
        parts: list[list[Factor]] = []
        for f in self.factors:
            mine = {*f.var, *f.cond_var}
            near = [p for p in parts if any(mine & {*g.var, *g.cond_var} for g in p)]
            parts = [p for p in parts if p not in near]
            parts.append([*(g for p in near for g in p), f])
        return parts

    # -- what lowering asks -------------------------------------------------------------------
    def original(self, factor: Factor) -> Factor | None:
        """The factor that one is a copy of, if it is a copy."""
        return self._twin.get(id(factor))

    def unmoved(self, factor: Factor, values: Mapping[str, Sum]) -> Mapping[str, Sum]:
        """The values that a factor is drawn with: of one copy of the batch, as they were drawn."""
        inner = [c for c in factor.cond_var if c in self._plain]
        levels = {self._level[c] for c in inner}
        if len(levels) == 1:
            return {**values, **{c: Sum({self._plain[c]: 1.0}) for c in inner}}
        if levels and self._disjoint:
            raise OptionError(
                f"Pairs(disjoint=True) for {loss_text.text(self.node)}: {factor.text} is drawn for "
                "a pair of rows. Leave the plan out."
            )
        return values

    def move(self, factor: Factor, name: str, value: ir.Register) -> ir.Register:
        """The register of a variable along the rows that it is taken from."""
        self._plain[name] = value
        level = self._level[name]
        if self._disjoint:
            return self.lw.again(value, self.row, self._apart[0], level)
        if level == 0 or len({self._level[c] for c in factor.cond_var if c in self._plain}) > 1:
            return value
        return self.lw.again(value, self.row, self._axis(level))

    def of(self, name: str) -> frozenset[Axis]:
        """The rows that a variable follows."""
        if self._disjoint:
            return frozenset(self._apart)
        level = self._level[name]
        return frozenset({self._axis(level) if level else self.row})

    @property
    def averaged(self) -> list[Axis]:
        """The axes of rows that the expectation takes the mean over."""
        apart = self._apart[1:] if self.keep else self._apart
        return [*apart, *self._crossed]

    def average(self, body: ir.Register) -> ir.Register:
        """The mean over rows: over those that are different, where copies meet."""
        lw = self.lw
        for axis in self._crossed:
            body = lw.build.reduce("mean", axis, body) if axis in body.axes else body
        over = tuple(a for a in self._apart if a in body.axes)
        if len(over) > 1:
            keep = self.keep and over[0] == self.row
            kept = tuple(a for a in body.axes if a not in over[1 if keep else 0 :])
            return lw.build.emit(
                ("distinct", body, over, keep),
                "mean",
                kept,
                lambda out: ir.Distinct(out, body, over, keep, label(self.node)),
            )
        if over and not (self.keep and over[0] == self.row):
            return lw.build.reduce("mean", over[0], body)
        return body
