r"""Marginal laws, :math:`p(x) = \int p(x|z)\,p(z)\,dz`: drawn by ancestral sampling only."""

from collections.abc import Sequence

from ancestral.core.errors import VariableError, did_you_mean
from ancestral.core.names import listing
from ancestral.distributions.base import Distribution
from ancestral.distributions.joint import Joint, as_joint


def marginalize(dist: Distribution, names: Sequence[str]) -> Joint:
    r"""The law of the other variables.

    Raises:
        VariableError: If a name is not drawn by the law, or nothing is left.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> marginalize(p * prior, ["z"]).latex()
        'p(x) = \\int p(x|z)p(z)dz'
    """
    for name in names:
        if name not in dist.var:
            raise VariableError(
                f"{dist.prob_text} draws no variable {name!r} to integrate out; "
                f"{did_you_mean(name, dist.var)}"
            )
    if set(names) == set(dist.var):
        raise VariableError(
            f"{dist.prob_text}: integrating out {listing(list(names))} leaves nothing. Keep at "
            "least one variable."
        )
    joint = as_joint(dist)
    return Joint(joint.factors, (*joint.integrated, *names), joint.name, tuple(joint.all_var))
