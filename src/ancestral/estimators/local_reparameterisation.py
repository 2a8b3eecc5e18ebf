r"""Local reparameterisation: the pre-activations of linear layers are drawn, row by row.

Of independent normal weights :math:`W_{ij} \sim N(M_{ij}, S_{ij}^2)` the pre-activations of a row x
are independent normal numbers,

.. math:: (W x)_i \sim N\left(\sum_j M_{ij} x_j,\; \sum_j S_{ij}^2 x_j^2\right)

so that these may be drawn in place of the weights. Each row has the law that it has with drawn
weights; rows are independent given their inputs, where with one draw of the weights all err
together. So the variance of a batch's mean falls with its size, and there are fewer numbers to
draw.

Source: Kingma, Salimans and Welling, Variational Dropout and the Local Reparameterization Trick
(2015), eq. 6.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.errors import ShapeError
from ancestral.distributions.layer_weights import Layer
from ancestral.estimators.base import Estimator


@dataclass(frozen=True)
class LocalReparameterisation(Estimator):
    """Draw the pre-activations of linear layers, for each row by itself.

    It is for mean-field normal weights, ``MeanField(weights(net, ...))``, that one law reads as its
    ``net=w.apply``, beside a divergence in closed form. All random parameters must be those of
    ``nn.Linear`` layers that run once, on inputs ``(rows, width)``.

    Args:
        draws: How many draws estimate the expectation.

    Raises:
        NetworkError: If random parameters belong to other layers, are shared, or are read by
            anything but their layer.
        OptionError: If the law is another one, if the weights are read elsewhere, or if one number
            of the integrand reads several rows.
        ShapeError: If a layer runs twice, or sees more than a vector for each row.

    Example:
        >>> from ancestral.distributions import MeanField, Normal, weights
        >>> from ancestral.losses import KL, E
        >>> w = weights(torch.nn.Linear(2, 1), prior=Normal(loc=0.0, scale=1.0))
        >>> p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.1, name="p")
        >>> q = MeanField(w)
        >>> loss = E(q, p.log_prob()).estimate({q: LocalReparameterisation()})
        >>> print(str(loss.program()).splitlines()[4])
        θ_p = parameters of p(y|x,w), layers drawn by w.p      (n)
    """

    how: ClassVar[str] = "layers"
    base: ClassVar[bool] = False  # whether weights are drawn, too

    def width(self, layer: Layer) -> int:
        """How many numbers of noise a layer takes for each row."""
        return layer.outputs

    def spread(self, params: dict[str, Any], noise: Tensor | None) -> Tensor:
        """Means and standard deviations, shape ``(2, |w|)``."""
        return torch.stack(torch.broadcast_tensors(params["loc"], params["scale"]))

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
            x: Its inputs, shape ``(rows, inputs)``.
            mean: The means of weight and bias; those that are not random as they are.
            spread: The standard deviations, of those that are.
            noise: Of all layers, shape ``(rows, S)``.
        """
        if x.dim() != 2:
            raise ShapeError(
                f"LocalReparameterisation(): the layer {layer.name or 'of the network'} sees "
                f"{tuple(x.shape)}, several vectors for each row that share its weights. Use "
                "Flipout()."
            )
        out = F.linear(x, *mean)
        variance = torch.zeros_like(out)
        if spread[0] is not None:
            variance = F.linear(x.square(), spread[0].square())
        if spread[1] is not None:
            variance = variance + spread[1].square()
        # a row of zeros has no variance, and the slope of a root at 0 is infinite
        deviation = variance.clamp(min=torch.finfo(out.dtype).tiny).sqrt()
        return out + deviation * noise[:, layer.start : layer.start + layer.outputs]
