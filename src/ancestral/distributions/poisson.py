r"""The Poisson law, :math:`P(x) = \lambda^x e^{-\lambda} / x!`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions.conjugate import Conjugate
from ancestral.distributions.constraints import Constraint, positive, whole
from ancestral.distributions.count_search import first_count, tails_at
from ancestral.distributions.count_sums import mean_over_counts
from ancestral.distributions.gamma import Gamma
from ancestral.distributions.gamma_function import deviance, double, result_like
from ancestral.distributions.incomplete_gamma import log_gamma_tails
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.noise import as_noise
from ancestral.distributions.saddle_point import log_poisson


class Poisson(Law):
    r"""The Poisson law of counts with independent components,
    :math:`\log P(x) = x\log\lambda - \lambda - \log x!`.

    Its draws are whole numbers, so that they have no pathwise gradient: choose an estimator.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        rate: Mean :math:`\lambda > 0`: a number, a tensor, an ``nn.Parameter``, or a condition's
            name.
        net: A network of the conditions; one output tensor is the rate, through softplus.

    Example:
        >>> Poisson(rate=2.0).get_log_prob({"x": torch.tensor([0.0, 1.0])}).exp()
        tensor([0.1353, 0.2707])
    """

    domains = {"rate": positive}
    split = {"rate": F.softplus}
    noise = "counts"

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        rate: Parameter = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {"rate": rate})

    def support(self, params: Params) -> Constraint | None:
        """Whole numbers from 0."""
        return whole

    @staticmethod
    def noise_of(
        shape: Sequence[int], like: Tensor, generator: Generator = None, *, rate: Any
    ) -> Tensor:
        """A draw."""
        return torch.poisson(as_noise(rate, shape, like), generator=generator)

    @staticmethod
    def draw(noise: Tensor, rate: Any) -> Tensor:
        """The counts that were drawn given the rate."""
        return noise

    @staticmethod
    def log_density(x: Tensor, rate: Any) -> Tensor:
        """The log probability of each count."""
        mean = double(rate)
        return result_like(log_poisson(double(x), mean, mean.log()), x, rate)

    @staticmethod
    def log_cdf(x: Tensor, rate: Any) -> Tensor:
        r""":math:`\log Q(\lfloor x\rfloor + 1, \lambda)`."""
        return result_like(_log_tails(double(x), double(rate))[0], x, rate)

    @staticmethod
    def log_sf(x: Tensor, rate: Any) -> Tensor:
        r""":math:`\log P(\lfloor x\rfloor + 1, \lambda)`."""
        return result_like(_log_tails(double(x), double(rate))[1], x, rate)

    @staticmethod
    def icdf(u: Tensor, rate: Any) -> Tensor:
        """By search for the first count whose rank is at least u."""
        mean = double(rate).detach()
        out = first_count(lambda k: _log_tails(k, mean), double(u), mean, mean)
        return result_like(out, u, rate)

    @staticmethod
    def mean_of(rate: Any) -> Any:
        r""":math:`\lambda`."""
        return rate

    @staticmethod
    def variance_of(rate: Any) -> Any:
        r""":math:`\lambda`."""
        return rate

    @staticmethod
    def entropy_of(rate: Any) -> Any:
        r""":math:`-\sum_x P(x)\log P(x)`, at the points that have mass."""
        mean = double(rate)

        def log_p(k: Tensor) -> Tensor:
            return log_poisson(k, mean, mean.log())

        return result_like(-mean_over_counts(log_p, log_p, mean, mean), rate)


def _log_tails(x: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """log P(X <= x) and log P(X > x)."""
    return tails_at(x, lambda k: log_gamma_tails(k + 1.0, rate, rate.log())[::-1])


def kl_poisson(q: dict[str, Any], p: dict[str, Any]) -> Tensor:
    r""":math:`\lambda_q (t - 1 - \log t)` with :math:`t = \lambda_p/\lambda_q`."""
    mine, other = double(q["rate"]), double(p["rate"])
    return result_like(mine * deviance(other / mine), q["rate"], p["rate"])


Poisson.closed_kl = {Poisson: kl_poisson}


def _events(x: Tensor, known: Params, prior: Params) -> Params:
    """Events, and the time in which they were counted."""
    return {"concentration": x, "rate": torch.ones_like(x)}


Poisson.conjugate = {Gamma: Conjugate("rate", _events)}
