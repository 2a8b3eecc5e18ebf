r"""Divergences by their dual form, which a discriminator finds.

.. math::
    D_f[p \| q] = E_{q(x)}\left[f\left(\frac{p(x)}{q(x)}\right)\right] = \max_d\;
    E_{p(x)}[g(d(x))] - E_{q(x)}[f^*(g(d(x)))]

with the conjugate :math:`f^*` of a convex f, and an output activation g into its domain, so that d
may be any number:

================= ========================== ======================= =========================
divergence        f(u)                       g(v)                    f*(g(v))
================= ========================== ======================= =========================
kl                u log u                    v                       exp(v - 1)
reverse_kl        -log u                     -exp(-v)                v - 1
pearson           (u - 1)^2                  v                       v^2 / 4 + v
hellinger         (sqrt u - 1)^2             1 - exp(-v)             exp(v) - 1
jensen_shannon    u log u - (u + 1) log      log 2 + log sigma(v)    -log 2 - log sigma(-v)
                  ((u + 1) / 2)
total_variation   abs(u - 1) / 2             sigma(2 v) - 1/2        sigma(2 v) - 1/2
================= ========================== ======================= =========================

Jensen-Shannon here is :math:`KL[p \| m] + KL[q \| m]` with m = (p + q) / 2, twice the mean of the
two.

Source: Nowozin, Cseke and Tomioka, f-GAN (2016), equation 4, tables 1 and 2.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ancestral.core.errors import OptionError, did_you_mean
from ancestral.distributions import Distribution
from ancestral.losses import Node
from ancestral.losses.adversarial import Adversarial
from ancestral.objectives.critic import Critic

Term = Callable[[Node], Node]

LOG_2 = math.log(2.0)

DIVERGENCES: dict[str, tuple[str, Term, Term]] = {
    "kl": ("KL", lambda v: v, lambda v: (v - 1).exp()),
    "reverse_kl": ("RKL", lambda v: -(-v).exp(), lambda v: v - 1),
    "pearson": ("χ2", lambda v: v, lambda v: 0.25 * v**2 + v),
    "hellinger": ("H2", lambda v: 1 - (-v).exp(), lambda v: v.exp() - 1),
    "jensen_shannon": (
        "JS",
        lambda v: v.sigmoid().log() + LOG_2,
        lambda v: -(-v).sigmoid().log() - LOG_2,
    ),
    "total_variation": (
        "TV",
        lambda v: (2 * v).sigmoid() - 0.5,
        lambda v: (2 * v).sigmoid() - 0.5,
    ),
}


def AdversarialFDivergence(
    p: Distribution,
    q: Distribution,
    discriminator: Any,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    optimizer_params: Mapping[str, Any] | None = None,
    *,
    divergence: str = "kl",
    patches: bool = False,
) -> Adversarial:
    r"""The divergence, which the laws' player minimises and the discriminator maximises.

    Args:
        p: The first law, often of the data.
        q: The second law, often of a generator.
        discriminator: A ``Function`` or network whose output is any number, or a deterministic
            law of it.
        optimizer: Of the discriminator's player, whom a model adds.
        optimizer_params: Its options.
        divergence: ``"kl"``, ``"reverse_kl"``, ``"pearson"``, ``"hellinger"``,
            ``"jensen_shannon"`` or ``"total_variation"``.
        patches: Whether the discriminator returns several numbers for a row.

    Raises:
        OptionError: If there is no such divergence.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution, Normal
        >>> q = Normal(var=["x"], loc=torch.nn.Parameter(torch.zeros(2)), scale=1.0, name="q")
        >>> loss = AdversarialFDivergence(EmpiricalDistribution(["x"]), q, torch.nn.Linear(2, 1))
        >>> print(loss.dual())
        E_{p_{data}(x)}[d(x)] - E_{q(x)}[exp(d(x) - 1)]
    """
    if divergence not in DIVERGENCES:
        raise OptionError(f"no divergence {divergence!r}; {did_you_mean(divergence, DIVERGENCES)}")
    symbol, activation, conjugate = DIVERGENCES[divergence]
    critic = Critic(p, q, discriminator, patches)
    dual = critic.score(p, activation) - critic.score(q, conjugate)
    return critic.objective(symbol, dual, dual, optimizer, optimizer_params)
