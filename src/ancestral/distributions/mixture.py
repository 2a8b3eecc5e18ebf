r"""Mixtures, :math:`p(x) = \sum_k \pi_k\, p_k(x)`, of components of one family.

A mixture has the parameters of its family with an axis for the components in front of those that a
component has, and weights. All of them may be constants, trained, conditions, or from a network,
which makes it a mixture density network (Bishop 1994).
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.core.rng import Generator
from ancestral.distributions.bernoulli import Bernoulli
from ancestral.distributions.bernoulli import log_probabilities as coin_probabilities
from ancestral.distributions.categorical import Categorical
from ancestral.distributions.constraints import Constraint
from ancestral.distributions.discretized_logistic import DiscretizedLogistic
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.law import Law, Parameter, Params
from ancestral.distributions.logistic import Logistic
from ancestral.distributions.mixture_moves import WEIGHTS, MixtureMoves, log_weights, take_moves
from ancestral.distributions.multivariate_normal import MultivariateNormal
from ancestral.distributions.noise import kinds
from ancestral.distributions.normal import Normal


def _own(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the family."""
    return {k: v for k, v in params.items() if k not in WEIGHTS}


def pick(values: Mapping[str, tuple[Tensor, int]], chosen: Tensor) -> dict[str, Tensor]:
    """The parameters of the components that are chosen.

    Args:
        values: Parameters ``(*rows, K, *event)``, or ``(K, *event)`` for all rows, and how many
            axes ``(K, *event)`` are.
        chosen: Index of a component for each row, shape ``(*rows)``.
    """
    rows, index, found = chosen.shape, chosen.flatten(), {}
    each: Tensor | None = None  # the place of each row's component among those of all rows
    for key, (value, core) in values.items():
        count, *event = value.shape[value.dim() - core :]
        if value.dim() == core:
            found[key] = value.index_select(0, index).reshape(*rows, *event)
            continue
        if each is None:
            each = index + torch.arange(0, index.numel() * count, count, device=index.device)
        flat = value.expand(*rows, count, *event).flatten(0, len(rows))
        found[key] = flat.index_select(0, each).reshape(*rows, *event)
    return found


def picked_at(value: Any, row: Tensor, chosen: Tensor, core: int) -> Any:
    """A parameter of the components that are chosen, where rows have one axis.

    Args:
        value: Shape ``(n, K, *event)``, or ``(K, *event)`` for all rows; what has less axes is
            one for all components.
        row: The numbers of the rows, shape ``(n,)``.
        chosen: The index of each row's component, likewise.
        core: How many axes ``(K, *event)`` are.
    """
    if not isinstance(value, Tensor) or value.dim() < core:
        return value
    return value.index_select(0, chosen) if value.dim() == core else value[row, chosen]


def _values(cls: "type[Mixture]", event: Sequence[int], like: Tensor) -> Tensor:
    """All values of an event, those of the family."""
    return cls.family.values(cls.value_shape(tuple(event)), like)


class Mixture(MixtureMoves):
    r"""The base of mixtures: :math:`\log p(x) = \log\sum_k e^{\log\pi_k + \log p_k(x)}`.

    A mixture of a family of yours takes two lines, ``class MyMixture(Mixture): family = MyLaw``.
    A move that your class has itself, ``mean_of`` say, is not derived from the family.
    Its draws choose a component, so that they have no pathwise gradient: choose an estimator.
    Where the family has noise of a fixed kind, a draw of ``x`` has two: ``noise={"x": ...}`` is
    the family's, and ``{"x.component": ...}``, logarithms of exponential draws, shape
    ``(*rows, K)``, of which the k with the largest difference from the log weight is chosen.

    Class attributes:
        family: The law of the components.
        joint: How many last axes of a value a component is drawn for together: 1 for vectors, of
            which all entries belong to one component; 0 for entries that each have weights of
            their own. A family of vectors keeps its own.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value.
        net: A network of the conditions that returns a dict of parameters.
        params: Weights, and the parameters of the family, each a number, a tensor, an
            ``nn.Parameter`` or a condition's name. ``weights`` :math:`\pi` have shape
            ``(*event, K)`` and sum 1; ``weight_logits`` are unnormalised logarithms of them. A
            parameter of a component stands behind the axis K, as ``(*event, K, D)`` for vectors.

    Raises:
        OptionError: If the class names no family.
    """

    family: ClassVar[type[Law]]
    joint: ClassVar[int] = 1

    def __init_subclass__(cls, **options: Any) -> None:
        """Derive what a law declares from the family."""
        super().__init_subclass__(**options)
        family = cls.family
        ways = family.parametrisations or (tuple(family.domains),)
        own = "".join(sorted(set("".join(family.cores.values())))) or "defghij"[: cls.joint]
        if family.param_dims and not family.cores:
            raise OptionError(
                f"{cls.__name__}: a mixture of {family.__name__} laws is not known: the family "
                "does not name the axes of its parameters (cores)."
            )
        cls.has_density = True
        cls.domains = {**WEIGHTS, **family.domains}
        cls.parametrisations = tuple(
            (weight, *way) for weight, way in itertools.product(WEIGHTS, ways)
        )
        cls.cores = {
            **{key: "k" for key in WEIGHTS},
            **{key: "k" + family.cores.get(key, own) for key in family.domains},
        }
        cls.value_dims = family.value_dims or cls.joint
        cls.param_dims = len(set("k" + own))
        take_moves(cls, [family])
        if isinstance(family.noise, str) and kinds(family) and "noise" not in vars(cls):
            cls.noise = {"component": "log exponential", "": family.noise}
        if hasattr(family, "values") and not hasattr(cls, "values"):
            cls.values = classmethod(_values)  # type: ignore[assignment]

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        net: Callable[..., Any] | None = None,
        **params: Parameter,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, params)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three mixtures of four components, of vectors of two entries."""
        if cls is Mixture:
            return []
        found = super().examples()
        if cls.value_dims:
            found = [{k: v if k in WEIGHTS else v[..., :2] for k, v in e.items()} for e in found]
        return found

    def support(self, params: Params) -> Constraint | None:
        """That of the family."""
        family: Any = self.family
        found: Constraint | None = family.support(self, params)
        return found

    @classmethod
    def each(cls, which: str, params: Mapping[str, Any], *x: Tensor) -> Any:
        """What a move of the family gives of all components at once."""
        wide = (v.unsqueeze(-1 - cls.value_dims) for v in x)
        return getattr(cls.family, which)(*wide, **_own(params))

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> Any:
        """That of the choice and that of the family; or a draw is its own noise."""
        if not kinds(cls):
            return cls.value_shape(event)
        letters = sorted(set("".join(cls.cores.values())))
        lead, core = event[: len(event) - len(letters)], event[len(event) - len(letters) :]
        at = letters.index("k")
        own = cls.family.noise_shape((*lead, *core[:at], *core[at + 1 :]))
        return {"component": (*lead, core[at]), "": own}

    @classmethod
    def draw(cls, noise: Any, **params: Any) -> Tensor:
        """The draw of the component that is chosen; a draw that is its own noise."""
        if isinstance(noise, Tensor):
            return noise
        first = noise["component"]
        chosen = cls.chosen(first, params)
        own = {key: (v, len(cls.cores[key])) for key, v in params.items() if key not in WEIGHTS}
        each = [v for v, core in own.values() if isinstance(v, Tensor) and v.dim() > core]
        if first.dim() != 2 or not all(v.shape[0] == first.shape[0] for v in each):
            return cls.family.draw(noise[""], **cls.picked(chosen, params))
        row = torch.arange(first.shape[0], device=first.device)
        picked = {key: picked_at(v, row, chosen, core) for key, (v, core) in own.items()}
        return cls.family.draw(noise[""], **picked)

    @classmethod
    def picked(cls, chosen: Tensor, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the family for the components that are chosen."""
        own = _own(params)
        cores = {key: len(cls.cores[key]) for key in own}
        return own | pick(  # but what is one for all components
            {
                key: (value, cores[key])
                for key, value in own.items()
                if isinstance(value, Tensor) and value.dim() >= cores[key]
            },
            chosen,
        )

    @classmethod
    def drawn(
        cls,
        chosen: Tensor,
        shape: tuple[int, ...],
        like: Tensor,
        generator: Generator,
        params: Mapping[str, Any],
    ) -> Tensor:
        """Draws of the family, whose noise depends on parameters, with those that are chosen."""
        own = cls.picked(chosen, params)
        return cls.family.draw(cls.family.noise_of(shape, like, generator, **own), **own)

    @classmethod
    def log_joint(cls, x: Tensor, **params: Any) -> Tensor:
        r""":math:`\log\pi_k + \log p_k(x)`, shape ``(*event, K)``."""
        each: Tensor = cls.each("log_density", params, x)
        if cls.joint and not cls.family.value_dims:
            each = each.sum(tuple(range(-cls.joint, 0)))
        return log_weights(params) + each

    def posterior(
        self, var: str | Iterable[str] = ("k",), name: str = "q", *, onehot: bool = True
    ) -> "Responsibility":
        r"""The law of the component given a value, :math:`p(k|x) \propto \pi_k\, p_k(x)`.

        Args:
            var: Name of the component.
            name: How it prints.
            onehot: Whether a component is a one-hot vector, or an index.
        """
        return Responsibility(self, var, name, onehot=onehot)


class Responsibility(Categorical):
    """The law of the component of a mixture, given a value and the mixture's conditions.

    Args:
        mixture: The mixture.
        var: Name of the component.
        name: How it prints.
        onehot: Whether a component is a one-hot vector, or an index.

    Example:
        >>> p = NormalMixture(weights=torch.tensor([0.5, 0.5]), loc=torch.tensor([[-1.0], [1.0]]),
        ...                   scale=1.0)
        >>> p.posterior().get_params({"x": torch.tensor([[0.0], [1.0]])})["logits"].softmax(-1)
        tensor([[0.5000, 0.5000],
                [0.1192, 0.8808]])
    """

    composite = True

    def __init__(
        self, mixture: Law, var: str | Iterable[str], name: str, *, onehot: bool = True
    ) -> None:
        super().__init__(var, [*mixture.var, *mixture.cond_var], name, onehot=onehot)
        self.mixture = mixture

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """The components of two vectors, whose entries are mixtures of two."""
        loc, given = torch.tensor([[-1.0, 0.8], [0.3, 0.2]]), {"x": torch.tensor([[0.1, -0.7]])}
        weights = torch.tensor([[0.3, 0.7], [0.6, 0.4]])
        mixtures = [
            LogisticMixture(weights=weights, loc=loc, scale=0.6),
            LogisticMixture(weight_logits=weights.roll(1), loc=2.0 * loc, scale=0.9),
        ]
        return [{"mixture": p, "var": ["k"], "name": "q", "given": given} for p in mixtures]

    def forward(self, **conditions: Tensor) -> Params:
        """The joint log densities of value and component."""
        mixture = self.mixture
        params = mixture.params([conditions[c] for c in mixture.cond_var])
        moves: Any = mixture.moves
        return {"logits": moves.log_joint(conditions[mixture.var[0]], **params)}

    @property
    def formula(self) -> Formula:
        r""":math:`p(k,x) / p(x)`."""
        name, (x, *given) = self.mixture.name, self.cond_var
        return Formula([Term([Atom(name, [*self.var, x], given)], below=[Atom(name, [x], given)])])


class NormalMixture(Mixture):
    r"""A mixture of normal laws of vectors with independent entries,
    :math:`p(x) = \sum_k\pi_k\prod_d N(x_d; \mu_{kd}, \sigma^2_{kd})`.

    Arguments are those of :class:`Mixture`; ``loc`` and ``scale`` have shape ``(*event, K, D)``.

    Example:
        >>> p = NormalMixture(weights=torch.tensor([0.5, 0.5]), loc=torch.tensor([[-1.0], [1.0]]),
        ...                   scale=1.0)
        >>> p.get_log_prob({"x": torch.zeros(1, 1)})
        tensor([-1.4189])
    """

    family = Normal


class GaussianMixture(Mixture):
    """A mixture of multivariate normal laws.

    Arguments are those of :class:`Mixture`; ``loc`` has shape ``(*event, K, D)``, and
    ``covariance_matrix``, ``precision_matrix`` or ``scale_tril`` ``(*event, K, D, D)``.
    """

    family = MultivariateNormal

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Three mixtures of three components of two entries."""
        parts = MultivariateNormal.examples()
        weights = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64).reshape(3, 3).softmax(-1)
        return [
            {"weights": weights, **{k: torch.stack([v.roll(i, 0) for i in range(3)], 1)
                                    for k, v in part.items()}}
            for part in parts
        ]  # fmt: skip


class LogisticMixture(Mixture):
    """A mixture of logistic laws, each entry with weights of its own.

    Arguments are those of :class:`Mixture`; ``loc`` and ``scale`` have shape ``(*event, K)``.
    """

    family = Logistic
    joint = 0


class DiscretizedLogisticMixture(Mixture):
    """A mixture of logistic laws of whole levels, as in PixelCNN++, where colours are coupled too.

    Arguments are those of :class:`Mixture`; ``loc`` and ``scale`` have shape ``(*event, K)``.
    """

    family = DiscretizedLogistic
    joint = 0
    levels: ClassVar[int] = DiscretizedLogistic.levels


class BernoulliMixture(Mixture):
    """A mixture of vectors of coins (latent class analysis).

    Arguments are those of :class:`Mixture`; ``probs`` or ``logits`` have shape ``(*event, K, D)``.
    """

    family = Bernoulli

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        net: Callable[..., Any] | None = None,
        **params: Parameter,
    ) -> None:
        self.grey = False  # what its family asks of a support
        super().__init__(var, cond_var, name, features_shape, net=net, **params)

    @classmethod
    def log_joint(cls, x: Tensor, **params: Any) -> Tensor:
        r""":math:`\log\pi_k + \sum_d \log p_k(x_d)`, shape ``(*event, K)``."""
        on, off = coin_probabilities(**_own(params))
        # chosen, not multiplied: two kernels fewer, and torch.compile traces it
        return log_weights(params) + torch.where(x.unsqueeze(-2) > 0.5, on, off).sum(-1)
