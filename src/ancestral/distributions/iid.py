r"""Independent copies of a law, :math:`z_1, \dots, z_K \sim q(z|x)`, along a named axis."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ancestral.core.errors import OptionError
from ancestral.distributions.base import Distribution
from ancestral.distributions.joint import Joint, as_joint


def iid(dist: Distribution, unnamed: Sequence[int], copies: Mapping[str, int]) -> Joint:
    """K draws of the law along one named axis, which the loss reduces with ``.mean("k")``.

    The number is part of the equation (the bound of IWAE depends on it); how many draws estimate
    an expectation is not, and is written on the expectation.

    Example:
        >>> from ancestral.distributions import Normal
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> iid(q, (), {"k": 5}).factors[0].copies
        ('k', 5)
    """
    if unnamed:
        raise OptionError(f"iid needs a name for its axis: {dist.name}.iid(k={unnamed[0]}).")
    if len(copies) != 1:
        raise OptionError("iid takes one axis and its size, e.g. q.iid(k=50).")
    ((axis, size),) = copies.items()
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise OptionError(
            f"iid({axis}={size!r}): the number of copies must be a whole number >= 1."
        )
    if any(f.copies for f in dist.factors):
        raise OptionError(
            f"{dist.prob_text} has copies already; write one iid around the product."
        )
    return as_joint(dist).rebuilt(replace(f, copies=(axis, size)) for f in dist.factors)
