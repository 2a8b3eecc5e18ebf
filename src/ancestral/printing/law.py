r"""Laws in the written forms: ``p(x,z) = p(x|z)p_{prior}(z)``, and the networks under them."""

from collections.abc import Mapping, Sequence

from ancestral.distributions import Distribution, Law
from ancestral.distributions.base import Factor
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.printing.dialect import LATEX, TEXT, Dialect, number
from ancestral.printing.mathml import MATHML, document

Names = Mapping[str, str]  # a variable and how it prints where it is not by its own name


def factor(f: Factor, dialect: Dialect, names: Names | None = None) -> str:
    """One factor: ``q(z|x)``; ``sg[q](z|x)`` if its parameters are detached."""
    name = _name(f.law.name, dialect, detached=f.detached)
    return _over(name, f.var, f.cond_var, dialect, names)


def whole(law: Distribution, dialect: Dialect, names: Names | None = None) -> str:
    """A law by its own name: ``p(x,z)``; a single factor as that factor prints."""
    if len(law.factors) == 1 and not law.integrated and law.name == law.factors[0].law.name:
        return factor(law.factors[0], dialect, names)
    detached = {f.detached for f in law.factors}
    if len(detached) == 2 and not law.integrated:  # one name cannot say which is
        return dialect.bracket(product(law, dialect, names))
    name = _name(law.name, dialect, detached=detached == {True})
    return _over(name, law.var, law.cond_var, dialect, names)


def product(law: Distribution, dialect: Dialect, names: Names | None = None) -> str:
    """A law as the product of its factors: ``p(x|z)p_{prior}(z)``."""
    return "".join(factor(f, dialect, names) for f in law.factors)


def _name(name: str, dialect: Dialect, *, detached: bool) -> str:
    spelled = dialect.name(name)
    return dialect.form("detached", name=spelled) if detached else spelled


def _over(
    name: str, var: Sequence[str], cond: Sequence[str], dialect: Dialect, names: Names | None
) -> str:
    names = names or {}

    def spell(variables: Sequence[str]) -> str:
        return dialect.comma.join(names.get(v, dialect.name(v)) for v in variables)

    if not cond:
        return dialect.form("law", name=name, var=spell(var))
    return dialect.form("law_given", name=name, var=spell(var), given=spell(cond))


def equation(law: Distribution, dialect: Dialect) -> str:
    """The law as an equation: a product or an integral on the right, if it is one."""
    left = whole(law, dialect)
    if isinstance(law, Law):
        return left if law.formula is None else _composed(left, law.formula, dialect)
    right = product(law, dialect)
    if law.integrated:
        each = [dialect.form("differential", name=dialect.name(h)) for h in law.integrated]
        right = dialect.form("integral", body=right, over="".join(each))
    return left if right == left else dialect.form("equation", left=left, right=right)


def _composed(left: str, formula: Formula, d: Dialect) -> str:
    """A law that is made from laws: ``q(z|x,y) ∝ p(z)q(z|x)q(z|y)``."""
    right = _term(formula.terms[0], d)
    for term in formula.terms[1:]:
        right = d.form("plus", left=right, right=_term(term, d))
    if formula.within is not None:
        name, low, high = formula.within
        ends = {"low": _end(low, d), "high": _end(high, d)}
        right = d.form("within", body=right, name=d.name(name), **ends)
    return d.form("proportional" if formula.proportional else "equation", left=left, right=right)


def _end(value: float | str, d: Dialect) -> str:
    if isinstance(value, str):
        return d.name(value)
    size = d.number(number(abs(value)))
    return d.form("minus", inside=size) if value < 0 else size


def _term(term: Term, d: Dialect) -> str:
    body = "".join(_atom(atom, d) for atom in term.atoms)
    if term.below:
        below = "".join(_atom(atom, d) for atom in term.below)
        body = d.form("fraction", above=body, below=below)
    if term.weight is None:
        return body
    return d.form("product", left=_factor(term.weight, d), right=body)


def _atom(atom: Atom, d: Dialect) -> str:
    names = {
        v: d.form("bound", name=d.name(v), value=d.number(str(k))) for v, k in atom.values.items()
    }
    if atom.each:
        names[atom.each] = d.indexed(d.name(atom.each), "j")
    body = _over(d.name(atom.name), atom.var, atom.cond_var, d, names)
    if atom.power is not None:
        body = d.form("power", base=body, exponent=_factor(atom.power, d))
    return d.form("product_over", axis=d.name("j"), inside=body) if atom.each else body


def _factor(value: float | tuple[str, int], d: Dialect) -> str:
    if isinstance(value, tuple):
        return d.indexed(d.name(value[0]), str(value[1]))
    return d.number(number(value))


def latex(law: Distribution) -> str:
    """The law's equation in LaTeX."""
    return equation(law, LATEX)


def mathml(law: Distribution) -> str:
    """The law's equation in MathML."""
    return document(equation(law, MATHML))


def describe(law: Distribution) -> str:
    """The law's equation and the networks under it, as text."""
    lines = ["Distribution:", f"  {equation(law, TEXT)}", "Network architecture:"]
    seen: set[int] = set()
    for f in law.factors:
        own = f.law.prob_text
        here = factor(f, TEXT)
        lines.append(f"  {here}:" if here == own else f"  {here} -> {own}:")
        body = repr(f.law).splitlines() if id(f.law) not in seen else ["(the same law as above)"]
        lines += [f"    {line}" for line in body]
        seen.add(id(f.law))
    return "\n".join(lines)
