"""The table of closed forms: ``python -m ancestral.distributions.kl`` prints it.

For each law the entropy, the laws p to which KL[law || p] is known, and with both the
cross-entropy -E[log p] = H[law] + KL[law || p], hence the expected log density, too. All other
divergences, entropies and expected log densities of a loss are Monte Carlo. Those of joint laws
are decomposed by the chain rule first, so that each factor is looked up by itself.

Below them stand the conjugate pairs, for which ``(likelihood * prior).condition("x")`` is known.
"""

import sys
from collections.abc import Iterable

import ancestral.distributions as package
from ancestral.distributions import Law
from ancestral.distributions.closed_forms import closed_entropy, closed_kl
from ancestral.distributions.conjugate import conjugate


def families() -> list[type[Law]]:
    """The public laws with a density and parameters of their own, by name."""
    found = (getattr(package, name) for name in package.__all__)
    laws = (f for f in found if isinstance(f, type) and issubclass(f, Law))
    own = (f for f in laws if f.has_density and f.domains and not f.composite)
    return sorted(own, key=lambda f: f.__name__)


def rows(laws: Iterable[type[Law]]) -> list[tuple[str, bool, list[str]]]:
    """Each law with whether its entropy is known, and to which its divergence is.

    Example:
        >>> from ancestral.distributions import Laplace, Normal
        >>> rows([Laplace, Normal])
        [('Laplace', True, ['Laplace', 'Normal']), ('Normal', True, ['Laplace', 'Normal'])]
    """
    built = [(f.__name__, f(**f.examples()[0])) for f in laws]
    return [
        (name, closed_entropy(q) is not None, [n for n, p in built if closed_kl(q, p) is not None])
        for name, q in built
    ]


def pairs(laws: Iterable[type[Law]]) -> list[tuple[str, str, str]]:
    """Each likelihood with the parameter that is the variable, and its conjugate prior.

    Example:
        >>> from ancestral.distributions import Bernoulli, Beta, Normal
        >>> pairs([Bernoulli, Beta, Normal])
        [('Bernoulli', 'probs', 'Beta'), ('Normal', 'loc', 'Normal')]
    """
    built = [(f.__name__, f(**f.examples()[0])) for f in laws]
    known = ((name, conjugate(p, prior), other) for name, p in built for other, prior in built)
    return [(name, rule.parameter, other) for name, rule, other in known if rule is not None]


def table() -> str:
    """The tables as text, one law or pair per line."""
    lines = ["law                    entropy  KL[law || p] for p (cross-entropy with both)"]
    lines += [
        f"{name:22} {'closed' if entropy else '-':8} {', '.join(others) or '-'}"
        for name, entropy, others in rows(families())
    ]
    lines += ["", "likelihood             of z     conjugate prior p(z)"]
    lines += [f"{name:22} {key:8} {prior}" for name, key, prior in pairs(families())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
