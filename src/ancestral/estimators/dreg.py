r"""The doubly reparameterised gradient of a bound over copies.

With the log weights :math:`\ell_k = \log p(x, z_k) - c \log q_\phi(z_k|x)`, normalised
:math:`\tilde w_k = e^{\ell_k} / \sum_j e^{\ell_j}`, and :math:`z_k = z(\epsilon_k, \phi)`,

.. math::
    \nabla_\phi\, E\left[\log \tfrac1K \textstyle\sum_k e^{\ell_k}\right] = E\left[\sum_k
    \left((1 - c)\,\tilde w_k + c\,\tilde w_k^2\right)
    \frac{\partial \ell_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}\right]

for the score :math:`\tilde w_k \nabla_\phi \log q_\phi(z_k)` that the weights leave behind is
reparameterised once more. With c = 1, the bound of importance-weighted autoencoders, the factor is
:math:`\tilde w_k^2`; with :math:`c = 1 - \alpha` the weights are those of Renyi's bound. The
signal-to-noise ratio of the pathwise gradient falls with K, that of this one rises. The parameters
of p have the plain gradient.

In a hierarchy :math:`q(z_1)\,q(z_2|z_1)` the gradient of the log weights, through all paths, is
scaled once: at :math:`z_2` what comes back through it, at :math:`z_1` the rest.

On the way back a draw's gradient, :math:`\tilde w_k\, \partial \ell_k / \partial z_k`, is scaled by
:math:`(1 - c) + c\,\tilde w_k`, which takes one backward pass.

Source: Tucker, Lawson, Gu and Maddison, Doubly Reparameterized Gradient Estimators for Monte Carlo
Objectives (2019), eq. 6 and section 6; Rainforth et al., Tighter Variational Bounds are Not
Necessarily Better (2018).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class DReG(Estimator):
    """The doubly reparameterised gradient, for ``E(q.iid(k=K), w.exp().mean("k").log())``.

    Args:
        draws: How many draws of all copies estimate the expectation.

    Raises:
        OptionError: In a loss, if the integrand is no such bound, if the log density of the draw
            does not stand in the log weights times a number, or if the law is given a draw that
            passes a gradient on and has another estimator, or another number.

    Example:
        >>> from ancestral.distributions import Normal
        >>> from ancestral.losses import E
        >>> q = Normal(var=["z"], loc=0.0, scale=1.0, name="q")
        >>> p = Normal(var=["z"], loc=1.0, scale=2.0, name="p")
        >>> w = p.log_prob() - q.log_prob()
        >>> loss = E(q.iid(k=5), w.exp().mean("k").log()).estimate({q: DReG()})
        >>> print(loss)
        E_{z_1..z_5 ~ q(z)}[log((1/5) Σ_k exp(log p(z_k) - log q(z_k)))]
    """

    cuts_own: ClassVar[bool] = True
    over_copies: ClassVar[bool] = True

    def gate(self, z: Tensor, axes: int) -> tuple[Tensor, Tensor]:
        """A draw whose gradient is scaled, and the channel of the scales, two zeros for each.

        Where no compiler traces it, a hook of the draw does the same with less: the channel is the
        draw.

        Args:
            z: The draw, shape ``(*axes, *event)``.
            axes: How many leading dimensions count draws.
        """
        if _has_hooks():
            copy = z.view_as(z)
            return copy, copy
        pair: tuple[Tensor, Tensor] = _Gate.apply(z, axes)  # type: ignore[no-untyped-call]
        return pair

    def bound(
        self, f: Tensor, log_w: Tensor, own: Tensor, axis: int, coefficient: float
    ) -> Tensor:
        """``f``, the gradient of the channel being the scales of the draws.

        Args:
            f: The bound.
            log_w: The log weights.
            own: The channel, shape ``(*log_w.shape, 2)``; or the draw.
            axis: The dimension of ``log_w`` that counts copies.
            coefficient: c.
        """
        scale = log_w.detach().softmax(axis)
        if coefficient != 1.0:
            scale = 1.0 - coefficient + coefficient * scale
        if not _has_hooks():
            return f + (scale * own[..., 0] + own[..., 1]).sum(axis)
        if own.requires_grad:
            scale = scale.reshape(*scale.shape, *(1,) * (own.dim() - scale.dim()))
            own.register_hook(scale.mul)
        return f


def _has_hooks() -> bool:
    """Whether a hook of a tensor is called on the way back: not in a graph, nor in a transform."""
    if torch.compiler.is_compiling():
        return False
    outside: bool = torch._C._functorch.maybe_current_level() is None
    return outside


class _Gate(torch.autograd.Function):
    """A value, and a channel along which the backward pass brings the scale of its gradient.

    The scale is known only behind everything that is computed from the value. It comes times the
    gradient of what stands around the bound, which has a channel of its own and is divided out.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, axes: int) -> tuple[Tensor, Tensor]:
        return z.view_as(z), z.new_zeros(*z.shape[:axes], 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        ctx.axes = inputs[1]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        through, channel = gradients
        if through is None or channel is None:
            return through, None
        scale, around = channel[..., 0], channel[..., 1]
        # where nothing comes back through the bound, there is nothing to scale
        scale = torch.where(around == 0, 0.0, scale / torch.where(around == 0, 1.0, around))
        event = through.dim() - ctx.axes
        return through * scale.reshape(*scale.shape, *(1,) * event), None
