r"""Unadjusted Langevin steps.

.. math:: x' = x - \tfrac{\epsilon}{2} \nabla E(x) + \sqrt{\epsilon}\,n, \qquad n \sim N(0, I)

is an Euler step of the diffusion whose stationary law is :math:`p(x) \propto e^{-E(x)}`. Nothing
corrects for the length of the step, so that chains end near that law and not at it: of
:math:`N(0, s^2)` they have the variance :math:`s^2 / (1 - \epsilon / 4 s^2)`.

Sources: Parisi, Correlation functions and computer simulations (1981); Welling and Teh, Bayesian
learning via stochastic gradient Langevin dynamics (2011), eq. 3; Du and Mordatch, Implicit
generation and modeling with energy-based models (2019), eq. 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ancestral.samplers.base import Noise, Sampler, Target, positive


class LangevinState(NamedTuple):
    """Where chains stand.

    Args:
        position: ``(chains, *event)``.
    """

    position: Tensor


class LangevinInfo(NamedTuple):
    """What a step has seen.

    Args:
        gradient: The gradient of the energy where it started, ``(chains, *event)``.
    """

    gradient: Tensor


@dataclass(frozen=True)
class Langevin(Sampler):
    r"""Chains of :math:`x' = x - \frac{\epsilon}{2}\nabla E(x) + \sqrt{\epsilon}\,n`.

    Args:
        steps: How many steps a chain makes.
        step_size: The length :math:`\epsilon` of a step, in units of :math:`x^2`.

    Raises:
        OptionError: If there is no step, or its length is no positive number.

    Example:
        >>> import torch
        >>> from ancestral.samplers import Target
        >>> normal = Target.of(lambda x: -0.5 * x.square().sum(-1))
        >>> langevin = Langevin(step_size=0.5)
        >>> state = langevin.init(torch.ones(1, 1), normal)
        >>> langevin.step(state, {"": torch.zeros(1, 1)}, normal)[0].position
        tensor([[0.7500]])
    """

    step_size: float = 0.01

    def __post_init__(self) -> None:
        """Raise if an option has no meaning."""
        super().__post_init__()
        positive(self, "step_size")

    @property
    def options(self) -> Mapping[str, float]:
        """The length of a step."""
        return {"step_size": self.step_size}

    @staticmethod
    def move(position: Tensor, gradient: Tensor, noise: Tensor, step_size: float) -> Tensor:
        """The formula."""
        return position - 0.5 * step_size * gradient + step_size**0.5 * noise

    def init(self, position: Tensor, target: Target) -> LangevinState:
        """Chains that start somewhere."""
        return LangevinState(position)

    def step(
        self, state: LangevinState, noise: Noise, target: Target
    ) -> tuple[LangevinState, LangevinInfo]:
        """One step down the gradient, and its noise."""
        gradient = target.gradient(state.position)
        position = self.move(state.position, gradient, noise[""], **self.options)
        return LangevinState(position), LangevinInfo(gradient)
