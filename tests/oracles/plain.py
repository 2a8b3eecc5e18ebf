"""Expressions as plain data, the names in them, and what divergences and powers stand for.

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
"""

from typing import Any

Expr = tuple[Any, ...]
Law = dict[str, Any]
Laws = dict[str, dict[str, Any]]
Path = tuple[tuple[str, int], ...]  # from the root: the kind of a node, and the child taken

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
    unbound, given = mentions(e, laws)
    return unbound | given if data else unbound


def mentions(e: Expr, laws: Laws) -> tuple[frozenset[str], frozenset[str]]:
    kind = e[0]
    if kind in ("val", "param"):
        return frozenset({e[1]}), frozenset()
    if kind in ("logp", "prob"):
        return frozenset([*drawn(e[1]), *conditions(e[1])]), frozenset()
    if kind == "E":
        unbound, given = mentions(e[2], laws)
        own = {v for f in e[1]["factors"] if laws[f["law"]]["family"] == "data" for v in f["var"]}
        return (unbound - set(visible(e[1]))) | set(conditions(e[1])), given | own
    if kind in ("closed_kl", "closed_h"):
        found = set(e[1]["cond"])
        if kind == "closed_kl":
            found |= set(e[2]["cond"]) - set(e[1]["var"])
        return frozenset(found), frozenset()
    if kind == "let":
        unbound, given = mentions(e[2], laws)
        unbound -= {name for name, _ in e[1]}
        for _, b in e[1]:
            more, also = mentions(b, laws)
            unbound, given = unbound | more, given | also
        return unbound, given
    unbound, given = frozenset[str](), frozenset[str]()
    for child in children(e):
        more, also = mentions(child, laws)
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
