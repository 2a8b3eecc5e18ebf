r"""The closed set of nodes, players: the objectives of a game, each with whose it is.

Where one expression is everyone's, up to terms that a player has no part in, the game is a
saddle point of it, :math:`\min_g \max_d V`; else each player has an objective.
"""

from dataclasses import dataclass

from ancestral.core.errors import OptionError
from ancestral.losses.node import Node

MIN, MAX = "min", "max"


@dataclass(frozen=True, eq=False, repr=False)
class Game(Node):
    """The objectives of several players, evaluated at the same draws.

    Its value is a tuple, one number for each player; it is no term of another loss.

    Args:
        names: The players, in order.
        senses: For each ``"min"`` or ``"max"``: what it does with its objective.
        objectives: For each its objective.
        common: The index of the objective that is everyone's, if there is one.

    Example:
        >>> from ancestral.losses import Parameter
        >>> x = Parameter("x")
        >>> print(Game(("a", "b"), ("min", "max"), (x, 2 * x)))
        a: min x;  b: max 2 x
    """

    names: tuple[str, ...]
    senses: tuple[str, ...]
    objectives: tuple[Node, ...]
    common: int | None = None

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.senses) == len(self.objectives) > 0:
            raise OptionError("a game has a name, a sense and an objective for each player.")
