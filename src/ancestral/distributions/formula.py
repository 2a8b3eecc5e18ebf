r"""How a law that is made from laws reads: its density as a sum of products of theirs.

A product of experts is :math:`q(z|x,y) \propto p(z)q(z|x)q(z|y)`, a mixture
:math:`p(x) = p_0(x|z=0)p(z=0) + \dots`. The law says which terms there are;
:mod:`ancestral.printing.law` spells them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Atom:
    """One density in a formula.

    Args:
        name: The law's name.
        var: The names of its variables.
        cond_var: The names of its conditions.
        values: The variables that stand at a value, ``{"z": 0}`` for ``p(x|z=0)``.
        power: Its exponent: a number, or a name that may have an index, ``("S", 1)``.
        each: The variable of which it has one entry, in a product over all of them.
        exponential: Whether it is an energy E, which stands for exp(-E).
    """

    name: str
    var: Sequence[str]
    cond_var: Sequence[str] = ()
    values: Mapping[str, int] = field(default_factory=dict)
    power: "float | tuple[str, int] | None" = None
    each: str = ""
    exponential: bool = False


@dataclass(frozen=True)
class Term:
    """A product of densities.

    Args:
        atoms: The densities.
        weight: What it is multiplied by: a number, or a name that may have an index.
        below: The densities that it is divided by.
    """

    atoms: Sequence[Atom]
    weight: "float | tuple[str, int] | None" = None
    below: Sequence[Atom] = ()


@dataclass(frozen=True)
class Formula:
    """The right side of a law's equation.

    Args:
        terms: What is summed.
        proportional: Whether the density is proportional to the sum, not equal to it.
        within: A variable with the ends of the interval that it lies in, each a number or a name.
    """

    terms: Sequence[Term]
    proportional: bool = False
    within: "tuple[str, float | str, float | str] | None" = None
