r"""The energy distance of two laws, from draws alone.

.. math:: D^2(p, r) = 2\,E_{p(x)r(y)}\lVert x-y\rVert - E_{p(x)p(x')}\lVert x-x'\rVert
    - E_{r(y)r(y')}\lVert y-y'\rVert

the maximum mean discrepancy with the kernel :math:`-\lVert x-y\rVert`: 0 only if the laws are
equal, and without a bandwidth to choose.

Source: Szekely and Rizzo, Energy statistics (2013).
"""

from ancestral.distributions import Distribution
from ancestral.losses import Node, norm
from ancestral.objectives.mmd import discrepancy


def EnergyDistance(p: Distribution, r: Distribution) -> Node:
    """The squared energy distance of two laws that can be drawn from; one number.

    Args:
        p: A law of one variable, without free conditions.
        r: Another, of a variable of the same event shape, which may have the same name.

    Raises:
        VariableError: If a law is of several variables, or has conditions.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[2])
        >>> r = Normal(var=["y"], loc=0.0, scale=1.0, features_shape=[2], name="r")
        >>> print(EnergyDistance(p, r))
        E_{p(x)p(x')}[-||x - x'||] - 2 E_{p(x)r(y)}[-||x - y||] + E_{r(y)r(y')}[-||y - y'||]
    """
    return discrepancy(p, r, lambda x, y: -norm(x - y), "EnergyDistance")
