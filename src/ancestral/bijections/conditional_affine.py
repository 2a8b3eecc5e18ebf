r"""The conditional affine map, :math:`y = t(c) + e^{s(c)} x`.

Of a standard normal law it makes the normal law of a network's mean and scale, the posterior of
Kingma and Welling (2014), so that a flow whose layers all read one context needs one network of its
conditions, and not a second for its base.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.bijections.base import Bijection, needed
from ancestral.core.errors import ShapeError


class ConditionalAffine(Bijection):
    r"""The map of each component :math:`y = t(c) + e^{s(c)} x` given a context c, with
    :math:`\log|\partial y/\partial x| = s(c)`.

    Args:
        net: Takes the context, shape ``(*rows, C)``, and returns t and s side by side, shape
            ``(*rows, 2 D)`` for values of D entries (of an event of several axes in their order).

    Raises:
        ShapeError: If what the network returns does not fit.

    Example:
        >>> f = ConditionalAffine(lambda c: torch.cat([c, torch.zeros_like(c)], -1))
        >>> f(torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]]))
        tensor([[11., 22.]])
    """

    takes_context = True

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net

    def forward_and_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r""":math:`t + e^{s} x` and s."""
        t, s = self._maps(x, context)
        return t + s.exp() * x, s.expand(x.shape)

    def inverse_and_log_det(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r""":math:`(y - t)\,e^{-s}` and -s."""
        t, s = self._maps(y, context)
        return (y - t) * (-s).exp(), -s.expand(y.shape)

    def _maps(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shift and log factor of each component."""
        c = needed(context, self)
        out, event = self.net(c), tuple(x.shape[c.dim() - 1 :])
        size = math.prod(event)
        if tuple(out.shape) != (*c.shape[:-1], 2 * size):
            raise ShapeError(
                f"ConditionalAffine: the network returned {tuple(out.shape)} for a context of "
                f"shape {tuple(c.shape)} and values of {size} entries {event}; it must return a "
                f"shift and a log factor for each, shape {(*c.shape[:-1], 2 * size)}."
            )
        t, s = out.split(size, -1) if size else (out, out)
        return t.reshape(*c.shape[:-1], *event), s.reshape(*c.shape[:-1], *event)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A network of a context of two entries."""
        layer = nn.Linear(2, 6)
        with torch.no_grad():
            for weight in layer.parameters():
                weight.copy_(torch.linspace(-0.6, 0.8, weight.numel()).reshape(weight.shape))
        return [{"net": nn.Sequential(layer, nn.Tanh()), "context": 2}]
