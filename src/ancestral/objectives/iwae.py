r"""The importance-weighted bound, tighter the more draws it has.

.. math::
    \mathcal{L}_K(x) = E_{z_1, \dots, z_K \sim q(z|x)}\left[\log \frac1K \sum_k
    \frac{p(x,z_k)}{q(z_k|x)}\right] \le \mathcal{L}_{K+1}(x) \le \log p(x)

At K = 1 it is the ELBO. K is part of the bound. Its gradient is pathwise by default;
``.estimate({q: DReG()})`` keeps the signal as K grows, ``VIMCO()`` is for discrete latents.

Source: Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders (2016), equation 8.
"""

from collections.abc import Sequence

from ancestral.distributions import Distribution
from ancestral.losses import E, Expectation
from ancestral.objectives.importance import Model, log_weight


def IWAE(
    p: Model, q: Distribution, *, k: int, observed: Sequence[str] | None = None
) -> Expectation:
    """The bound on log p(x), one value per row.

    Args:
        p: The joint law of data and latents, or its log density.
        q: The approximate posterior of the latents.
        k: K, how many draws the bound has.
        observed: See :func:`~ancestral.objectives.importance.log_weight`.

    Raises:
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> print(IWAE(p * prior, q, k=5))
        E_{z_1..z_5 ~ q(z|x)}[log((1/5) Σ_k exp(log p(x,z_k) - log q(z_k|x)))]
    """
    return E(q.iid(k=k), log_weight(p, q, observed).exp().mean("k").log())
