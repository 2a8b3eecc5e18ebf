r"""The Wasserstein distance by a critic of bounded slope.

.. math:: W_1[p, q] = \max_{\lVert d \rVert_L \le 1}\; E_{p(x)}[d(x)] - E_{q(x)}[d(x)]

The slope is bounded by clipping weights, which bounds it only up to a factor; or by a gradient
penalty (:func:`~ancestral.objectives.gradient_penalty.GradientPenalty`) or spectral normalisation
(``torch.nn.utils.parametrizations.spectral_norm`` on each layer), then ``clip_value=None``.

Source: Arjovsky, Chintala and Bottou, Wasserstein GAN (2017), equation 2.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ancestral.distributions import Distribution
from ancestral.losses.adversarial import Adversarial
from ancestral.objectives.critic import Critic


def AdversarialWassersteinDistance(
    p: Distribution,
    q: Distribution,
    discriminator: Any,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimizer_params: Mapping[str, Any] | None = None,
    clip_value: float | None = 0.01,
    *,
    patches: bool = False,
) -> Adversarial:
    """The distance, which the laws' player minimises and the critic maximises.

    Args:
        p: The first law.
        q: The second law.
        discriminator: A ``Function`` or network whose output is any number, or a deterministic
            law of it.
        optimizer: Of the critic's player, whom a model adds.
        optimizer_params: Its options.
        clip_value: Largest absolute value of a weight of the critic, after each of its steps.
        patches: Whether the critic returns several numbers for a row.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution, Normal
        >>> p = Normal(var=["x"], loc=torch.nn.Parameter(torch.zeros(2)), scale=1.0)
        >>> data = EmpiricalDistribution(["x"])
        >>> print(AdversarialWassersteinDistance(data, p, torch.nn.Linear(2, 1)))
        W_d[p_{data}(x) || p(x)]
    """
    critic = Critic(p, q, discriminator, patches)
    dual = critic.score(p) - critic.score(q)
    return critic.objective("W", dual, dual, optimizer, optimizer_params, clip_value)
