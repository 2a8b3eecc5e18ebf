"""Values of formulas with every expectation taken exactly.

An expectation under a discrete law is a sum over its values, under a normal or Laplace law Gauss
quadrature; copies are integrated each on its own. Nothing is drawn.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.oracles import laws as formulas
from tests.oracles.expressions import Evaluation, Value, lined_up
from tests.oracles.plain import Expr, Law, Laws, Path, UnspecifiedError, parents_first
from tests.oracles.sharing import Axis, in_memory


class Exact(Evaluation):
    """The value of a formula, each expectation taken exactly; only the points are finite.

    Args:
        laws: The elementary laws by name.
        functions: Functions by name.
        data: Values of the given variables.
        weights: Weights of laws and functions.
        scalars: Given values without rows.
        points: Quadrature points in each dimension.
        largest: How many points the grid of all dimensions may have.
    """

    def __init__(
        self,
        laws: Laws,
        functions: Mapping[str, dict[str, Any]],
        data: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        scalars: set[str],
        *,
        points: int = 32,
        largest: int = 50_000,
    ) -> None:
        self.laws, self.functions, self.plans = laws, functions, {}
        self.data, self.weights, self.scalars = data, weights, scalars
        self.points, self.largest = points, largest
        self.rows = next((len(v) for k, v in data.items() if k not in scalars), 1)
        self.margin = float("inf")
        self.sizes: list[int] = []

    def value(self, e: Expr) -> Tensor:
        """The value of a formula."""
        return self._of(e, {}, ()).tensor

    def _name(self, name: str, env: Mapping[str, Value]) -> Value:
        if name in env:
            return env[name]
        return Value(self.data[name], () if name in self.scalars else (("n", ""),))

    def _size(self, axis: Axis) -> int:
        if axis[0] == "table":
            return self.sizes[axis[1]]
        size: int = self.rows if axis[0] == "n" else axis[2]
        return size

    def _of(self, e: Expr, env: Mapping[str, Value], path: Path) -> Value:
        if e[0] == "kl" and self._is_closed(e[1], e[2]):
            return self._kl(("closed_kl", e[1]["factors"][0], e[2]["factors"][0]), env)
        if e[0] == "kl":
            difference = ("sub", ("logp", e[1]), ("logp", e[2]))
            return self._expectation(("E", e[1], difference, None), env, path)
        if e[0] == "h":
            return self._expectation(("E", e[1], ("neg", ("logp", e[1])), None), env, path)
        return super()._of(e, env, path)

    def _is_closed(self, q: Law, p: Law) -> bool:
        """Whether a divergence has kinks that quadrature would blur, and a closed form."""
        if len(q["factors"]) > 1 or len(p["factors"]) > 1:
            return False
        f, g = q["factors"][0], p["factors"][0]
        families = {self.laws[f["law"]]["family"], self.laws[g["law"]]["family"]}
        kinks = "laplace" in families and families <= {"laplace", "normal"}
        return kinks and not set(g["cond"]) & set(f["var"])

    def _copies_reduced(self, e: Expr, v: Value) -> Value:
        found = [a for a in v.axes if a[0] == "k" and a[1] == e[2]]
        if not found:
            raise UnspecifiedError("a reduction of copies that nothing depends on")
        return self._reduced(e[0][:-1], v, found[0])

    def _rows_reduced(self, e: Expr, v: Value, env: Mapping[str, Value]) -> Value:
        if any(a[0] == "table" for a in v.axes):
            raise UnspecifiedError("rows are reduced before an expectation is taken")
        rows = [a for a in v.axes if a[0] == "n"]
        return self._reduced(e[0], v, rows[0]) if rows else v

    def _expectation(self, e: Expr, env: Mapping[str, Value], path: Path) -> Value:
        self._check_size(e[1], env)
        inside = dict(env)
        weights: list[Value] = []
        data = False
        for factor in parents_first(e[1]):
            law = self.laws[factor["law"]]
            if law["family"] == "data":
                inside |= {v: self._name(v, {}) for v in factor["var"]}
                data = True
            elif law["family"] == "deterministic":
                conditions = [self._name(c, inside) for c in factor["cond"]]
                inside[factor["var"][0]] = self._output(factor["law"], conditions)
            else:
                value, more = self._integrated(factor, inside)
                inside[factor["var"][0]] = value
                weights += more
        body = self._of(e[2], inside, path)
        own = {a for w in weights for a in w.axes if a[0] == "table"}
        own -= {a for v in env.values() for a in v.axes}
        for weight in reversed(weights):
            (b, w), axes = lined_up([body, weight])
            body = Value(b * w, axes)
        for axis in own:
            body = self._reduced("sum", body, axis)
        if data:
            return self._reduced("mean", body, ("n", ""))
        return body

    def _check_size(self, law: Law, env: Mapping[str, Value]) -> None:
        around = {a for v in env.values() for a in v.axes}
        size = np.prod([self._size(a) for a in around], dtype=float)
        for f in law["factors"]:
            own = self.laws[f["law"]]
            if own["family"] in formulas.DISCRETE:
                size *= len(formulas.table(own)) ** (f["copies"][1] if f["copies"] else 1)
            elif own["family"] in ("normal", "laplace"):
                size *= self.points ** (own["event"][0] * (f["copies"][1] if f["copies"] else 1))
        if size > self.largest:
            raise UnspecifiedError("too many points")

    def _integrated(
        self, factor: dict[str, Any], env: Mapping[str, Value]
    ) -> tuple[Value, list[Value]]:
        """The points of a variable, and the weights of each: one axis, or one for each copy."""
        axis = factor["copies"]
        made = [self._points(factor, env, copy) for copy in range(axis[1] if axis else 1)]
        if axis is None:
            return made[0][0], [made[0][1]]
        place = ("k", *axis)
        parts, axes = lined_up([v for v, _ in made])
        event = parts[0].dim() - len(axes)
        wide = torch.broadcast_tensors(*parts)
        stacked = Value(torch.stack(wide, len(axes)), (*axes, place))
        order = in_memory(set(stacked.axes))
        places = [stacked.axes.index(a) for a in order]
        last = range(stacked.tensor.dim() - event, stacked.tensor.dim())
        return Value(stacked.tensor.permute(*places, *last), order), [w for _, w in made]

    def _points(
        self, factor: dict[str, Any], env: Mapping[str, Value], copy: int
    ) -> tuple[Value, Value]:
        law = self.laws[factor["law"]]
        env = {k: self._copy(v, factor, copy) for k, v in env.items()}
        params = self._params(factor, env)
        if law["family"] in formulas.DISCRETE:
            table = formulas.table(law)
            axis = self._axis(len(table))
            value = Value(table, (axis,))
            weight = self._log_density(factor, {**env, factor["var"][0]: value})
            return value, Value(weight.tensor.exp(), weight.axes)
        nodes, weights = rule(law["family"], self.points)
        grid = torch.cartesian_prod(*[nodes] * law["event"][0]).reshape(-1, law["event"][0])
        mass = torch.cartesian_prod(*[weights] * law["event"][0]).reshape(len(grid), -1).prod(1)
        axis = self._axis(len(grid))
        (unit, loc, scale), axes = lined_up([Value(grid, (axis,)), params["loc"], params["scale"]])
        return Value(loc + scale * unit, axes), Value(mass, (axis,))

    def _copy(self, v: Value, factor: dict[str, Any], copy: int) -> Value:
        """One copy of a value that has them, where a copied factor reads it."""
        place = ("k", *factor["copies"]) if factor["copies"] else None
        if place not in v.axes or place is None:
            return v
        at = v.axes.index(place)
        return Value(v.tensor.select(at, copy), tuple(a for a in v.axes if a != place))

    def _axis(self, size: int) -> Axis:
        self.sizes.append(size)
        return ("table", len(self.sizes) - 1)


def rule(family: str, points: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the standard normal or Laplace law."""
    if family == "normal":
        x, w = np.polynomial.hermite_e.hermegauss(points)
        return torch.from_numpy(x), torch.from_numpy(w / w.sum())
    x, w = np.polynomial.laguerre.laggauss(points // 2)
    return torch.from_numpy(np.r_[-x, x]), torch.from_numpy(np.r_[w, w] / 2)
