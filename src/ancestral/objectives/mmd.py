r"""The maximum mean discrepancy of two laws, from draws alone.

.. math:: MMD^2(p, r) = E_{p(x)p(x')}[k(x,x')] - 2\,E_{p(x)r(y)}[k(x,y)] + E_{r(y)r(y')}[k(y,y')]

It is 0 only if the laws are equal, for the kernels named here. Its estimate from n draws of each is
the U-statistic, over pairs of different draws: unbiased, so that it may be negative.

Source: Gretton et al., A kernel two-sample test (2012), lemma 6; as the regulariser of an
autoencoder: Zhao et al., InfoVAE (2019).
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from ancestral.core.errors import OptionError, VariableError, did_you_mean
from ancestral.distributions import Distribution
from ancestral.distributions.rows import is_batch_level
from ancestral.estimators.rows import Pairs
from ancestral.losses import Expectation, Node, sqnorm, values

Kernel = Callable[[Any, Any], Node]


def gaussian(bandwidth: float = 1.0) -> Kernel:
    r""":math:`k(x,y) = e^{-\lVert x-y\rVert^2 / 2h^2}`.

    Args:
        bandwidth: h, in the units of x.

    Example:
        >>> print(gaussian(2.0)(*values("x y")))
        exp(-0.125 ||x - y||^2)
    """
    _check(bandwidth)
    return lambda x, y: (-0.5 / bandwidth**2 * sqnorm(x - y)).exp()


def inverse_multiquadric(bandwidth: float = 1.0) -> Kernel:
    r""":math:`k(x,y) = h^2 / (h^2 + \lVert x-y\rVert^2)`, with heavier tails.

    Args:
        bandwidth: h, in the units of x.

    Example:
        >>> print(inverse_multiquadric(2.0)(*values("x y")))
        4 / (4 + ||x - y||^2)
    """
    _check(bandwidth)
    return lambda x, y: bandwidth**2 / (bandwidth**2 + sqnorm(x - y))


def _check(bandwidth: float) -> None:
    if not isinstance(bandwidth, (int, float)) or not bandwidth > 0:
        raise OptionError(f"bandwidth={bandwidth!r} of a kernel must be a positive number.")


KERNELS: dict[str, Callable[[float], Kernel]] = {
    "gaussian": gaussian,
    "inverse_multiquadric": inverse_multiquadric,
}


def MMD(
    p: Distribution,
    r: Distribution,
    kernel: str | Kernel = "gaussian",
    bandwidth: float | Sequence[float] = 1.0,
) -> Node:
    """The squared maximum mean discrepancy of two laws that can be drawn from; one number.

    Every draw is paired with all others: x and y are one batch of draws each, shared with the rest
    of the loss. An aggregate posterior is one law: ``(q * p_data).marginalize_var("x")``.

    Args:
        p: A law of one variable, without free conditions.
        r: Another, of a variable of the same event shape, which may have the same name.
        kernel: ``"gaussian"``, ``"inverse_multiquadric"``, or a function of two values.
        bandwidth: Of a kernel given by name; of several the kernels are added, so that laws are
            compared at several scales.

    Raises:
        VariableError: If a law is of several variables, or has conditions.
        OptionError: If there is no such kernel, or no such bandwidth.

    Example:
        >>> from ancestral.distributions import Normal
        >>> from ancestral.losses import Function
        >>> p = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
        >>> r = Normal(var=["z"], loc=1.0, scale=1.0, features_shape=[2], name="r")
        >>> k = Function(lambda a, b: (-(a - b).square().sum(-1)).exp(), name="k")
        >>> print(MMD(p, r, kernel=k))
        E_{p(z)p(z'')}[k(z, z'')] - 2 E_{p(z)r(z')}[k(z, z')] + E_{r(z')r(z''')}[k(z', z''')]
    """
    k = kernel_of(kernel, bandwidth)
    return discrepancy(p, r, k, "MMD")


def kernel_of(kernel: str | Kernel, bandwidth: float | Sequence[float]) -> Kernel:
    """A kernel by its name, or as it is given; of several bandwidths, the sum."""
    if callable(kernel):
        return kernel
    if kernel not in KERNELS:
        raise OptionError(f"no kernel {kernel!r}; {did_you_mean(str(kernel), KERNELS)}")
    if not isinstance(bandwidth, (list, tuple)):
        bandwidth = [bandwidth]  # type: ignore[list-item] # what is no number is refused below
    if not bandwidth:
        raise OptionError("bandwidth=() of a kernel: give at least one positive number.")
    parts = [KERNELS[kernel](h) for h in bandwidth]
    return lambda x, y: functools.reduce(operator.add, (k(x, y) for k in parts))


def discrepancy(p: Distribution, r: Distribution, k: Kernel, what: str) -> Node:
    r""":math:`E[k(x,x')] - 2E[k(x,y)] + E[k(y,y')]`, over all pairs of different rows."""
    p, r = told_apart(p, r, what)
    p1 = fresh(p, r)
    r1 = fresh(r, p, p1)
    x, x1, y, y1 = (values([law.var[0]]) for law in (p, p1, r, r1))
    found = (
        Expectation(p * p1, k(x, x1))
        - 2 * Expectation(p * r, k(x, y))
        + Expectation(r * r1, k(y, y1))
    )
    return found.estimate({p: Pairs(), r: Pairs()})


def told_apart(p: Distribution, r: Distribution, what: str) -> tuple[Distribution, Distribution]:
    """Two laws of one variable each, of different names.

    Raises:
        VariableError: If a law is of several variables, or has conditions.
    """
    for law in (p, r):
        if len(law.var) != 1 or law.cond_var:
            raise VariableError(
                f"{what}: {law.prob_text} must be the law of one variable without conditions. "
                "Integrate out the others; an aggregate over data is "
                "(q * p_data).marginalize_var('x')."
            )
    if p.var == r.var and is_batch_level(r) and not is_batch_level(p):
        p = fresh(p, r)  # the draws of an aggregate are those of the rest of the loss, by name
    elif p.var == r.var:
        r = fresh(r, p)
    return p, r


def fresh(law: Distribution, *others: Distribution) -> Distribution:
    """The law of a variable with as many primes as none of the others has."""
    taken = {v for d in (law, *others) for v in (*d.all_var, *d.cond_var)}
    name = law.var[0]
    while name in taken:
        name += "'"
    return law.replace_var(**{law.var[0]: name})
