"""The written forms: how each kind of formula is spelled in text and in LaTeX.

A :class:`Dialect` is a table of forms, one per kind of formula; what is not in the table (which
terms there are, how tightly they bind) is written once, in :mod:`ancestral.printing.loss`. MathML
is a third table, :mod:`ancestral.printing.mathml`.
"""

import re
from collections.abc import Callable, Mapping
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


def name_parts(name: str) -> tuple[str, ...]:
    """A name and its subscripts: what stands behind an underscore, or in ``_{...}``.

    Example:
        >>> name_parts("z_t"), name_parts("p_{prior}"), name_parts("_")
        (('z', 't'), ('p', 'prior'), ('_',))
    """
    braced = re.fullmatch(r"([A-Za-z0-9]+)_\{([^{}]+(?:\}_\{[^{}]+)*)\}('*)", name)
    if braced:
        head, inside, primes = braced.groups()
        return (head + primes, *inside.split("}_{"))
    head, _, tail = name.partition("_")
    return (head, tail) if head and tail else (name,)


def latex_name(name: str) -> str:
    r"""A variable or law name in LaTeX: the part behind an underscore is a subscript.

    Example:
        >>> latex_name("x_u"), latex_name("p_{prior}"), latex_name("beta")
        ('x_{u}', 'p_{prior}', '\\beta')
    """
    head, *tail = name_parts(name)
    head = "\\" + head if head.rstrip("'") in GREEK else _escape(head)
    return f"{head}_{{{','.join(map(_escape, tail))}}}" if tail else head


def _escape(text: str) -> str:
    signs = {
        "\\": r"\backslash ", "^": r"\hat{}", "~": r"\sim ", "<": r"\lt ", ">": r"\gt ", " ": r"\ ",
    }  # fmt: skip
    return re.sub(
        rf"\\(?:{'|'.join(GREEK)})\b|[\\{{}}$&#%^_~<> ]",
        lambda m: m[0] if len(m[0]) > 1 else signs.get(m[0], "\\" + m[0]),
        printable(text),
    )


def printable(text: str) -> str:
    r"""A text in one line: control characters, and signs that turn it around, are spelled out.

    Example:
        >>> printable("a" + chr(10) + "b")
        'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def text_name(name: str) -> str:
    """A name as text: greek letters by their signs; one that is no word in quotes.

    Example:
        >>> text_name("beta"), text_name("z_{t-1}"), text_name("x + y")
        ('β', 'z_{t-1}', "'x + y'")
    """
    if re.fullmatch(r"[\w'′]+([_^]\{[^{}]*\})*['′]*", name) and name.isprintable():
        word = name.rstrip("'")
        return GREEK.get(word, word) + name[len(word) :]
    quoted = printable(name).replace("'", r"\'")
    return f"'{quoted}'"


def _latex_number(text: str) -> str:
    """``2.5e-05`` as a product with a power of ten."""
    mantissa, _, exponent = text.partition("e")
    if text in ("inf", "nan"):
        return {"inf": r"\infty", "nan": r"\mathrm{nan}"}[text]
    if not exponent:
        return text
    power = f"10^{{{int(exponent)}}}"
    return power if mantissa == "1" else rf"{mantissa} \cdot {power}"


def _same(text: str) -> str:
    return text


@dataclass(frozen=True)
class Dialect:
    """One written form.

    Args:
        forms: For each kind of formula its spelling, with ``%(part)s`` where a part stands.
        name: Spells a variable's or a law's name.
        function: Spells the name of a function such as ``log``.
        number: Spells a number without sign.
        base: Spells a name that gets one more subscript.
        comma: Between the variables of a law.
        separator: Between the arguments of a function.
        stacks: Fractions and exponents stand above and below, so that they need no brackets.
    """

    forms: Mapping[str, str]
    name: Callable[[str], str]
    function: Callable[[str], str] = _same
    number: Callable[[str], str] = _same
    base: Callable[[str], str] = _same
    comma: str = ","
    separator: str = ", "
    stacks: bool = False

    def form(self, kind: str, **parts: str) -> str:
        """A formula of a kind from its parts, which are spelled already."""
        return self.forms[kind] % parts

    def call(self, function: str, *args: str) -> str:
        """``mean(...)``, ``max(a, b)``."""
        return self.form("call", f=self.function(function), args=self.separator.join(args))

    def bracket(self, inside: str) -> str:
        """A term in brackets, for precedence."""
        return self.form("bracket", inside=inside)

    def indexed(self, spelled: str, axis: str) -> str:
        """A copy of a variable: ``z_k``."""
        return self.form("indexed", name=self.base(spelled), axis=self.name(axis))

    def timed(self, spelled: str, when: str) -> str:
        """A sequence at a time, the time ``before``, or ``through`` all times: ``z_{1:T}``."""
        return self.form(when, name=self.base(spelled))


TEXT = Dialect(
    name=text_name,
    forms={
        "law": "%(name)s(%(var)s)",
        "law_given": "%(name)s(%(var)s|%(given)s)",
        "detached": "sg[%(name)s]",
        "equation": "%(left)s = %(right)s",
        "proportional": "%(left)s ∝ %(right)s",
        "within": "%(body)s [%(low)s ≤ %(name)s ≤ %(high)s]",
        "product_over": "Π_%(axis)s %(inside)s",
        "integral": "∫ %(body)s%(over)s",
        "differential": "d%(name)s",
        "bound": "%(name)s=%(value)s",
        "indexed": "%(name)s_%(axis)s",
        "before": "%(name)s_{t-1}",
        "through": "%(name)s_{1:T}",
        "each": "%(name)s_1..%(name)s_%(size)s",
        "copies": "%(each)s ~ %(law)s",
        "expectation": "E_{%(law)s}[%(body)s]",
        "divergence": "KL[%(q)s || %(p)s]",
        "adversarial": "%(symbol)s_%(critic)s[%(p)s || %(q)s]",
        "entropy": "H[%(q)s]",
        "log": "log %(density)s",
        "call": "%(f)s(%(args)s)",
        "apply": "%(f)s(%(args)s)",
        "bracket": "(%(inside)s)",
        "abs": "|%(inside)s|",
        "abs_of_bars": "abs(%(inside)s)",
        "norm": "||%(inside)s||",
        "slope": "∇%(point)s",
        "slope_wrt": "∇_{%(wrt)s} %(point)s",
        "push": "∂%(point)s[%(along)s]",
        "plus": "%(left)s + %(right)s",
        "difference": "%(left)s - %(right)s",
        "product": "%(left)s %(right)s",
        "times": "%(left)s · %(right)s",
        "power": "%(base)s^%(exponent)s",
        "fraction": "%(above)s / %(below)s",
        "minus": "-%(inside)s",
        "detach": "sg[%(inside)s]",
        "sum": "Σ_%(axis)s %(inside)s",
        "sum_to": "Σ_%(axis)s %(inside)s",
        "sum_before": "Σ_{%(axis)s=0}^{%(last)s} %(inside)s",
        "mean": "(1/%(size)s) %(sum)s",
        "best": "%(sense)s_%(name)s %(inside)s",
        "turn": "%(name)s: %(sense)s %(inside)s",
        "turns": "%(first)s;  %(rest)s",
    },
)

LATEX = Dialect(
    name=latex_name,
    number=_latex_number,
    function=lambda f: f"\\{f}" if f in ("log", "exp", "min", "max") else f,
    base=lambda name: f"{{{name}}}" if "_" in name else name,
    stacks=True,
    forms={
        **TEXT.forms,
        "detached": r"\mathrm{sg}[%(name)s]",
        "integral": r"\int %(body)s%(over)s",
        "proportional": r"%(left)s \propto %(right)s",
        "within": r"%(body)s \left[%(low)s \leq %(name)s \leq %(high)s \right]",
        "product_over": r"\prod_{%(axis)s} %(inside)s",
        "indexed": "%(name)s_{%(axis)s}",
        "each": r"%(name)s_{1}, \dots, %(name)s_{%(size)s}",
        "copies": r"%(each)s \sim %(law)s",
        "expectation": r"\mathbb{E}_{%(law)s} \left[%(body)s \right]",
        "divergence": r"D_{KL} \left[%(q)s||%(p)s \right]",
        "adversarial": r"D_{%(symbol)s}^{%(critic)s} \left[%(p)s||%(q)s \right]",
        "entropy": r"H \left[ {%(q)s} \right]",
        "log": r"\log %(density)s",
        "call": r"%(f)s \left(%(args)s \right)",
        "bracket": r"\left(%(inside)s \right)",
        "abs_of_bars": r"\left|%(inside)s \right|",
        "times": r"%(left)s \cdot %(right)s",
        "norm": r"\left\lVert %(inside)s \right\rVert",
        "slope": r"\nabla %(point)s",
        "slope_wrt": r"\nabla_{%(wrt)s} %(point)s",
        "push": r"\partial %(point)s \left[%(along)s \right]",
        "power": "%(base)s^{%(exponent)s}",
        "fraction": r"\frac{%(above)s}{%(below)s}",
        "minus": "- %(inside)s",
        "detach": r"detach \left(%(inside)s \right)",
        "sum": r"\sum_{%(axis)s} %(inside)s",
        "sum_to": r"\sum_{%(axis)s} %(inside)s",
        "sum_before": r"\sum_{%(axis)s=0}^{%(last)s} %(inside)s",
        "mean": r"\frac{1}{%(size)s} %(sum)s",
        "best": "%(sense)s_{%(name)s} %(inside)s",
        "turn": r"%(name)s: \; %(sense)s \; %(inside)s",
        "turns": r"%(first)s; \quad %(rest)s",
    },
)
