"""A factor of a product: an elementary law under the names that its variables have outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ancestral.distributions.law import Law


@dataclass(frozen=True, eq=False)
class Factor:
    """An elementary law as it stands in a product.

    Args:
        law: The elementary law.
        var: The outer names of its variables, in the law's own order.
        cond_var: The outer names of its conditions, in the law's own order.
        detached: Whether gradients to its parameters are cut.
        copies: ``(axis name, K)`` if it stands for K independent draws.
        given: Of data, the names under which it is given, if they are not ``var``.
        of: The name of the marginal law that it is a part of, in a product.
    """

    law: "Law"
    var: tuple[str, ...]
    cond_var: tuple[str, ...]
    detached: bool = False
    copies: tuple[str, int] | None = None
    given: tuple[str, ...] | None = None
    of: str = ""

    @property
    def states(self) -> list[str]:
        """The outer names of variables that are functions of the others, of a sequence."""
        both = zip(self.law.var, self.var, strict=True)
        return [outer for own, outer in both if own in self.law.states]

    @property
    def unread(self) -> list[str]:
        """The outer names of conditions that a draw does not read: the masks of a sequence."""
        both = zip(self.law.cond_var, self.cond_var, strict=True)
        return [outer for own, outer in both if own in self.law.unread]

    @property
    def text(self) -> str:
        """The factor as it prints: ``p(x|z)``."""
        name = f"sg[{self.law.name}]" if self.detached else self.law.name
        return prob_text(name, self.var, self.cond_var)


def prob_text(name: str, var: Sequence[str], cond_var: Sequence[str]) -> str:
    """``name(var|cond_var)``.

    Example:
        >>> prob_text("p", ["x"], ["z", "y"])
        'p(x|z,y)'
    """
    given = f"|{','.join(cond_var)}" if cond_var else ""
    return f"{name}({','.join(var)}{given})"
