r"""The Kumaraswamy law, :math:`P(X \le x) = 1 - (1 - x^a)^b` on (0, 1)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions.by_moments import kl_to_exponential, kl_to_normal
from ancestral.distributions.constraints import Constraint, positive, unit_interval
from ancestral.distributions.elementary import EULER, log1mexp
from ancestral.distributions.exponential import Exponential
from ancestral.distributions.gamma_function import double, log_beta, result_like
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.normal import Normal


class Kumaraswamy(Law):
    r"""The Kumaraswamy law with independent components,
    :math:`\log p(x) = \log ab + (a-1)\log x + (b-1)\log(1 - x^a)`.

    Much like a beta law, but a draw is a formula of uniform noise, so that it can be compiled.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        concentration1: :math:`a > 0`: a number, a tensor, an ``nn.Parameter``, or a condition's
            name.
        concentration0: :math:`b > 0`, likewise.
        net: A network of the conditions; of one output tensor the first half of the last axis is
            ``concentration1``, the second half ``concentration0``, both through softplus.

    Example:
        >>> p = Kumaraswamy(concentration1=2.0, concentration0=1.0)
        >>> p.get_log_prob({"x": torch.tensor([0.25])}).exp()
        tensor([0.5000])
    """

    domains = {"concentration1": positive, "concentration0": positive}
    split = {"concentration1": F.softplus, "concentration0": F.softplus}
    reparametrised = True
    noise = "uniform"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        concentration1: Parameter = None,
        concentration0: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        given = {"concentration1": concentration1, "concentration0": concentration0}
        super().__init__(var, cond_var, name, features_shape, net, given)

    def support(self, params: Params) -> Constraint | None:
        """Numbers from 0 to 1."""
        return unit_interval

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Densities whose mass a grid of numbers in (0, 1) can hold."""
        return [{k: 0.6 + v for k, v in e.items()} for e in super().examples()]

    @staticmethod
    def draw(noise: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        """The inverse of the survival function at uniform noise, neither 0 nor 1."""
        a, b = double(concentration1), double(concentration0)
        out = result_like((log1mexp(-double(noise).log() / b) / a).exp(), noise)
        ends = torch.finfo(out.dtype)
        return out.clamp(ends.tiny, 1.0 - 0.5 * ends.eps)

    @staticmethod
    def log_density(x: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        """The log density of each component; -inf outside of (0, 1)."""
        a, b, y = double(concentration1), double(concentration0), double(x)
        inside = (y > 0) & (y < 1)
        log_x = torch.where(inside, y, 0.5).log()
        out = a.log() + b.log() + (a - 1.0) * log_x + (b - 1.0) * log1mexp(-a * log_x)
        return result_like(torch.where(inside, out, -torch.inf), x, concentration1, concentration0)

    @staticmethod
    def log_cdf(x: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        r""":math:`\log(1 - (1-x^a)^b)`."""
        out = log1mexp(-_log_above(x, concentration1, concentration0))
        return result_like(out, x, concentration1, concentration0)

    @staticmethod
    def log_sf(x: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        r""":math:`b\log(1 - x^a)`."""
        return result_like(
            _log_above(x, concentration1, concentration0), x, concentration1, concentration0
        )

    @staticmethod
    def icdf(u: Tensor, concentration1: Any, concentration0: Any) -> Tensor:
        """:math:`(1 - (1-u)^{1/b})^{1/a}`."""
        a, b = double(concentration1), double(concentration0)
        out = (log1mexp(-torch.log1p(-double(u)) / b) / a).exp()
        return result_like(out, u, concentration1, concentration0)

    @staticmethod
    def mean_of(concentration1: Any, concentration0: Any) -> Any:
        r""":math:`b\,B(1 + 1/a, b)`."""
        return result_like(
            _log_moment(1.0, concentration1, concentration0).exp(), concentration1, concentration0
        )

    @staticmethod
    def variance_of(concentration1: Any, concentration0: Any) -> Any:
        r""":math:`m_2 - m_1^2` with :math:`m_n = b\,B(1 + n/a, b)`."""
        first = _log_moment(1.0, concentration1, concentration0)
        second = _log_moment(2.0, concentration1, concentration0)
        out = second.exp() * -(2.0 * first - second).expm1()
        return result_like(out, concentration1, concentration0)

    @staticmethod
    def entropy_of(concentration1: Any, concentration0: Any) -> Any:
        r""":math:`1 - \frac1b + (1 - \frac1a)(\psi(b+1) + \gamma) - \log ab`."""
        a, b = double(concentration1), double(concentration0)
        harmonic = (b + 1.0).digamma() + EULER
        out = (1.0 - 1.0 / b) + (1.0 - 1.0 / a) * harmonic - a.log() - b.log()
        return result_like(out, concentration1, concentration0)


def _log_above(x: Any, concentration1: Any, concentration0: Any) -> Tensor:
    """The log survival function in double precision."""
    return double(concentration0) * log1mexp(-double(concentration1) * double(x).clamp(0, 1).log())


def _log_moment(n: float, concentration1: Any, concentration0: Any) -> Tensor:
    a, b = double(concentration1), double(concentration0)
    return b.log() + log_beta(1.0 + n / a, b)


Kumaraswamy.closed_kl = {
    Normal: kl_to_normal(Kumaraswamy),
    Exponential: kl_to_exponential(Kumaraswamy),
}
