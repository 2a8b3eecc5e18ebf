"""Which expectations share a draw: the rules of the language, written from their text.

Expressions are described as :mod:`tests.oracles.plain` says.

The rules: two expectations are two integrals. Draws of one law (same names, conditions, axes)
are shared unless one expectation lies inside the other, or the smallest expression that holds
both is not a sum. From left to right, each takes the first draw that no conflicting one has.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.oracles.plain import (
    Expr,
    Laws,
    Path,
    UnspecifiedError,
    children,
    conditions,
    free,
    mentions,
    parents_first,
    visible,
)

SUMS = ("add", "sub", "neg")


# -- plates ---------------------------------------------------------------------------------------
class Plates:
    """Which given variables have the same rows: those that meet before their rows are reduced."""

    def __init__(self, root: Expr, laws: Laws, scalars: set[str]) -> None:
        self.laws = laws
        names = sorted(free(root, laws, data=True) - scalars)
        self.parent = {n: n for n in names}
        self._meet(self._rows(root, {n: frozenset({n}) for n in names}))

    def of(self, name: str) -> str:
        """The plate of a given variable."""
        while self.parent[name] != name:
            name = self.parent[name]
        return name

    def all(self) -> set[str]:
        """Every plate."""
        return {self.of(n) for n in self.parent}

    def _meet(self, names: frozenset[str]) -> None:
        roots = sorted({self.of(n) for n in names})
        for r in roots[1:]:
            self.parent[r] = roots[0]

    def _rows(self, e: Expr, seen: dict[str, frozenset[str]]) -> frozenset[str]:
        """The given variables whose rows an expression has."""
        nothing = frozenset[str]()
        if e[0] == "E":
            given = {
                v
                for f in e[1]["factors"]
                if self.laws[f["law"]]["family"] == "data"
                for v in f["var"]
            }
            ahead = nothing.union(*(seen.get(n, nothing) for n in conditions(e[1])))
            kept = nothing.union(*(seen.get(n, nothing) for n in free(e, self.laws)))
            every = free(e, self.laws, data=True)
            follows = ahead | (given & set(self.parent)) or kept
            follows = follows or nothing.union(*(seen.get(n, nothing) for n in every))
            inside = {**seen, **dict.fromkeys(visible(e[1]), follows)}
            found = ahead | (given & set(self.parent)) | self._rows(e[2], inside)
            if kept:
                return found
            self._meet(found)
            return nothing
        if e[0] == "let":
            bound = {name: self._rows(b, seen) for name, b in e[1]}
            return self._rows(e[2], {**seen, **bound})
        below = children(e)
        if not below:
            return nothing.union(*(seen.get(n, nothing) for n in free(e, self.laws)))
        found = nothing.union(*(self._rows(c, seen) for c in below))
        if e[0] in ("mean", "sum"):
            self._meet(found)
            return nothing
        return found


# -- draws ----------------------------------------------------------------------------------------
Axis = tuple[Any, ...]  # ("table", index), ("draws", depth, size), ("k", name, size), ("n", plate)


def in_memory(axes: set[Axis] | frozenset[Axis]) -> tuple[Axis, ...]:
    """Axes as they lie in memory: tables and draws, newest first; copies; rows."""
    rank = {"table": 0, "draws": 1, "k": 2, "n": 3}

    def place(axis: Axis) -> tuple[Any, ...]:
        newest_first = -axis[1] if axis[0] in ("table", "draws") else 0
        return rank[axis[0]], newest_first, str(axis[1]), axis[2:]

    return tuple(sorted(axes, key=place))


@dataclass(frozen=True)
class Known:
    """What is known of a name before anything is computed: its identity, its axes, its rows.

    A variable that an expectation binds follows the rows of that expectation, whether it is
    drawn, or each of its values stands in a table.
    """

    same: Any
    axes: frozenset[Axis]
    rows: frozenset[Axis] = frozenset()


@dataclass
class Draw:
    """One draw of a law."""

    key: Any
    name: str
    number: int | None
    depth: int
    axes: frozenset[Axis] = frozenset()
    axis: Axis | None = None  # of its draws, or its table
    users: list[Path] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        """Whether every value stands once, and none is drawn."""
        return self.axis is not None and self.axis[0] == "table"


@dataclass(frozen=True)
class Taken:
    """What one expectation does: the draws of its factors, and whether its rows are averaged."""

    draws: tuple[tuple[dict[str, Any], Draw | None], ...]
    average: Axis | None


def conflict(a: Path, b: Path) -> bool:
    """Whether one lies inside the other, or what holds both is not a sum."""
    for (kind, i), (_, j) in zip(a, b, strict=False):
        if i != j:
            return kind not in SUMS
    return True


class Sharing:
    """The draws of an expression that is spelled out.

    Args:
        root: The expression.
        laws: The elementary laws.
        scalars: Given values without rows.
        plans: Elementary law to ``("enumerate",)``, ``("pathwise",)`` or
            ``("score", baseline, draws)``.
    """

    def __init__(
        self, root: Expr, laws: Laws, scalars: set[str], plans: dict[str, tuple[Any, ...]]
    ) -> None:
        self.laws, self.scalars, self.plans = laws, scalars, plans
        self.plates = Plates(root, laws, scalars)
        numbers: dict[Any, int] = {}
        while True:  # a number may stand to the right of an expectation that adopts it
            self.draws: list[Draw] = []
            self.taken: dict[Path, Taken] = {}
            self.first: dict[Any, Draw] = {}
            self._numbers = numbers
            self._walk(root, {}, (), 0)
            found = {k: d.number for k, d in self.first.items() if d.number is not None}
            if found == numbers:
                return
            numbers = found

    def _known(self, name: str, env: dict[str, Known]) -> Known:
        if name in env:
            return env[name]
        if name in self.scalars:
            return Known(("given", name), frozenset())
        row = frozenset({("n", self.plates.of(name))})
        return Known(("given", name), row, row)

    def _walk(self, e: Expr, env: dict[str, Known], path: Path, depth: int) -> None:
        if e[0] == "E":
            self._expectation(e, env, path, depth)
            return
        if e[0] == "let":
            inside = dict(env)
            for name, b in e[1]:
                number = b[0] == "num"
                inside[name] = (
                    Known(("number", b[1]), frozenset()) if number else self._known(b[1], env)
                )
            self._walk(e[2], inside, (*path, ("let", 0)), depth)
            return
        for i, child in enumerate(children(e)):
            self._walk(child, env, (*path, (e[0], i)), depth)

    def _expectation(self, e: Expr, env: dict[str, Known], path: Path, depth: int) -> None:
        row = self._row(e, env)
        rows = frozenset({row})
        inside = dict(env)
        made: list[tuple[dict[str, Any], Draw | None]] = []
        for f in parents_first(e[1]):
            known = [self._known(c, inside) for c in f["cond"]]
            axes = frozenset[Axis]().union(*(k.axes for k in known))
            same = tuple(k.same for k in known)
            law = self.laws[f["law"]]
            if law["family"] == "data":
                inside.update({v: self._known(v, {}) for v in f["var"]})
                made.append((f, None))
                continue
            if law["family"] == "deterministic":
                inside[f["var"][0]] = Known(("made", f["law"], same, f["detached"]), axes, rows)
                made.append((f, None))
                continue
            here = (*path, ("E", -1))
            draw = self._take(f, law, same, axes, row, e[3], here, depth)
            inside[f["var"][0]] = Known(("draw", id(draw), f["detached"]), draw.axes, rows)
            made.append((f, draw))
        for name in e[1]["hidden"]:
            inside.pop(name, None)
            if name in env:
                inside[name] = env[name]
        keeps = any(self._known(n, env).rows for n in free(e, self.laws))
        self.taken[path] = Taken(tuple(made), None if keeps else row)
        self._walk(e[2], inside, (*path, ("E", 0)), depth + 1)

    def _row(self, e: Expr, env: dict[str, Known]) -> Axis:
        """The rows that a draw without conditions follows."""
        every = {("n", plate) for plate in self.plates.all()} or {("n", "")}
        unbound, given = mentions(e, self.laws)
        of_data = {a for n in given for a in self._known(n, {}).rows}
        for names, more in ((conditions(e[1]), set()), (unbound, of_data)):
            found = {a for n in names for a in self._known(n, env).rows} | more
            if len(found) == 1:
                return found.pop()
            every = found or every
        if len(every) > 1:
            raise UnspecifiedError("an unconditional draw could follow the rows of two plates")
        return every.pop()

    def _take(
        self,
        f: dict[str, Any],
        law: dict[str, Any],
        same: Any,
        axes: frozenset[Axis],
        row: Axis,
        written: int | None,
        path: Path,
        depth: int,
    ) -> Draw:
        plan = self.plans.get(f["law"])
        listed = plan is not None and plan[0] == "enumerate"
        if plan is not None and plan[0] == "score" and written is None:
            written = plan[2]
        key = (f["law"], f["var"], same, f["copies"], None if listed else row)
        number = None if listed else written
        for draw in self.draws:
            if draw.key != key or any(conflict(path, user) for user in draw.users):
                continue
            if number is not None and draw.number not in (None, number):
                continue  # two numbers are two draws
            if draw.depth != depth and (number is not None or draw.number is not None):
                continue  # the axes of their draws differ
            draw.users.append(path)
            draw.number = number if draw.number is None else draw.number
            return draw
        opened = (f["var"], path)
        if number is None and not listed:
            number = self._numbers.get(opened)
        var = f["var"][0]
        earlier = sum(d.key[1][0] == var and not d.is_table for d in self.draws)
        draw = Draw(key, f"{var}#{earlier + 1}" if earlier else var, number, depth, users=[path])
        index = len(self.draws)
        if listed:
            draw.axis = ("table", index)
            draw.axes = frozenset({draw.axis})
        else:
            draw.axis = ("draws", depth, number) if number is not None and number > 1 else None
            own = {row, draw.axis} if draw.axis else {row}
            if f["copies"]:
                own.add(("k", *f["copies"]))
            draw.axes = axes | own
        self.draws.append(draw)
        self.first[opened] = draw
        return draw
