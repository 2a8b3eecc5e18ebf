r"""ZhuSuan's words: a bound as one object, and several named estimators of its gradient.

.. math::
    \mathrm{elbo} = E_{q(z|x)}[\log p(x,z) - \log q(z|x)], \qquad
    \mathrm{iw} = E_{z_k \sim q}\left[\log\tfrac1K\sum_k \tfrac{p(x,z_k)}{q(z_k|x)}\right], \qquad
    \mathrm{klpq} = KL[p(z|x) \| q(z|x)]

The object is the bound and prints as it. Its words (``.sgvb()``, ``.reinforce()``, ``.vimco()``,
``.importance()``) are costs, minus the bound, to be minimised. They are this library's losses with
an estimator attached, nothing else; where model and posterior have been evaluated already, on
tensors, they are tensors.

Source: Shi et al., ZhuSuan: A library for Bayesian deep learning (2017), section 4.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn

from torch import Tensor, nn

from ancestral.core.errors import GradientOnlyError, OptionError
from ancestral.distributions import BayesianNet, Distribution, MetaBayesianNet
from ancestral.estimators.baselines import Learned, MovingAverage
from ancestral.estimators.pathwise import Pathwise
from ancestral.estimators.score import Score
from ancestral.estimators.vimco import VIMCO
from ancestral.losses import E, Node, ValueLoss
from ancestral.objectives.inclusive_kl import InclusiveKL
from ancestral.objectives.iwae import IWAE
from ancestral.objectives.sides import Drawn, Laws, drawn_sides, law_sides

Model = MetaBayesianNet | Distribution | Node | Callable[[dict[str, Tensor]], Tensor]
Cost = Any  # a loss, or a tensor where the sides are tensors


class Bound:
    """A bound, or a divergence, of a model and a posterior.

    Args:
        sides: The two, as laws or as what has been drawn of them.
        model: What was given as the model.
        observed: What is observed; tensors serve ``bn``.
    """

    word: ClassVar[str]

    def __init__(self, sides: "Laws | Drawn", model: Model, observed: Mapping[str, Any]) -> None:
        self.sides, self.model, self.observed = sides, model, dict(observed)

    def _expression(self, laws: Laws) -> Node:
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    @functools.cached_property
    def loss(self) -> Node:
        """The bound as a loss, the formula that prints."""
        return self._expression(self.sides if isinstance(self.sides, Laws) else self.sides.named())

    def _drawn_value(self, drawn: Drawn) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no value")

    @property
    def value(self) -> Cost:
        """The bound: a loss, or its estimate where the sides are tensors."""
        drawn = self.sides
        return self._drawn_value(drawn) if isinstance(drawn, Drawn) else self.loss

    def mean(self) -> Cost:
        """The mean of the bound over rows."""
        return self.value.mean()

    def sum(self) -> Cost:
        """The sum of the bound over rows."""
        return self.value.sum()

    @functools.cached_property
    def bn(self) -> BayesianNet:
        """The model's net, observed at draws of the posterior besides: its nodes are predictions.

        Raises:
            OptionError: If the model is no :class:`MetaBayesianNet`, or what is observed was named
                and not given.
        """
        if not isinstance(self.model, MetaBayesianNet):
            raise OptionError(
                f"{self.word}(...).bn: the model is no net; give one, from @meta_bayesian_net()."
            )
        missing = [k for k, v in self.observed.items() if not isinstance(v, Tensor)]
        if missing:
            raise OptionError(
                f"{self.word}(...).bn needs the values of what is observed: "
                f"observed={{{missing[0]!r}: tensor}}."
            )
        return self.model.observe(**self.sides.at(self.observed))

    def __str__(self) -> str:
        """The formula of the bound."""
        return str(self.loss)

    def _repr_latex_(self) -> str:
        return f"${self.loss.latex()}$"


class EvidenceLowerBound(Bound):
    """What :func:`elbo` returns."""

    word = "elbo"

    def _expression(self, laws: Laws) -> Node:
        log_w = laws.log_p - laws.q.log_prob()
        return E(laws.q, log_w, sample_shape=laws.n_samples)

    def _drawn_value(self, drawn: Drawn) -> Tensor:
        return drawn.averaged(drawn.log_w)

    def sgvb(self) -> Cost:
        """Minus the bound with the pathwise gradient, for latents that are reparameterised.

        Raises:
            GradientError: If a latent is not.
        """
        if isinstance(self.sides, Drawn):
            self.sides.check_path("elbo(...).sgvb()", "reinforce()")
            return -self.value
        return -self.loss.estimate({self.sides.q: Pathwise()})

    def reinforce(
        self,
        variance_reduction: bool = True,
        baseline: "nn.Module | Tensor | None" = None,
        decay: float = 0.8,
    ) -> Cost:
        r"""Minus the bound with the score-function gradient, for latents of any kind.

        Args:
            variance_reduction: Whether a moving mean of the bound is subtracted from the learning
                signal; it is state, that of the steps before. Of tensors, which have no steps, it
                is the mean of the other draws or rows.
            baseline: A network of the posterior's conditions, trained beside it (NVIL); of
                tensors, what it says. Then the pair (cost, cost of the baseline) is returned, whose
                sum is to be minimised; of a loss the second is part of the first, and 0.
            decay: The share of the moving mean that a step keeps.

        Raises:
            GradientError: Of tensors, if a latent passes a gradient on.
        """
        if isinstance(self.sides, Drawn):
            return self.sides.reinforce(variance_reduction=variance_reduction, baseline=baseline)
        if baseline is not None and not isinstance(baseline, nn.Module):
            raise OptionError(
                "reinforce(baseline=...): of laws it is an nn.Module, which is run on their "
                f"conditions; got a {type(baseline).__name__}."
            )
        choice: Learned | MovingAverage | None = None
        if baseline is not None:
            choice = Learned(baseline, cond_var=self.sides.q.cond_var or None, decay=decay)
        elif variance_reduction:
            choice = MovingAverage(decay)
        cost = -self.loss.estimate({self.sides.q: Score(choice)})
        return cost if baseline is None else (cost, ValueLoss(0.0))


class ImportanceWeightedObjective(Bound):
    """What :func:`importance_weighted_objective` returns."""

    word = "iw_objective"

    def _expression(self, laws: Laws) -> Node:
        return IWAE(laws.p, laws.q, k=laws.copies(self.word))

    def _drawn_value(self, drawn: Drawn) -> Tensor:
        return drawn.log_mean

    def sgvb(self) -> Cost:
        """Minus the bound with the pathwise gradient, as in IWAE.

        Raises:
            GradientError: If a latent is not reparameterised.
        """
        if isinstance(self.sides, Drawn):
            self.sides.check_path("iw_objective(...).sgvb()", "vimco()")
            return -self.value
        return -self.loss.estimate({self.sides.q: Pathwise()})

    def vimco(self) -> Cost:
        """Minus the bound with the gradient of VIMCO, for latents of any kind.

        Raises:
            OptionError: If there is one draw only.
            GradientError: Of tensors, if a latent passes a gradient on.
        """
        if isinstance(self.sides, Drawn):
            return self.sides.vimco()
        if self.sides.copies(self.word) < 2:
            raise OptionError("iw_objective(...).vimco() needs two draws or more: n_samples=.")
        return -self.loss.estimate({self.sides.q: VIMCO()})


class InclusiveDivergence(Bound):
    """What :func:`klpq` returns: a divergence with a gradient, and no value."""

    word = "klpq"

    def _expression(self, laws: Laws) -> Node:
        return InclusiveKL(laws.log_p, laws.q, k=laws.copies(self.word))

    @property
    def value(self) -> NoReturn:
        """It has none.

        Raises:
            GradientOnlyError: Always, a NotImplementedError.
        """
        raise GradientOnlyError(
            "klpq(...) has no value: KL[p(z|x) || q(z|x)] needs log p(x). Its gradient is that of "
            "klpq(...).importance(); as a biased estimate use InclusiveKL(p, q, k=K)."
        )

    def importance(self) -> Cost:
        """A cost of q alone whose gradient is that of the divergence, by self-normalised weights:
        biased at a fixed number of draws.
        """
        return self.sides.importance() if isinstance(self.sides, Drawn) else self.loss

    rws = importance


def elbo(
    model: Model,
    observed: "Mapping[str, Any] | Iterable[str] | None" = None,
    latent: "Mapping[str, Any] | None" = None,
    axis: int | None = None,
    variational: "Distribution | MetaBayesianNet | BayesianNet | None" = None,
    *,
    n_samples: int | None = None,
    modules: Iterable[nn.Module] = (),
) -> EvidenceLowerBound:
    r"""The evidence lower bound :math:`E_{q(z|x)}[\log p(x,z) - \log q(z|x)]`.

    Of laws, and of nets that are built anew (``variational=encoder()``), it is an equation: its
    costs are losses, which are given their data when they are evaluated. Of a net that has been
    built, or of ``latent=``, it is the estimate by these draws: its costs are tensors.

    Args:
        model: A :class:`MetaBayesianNet`, the joint law, or a function ``log_joint(dict)`` of all
            values that returns one number per row; for laws also the log joint as a loss.
        observed: The names of what is observed, or a dict of tensors.
        latent: In place of a posterior, of each latent the pair ``(sample, log_prob)``.
        axis: The axis of draws in tensors, over which the bound is the mean.
        variational: The posterior: a law, a :class:`MetaBayesianNet`, or a net.
        n_samples: How many draws estimate the bound of laws; by default as many as the nodes of
            the posterior's net say.
        modules: Modules that nets or a function read and were not given as arguments.

    Raises:
        VariableError: If a latent of the model has no posterior, or the posterior is one of other
            variables.
        OptionError: If there is no posterior, or there are two.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
        >>> p = p * Normal(var=["z"], loc=0.0, scale=1.0)
        >>> q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> lower_bound = elbo(p, observed=["x"], variational=q)
        >>> print(lower_bound)
        E_{q(z|x)}[log p(x,z) - log q(z|x)]
        >>> print(lower_bound.sgvb().mean())
        mean(-E_{q(z|x)}[log p(x,z) - log q(z|x)])
    """
    given = (model, observed, latent, axis, variational, n_samples, modules)
    return EvidenceLowerBound(*_sides("elbo", *given))


def importance_weighted_objective(
    model: Model,
    observed: "Mapping[str, Any] | Iterable[str] | None" = None,
    latent: "Mapping[str, Any] | None" = None,
    axis: int | None = None,
    variational: "Distribution | MetaBayesianNet | BayesianNet | None" = None,
    *,
    n_samples: int | None = None,
    modules: Iterable[nn.Module] = (),
) -> ImportanceWeightedObjective:
    r"""The importance-weighted bound :math:`E[\log \frac1K \sum_k w_k]` of K draws.

    Arguments and errors are those of :func:`elbo`; ``axis`` is needed, and K is ``n_samples``, or
    the size of that axis.

    Example:
        >>> from ancestral.distributions import Bernoulli
        >>> p = Bernoulli(var=["x"], cond_var=["z"], probs="z") * Bernoulli(var=["z"], probs=0.3)
        >>> q = Bernoulli(var=["z"], cond_var=["x"], probs="x", name="q")
        >>> cost = iw_objective(p, ["x"], axis=0, variational=q, n_samples=5).vimco()
        >>> print(cost)
        -E_{z_1..z_5 ~ q(z|x)}[log((1/5) Σ_k exp(log p(x,z_k) - log q(z_k|x)))]
    """
    if axis is None:
        raise OptionError(
            "iw_objective(axis=...) is needed: the axis of the K draws in tensors, 0 in most nets."
        )
    given = (model, observed, latent, axis, variational, n_samples, modules)
    return ImportanceWeightedObjective(*_sides("iw_objective", *given))


iw_objective = importance_weighted_objective


def klpq(
    model: Model,
    observed: "Mapping[str, Any] | Iterable[str] | None" = None,
    latent: "Mapping[str, Any] | None" = None,
    axis: int | None = None,
    variational: "Distribution | MetaBayesianNet | BayesianNet | None" = None,
    *,
    n_samples: int | None = None,
    modules: Iterable[nn.Module] = (),
) -> InclusiveDivergence:
    r"""The inclusive divergence :math:`KL[p(z|x) \| q(z|x)]`, which trains the posterior alone.

    Arguments and errors are those of :func:`elbo`. It has no value: asking for it is a
    ``NotImplementedError``.
    """
    given = (model, observed, latent, axis, variational, n_samples, modules)
    return InclusiveDivergence(*_sides("klpq", *given))


def _sides(
    word: str,
    model: Model,
    observed: Any,
    latent: Any,
    axis: int | None,
    variational: Any,
    n_samples: int | None,
    modules: Iterable[nn.Module],
) -> tuple["Laws | Drawn", Model, dict[str, Any]]:
    """Model and posterior, checked against each other."""
    if (latent is None) == (variational is None):
        raise OptionError(
            f"{word}: give the posterior, variational=q, or what was drawn of it, "
            "latent={'z': (sample, log_prob)}; one of them."
        )
    seen = dict(observed) if isinstance(observed, Mapping) else dict.fromkeys(observed or ())
    if latent is not None or isinstance(variational, BayesianNet):
        return drawn_sides(word, model, seen, latent, variational, axis), model, seen
    return law_sides(word, model, seen, variational, n_samples, list(modules)), model, seen


__all__ = ["elbo", "importance_weighted_objective", "iw_objective", "klpq"]
