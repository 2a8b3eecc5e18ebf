r"""Laws in the written forms: ``p(x,z) = p(x|z)p_{prior}(z)``, and the networks under them."""

from collections.abc import Mapping, Sequence

from ancestral.distributions import Distribution, Law
from ancestral.distributions.base import Factor
from ancestral.printing.dialect import LATEX, TEXT, Dialect
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
        return left
    right = product(law, dialect)
    if law.integrated:
        each = [dialect.form("differential", name=dialect.name(h)) for h in law.integrated]
        right = dialect.form("integral", body=right, over="".join(each))
    return left if right == left else dialect.form("equation", left=left, right=right)


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
