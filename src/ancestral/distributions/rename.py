"""Renaming the variables of a law, outside only: networks keep their argument names."""

from collections.abc import Mapping
from dataclasses import replace

from ancestral.core.errors import OptionError, VariableError, did_you_mean
from ancestral.distributions.base import Distribution
from ancestral.distributions.joint import Joint, as_joint


def rename(dist: Distribution, renaming: Mapping[str, str]) -> Joint:
    """The law with variables renamed, all at once; renamed variables print last.

    Raises:
        OptionError: If a new name is no string: a value may stand in for a variable in a loss.
        VariableError: If a name is unknown, or a new name is in use already.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> rename(p, {"z": "w"}).prob_text
        'p(x|w)'
    """
    known = [*dist.all_var, *dist.cond_var]
    for old, new in renaming.items():
        if not isinstance(new, str):
            raise OptionError(
                f"{dist.name}.replace_var({old}=...) takes a name, got a {type(new).__name__}. A "
                f"value stands in for {old} in a loss: "
                f"{dist.name}.log_prob().replace_var({old}=...)."
            )
        if old not in known:
            raise VariableError(
                f"{dist.prob_text} has no variable {old!r} to rename; {did_you_mean(old, known)}"
            )
    after = [renaming.get(v, v) for v in known]
    for old, new in renaming.items():
        if after.count(new) > 1:
            raise VariableError(
                f"{dist.prob_text}: {old} cannot be renamed to {new}, which is in use"
                f"{' (integrated out)' if new in dist.integrated else ''}. Choose another name."
            )
    joint = as_joint(dist)
    moved = [v for v in renaming if v in joint.all_var]
    order = [v for v in joint.all_var if v not in moved] + moved
    return Joint(
        (
            replace(
                f,
                var=tuple(renaming.get(v, v) for v in f.var),
                cond_var=tuple(renaming.get(c, c) for c in f.cond_var),
            )
            for f in joint.factors
        ),
        tuple(renaming.get(v, v) for v in joint.integrated),
        joint.name,
        tuple(renaming.get(v, v) for v in order),
    )
