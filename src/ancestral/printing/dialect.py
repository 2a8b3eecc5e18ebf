"""The two written forms, text and LaTeX: how each kind of formula is spelled."""

import re
from dataclasses import dataclass

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η",
    "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
}  # fmt: skip


def number(value: float) -> str:
    """A number as it is written by hand: ``2``, ``0.5``, ``1e-05``.

    Example:
        >>> number(2.0), number(0.1)
        ('2', '0.1')
    """
    return (
        str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    )


def latex_name(name: str) -> str:
    r"""A variable or law name in LaTeX: the part behind an underscore is a subscript.

    Example:
        >>> latex_name("x_u"), latex_name("p_{prior}"), latex_name("beta")
        ('x_{u}', 'p_{prior}', '\\beta')
    """
    if re.fullmatch(r"[A-Za-z0-9]+(_\{[^{}\\]*\})+", name):
        return name
    head, _, tail = name.partition("_")
    head = "\\" + head if head in GREEK else _escape(head)
    return f"{head}_{{{_escape(tail)}}}" if tail else head


def _escape(text: str) -> str:
    return re.sub(
        r"([\\{}$&#%^_~])",
        lambda m: {"\\": r"\backslash ", "^": r"\hat{}", "~": r"\sim "}.get(m[0], "\\" + m[0]),
        text,
    )


def text_name(name: str) -> str:
    """A name as text: greek letters by their signs."""
    return GREEK.get(name, name)


@dataclass(frozen=True)
class Dialect:
    """One written form."""

    latex: bool

    def name(self, name: str) -> str:
        """A variable's or law's name."""
        return latex_name(name) if self.latex else text_name(name)

    def call(self, function: str, *args: str) -> str:
        """``mean(...)``, ``max(a, b)``."""
        inside = ", ".join(args)
        return f"{function} \\left({inside} \\right)" if self.latex else f"{function}({inside})"

    def bracket(self, inside: str) -> str:
        """A term in brackets, for precedence."""
        return f"\\left({inside} \\right)" if self.latex else f"({inside})"

    def expectation(self, law: str, body: str) -> str:
        """``E_{q(z|x)}[...]``."""
        if self.latex:
            return f"\\mathbb{{E}}_{{{law}}} \\left[{body} \\right]"
        return f"E_{{{law}}}[{body}]"

    def divergence(self, q: str, p: str) -> str:
        """``KL[q(z|x) || p(z)]``."""
        return f"D_{{KL}} \\left[{q}||{p} \\right]" if self.latex else f"KL[{q} || {p}]"

    def entropy(self, q: str) -> str:
        """``H[q(z|x)]``."""
        return f"H \\left[ {{{q}}} \\right]" if self.latex else f"H[{q}]"

    def log(self, density: str) -> str:
        """``log p(x|z)``."""
        return f"\\log {density}" if self.latex else f"log {density}"

    def absolute(self, inside: str) -> str:
        """``|...|``."""
        return f"|{inside}|"

    def norm(self, inside: str) -> str:
        """``||...||``."""
        return f"\\left\\lVert {inside} \\right\\rVert" if self.latex else f"||{inside}||"

    def slope(self, point: str, wrt: str) -> str:
        """``∇f(x)``, or ``∇_{x} f(x, t)``."""
        nabla = "\\nabla" if self.latex else "∇"
        return (
            f"{nabla}_{{{wrt}}} {point}"
            if wrt
            else f"{nabla} {point}"
            if self.latex
            else nabla + point
        )

    def push(self, point: str, along: str) -> str:
        """``∂f(x)[v]``: the derivative along a direction."""
        return f"\\partial {point} \\left[{along} \\right]" if self.latex else f"∂{point}[{along}]"

    def power(self, base: str, exponent: str) -> str:
        """``x^2``."""
        return f"{base}^{{{exponent}}}" if self.latex else f"{base}^{exponent}"

    def fraction(self, above: str, below: str) -> str:
        """``a / b``; the brackets that text needs are in the operands."""
        return f"\\frac{{{above}}}{{{below}}}" if self.latex else f"{above} / {below}"

    def minus(self, inside: str) -> str:
        """``-x``."""
        return f"- {inside}" if self.latex else f"-{inside}"

    def detach(self, inside: str) -> str:
        """``sg[...]``: the gradient is cut."""
        return f"detach \\left({inside} \\right)" if self.latex else f"sg[{inside}]"

    def series(self, axis: str, size: int | None, how: str, inside: str) -> str:
        """``Σ_k ...`` and ``(1/K) Σ_k ...``."""
        total = f"\\sum_{{{axis}}} {inside}" if self.latex else f"Σ_{axis} {inside}"
        if how == "sum":
            return total
        below = self.name(axis.upper()) if size is None else str(size)
        return f"\\frac{{1}}{{{below}}} {total}" if self.latex else f"(1/{below}) {total}"

    def copies(self, names: list[str], size: int, law: str) -> str:
        """The subscript of an expectation over copies: ``z_1..z_50 ~ q(z|x)``."""
        if self.latex:
            each = ", ".join(f"{n}_{{1}}, \\dots, {n}_{{{size}}}" for n in names)
            return f"{each} \\sim {law}"
        return f"{', '.join(f'{n}_1..{n}_{size}' for n in names)} ~ {law}"

    def indexed(self, name: str, axis: str) -> str:
        """A copy of a variable: ``z_k``."""
        return f"{name}_{{{axis}}}" if self.latex else f"{name}_{axis}"


TEXT = Dialect(latex=False)
LATEX = Dialect(latex=True)
