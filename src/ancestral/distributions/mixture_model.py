r"""Mixtures of given laws, :math:`p(x) = \sum_k p_k(x|z=k)\,p(z=k)`, as Pixyz writes them.

The components are laws of one variable, each with a network, conditions or constants of its own;
their families may differ. :class:`~ancestral.distributions.mixture.Mixture` has the components of
one family in one tensor, which is faster where there are many.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.bijections import ConditionalAffine
from ancestral.core.errors import ParameterError, ShapeError, VariableError
from ancestral.distributions.base import Distribution, Factor, Inputs
from ancestral.distributions.categorical import Categorical
from ancestral.distributions.constraints import Constraint
from ancestral.distributions.eager import params_of, reads_as_init
from ancestral.distributions.experts import written
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.joint_mixture import JointMixture
from ancestral.distributions.law import Law, Params
from ancestral.distributions.layout import spanned
from ancestral.distributions.logistic import Logistic
from ancestral.distributions.mixture import Responsibility
from ancestral.distributions.mixture_moves import (
    CONTEXT,
    WEIGHTS,
    PartMoves,
    mixture_moves,
    moves_with_flows,
)
from ancestral.distributions.normal import Normal
from ancestral.distributions.normalizing_flow import NormalizingFlow
from ancestral.distributions.pushforward import At


@reads_as_init
class MixtureModel(Law):
    r"""A mixture of given laws of one variable, :math:`p(x) = \sum_k p_k(x|z=k)\,p(z=k)`.

    A component is chosen for a whole event. Its draws have no pathwise gradient: choose an
    estimator. Of products, implicit laws or flows, with ``weights=``, it is a
    :class:`~ancestral.distributions.joint_mixture.JointMixture`: what an expectation may be over.

    Args:
        distributions: The components :math:`p_k`, laws with a density over one variable. Their
            families may differ, if the values are of one kind; flows may be among them.
        prior: The law of the component, a :class:`Categorical`; with conditions it makes a mixture
            density network.
        name: How it prints.
        weights: Probabilities of the components in place of ``prior``, constants with sum 1.

    Raises:
        ParameterError: If the components, or the prior, are no laws of the right kind, there is
            not one of ``prior`` and ``weights``, or there are not as many categories as components.
        VariableError: If the components are over different variables.
        ShapeError: If components have different event shapes, or the event has not one axis and
            is not declared (``features_shape`` of a component).

    Example:
        >>> from ancestral.distributions import Normal
        >>> parts = [Normal(loc=torch.tensor([m]), scale=1.0, name=f"p_{i}")
        ...          for i, m in enumerate([-1.0, 1.0])]
        >>> prior = Categorical(var=["z"], probs=torch.tensor([0.5, 0.5]), name="prior")
        >>> p = MixtureModel(parts, prior)
        >>> p.latex()
        'p(x) = p_{0}(x|z=0)prior(z=0) + p_{1}(x|z=1)prior(z=1)'
        >>> p.get_log_prob({"x": torch.zeros(1, 1)})
        tensor([-1.4189])
        >>> p.posterior().latex()
        'p(z|x) = \\frac{p(z,x)}{p(x)}'
    """

    composite = True
    domains = WEIGHTS

    def __new__(
        cls,
        distributions: Sequence[Distribution] = (),
        prior: Distribution | None = None,
        name: str = "p",
        *,
        weights: Any = None,
        **others: Any,
    ) -> Any:
        """Of joint laws, or of laws without a density, that which an expectation may be over."""
        laws = () if isinstance(distributions, Distribution) else distributions
        given = bool(laws) and all(isinstance(law, Distribution) for law in laws)
        plain = prior is None and weights is not None and not others
        if cls is MixtureModel and plain and given and any(_component(d) is None for d in laws):
            return JointMixture(laws, weights, name)
        return super().__new__(cls)

    noise = "a value of the mixture"

    def __init__(
        self,
        distributions: Sequence[Distribution],
        prior: Distribution | None = None,
        name: str = "p",
        *,
        weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        every = _components(distributions)
        if (prior is None) == (weights is None):
            raise ParameterError(
                "MixtureModel takes either prior=, a Categorical law of the component, or "
                f"weights=, e.g. weights={[round(1 / len(every), 3)] * len(every)}."
            )
        self._weights = None if weights is None else torch.as_tensor(weights).tolist()
        first = _prior(every, prior, weights)
        shapes = {tuple(s) for f in every if (s := f.law.declared_shape)}
        if len(shapes) > 1:
            told = ", ".join(f"{f.text} {list(f.law.features_shape)}" for f in every)
            raise ShapeError(f"MixtureModel: the components have different event shapes: {told}.")
        event = next(iter(shapes), _scalar_event(every))
        vectors = max(f.law.moves.value_dims for f in every)
        self._rank = max(vectors, 1 if event is None else len(event))
        self._made: type[PartMoves] | None = None
        self._every, self._prior = every, first
        names = [c for f in (*every, first) for c in f.cond_var]
        super().__init__(every[0].var, list(dict.fromkeys(names)), name, event, None, {})
        if {*first.var} & {*self._var, *self._cond_var}:
            raise VariableError(
                f"MixtureModel: the prior draws {first.var[0]}, which the components name. Call "
                "the component something else: "
                f"{first.law.name}.replace_var({first.var[0]}='k')."
            )
        self.components = nn.ModuleList(f.law for f in every)
        self.prior = first.law

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two normal laws, two of different families, a prior with a condition, a flow with one."""
        two = [_example(Normal, -1.0, 0.6), _example(Normal, 1.2, 0.9)]
        prior = Categorical(var=["z"], probs=torch.tensor([0.3, 0.7], dtype=torch.float64))
        return [
            {"distributions": two, "weights": [0.4, 0.6]},
            {"distributions": [two[0], _example(Logistic, -0.8, 0.4)], "prior": prior},
            {
                "distributions": two,
                "prior": Categorical(var=["z"], cond_var=["y"], logits="y"),
                "given": {"y": torch.tensor([[0.3, -0.5]])},
            },
            {
                "distributions": [two[0], _flow()],
                "weights": [0.3, 0.7],
                "given": {"y": torch.tensor([[0.6, 0.2, -0.4]])},
            },
        ]

    @property
    def moves(self) -> type[Law]:
        """Those of all components."""
        parts = tuple(f.law.moves for f in self._every)
        flows = {k: p.bijection for k, f in enumerate(self._every) if (p := f.law.pushforward)}
        if not flows:
            return mixture_moves(parts, self._rank)
        if self._made is None:
            self._made = moves_with_flows(parts, self._rank, flows)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle has; it makes its moves anew."""
        return {**self.__dict__, "_made": None}

    def forward(self, **conditions: Tensor) -> Params:
        """The parameters of all components, each with its number, and the weights."""
        out: Params = {}
        for k, f in enumerate(self._every):
            found = params_of(f, [conditions[c] for c in f.cond_var])
            at = found.pop("bijection", None)  # the moves have it
            found |= {CONTEXT: at.context} if isinstance(at, At) else {}
            out.update({f"{key}_{k}": v for key, v in found.items()})
        prior = params_of(self._prior, [conditions[c] for c in self._prior.cond_var])
        names = {"probs": "weights", "logits": "weight_logits"}
        weights = {names[key]: v for key, v in prior.items()}
        shape = self.declared_shape
        if shape and not any(isinstance(v, Tensor) and v.dim() for v in out.values()):
            key, value = next(iter(out.items()))  # numbers alone do not show the event
            out[key] = next(iter(weights.values())).new_tensor(value).expand(shape)
        return {**out, **weights}

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """All parameters: those of the components, and the weights."""
        out: Params = self(**dict(zip(self._cond_var, conditions, strict=True)))
        weights = next(v for k, v in out.items() if k in WEIGHTS)
        if weights.shape[-1] != len(self._every):
            raise ParameterError(_count(self._every, self._prior, weights.shape[-1]))
        if self.declared_shape is None:
            self._check_rank(out)
        return out

    def _check_rank(self, params: Params) -> None:
        """Raise if the event, which is not declared, has not one axis."""
        moves = self.moves
        lengths = [
            len(spanned(moves, k, tuple(v.shape))) - moves.param_dims
            for k, v in params.items()
            if isinstance(v, Tensor)
        ]
        if max(lengths) != min(len(self.cond_var), 1):
            told = ", ".join(
                f"{k} {list(v.shape)}" for k, v in params.items() if hasattr(v, "shape")
            )
            raise ShapeError(
                f"{self.prob_text}: its components have parameters {told}, of which the event "
                "should be one axis. Declare the event shape: features_shape=[...] of a component."
            )

    def support(self, params: Params) -> Constraint | None:
        """What one of the components may be."""
        moves: Any = self.moves
        found = [f.law.support(moves.own(k, params)) for k, f in enumerate(self._every)]
        counted = [
            hasattr(f.law.moves, "values") or (s is not None and s.listed is not None)
            for f, s in zip(self._every, found, strict=True)
        ]
        if any(counted) and len(set(moves.parts)) > 1:
            raise ParameterError(
                f"{self.prob_text} mixes {', '.join(f.law.distribution_name for f in self._every)}:"
                " laws of whole numbers or labels are mixed with laws of their own family."
            )
        supports = [s for s in found if s is not None]
        if len(supports) < len(found):
            return None
        return Constraint(
            " or ".join(dict.fromkeys(s.name for s in supports)),
            lambda x: functools.reduce(torch.logical_or, (s.holds(x) for s in supports)),
            supports[0].fix,
            supports[0].of_real,
            supports[0].chart,
            supports[0].lost,
            supports[0].listed,
        )

    # -- the component --------------------------------------------------------------------------
    @property
    def hidden_var(self) -> list[str]:
        """The name of the component."""
        return list(self._prior.var)

    def posterior(self, name: str | None = None) -> Responsibility:
        r"""The law of the component given a value, :math:`p(z|x) = p(z,x)/p(x)`.

        Args:
            name: How it prints; as the mixture if not given.
        """
        onehot = getattr(self._prior.law, "onehot", True)
        return Responsibility(self, self.hidden_var, name or self.name, onehot=onehot)

    def sample(
        self, x_dict: Inputs = None, *args: Any, return_hidden: bool = False, **options: Any
    ) -> dict[str, Tensor]:
        """Draws of the mixture; see :meth:`Distribution.sample`.

        Args:
            x_dict: Values of the conditions.
            args: As of every law.
            return_hidden: Return the component too. It is drawn by its posterior given the value:
                the pair has the law :math:`p(z)p_z(x)`.
            options: As of every law.
        """
        if not return_hidden:
            return super().sample(x_dict, *args, **options)
        return (self * self.posterior()).sample(x_dict, *args, **options)

    def get_log_prob(
        self, x_dict: Inputs, *args: Any, return_hidden: bool = False, **options: Any
    ) -> Tensor:
        r"""The log density; see :meth:`Distribution.get_log_prob`.

        Args:
            x_dict: Values of the variable and of the conditions.
            args: As of every law.
            return_hidden: Return :math:`\log p(x, z=k)` for each k, shape ``(K, batch)``.
            options: As of every law.
        """
        if not return_hidden:
            return super().get_log_prob(x_dict, *args, **options)
        return self.posterior().get_params(x_dict)["logits"].movedim(-1, 0)

    @property
    def formula(self) -> Formula:
        r""":math:`p_0(x|z=0)p(z=0) + \dots`, or with the weights as numbers."""
        (z,), prior, terms = self._prior.var, self._prior, []
        weights = None if self._weights is None else written(torch.tensor(self._weights))
        for k, f in enumerate(self._every):
            if weights is not None:
                terms.append(Term([Atom(f.law.name, f.var, f.cond_var)], weights[k]))
                continue
            here = Atom(f.law.name, f.var, [*f.cond_var, z], {z: k})
            terms.append(Term([here, Atom(prior.law.name, [z], prior.cond_var, {z: k})]))
        return Formula(terms)


def _components(laws: Sequence[Distribution]) -> tuple[Factor, ...]:
    """The components under their outer names."""
    if isinstance(laws, Distribution) or not len(laws):
        raise ParameterError(
            "MixtureModel takes a list of laws, e.g. MixtureModel([p_0, p_1], prior)."
        )
    found = []
    for law in laws:
        factor = _component(law)
        if factor is None:
            told = law.prob_text if isinstance(law, Distribution) else type(law).__name__
            raise ParameterError(
                "MixtureModel mixes laws of one variable that have a density by parameters; "
                f"{told} is none. A mixture of others has weights= in place of prior=, and an "
                "expectation over it is the weighted sum of expectations: "
                "a * E(p_0, f) + (1 - a) * E(p_1, f)."
            )
        found.append(factor)
    if len({f.var for f in found}) > 1:
        raise VariableError(
            f"MixtureModel: the components are over different variables: "
            f"{', '.join(f.text for f in found)}. Rename them with replace_var(...)."
        )
    return tuple(found)


def _component(law: Any) -> Factor | None:
    """The one factor of a law of one variable that has a density by parameters."""
    single = isinstance(law, Distribution) and len(law.factors) == 1 and not law.integrated
    factor = law.factors[0] if single else None
    return None if factor is None or factor.copies or not _has_moves(factor.law) else factor


def _has_moves(law: Law) -> bool:
    """Whether the density is a function of parameters, and for a flow of its bijection."""
    return law.has_density and bool((law.domains or law.pushforward) and len(law.var) == 1)


def _prior(every: Sequence[Factor], prior: Distribution | None, weights: Any) -> Factor:
    """The law of the component, checked as far as it is known."""
    if prior is None:
        if isinstance(weights, nn.Parameter):
            raise ParameterError(
                "MixtureModel: weights= are constants. To train them give the law of the "
                "component, prior=Categorical(logits=nn.Parameter(...), var=['k'])."
            )
        probs = torch.as_tensor(weights, dtype=torch.get_default_dtype())
        taken = {n for f in every for n in (*f.var, *f.cond_var)}
        var = next(n for n in ("k", "component", *(f"k_{i}" for i in range(99))) if n not in taken)
        prior = Categorical(var=[var], probs=probs, name="prior")
    single = isinstance(prior, Distribution) and len(prior.factors) == 1 and not prior.integrated
    if not single or not isinstance(prior.factors[0].law, Categorical) or prior.factors[0].copies:
        told = prior.prob_text if isinstance(prior, Distribution) else type(prior).__name__
        raise ParameterError(
            f"MixtureModel: prior= is the Categorical law of the component, not {told}."
        )
    factor = prior.factors[0]
    fixed = [k for k in ("probs", "logits") if k in factor.law.given and k not in factor.law.bound]
    count = getattr(factor.law, fixed[0]).shape[-1] if fixed else len(every)
    if count != len(every):
        raise ParameterError(_count(every, factor, count))
    return factor


def _count(every: Sequence[Factor], prior: Factor, count: int) -> str:
    return (
        f"MixtureModel: {prior.text} has {count} categories, but there are {len(every)} "
        "components. Give one for each."
    )


def _scalar_event(every: Iterable[Factor]) -> tuple[int, ...] | None:
    """The event shape where no component declares axes: that of numbers, or not known."""
    known = [f.law.declared_shape is not None for f in every]
    return () if all(known) else None


def _example(make: Callable[..., Law], loc: float, scale: float) -> Law:
    """A component of the examples."""
    steps = torch.linspace(0.0, 1.0, 2, dtype=torch.float64)
    return make(loc=loc + steps, scale=scale + 0.2 * steps)


def _flow() -> Law:
    """A component of the examples whose bijection reads a condition."""
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.linspace(-0.4, 0.5, weight.numel()).reshape(weight.shape))
    base = _example(Normal, 0.2, 0.8)
    return NormalizingFlow(base, ConditionalAffine(layer), cond_var=["y"], name="f")
