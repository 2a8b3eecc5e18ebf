"""Reads small arithmetic formulas, text or LaTeX, by an explicit grammar, and computes them.

It knows nothing of the printer. What could be read in two ways it refuses: a product written
without a sign after a quotient (``a / b c``), a number right after a number (``2 3``), a power of
a power.

    sum     = ["-"] term { ("+" | "-") term }
    term    = factor { ["·" | "/"] factor }
    factor  = atom [ "^" exponent ]
    atom    = number | name | "(" sum ")" | "|" sum "|" | function "(" sum { "," sum } ")"
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

FUNCTIONS: dict[str, Callable[..., float]] = {
    "exp": math.exp,
    "log": math.log,
    "max": max,
    "min": min,
    "abs": abs,
    "sg": lambda a: a,
    "clamp": lambda a, min=-math.inf, max=math.inf: sorted((min, a, max))[1],
}
TOKEN = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]\d+)?|\w+(?:_\{\w+\})?)|(\s+)|(.)")


class AmbiguousError(Exception):
    """A formula that could be read in two ways."""


def latex_tokens(text: str) -> str:
    """LaTeX in the signs of text: the grammar is the same."""
    for sign, plain in (
        (r"\left|", "abs("), (r"\right|", ")"), (r"\left(", "("), (r"\right)", ")"),
        (r"\cdot", "·"),
        ("detach (", "sg("),
    ):  # fmt: skip
        text = text.replace(sign, plain)
    text = re.sub(r"\\(exp|log|min|max) ?\(", r"\1(", text)
    text = re.sub(r"\\(min|max)=", r"\1=", text).replace("clamp (", "clamp(")
    return re.sub(r"_\{(\w+)\}", r"_\1", text)


class Reader:
    """Computes one formula as it reads it."""

    def __init__(self, text: str, values: Mapping[str, float]) -> None:
        text = text.replace("sg[", "sg(").replace("]", ")")
        parts = [m.groups() for m in TOKEN.finditer(text)]
        self.tokens = [w or s for w, space, s in parts if not space]
        # a bracket right after a word is a call
        ends = [m.end() for m in TOKEN.finditer(text) if not m.group(2)]
        starts = [m.start() for m in TOKEN.finditer(text) if not m.group(2)]
        self.glued = [False, *(a == b for a, b in zip(ends, starts[1:], strict=False)), False]
        self.values, self.at, self.bars = values, 0, 0

    def read(self) -> float:
        """The value of the whole formula."""
        value = self.sum()
        if self.at != len(self.tokens):
            raise AmbiguousError(f"{self.tokens[self.at :]} is left over")
        return value

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.next
        if expected is not None and token != expected:
            raise AmbiguousError(f"{token!r} where {expected!r} must stand, at {self.at}")
        self.at += 1
        return token

    def sum(self) -> float:
        sign = -1.0 if self.next == "-" and self.take() else 1.0
        total = sign * self.term()
        while self.next in ("+", "-"):
            total += self.term() if self.take() == "+" else -self.term()
        return total

    def term(self) -> float:
        value, divided = self.factor(), False
        while True:
            if self.next == "/":
                self.take()
                value, divided = value / self.factor(), True
                continue
            signed = self.next == "·"
            if not signed and not self.starts_atom():
                return value
            if divided:
                raise AmbiguousError("a product after a quotient")
            if signed:
                self.take()
            elif self.next[0].isdigit() and self.tokens[self.at - 1][-1].isdigit():
                raise AmbiguousError("a number after a number")
            value *= self.factor()

    def starts_atom(self) -> bool:
        if self.next == "|":
            return self.bars == 0
        return self.next in ("(", "\\") or bool(re.match(r"\w", self.next))

    def factor(self) -> float:
        value = self.atom()
        if self.next == "^":
            self.take()
            value = value ** self.exponent()
            if self.next == "^":
                raise AmbiguousError("a power of a power")
        return value

    def exponent(self) -> float:
        if self.next in ("(", "{"):
            close = {"(": ")", "{": "}"}[self.take()]
            value = self.sum()
            self.take(close)
            return value
        return float(self.take())

    def atom(self) -> float:
        token = self.take()
        if token == "(":
            value = self.sum()
            self.take(")")
            return value
        if token == "|":
            self.bars += 1
            value = abs(self.sum())
            self.take("|")
            self.bars -= 1
            return value
        if token == "\\" and self.next == "frac":
            self.take()
            above, below = self.group(), self.group()
            return above / below
        if token[0].isdigit():
            return float(token)
        if token in FUNCTIONS and self.next == "(" and self.glued[self.at]:
            return self.call(FUNCTIONS[token])
        if token not in self.values:
            raise AmbiguousError(f"{token!r} where a term must stand")
        return self.values[token]

    def group(self) -> float:
        self.take("{")
        value = self.sum()
        self.take("}")
        return value

    def call(self, function: Callable[..., float]) -> float:
        self.take("(")
        args: list[float] = []
        named: dict[str, Any] = {}
        while True:
            if self.next in ("min", "max") and self.tokens[self.at + 1] == "=":
                name = self.take()
                self.take("=")
                named[name] = self.sum()
            else:
                args.append(self.sum())
            if self.take() == ")":
                return function(*args, **named)
