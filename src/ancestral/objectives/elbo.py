r"""The evidence lower bound, :math:`E_q[\log p(x,z) - \log q(z|x)] \le \log p(x)`.

Source: Jordan, Ghahramani, Jaakkola and Saul, An Introduction to Variational Methods (1999).
"""

from collections.abc import Sequence

from ancestral.distributions import Distribution
from ancestral.losses import Expectation
from ancestral.objectives.importance import Model, log_weight


def ELBO(
    p: Model,
    q: Distribution,
    sample_shape: int | Sequence[int] | None = None,
    *,
    observed: Sequence[str] | None = None,
) -> Expectation:
    """The bound as one expectation; ``.simplify()`` turns it into reconstruction minus KL.

    Args:
        p: The joint law of data and latent variables, or its log density.
        q: The approximate posterior of the latent variables.
        sample_shape: How many draws estimate it.
        observed: The names of the data, if they are to be checked: then all other variables of p
            need a posterior.

    Raises:
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> print(ELBO(p * prior, q))
        E_{q(z|x)}[log p(x,z) - log q(z|x)]
    """
    return Expectation(q, log_weight(p, q, observed), sample_shape=sample_shape)
