"""Random expressions as plain data, from a seed."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.expressions.world import KINDS, REAL, SCALARS, World, base, twin, world
from tests.oracles.plain import children, free, visible

Expr = tuple[Any, ...]
PER_WORLD = 50
DISCRETE = ("bernoulli", "onehot", "index")
DENSE = ("normal", "laplace", *DISCRETE)

# How often each operator is tried where an expression is not yet at its depth.
OPERATORS = {
    "add": 6, "sub": 6, "mul": 5, "div": 3, "pow": 3, "neg": 3, "abs": 3, "exp": 3, "log": 3,
    "clamp": 3, "min": 3, "max": 3, "mean": 3, "sum": 3, "detach": 3, "let": 4, "E": 14, "iid": 5,
    "scale": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One random expression."""

    seed: int
    world: int
    expr: Expr
    plans: dict[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scope:
    """What an expression may read by preference, and the copies around it."""

    bound: tuple[str, ...] = ()
    nested: int = 0
    axes: int = 0


def case(seed: int, attempt: int = 0) -> Case:
    """The expression of a seed; of a later attempt another one."""
    number = seed // PER_WORLD
    return _Author(seed, attempt, world(number)).case(number)


def depth(e: Expr) -> int:
    """The number of nodes on the longest way down."""
    return 1 + max((depth(c) for c in children(e)), default=0)


class _Author:
    def __init__(self, seed: int, attempt: int, w: World) -> None:
        self.r = random.Random(f"{seed} {attempt}")
        self.seed, self.w = seed, w

    def case(self, number: int) -> Case:
        e = self.loss(self.r.choice((3, 4, 5, 5, 6, 6)), Scope())
        if depth(e) < 6 and self.r.random() < 0.5:
            e = (self.r.choice(("mean", "sum")), e)
        return Case(self.seed, number, e, self.plans(e))

    def chance(self, p: float) -> bool:
        return self.r.random() < p

    # -- losses ---------------------------------------------------------------------------------
    def loss(self, d: int, s: Scope) -> Expr:
        if d <= 1:
            return self.leaf(s)
        op = self.r.choices(list(OPERATORS), list(OPERATORS.values()))[0]
        rule = getattr(self, f"_{op}", None)
        if rule is not None:
            return rule(d, s)
        if op in ("neg", "abs", "mean", "sum", "detach"):
            return (op, self.loss(d - 1, s))
        pair = [self.loss(d - 1, s), self.other(d - 1, s)]
        self.r.shuffle(pair)
        return (op, *pair)

    def other(self, d: int, s: Scope) -> Expr:
        """A second operand, which is seldom as deep as the first."""
        return self.loss(min(d, self.r.choice((1, 1, 2, 3))), s)

    def number(self) -> Expr:
        return ("num", round(self.r.choice((-1, 1)) * self.r.uniform(0.3, 2.5), 2))

    def _scale(self, d: int, s: Scope) -> Expr:
        factor = ("param", self.r.choice(SCALARS)) if self.chance(0.5) else self.number()
        return self.swapped("mul", factor, self.loss(d - 1, s))

    def swapped(self, op: str, a: Expr, b: Expr) -> Expr:
        return (op, b, a) if self.chance(0.5) else (op, a, b)

    def positive(self, d: int, s: Scope) -> Expr:
        """A loss above zero."""
        if d <= 1:
            return self.r.choice((("prob", self.dense(s)), ("sqnorm", self.event(s))))
        if d == 2 or self.chance(0.3):
            return ("exp", self.gentle(d - 1, s))
        return ("add", ("abs", self.loss(d - 2, s)), ("num", round(self.r.uniform(0.3, 1.5), 2)))

    def gentle(self, d: int, s: Scope) -> Expr:
        """A loss of moderate size."""
        if d <= 1:
            return ("apply", *self.applied(s)) if self.chance(0.4) else self.leaf(s)
        if self.chance(0.5):
            return ("clamp", self.loss(d - 1, s), -2.0, 2.0)
        return ("mul", ("num", 0.1), self.loss(d - 1, s))

    def _div(self, d: int, s: Scope) -> Expr:
        if self.chance(0.3):
            return ("div", self.loss(d - 1, s), self.number())
        if self.chance(0.3):
            return ("div", self.number(), self.positive(d - 1, s))
        return ("div", self.other(d - 1, s), self.positive(d - 1, s))

    def _pow(self, d: int, s: Scope) -> Expr:
        if self.chance(0.5):
            return ("pow", self.loss(d - 1, s), self.r.choice((2, 2, 3)))
        return ("pow", self.positive(d - 1, s), self.r.choice((0.5, -0.5, 1.5, -1)))

    def _exp(self, d: int, s: Scope) -> Expr:
        return ("exp", self.gentle(d - 1, s))

    def _log(self, d: int, s: Scope) -> Expr:
        return ("log", self.positive(d - 1, s))

    def _clamp(self, d: int, s: Scope) -> Expr:
        low, high = self.r.choice(((-3.0, None), (None, 3.0), (-4.0, 4.0), (-0.5, None)))
        return ("clamp", self.loss(d - 1, s), low, high)

    def _min(self, d: int, s: Scope) -> Expr:
        return self._extremum("min", d, s)

    def _max(self, d: int, s: Scope) -> Expr:
        return self._extremum("max", d, s)

    def _extremum(self, op: str, d: int, s: Scope) -> Expr:
        second = self.number() if self.chance(0.4) else self.other(d - 1, s)
        return self.swapped(op, self.loss(d - 1, s), second)

    def _let(self, d: int, s: Scope) -> Expr:
        inside = self.loss(d - 1, s)
        names = [n for n in sorted(free(inside, self.w.laws)) if n not in SCALARS]
        numbers = [n for n in names if not _is_condition(inside, n)]
        if numbers and self.chance(0.7):
            n = self.r.choice(numbers)
            if KINDS[base(n)] == "real" or KINDS[base(n)] == "binary":
                value = 1.0 if KINDS[base(n)] == "binary" else round(self.r.uniform(-1, 1), 2)
                return ("let", ((n, ("num", value)),), inside)
        scalars = [n for n in sorted(free(inside, self.w.laws)) if n in SCALARS]
        if scalars:
            return ("let", ((scalars[0], ("num", 0.7)),), inside)
        if not names:
            return inside
        n = self.r.choice(names)
        return ("let", ((n, ("val", twin(n))),), inside)

    # -- expectations ---------------------------------------------------------------------------
    def _E(self, d: int, s: Scope) -> Expr:
        law = self.drawable(s)
        inside = Scope(tuple(visible(law)), s.nested + 1, s.axes)
        body = self.loss(d - 1, inside)
        if self.chance(0.12) and d < 6:
            return self.repeated(law, body, inside)
        return ("E", law, body, self.draws())

    def draws(self) -> int | None:
        return self.r.choice((2, 3)) if self.chance(0.15) else None

    def repeated(self, law: dict[str, Any], body: Expr, inside: Scope) -> Expr:
        """Two or three expectations under one law, in a sum, a product or both."""
        first = ("E", law, body, self.draws())
        second = ("E", law, self.leaf(inside), None)
        out = (self.r.choice(("add", "sub", "mul", "mul")), first, second)
        if self.chance(0.4):
            op = self.r.choice(("add", "sub", "mul"))
            out = self.swapped(op, out, ("E", law, self.leaf(inside), None))
        return out

    def _iid(self, d: int, s: Scope) -> Expr:
        axis, size = f"k{s.axes or ''}", self.r.choice((2, 3))
        law = self.drawable(s, copies=(axis, size))
        inside = Scope(tuple(visible(law)), s.nested + 1, s.axes + 1)
        if self.chance(0.4) and d >= 4:
            how = self.r.choice(("meank", "sumk"))
            e: Expr = ("log", (how, ("exp", self.gentle(d - 4, inside)), axis, size))
        else:
            e = (self.r.choice(("meank", "sumk")), self.loss(d - 2, inside), axis, size)
        if self.chance(0.3):
            e = self.swapped("mul", e, ("meank", self.leaf(inside), axis, size))
        return ("E", law, e, None)

    # -- leaves ---------------------------------------------------------------------------------
    def leaf(self, s: Scope) -> Expr:
        kind = self.r.choices(
            ("logp", "prob", "kl", "ce", "h", "norm", "sqnorm", "apply", "param", "num"),
            (10, 2, 4, 2, 2, 2, 2, 3, 1, 1),
        )[0]
        if kind in ("logp", "prob"):
            return (kind, self.dense(s))
        if kind in ("kl", "ce"):
            q, p = self.pair(s)
            return (kind, q, p, self.chance(0.75))
        if kind == "h":
            return ("h", self.dense(s), self.chance(0.75))
        if kind in ("norm", "sqnorm"):
            return (kind, self.event(s))
        if kind == "apply":
            return ("apply", *self.applied(s))
        return ("param", self.r.choice(SCALARS)) if kind == "param" else self.number()

    def applied(self, s: Scope, key: str = "") -> tuple[str, tuple[Expr, ...]]:
        key = key or self.r.choice(("f", "e"))
        return key, (("val", self.like(self.w.functions[key]["arg"], s)),)

    def like(self, name: str, s: Scope) -> str:
        """A variable of the same shape, bound if possible."""
        same = [n for n in s.bound if n in (name, twin(name))]
        return self.r.choice(same) if same else name

    def event(self, s: Scope) -> Expr:
        real = [n for n in s.bound if KINDS[base(n)] != "index"]
        name = self.r.choice(real) if real and self.chance(0.8) else self.r.choice(REAL)
        value: Expr = ("val", name)
        kind = self.r.randrange(5)
        if kind == 0:
            return ("sub", value, ("val", twin(name)))
        if kind == 1:
            t: Expr = ("param", self.r.choice(SCALARS))
            return (
                "add",
                ("mul", t, value),
                ("mul", ("sub", ("num", 1.0), t), ("val", twin(name))),
            )
        if kind == 2:
            return ("mul", ("apply", "f", self.applied(s, "f")[1]), value)
        if kind == 3:
            arg = self.like(self.w.functions["g"]["arg"], s)
            return ("apply", "g", (("val", arg),))
        return value

    # -- laws -----------------------------------------------------------------------------------
    def pick(self, families: Iterable[str], s: Scope, over: tuple[str, ...] | None = None) -> str:
        """An elementary law: the family first, so that each is as frequent."""
        w = self.w
        family = self.r.choice(list(families))
        keys = w.of_family(family)
        if over is not None:
            keys = [k for k in keys if w.laws[k]["var"] == over]
        wanted = {base(n) for n in s.bound}
        near = [k for k in keys if wanted & {*w.laws[k]["var"], *w.laws[k]["cond"]}]
        return self.r.choice(near if near and self.chance(0.7) else keys)

    def factor(self, key: str, s: Scope, taken: Iterable[str] = ()) -> dict[str, Any]:
        """A factor, perhaps renamed or cut; its conditions are bound names where there are some."""
        law = self.w.laws[key]
        var = list(law["var"])
        if law["family"] != "data" and (var[0] in taken or self.chance(0.15)):
            var = [twin(v) for v in var]
        cond = []
        for c in law["cond"]:
            names = [n for n in (c, twin(c)) if n not in var and n not in cond]
            bound = [n for n in names if n in s.bound]
            cond.append(self.r.choice(bound) if bound else c if self.chance(0.9) else names[-1])
        cut = law["family"] != "data" and self.chance(0.12)
        return _factor(key, var, cond, cut)

    def dense(self, s: Scope) -> dict[str, Any]:
        """A law with a density: one factor, or two."""
        first = self.factor(self.pick(DENSE, s), s)
        if not self.chance(0.2):
            return _law([first])
        second = self.factor(self.pick(DENSE, s), s, first["var"])
        return _law([first, second]) if _is_product([first, second]) else _law([first])

    def pair(self, s: Scope) -> tuple[dict[str, Any], dict[str, Any]]:
        """Two laws over the same variables."""
        q = self.dense(replace(s, bound=s.bound))
        factors = []
        for f in q["factors"]:
            law = self.w.laws[f["law"]]
            same = [law["family"]]
            if law["family"] in ("normal", "laplace") and self.chance(0.25):
                same = ["laplace" if law["family"] == "normal" else "normal"]
            key = self.pick(same, s, law["var"])
            g = self.factor(key, s)
            swap = dict(zip(g["var"], f["var"], strict=True))
            cond = [swap.get(c, c) for c in g["cond"]]
            cond = [twin(c) if c in f["var"] else c for c in cond]
            if len(set(cond)) < len(cond):
                return q, q
            factors.append({**g, "var": f["var"], "cond": tuple(cond)})
        return (q, _law(factors)) if _is_product(factors) else (q, q)

    def drawable(self, s: Scope, copies: tuple[str, int] | None = None) -> dict[str, Any]:
        """A law to draw from: one factor, a product, a marginal."""
        families = [*DENSE, "deterministic", "data"] if copies is None else list(DENSE)
        first = self.factor(self.pick(families, s), s)
        factors = [first]
        if self.chance(0.35):
            inner = Scope((*s.bound, *first["var"]))
            rest = DENSE if copies else (*DENSE, "deterministic")
            second = self.factor(self.pick(rest, inner), inner, first["var"])
            if _is_product([second, first]):
                factors = [second, first] if self.chance(0.6) else [first, second]
        if copies is not None:
            factors = [{**f, "copies": copies} for f in factors]
        hidden: tuple[str, ...] = ()
        if len(factors) == 2 and copies is None and self.chance(0.3):
            child = factors[0] if set(factors[0]["cond"]) & set(factors[1]["var"]) else factors[1]
            other = factors[1] if child is factors[0] else factors[0]
            if self.w.laws[other["law"]]["family"] != "data":
                hidden = other["var"]
        return {"factors": tuple(factors), "hidden": hidden}

    # -- plans ----------------------------------------------------------------------------------
    def plans(self, e: Expr) -> dict[str, tuple[Any, ...]]:
        """An estimator for each discrete law that is drawn, and for some of the others."""
        out: dict[str, tuple[Any, ...]] = {}
        tables = 0
        for f in drawn_factors(e):
            law, key = self.w.laws[f["law"]], f["law"]
            copied = any(g["copies"] for g in drawn_factors(e) if g["law"] == key)
            if law["family"] in ("data", "deterministic") or key in out:
                continue
            if law["family"] in DISCRETE:
                if not copied and tables < 2 and self.chance(0.5):
                    tables += 1
                    out[key] = ("enumerate",)
                else:
                    out[key] = self.score()
            elif self.chance(0.25):
                out[key] = ("pathwise",) if self.chance(0.4) else self.score()
        return out

    def score(self) -> tuple[Any, ...]:
        if self.chance(0.4):
            return ("score", True, self.r.choice((2, 3)))
        return ("score", False, self.r.choice((None, None, 2)))


def _factor(key: str, var: Iterable[str], cond: Iterable[str], cut: bool) -> dict[str, Any]:
    return {"law": key, "var": tuple(var), "cond": tuple(cond), "detached": cut, "copies": None}


def _law(factors: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"factors": tuple(factors), "hidden": ()}


def _is_product(factors: list[dict[str, Any]]) -> bool:
    """Whether factors draw different variables, none on its own, without a cycle."""
    names = [v for f in factors for v in f["var"]]
    if len(set(names)) < len(names):
        return False
    reads = [set(f["cond"]) & set(names) for f in factors]
    return not all(reads)


def _is_condition(e: Expr, name: str) -> bool:
    """Whether a network reads the name, or a value with an event stands for it."""
    if e[0] == "val":
        return bool(e[1] == name)
    laws = [a for a in e[1:] if isinstance(a, dict)]
    if any(name in f["cond"] for a in laws for f in a["factors"]):
        return True
    return any(_is_condition(c, name) for c in children(e))


def drawn_factors(e: Expr) -> list[dict[str, Any]]:
    """The factors that an expression may draw from."""
    own = list(e[1]["factors"]) if e[0] in ("E", "kl", "ce", "h") else []
    return own + [f for c in children(e) for f in drawn_factors(c)]
