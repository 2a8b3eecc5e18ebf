r"""The Wasserstein distance of two laws, from draws alone, by the exact matching of a batch.

.. math::
    W_p^p(p, r) = \min_{\pi \in \Pi(p, r)} E_{\pi(x,y)}\left[\lVert x - y\rVert^p\right]

Of n draws of each law the best coupling is a permutation; in one dimension it sorts both. Draws
have gradients through the distance, the matching has none: at the minimum it needs none. The mean
over batches lies above the distance of the laws, for draws of the same law are no distance of 0
apart; in d > 2 dimensions by the order of :math:`n^{-p/d}`.

Source: Peyre and Cuturi, Computational Optimal Transport (2019), sections 2.2 and 2.6.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.distributions import Coupling, Distribution
from ancestral.distributions.coupling import assignment
from ancestral.losses import E, Expectation, Node, norm, sqnorm, values
from ancestral.objectives.mmd import told_apart


def Wasserstein(p: Distribution, r: Distribution, *, order: float = 2.0) -> Expectation:
    """The distance to the power of its order, one number; of as many draws as the batch has rows.

    Args:
        p: A law of one variable, without free conditions.
        r: Another, of a variable of the same event shape, which may have the same name.
        order: p, at least 1.

    Raises:
        VariableError: If a law is of several variables, or has conditions.
        OptionError: If the order is below 1.

    Example:
        >>> from ancestral.distributions import EmpiricalDistribution
        >>> a, b = EmpiricalDistribution(["a"], "p_a"), EmpiricalDistribution(["b"], "p_b")
        >>> print(Wasserstein(a, b))
        E_{π(a,b)}[||a - b||^2]
        >>> batch = {"a": torch.tensor([[5.0], [0.0]]), "b": torch.tensor([[1.0], [7.0]])}
        >>> Wasserstein(a, b, order=1).eval(batch)
        tensor(1.5000)
    """
    check_order(order, "Wasserstein")
    p, r = told_apart(p, r, "Wasserstein")
    x, y = values([p.var[0], r.var[0]])
    cost: Node = sqnorm(x - y) if order == 2 else norm(x - y)
    cost = cost if order in (1, 2) else cost**order
    return E(Coupling(p, r, _matching(order)), cost)


def check_order(order: float, what: str) -> None:
    """Raise if a Wasserstein distance has no such order."""
    number = isinstance(order, (int, float)) and not isinstance(order, bool)
    if not number or not 1 <= order < float("inf"):
        raise OptionError(f"{what}(order={order!r}): give a number of at least 1, e.g. 2.")


def _matching(order: float) -> Callable[[Tensor, Tensor], Tensor]:
    def match(first: Tensor, second: Tensor) -> Tensor:
        a, b = first.flatten(1), second.flatten(1)
        if a.shape[1] == 1:
            return a[:, 0].argsort()[b[:, 0].argsort().argsort()]
        cost = torch.cdist(b.double(), a.double()).cpu() ** order
        return torch.from_numpy(assignment(cost.numpy())).to(first.device)

    return match
