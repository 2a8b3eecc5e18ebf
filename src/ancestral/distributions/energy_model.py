r"""Energy-based laws, :math:`p_\theta(x|y) = e^{-E_\theta(x, y)} / Z_\theta(y)`, of any network.

The constant :math:`Z_\theta(y) = \int e^{-E_\theta(x, y)}\,dx` is not known, so that neither is the
density, and draws are where chains over the energy end. Still the gradient of the log density is an
expectation,

.. math::
    \nabla_\theta \log p_\theta(x) = -\nabla_\theta E_\theta(x)
    + E_{p_\theta(x^-)}[\nabla_\theta E_\theta(x^-)],

which :class:`~ancestral.estimators.contrastive_divergence.ContrastiveDivergence` and
:class:`~ancestral.estimators.persistent_cd.PersistentCD` estimate.

Sources: LeCun, Chopra, Hadsell, Ranzato, Huang, A tutorial on energy-based learning (2006);
Hinton, Training products of experts by minimizing contrastive divergence (2002), eq. 3.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ParameterError, SamplingError, ShapeError
from ancestral.core.rng import Generator
from ancestral.distributions.base import Distribution
from ancestral.distributions.custom_prob import Bent
from ancestral.distributions.density import one_log_prob
from ancestral.distributions.factor import Factor
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.law import Law, Params
from ancestral.distributions.noise import draw_noise, kinds
from ancestral.distributions.normal import Normal
from ancestral.samplers import Langevin, Sampler, Target, run

if TYPE_CHECKING:
    from ancestral.distributions.sampling import SampleOptions


class EnergyModel(Law):
    r"""The law :math:`p(x|y) \propto e^{-E(x, y)}` of an energy network.

    Its log density is known up to a constant: ``get_log_prob`` returns :math:`-E(x, y)`. A loss
    with ``log_prob()`` that trains the energy says how its gradient is estimated, e.g.
    ``.estimate({p: PersistentCD(Langevin(60))})``.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value. In a loss it is that of the data of this name, if it
            is not given; ``sample`` needs it.
        net: The energy: takes the value, then the conditions in order, each with rows in front,
            and returns one number per row, ``(B,)`` or ``(B, 1)``. A ``Function`` stands for what
            it calls.
        sampler: The chains that draw from it, in ``sample`` and in expectations under it.
        initial: The law that chains start from, without conditions and of constant parameters;
            standard normal if not given, ``Uniform(low=0., high=1.)`` for pictures.

    Raises:
        ParameterError: If the energy is no function, or chains cannot start from ``initial``.
        OptionError: If the sampler is none.

    Example:
        >>> p = EnergyModel(var=["x"], net=lambda x: 0.5 * x.square().sum(-1), features_shape=[2])
        >>> print(p.latex())
        p(x) \propto \exp \left(- E(x) \right)
        >>> p.get_log_prob({"x": torch.ones(1, 2)})
        tensor([-1.])
        >>> p.sample(batch_n=3)["x"].shape
        torch.Size([3, 2])
    """

    composite = True
    by_steps: ClassVar[Any]  # what draws it, below

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        net: Callable[..., Tensor],
        sampler: Sampler | None = None,
        initial: Distribution | None = None,
    ) -> None:
        # what a Function of the Loss API calls, so that p and f = Function(net) share their passes
        net = net if isinstance(net, nn.Module) else getattr(net, "net", net)
        if not callable(net):
            raise ParameterError(
                f"EnergyModel: net= must be a function of the value that returns its energy, got "
                f"{type(net).__name__}."
            )
        super().__init__(var, cond_var, name, features_shape, None, {})
        self.energy = net
        self.chains = Langevin() if sampler is None else sampler
        if not isinstance(self.chains, Sampler):
            raise OptionError(
                f"{self.prob_text}: sampler={sampler!r} is no sampler; give Langevin(steps=60)."
            )
        self.start = _start(self, initial)

    @property
    def density_net(self) -> Callable[..., Tensor]:
        """The log density of rows of values, up to a constant."""
        return self.minus_energy

    def minus_energy(self, value: Tensor, *conditions: Tensor) -> Tensor:
        """Minus the energy, one number per row."""
        return -per_row(self.energy(value, *conditions), value, self.prob_text)

    def target(self, conditions: Sequence[Tensor]) -> Target:
        """What chains are moved towards.

        Args:
            conditions: One row for each chain.
        """
        return Target.of(lambda x: self.minus_energy(x, *conditions))

    def first_entries(
        self, count: int, name: str, data: Mapping[str, Tensor], generator: Generator = None
    ) -> Tensor:
        """Where so many chains start that have not been run yet, ``(count, *event)``.

        Args:
            count: How many.
            name: The name of the variable.
            data: Given values; one of this name has the event shape, if the law does not say it.
            generator: Source of randomness; torch's default generator if not given.
        """
        event = self.event(name, data)
        noise = self.noise_of_start((count,), event, data.get(name, self.anchor()), generator)
        return self.started(noise)

    def event(self, name: str, data: Mapping[str, Tensor]) -> tuple[int, ...]:
        """The event shape: as declared, or as data of this name has it.

        Raises:
            ShapeError: If nothing says it.
        """
        if self.declared_shape is not None:
            return tuple(self.declared_shape)
        if name not in data:
            raise ShapeError(
                f"{self.prob_text}: nothing says the event shape of {name}, which chains need to "
                "start. Give the law features_shape=[...]."
            )
        return tuple(data[name].shape[1:])

    def noise_of_start(
        self, rows: tuple[int, ...], event: tuple[int, ...], like: Tensor, generator: Generator
    ) -> Tensor:
        """Base noise of where chains start, ``(*rows, *event)``."""
        noise: Tensor = draw_noise(self.start, self.start.params(()), rows, event, like, generator)
        return noise

    @torch.no_grad()
    def started(self, noise: Tensor) -> Tensor:
        """Where chains start, from base noise."""
        return self.start.moves.draw(noise, **self.start.params(()))

    @property
    def formula(self) -> Formula:
        """The right side of its equation, up to the constant."""
        energy = Atom("E", [*self.var, *self.cond_var], exponential=True)
        return Formula([Term([energy])], proportional=True)

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """It has none."""
        raise ParameterError(f"{self.prob_text} is given by its energy: it has no parameters.")

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two bent normal laws with their constants in the energy; one has a condition."""
        return [
            {"net": _Minus(Bent(0.6)), "features_shape": [2]},
            {
                "net": _Minus(Bent(-0.3)),
                "features_shape": [2],
                "cond_var": ["y"],
                "given": {"y": torch.tensor([[0.4, -0.9]])},
            },
        ]


def per_row(energy: Tensor, value: Tensor, text: str) -> Tensor:
    """An energy as one number per row.

    Raises:
        ShapeError: If it is none.
    """
    rows = value.shape[0]
    if tuple(energy.shape) not in ((rows,), (rows, 1)):
        raise ShapeError(
            f"{text}: its energy has shape {tuple(energy.shape)} for {rows} rows: return one "
            f"number per row, ({rows},), e.g. by .sum(-1)."
        )
    return energy.reshape(rows)


def _start(law: EnergyModel, given: Distribution | None) -> Law:
    """The law that chains start from."""
    if given is None:
        given = Normal(loc=0.0, scale=1.0, var=law.var, name="p_start")
    start = given.factors[0].law if isinstance(given, Distribution) else None
    fixed = start is not None and "" in kinds(start.moves) and not start.value_dims
    if not fixed or len(given.factors) > 1 or start.cond_var or not start.is_complete:
        told = given.prob_text if isinstance(given, Distribution) else type(given).__name__
        raise ParameterError(
            f"{law.prob_text}: chains start from a law with constant parameters and without "
            f"conditions, initial=Normal(loc=0., scale=1.) or Uniform(low=0., high=1.); got {told}."
        )
    return start


class _BySteps:
    """Draws by chains, without lowering."""

    def sample(
        self,
        factor: Factor,
        values: Mapping[str, Tensor],
        wide: set[str],
        options: "SampleOptions",
    ) -> dict[str, Tensor]:
        """Where chains end, each row from a start of its own; no gradient passes."""
        law: Any = factor.law
        if options.reparam or options.mean:
            what = "reparam=True" if options.reparam else "sample_mean=True"
            raise SamplingError(
                f"{factor.text} is an EnergyModel, drawn by chains: it has no mean in closed form, "
                f"and its draws no gradient, so {what} is not possible."
            )
        if law.declared_shape is None:
            raise SamplingError(
                f"{factor.text}: chains need the event shape of {factor.var[0]}. Give the law "
                "features_shape=[...]."
            )
        lead = (*options.sample_shape, options.batch_n or 1)
        given = [
            (values[c] if c in wide else values[c].expand(*options.sample_shape, *values[c].shape))
            for c in factor.cond_var
        ]
        given = [v.detach().flatten(0, len(lead) - 1) for v in given]
        event, like = tuple(law.declared_shape), law.anchor()
        chains = (torch.Size(lead).numel(),)
        x = law.started(law.noise_of_start(chains, event, like, options.generator))
        eps = law.chains.draw_noise(chains, event, like, options.generator)
        x = run(law.chains, x, eps, law.target(given))
        return {factor.var[0]: x.reshape(*lead, *event)}

    def log_prob(self, factor: Factor, values: Mapping[str, Tensor]) -> Tensor:
        """Minus the energy."""
        return one_log_prob(factor, values)


EnergyModel.by_steps = _BySteps()


class _Minus(nn.Module):
    """Minus a log density, which is an energy whose constant is known."""

    def __init__(self, log_density: nn.Module) -> None:
        super().__init__()
        self.log_density = log_density

    def forward(self, *given: Tensor) -> Tensor:
        """One number per row."""
        out: Tensor = -self.log_density(*given).sum(-1)
        return out
