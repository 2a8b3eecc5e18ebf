r"""The affine map, :math:`y = \mu + \sigma x`."""

from typing import Any

import torch
from torch import Tensor, nn

from ancestral.bijections.base import Bijection
from ancestral.core.errors import GradientError, ParameterError

Parameter = float | Tensor


class Affine(Bijection):
    r"""The map of each component :math:`y = \mu + \sigma x`, with
    :math:`\log|\partial y/\partial x| = \log|\sigma|`.

    Args:
        loc: Shift :math:`\mu`: a number or a tensor (constants), or an ``nn.Parameter``.
        scale: Factor :math:`\sigma \ne 0`, likewise; it may be negative.

    Raises:
        ParameterError: If a constant scale is 0 or not finite.
        GradientError: If a tensor has a gradient and is no parameter: it would be cut.

    Example:
        >>> f = Affine(loc=1.0, scale=2.0)
        >>> y, log_det = f.forward_and_log_det(torch.tensor([0.0, 3.0]))
        >>> y, log_det
        (tensor([1., 7.]), tensor([0.6931, 0.6931]))
        >>> f.inverse(y)
        tensor([0., 3.])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Parameter = 0.0, scale: Parameter = 1.0) -> None:
        super().__init__()
        for name, value in (("loc", loc), ("scale", scale)):
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
                continue
            constant = torch.as_tensor(value)
            if constant.requires_grad:
                raise GradientError(
                    f"Affine: {name} is a tensor with a gradient, which a constant would cut. "
                    f"Give nn.Parameter(...) to train it, or {name}.detach() to keep it fixed."
                )
            if not constant.is_floating_point():
                constant = constant.to(torch.get_default_dtype())
            self.register_buffer(name, constant.clone())
        if not self.scale.is_meta and not bool((self.scale.isfinite() & (self.scale != 0)).all()):
            raise ParameterError(
                f"Affine: scale must be finite and not 0, got {self.scale.tolist()}: the map "
                "would have no inverse."
            )

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\mu + \sigma x` and :math:`\log|\sigma|`."""
        y = self.loc + self.scale * x
        return y, self.scale.abs().log().expand(y.shape)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`(y - \mu)/\sigma` and :math:`-\log|\sigma|`."""
        x = (y - self.loc) / self.scale
        return x, -self.scale.abs().log().expand(x.shape)

    def sign(self) -> Tensor:
        """That of the factor."""
        return self.scale.sign()

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Numbers, and trained vectors with a negative factor."""
        trained = {"loc": [0.5, -1.0, 2.0], "scale": [2.0, -0.3, 1.0]}
        return [
            {"loc": -0.5, "scale": 3.0},
            {k: nn.Parameter(torch.tensor(v, dtype=torch.float64)) for k, v in trained.items()},
        ]
