r"""The evidence lower bound, :math:`E_q[\log p(x,z) - \log q(z|x)] \le \log p(x)`.

Source: Jordan, Ghahramani, Jaakkola and Saul, An Introduction to Variational Methods (1999).
"""

from collections.abc import Sequence

from ancestral.distributions import Distribution
from ancestral.losses import Expectation


def ELBO(
    p: Distribution, q: Distribution, sample_shape: int | Sequence[int] | None = None
) -> Expectation:
    """The bound as one expectation; ``.simplify()`` turns it into reconstruction minus KL.

    Args:
        p: The joint law of data and latent variables.
        q: The approximate posterior of the latent variables.
        sample_shape: How many draws estimate it.

    Example:
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> print(ELBO(p * prior, q))
        E_{q(z|x)}[log p(x,z) - log q(z|x)]
    """
    return Expectation(q, p.log_prob() - q.log_prob(), sample_shape=sample_shape)
