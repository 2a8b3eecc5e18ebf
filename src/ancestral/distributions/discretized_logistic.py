r"""The logistic law of whole levels, such as the 256 grey values of an image."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.constraints import Constraint, identity, positive, real, whole_below
from ancestral.distributions.elementary import log1mexp
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.law import Law, Parameter, Params


class DiscretizedLogistic(Law):
    r"""A logistic variable rounded to a level, with independent components:
    :math:`P(x = k) = \sigma(\frac{k+\frac12-\mu}s) - \sigma(\frac{k-\frac12-\mu}s)`, the tails at
    the first and the last level.

    A value is a level, a whole number from 0 to 255; a subclass with ``levels = 32`` is the law
    of five bits.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        loc: Location :math:`\mu` in levels: a number, a tensor, an ``nn.Parameter``, or a
            condition's name.
        scale: Scale :math:`s > 0` in levels, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            the location, the second half through softplus the scale.

    Source: Kingma et al., Improving variational inference with inverse autoregressive flow, 2016.

    Example:
        >>> p = DiscretizedLogistic(loc=100.0, scale=0.5)
        >>> p.get_log_prob({"x": torch.tensor([99.0, 100.0])}).exp()
        tensor([0.2215, 0.4621])
    """

    domains = {"loc": real, "scale": positive}
    split = {"loc": identity, "scale": F.softplus}
    noise = "uniform"
    levels: ClassVar[int] = 256

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        loc: Parameter = None,
        scale: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {"loc": loc, "scale": scale})

    def support(self, params: Params) -> Constraint | None:
        """Whole numbers below the number of levels."""
        return whole_below(self.levels)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Laws of a few levels, one at the lower end."""
        return [{**e, "loc": 4.0 + 3.0 * e["loc"]} for e in super().examples()]

    @classmethod
    def draw(cls, noise: Tensor, loc: Any, scale: Any) -> Tensor:
        """A logistic draw, rounded."""
        value = loc + scale * (noise.log() - torch.log1p(-noise))
        return value.round().clamp(0, cls.levels - 1)

    @classmethod
    def log_density(cls, x: Tensor, loc: Any, scale: Any) -> Tensor:
        """The log probability of each component."""
        return log_level(x, loc, scale, cls.levels - 1)

    @classmethod
    def log_cdf(cls, x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\sigma((\lfloor x\rfloor + \frac12 - \mu)/s)`, 0 from the last level on."""
        below = F.logsigmoid((x.floor() + 0.5 - loc) / scale)
        return torch.where(x < 0, -torch.inf, torch.where(x < cls.levels - 1, below, 0.0))

    @classmethod
    def log_sf(cls, x: Tensor, loc: Any, scale: Any) -> Tensor:
        r""":math:`\log\sigma((\mu - \lfloor x\rfloor - \frac12)/s)`, -inf from the last one on."""
        above = F.logsigmoid((loc - x.floor() - 0.5) / scale)
        return torch.where(x < 0, 0.0, torch.where(x < cls.levels - 1, above, -torch.inf))

    @classmethod
    def mean_of(cls, loc: Any, scale: Any) -> Any:
        """The sum over all levels."""
        x, log_p = _table(loc, scale, cls.levels)
        return result_like((log_p.exp() * x).sum(0), loc, scale)

    @classmethod
    def variance_of(cls, loc: Any, scale: Any) -> Any:
        """The sum over all levels, around the mean."""
        x, log_p = _table(loc, scale, cls.levels)
        p = log_p.exp()
        return result_like((p * (x - (p * x).sum(0)) ** 2).sum(0), loc, scale)

    @classmethod
    def entropy_of(cls, loc: Any, scale: Any) -> Any:
        """The sum over all levels."""
        log_p = _table(loc, scale, cls.levels)[1]
        return result_like(-(log_p.exp() * log_p).sum(0), loc, scale)


def _table(loc: Any, scale: Any, levels: int) -> tuple[Tensor, Tensor]:
    """All levels, along a first axis, and their log probabilities."""
    m, s = torch.broadcast_tensors(double(loc), double(scale))
    every = torch.arange(levels, dtype=m.dtype, device=m.device).reshape(-1, *(1,) * m.dim())
    return every, log_level(every, m, s, levels - 1)


def log_level(x: Tensor, loc: Any, scale: Any, last: int) -> Tensor:
    r"""The log probability of a level; inside it is a product, so that nothing cancels:
    :math:`\sigma(b) - \sigma(a) = \sigma(b)\,\sigma(-a)\,(1 - e^{-1/s})` with b - a = 1/s.
    """
    if not x.is_floating_point():
        x = x.to(torch.promote_types(torch.as_tensor(loc).dtype, torch.as_tensor(scale).dtype))
    upper = F.logsigmoid((x + 0.5 - loc) / scale)
    lower = F.logsigmoid((loc - x + 0.5) / scale)
    inner = upper + lower + log1mexp(torch.as_tensor(1.0 / scale, dtype=x.dtype))
    return torch.where(x <= 0, upper, torch.where(x >= last, lower, inner))
