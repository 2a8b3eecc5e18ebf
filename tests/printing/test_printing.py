"""Losses as text and LaTeX: brackets exactly where they are needed, names that stay names.

``program()`` has golden texts in ``test_program.py``.
"""

import math
import random
import re
from typing import Any

import pytest
import torch
from torch import nn

from ancestral.distributions import Categorical, Normal
from ancestral.losses import (
    KL,
    CrossEntropy,
    E,
    Entropy,
    Function,
    MaxLoss,
    MinLoss,
    Parameter,
    ValueLoss,
    node,
    norm,
    sqnorm,
    values,
)
from ancestral.printing.dialect import LATEX, TEXT
from tests.printing import expressions
from tests.printing.reader import AmbiguousError, Reader, latex_tokens

a, b, c, x, z = values("a b c x z")
prior, p, q = expressions.vae()
f = Function(torch.square, name="f")
mean = E(q, z)

TEXTS: dict[str, tuple[Any, str]] = {
    "sum": (a + b - c, "a + b - c"),
    "difference of a sum": (a - (b + c), "a - (b + c)"),
    "difference of a difference": (a - (b - c), "a - (b - c)"),
    "minus": (-a + b, "-a + b"),
    "minus a sum": (-(a + b), "-(a + b)"),
    "minus minus": ((-a).__neg__(), "-(-a)"),
    "plus minus": (a + -b, "a - b"),
    "minus minus after": (a - (-b), "a - (-b)"),
    "plus a negative number": (a + -2.0, "a - 2"),
    "a negative factor": (a + -0.5 * b, "a - 0.5 b"),
    "product": (a * b * c, "a b c"),
    "product from the right": (a * (b * c), "a (b c)"),
    "product of sums": ((a + b) * (a - c), "(a + b) (a - c)"),
    "number in front": (a * 2, "2 a"),
    "number times number": (ValueLoss(2.0) * ValueLoss(3.0) * a, "2 · 3 a"),
    "number to a power after a number": (2 * (ValueLoss(3.0) ** 0.5), "2 · 3^0.5"),
    "minus a product": (-(a * b), "-a b"),
    "product with a minus": (a * -b, "a (-b)"),
    "quotient": (a / b, "a / b"),
    "quotient of sums": ((a + b) / (a - b), "(a + b) / (a - b)"),
    "quotient by a product": (a / (b * c), "a / (b c)"),
    "product by a quotient": (a * b / c, "a b / c"),
    "quotient times": (a / b * c, "(a / b) c"),
    "times quotient": (a * (b / c), "a (b / c)"),
    "quotient of quotients": (a / (b / c), "a / (b / c)"),
    "power": (a**2, "a^2"),
    "power of a power": ((a**2) ** 3, "(a^2)^3"),
    "power of a minus": ((-a) ** 2, "(-a)^2"),
    "minus a power": (-(a**2), "-a^2"),
    "power of a product": ((a * b) ** 2, "(a b)^2"),
    "negative power": (a**-1, "a^(-1)"),
    "power of a number": (ValueLoss(-2.0) ** 2, "(-2)^2"),
    "square of one thing": (a * a, "a^2"),
    "numbers": (0.1 + a * 1e-05 + 1e20, "0.1 + 1e-05 a + 1e+20"),
    "functions": (a.exp() * b.log(), "exp(a) log(b)"),
    "abs": ((a - b).abs(), "|a - b|"),
    "abs of abs": ((a.abs() - b).abs(), "abs(|a| - b)"),
    "abs of a density": (p.log_prob().abs(), "abs(log p(x|z))"),
    "clamp": (a.clamp(min=-1.0, max=2.0), "clamp(a, min=-1, max=2)"),
    "extremes": (MaxLoss(a, 0.5) - MinLoss(a + b, c), "max(a, 0.5) - min(a + b, c)"),
    "reductions": ((a + b).mean() - a.sum(), "mean(a + b) - sum(a)"),
    "detach": ((a + b).detach() * a, "sg[a + b] a"),
    "norms": (norm(a - b) + sqnorm(a), "||a - b|| + ||a||^2"),
    "apply": (f(a + b, 2), "f(a + b, 2)"),
    "greek": (Parameter("beta") * values("theta'"), "β θ'"),
    "density": (p.prob() * q.prob(), "p(x|z) q(z|x)"),
    "log density in a product": (2 * p.log_prob() * a, "2 log p(x|z) a"),
    "power of a log density": (p.log_prob() ** 2, "(log p(x|z))^2"),
    "KL": (KL(q, prior), "KL[q(z|x) || p_{prior}(z)]"),
    "Monte Carlo KL": (
        KL(q, prior, analytical=False),
        "E_{q(z|x)}[log q(z|x) - log p_{prior}(z)]",
    ),
    "H": (Entropy(q) - Entropy(q, analytical=False), "H[q(z|x)] - (-E_{q(z|x)}[log q(z|x)])"),
    "plus a Monte Carlo entropy": (
        a + Entropy(q, analytical=False),
        "a - E_{q(z|x)}[log q(z|x)]",
    ),
    "CE": (2 * CrossEntropy(q, prior), "2 (KL[q(z|x) || p_{prior}(z)] + H[q(z|x)])"),
    "copies": (
        E(q.iid(k=5), (z.mean("k") + z.exp().sum("k").log()) * z.sum("k")),
        "E_{z_1..z_5 ~ q(z|x)}[((1/5) Σ_k z_k + log(Σ_k exp(z_k))) (Σ_k z_k)]",
    ),
    "sums over copies": (
        E(q.iid(k=5), a - (z * b).sum("k") / 5),
        "E_{z_1..z_5 ~ q(z|x)}[a - (Σ_k (z_k b)) / 5]",
    ),
    "square of an expectation": (mean * mean + mean**2, "E_{q(z|x)}[z]^2 + E_{q(z|x)}[z]^2"),
    "detached law": (
        E(q.detach(), q.log_prob()),
        "E_{sg[q](z|x)}[log q(z|x)]",
    ),
    "half a joint detached": (
        (p.detach() * prior).log_prob(),
        "log (sg[p](x|z)p_{prior}(z))",
    ),
    "renamed": (
        (E(q, p.log_prob()) - KL(q, prior)).replace_var(x="x_u"),
        "E_{q(z|x_u)}[log p(x_u|z)] - KL[q(z|x_u) || p_{prior}(z)]",
    ),
    "a constant in a law": (p.log_prob().constant_var({"x": 1.0}), "log p(x=1|z)"),
    "constants where values stand": (
        (Parameter("beta") * a**2 - Parameter("beta")).constant_var({"beta": -0.5, "a": 2}),
        "(-0.5) · 2^2 - (-0.5)",
    ),
    "a constant factor": (
        (3 * Parameter("beta")).constant_var({"beta": 2.0}),
        "3 · 2",
    ),
    "no capture": (
        E(q, p.log_prob()).replace_var(x="z"),
        "E_{q(z'|z)}[log p(z|z')]",
    ),
    "no capture in a divergence": (KL(q, prior).replace_var(x="z"), "KL[q(z'|z) || p_{prior}(z')]"),
    "no capture of a primed name": (
        E(q, x * z * values("z'")).replace_var(x="z"),
        "E_{q(z''|z)}[z z'' z']",
    ),
    "no capture of copies": (
        E(q.iid(k=2), (x - z).mean("k")).replace_var(x="z"),
        "E_{z'_1..z'_2 ~ q(z'|z)}[(1/2) Σ_k (z - z'_k)]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str) -> None:
    loss, expected = TEXTS[name]
    assert str(loss) == expected


LATEXES: dict[str, tuple[Any, str]] = {
    "fraction": ((a + b) / (a * b), r"\frac{a + b}{a b}"),
    "fraction in a product": (2 * (a / b), r"2 \left(\frac{a}{b} \right)"),
    "fraction to a power": ((a / b) ** 2, r"\left(\frac{a}{b} \right)^{2}"),
    "powers": (a**-1 * b**0.5, r"a^{- 1} b^{0.5}"),
    "power of ten": (1e-05 * a + 2.5e20, r"10^{-5} a + 2.5 \cdot 10^{20}"),
    "power of a power of ten": (ValueLoss(1e-05) ** 2, r"\left(10^{-5} \right)^{2}"),
    "numbers": (ValueLoss(2.0) * ValueLoss(3.0), r"2 \cdot 3"),
    "abs": ((a - b).abs(), r"|a - b|"),
    "abs of abs": ((a.abs() - b).abs(), r"\left||a| - b \right|"),
    "names": (values("x_t") * Parameter("beta"), r"x_{t} \beta"),
    "subscripts": (values("z_{t-1}'") ** 2 - values("p_{a}_{b}"), r"z'_{t-1}^{2} - p_{a,b}"),
    "vae": (
        E(q, p.log_prob()) - KL(q, prior),
        r"\mathbb{E}_{q(z|x)} \left[\log p(x|z) \right] "
        r"- D_{KL} \left[q(z|x)||p_{prior}(z) \right]",
    ),
    "no capture": (
        E(q, p.log_prob()).replace_var(x="z"),
        r"\mathbb{E}_{q(z'|z)} \left[\log p(z|z') \right]",
    ),
    "copies of a name with a subscript": (
        E(q.replace_var(z="z_t").iid(k=3), values("z_t").mean("k")),
        r"\mathbb{E}_{{z_{t}}_{1}, \dots, {z_{t}}_{3} \sim q(z_{t}|x)} "
        r"\left[\frac{1}{3} \sum_{k} {z_{t}}_{k} \right]",
    ),
}


@pytest.mark.parametrize("name", LATEXES)
def test_latex(name: str) -> None:
    loss, expected = LATEXES[name]
    assert loss.latex() == expected
    assert loss._repr_latex_() == f"${expected}$"


def test_semi_supervised_sentence() -> None:
    q_y = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(2, 3), name="q")
    q_z = Normal(var=["z"], cond_var=["x", "y"], loc="x", scale=1.0, name="q")
    p_x = Normal(var=["x"], cond_var=["y", "z"], loc="z", scale=1.0)
    bound = E(q_z, p_x.log_prob() - q_z.log_prob())
    loss = bound.mean() + (E(q_y, bound) + Entropy(q_y)).replace_var(x="x_u").mean()
    assert str(loss) == (
        "mean(E_{q(z|x,y)}[log p(x|y,z) - log q(z|x,y)])"
        " + mean(E_{q(y|x_u)}[E_{q(z|x_u,y)}[log p(x_u|y,z) - log q(z|x_u,y)]] + H[q(y|x_u)])"
    )


# -- names ------------------------------------------------------------------------------------
def test_odd_names_are_quoted_and_stay_on_one_line() -> None:
    assert str(values(["x + y"]) * a) == "'x + y' a"
    assert str(values(["a\nb"])) == r"'a\nb'"
    assert str(values(["it's (1)"])) == r"'it\'s (1)'"
    for plain in ("x", "x_1", "z'", "z_{t-1}", "p_{prior}", "x_{t}_{i}", "Ω", "été"):
        assert str(values([plain])) == plain


@pytest.mark.parametrize("name", expressions.HOSTILE)
def test_hostile_names_do_not_break_out(name: str) -> None:
    loss = expressions.hostile(name)
    for text in (str(loss), repr(loss), loss.latex(), str(values([name])), values([name]).latex()):
        assert text.isprintable()  # one line, no control characters, no turned direction
    latex = loss.latex()
    assert not re.search(r"(?<!\\)[$%#&~]", latex)
    assert "<" not in latex
    assert ">" not in latex
    assert balanced(latex)
    commands = set(re.findall(r"\\[A-Za-z]+", values([name]).latex()))
    assert commands <= {r"\backslash", r"\lt", r"\gt", r"\hat", r"\sim"}


def balanced(latex: str) -> bool:
    depth = 0
    for sign in re.findall(r"(?<!\\)(?:\\\\)*[{}]", latex):
        depth += 1 if sign[-1] == "{" else -1
        if depth < 0:
            return False
    return depth == 0 and latex.count(r"\left") == latex.count(r"\right")


@pytest.mark.parametrize("seed", range(4))
def test_random_formulas_print_in_both_forms(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        loss = expressions.random_loss(rng)
        latex = loss.latex()
        assert balanced(latex)
        assert not re.search(r"\^\{[^{}]*\}\^|_\{[^{}]*\}_\{", latex)  # no double scripts
        assert str(loss).isprintable()


def test_a_text_is_not_broken_by_what_is_printed_before() -> None:
    first = str(E(q, p.log_prob()))
    str(E(q, p.log_prob()).replace_var(x="z")), E(q.iid(k=3), z.mean("k")).latex()
    assert str(E(q, p.log_prob())) == first


def test_the_dialects_spell_the_same_forms() -> None:
    assert set(TEXT.forms) == set(LATEX.forms)


# -- what is printed can be read in one way ---------------------------------------------------
NAMES = {"a": 1.7, "b": -0.6, "c": 2.3, "x_t": -1.4}


def tree(rng: random.Random, depth: int) -> Any:
    """A random arithmetic expression over a few values."""
    if depth == 0 or rng.random() < 0.1:
        if rng.random() < 0.35:
            return ValueLoss(rng.choice([2.0, 3.0, -2.0, 0.5, -0.25, 1e-05, 1.0]))
        return values([rng.choice(list(NAMES))])
    one, two = tree(rng, depth - 1), tree(rng, depth - 1)
    return rng.choice(
        [
            lambda: one + two,
            lambda: one - two,
            lambda: one * two,
            lambda: one * two,
            lambda: one / two,
            lambda: -one,
            lambda: one * one,
            lambda: one ** rng.choice([2, 3, -1, -2]),
            lambda: rng.choice([2.0, -1.0, -3.0, 0.5]) * one,
            lambda: one + rng.choice([1.0, -2.0]),
            lambda: one.abs(),
            lambda: (one / 50).clamp(max=2.0).exp(),
            lambda: one.detach(),
            lambda: MaxLoss(one, two),
            lambda: one.min(two),
            lambda: one.clamp(min=-1.0, max=1.5),
            lambda: (
                one.constant_var({"a": rng.choice([2.0, -2.0])}) if "a" in one.input_var else one
            ),
        ]
    )()


OPERATIONS = {
    node.Add: lambda u, v: u + v,
    node.Sub: lambda u, v: u - v,
    node.Mul: lambda u, v: u * v,
    node.Div: lambda u, v: u / v,
    node.Neg: lambda u: -u,
    node.Detach: lambda u: u,
}


def compute(n: Any, given: dict[str, float]) -> float:
    """The value of a tree, from its nodes."""
    if isinstance(n, node.Constant):
        return n.number
    if isinstance(n, node.Value):
        return given[n.name]
    if isinstance(n, node.Let):
        inner = {name: compute(v, given) for name, v in zip(n.names, n.bindings, strict=True)}
        return compute(n.arg, {**given, **inner})
    below = [compute(child, given) for child in n.children]
    if isinstance(n, node.Pow):
        return below[0] ** n.exponent
    if isinstance(n, node.Unary):
        return {"abs": abs, "exp": math.exp, "log": math.log}[n.kind](*below)
    if isinstance(n, node.Clamp):
        low = -math.inf if n.low is None else n.low
        return min(max(below[0], low), math.inf if n.high is None else n.high)
    if isinstance(n, node.Extremum):
        return {"min": min, "max": max}[n.which](*below)
    return OPERATIONS[type(n)](*below)


@pytest.mark.parametrize("seed", range(6))
def test_a_formula_can_be_read_in_one_way(seed: int) -> None:
    """Read by a grammar that knows nothing of the printer, it has the value of the tree.

    So two trees that print alike are equal in value, too.
    """
    rng = random.Random(seed)
    read = 0
    while read < 250:
        n = tree(rng, rng.randint(1, 5))
        try:
            value = compute(n, NAMES)
        except (ZeroDivisionError, OverflowError):
            continue
        if not 1e-9 < abs(value) < 1e12:
            continue
        for text in (str(n), latex_tokens(n.latex())):
            found = Reader(text, NAMES).read()
            assert found == pytest.approx(value, rel=1e-9, abs=1e-12), text
        read += 1


def test_the_reader_refuses_what_is_ambiguous() -> None:
    for text in ("a / b c", "2 3", "a^2^3", "a + -b", "(a", "a / b · c"):
        with pytest.raises(AmbiguousError):
            Reader(text, NAMES).read()
    assert Reader("-a b / c - |b| (a)^2", NAMES).read() == pytest.approx(
        -1.7 * -0.6 / 2.3 - 0.6 * 1.7**2
    )
