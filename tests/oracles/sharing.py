"""Which expectations share a draw: the rules of the language, written from their text.

An expression is plain data, a tuple whose first entry names its kind:

    ("num", 2.0)  ("val", "x")  ("param", "beta")
    ("add" | "sub" | "mul" | "div" | "min" | "max", a, b)
    ("neg" | "abs" | "exp" | "log" | "mean" | "sum" | "detach" | "norm" | "sqnorm", a)
    ("pow", a, exponent)  ("clamp", a, low, high)  ("meank" | "sumk", a, axis, size)
    ("let", (("x", ("val", "x1")), ...), a)   ("apply", function, (a, ...))
    ("logp" | "prob", law)   ("E", law, body, draws)
    ("kl" | "ce", q, p, analytical)   ("h", q, analytical)

A law is ``{"factors": (factor, ...), "hidden": (name, ...)}``, and a factor
``{"law": key, "var": (...), "cond": (...), "detached": bool, "copies": (axis, size) or None}``,
where the key finds the elementary law in a table.

The rules: two expectations are two integrals. Draws of one law (same names, conditions, axes)
are shared unless one expectation lies inside the other, or the smallest expression that holds
both is not a sum. From left to right, each takes the first draw that no conflicting one has.
"""

from dataclasses import dataclass, field
from typing import Any

Expr = tuple[Any, ...]
Law = dict[str, Any]
Laws = dict[str, dict[str, Any]]
Path = tuple[tuple[str, int], ...]  # from the root: the kind of a node, and the child taken

SUMS = ("add", "sub", "neg")
CLOSED = (
    ("normal", "normal"),
    ("normal", "laplace"),
    ("laplace", "laplace"),
    ("laplace", "normal"),
    ("bernoulli", "bernoulli"),
    ("onehot", "onehot"),
    ("index", "index"),
)


class UnspecifiedError(Exception):
    """The language does not say what this expression is, or refuses it."""


# -- names ----------------------------------------------------------------------------------------
def drawn(law: Law) -> list[str]:
    """All variables that a law draws, hidden ones too."""
    return [v for f in law["factors"] for v in f["var"]]


def visible(law: Law) -> list[str]:
    """The variables that a law binds."""
    return [v for v in drawn(law) if v not in law["hidden"]]


def conditions(law: Law) -> list[str]:
    """The variables that a law is conditioned on."""
    own = drawn(law)
    return [c for f in law["factors"] for c in f["cond"] if c not in own]


def children(e: Expr) -> list[Expr]:
    """The expressions directly below one."""
    if e[0] == "let":
        return [*(b for _, b in e[1]), e[2]]
    if e[0] == "apply":
        return list(e[2])
    if e[0] == "E":
        return [e[2]]
    return [a for a in e[1:] if isinstance(a, tuple) and a and isinstance(a[0], str)]


def free(e: Expr, laws: Laws, *, data: bool = False) -> frozenset[str]:
    """The free variables; with ``data``, those that empirical laws read too."""
    unbound, given = _mentions(e, laws)
    return unbound | given if data else unbound


def _mentions(e: Expr, laws: Laws) -> tuple[frozenset[str], frozenset[str]]:
    kind = e[0]
    if kind in ("val", "param"):
        return frozenset({e[1]}), frozenset()
    if kind in ("logp", "prob"):
        return frozenset([*drawn(e[1]), *conditions(e[1])]), frozenset()
    if kind == "E":
        unbound, given = _mentions(e[2], laws)
        own = {v for f in e[1]["factors"] if laws[f["law"]]["family"] == "data" for v in f["var"]}
        return (unbound - set(visible(e[1]))) | set(conditions(e[1])), given | own
    if kind in ("closed_kl", "closed_h"):
        found = set(e[1]["cond"])
        if kind == "closed_kl":
            found |= set(e[2]["cond"]) - set(e[1]["var"])
        return frozenset(found), frozenset()
    if kind == "let":
        unbound, given = _mentions(e[2], laws)
        unbound -= {name for name, _ in e[1]}
        for _, b in e[1]:
            more, also = _mentions(b, laws)
            unbound, given = unbound | more, given | also
        return unbound, given
    unbound, given = frozenset[str](), frozenset[str]()
    for child in children(e):
        more, also = _mentions(child, laws)
        unbound, given = unbound | more, given | also
    return unbound, given


# -- divergences and powers as what they stand for ------------------------------------------------
def spelled(e: Expr, laws: Laws) -> Expr:
    """The expression with divergences as closed forms and expectations, powers as products."""
    kind = e[0]
    if kind == "kl":
        return _kl(e[1], e[2], laws) if e[3] else ("E", e[1], _ratio(e[1], e[2]), None)
    if kind == "ce":
        if not e[3]:
            return ("neg", ("E", e[1], ("logp", e[2]), None))
        return _chain(e[1], e[2], laws, _ce_term)
    if kind == "h":
        if not e[2]:
            return ("neg", ("E", e[1], ("logp", e[1]), None))
        return _chain(e[1], None, laws, _h_term)
    if kind == "pow" and float(e[2]).is_integer() and e[2] > 0:
        base = spelled(e[1], laws)
        out = base
        for _ in range(int(e[2]) - 1):
            out = ("mul", out, base)
        return out
    if kind == "let":
        return ("let", e[1], spelled(e[2], laws))
    if kind == "apply":
        return ("apply", e[1], tuple(spelled(a, laws) for a in e[2]))
    if kind == "E":
        return ("E", e[1], spelled(e[2], laws), e[3])
    nodes = children(e)
    return tuple(spelled(a, laws) if any(a is c for c in nodes) else a for a in e)


def single(factor: dict[str, Any]) -> Law:
    """A law of one factor."""
    return {"factors": (factor,), "hidden": ()}


def _ratio(q: Law, p: Law) -> Expr:
    return ("sub", ("logp", q), ("logp", p))


def parents_first(law: Law) -> list[dict[str, Any]]:
    """The factors in an order in which each follows those that it reads."""
    rest, out = list(law["factors"]), []
    while rest:
        waiting = {v for f in rest for v in f["var"]}
        ready = next(f for f in rest if not set(f["cond"]) & waiting)
        rest.remove(ready)
        out.append(ready)
    return out


def _later(factor: dict[str, Any], q: Law) -> set[str]:
    found = set(factor["var"])
    for f in parents_first(q):
        if set(f["cond"]) & found:
            found |= set(f["var"])
    return found


def _has_closed_kl(f: dict[str, Any], g: dict[str, Any], q: Law, laws: Laws) -> bool:
    pair = (laws[f["law"]]["family"], laws[g["law"]]["family"])
    return pair in CLOSED and not set(g["cond"]) & _later(f, q)


def _kl(q: Law, p: Law, laws: Laws) -> Expr:
    return _chain(q, p, laws, _kl_term)


def _kl_term(f: Any, g: Any, q: Law, laws: Laws) -> tuple[Expr, set[str]]:
    if _has_closed_kl(f, g, q, laws):
        return ("closed_kl", f, g), {*f["cond"], *g["cond"]}
    return _ratio(single(f), single(g)), {*f["var"], *f["cond"], *g["cond"]}


def _ce_term(f: Any, g: Any, q: Law, laws: Laws) -> tuple[Expr, set[str]]:
    if _has_closed_kl(f, g, q, laws):
        return ("add", ("closed_kl", f, g), ("closed_h", f)), {*f["cond"], *g["cond"]}
    return ("neg", ("logp", single(g))), {*g["var"], *g["cond"]}


def _h_term(f: Any, g: Any, q: Law, laws: Laws) -> tuple[Expr, set[str]]:
    return ("closed_h", f), set(f["cond"])


def _chain(q: Law, p: Law | None, laws: Laws, term: Any) -> Expr:
    """The sum over factors, each averaged over those of q that it depends on."""
    total: Expr | None = None
    for f in parents_first(q):
        g = None
        if p is not None:
            g = next(g for g in p["factors"] if g["var"][0] == f["var"][0])
        e, reads = term(f, g, q, laws)
        for h in reversed(parents_first(q)):
            if reads & set(h["var"]):
                reads = reads | set(h["cond"])
        outer = tuple(h for h in q["factors"] if reads & set(h["var"]))
        if outer:
            e = ("E", {"factors": outer, "hidden": ()}, e, None)
        total = e if total is None else ("add", total, e)
    assert total is not None
    return total


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
        unbound, given = _mentions(e, self.laws)
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
