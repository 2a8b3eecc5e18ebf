r"""The chi upper bound on log p(x).

.. math::
    CUBO_n(x) = \frac1n \log E_{q(z|x)}\left[\left(\frac{p(x,z)}{q(z|x)}\right)^n\right]
    \ge \log p(x), \qquad n \ge 1

It rises with n, is log p(x) at n = 1 and where q is the posterior, and makes q cover the posterior
(:math:`\chi^n` divergence). The mean in the logarithm must be known: with ``Enumerate()`` of a
discrete q it is exact. From draws the bound is a plug-in estimate, of K copies

.. math::
    E_{z_1, \dots, z_K \sim q(z|x)}\left[\frac1n \log \frac1K \sum_k \left(\frac{p(x,z_k)}{q(z_k|x)}
    \right)^n\right] \le CUBO_n(x)

which may lie below log p(x); at K = 1 it is the ELBO, so that to minimise it at a small K would
move q away from the posterior. The exponential :math:`e^{n\, CUBO_n} = E_q[w^n]` is estimated
without bias and has the bound's optimum: that is what to minimise. Scale p(x, z) by its largest
weight so far, ``p.log_prob() - c``, where it leaves the range of a float.

Source: Dieng, Tran, Ranganath, Paisley and Blei, Variational Inference via chi Upper Bound
Minimization (2017), equations 2 and 5.
"""

from collections.abc import Sequence

from ancestral.core.errors import OptionError
from ancestral.distributions import Distribution
from ancestral.losses import E, Node
from ancestral.objectives.importance import Model, log_weight


def CUBO(
    p: Model,
    q: Distribution,
    *,
    n: float = 2.0,
    k: int | None = None,
    exponentiated: bool = False,
    observed: Sequence[str] | None = None,
) -> Node:
    """The bound, one value per row; to be minimised.

    Args:
        p: The joint law of data and latents, or its log density.
        q: The approximate posterior of the latents.
        n: The order, at least 1.
        k: How many draws stand in the logarithm; by default the mean itself, which is exact where
            the law is enumerated, and elsewhere a plug-in estimate that warns.
        exponentiated: :math:`E_q[w^n]`, without the logarithm: unbiased.
        observed: See :func:`~ancestral.objectives.importance.log_weight`.

    Raises:
        OptionError: If n is below 1, or copies are asked for without the logarithm.
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> print(CUBO(p * prior, q))
        0.5 log(E_{q(z|x)}[exp(2 (log p(x,z) - log q(z|x)))])
        >>> print(CUBO(p * prior, q, exponentiated=True))
        E_{q(z|x)}[exp(2 (log p(x,z) - log q(z|x)))]
    """
    if not isinstance(n, (int, float)) or not n >= 1:
        raise OptionError(
            f"CUBO(n={n!r}): the order is at least 1; below it is Renyi(alpha=1 - n)."
        )
    power = (n * log_weight(p, q, observed)).exp()
    if exponentiated:
        if k is not None:
            raise OptionError(
                "CUBO(exponentiated=True) is a plain mean: copies change nothing. Write the number "
                "of draws on the law's estimator, .estimate({q: Pathwise(draws=10)})."
            )
        return E(q, power)
    if k is None:
        return 1.0 / n * E(q, power).log()
    return E(q.iid(k=k), 1.0 / n * power.mean("k").log())
