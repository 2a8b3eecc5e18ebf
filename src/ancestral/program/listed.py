"""The instruction of a log density at every value that a law has."""

from dataclasses import dataclass

from ancestral.program import instructions as ir


@dataclass(frozen=True, eq=False)
class ListedDensity(ir.Density):
    """The log density of a discrete law at the table of its own values: what the law lists, if it
    has one component, in place of a formula of each value.
    """
