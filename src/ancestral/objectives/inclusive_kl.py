r"""The inclusive divergence :math:`KL[p(z|x) \| q(z|x)]`, by self-normalised importance weights.

.. math::
    KL[p(z|x) \| q(z|x)] \approx E_{z_1, \dots, z_K \sim q(z|x)}\left[\frac{\sum_k w_k
    (\log p(x,z_k) - \log q(z_k|x))}{\sum_k w_k} - \log \frac1K \sum_k w_k\right], \qquad
    w_k = \frac{p(x,z_k)}{q(z_k|x)}

Its gradient is :math:`-\sum_k \tilde w_k \nabla \log q(z_k|x)`, in the parameters of q alone:
draws, weights and p are constants, so that q may be of any law with a density, and p need not be
differentiable. Value and gradient are biased at a fixed K, by terms of the order of 1/K; a program
marks them ``plug-in``. It is the step of q in reweighted wake-sleep, and ``klpq(...).importance()``
of ZhuSuan.

Source: Bornschein and Bengio, Reweighted Wake-Sleep (2015), equation 9.
"""

from collections.abc import Sequence

from ancestral.distributions import Distribution
from ancestral.losses import E, Expectation
from ancestral.objectives.importance import Model, check_latents, log_density


def InclusiveKL(
    p: Model, q: Distribution, *, k: int, observed: Sequence[str] | None = None
) -> Expectation:
    """The divergence of q from the posterior of p, which trains q alone.

    Args:
        p: The joint law of data and latents, or its log density.
        q: The approximate posterior, trained.
        k: How many draws; part of the formula. Of one draw the weight is 1 and the value 0.
        observed: See :func:`~ancestral.objectives.importance.log_weight`.

    Raises:
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> import torch
        >>> from ancestral.distributions import Normal
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> q = Normal(var=["z"], loc=0.5, scale=0.5**0.5, name="q")  # the posterior at x = 1
        >>> kl = InclusiveKL(p * prior, q, k=100).eval({"x": torch.ones(1)})
        >>> bool(kl.abs() < 1e-5)
        True
    """
    check_latents(p, q, observed)
    log_p, draws = log_density(p.detach()), q.detach()
    w = (log_p - draws.log_prob()).exp()
    ratio = log_p - q.log_prob()
    return E(draws.iid(k=k), (w * ratio).sum("k") / w.sum("k") - w.mean("k").log())
