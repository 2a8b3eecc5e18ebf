r"""Independent normal laws of the weights of a network, the mean-field posterior.

.. math:: q(w) = \prod_i N(w_i; \mu_i, \sigma_i^2), \qquad \sigma_i = \mathrm{softplus}(\rho_i)

Source: Graves, Practical variational inference for neural networks (2011); Blundell et al.,
Weight uncertainty in neural networks (2015), section 3.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import OptionError
from ancestral.distributions.eager import make_global
from ancestral.distributions.normal import Normal
from ancestral.distributions.random_weights import Weights


class MeanFieldParameters(nn.Module):
    """Means and standard deviations, which are positive whatever a step does.

    Args:
        loc: The means, shape ``(|w|,)``.
        scale: The standard deviations, likewise.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.loc = nn.Parameter(loc.clone())
        self.rho = nn.Parameter(scale + (-(-scale).expm1()).log())  # softplus(rho) = scale

    def forward(self) -> dict[str, Tensor]:
        """The parameters of a normal law."""
        return {"loc": self.loc, "scale": F.softplus(self.rho)}


def MeanField(
    w: Weights,
    name: str = "q",
    *,
    init_loc: Tensor | float | None = None,
    init_scale: Tensor | float = 0.1,
) -> Normal:
    r"""A normal law of each weight by itself: global, one draw for all rows.

    Its divergence to a normal prior is a closed form; to others it is Monte Carlo. The parameters
    are ``q.net.loc`` and ``q.net.rho``, :math:`\sigma = \mathrm{softplus}(\rho)`.

    Args:
        w: The weights.
        name: How it prints.
        init_loc: The means at first, one number or a vector; by default the network's weights.
        init_scale: The standard deviations at first, likewise, positive.

    Raises:
        OptionError: If a standard deviation is not positive.

    Example:
        >>> from ancestral.distributions import weights
        >>> w = weights(nn.Linear(2, 1), prior=Normal(loc=0.0, scale=1.0))
        >>> q = MeanField(w, init_scale=0.5)
        >>> print(q.prob_text, q.get_params()["scale"])
        q(w) tensor([0.5000, 0.5000, 0.5000], grad_fn=<SoftplusBackward0>)
    """
    start = w.init
    loc = start if init_loc is None else _vector(init_loc, start)
    scale = _vector(init_scale, start)
    if not bool((scale > 0).all()):
        raise OptionError(f"MeanField(init_scale={init_scale!r}): give positive numbers.")
    net = MeanFieldParameters(loc, scale)
    q = Normal(var=[w.name], name=name, features_shape=[w.size], net=net)
    make_global(q, None)
    return q


def _vector(value: Tensor | float, like: Tensor) -> Tensor:
    """A number or a tensor as a vector of its own."""
    found = torch.as_tensor(value, dtype=like.dtype, device=like.device).detach()
    return found.expand(like.shape).clone()
