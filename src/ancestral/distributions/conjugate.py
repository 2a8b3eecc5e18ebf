r"""Conjugate pairs: likelihoods whose posterior, :math:`p(z|x) \propto p(x|z)\,p(z)`, is of the
family of the prior.

As a function of z such a likelihood has the form of the prior's density: an observation adds
*statistics* to what the prior's parameters say, and independent observations add theirs. Each
family of likelihoods lists its pairs at the bottom of its file (``Bernoulli.conjugate``);
:mod:`ancestral.distributions.posterior` makes the law.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from ancestral.distributions.law import Law, Params


def added(prior: "Params", sums: "Params") -> "Params":
    """The prior's parameters, each with the sum of its statistic."""
    return {key: value + sums[key] for key, value in prior.items()}


@dataclass(frozen=True)
class Conjugate:
    """How a likelihood updates its conjugate prior.

    Args:
        parameter: The likelihood's parameter that is the variable of the prior.
        statistics: A function of the observations, of the likelihood's other parameters, and of
            the prior's, ``(x, known, prior)``: for parameters of the prior's family what each
            observation adds, of the shape of the observations (with the axes of the parameter).
        posterior: The posterior's parameters from the prior's and the sums of the statistics; by
            default these are added.
    """

    parameter: str
    statistics: "Callable[[Tensor, Params, Params], Params]"
    posterior: "Callable[[Params, Params], Params]" = added


def conjugate(likelihood: "Law", prior: "Law") -> Conjugate | None:
    """The pair of two laws' families, or ``None``."""
    for family in likelihood.moves.__mro__:
        table: dict[type[Any], Conjugate] = family.__dict__.get("conjugate", {})
        for other in prior.moves.__mro__:
            if other in table:
                return table[other]
    return None
