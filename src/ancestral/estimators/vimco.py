r"""Variational inference for Monte Carlo objectives: the score function of a bound over copies.

Each copy has a baseline of the others. Of :math:`\hat L = \log \frac1K \sum_k w_k` with
:math:`w_k = e^{\ell_k}` the gradient by the draws is

.. math::
    \sum_k \left(\hat L - \hat L_{-k}\right) \nabla_\phi \log q_\phi(z_k|x), \qquad
    \hat L_{-k} = \log \frac1K \Big(\sum_{j \ne k} w_j
    + \exp \frac{1}{K-1} \sum_{j \ne k} \ell_j\Big)

to which that of the log weights, through their parameters, is added. The baseline puts the
geometric mean of the other weights in the place of the own, does not depend on :math:`z_k`, and so
leaves the mean alone. Nothing is learned, and any law with a density will do.

Source: Mnih and Rezende, Variational Inference for Monte Carlo Objectives (2016), eq. 9 to 11.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class VIMCO(Estimator):
    """The score function with leave-one-out baselines, for a bound over two copies or more.

    The bound is ``E(q.iid(k=K), w.exp().mean("k").log())``.

    Args:
        draws: How many draws of all copies estimate the expectation.

    Raises:
        OptionError: In a loss, if there is one copy only, or the integrand is no such bound.

    Example:
        >>> from ancestral.distributions import Bernoulli
        >>> from ancestral.losses import E
        >>> q = Bernoulli(var=["z"], probs=0.5, name="q")
        >>> p = Bernoulli(var=["z"], probs=0.3, name="p")
        >>> w = p.log_prob() - q.log_prob()
        >>> loss = E(q.iid(k=5), w.exp().mean("k").log()).estimate({q: VIMCO()})
        >>> print(loss)
        E_{z_1..z_5 ~ q(z)}[log((1/5) Σ_k exp(log p(z_k) - log q(z_k)))]
    """

    how: ClassVar[str] = "cut"
    over_copies: ClassVar[bool] = True

    def bound(
        self, f: Tensor, log_w: Tensor, own: Tensor, axis: int, coefficient: float
    ) -> Tensor:
        """``f`` with the gradient of its draws added, and its value left alone.

        Args:
            f: The bound.
            log_w: The log weights.
            own: The log density of each draw, broadcastable to ``log_w``.
            axis: The dimension of ``log_w`` that counts copies.
            coefficient: Not used.
        """
        term = (learning_signal(log_w.detach(), axis) * own).sum(axis)
        return f + (term - term.detach())


def learning_signal(log_w: Tensor, axis: int) -> Tensor:
    r"""How much each copy adds, :math:`\hat L - \hat L_{-k}`, of the shape of ``log_w``.

    Each sum with one weight left out is a sum, and no difference: what is left of a copy that has
    nearly all of the weight would drown in rounding. A weight of 0 is one.

    Example:
        >>> learning_signal(torch.tensor([0.0, 800.0, 0.0]), 0)
        tensor([  0.0000, 798.9014,   0.0000])
    """
    each = log_w.movedim(axis, -1).unsqueeze(-2)  # (..., 1, K)
    copies = each.shape[-1]
    own = torch.eye(copies, dtype=torch.bool, device=log_w.device)  # (K left out, K)
    mean = each.masked_fill(own, 0.0).sum(-1, keepdim=True) / (copies - 1)  # (..., K, 1)
    others = torch.where(own, mean, each).logsumexp(-1)  # (..., K)
    return (each.logsumexp(-1) - others).movedim(-1, axis)
