"""The value of a random expression and its gradient, in float64, from its plain description.

It has its own scoping, its own rule for which expectations share draws
(:mod:`tests.oracles.sharing`), and its own densities, closed forms and estimators
(:mod:`tests.oracles.laws`). Gradients are those of torch's autograd through this evaluation.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tests.oracles import laws as formulas
from tests.oracles.plain import Expr, Laws, Path, UnspecifiedError, children, free, spelled
from tests.oracles.sharing import Axis, Draw, Sharing, in_memory


@dataclass(frozen=True)
class Value:
    """A tensor with named axes in front of its event, and the cut draws that it depends on.

    A sum knows its addends, with their factors: the score of a draw multiplies only those that
    depend on the draw.
    """

    tensor: Tensor
    axes: tuple[Axis, ...] = ()
    live: frozenset[int] = frozenset()
    parts: "tuple[tuple[float, Value], ...]" = ()
    constant: float | None = None  # of a number that is written
    density: tuple[Any, ...] = ()  # of the log density of a law: which law, at what

    @property
    def addends(self) -> "tuple[tuple[float, Value], ...]":
        """What it is the sum of: itself, if it is no sum."""
        return self.parts or ((1.0, self),)

    def times(self, c: float) -> "tuple[tuple[float, Value], ...]":
        """The addends of a multiple."""
        return tuple((c * own, part) for own, part in self.addends)

    @property
    def event(self) -> int:
        """How many axes the event has."""
        return self.tensor.dim() - len(self.axes)


def total(parts: "Iterable[tuple[float, Value]]") -> Value:
    """The sum of some addends."""
    parts = tuple(parts)
    tensors, axes = lined_up([part for _, part in parts])
    added = sum((c * t for (c, _), t in zip(parts, tensors, strict=True)), torch.tensor(0.0))
    live = frozenset[int]().union(*(part.live for _, part in parts))
    return Value(added, axes, live, parts)


def lined_up(values: list[Value]) -> tuple[list[Tensor], tuple[Axis, ...]]:
    """Tensors that broadcast: axes by name, an event scalar lifted to meet an event."""
    axes = in_memory({a for v in values for a in v.axes})
    event = max(v.event for v in values)
    out = []
    for v in values:
        sizes = dict(zip(v.axes, v.tensor.shape, strict=False))
        own = tuple(v.tensor.shape[len(v.axes) :])
        own = own if len(own) == event else (*own, *(1,) * (event - len(own)))
        out.append(v.tensor.reshape((*(sizes.get(a, 1) for a in axes), *own)))
    return out, axes


class Evaluation:
    """One expression, prepared: its draws are known; it can be evaluated at any weights.

    Args:
        root: The expression, as :mod:`tests.oracles.plain` describes it.
        laws: The elementary laws.
        functions: Functions by key.
        plans: Estimators by elementary law.
        scalars: Given values without rows.
        rows: The number of rows.
        seed: Of the noise.
    """

    def __init__(
        self,
        root: Expr,
        laws: Laws,
        functions: Mapping[str, dict[str, Any]],
        plans: dict[str, tuple[Any, ...]],
        scalars: set[str],
        rows: int,
        seed: int,
    ) -> None:
        self.root = spelled(root, laws)
        self.laws, self.functions, self.plans = laws, functions, plans
        self.scalars, self.rows = scalars, rows
        self.sharing = Sharing(self.root, laws, scalars, plans)
        self.generator = torch.Generator().manual_seed(seed)
        self.noise: dict[str, Tensor] = {}
        for draw in self.sharing.draws:
            if not draw.is_table:
                self.noise[draw.name] = self._noise(draw)
        self.margin = math.inf

    def __call__(self, data: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
        """The value; :attr:`margin` is then the distance to the nearest kink."""
        self.data, self.weights = data, weights
        self.values: dict[int, Value] = {}
        self.margin = math.inf
        out = self._of(self.root, {}, ())
        if out.event:
            raise UnspecifiedError("a loss is one number per row")
        return out.tensor

    # -- noise ----------------------------------------------------------------------------------
    def _size(self, axis: Axis) -> int:
        if axis[0] == "n":
            return self.rows
        if axis[0] == "table":
            draw = self.sharing.draws[axis[1]]
            return len(formulas.table(self.laws[draw.key[0]]))
        size: int = axis[2]
        return size

    def _noise(self, draw: Draw) -> Tensor:
        law = self.laws[draw.key[0]]
        event = (law["classes"],) if law["family"] == "index" else law["event"]
        shape = (*(self._size(a) for a in in_memory(draw.axes)), *event)
        return formulas.base_noise(formulas.NOISE[law["family"]], shape, self.generator)

    # -- laws -----------------------------------------------------------------------------------
    def _name(self, name: str, env: Mapping[str, Value]) -> Value:
        if name in env:
            return env[name]
        axes = () if name in self.scalars else (("n", self.sharing.plates.of(name)),)
        return Value(self.data[name], axes)

    def _output(self, weight: str, conditions: list[Value]) -> Value:
        """A linear layer on the conditions side by side."""
        flat = [v if v.event else Value(v.tensor.double()[..., None], v.axes) for v in conditions]
        tensors, axes = lined_up(flat)
        lead = torch.broadcast_shapes(*(t.shape[:-1] for t in tensors))
        side = torch.cat([t.expand(*lead, t.shape[-1]) for t in tensors], -1)
        return Value(side @ self.weights[weight + ".w"].T + self.weights[weight + ".b"], axes)

    def _params(self, factor: dict[str, Any], env: Mapping[str, Value]) -> dict[str, Value]:
        law = self.laws[factor["law"]]
        conditions = [self._name(c, env) for c in factor["cond"]]
        live = frozenset[int]().union(*(c.live for c in conditions))
        learnt = [k for k, source in law["params"].items() if source[0] == "net"]
        out: dict[str, Value] = {}
        if learnt:
            made = self._output(factor["law"], conditions)
            width = made.tensor.shape[-1] // len(learnt)
            for i, key in enumerate(learnt):
                part = made.tensor[..., i * width : (i + 1) * width]
                if key == "scale":
                    part = torch.logaddexp(part, torch.zeros_like(part))
                out[key] = Value(part, made.axes, live)
        for key, source in law["params"].items():
            if source[0] == "number":
                out[key] = Value(torch.as_tensor(source[1], dtype=torch.float64))
            elif source[0] == "weight":
                out[key] = Value(self.weights[source[1]])
            elif source[0] == "condition":
                out[key] = conditions[law["cond"].index(source[1])]
        if factor["detached"]:
            out = {k: Value(v.tensor.detach(), v.axes) for k, v in out.items()}
        return out

    def _aligned(
        self, params: Mapping[str, Value], value: Value | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor], tuple[Axis, ...], frozenset[int]]:
        """A value and parameters that broadcast against each other, event axes last."""
        every = [*params.values(), *([value] if value is not None else [])]
        axes = in_memory({a for v in every for a in v.axes})

        def line(v: Value) -> Tensor:
            if not v.axes:
                return v.tensor
            sizes = dict(zip(v.axes, v.tensor.shape, strict=False))
            own = tuple(v.tensor.shape[len(v.axes) :])
            return v.tensor.reshape((*(sizes.get(a, 1) for a in axes), *own))

        live = frozenset[int]().union(*(v.live for v in every))
        out = {k: line(v) for k, v in params.items()}
        return (None if value is None else line(value)), out, axes, live

    def _log_density(self, factor: dict[str, Any], env: Mapping[str, Value]) -> Value:
        law = self.laws[factor["law"]]
        value = self._name(factor["var"][0], env)
        if not value.axes and not value.event:  # a number stands for a whole event
            value = Value(value.tensor.expand(law["event"]))
        x, params, axes, live = self._aligned(self._params(factor, env), value)
        assert x is not None
        if law["family"] == "laplace":
            self._kink((x - params["loc"]).detach().abs())
        out = formulas.log_density(law["family"], x, params)
        return replace(self._summed(out, law, axes, live), density=self._key(factor, env))

    def _key(self, factor: dict[str, Any], env: Mapping[str, Value]) -> tuple[Any, ...]:
        """Which law, and the tensors that its density is taken at."""
        named = [self._name(name, env) for name in (factor["var"][0], *factor["cond"])]
        return (factor["law"], factor["detached"], *(id(v.tensor) for v in named))

    def _summed(
        self,
        out: Tensor,
        law: dict[str, Any],
        axes: tuple[Axis, ...],
        live: frozenset[int],
    ) -> Value:
        """The sum over what is left of the event."""
        event = law["event"][:-1] if law["family"] == "onehot" else law["event"]
        sizes = tuple(self._size(a) for a in axes)
        out = out.expand((*sizes, *event))
        dims = tuple(range(len(axes), out.dim()))
        return Value(out.sum(dims) if dims else out, axes, live)

    def _kl(self, e: Expr, env: Mapping[str, Value]) -> Value:
        q, p = self._params(e[1], env), self._params(e[2], env)
        law = self.laws[e[1]["law"]]
        joined = {**{("q", k): v for k, v in q.items()}, **{("p", k): v for k, v in p.items()}}
        _, params, axes, live = self._aligned(joined)  # type: ignore[arg-type]
        of_q = {k[1]: v for k, v in params.items() if k[0] == "q"}
        of_p = {k[1]: v for k, v in params.items() if k[0] == "p"}
        family, other = law["family"], self.laws[e[2]["law"]]["family"]
        if family == other == "laplace":
            self._kink((of_q["loc"] - of_p["loc"]).detach().abs())
        return self._summed(formulas.kl(family, other, of_q, of_p), law, axes, live)

    def _entropy(self, e: Expr, env: Mapping[str, Value]) -> Value:
        law = self.laws[e[1]["law"]]
        _, params, axes, live = self._aligned(self._params(e[1], env))
        return self._summed(formulas.entropy(law["family"], params), law, axes, live)

    # -- expectations ---------------------------------------------------------------------------
    def _draw(self, factor: dict[str, Any], draw: Draw, env: Mapping[str, Value]) -> Value:
        law = self.laws[factor["law"]]
        if draw.is_table:
            assert draw.axis is not None
            return Value(formulas.table(law), (draw.axis,))
        params = self._params({**factor, "detached": False}, env)
        axes = in_memory(draw.axes)
        noise = self.noise[draw.name]
        event = noise.dim() - len(axes)
        _, lined, _, live = self._aligned(params, Value(noise, axes))
        tensor, margin = formulas.draw(law["family"], noise, lined)
        assert tensor.dim() - len(axes) in (event, event - 1)
        self.margin = min(self.margin, margin)
        if not self._is_path(factor["law"]):
            tensor = tensor.detach()
            live = live | {self.sharing.draws.index(draw)}
        out = Value(tensor, axes, live)
        return Value(tensor.detach(), axes) if factor["detached"] else out

    def _is_path(self, law: str) -> bool:
        if self.laws[law]["family"] in formulas.DISCRETE:
            return False
        return self.plans.get(law, ("pathwise",))[0] == "pathwise"

    def _expectation(self, e: Expr, env: Mapping[str, Value], path: Path) -> Value:
        taken = self.sharing.taken[path]
        inside = dict(env)
        for factor, draw in taken.draws:
            law = self.laws[factor["law"]]
            if draw is not None:
                inside[factor["var"][0]] = self._draw(factor, draw, inside)
            elif law["family"] == "data":
                inside.update({v: self._name(v, {}) for v in factor["var"]})
            else:
                conditions = [self._name(c, inside) for c in factor["cond"]]
                made = self._output(factor["law"], conditions)
                live = frozenset[int]().union(*(c.live for c in conditions))
                tensor = made.tensor.detach() if factor["detached"] else made.tensor
                live = frozenset() if factor["detached"] else live
                inside[factor["var"][0]] = Value(tensor, made.axes, live)
        every = inside
        inside = {k: v for k, v in inside.items() if k not in e[1]["hidden"]}
        inside.update({k: env[k] for k in e[1]["hidden"] if k in env})
        body = self._of(e[2], inside, (*path, ("E", 0)))
        if body.event:
            raise UnspecifiedError("an integrand is one number per row")
        tables: list[tuple[dict[str, Any], Draw]] = []  # drawn after what is still to come
        for factor, draw in reversed(taken.draws):
            if draw is None:
                continue
            if draw.is_table:
                tables.insert(0, (factor, draw))
                continue
            index = self.sharing.draws.index(draw)
            weights = [self._log_density(f, every) for f, _ in tables]
            if any(index in v.live for v in (body, *weights)):
                body, tables = self._tabled(body, tables, every), []
                body = self._scored(body, factor, draw, every)
        body = self._tabled(body, tables, every)
        over = [d.axis for _, d in taken.draws if d is not None and d.axis is not None]
        over += [taken.average] if taken.average is not None else []
        for axis in dict.fromkeys(over):
            if axis in body.axes:
                body = self._reduced("mean", body, axis)
        return body

    def _tabled(
        self,
        body: Value,
        tables: list[tuple[dict[str, Any], Draw]],
        env: Mapping[str, Value],
    ) -> Value:
        """The integrand summed over tables; addends that read the same of them are one."""
        every = {draw.axis for _, draw in tables}
        groups: dict[frozenset[Any], list[tuple[float, Value]]] = {}
        for c, part in body.addends:
            groups.setdefault(frozenset(every.intersection(part.axes)), []).append((c, part))
        found = groups.pop(frozenset(), [])
        for alike in groups.values():
            one = total(alike)
            for factor, draw in reversed(tables):
                if draw.axis is None or draw.axis not in one.axes:
                    continue  # the probabilities sum to one
                weight = self._log_density(factor, env)
                (w, b), axes = lined_up([weight, one])
                one = Value(w.exp() * b, axes, weight.live | one.live)
                one = self._reduced("sum", one, draw.axis)
            found.append((1.0, one))
        return total(found)

    def _scored(
        self, body: Value, factor: dict[str, Any], draw: Draw, env: Mapping[str, Value]
    ) -> Value:
        """The integrand with the score function's gradient for the addends that read a draw."""
        index = self.sharing.draws.index(draw)
        plan = self.plans.get(factor["law"], ("pathwise",))
        mine = [(c, part) for c, part in body.addends if index in part.live]
        if plan[0] != "score" or not mine:
            return body
        rest = [(c, part) for c, part in body.addends if index not in part.live]
        value = self._name(factor["var"][0], env)
        log_q = self._log_density(
            factor, {**env, factor["var"][0]: Value(value.tensor.detach(), value.axes)}
        )

        key = self._key(factor, env)

        def cut(part: Value) -> Value:  # the draw's own density: its score has the mean 0
            own = part.density == key
            return Value(part.tensor.detach(), part.axes, part.live) if own else part

        f = total((c, cut(part)) for c, part in mine)
        for axis in log_q.axes:
            if axis not in f.axes:  # one integrand of several draws: their joint density
                log_q = self._reduced("sum", log_q, axis)
        gain = f.tensor.detach()
        if plan[1]:
            if draw.axis not in f.axes:
                raise UnspecifiedError("a baseline of the other draws, but there is one draw")
            at = f.axes.index(draw.axis)
            n = gain.shape[at]
            gain = gain - (gain.sum(at, keepdim=True) - gain) / (n - 1)
        (g, b, lq), axes = lined_up([Value(gain, f.axes), f, log_q])
        return total([*rest, (1.0, Value(b + g * (lq - lq.detach()), axes, f.live - {index}))])

    def _reduced(self, how: str, v: Value, axis: Axis) -> Value:
        at = v.axes.index(axis)
        out = v.tensor.mean(at) if how == "mean" else v.tensor.sum(at)
        return Value(out, tuple(a for a in v.axes if a != axis), v.live)

    # -- arithmetic -----------------------------------------------------------------------------
    def _kink(self, distance: Tensor) -> None:
        self.margin = min(self.margin, float(distance.min()))

    def _of(self, e: Expr, env: Mapping[str, Value], path: Path) -> Value:
        kind = e[0]
        if kind == "num":
            return Value(torch.tensor(e[1], dtype=torch.float64), constant=float(e[1]))
        if kind in ("val", "param"):
            return self._name(e[1], env)
        if kind in ("logp", "prob"):
            return self._density(e, env)
        if kind == "E":
            return self._expectation(e, env, path)
        if kind == "closed_kl":
            return self._kl(e, env)
        if kind == "closed_h":
            return self._entropy(e, env)
        if kind == "let":
            inside = {**env, **{name: self._of(b, env, path) for name, b in e[1]}}
            return self._of(e[2], inside, (*path, ("let", 0)))
        args = [self._of(a, env, (*path, (kind, i))) for i, a in enumerate(children(e))]
        if kind == "apply":
            return self._applied(e[1], args)
        if kind in ("mean", "sum"):
            return self._rows_reduced(e, args[0], env)
        if kind in ("meank", "sumk"):
            return self._copies_reduced(e, args[0])
        tensors, axes = lined_up(args)
        live = frozenset[int]().union(*(a.live for a in args))
        if kind in ("norm", "sqnorm"):
            dims = tuple(range(len(axes), tensors[0].dim()))
            square = (tensors[0] ** 2).sum(dims) if dims else tensors[0] ** 2
            if kind == "norm":
                self._kink(square.detach().sqrt())
            return Value(square if kind == "sqnorm" else square.sqrt(), axes, live)
        if kind == "detach":
            return Value(tensors[0].detach(), axes, constant=args[0].constant)
        return Value(self._elementwise(e, tensors), axes, live, self._addends(kind, args))

    def _addends(self, kind: str, args: list[Value]) -> tuple[tuple[float, Value], ...]:
        """Of a sum, a difference, or a multiple by a number; of nothing else."""
        if kind == "neg":
            return args[0].times(-1.0)
        if kind in ("add", "sub"):
            return args[0].addends + args[1].times(1.0 if kind == "add" else -1.0)
        if kind in ("mul", "div"):
            a, b = args
            if b.constant is not None:
                return a.times(b.constant if kind == "mul" else 1.0 / b.constant)
            if kind == "mul" and a.constant is not None:
                return b.times(a.constant)
        return ()

    def _density(self, e: Expr, env: Mapping[str, Value]) -> Value:
        terms = [self._log_density(f, env) for f in e[1]["factors"]]
        tensors, axes = lined_up(terms)
        live = frozenset[int]().union(*(t.live for t in terms))
        both = sum(tensors[1:], tensors[0])
        if e[0] == "prob":
            return Value(both.exp(), axes, live)
        return Value(both, axes, live, tuple((1.0, term) for term in terms))

    def _applied(self, key: str, args: list[Value]) -> Value:
        """``tanh`` of a linear layer; a number per row has lost its axis of one entry."""
        made = self._output(key, args)
        out = torch.tanh(made.tensor)
        live = frozenset[int]().union(*(a.live for a in args))
        return Value(out[..., 0] if self.functions[key]["scalar"] else out, made.axes, live)

    def _rows_reduced(self, e: Expr, v: Value, env: Mapping[str, Value]) -> Value:
        rows = [a for a in v.axes if a[0] == "n"]
        if any(a[0] == "table" for a in v.axes):
            raise UnspecifiedError("rows are reduced before a table is summed")
        if rows:
            return self._reduced(e[0], v, rows[0])
        names = free(e[1], self.laws)
        if e[0] == "sum" and any(a[0] == "n" for n in names for a in self._name(n, env).axes):
            raise UnspecifiedError("a sum over rows of a value that has none")
        return v

    def _copies_reduced(self, e: Expr, v: Value) -> Value:
        how, axis = e[0][:-1], ("k", e[2], e[3])
        if axis in v.axes:
            return self._reduced(how, v, axis)
        return v if how == "mean" else total(v.times(axis[2]))

    def _elementwise(self, e: Expr, t: list[Tensor]) -> Tensor:
        kind = e[0]
        if kind in ("add", "sub", "mul", "div"):
            if kind == "div":
                self._kink(t[1].detach().abs())
            a, b = t
            return {"add": a + b, "sub": a - b, "mul": a * b}[kind] if kind != "div" else a / b
        if kind in ("min", "max"):
            self._kink((t[0] - t[1]).detach().abs())
            return torch.where((t[0] < t[1]) == (kind == "min"), t[0], t[1])
        a = t[0]
        if kind == "pow":
            self._kink(a.detach().abs())
            return a ** e[2]
        if kind == "clamp":
            for bound in e[2:]:
                if bound is not None:
                    self._kink((a - bound).detach().abs())
            a = a if e[2] is None else torch.where(a < e[2], torch.full_like(a, e[2]), a)
            return a if e[3] is None else torch.where(a > e[3], torch.full_like(a, e[3]), a)
        if kind in ("abs", "log"):
            self._kink(a.detach().abs())
            return torch.where(a < 0, -a, a) if kind == "abs" else a.log()
        return {"neg": lambda: -a, "exp": lambda: a.exp()}[kind]()
