r"""Zero-inflated laws of counts, :math:`P(x) = \pi\,[x = 0] + (1-\pi)\,P_0(x)`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.core.rng import Generator, blank, uniform
from ancestral.distributions.constraints import Constraint, unit_interval, whole
from ancestral.distributions.gamma_function import double, result_like
from ancestral.distributions.geometric import log_probabilities
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.negative_binomial import NegativeBinomial
from ancestral.distributions.noise import as_noise
from ancestral.distributions.poisson import Poisson


def _log_cdf(cls: "type[ZeroInflated]", x: Tensor, gate: Any, **params: Any) -> Tensor:
    r""":math:`\log(\pi + (1-\pi) F_0(x))` from 0 on."""
    log_on, log_off = log_probabilities(gate, None)
    counted = log_off + double(cls.family.log_cdf(x, **params))
    out = torch.where(x < 0, -torch.inf, torch.logaddexp(log_on, counted))
    return result_like(out, x, gate, *params.values())


def _log_sf(cls: "type[ZeroInflated]", x: Tensor, gate: Any, **params: Any) -> Tensor:
    r""":math:`\log(1-\pi) + \log(1 - F_0(x))` from 0 on."""
    counted = log_probabilities(gate, None)[1] + double(cls.family.log_sf(x, **params))
    return result_like(torch.where(x < 0, 0.0, counted), x, gate, *params.values())


def _entropy_of(cls: "type[ZeroInflated]", gate: Any, **params: Any) -> Tensor:
    r""":math:`(1-\pi)(H_0 + P_0(0)\log P_0(0) - (1-P_0(0))\log(1-\pi)) - P(0)\log P(0)`."""
    log_on, log_off = log_probabilities(gate, None)
    own = {key: double(value) for key, value in params.items() if value is not None}
    base = cls.family.entropy_of(**own)
    log_zero = cls.family.log_density(torch.zeros_like(base), **own)
    log_here = torch.logaddexp(log_on, log_off + log_zero)
    rest = base + log_zero.exp() * log_zero + torch.expm1(log_zero) * log_off
    out = log_off.exp() * rest - log_here.exp() * log_here
    return result_like(out, gate, *params.values())


OF_FAMILY: Mapping[str, Callable[..., Tensor]] = {
    "log_cdf": _log_cdf,
    "log_sf": _log_sf,
    "entropy_of": _entropy_of,
}


class ZeroInflated(Law):
    r"""The base of zero-inflated laws of counts, with independent components:
    :math:`\log P(0) = \log(\pi + (1-\pi)P_0(0))`, else :math:`\log(1-\pi) + \log P_0(x)`.

    Another family of counts takes two lines,
    ``class ZeroInflatedGeometric(ZeroInflated): family = Geometric``, if it draws counts given
    its parameters (has ``noise_of``).

    Class attributes:
        family: The law of the other counts.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        gate: Probability :math:`\pi` of a zero beside those of the family: a number, a tensor, an
            ``nn.Parameter``, or a condition's name.
        net: A network of the conditions that returns a dict of parameters.
        params: The parameters of the family, likewise.
    """

    family: ClassVar[type[Law]]
    has_density: ClassVar[bool] = False  # of the base itself
    noise = "counts"

    def __init_subclass__(cls, **options: Any) -> None:
        """Derive what a law declares from the family."""
        super().__init_subclass__(**options)
        family = cls.family
        ways = family.parametrisations or (tuple(family.domains),)
        cls.has_density = True
        cls.domains = {"gate": unit_interval, **family.domains}
        cls.parametrisations = tuple(("gate", *way) for way in ways)
        for name, move in OF_FAMILY.items():
            if hasattr(family, name):  # what the family has, the law has
                setattr(cls, name, classmethod(move))

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        gate: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
        **params: Parameter,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {"gate": gate, **params})

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Those of every law; none of the base."""
        return [] if cls is ZeroInflated else super().examples()

    def support(self, params: Params) -> Constraint | None:
        """Whole numbers from 0."""
        return whole

    @classmethod
    def noise_of(
        cls,
        shape: Sequence[int],
        like: Tensor,
        generator: Generator = None,
        *,
        gate: Any,
        **params: Any,
    ) -> Tensor:
        """A draw."""
        counts = cls.family.noise_of(shape, like, generator, **params)
        open_ = uniform(blank(shape, like), generator) >= as_noise(gate, shape, like)
        return counts * open_

    @classmethod
    def draw(cls, noise: Tensor, **params: Any) -> Tensor:
        """The counts that were drawn given the parameters."""
        return noise

    @classmethod
    def log_density(cls, x: Tensor, gate: Any, **params: Any) -> Tensor:
        """The log probability of each count."""
        log_on, log_off = log_probabilities(gate, None)
        counted = log_off + double(cls.family.log_density(x, **params))
        out = torch.where(x == 0, torch.logaddexp(log_on, counted), counted)
        return result_like(out, x, gate, *params.values())

    @classmethod
    def mean_of(cls, gate: Any, **params: Any) -> Any:
        r""":math:`(1-\pi) m`."""
        return (1.0 - gate) * cls.family.mean_of(**params)

    @classmethod
    def variance_of(cls, gate: Any, **params: Any) -> Any:
        r""":math:`(1-\pi)(v + \pi m^2)`."""
        mean, variance = cls.family.mean_of(**params), cls.family.variance_of(**params)
        return (1.0 - gate) * (variance + gate * mean**2)


class ZeroInflatedPoisson(ZeroInflated):
    """The zero-inflated Poisson law; arguments are ``gate`` and those of :class:`Poisson`.

    Source: Lambert, Zero-inflated Poisson regression, 1992.

    Example:
        >>> p = ZeroInflatedPoisson(gate=0.5, rate=2.0)
        >>> p.get_log_prob({"x": torch.tensor([0.0, 1.0])}).exp()
        tensor([0.5677, 0.1353])
    """

    family = Poisson


class ZeroInflatedNegativeBinomial(ZeroInflated):
    """The zero-inflated negative binomial law; arguments are ``gate`` and those of
    :class:`NegativeBinomial`.

    Example:
        >>> p = ZeroInflatedNegativeBinomial(gate=0.5, total_count=2.0, probs=0.25)
        >>> p.get_log_prob({"x": torch.tensor([0.0, 1.0])}).exp()
        tensor([0.7812, 0.1406])
    """

    family = NegativeBinomial
