r"""The least-squares loss of a discriminator.

.. math::
    \min_d\; \tfrac12 E_{p(x)}[(d(x) - 1)^2] + \tfrac12 E_{q(x)}[d(x)^2], \qquad
    \min_q\; \tfrac12 E_{q(x)}[(d(x) - 1)^2]

Source: Mao et al., Least Squares Generative Adversarial Networks (2017), equation 9.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.losses.adversarial import Adversarial
from ancestral.objectives.critic import Critic


def AdversarialLeastSquares(
    p: Distribution,
    q: Distribution,
    discriminator: Any,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimizer_params: Mapping[str, Any] | None = None,
    *,
    patches: bool = False,
) -> Adversarial:
    """What the second law's player minimises: draws that the discriminator gives a 1.

    Args:
        p: The first law, which the discriminator gives a 1.
        q: The second law, which it gives a 0.
        discriminator: A ``Function`` or network whose output is any number, or a deterministic
            law of it.
        optimizer: Of the discriminator's player, whom a model adds.
        optimizer_params: Its options.
        patches: Whether the discriminator returns several numbers for a row.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution, Normal
        >>> p = Normal(var=["x"], loc=torch.nn.Parameter(torch.zeros(2)), scale=1.0)
        >>> print(AdversarialLeastSquares(EmpiricalDistribution(["x"]), p, torch.nn.Linear(2, 1)))
        LS_d[p_{data}(x) || p(x)]
    """
    critic = Critic(p, q, discriminator, patches)
    real = critic.score(p, lambda d: (d - 1) ** 2)
    fake = critic.score(q, lambda d: d**2)
    value = 0.5 * critic.score(q, lambda d: (d - 1) ** 2)
    return critic.objective("LS", value, -0.5 * (real + fake), optimizer, optimizer_params)
