"""Ancestral's objects from a plain description: one line per kind of node."""

import operator
from typing import Any

from ancestral.losses import (
    KL,
    CrossEntropy,
    E,
    Entropy,
    Enumerate,
    LeaveOneOut,
    LogProb,
    MaxLoss,
    MinLoss,
    Parameter,
    Pathwise,
    Prob,
    Score,
    Value,
    ValueLoss,
    norm,
    sqnorm,
)
from tests.expressions.world import World


def law(w: World, description: dict[str, Any]) -> Any:
    """A law: its factors renamed and cut, multiplied, marginalised, copied."""
    total: Any = None
    for f in description["factors"]:
        own, base = w.objects[f["law"]], w.laws[f["law"]]
        renaming = {
            old: new
            for old, new in zip(
                (*base["var"], *base["cond"]), (*f["var"], *f["cond"]), strict=True
            )
            if old != new
        }
        own = own.replace_var(**renaming) if renaming else own
        own = own.detach() if f["detached"] else own
        total = own if total is None else total * own
    if description["hidden"]:
        total = total.marginalize_var(list(description["hidden"]))
    copies = description["factors"][0]["copies"]
    return total.iid(**{copies[0]: copies[1]}) if copies else total


def loss(w: World, e: tuple[Any, ...]) -> Any:
    """The loss that a description describes."""
    return _RULES[e[0]](w, *e[1:])


def estimated(w: World, e: tuple[Any, ...], plans: dict[str, tuple[Any, ...]]) -> Any:
    """The loss with its estimators attached."""
    chosen = {w.objects[k]: _estimator(*plan) for k, plan in plans.items()}
    return loss(w, e).estimate(chosen) if chosen else loss(w, e)


def _estimator(kind: str, baseline: bool = False, draws: int | None = None) -> Any:
    if kind == "score":
        return Score(LeaveOneOut() if baseline else None, draws=draws)
    return Enumerate() if kind == "enumerate" else Pathwise()


def _binary(combine: Any) -> Any:
    """A rule for two operands, of which one may stand as a plain number."""

    def rule(w: World, a: tuple[Any, ...], b: tuple[Any, ...]) -> Any:
        if a[0] == "num" and b[0] != "num":
            return combine(a[1], loss(w, b))
        right = b[1] if b[0] == "num" else loss(w, b)
        return combine(loss(w, a), right)

    return rule


def _let(w: World, bindings: Any, a: tuple[Any, ...]) -> Any:
    inside = loss(w, a)
    if bindings[0][1][0] == "num":
        return inside.constant_var({name: b[1] for name, b in bindings})
    return inside.replace_var(**{name: b[1] for name, b in bindings})


_RULES: dict[str, Any] = {
    "num": lambda w, c: ValueLoss(c),
    "val": lambda w, name: Value(name),
    "param": lambda w, name: Parameter(name),
    "add": _binary(operator.add),
    "sub": _binary(operator.sub),
    "mul": _binary(operator.mul),
    "div": _binary(operator.truediv),
    "min": _binary(MinLoss),
    "max": _binary(MaxLoss),
    "neg": lambda w, a: -loss(w, a),
    "abs": lambda w, a: loss(w, a).abs(),
    "exp": lambda w, a: loss(w, a).exp(),
    "log": lambda w, a: loss(w, a).log(),
    "mean": lambda w, a: loss(w, a).mean(),
    "sum": lambda w, a: loss(w, a).sum(),
    "meank": lambda w, a, axis, size: loss(w, a).mean(axis),
    "sumk": lambda w, a, axis, size: loss(w, a).sum(axis),
    "detach": lambda w, a: loss(w, a).detach(),
    "norm": lambda w, a: norm(loss(w, a)),
    "sqnorm": lambda w, a: sqnorm(loss(w, a)),
    "pow": lambda w, a, n: loss(w, a) ** n,
    "clamp": lambda w, a, low, high: loss(w, a).clamp(low, high),
    "let": _let,
    "apply": lambda w, f, args: w.callables[f](*(loss(w, a) for a in args)),
    "logp": lambda w, p: LogProb(law(w, p)),
    "prob": lambda w, p: Prob(law(w, p)),
    "E": lambda w, p, body, draws: E(law(w, p), loss(w, body), sample_shape=draws),
    "kl": lambda w, q, p, closed: KL(law(w, q), law(w, p), analytical=closed),
    "ce": lambda w, q, p, closed: CrossEntropy(law(w, q), law(w, p), analytical=closed),
    "h": lambda w, q, closed: Entropy(law(w, q), analytical=closed),
}
