r"""The variational Renyi bound, a family from the ELBO to log p(x) and beyond.

.. math::
    \mathcal{L}_{\alpha}(x) = \frac{1}{1-\alpha} \log E_{q(z|x)}\left[\left(
    \frac{p(x,z)}{q(z|x)}\right)^{1-\alpha}\right] = \log p(x) - D_\alpha[q(z|x) \| p(z|x)]

falls with :math:`\alpha`: the ELBO as :math:`\alpha \to 1`, log p(x) at 0, and above it for
negative :math:`\alpha`. Of K draws it is

.. math::
    \mathcal{L}_{\alpha,K}(x) = E_{z_1, \dots, z_K \sim q(z|x)}\left[\frac{1}{1-\alpha} \log \frac1K
    \sum_k \left(\frac{p(x,z_k)}{q(z_k|x)}\right)^{1-\alpha}\right]

which is the bound of importance-weighted autoencoders at 0, and lies below
:math:`\mathcal{L}_\alpha` for :math:`\alpha < 1`, above it for :math:`\alpha > 1`, nearer to it the
larger K.

Source: Li and Turner, Renyi Divergence Variational Inference (2016), equations 7 and 8.
"""

import math
from collections.abc import Sequence

from ancestral.core.errors import OptionError
from ancestral.distributions import Distribution
from ancestral.losses import E, Expectation
from ancestral.objectives.importance import Model, log_weight


def Renyi(
    p: Model, q: Distribution, *, alpha: float, k: int, observed: Sequence[str] | None = None
) -> Expectation:
    r"""The bound of K draws, one value per row.

    Args:
        p: The joint law of data and latents, or its log density.
        q: The approximate posterior of the latents.
        alpha: :math:`\alpha`, any number; at 1 the mean of the log weights, the ELBO.
        k: K, how many draws the bound has.
        observed: See :func:`~ancestral.objectives.importance.log_weight`.

    Raises:
        OptionError: If alpha is no finite number.
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> print(Renyi(p * prior, q, alpha=0.5, k=5))
        E_{z_1..z_5 ~ q(z|x)}[2 log((1/5) Σ_k exp(0.5 (log p(x,z_k) - log q(z_k|x))))]
    """
    if not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise OptionError(f"Renyi(alpha={alpha!r}): give a finite number, e.g. 0.5.")
    log_w = log_weight(p, q, observed)
    if alpha == 1:
        return E(q.iid(k=k), log_w.mean("k"))
    rest = 1.0 - alpha
    return E(q.iid(k=k), 1.0 / rest * (rest * log_w).exp().mean("k").log())
