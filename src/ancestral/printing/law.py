r"""Laws in the written forms: ``p(x,z) = p(x|z)p_{prior}(z)``, and the networks under them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ancestral.distributions import Distribution, Joint, Law, Sequence
from ancestral.distributions.base import Factor
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.printing.dialect import LATEX, TEXT, Dialect, number
from ancestral.printing.mathml import MATHML, document

Names = Mapping[str, str]  # a variable and how it prints where it is not by its own name


def factor(f: Factor, dialect: Dialect, names: Names | None = None) -> str:
    """One factor: ``q(z|x)``; ``sg[q](z|x)`` if its parameters are detached."""
    name = _name(f.law.name, dialect, detached=f.detached)
    if isinstance(f.law, Sequence):
        names = through(f, dialect, names)
    if f.law.rearranged is None or len(f.var) > 1:
        return over(name, f.var, _read(f), dialect, names)
    spelled = {v: (names or {}).get(v, dialect.name(v)) for v in f.var}
    entry = {**(names or {}), **{v: dialect.indexed(spelled[v], "j") for v in f.var}}
    inside = over(name, f.var, f.cond_var, dialect, entry)
    return dialect.form("product_over", axis=dialect.name("j"), inside=inside)


def energy(f: Factor) -> str:
    """The energy of a factor that is given by one: ``E(x)``."""
    return over("E", [*f.var, *f.cond_var], [], TEXT, None)


def whole(law: Distribution, dialect: Dialect, names: Names | None = None) -> str:
    """A law by its own name: ``p(x,z)``; a single factor as that factor prints."""
    if len(law.factors) == 1 and not law.integrated and law.name == law.factors[0].law.name:
        return factor(law.factors[0], dialect, names)
    detached = {f.detached for f in law.factors}
    if len(detached) == 2 and not law.integrated:  # one name cannot say which is
        return dialect.bracket(product(law, dialect, names))
    name = _name(law.name, dialect, detached=detached == {True})
    timed = [through(f, dialect, names) for f in law.factors if isinstance(f.law, Sequence)]
    before = names or {}
    seen = (entry for found in timed for entry in found.items())
    names = {**before, **{v: text for v, text in seen if text != before.get(v)}}
    read = {c for f in law.factors for c in _read(f)}
    return over(name, law.var, [c for c in law.cond_var if c in read], dialect, names)


def product(law: Distribution, dialect: Dialect, names: Names | None = None) -> str:
    """A law as the product of its factors: ``p(x|z)p_{prior}(z)``."""
    return "".join(factor(f, dialect, names) for f in law.factors)


# -- sequences ------------------------------------------------------------------------------------
def _read(f: Factor) -> list[str]:
    """The conditions that print: masks say what counts, not what is read."""
    return [c for c in f.cond_var if c not in f.unread]


def _spelled(name: str, dialect: Dialect, names: Names | None) -> str:
    return (names or {}).get(name, dialect.name(name))


def through(f: Factor, dialect: Dialect, names: Names | None) -> Names:
    """The names of a sequence law's sequences, at all times: ``z_{1:T}``."""
    law = f.law
    assert isinstance(law, Sequence)
    both = zip((*law.var, *law.cond_var), (*f.var, *f.cond_var), strict=True)
    timed = [outer for own, outer in both if own in (*law.var, *law.series, *law.carried)]
    seen = {v: dialect.timed(_spelled(v, dialect, names), "through") for v in timed}
    return {**(names or {}), **seen}


def step(
    f: Factor, dialect: Dialect, names: Names | None, *, every: bool = False
) -> tuple[Joint, Names]:
    """The random part of one step of a sequence law, or ``every`` factor of it, and how its
    variables print: ``z_t``.
    """
    law = f.law
    assert isinstance(law, Sequence)
    outer = dict(zip((*law.var, *law.cond_var), (*f.var, *f.cond_var), strict=True))
    spelled = {own: _spelled(name, dialect, names) for own, name in outer.items()}
    seen = {
        own: dialect.indexed(text, "t") if own in (*law.var, *law.series) else text
        for own, text in spelled.items()
    }
    seen |= {a: dialect.timed(spelled[s], "before") for a, s in law.names_before.items()}
    random = [g for g in law.step_law.factors if every or g.law.is_random]
    parts = [replace(g, detached=g.detached or f.detached) for g in random]
    return Joint(parts, name=law.name), seen


def logs(
    law: Distribution, dialect: Dialect, names: Names | None, mask: str | None = None
) -> list[str]:
    """The log density of a law, as a sum over time for each sequence in it; with a mask, as one
    over its factors, ``S_1 log p(x|z)``.
    """
    if mask is not None:
        spelled, terms = _spelled(mask, dialect, names), []
        for i, f in enumerate(law.factors):
            left = dialect.indexed(spelled, str(i + 1))
            (right,) = logs(Joint((f,), name=f.law.name), dialect, names)
            terms.append(dialect.form("product", left=left, right=right))
        return terms
    others = [f for f in law.factors if not isinstance(f.law, Sequence)]
    if len(others) == len(law.factors):
        return [dialect.form("log", density=whole(law, dialect, names))]
    parts = [f for f in law.factors if isinstance(f.law, Sequence)]
    terms = [log_of_steps(f, dialect, names) for f in parts]
    return terms + (logs(Joint(others), dialect, names) if others else [])


def log_of_steps(f: Factor, dialect: Dialect, names: Names | None) -> str:
    """The log density of a sequence, the sum of those of its steps that count."""
    one, seen = step(f, dialect, names)
    term = dialect.form("log", density=whole(one, dialect, seen))
    return _over_time(f, term, dialect, names, masks=2)


def chain_rule(q: Distribution, p: Distribution, dialect: Dialect, names: Names | None) -> str:
    """The divergence of two sequences as the expectation of a sum over time; else nothing."""
    if len(q.factors) > 1 or not isinstance(q.factors[0].law, Sequence):
        return ""
    body = divergence_of_steps(q.factors[0], p.factors[0], dialect, names)
    return dialect.form("expectation", law=factor(q.factors[0], dialect, names), body=body)


def divergence_of_steps(f: Factor, g: Factor, dialect: Dialect, names: Names | None) -> str:
    """The sum over time of the divergences of steps that exist."""
    (q, of_q), (p, of_p) = step(f, dialect, names), step(g, dialect, names)
    sides = whole(q, dialect, of_q), whole(p, dialect, of_p)
    term = dialect.form("divergence", q=sides[0], p=sides[1])
    masked = next((h for h in (f, g) if isinstance(h.law, Sequence) and h.law.mask), None)
    return _over_time(masked or f, term, dialect, names, masks=int(masked is not None))


def _over_time(f: Factor, term: str, dialect: Dialect, names: Names | None, masks: int) -> str:
    """The sum of a term over time, times so many of a sequence law's masks."""
    law = f.law
    assert isinstance(law, Sequence)
    outer = dict(zip(law.cond_var, f.cond_var, strict=True))
    for mask in reversed(law.masks[:masks]):
        left = dialect.indexed(_spelled(outer[mask], dialect, names), "t")
        term = dialect.form("product", left=left, right=term)
    return dialect.form("sum", axis=dialect.name("t"), inside=term)


def drawn(law: Distribution, dialect: Dialect, names: Names | None = None) -> str:
    """A law as what is drawn: its factors, and marginal laws by their names, ``q(z)p(u)``."""
    if not law.integrated:
        return product(law, dialect, names)
    groups = _parts(law.factors, {*law.integrated})
    parts = [part for part in groups if {v for f in part for v in f.var} & {*law.var}]
    if len(parts) == 1:
        return whole(law, dialect, names)
    written = []
    for part in parts:
        hidden = tuple(v for f in part for v in f.var if v in law.integrated)
        one = Joint(part, hidden, next((f.of for f in part if f.of), None))
        written.append((whole if hidden else product)(one, dialect, names))
    return "".join(written)


def _parts(factors: Iterable[Factor], hidden: set[str]) -> list[list[Factor]]:
    """The factors in groups that share no hidden variable, in order."""
    parts: list[list[Factor]] = []
    for f in factors:
        own = hidden & {*f.var, *f.cond_var}
        near = [p for p in parts if any(own & {*g.var, *g.cond_var} for g in p)]
        joined = [*(g for p in near for g in p), f]
        at = parts.index(near[0]) if near else len(parts)
        parts = [p for p in parts if p not in near]
        parts.insert(at, joined)
    return parts


def _name(name: str, dialect: Dialect, *, detached: bool) -> str:
    spelled = dialect.name(name)
    return dialect.form("detached", name=spelled) if detached else spelled


def over(
    name: str, var: Iterable[str], cond: Iterable[str], dialect: Dialect, names: Names | None
) -> str:
    """A law by its name, variables and conditions."""
    names = names or {}

    def spell(variables: Iterable[str]) -> str:
        return dialect.comma.join(names.get(v, dialect.name(v)) for v in variables)

    if not list(cond):
        return dialect.form("law", name=name, var=spell(var))
    return dialect.form("law_given", name=name, var=spell(var), given=spell(cond))


def equation(law: Distribution, dialect: Dialect) -> str:
    """The law as an equation: a product or an integral on the right, if it is one."""
    left = whole(law, dialect)
    if isinstance(law, Sequence):
        one, names = step(law.factors[0], dialect, None, every=True)
        body = product(one, dialect, names)
        right = dialect.form("product_over", axis=dialect.name("t"), inside=body)
        return dialect.form("equation", left=left, right=right)
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
    body = over(d.name(atom.name), atom.var, atom.cond_var, d, names)
    if atom.exponential:
        body = d.call("exp", d.form("minus", inside=body))
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
