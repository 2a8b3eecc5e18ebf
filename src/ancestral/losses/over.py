r"""A term at the values of other rows: :math:`f(\theta_j, x_i)` for every pair of rows of a batch.

:math:`\log q(\theta_i|x_i) - \log \sum_j q(\theta_j|x_i)`, whose atoms are the rows of the batch,
is the loss of atomic posterior estimation; with a critic in place of :math:`\log q` it is
InfoNCE. The rows that a term gets so stand beside its own. They are reduced by the first
``.mean()``, ``.sum()`` or ``.logsumexp()`` around it; its own rows by the next.

Sources: Greenberg, Nonnenmacher, Macke, Automatic Posterior Transformation (2019), section 3;
van den Oord, Li, Vinyals, Representation Learning with Contrastive Predictive Coding (2018), eq. 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ancestral.core.errors import OptionError, VariableError, did_you_mean
from ancestral.core.names import as_names
from ancestral.losses.apply import BatchFunction
from ancestral.losses.node import Node, Reduce, Unary
from ancestral.losses.prob import LogProb, Prob
from ancestral.losses.scope import free


@dataclass(frozen=True, eq=False, repr=False)
class OverRows(Node):
    """A term with variables taken from every row j of the batch; the others stay at row i.

    Args:
        names: The variables, which go to row j together.
        arg: The term.
    """

    names: tuple[str, ...]
    arg: Node

    @property
    def level(self) -> int:
        """The number of the rows that it adds, counted from 1 inside."""
        return 1 + depth(self.arg)


def over_rows(arg: Any, names: Sequence[str]) -> OverRows:
    """The term at the values that variables have in every row.

    Raises:
        OptionError: If there is no name.
        VariableError: If the term leaves no such variable free.
    """
    names = as_names(names, "over_rows")
    if not names:
        raise OptionError("over_rows() takes the non-empty names of variables: over_rows('y').")
    known = free(arg)
    for name in names:
        if name not in known:
            raise VariableError(
                f"over_rows({name!r}): {arg} has no free variable {name!r}; "
                f"{did_you_mean(name, known)}"
            )
    return OverRows(names, arg)


def log_sum_exp(arg: Any, axis: str | None) -> Unary:
    r"""The logarithm of a sum of exponentials; of log densities, of the sum of densities."""
    return Unary("log", Reduce("sum", axis, _exp(arg)))


def _exp(node: Any) -> Node:
    if isinstance(node, LogProb) and node.mask is None:
        return Prob(node.law)
    if isinstance(node, OverRows):
        return OverRows(node.names, _exp(node.arg))
    return Unary("exp", node)


def depth(node: Any) -> int:
    """How many rows are added inside of each other in a term, reduced there or not."""
    inside = max((depth(child) for child in node.children), default=0)
    return inside + isinstance(node, OverRows)


def mixes_rows(node: Any) -> bool:
    """Whether a row of a term reads other rows, too."""
    if isinstance(node, OverRows) or isinstance(getattr(node, "fn", None), BatchFunction):
        return True
    return any(mixes_rows(child) for child in node.children)


def levels(node: Any) -> frozenset[int]:
    """The rows that are added in a term and not reduced there, by their numbers."""
    found = frozenset[int]().union(*(levels(child) for child in node.children))
    if isinstance(node, OverRows):
        return found | {node.level}
    return found - {reduced(node)} if _is_reduction(node) else found


def reduced(node: Any) -> int:
    """The number of the rows that a reduction is over: those that were added last; 0 for rows."""
    return max(frozenset[int]().union(*(levels(child) for child in node.children)), default=0)


def _is_reduction(node: Any) -> bool:
    """Whether a node reduces rows: ``mean``, ``sum``, or the stable forms of their logarithms."""
    return hasattr(node, "how") and getattr(node, "axis", "") is None
