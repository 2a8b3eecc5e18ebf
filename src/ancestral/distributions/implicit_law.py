r"""Implicit laws, :math:`x = G(\epsilon, y)` with noise :math:`\epsilon`: draws, and no density.

An implicit law is the marginal of a deterministic function of noise, so that whatever takes a
marginal takes it: expectations, products, renaming.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import ParameterError
from ancestral.core.names import as_names
from ancestral.distributions.base import Distribution
from ancestral.distributions.deterministic import Deterministic
from ancestral.distributions.joint import Joint
from ancestral.distributions.normal import Normal


class Implicit(Joint):
    r"""The law of a function of noise, :math:`p(x|y) = \int \delta(x - G(\epsilon, y))\,
    p(\epsilon)\,d\epsilon`, as a generator of a GAN is one.

    Its draws have the pathwise gradient to the network. It has no density: train it by comparing
    draws, with an adversarial or a kernel objective.

    Args:
        net: The function G of the noise and the conditions, in this order.
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        noise: The law of the noise, without conditions; or the event shape of standard normal
            noise.

    Raises:
        ParameterError: If the noise is no law without conditions.
        VariableError: If the noise has the name of another variable.

    Example:
        >>> import torch
        >>> p = Implicit(nn.Linear(3, 2), var=["x"], noise=[3])
        >>> p.sample(batch_n=4)["x"].shape
        torch.Size([4, 2])
        >>> p.latex()
        'p(x) = \\int p(x|noise_{x})p(noise_{x})dnoise_{x}'
    """

    def __init__(
        self,
        net: Callable[..., Tensor],
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        noise: Distribution | Sequence[int] | int,
    ) -> None:
        (x,) = as_names(["x"] if var is None else var, "var")
        if not isinstance(noise, Distribution):
            shape = [noise] if isinstance(noise, int) else list(noise)
            noise = Normal(loc=0.0, scale=1.0, var=[f"noise_{x}"], name="p", features_shape=shape)
        if noise.cond_var or noise.integrated or any(f.copies for f in noise.factors):
            raise ParameterError(
                f"Implicit: noise={noise.prob_text} is no law without conditions. What the "
                "function depends on besides is a condition of its own, cond_var=[...]."
            )
        names = [*noise.var, *as_names(cond_var, "cond_var")]
        generator = Deterministic([x], names, name, features_shape, net=InOrder(net))
        super().__init__(
            (*generator.factors, *noise.factors), tuple(noise.var), name, (x, *noise.var)
        )

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A generator of two entries; one with a condition, and noise that is trained."""
        noise = Normal(loc=nn.Parameter(torch.tensor([0.3, -0.2])), scale=0.5, var=["e"])
        return [
            {"net": _generator(2, 3), "noise": [2]},
            {"net": _Sum(_generator(2, 3), _generator(3, 3)), "cond_var": ["y"], "noise": noise},
        ]


def _generator(inputs: int, outputs: int) -> nn.Module:
    """A network of the examples, with weights that are always the same."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.linspace(-0.9, 1.1, weight.numel()).reshape(weight.shape))
    return nn.Sequential(layer, nn.Tanh())


class _Sum(nn.Module):
    """The sum of a network of noise and one of a condition."""

    def __init__(self, *nets: nn.Module) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, *given: Tensor) -> Tensor:
        first, second = (net(x) for net, x in zip(self.nets, given, strict=True))
        return first + second


class InOrder(nn.Module):
    """A network that is given noise and conditions in order, whatever it calls them."""

    def __init__(self, net: Callable[..., Tensor]) -> None:
        super().__init__()
        self.net = net

    def forward(self, *given: Any) -> Tensor:
        """What the network returns."""
        return self.net(*given)
