"""The smallest expression near one that fails, which fails too."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.expressions.generate import Case, drawn_factors
from tests.oracles.plain import children

Expr = tuple[Any, ...]
LIMIT = 400  # attempts


def size(e: Expr) -> int:
    """The number of nodes."""
    return 1 + sum(size(c) for c in children(e))


def shrunk(c: Case, fails: Callable[[Case], bool]) -> Case:
    """Replace parts by their children or by a number, drop plans, as long as it fails."""
    attempts = 0
    progress = True
    while progress and attempts < LIMIT:
        progress = False
        for smaller in _smaller(c):
            attempts += 1
            if fails(smaller):
                c, progress = smaller, True
                break
            if attempts >= LIMIT:
                break
    return c


def _smaller(c: Case) -> Iterator[Case]:
    found = sorted(_variants(c.expr), key=size)
    yield from (_with(c, e) for e in found if size(e) < size(c.expr))
    for key in c.plans:
        yield replace(c, plans={k: v for k, v in c.plans.items() if k != key})
    yield from (_with(c, e) for e in _simpler_laws(c.expr))


def _with(c: Case, e: Expr) -> Case:
    """The case of another expression, with the plans of what it draws."""
    drawn = {f["law"] for f in drawn_factors(e)}
    return replace(c, expr=e, plans={k: v for k, v in c.plans.items() if k in drawn})


def _variants(e: Expr) -> Iterator[Expr]:
    yield from children(e)
    if e[0] != "num":
        yield ("num", 1.5)
    for i, child in enumerate(children(e)):
        for other in _variants(child):
            yield _with_child(e, i, other)


def _simpler_laws(e: Expr) -> Iterator[Expr]:
    """The expression with one factor of one law uncut, or left out."""
    for i, a in enumerate(e):
        if isinstance(a, dict):
            factors = a["factors"]
            for j, f in enumerate(factors):
                if f["detached"]:
                    uncut = (*factors[:j], {**f, "detached": False}, *factors[j + 1 :])
                    yield (*e[:i], {**a, "factors": uncut}, *e[i + 1 :])
                rest = (*factors[:j], *factors[j + 1 :])
                if rest and e[0] in ("E", "logp", "prob") and f["var"] != a["hidden"]:
                    yield (*e[:i], {**a, "factors": rest}, *e[i + 1 :])
    for i, child in enumerate(children(e)):
        for other in _simpler_laws(child):
            yield _with_child(e, i, other)


def _with_child(e: Expr, index: int, child: Expr) -> Expr:
    """The node with another child."""
    if e[0] == "let":
        bindings = list(e[1])
        if index < len(bindings):
            bindings[index] = (bindings[index][0], child)
            return ("let", tuple(bindings), e[2])
        return ("let", e[1], child)
    if e[0] == "apply":
        args = list(e[2])
        args[index] = child
        return ("apply", e[1], tuple(args))
    old = children(e)[index]
    place = next(i for i, a in enumerate(e) if a is old and (index == 0 or i > index))
    return (*e[:place], child, *e[place + 1 :])
