r"""The sliced Wasserstein distance: the mean over directions of that of projections.

.. math::
    SW_p^p(p, r) = E_{\theta}\left[W_p^p(\theta^\top x, \theta^\top y)\right], \qquad
    \theta \text{ uniform on the unit sphere}

In one dimension the best coupling sorts, so that L directions take :math:`O(L\, n \log n)` steps.
The directions are L normal vectors, one draw for all rows, and can be given as ``noise=``.

Source: Bonneel, Rabin, Peyre and Pfister, Sliced and Radon Wasserstein Barycenters of Measures
(2015); as the regulariser of an autoencoder: Kolouri et al., Sliced-Wasserstein Autoencoder (2019).
"""

import math
from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.distributions import Distribution, Normal
from ancestral.losses import E, Expectation, values
from ancestral.losses.apply import BatchFunction
from ancestral.objectives.mmd import fresh, told_apart
from ancestral.objectives.optimal_transport import check_order


def SlicedWasserstein(
    p: Distribution,
    r: Distribution,
    *,
    order: float = 2.0,
    projections: int = 50,
    features_shape: Sequence[int] | None = None,
) -> Expectation:
    """The distance to the power of its order, one number; of as many draws as the batch has rows.

    Args:
        p: A law of one variable, without free conditions.
        r: Another, of a variable of the same event shape, which may have the same name.
        order: p, at least 1.
        projections: L, the number of directions.
        features_shape: The event shape of the variables, where neither law was built with one.

    Raises:
        VariableError: If a law is of several variables, or has conditions.
        OptionError: If there is no such order or number, or the event shape is unknown.

    Example:
        >>> p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[2])
        >>> r = Normal(var=["y"], loc=1.0, scale=1.0, features_shape=[2], name="r")
        >>> print(SlicedWasserstein(p, r))
        E_{p(x)r(y)p_θ(θ)}[SW(x, y, θ)]
        >>> SlicedWasserstein(p, r).eval(batch_n=100).shape
        torch.Size([])
    """
    check_order(order, "SlicedWasserstein")
    if not isinstance(projections, int) or isinstance(projections, bool) or projections < 1:
        raise OptionError(
            f"SlicedWasserstein(projections={projections!r}): give a whole number >= 1."
        )
    event = _event(p, r) if features_shape is None else tuple(features_shape)
    p, r = told_apart(p, r, "SlicedWasserstein")
    normal = Normal(  # type: ignore[call-arg] # a law's word, whatever its family takes
        var=["theta"],
        loc=0.0,
        scale=1.0,
        features_shape=[projections, math.prod(event)],
        name="p_θ",
        plate=None,
    )
    taken = {*p.all_var, *r.all_var}
    directions = fresh(normal, p, r) if "theta" in taken else normal
    distance = BatchFunction(partial(sliced, order=order), name="SW")
    return E(p * r * directions, distance(*values([law.var[0] for law in (p, r, directions)])))


def sliced(x: Tensor, y: Tensor, theta: Tensor, order: float) -> Tensor:
    """The distance of two batches, in every row.

    Args:
        x: Shape ``(B, *event)``.
        y: The same.
        theta: Normal vectors, the same in each row, shape ``(B, L, D)``.
        order: p.
    """
    directions = theta[0].to(x.dtype)  # (L, D)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    of_x, of_y = (v.flatten(1) @ directions.T for v in (x, y))  # (B, L)
    gaps = (of_x.sort(0).values - of_y.sort(0).values).abs()
    return (gaps**order).mean().expand(len(x))


def _event(*laws: Distribution) -> tuple[int, ...]:
    """The event shape that a law was built with."""
    for law in laws:
        for factor in law.factors:
            known = factor.law.declared_shape
            if known is not None and factor.var[0] == law.var[0]:
                return tuple(known)
    raise OptionError(
        f"SlicedWasserstein: neither {laws[0].prob_text} nor {laws[1].prob_text} tells the event "
        "shape of its variable. Give features_shape=[...]."
    )
