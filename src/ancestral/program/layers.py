"""Instructions of weights that are drawn layer by layer, for each row by itself."""

from dataclasses import dataclass
from typing import Any

from ancestral.program import instructions as ir


@dataclass(frozen=True, eq=False)
class Spread(ir.Draw):
    """The means of weights, and what a plan has beside them: the pair of vectors, stacked."""

    estimator: Any = None


@dataclass(frozen=True, eq=False)
class LayerNoise(ir.Step):
    """Normal noise of the layers of a network, for each row.

    Args:
        like: The weights, whose dtype and device it has.
        noise: Its name.
        width: How many numbers a row has.
    """

    like: ir.Register
    noise: str
    width: int


@dataclass(frozen=True, eq=False)
class LayerParams(ir.Params):
    """The parameters of a law whose network draws the layers of its weights by a plan.

    Args:
        noise: For each row.
        place: Which condition is the weights.
        layers: Those of the network.
        plan: The estimator.
    """

    noise: ir.Register | None = None
    place: int = 0
    layers: tuple[Any, ...] = ()
    plan: Any = None
