r"""The Sinkhorn divergence: optimal transport with entropy, without its bias.

.. math::
    OT_\varepsilon(p, r) = \min_{\pi \in \Pi(p, r)} E_{\pi(x,y)}\left[\lVert x-y\rVert^k\right] +
    \varepsilon\, KL[\pi \| p \otimes r], \qquad
    S_\varepsilon(p, r) = OT_\varepsilon(p, r) - \tfrac12 OT_\varepsilon(p, p)
    - \tfrac12 OT_\varepsilon(r, r)

It is 0 only if the laws are equal, :math:`W_k^k` as :math:`\varepsilon \to 0` and half the energy
distance as :math:`\varepsilon \to \infty` with k = 1. Of n draws of each law the potentials are
found by a fixed number of updates of their logarithms,

.. math::
    f_i = -\varepsilon \log \frac1n \sum_j e^{(g_j - \lVert x_i - y_j\rVert^k)/\varepsilon}, \qquad
    g_j = -\varepsilon \log \frac1n \sum_i e^{(f_i - \lVert x_i - y_j\rVert^k)/\varepsilon}

while :math:`\varepsilon` falls from the largest cost to its value, in the first half of them. The
gradient is that of the last update with the other potential held, which is exact at the fixed
point.

Source: Feydy et al., Interpolating between Optimal Transport and MMD using Sinkhorn Divergences
(2019), equations 3 and 4 and section 3.
"""

import math
from functools import partial

import torch
from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.distributions import Distribution
from ancestral.losses import E, Expectation, values
from ancestral.losses.apply import BatchFunction
from ancestral.objectives.mmd import told_apart
from ancestral.objectives.optimal_transport import check_order


def Sinkhorn(
    p: Distribution,
    r: Distribution,
    *,
    epsilon: float = 0.05,
    order: float = 2.0,
    iterations: int = 100,
) -> Expectation:
    r"""The divergence of two laws, one number; of as many draws as the batch has rows.

    Args:
        p: A law of one variable, without free conditions.
        r: Another, of a variable of the same event shape, which may have the same name.
        epsilon: :math:`\varepsilon`, in the units of the cost.
        order: k, at least 1.
        iterations: How many updates there are; small :math:`\varepsilon` take more.

    Raises:
        VariableError: If a law is of several variables, or has conditions.
        OptionError: If there is no such order, epsilon or number.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[2])
        >>> r = Normal(var=["y"], loc=1.0, scale=1.0, features_shape=[2], name="r")
        >>> print(Sinkhorn(p, r))
        E_{p(x)r(y)}[S_ε(x, y)]
        >>> Sinkhorn(p, r).eval(batch_n=100).shape
        torch.Size([])
    """
    check_order(order, "Sinkhorn")
    if not isinstance(epsilon, (int, float)) or not 0 < epsilon < math.inf:
        raise OptionError(f"Sinkhorn(epsilon={epsilon!r}): give a positive number, e.g. 0.05.")
    if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 2:
        raise OptionError(f"Sinkhorn(iterations={iterations!r}): give a whole number >= 2.")
    p, r = told_apart(p, r, "Sinkhorn")
    run = partial(sinkhorn, epsilon=float(epsilon), order=float(order), iterations=iterations)
    divergence = BatchFunction(run, name="S_ε")
    return E(p * r, divergence(*values([p.var[0], r.var[0]])))


def sinkhorn(x: Tensor, y: Tensor, epsilon: float, order: float, iterations: int) -> Tensor:
    """The divergence of two batches, in every row.

    Args:
        x: Shape ``(B, *event)``.
        y: The same.
        epsilon: The weight of the entropy.
        order: Of the cost.
        iterations: How many updates there are.
    """
    x, y = x.flatten(1), y.flatten(1)
    between = _potentials(x, y, epsilon, order, iterations)
    own = [_potentials(v, v, epsilon, order, iterations)[0] for v in (x, y)]
    return (between[0] - own[0] + between[1] - own[1]).mean().expand(len(x))


def _potentials(
    x: Tensor, y: Tensor, epsilon: float, order: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Both potentials at the points, each differentiable in its own points."""
    there, back = x.detach(), y.detach()
    with torch.no_grad():
        cost = _cost(there, back, order)  # (B, B)
        f, g = torch.zeros_like(cost[:, 0]), torch.zeros_like(cost[0])
        start = (cost.amax() / epsilon).clamp(min=1.0)
        for i in range(iterations):
            share = max(0.0, 1.0 - 2.0 * i / iterations)
            at = epsilon * start**share
            if x is y:  # one potential: half a step, for a whole one swings
                f = g = 0.5 * (f + _soft(cost, f, at))
            else:
                f = _soft(cost, g, at)
                g = _soft(cost.T, f, at)
    return (
        _soft(_cost(x, back, order), g, epsilon),
        _soft(_cost(y, there, order), f, epsilon),
    )


def _soft(cost: Tensor, potential: Tensor, epsilon: Tensor | float) -> Tensor:
    """The update of one potential by the other, the mean over whose points is soft."""
    return -epsilon * (((potential - cost) / epsilon).logsumexp(1) - math.log(cost.shape[1]))


def _cost(x: Tensor, y: Tensor, order: float) -> Tensor:
    """The cost between all points."""
    gap = x[:, None] - y[None]
    if order == 2:
        return gap.square().sum(-1)
    return torch.linalg.vector_norm(gap, dim=-1) ** order
