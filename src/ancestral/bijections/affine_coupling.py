r"""The affine coupling layer: one half of a vector moves the other.

With :math:`x = (x_a, x_b)` the map

.. math:: y_a = x_a, \qquad y_b = x_b\, e^{s(x_a)} + t(x_a)

has the inverse :math:`x_b = (y_b - t(y_a))\, e^{-s(y_a)}` whatever the functions s and t are, and a
triangular Jacobian, so that :math:`\log|\det| = \sum s(x_a)`. Both directions cost one pass of the
network. Given a context c both functions may read it too, :math:`s(x_a, c)` and :math:`t(x_a, c)`:
a bijection for each c. Source: Dinh, Sohl-Dickstein, Bengio, Density estimation using Real NVP,
2017, eq. 4 to 6.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.bijections.base import Bijection, needed
from ancestral.core.errors import OptionError, ShapeError


class AffineCoupling(Bijection):
    r"""The map of vectors :math:`y_a = x_a`, :math:`y_b = x_b e^{s(x_a)} + t(x_a)`.

    Several in turn, every other one with ``flip=True``, move all entries.

    Args:
        net: Takes :math:`x_a`, shape ``(*rows, D_a)``, and returns t and s side by side, shape
            ``(*rows, 2 D_b)``. Zero weights in its last layer make the map the identity.
        flip: Whether a is the last part of the vector, and b the first.
        kept: The number :math:`D_a` of entries that stay; half of them, rounded up, if not given.
        conditional: Whether the network takes the context too, behind :math:`x_a`: shape
            ``(*rows, D_a + C)``.

    Raises:
        OptionError: If ``kept`` is no whole number of at least 1.
        ShapeError: If the vectors, or what the network returns, do not fit.

    Example:
        >>> f = AffineCoupling(nn.Linear(1, 2))
        >>> x = torch.tensor([[0.5, -1.0]])
        >>> y, log_det = f.forward_and_log_det(x)
        >>> y[:, 0], log_det.shape
        (tensor([0.5000], grad_fn=<SelectBackward0>), torch.Size([1]))
        >>> torch.allclose(f.inverse(y), x)
        True
    """

    event_dims = 1

    def __init__(
        self,
        net: Callable[[Tensor], Tensor],
        *,
        flip: bool = False,
        kept: int | None = None,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        if kept is not None and (isinstance(kept, bool) or not isinstance(kept, int) or kept < 1):
            raise OptionError(f"AffineCoupling: kept={kept!r} must be a whole number >= 1.")
        self.net, self.flip, self.kept = net, flip, kept
        self.takes_context = conditional

    def forward_and_log_det(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r""":math:`(x_a, x_b e^{s} + t)` and :math:`\sum s`."""
        a, b = self._parts(x)
        t, s = self._maps(a, b, context)
        return self._joined(a, b * s.exp() + t), s.sum(-1)

    def inverse_and_log_det(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r""":math:`(y_a, (y_b - t) e^{-s})` and :math:`-\sum s`."""
        a, b = self._parts(y)
        t, s = self._maps(a, b, context)
        return self._joined(a, (b - t) * (-s).exp()), -s.sum(-1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What stays, and what is moved."""
        size = x.shape[-1] if x.dim() else 0
        kept = (size + 1) // 2 if self.kept is None else self.kept
        if kept >= size > 0:  # of a vector without entries nothing is moved, and nothing is left
            raise ShapeError(
                f"AffineCoupling: of vectors of {size} entries {kept} stay, so that none is left "
                "to move. Take longer vectors, or a smaller kept=."
            )
        if self.flip:
            b, a = x[..., : size - kept], x[..., size - kept :]
            return a, b
        return x[..., :kept], x[..., kept:]

    def _joined(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if self.flip else [a, b], -1)

    def _maps(self, a: Tensor, b: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shift and log factor of the part that is moved."""
        size = b.shape[-1]
        if a.shape[-1] + size == 0:
            return b, b
        out = self.net(torch.cat([a, self._beside(a, context)], -1) if self.takes_context else a)
        if out.shape[-1] != 2 * size:
            raise ShapeError(
                f"AffineCoupling: the network returned {tuple(out.shape)} for {size} entries to "
                f"move; it must return a shift and a log factor for each, so {2 * size} numbers "
                "in its last axis."
            )
        t, s = out.split(size, -1)
        return t, s

    def _beside(self, a: Tensor, context: Tensor | None) -> Tensor:
        """The context beside each vector, the same for all vectors of a row."""
        c = needed(context, self)
        rows, size = c.shape[:-1], c.shape[-1]
        ones = (1,) * (a.dim() - c.dim())
        return c.reshape(*rows, *ones, size).expand(*a.shape[:-1], size)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Either way round, with one entry that stays, and with a context."""
        return [
            {"net": _network(2, 2)},
            {"net": _network(2, 2), "flip": True},
            {"net": _network(1, 4), "kept": 1},
            {"net": _network(4, 2), "flip": True, "conditional": True, "kept": 2, "context": 2},
        ]


def _network(inputs: int, outputs: int) -> nn.Module:
    """A network of the examples, with weights that are always the same."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.linspace(-0.7, 0.9, weight.numel()).reshape(weight.shape))
    return nn.Sequential(layer, nn.Tanh())
