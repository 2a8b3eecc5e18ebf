"""Formulas read from their text, and their values with every expectation taken exactly.

The text is parsed into the plain description of :mod:`tests.oracles.sharing`. An expectation
under a discrete law is a sum over its values, under a normal or Laplace law Gauss quadrature;
copies are integrated each on its own. Nothing is drawn.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.oracles import laws as formulas
from tests.oracles.expressions import Evaluation, Value, lined_up
from tests.oracles.sharing import (
    Axis,
    Expr,
    Law,
    Laws,
    Path,
    UnspecifiedError,
    in_memory,
    parents_first,
)

GREEK = dict(zip("αβγδεηθκλμνξπρστφχψω", (
    "alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
), strict=True))  # fmt: skip

NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
NAME = re.compile(r"\w+(\{[^{}]*\})?")
LAW = re.compile(r"(sg\[)?(?P<name>\w+(\{[^{}]*\})?)(?(1)\])\((?P<inside>[^()]*)\)")
PRODUCT = re.compile(r"\(((sg\[)?\w+(\{[^{}]*\})?\]?\([^()]*\)){2,}\)")
CALLS = ("mean", "sum", "exp", "log", "abs", "min", "max", "clamp")


class Reader:
    """Reads one formula.

    Args:
        text: The formula.
        laws: Names of elementary laws.
        joints: A joint law as it prints, and its factors: ``{"p(x,z)": "p(x|z)p(z)"}``.
        functions: Names of functions.
    """

    def __init__(
        self,
        text: str,
        laws: Mapping[str, Any],
        joints: Mapping[str, str] | None = None,
        functions: Mapping[str, Any] | None = None,
    ) -> None:
        self.text, self.at = text, 0
        self.laws, self.joints, self.functions = laws, joints or {}, functions or {}
        self.copied: dict[str, str] = {}  # a copied variable, and the axis that its copies have

    def read(self) -> Expr:
        """The whole formula."""
        e = self._sum()
        if self.at != len(self.text):
            raise ValueError(f"cannot read {self.text[self.at :]!r} in {self.text!r}")
        return e

    # -- pieces ---------------------------------------------------------------------------------
    def _here(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def _take(self, token: str) -> bool:
        if self._here(token):
            self.at += len(token)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"expected {token!r} at {self.text[self.at :]!r} in {self.text!r}")

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"cannot read {self.text[self.at :]!r} in {self.text!r}")
        self.at = found.end()
        return found[0]

    # -- precedence -----------------------------------------------------------------------------
    def _sum(self) -> Expr:
        e: Expr = ("neg", self._product()) if self._take("-") else self._product()
        while True:
            if self._take(" + "):
                e = ("add", e, self._product())
            elif self._take(" - "):
                e = ("sub", e, self._product())
            else:
                return e

    def _product(self) -> Expr:
        e = self._prefix()
        while True:
            if self._take(" / "):
                e = ("div", e, self._power())
            elif self._take(" · "):
                e = ("mul", e, self._prefix())
            elif self._here(" ") and not re.match(r" ([-+/]|\|\| )", self.text[self.at :]):
                self.at += 1
                e = ("mul", e, self._prefix())
            else:
                return e

    def _prefix(self) -> Expr:
        mean = re.compile(r"\(1/\d+\) Σ_(\w+) ").match(self.text, self.at)
        total = re.compile(r"Σ_(\w+) ").match(self.text, self.at)
        found = mean or total
        if found:
            self.at = found.end()
            return ("meank" if mean else "sumk", self._prefix(), found[1])
        if self._take("log "):
            return self._density("logp")
        return self._power()

    def _power(self) -> Expr:
        base = self._atom()
        if not self._take("^"):
            return base
        bracket = self._take("(")
        sign = -1.0 if self._take("-") else 1.0
        exponent = sign * float(self._match(NUMBER))
        if bracket:
            self._expect(")")
        return ("pow", base, exponent)

    def _atom(self) -> Expr:
        if PRODUCT.match(self.text, self.at):
            return self._density("prob")
        for opening, closing, kind in (("||", "||", "norm"), ("|", "|", "abs"), ("(", ")", "")):
            if self._take(opening):
                inside = self._sum()
                self._expect(closing)
                return (kind, inside) if kind else inside
        if NUMBER.match(self.text, self.at):
            return ("num", float(self._match(NUMBER)))
        if self._take("E_{"):
            return self._expectation()
        if self._take("KL["):
            q = self._laws()
            self._expect(" || ")
            p = self._laws()
            self._expect("]")
            return ("kl", q, p)
        if self._take("H["):
            q = self._laws()
            self._expect("]")
            return ("h", q)
        found = LAW.match(self.text, self.at)
        if found and (found["name"] in self.laws or found[0] in self.joints):
            return self._density("prob")
        if self._take("sg["):
            inside = self._sum()
            self._expect("]")
            return inside
        return self._named()

    def _named(self) -> Expr:
        name = self._match(NAME)
        if self._take("("):
            args = [self._sum()]
            bounds: dict[str, float] = {}
            while self._take(", "):
                if name == "clamp":
                    which = self._match(re.compile(r"(min|max)="))
                    sign = -1.0 if self._take("-") else 1.0
                    bounds[which[:3]] = sign * float(self._match(NUMBER))
                else:
                    args.append(self._sum())
            self._expect(")")
            if name == "clamp":
                return ("clamp", args[0], bounds.get("min"), bounds.get("max"))
            return (name, *args) if name in CALLS else ("apply", name, tuple(args))
        if self._take("="):  # a name with its value
            sign = -1.0 if self._take("-") else 1.0
            return ("num", sign * float(self._match(NUMBER)))
        return ("val", self._variable(name))

    def _variable(self, name: str) -> str:
        """A variable: a copy is told by the axis behind its name."""
        base, _, axis = name.rpartition("_")
        if base in self.copied:
            self.copied[base] = axis
            return base
        return GREEK.get(name, name)

    # -- laws -----------------------------------------------------------------------------------
    def _density(self, kind: str) -> Expr:
        law = self._laws() if self._here("(") else self._one_law()
        numbers = {v: n for f in law["factors"] for v, n in f.pop("numbers").items()}
        e: Expr = (kind, law)
        bound = tuple((v, ("num", n)) for v, n in numbers.items())
        return ("let", bound, e) if bound else e

    def _one_law(self) -> Law:
        """One law: elementary, or a joint by its name."""
        found = LAW.match(self.text, self.at)
        if found is None:
            raise ValueError(f"expected a law at {self.text[self.at :]!r} in {self.text!r}")
        self.at = found.end()
        if found[0] in self.joints:
            inner = Reader(self.joints[found[0]], self.laws)
            inner.copied = self.copied
            return inner._laws()
        if found["name"] not in self.laws:
            raise ValueError(f"unknown law {found[0]}")
        own, _, cond = found["inside"].partition("|")
        numbers: dict[str, float] = {}

        def names(listed: str) -> tuple[str, ...]:
            out = []
            for name in filter(None, listed.split(",")):
                name, _, number = name.partition("=")
                out.append(self._variable(name))
                if number:
                    numbers[out[-1]] = float(number)
            return tuple(out)

        factor = {"law": found["name"], "var": names(own), "cond": names(cond)}
        factor |= {"detached": False, "copies": None, "numbers": numbers}
        return {"factors": (factor,), "hidden": ()}

    def _laws(self) -> Law:
        """A product of laws, in brackets or not."""
        bracket = self._take("(")
        factors = [*self._one_law()["factors"]]
        while LAW.match(self.text, self.at):
            factors += self._one_law()["factors"]
        if bracket:
            self._expect(")")
        return {"factors": tuple(factors), "hidden": ()}

    def _expectation(self) -> Expr:
        copies = re.compile(r"((\w+)_1\.\.\w+_(\d+)(, )?)+ ~ ").match(self.text, self.at)
        outer = dict(self.copied)
        names, size = [], 0
        if copies:
            self.at = copies.end()
            names = re.findall(r"(\w+)_1\.\.", copies[0])
            size = int(copies[3])
        law = self._laws()
        self._expect("}[")
        for f in law["factors"]:
            for v in f["var"]:
                self.copied.pop(v, None)
        self.copied |= dict.fromkeys(names, "")
        body = self._sum()
        self._expect("]")
        axes = {self.copied[n] for n in names} - {""}
        self.copied = outer
        if copies:
            axis = (axes.pop() if axes else "unused", size)
            law = {**law, "factors": tuple({**f, "copies": axis} for f in law["factors"])}
        return ("E", law, body, None)


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
