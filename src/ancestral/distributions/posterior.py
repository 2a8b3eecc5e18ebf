r"""Conditioning on part of a joint law: the posterior :math:`p(z|x) \propto p(x|z)\,p(z)`.

It is exact where the prior is conjugate to each likelihood
(:mod:`ancestral.distributions.conjugate`), and an elementary law then, of the prior's family: it
has draws, a density and closed forms. All others are refused, as their normalising constant is an
integral without a closed form.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import DensityError, ShapeError, VariableError, did_you_mean
from ancestral.core.names import listing
from ancestral.distributions.bernoulli import Bernoulli
from ancestral.distributions.beta import Beta
from ancestral.distributions.binomial import Binomial
from ancestral.distributions.categorical import Categorical
from ancestral.distributions.conjugate import Conjugate, conjugate
from ancestral.distributions.dirichlet import Dirichlet
from ancestral.distributions.eager import like, params_of
from ancestral.distributions.factor import Factor
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.gamma import Gamma
from ancestral.distributions.gamma_function import result_like
from ancestral.distributions.law import Law, Params
from ancestral.distributions.log_normal import LogNormal
from ancestral.distributions.multinomial import Multinomial
from ancestral.distributions.multivariate_normal import MultivariateNormal
from ancestral.distributions.normal import Normal
from ancestral.distributions.poisson import Poisson

if TYPE_CHECKING:
    from ancestral.distributions.joint import Joint


class Posterior(Law):
    r"""The posterior of a conjugate pair, :math:`p(z|x) \propto p(x|z)\,p(z)`, of the prior's
    family.

    Its parameters are found from the observation and from the parameters of both laws as they are
    at that time, through which gradients pass. Where the event of z has an axis of size 1 and that
    of x has n entries, these are n independent observations of one z, and their statistics are
    summed.

    Args:
        observed: The likelihood p(x|z), a factor whose parameter is z.
        prior: The prior p(z), a factor.
        rule: The pair.
        name: How it prints.

    Raises:
        ShapeError: If the events of x and z have different numbers of axes, or x does not fit z.
    """

    composite = True

    def __init__(self, observed: Factor, prior: Factor, rule: Conjugate, name: str) -> None:
        others = [c for c in observed.cond_var if c not in prior.var]
        names = dict.fromkeys([*observed.var, *others, *prior.cond_var])
        event = prior.law.declared_shape or None  # numbers alone fit any event
        Law.__init__(self, prior.var, list(names), name, event, None, {})
        self._observed, self._prior, self._rule = observed, prior, rule
        self._check_axes()
        self.likelihood, self.prior = observed.law, prior.law

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Priors of the family after an observation by each of two likelihoods."""
        prior = next((family for family, made in FAMILIES.items() if issubclass(cls, made)), None)
        return [] if prior is None else [_example(prior, *e) for e in _observations(prior)]

    def _check_axes(self) -> None:
        x, z = self._observed.law, self._prior.law
        if x.declared_shape is None or z.declared_shape is None:
            return
        own = len(x.declared_shape) - x.moves.value_dims
        if own != len(z.declared_shape) - z.moves.value_dims:
            (var,) = self._prior.var
            raise ShapeError(
                f"{self.prob_text}: the event of {self._observed.text} is "
                f"{list(x.declared_shape)}, that of {self._prior.text} "
                f"{list(z.declared_shape)}. For several observations of one {var} give {var} an "
                f"axis of size 1 in their place, e.g. features_shape=[1] and [n]."
            )

    def forward(self, **conditions: Tensor) -> Params:
        """The parameters after the observation."""
        prior = params_of(self._prior, [conditions[c] for c in self._prior.cond_var])
        known, x = self._known(conditions), conditions[self._observed.var[0]]
        if not x.is_floating_point():
            x = x.to(like(self._prior.law, prior).dtype)
        found = self._rule.statistics(x, known, prior)
        out = self._rule.posterior(prior, {k: self._total(k, v) for k, v in found.items()})
        return {k: result_like(v, x, *prior.values(), *known.values()) for k, v in out.items()}

    def _known(self, conditions: Mapping[str, Tensor]) -> Params:
        """The likelihood's other parameters: numbers, constants, trained, or conditions."""
        law, out = self._observed.law, {}
        names = dict(zip(law.cond_var, self._observed.cond_var, strict=True))
        numbers = law.numbers
        for key in law.given:
            bound = law.bound.get(key)
            if key == self._rule.parameter:
                continue
            value = conditions[names[bound]] if bound else numbers.get(key, getattr(law, key))
            cut = self._observed.detached and isinstance(value, Tensor)
            out[key] = value.detach() if cut else value
        return out

    def _total(self, key: str, value: Tensor) -> Tensor:
        """A statistic, summed over the observations that share a value of z."""
        event = self.declared_shape
        if event is None:
            return value
        moves = self.moves
        core = len(moves.cores[key]) if key in moves.cores else moves.param_dims
        shared = event[: len(event) - moves.value_dims]
        rows = value.shape[: value.dim() - core]
        own = rows[len(rows) - len(shared) :]
        if len(rows) < len(shared) or any(
            n not in (1, m) for n, m in zip(shared, own, strict=True)
        ):
            raise ShapeError(
                f"{self.prob_text}: {self._observed.var[0]} has the axes {tuple(rows)}, rows "
                f"first, which do not fit the event {list(event)} of {self._prior.text}."
            )
        axes = [i - len(shared) - core for i, n in enumerate(shared) if n == 1]
        return value.sum(axes, keepdim=True) if axes else value

    @property
    def formula(self) -> Formula:
        r""":math:`p(x|z)p(z)`, of several observations :math:`p(x|z)p(y|z)p(z)`."""
        f, prior = self._observed, self._prior
        atoms = [Atom(prior.law.name, prior.var, prior.cond_var)]
        if isinstance(prior.law, Posterior) and prior.cond_var == prior.law._cond_var:
            atoms = list(prior.law.formula.terms[0].atoms)
        return Formula([Term([Atom(f.law.name, f.var, f.cond_var), *atoms])], True)


class NormalPosterior(Posterior, Normal):
    """A normal law after an observation; see :class:`Posterior`."""


class MultivariateNormalPosterior(Posterior, MultivariateNormal):
    """A multivariate normal law after an observation; see :class:`Posterior`."""


class BetaPosterior(Posterior, Beta):
    """A beta law after an observation; see :class:`Posterior`."""


class GammaPosterior(Posterior, Gamma):
    """A gamma law after an observation; see :class:`Posterior`."""


class DirichletPosterior(Posterior, Dirichlet):
    """A Dirichlet law after an observation; see :class:`Posterior`."""


FAMILIES: dict[type[Law], type[Posterior]] = {
    Normal: NormalPosterior,
    MultivariateNormal: MultivariateNormalPosterior,
    Beta: BetaPosterior,
    Gamma: GammaPosterior,
    Dirichlet: DirichletPosterior,
}


def posterior(joint: "Joint", given: Sequence[str], name: str | None = None) -> Factor:
    """The law of the one variable that is left, given the others, as a factor.

    Likelihoods are taken into account one by one, the last one first; factors that do not depend
    on the variable drop out.

    Args:
        joint: The joint law.
        given: The variables that are observed.
        name: How it prints; as the joint law if not given.

    Raises:
        VariableError: If a name is not drawn by the law, or not just one variable is left.
        DensityError: If the posterior has no closed form that is known.
    """
    latent = _latent(joint, given)
    factor = next(f for f in joint.factors if latent in f.var)
    for observed in reversed(joint.factors):
        if latent in observed.cond_var:
            rule = _rule(observed, factor, latent)
            family = next(c for c in factor.law.moves.__mro__ if c in FAMILIES)
            law = FAMILIES[family](observed, factor, rule, name or joint.name)
            factor = law.factors[0]
    return factor


def _latent(joint: "Joint", given: Sequence[str]) -> str:
    for var in given:
        if var not in joint.var:
            raise VariableError(
                f"{joint.prob_text} draws no variable {var!r} to condition on; "
                f"{did_you_mean(var, joint.var)}"
            )
    left = [v for v in joint.var if v not in given]
    copied = [f.text for f in joint.factors if f.copies]
    if len(left) != 1 or copied or joint.integrated:
        what = listing(left) if left else "nothing"
        if copied or joint.integrated:
            what = f"copies of {listing(copied)}" if copied else f"{what} with integrals"
        raise VariableError(
            f"{joint.prob_text}.condition({listing(list(given))}) leaves {what}. It gives the law "
            "of one variable, once: condition on all others. For several, use the unnormalised "
            "log density of the product, log_prob(), as the target of a sampler, or learn their "
            "law q with E(q, p.log_prob() - q.log_prob())."
        )
    return left[0]


def _rule(observed: Factor, prior: Factor, latent: str) -> Conjugate:
    """The pair, if there is one and the likelihood's parameter is the variable itself."""
    law, rule = observed.law, conjugate(observed.law, prior.law)
    single = len(observed.var) == len(prior.var) == 1
    names = dict(zip(law.cond_var, observed.cond_var, strict=True))
    inner = [c for c, outer in names.items() if outer == latent]
    bound = [key for key, name in law.bound.items() if name in inner]
    plain = law.is_complete and law.pushforward is None and prior.law.pushforward is None
    if rule is not None and single and plain and bound == [rule.parameter]:
        return rule
    pair = (
        f"{law.distribution_name} {observed.text} and {prior.law.distribution_name} {prior.text}"
    )
    why = "is no conjugate pair that is known"
    if rule is not None:
        why = (
            f"is a conjugate pair only if {rule.parameter}={inner[0]!r}, the variable itself, and "
            "its other parameters do not come from a network"
        )
    raise DensityError(
        f"{pair}: this {why}, so that p({latent}|{','.join(observed.var)}) has no closed form. "
        "Use the unnormalised log density of the product, log_prob(), as the target of a sampler, "
        "or learn a law q with E(q, p.log_prob() - q.log_prob()). `python -m "
        "ancestral.distributions.kl` lists the pairs."
    )


def _example(prior: type[Law], likelihood: Law, x: Sequence[object]) -> dict[str, Any]:
    """Arguments of a posterior, and the observation."""
    make: Any = prior
    z = make(**prior.examples()[0], var=["z"]).factors[0]
    observed = likelihood.factors[0]
    given = {"x": torch.tensor([x], dtype=torch.float64)}
    rule = _rule(observed, z, "z")
    return {"observed": observed, "prior": z, "rule": rule, "name": "q", "given": given}


def _observations(prior: type[Law]) -> list[tuple[Law, Sequence[object]]]:
    """Likelihoods and what they drew, of priors of three components."""
    of: dict[str, Any] = {"var": ["x"], "cond_var": ["z"]}
    if prior is Beta:
        return [(Bernoulli(probs="z", **of), [1, 0, 1]),
                (Binomial(probs="z", total_count=7.0, **of), [3, 0, 7])]  # fmt: skip
    if prior is Gamma:
        return [(Poisson(rate="z", **of), [2, 0, 5]),
                (Gamma(rate="z", concentration=1.7, **of), [0.4, 1.3, 2.0])]  # fmt: skip
    if prior is Dirichlet:
        return [(Categorical(probs="z", **of), [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
                (Multinomial(probs="z", total_count=2.0, **of),
                 [[1, 1, 0], [0, 2, 0], [1, 0, 1]])]  # fmt: skip
    if prior is Normal:
        return [(Normal(loc="z", scale=0.7, **of), [0.4, -1.0, 2.0]),
                (LogNormal(loc="z", scale=0.9, **of), [0.4, 1.3, 2.0])]  # fmt: skip
    spread = torch.tensor([[0.5, 0.1], [0.1, 0.3]], dtype=torch.float64)
    shape = {**of, "features_shape": [3, 2]}
    return [(MultivariateNormal(loc="z", covariance_matrix=c * spread, **shape),
             [[0.3, -1.0], [0.2, 0.7], [-0.4, 0.1]]) for c in (1.0, 2.0)]  # fmt: skip
