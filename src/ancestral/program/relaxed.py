"""Instructions for discrete draws with their jumps smoothed."""

from dataclasses import dataclass

from ancestral.program import instructions as ir


@dataclass(frozen=True, eq=False)
class Relaxed(ir.Draw):
    """The relaxation of a discrete draw in its place, at the temperature ``through``."""


@dataclass(frozen=True, eq=False)
class RelaxedDensity(ir.Density):
    """The log density of a discrete law between its values: the same formula, which is linear."""
