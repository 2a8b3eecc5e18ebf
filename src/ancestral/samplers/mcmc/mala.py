r"""Langevin steps with a Metropolis correction: the target is left exactly as it is.

A Langevin step proposes :math:`x' \sim g(x'|x) = N(x - \frac{\epsilon}{2}\nabla E(x), \epsilon I)`,
which is taken with probability

.. math:: \min\left(1, \frac{e^{-E(x')}\,g(x|x')}{e^{-E(x)}\,g(x'|x)}\right).

Source: Roberts and Tweedie, Exponential convergence of Langevin distributions and their discrete
approximations (1996), section 1.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ancestral.samplers.base import Noise, Sampler, Target, positive
from ancestral.samplers.mcmc.langevin import Langevin


class MALAState(NamedTuple):
    """Where chains stand, and what is known there.

    Args:
        position: ``(chains, *event)``.
        energy: ``(chains,)``.
        gradient: Of the energy, ``(chains, *event)``.
    """

    position: Tensor
    energy: Tensor
    gradient: Tensor


class MALAInfo(NamedTuple):
    """What a step has done.

    Args:
        accepted: Whether each chain took its proposal, ``(chains,)``.
        acceptance: The probability that it did.
    """

    accepted: Tensor
    acceptance: Tensor


@dataclass(frozen=True)
class MALA(Sampler):
    """The Metropolis-adjusted Langevin algorithm.

    Args:
        steps: How many steps a chain makes.
        step_size: The variance of a proposal's noise.

    Raises:
        OptionError: If there is no step, or its length is no positive number.

    Example:
        >>> from ancestral.samplers import Target
        >>> normal = Target.of(lambda x: -0.5 * x.square().sum(-1))
        >>> mala = MALA(step_size=0.5)
        >>> state = mala.init(torch.ones(1, 1), normal)
        >>> state, info = mala.step(
        ...     state, {"": torch.zeros(1, 1), "accept": torch.full((1,), 0.5)}, normal
        ... )
        >>> state.position, info.acceptance
        (tensor([[0.7500]]), tensor([1.]))
    """

    noise: ClassVar[Mapping[str, str]] = {"": "normal", "accept": "uniform"}
    per_chain: ClassVar[frozenset[str]] = frozenset({"accept"})
    exact: ClassVar[bool] = True
    step_size: float = 0.01

    def __post_init__(self) -> None:
        """Raise if an option has no meaning."""
        super().__post_init__()
        positive(self, "step_size")

    def init(self, position: Tensor, target: Target) -> MALAState:
        """Chains that start somewhere."""
        return MALAState(position, target.energy(position), target.gradient(position))

    def step(self, state: MALAState, noise: Noise, target: Target) -> tuple[MALAState, MALAInfo]:
        """A proposal, and whether it is taken."""
        x, energy, gradient = state
        proposed = Langevin.move(x, gradient, noise[""], self.step_size)
        there = self.init(proposed, target)
        log_ratio = energy - there.energy
        log_ratio = log_ratio + self._log_proposal(x, proposed, there.gradient)
        log_ratio = log_ratio - self._log_proposal(proposed, x, gradient)
        acceptance = log_ratio.clamp(max=0.0).exp()
        taken = noise["accept"] < acceptance  # False where the proposal's energy is not finite
        wide = taken.reshape(-1, *(1,) * (x.dim() - 1))
        kept = MALAState(
            torch.where(wide, there.position, x),
            torch.where(taken, there.energy, energy),
            torch.where(wide, there.gradient, gradient),
        )
        return kept, MALAInfo(taken, acceptance)

    def _log_proposal(self, to: Tensor, start: Tensor, gradient: Tensor) -> Tensor:
        """The log density of a proposal, up to a constant."""
        away = to - start + 0.5 * self.step_size * gradient
        return -away.square().flatten(1).sum(1) / (2 * self.step_size)
