r"""The uniform law of an interval, :math:`p(x) = 1/(b-a)` for :math:`a \le x \le b`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.errors import ParameterError
from ancestral.core.names import listing
from ancestral.distributions.by_moments import kl_to_normal
from ancestral.distributions.constraints import Constraint, identity, interval, real
from ancestral.distributions.elementary import log
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal


class Uniform(Law):
    r"""The uniform law with independent components, :math:`\log p(x) = -\log(b-a)`.

    Both ends belong to it, since a draw may round to one.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        low: Lower end :math:`a`: a number, a tensor, an ``nn.Parameter``, or a condition's name.
        high: Upper end :math:`b > a`, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the lower end, the second half through softplus the length, so that the ends are in
            order.

    Example:
        >>> Uniform(low=0.0, high=4.0).get_log_sf({"x": torch.ones(1)}).exp()
        tensor([0.7500])
    """

    domains = {"low": real, "high": real}
    split = {"low": identity, "high": F.softplus}
    increasing = ("low", "high")
    reparametrised = True
    noise = "uniform"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        low: Parameter = None,
        high: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {"low": low, "high": high})

    def support(self, params: Params) -> Constraint | None:
        """Numbers from ``low`` to ``high``."""
        return interval(params["low"], params["high"])

    def split_output(self, out: Tensor) -> Params:
        """Parameters from one tensor: the lower end, then what the upper end is above it.

        Raises:
            ParameterError: If one end is given, which does not say how the other keeps its side.
        """
        if len(self.from_net) == 1:
            raise ParameterError(
                f"{self.prob_text}: {listing(self.given)} was given, so that one tensor does not "
                f"say how {listing(self.from_net)} keeps its side. Return a dict of it from the "
                "network, e.g. {'high': low + softplus(width)}, or leave both ends to the network."
            )
        ends = super().split_output(out)
        ends["high"] = ends["low"] + ends["high"]
        return ends

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Intervals of several lengths."""
        low = torch.tensor([-1.0, 0.0, 0.7], dtype=torch.float64)
        return [{"low": low, "high": low + torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)}]

    @staticmethod
    def draw(noise: Tensor, low: Any, high: Any) -> Tensor:
        """Uniform noise, stretched over the interval."""
        return low + (high - low) * noise

    @staticmethod
    def log_density(x: Tensor, low: Any, high: Any) -> Tensor:
        """The log density of each component; -inf outside."""
        inside = (x >= low) & (x <= high)
        return torch.where(inside, -log(high - low), -torch.inf)

    @staticmethod
    def log_cdf(x: Tensor, low: Any, high: Any) -> Tensor:
        r""":math:`\log\frac{x-a}{b-a}`."""
        return ((x - low) / (high - low)).clamp(0.0, 1.0).log()

    @staticmethod
    def log_sf(x: Tensor, low: Any, high: Any) -> Tensor:
        r""":math:`\log\frac{b-x}{b-a}`."""
        return ((high - x) / (high - low)).clamp(0.0, 1.0).log()

    @staticmethod
    def icdf(u: Tensor, low: Any, high: Any) -> Tensor:
        r""":math:`a + (b-a)u`."""
        return low + (high - low) * u

    @staticmethod
    def mean_of(low: Any, high: Any) -> Any:
        r""":math:`(a+b)/2`."""
        return 0.5 * (low + high)

    @staticmethod
    def variance_of(low: Any, high: Any) -> Any:
        r""":math:`(b-a)^2/12`."""
        return (high - low) ** 2 / 12.0

    @staticmethod
    def entropy_of(low: Any, high: Any) -> Any:
        r""":math:`\log(b-a)`."""
        return log(high - low)


def kl_uniform(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    """The logarithm of the ratio of lengths where one interval holds the other, else infinite."""
    a, b, low, high = (torch.as_tensor(v) for v in (q["low"], q["high"], p["low"], p["high"]))
    return torch.where((low <= a) & (b <= high), ((high - low) / (b - a)).log(), torch.inf)


Uniform.closed_kl = {Uniform: kl_uniform, Normal: kl_to_normal(Uniform)}
