r"""Wake-sleep and reweighted wake-sleep: a model and a recognition network, each with its own loss.

.. math::
    \text{wake } \theta: \quad & -E_{z_1, \dots, z_K \sim q}\left[\log \frac1K \sum_k w_k\right],
    \qquad w_k = \frac{p_\theta(x,z_k)}{q_\phi(z_k|x)} \\
    \text{wake } \phi: \quad & KL[p_\theta(z|x) \| q_\phi(z|x)]
    \text{, by self-normalised weights} \\
    \text{sleep } \phi: \quad & -E_{p_\theta(x,z)}[\log q_\phi(z|x)]

Draws are constants in all of them, so that latents may be of any law. With K = 1 the first is
:math:`-E_q[\log p_\theta]` up to a constant, the wake phase of Hinton et al. The second asks of q
what the first asks of its proposal; the third needs no weights, and is right on dreamt data only.

Source: Bornschein and Bengio, Reweighted Wake-Sleep (2015), algorithm 1; Hinton, Dayan, Frey and
Neal, The wake-sleep algorithm (1995); Le et al., Revisiting Reweighted Wake-Sleep (2019).
"""

from collections.abc import Sequence
from typing import NamedTuple

from ancestral.distributions import Distribution
from ancestral.losses import E, Node
from ancestral.objectives.importance import check_latents
from ancestral.objectives.inclusive_kl import InclusiveKL
from ancestral.objectives.iwae import IWAE


class WakeSleepLosses(NamedTuple):
    """What the players minimise; one value per row, but for the last, which is one number.

    Args:
        wake_theta: Of the model.
        wake_phi: Of the recognition network, on data.
        sleep_phi: Of the recognition network, on draws of the model.
    """

    wake_theta: Node
    wake_phi: Node
    sleep_phi: Node


def ReweightedWakeSleep(
    p: Distribution, q: Distribution, *, k: int, observed: Sequence[str] | None = None
) -> WakeSleepLosses:
    """The losses of the players theta, who has the model, and phi, who has q.

    On data both read the same draws of q. ``order="together"`` takes them from one evaluation.

    Args:
        p: The joint law of data and latents.
        q: The recognition law of the latents.
        k: K, how many draws the wake phases have.
        observed: See :func:`~ancestral.objectives.importance.log_weight`.

    Raises:
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> import torch
        >>> from ancestral.distributions import Bernoulli
        >>> from ancestral.models import Model, Player
        >>> prior = Bernoulli(var=["z"], logits=torch.nn.Parameter(torch.zeros(2)), name="p")
        >>> p = Bernoulli(var=["x"], cond_var=["z"], net=torch.nn.Linear(2, 3)) * prior
        >>> q = Bernoulli(var=["z"], cond_var=["x"], net=torch.nn.Linear(3, 2), name="q")
        >>> rws = ReweightedWakeSleep(p, q, k=5)
        >>> print(rws.sleep_phi)
        -E_{sg[p](x|z)sg[p](z)}[log q(z|x)]
        >>> theta = Player("theta", minimise=rws.wake_theta.mean(), over=[p])
        >>> phi = Player("phi", minimise=rws.wake_phi.mean(), over=[q])
        >>> losses = Model(players=[theta, phi], order="together").train({"x": torch.ones(4, 3)})
    """
    check_latents(p, q, observed)
    wake_theta = -IWAE(p, q.detach(), k=k)
    return WakeSleepLosses(wake_theta, InclusiveKL(p, q, k=k), -E(p.detach(), q.log_prob()))
