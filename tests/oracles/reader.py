"""Formulas read from their text, into the plain description of :mod:`tests.oracles.plain`."""

import re
from collections.abc import Mapping
from typing import Any

from tests.oracles.plain import Expr, Law

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
