r"""The Kullback-Leibler divergence by a discriminator, whose logit is the log ratio of densities.

.. math::
    KL[p \| q] \approx E_{p(x)}[d(x)], \qquad
    d = \arg\max_d\; E_{p(x)}[\log \sigma(d(x))] + E_{q(x)}[\log (1 - \sigma(d(x)))]

Only draws of the two laws are needed, so that either may be implicit or an aggregate.

Source: Kim and Mnih, Disentangling by Factorising (2018), equation 3.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.losses.adversarial import Adversarial
from ancestral.objectives.critic import Critic


def AdversarialKullbackLeibler(
    p: Distribution,
    q: Distribution,
    discriminator: Any,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimizer_params: Mapping[str, Any] | None = None,
    *,
    patches: bool = False,
) -> Adversarial:
    """The estimate of the divergence, in nats; gradients reach the first law's draws.

    Args:
        p: The first law; the expectation is under it.
        q: The second law.
        discriminator: See :class:`~ancestral.objectives.critic.Critic`.
        optimizer: Of the discriminator's player, whom a model adds.
        optimizer_params: Its options.
        patches: Whether the discriminator returns several logits for a row.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["z"], loc=torch.nn.Parameter(torch.zeros(2)), scale=1.0, name="q")
        >>> q = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
        >>> print(AdversarialKullbackLeibler(p, q, torch.nn.Linear(2, 1)))
        KL_d[q(z) || p(z)]
    """
    critic = Critic(p, q, discriminator, patches)
    dual = critic.real(p) + critic.fake(q)
    return critic.objective("KL", critic.logit(p), dual, optimizer, optimizer_params)
