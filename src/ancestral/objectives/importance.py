r"""Importance weights, and means under the posterior by self-normalised weights.

.. math::
    E_{p(z|x)}[f] \approx E_{z_1, \dots, z_K \sim q(z|x)}\left[
    \frac{\sum_k w_k f(z_k)}{\sum_k w_k}\right], \qquad w_k = \frac{p(x,z_k)}{q(z_k|x)}

The constant p(x), which nobody knows, cancels. What is left is biased at a fixed K, by
:math:`-\frac{1}{K}\, \mathrm{Cov}_q[w, w f] / p(x)^2` and terms of higher order: K stands in the
formula, and a program marks the line ``plug-in``. The weights are taken relative to their sum in
logarithms, so that they may all be too small for a float.

Source: Owen, Monte Carlo theory, methods and examples (2013), chapter 9, equation 9.8.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import OptionError, VariableError
from ancestral.core.names import as_names, listing
from ancestral.distributions import Distribution
from ancestral.losses import E, Expectation, Function, Node, values
from ancestral.losses.scope import free

Model = Any  # a law, or its log density: a loss


def LogJoint(
    log_joint: Callable[[Mapping[str, Tensor]], Tensor], var: str | Sequence[str], name: str = "p"
) -> Node:
    """A log density that is written as a function of a dict, in place of a law in any bound.

    Args:
        log_joint: Of the values by their names, each of shape ``(rows, *event)``: one number per
            row, shape ``(rows,)``.
        var: The names that it reads.
        name: How it prints.

    Example:
        >>> import torch
        >>> from ancestral.distributions import Normal
        >>> from ancestral.objectives import ELBO
        >>> p = LogJoint(lambda d: -((d["x"] - d["z"]) ** 2 + d["z"] ** 2).sum(-1), ["x", "z"])
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> print(ELBO(p, q))
        E_{q(z|x)}[log_p(x, z) - log q(z|x)]
    """
    names = as_names([var] if isinstance(var, str) else var, "var")
    return Function(_OfDict(log_joint, names), name=f"log_{name}")(*(values([v]) for v in names))


class _OfDict(nn.Module):
    """A function of a dict as one of its values in order, with its parameters if it has any."""

    def __init__(self, function: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.function, self.names = function, names

    def forward(self, *given: Tensor) -> Tensor:
        out: Tensor = self.function(dict(zip(self.names, given, strict=True)))
        return out


def log_density(p: Model) -> Node:
    """The log density of a law; a loss, such as :func:`LogJoint`, is one already."""
    if isinstance(p, Distribution):
        return p.log_prob()
    if isinstance(p, Node):
        return p
    raise OptionError(
        f"a bound takes the joint law of data and latents, or its log density, a loss; got a "
        f"{type(p).__name__}. A function of a dict is LogJoint(function, var=['x', 'z'])."
    )


def log_weight(p: Model, q: Distribution, observed: Sequence[str] | None = None) -> Node:
    r""":math:`\log p(x,z) - \log q(z|x)`, after a check that the two fit each other.

    Args:
        p: The joint law of data and latents, or its log density.
        q: The posterior of the latents.
        observed: The names of the data, if they are to be checked: then all others need a
            posterior.

    Raises:
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.
    """
    check_latents(p, q, observed)
    return log_density(p) - q.log_prob()


def check_latents(p: Model, q: Distribution, observed: Sequence[str] | None = None) -> None:
    """Raise if a variable of p or q has no part in the other; see :func:`log_weight`."""
    if not isinstance(q, Distribution):
        raise OptionError(
            f"q is the law of the latents, a Distribution; got a {type(q).__name__}."
        )
    known = p.var if isinstance(p, Distribution) else free(log_density(p))
    told = p.prob_text if isinstance(p, Distribution) else str(p)
    unknown = [v for v in q.var if v not in known]
    if unknown:
        raise VariableError(
            f"{q.prob_text} draws {listing(unknown)}, which {told} has no density of, so that this "
            f"would be no bound. Multiply p by the prior of {unknown[0]}: p * prior."
        )
    if observed is None:
        return
    given = as_names([observed] if isinstance(observed, str) else observed, "observed")
    latent = [v for v in known if v not in q.var and v not in given]
    if latent:
        raise VariableError(
            f"{told} draws {listing(latent)}, which {q.prob_text} does not and observed="
            f"{list(given)} does not name: a latent without a posterior. Multiply q by a law of "
            f"{latent[0]}, or observe it."
        )


def SelfNormalized(
    f: Node,
    p: Model,
    q: Distribution,
    *,
    k: int,
    power: float = 1.0,
    observed: Sequence[str] | None = None,
) -> Expectation:
    r"""The mean of a loss under :math:`p(z|x)`, by K draws of q with self-normalised weights.

    The gradient is that of the formula, through weights and draws. With ``p.detach()`` and
    ``q.detach()`` it is that of f alone, and estimates :math:`E_{p(z|x)}[\nabla f]` for laws of any
    kind.

    Args:
        f: What the mean is of.
        p: The joint law of data and latents, or its log density.
        q: The law of the draws.
        k: How many draws; part of the formula, as the bias depends on it.
        power: :math:`\beta` of weights :math:`w^\beta`, for the mean under
            :math:`p(x,z)^\beta q(z|x)^{1-\beta}`, normalised.
        observed: See :func:`log_weight`.

    Raises:
        VariableError: If q draws what p does not have, or p has a latent that q does not draw.

    Example:
        >>> from ancestral.distributions import Normal
        >>> from ancestral.losses import sqnorm
        >>> prior = Normal(var=["z"], loc=0.0, scale=1.0)
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> mean = SelfNormalized(sqnorm(values("z")), p * prior, q, k=5)
        >>> print(mean.body.left)
        Σ_k (exp(log p(x,z) - log q(z|x)) ||z||^2)
        >>> print(str(mean.program()).splitlines()[-2].split()[-1])
        plug-in
    """
    log_w = log_weight(p, q, observed)
    w = (log_w if power == 1 else power * log_w).exp()
    return E(q.iid(k=k), (w * f).sum("k") / w.sum("k"))
