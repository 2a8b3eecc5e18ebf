r"""The thermodynamic variational objective, Riemann sums of an integral that is log p(x).

On the path :math:`\pi_\beta(z) \propto p(x,z)^\beta q(z|x)^{1-\beta}` from q to the posterior

.. math::
    \log p(x) = \int_0^1 E_{\pi_\beta}\left[\log \frac{p(x,z)}{q(z|x)}\right] d\beta, \qquad
    TVO(x) = \sum_{i=1}^{S} (\beta_i - \beta_{i-1})\,
    E_{\pi_{\beta_{i-1}}}\left[\log \frac{p(x,z)}{q(z|x)}\right] \le \log p(x)

since the integrand rises. The left sum with S = 1 is the ELBO; the right sum, at the
:math:`\beta_i`, is an upper bound. The means under :math:`\pi_\beta` are by K draws of q with the
self-normalised weights :math:`w^\beta`: biased at a fixed K, and marked ``plug-in``.

Source: Masrani, Le and Wood, The Thermodynamic Variational Objective (2019), equations 8 and 11.
"""

from collections.abc import Sequence
from itertools import pairwise

from ancestral.core.errors import OptionError
from ancestral.distributions import Distribution
from ancestral.losses import E, Expectation, Node
from ancestral.objectives.importance import Model, log_weight


def TVO(
    p: Model,
    q: Distribution,
    *,
    k: int,
    betas: Sequence[float] = (0.0, 0.1, 1.0),
    upper: bool = False,
    observed: Sequence[str] | None = None,
) -> Expectation:
    r"""The lower bound, or the upper one; one value per row.

    The gradient is that of the formula of K draws: pathwise through q, or by ``Score()``.

    Args:
        p: The joint law of data and latents, or its log density.
        q: The approximate posterior of the latents.
        k: K, how many draws the means are taken over.
        betas: :math:`0 = \beta_0 < \dots < \beta_S = 1`, the partition.
        upper: The right Riemann sum.
        observed: See :func:`~ancestral.objectives.importance.log_weight`.

    Raises:
        OptionError: If the partition does not rise from 0 to 1.
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> from ancestral.distributions import Normal
        >>> q = Normal(var=["z"], loc=1.0, scale=2.0, name="q")
        >>> p = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> print(TVO(p, q, k=5, betas=(0.0, 1.0)))
        E_{z_1..z_5 ~ q(z)}[(1/5) Σ_k (log p(z_k) - log q(z_k))]
    """
    steps = [float(b) for b in betas]
    if steps[:1] != [0.0] or steps[-1:] != [1.0] or any(a >= b for a, b in pairwise(steps)):
        raise OptionError(f"TVO(betas={list(betas)}): give numbers that rise from 0 to 1.")
    log_w = log_weight(p, q, observed)
    total: Node | None = None
    for before, after in pairwise(steps):
        term = _mean(log_w, after if upper else before)
        term = term if len(steps) == 2 else (after - before) * term
        total = term if total is None else total + term
    assert total is not None
    return E(q.iid(k=k), total)


def _mean(log_w: Node, beta: float) -> Node:
    r""":math:`E_{\pi_\beta}[\log w]` by self-normalised weights."""
    if beta == 0.0:
        return log_w.mean("k")
    w = (log_w if beta == 1.0 else beta * log_w).exp()
    return (w * log_w).sum("k") / w.sum("k")
