"""A game as a saddle point, ``min_g max_d V``, or as the objective of each player; divergences by a
discriminator.
"""

from collections.abc import Sequence

from ancestral.losses.adversarial import Adversarial
from ancestral.losses.game import MIN, Game
from ancestral.printing import law
from ancestral.printing.dialect import TEXT, Dialect


def divergence(node: Adversarial, dialect: Dialect, names: law.Names) -> str:
    """A divergence by a discriminator: ``KL_d[p(x) || q(x)]``."""
    p, q = (law.whole(d, dialect, names) for d in (node.p, node.q))
    critic = dialect.name(node.inner.name)
    return dialect.form("adversarial", symbol=node.symbol, critic=critic, p=p, q=q)


def written(node: Game, dialect: Dialect, objectives: Sequence[str]) -> str:
    """A game whose objectives are spelled already."""
    names = [dialect.comma.join(map(dialect.name, n.split(","))) for n in node.names]
    senses = [dialect.function(sense) for sense in node.senses]
    if node.common is not None:
        out = objectives[node.common]
        order = sorted(range(len(names)), key=lambda i: node.senses[i] == MIN)
        for i in order:  # the innermost first: min stands in front of max
            below = f"{{{names[i]}}}" if dialect is TEXT and len(names[i]) > 1 else names[i]
            out = dialect.form("best", sense=senses[i], name=below, inside=out)
        return out
    turns = [
        dialect.form("turn", name=name, sense=sense, inside=objective)
        for name, sense, objective in zip(names, senses, objectives, strict=True)
    ]
    out = turns[-1]
    for turn in reversed(turns[:-1]):
        out = dialect.form("turns", first=turn, rest=out)
    return out
