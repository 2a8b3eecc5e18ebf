r"""The two sides of a bound: model and posterior, as laws or as what has been drawn of them.

Laws make an equation. What has been drawn, :math:`z_k`, :math:`\log p(x, z_k)` and
:math:`\log q(z_k|x)` as tensors, makes an estimate of it; estimators act on these tensors as they
do in a program.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ancestral.core.errors import (
    DataError,
    GradientError,
    OptionError,
    ShapeError,
    VariableError,
)
from ancestral.core.names import listing
from ancestral.distributions import (
    BayesianNet,
    Distribution,
    JointDensity,
    MetaBayesianNet,
    Normal,
    StochasticTensor,
)
from ancestral.estimators.score import LeaveOneOut, Score
from ancestral.estimators.vimco import VIMCO
from ancestral.losses import Node
from ancestral.losses.scope import free
from ancestral.objectives.importance import log_density


@dataclass(frozen=True)
class Laws:
    """Model and posterior as laws, and the number of draws that the posterior's net says."""

    p: Distribution | Node
    q: Distribution
    n_samples: int | None = None

    @property
    def log_p(self) -> Node:
        """The log joint as a loss."""
        return log_density(self.p)

    def copies(self, word: str) -> int:
        """K, which is part of the bound."""
        if self.n_samples is None:
            raise OptionError(
                f"{word}: how many draws? Give n_samples=, to it or to the nodes of the posterior."
            )
        return self.n_samples

    def at(self, observed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Observations, and draws of the posterior beside them."""
        shape = () if self.n_samples is None else (self.n_samples,)
        given = {k: v for k, v in observed.items() if k in self.q.input_var}
        drawn = self.q.sample(given, sample_shape=shape, return_all=False)
        return {**observed, **drawn}


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws of the posterior, with both log densities at them.

    Args:
        observed: The values that were given.
        latents: The draws.
        log_p: The log joint, shape ``(*draws, *rows)``.
        log_q: The log density of the draws, likewise.
        axis: That of the draws.
    """

    observed: Mapping[str, Any]
    latents: Mapping[str, Tensor]
    log_p: Tensor
    log_q: Tensor
    axis: int | None

    def __post_init__(self) -> None:
        """Raise if the two do not stand on the same axes, or there is no such axis."""
        if self.log_p.shape != self.log_q.shape:
            raise ShapeError(
                f"log p of the model has shape {tuple(self.log_p.shape)}, log q of its latents "
                f"{tuple(self.log_q.shape)}: both must have those of draws and rows. Check "
                "group_ndims= and n_samples=."
            )
        if self.axis is not None and not -self.log_p.dim() <= self.axis < self.log_p.dim():
            raise ShapeError(
                f"axis={self.axis}, but the log densities have shape {tuple(self.log_p.shape)}. "
                "Draws stand along an axis of their own, n_samples= of the posterior's nodes."
            )

    def named(self) -> Laws:
        """Laws of the same names, for the formula."""
        given = [k for k in self.observed if k not in self.latents]
        q: Distribution | None = None
        for z in self.latents:
            one = Normal(var=[z], loc=0.0, scale=1.0, name="q")
            q = one if q is None else q * one
        assert q is not None
        count = None if self.axis is None else self.log_p.shape[self.axis]
        return Laws(JointDensity(_no_density, [*given, *self.latents]), q, count)

    def at(self, observed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Observations, and the draws beside them."""
        return {**observed, **self.latents}

    @property
    def log_w(self) -> Tensor:
        """The log weights."""
        return self.log_p - self.log_q

    @property
    def log_mean(self) -> Tensor:
        """The logarithm of the mean weight."""
        assert self.axis is not None
        return _log_mean(self.log_w, self.axis)

    def averaged(self, value: Tensor) -> Tensor:
        """The mean over draws."""
        return value if self.axis is None else value.mean(self.axis)

    # -- costs ----------------------------------------------------------------------------------
    def check_path(self, word: str, other: str) -> None:
        """Raise if draws pass no gradient on, though their law is trained."""
        if self.log_q.requires_grad and not all(z.requires_grad for z in self.latents.values()):
            cut = [k for k, z in self.latents.items() if not z.requires_grad]
            raise GradientError(
                f"{word}: the draws of {listing(cut)} pass no gradient on to their law. Use "
                f".{other}, or make them reparameterised, is_reparameterized=True."
            )

    def check_cut(self, word: str) -> None:
        """Raise if draws pass a gradient on: it would be counted twice."""
        path = [k for k, z in self.latents.items() if z.requires_grad]
        if path:
            raise GradientError(
                f"{word}: the draws of {listing(path)} pass a gradient on, which would be counted "
                "beside that of the score. Make them is_reparameterized=False."
            )

    def reinforce(self, *, variance_reduction: bool, baseline: Any) -> Any:
        """Minus the bound with the score-function gradient."""
        self.check_cut("elbo(...).reinforce()")
        f = self.log_p - self.log_q.detach()  # the score of the draw itself has the mean 0
        if baseline is not None:
            if not isinstance(baseline, Tensor):
                raise OptionError(
                    "reinforce(baseline=...): of tensors it is a tensor, what the network says of "
                    f"the rows; got a {type(baseline).__name__}."
                )
            left = f.detach() - baseline.broadcast_to(f.shape)
            term = left.detach() * self.log_q
            cost = -self.averaged(f + (term - term.detach()))
            return cost, 0.5 * self.averaged(left.square())
        axis = self.axis
        if axis is None and f.dim() and f.shape[0] > 1:
            axis = 0  # of one draw in each row the others are those of other rows
        if variance_reduction and (axis is None or f.shape[axis] < 2):
            raise OptionError(
                "elbo(...).reinforce(): a moving mean is state, which a bound of tensors does not "
                "have, and there is one draw only. Give the model and the posterior as they are "
                "built, variational=encoder(), or variance_reduction=False."
            )
        plan = Score(LeaveOneOut() if variance_reduction else None)
        return -self.averaged(plan.surrogate(f, self.log_q, axis))

    def vimco(self) -> Tensor:
        """Minus the bound with the gradient of VIMCO."""
        self.check_cut("iw_objective(...).vimco()")
        assert self.axis is not None
        if self.log_w.shape[self.axis] < 2:
            raise OptionError("iw_objective(...).vimco() needs two draws or more, n_samples=.")
        axis = self.axis % self.log_w.dim()
        return -VIMCO().bound(self.log_mean, self.log_w, self.log_q, axis, 1.0)

    def importance(self) -> Tensor:
        """The inclusive divergence, by self-normalised weights: draws and model are constants."""
        if self.axis is None:
            raise OptionError(
                "klpq(...).importance() needs axis=: weights are those of several draws."
            )
        self.check_cut("klpq(...).importance()")
        log_w = self.log_w.detach()
        ratio = log_w + self.log_q.detach() - self.log_q  # log p - log q, the gradient q's alone
        return (log_w.softmax(self.axis) * ratio).sum(self.axis) - _log_mean(log_w, self.axis)


def _log_mean(log_w: Tensor, axis: int) -> Tensor:
    return log_w.logsumexp(axis) - math.log(log_w.shape[axis])


def _no_density(given: dict[str, Tensor]) -> Tensor:
    raise NotImplementedError("it stands for a name")


# -- laws ---------------------------------------------------------------------------------------
def law_sides(
    word: str,
    model: Any,
    observed: Mapping[str, Any],
    variational: Any,
    n_samples: int | None,
    modules: list[nn.Module],
) -> Laws:
    """Model and posterior as laws."""
    q, drawn = variational, None
    if isinstance(q, MetaBayesianNet):
        given = {k: observed.get(k) for k in q.arguments if observed.get(k) is not None}
        drawn = _draws_of(word, q, given)
        q = q.law(given, modules=modules, name="q")
    if not isinstance(q, Distribution):
        raise OptionError(
            f"{word}(variational=...): the posterior is a law, a model from @meta_bayesian_net() "
            f"or a net; got a {type(q).__name__}."
        )
    p = model
    if isinstance(p, MetaBayesianNet):
        given = {k: observed.get(k) for k in p.arguments if observed.get(k) is not None}
        p = p.law(given, modules=modules)
    elif callable(p) and not isinstance(p, (Distribution, Node)):
        p = JointDensity(p, list(dict.fromkeys([*observed, *q.var])), modules=modules)
    if isinstance(p, Node):
        check_posterior(word, str(p), free(p), observed, q.var)
        return Laws(p, q, n_samples if n_samples is not None else drawn)
    if not isinstance(p, Distribution):
        raise OptionError(
            f"{word}: the model is one from @meta_bayesian_net(), a law, or a function of a dict; "
            f"got a {type(model).__name__}."
        )
    check_posterior(word, p.prob_text, p.var, observed, q.var)
    return Laws(p, q, n_samples if n_samples is not None else drawn)


def _draws_of(word: str, q: MetaBayesianNet, given: Mapping[str, Any]) -> int | None:
    """How many draws the nodes of a posterior have."""
    found = {seen.n_samples for seen in q.trace(given).nodes.values()} - {None}
    if len(found) > 1:
        raise OptionError(
            f"{word}: nodes of {q.name} have different numbers of draws, "
            f"{listing([str(n) for n in sorted(n for n in found if n)])}. Give n_samples= to "
            f"{word}."
        )
    return next(iter(found), None)


def check_posterior(
    word: str, told: str, names: Any, observed: Mapping[str, Any], latents: Any
) -> None:
    """Raise if a latent has no posterior, or a posterior no latent.

    Raises:
        VariableError: If so: the bound would be of a draw from the prior, without its density.
    """
    missing = [n for n in names if n not in observed and n not in latents]
    if missing:
        raise VariableError(
            f"{word}: {told} has the latent {missing[0]}, which is neither observed nor drawn by "
            f"the posterior, whose variables are {listing(list(latents))}. Give {missing[0]} a "
            f"posterior, or observe it."
        )
    both = [n for n in latents if n in observed]
    if both:
        raise VariableError(f"{word}: {both[0]} is observed, and the posterior draws it too.")
    unknown = [n for n in latents if n not in names]
    if unknown:
        raise VariableError(
            f"{word}: the posterior draws {unknown[0]}, which {told} does not have; its variables "
            f"are {listing(list(names))}."
        )


# -- what has been drawn ------------------------------------------------------------------------
def drawn_sides(
    word: str,
    model: Any,
    observed: Mapping[str, Any],
    latent: Any,
    variational: BayesianNet | None,
    axis: int | None,
) -> Drawn:
    """Draws of a posterior, and both log densities at them."""
    absent = [k for k, v in observed.items() if not isinstance(v, (Tensor, StochasticTensor))]
    if absent:
        raise DataError(
            f"{word}: the posterior has been drawn from, so that what is observed must be given, "
            f"too: observed={{{absent[0]!r}: tensor}}."
        )
    if variational is not None:
        drawn = {
            k: v
            for k, v in variational.nodes.items()
            if isinstance(v, StochasticTensor) and not v.is_observed()
        }
        samples = {k: v.tensor for k, v in drawn.items()}
        log_q = functools.reduce(Tensor.add, (v.cond_log_p for v in drawn.values()))
    else:
        _check_pairs(word, latent)
        samples = {k: pair[0] for k, pair in latent.items()}
        log_q = functools.reduce(Tensor.add, (pair[1] for pair in latent.values()))
    values = {**observed, **samples}
    if isinstance(model, MetaBayesianNet):
        bn = model.observe(**values)
        nodes = [k for k, v in bn.nodes.items() if isinstance(v, StochasticTensor)]
        check_posterior(word, model.name, nodes, observed, samples)
        log_p = bn.log_joint()
    elif isinstance(model, Distribution):
        check_posterior(word, model.prob_text, model.var, observed, samples)
        log_p = model.get_log_prob(values)
    elif callable(model):
        log_p = model(values)
    else:
        raise OptionError(
            f"{word}: the model is one from @meta_bayesian_net(), a law, or a function of a dict; "
            f"got a {type(model).__name__}."
        )
    return Drawn(observed, samples, log_p, log_q, axis)


def _check_pairs(word: str, latent: Any) -> None:
    for name, pair in latent.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise OptionError(
                f"{word}(latent={{{name!r}: ...}}): give the pair (sample, log_prob) of tensors; "
                "a law is given as variational=q."
            )
