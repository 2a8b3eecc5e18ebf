r"""The hinge loss of a discriminator.

.. math::
    \max_d\; -E_{p(x)}[\max(0, 1 - d(x))] - E_{q(x)}[\max(0, 1 + d(x))], \qquad
    \min_q\; -E_{q(x)}[d(x)]

Source: Lim and Ye, Geometric GAN (2017); Miyato et al., Spectral Normalization for Generative
Adversarial Networks (2018), equations 16 and 17.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.losses.adversarial import Adversarial
from ancestral.objectives.critic import Critic


def AdversarialHinge(
    p: Distribution,
    q: Distribution,
    discriminator: Any,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimizer_params: Mapping[str, Any] | None = None,
    *,
    patches: bool = False,
) -> Adversarial:
    """What the second law's player minimises: minus the mean output at its draws.

    Args:
        p: The first law, which the discriminator calls real.
        q: The second law.
        discriminator: A ``Function`` or network whose output is any number, or a deterministic
            law of it.
        optimizer: Of the discriminator's player, whom a model adds.
        optimizer_params: Its options.
        patches: Whether the discriminator returns several numbers for a row.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution, Normal
        >>> p = Normal(var=["x"], loc=torch.nn.Parameter(torch.zeros(2)), scale=1.0)
        >>> print(AdversarialHinge(EmpiricalDistribution(["x"]), p, torch.nn.Linear(2, 1)))
        hinge_d[p_{data}(x) || p(x)]
    """
    critic = Critic(p, q, discriminator, patches)
    real = critic.score(p, lambda d: (1 - d).max(0.0))
    fake = critic.score(q, lambda d: (1 + d).max(0.0))
    return critic.objective("hinge", -critic.score(q), -(real + fake), optimizer, optimizer_params)
