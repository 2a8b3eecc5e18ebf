"""Floor 2: samplers, pairs (init, step) over a plain energy; they know no law and no loss."""

from ancestral.samplers.base import Sampler, Target, run
from ancestral.samplers.mcmc.langevin import Langevin
from ancestral.samplers.mcmc.mala import MALA

__all__ = ["MALA", "Langevin", "Sampler", "Target", "run"]
