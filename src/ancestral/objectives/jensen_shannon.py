r"""The Jensen-Shannon divergence by a discriminator.

.. math::
    \max_d\; E_{p(x)}[\log \sigma(d(x))] + E_{q(x)}[\log (1 - \sigma(d(x)))]
    = 2\,JS[p \| q] - \log 4

Source: Goodfellow et al., Generative Adversarial Networks (2014), equation 1 and theorem 1.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.losses.adversarial import Adversarial
from ancestral.objectives.critic import Critic


def AdversarialJensenShannon(
    p: Distribution,
    q: Distribution,
    discriminator: Any,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimizer_params: Mapping[str, Any] | None = None,
    inverse_g_loss: bool = True,
    *,
    patches: bool = False,
) -> Adversarial:
    r"""What the laws' player minimises of the game, in nats.

    Args:
        p: The first law, which the discriminator calls real.
        q: The second law.
        discriminator: See :class:`~ancestral.objectives.critic.Critic`.
        optimizer: Of the discriminator's player, whom a model adds.
        optimizer_params: Its options.
        inverse_g_loss: The loss that does not saturate,
            :math:`-E_p[\log(1-\sigma(d))] - E_q[\log \sigma(d)]`; else the value of the game.
        patches: Whether the discriminator returns several logits for a row.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution, Normal
        >>> p = Normal(var=["x"], loc=torch.nn.Parameter(torch.zeros(2)), scale=1.0)
        >>> js = AdversarialJensenShannon(EmpiricalDistribution(["x"]), p, torch.nn.Linear(2, 1))
        >>> print(js)
        JS_d[p_{data}(x) || p(x)]
        >>> print(js.dual())
        E_{p_{data}(x)}[log σ(d(x))] + E_{p(x)}[log(1 - σ(d(x)))]
    """
    critic = Critic(p, q, discriminator, patches)
    dual = critic.real(p) + critic.fake(q)
    value = -(critic.fake(p) + critic.real(q)) if inverse_g_loss else dual
    return critic.objective("JS", value, dual, optimizer, optimizer_params)
