r"""Flipout: one draw of the weights, whose signs differ from row to row.

With :math:`W = M + \Delta`, where :math:`\Delta` is symmetric around 0 entry by entry, and signs
:math:`r, s` of each row,

.. math:: W_n x_n = M x_n + s_n \circ \Delta (r_n \circ x_n)

is what a layer makes of weights :math:`M + \Delta \circ s_n r_n^\top`, which have the law of W.
Rows are uncorrelated given their inputs, so that the variance of a batch's mean falls with its
size; the cost is that of two layers. Unlike :class:`LocalReparameterisation` it holds a row's
weights fixed in all its positions, ``(rows, time, width)``.

Source: Wen, Vicol, Ba, Tran and Grosse, Flipout: Efficient Pseudo-Independent Weight Perturbations
on Mini-Batches (2018), eq. 3 and 4.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.layer_weights import Layer
from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class Flipout(Estimator):
    """Draw the weights of linear layers once, with signs for each row by itself.

    It is for the weights and networks that :class:`LocalReparameterisation` is for; inputs may
    have several vectors for each row. Several draws share the draw of the weights, and have signs
    of their own.

    Args:
        draws: How many draws estimate the expectation.

    Raises:
        NetworkError: If random parameters belong to other layers, are shared, or are read by
            anything but their layer.
        OptionError: If the law is another one, if the weights are read elsewhere, or if one number
            of the integrand reads several rows.
        ShapeError: If a layer runs twice, or mixes rows.

    Example:
        >>> from ancestral.distributions import MeanField, Normal, weights
        >>> from ancestral.losses import KL, E
        >>> w = weights(torch.nn.Linear(2, 1), prior=Normal(loc=0.0, scale=1.0))
        >>> p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.1, name="p")
        >>> q = MeanField(w)
        >>> loss = E(q, p.log_prob()).estimate({q: Flipout()})
        >>> print(str(loss.program()).splitlines()[4])
        θ_p = parameters of p(y|x,w), layers drawn by w.p     (n)
    """

    how: ClassVar[str] = "layers"
    base: ClassVar[bool] = True

    def width(self, layer: Layer) -> int:
        """How many signs a layer takes for each row."""
        return layer.inputs + layer.outputs

    def spread(self, params: dict[str, Any], noise: Tensor | None) -> Tensor:
        """Means, and what a draw adds to them, shape ``(2, |w|)``."""
        assert noise is not None
        added = params["scale"] * noise
        return torch.stack(torch.broadcast_tensors(params["loc"], added))

    def activate(
        self,
        layer: Layer,
        x: Tensor,
        mean: tuple[Tensor, Tensor | None],
        spread: tuple[Tensor | None, Tensor | None],
        noise: Tensor,
    ) -> Tensor:
        """The pre-activations of all rows.

        Args:
            layer: Which.
            x: Its inputs, shape ``(rows, ..., inputs)``.
            mean: The means of weight and bias; those that are not random as they are.
            spread: What is added to those that are.
            noise: Of all layers, shape ``(rows, S)``, whose signs count.
        """
        middle = layer.start + layer.inputs
        one = torch.ones((), dtype=x.dtype, device=x.device)
        wide = (len(x), *(1,) * (x.dim() - 2), -1)
        signs = one.copysign(noise)
        r = signs[:, layer.start : middle].reshape(wide)
        s = signs[:, middle : middle + layer.outputs].reshape(wide)
        out = F.linear(x, *mean)
        if spread[0] is not None:
            out = out + s * F.linear(x * r, spread[0])
        return out if spread[1] is None else out + s * spread[1]
