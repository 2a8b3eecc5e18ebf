r"""What a sampler is: two pure functions over an energy, and how many steps a chain makes.

A chain moves :math:`x` towards the law :math:`p(x) \propto e^{-E(x)}`. :meth:`Sampler.init` makes
the state of chains from where they stand, :meth:`Sampler.step` moves them by one step, as a
function of the state, of base noise and of the energy. Both are pure: no chain knows of another
evaluation, and the same noise makes the same chains.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.core.rng import NOISE, Generator, blank
from ancestral.core.slope import slope

Noise = Mapping[str, Tensor]


class Target(NamedTuple):
    r"""The law that chains are moved towards, :math:`p(x) \propto e^{-E(x)}`.

    Args:
        energy: :math:`E`, one number per row: ``(chains, *event)`` to ``(chains,)``.
        gradient: :math:`\nabla E`, row by row, of the shape of its argument.
    """

    energy: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, log_density: Callable[[Tensor], Tensor]) -> "Target":
        """The target with a log density, normalised or not; its gradient is that of autograd.

        Example:
            >>> Target.of(lambda x: -0.5 * x.square().sum(-1)).gradient(torch.ones(1, 2))
            tensor([[1., 1.]])
        """

        def energy(x: Tensor) -> Tensor:
            return -log_density(x)

        return cls(energy, lambda x: slope(energy, (x,), 0).detach())


@dataclass(frozen=True)
class Sampler(abc.ABC):
    """A kind of chain. A member is one small class in one file: options, ``init``, ``step``.

    ``noise`` names the base noise of a step, part by part, with its kind; parts in ``per_chain``
    have one number for each chain, all others have the shape of the position. ``exact`` says
    whether a step leaves the target as it is, or only nearly.

    ``move(position, gradient, noise, **options)`` is written by samplers whose state is the
    position alone: a step of the program is then that one line.

    Args:
        steps: How many steps a chain makes.
    """

    noise: ClassVar[Mapping[str, str]] = {"": "normal"}
    per_chain: ClassVar[frozenset[str]] = frozenset()
    exact: ClassVar[bool] = False
    move: ClassVar[Callable[..., Tensor] | None] = None
    steps: int = 60

    def __post_init__(self) -> None:
        """Raise if the number of steps is none."""
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise OptionError(
                f"{type(self).__name__}(steps={self.steps!r}): give a whole number >= 1."
            )

    @property
    def options(self) -> Mapping[str, float]:
        """What :attr:`move` is given beside position, gradient and noise."""
        return {}

    @abc.abstractmethod
    def init(self, position: Tensor, target: Target) -> Any:
        """The state of chains that stand somewhere, a named tuple with a ``position``.

        Args:
            position: ``(chains, *event)``.
            target: Where they go.
        """

    @abc.abstractmethod
    def step(self, state: Any, noise: Noise, target: Target) -> tuple[Any, Any]:
        """The state after one step, and a named tuple of what is worth knowing about it.

        Args:
            state: That before.
            noise: Base noise of this step, by part.
            target: Where the chains go.
        """

    def noise_shapes(self, rows: tuple[int, ...], event: tuple[int, ...]) -> dict[str, Any]:
        """The shape of the noise of all steps, by part: ``(steps, *rows, *event)``."""
        return {
            part: (self.steps, *rows, *(() if part in self.per_chain else event))
            for part in self.noise
        }

    def draw_noise(
        self,
        rows: tuple[int, ...],
        event: tuple[int, ...],
        like: Tensor,
        generator: Generator = None,
    ) -> dict[str, Tensor]:
        """The noise of all steps, by part.

        Args:
            rows: The axes of the chains.
            event: The event shape of a position.
            like: A tensor with its dtype and device.
            generator: Source of randomness; torch's default generator if not given.
        """
        shapes = self.noise_shapes(rows, event)
        return {
            k: NOISE[kind](blank(shapes[k], like), generator) for k, kind in self.noise.items()
        }


def positive(sampler: Sampler, name: str) -> None:
    """Raise if an option of a sampler is no positive number."""
    value = getattr(sampler, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < torch.inf:
        raise OptionError(
            f"{type(sampler).__name__}({name}={value!r}): give a positive number, e.g. 0.01."
        )


@torch.no_grad()
def run(sampler: Sampler, position: Tensor, noise: Noise, target: Target) -> Tensor:
    """Where chains stand after all steps; no gradient passes.

    Args:
        sampler: The kind of chain.
        position: Where they start, ``(chains, *event)``.
        noise: Of all steps, by part, ``(steps, chains, *event)``.
        target: Where they go.

    Example:
        >>> from ancestral.samplers import Langevin
        >>> normal = Target.of(lambda x: -0.5 * x.square().sum(-1))
        >>> chains, start = Langevin(steps=200, step_size=0.5), torch.zeros(1000, 1)
        >>> noise = chains.draw_noise((1000,), (1,), start, torch.Generator().manual_seed(0))
        >>> bool((run(chains, start, noise, normal).var() - 1 / (1 - 0.5 / 4)).abs() < 0.2)
        True
    """
    state = sampler.init(position, target)
    rounds = {part: eps.unbind(0) for part, eps in noise.items()}
    for i in range(sampler.steps):
        state, _ = sampler.step(state, {part: each[i] for part, each in rounds.items()}, target)
    found: Tensor = state.position
    return found
