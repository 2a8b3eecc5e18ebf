r"""Exact sums over enumerated variables, each term weighted by what it reads alone.

For :math:`q = \prod_i q(z_i|\mathrm{pa}_i)` an expectation of a sum is a sum of expectations, and
each of these needs the marginal of its own variables only,

.. math:: E_q\Big[\sum_j f_j(z_{S_j})\Big] = \sum_j \sum_{z_{S_j}} q(z_{S_j})\, f_j(z_{S_j}).

With v the last variable of S, and what is drawn after it summing to one,

.. math:: q(z_S) = \sum_{\mathrm{pa}_v \setminus S} q(z_v|\mathrm{pa}_v)\,
    q(z_{S \setminus v\, \cup\, \mathrm{pa}_v}),

where sets without a common ancestor are independent. Along a chain these are the forward messages
:math:`q(z_t) = \sum_{z_{t-1}} q(z_t|z_{t-1})\,q(z_{t-1})`. Equal messages are one register, so that
the cost of a chain is linear in its length.

Source: Koller and Friedman, Probabilistic Graphical Models (2009), sections 9.3 and 9.4.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ancestral.core.axes import Axis
from ancestral.lowering.build import Sum
from ancestral.lowering.context import Lowering
from ancestral.program import instructions as ir

Set = frozenset[Axis]
Factors = tuple[ir.Register, ...]


@dataclass(frozen=True)
class Table:
    """An enumerated draw: the axis of its values, and the log density of each."""

    axis: Axis
    log_q: Callable[[], ir.Register]


class Marginals:
    """The probabilities of sets of enumerated variables, as products of tables.

    Args:
        lw: The lowering.
        tables: The variables in the order in which they are drawn.
    """

    def __init__(self, lw: Lowering, tables: Sequence[Table]) -> None:
        self.lw = lw
        self.tables = {t.axis: t for t in tables}
        self._order = {t.axis: i for i, t in enumerate(tables)}
        self._known: dict[Set, Factors] = {}
        self._weights: dict[Axis, ir.Register] = {}
        self._behind: dict[Axis, Set] = {}  # a variable and all that it is drawn from
        for axis in self.tables:
            parents = self.reads(self.weight(axis)) - {axis}
            self._behind[axis] = frozenset({axis}).union(*(self._behind[a] for a in parents))

    def reads(self, register: ir.Register) -> Set:
        """The enumerated variables that a value depends on."""
        return frozenset(a for a in register.axes if a in self.tables)

    def of(self, wanted: Set) -> Factors:
        """Tables whose product is the probability of these variables."""
        every = frozenset[Axis]().union(*(self._behind[a] for a in wanted))
        for axis in sorted(every, key=self._order.__getitem__):
            self._of(frozenset({axis}))  # each by those before it, or calls would be as deep
        return self._of(wanted)

    def _of(self, wanted: Set) -> Factors:
        if wanted not in self._known:
            parts = self._independent(wanted)
            found: list[ir.Register] = []
            for part in parts:
                found += self._of_one(part) if len(parts) == 1 else self._of(part)
            self._known[wanted] = tuple(found)
        return self._known[wanted]

    def weight(self, axis: Axis) -> ir.Register:
        """The probability of each value of a variable, given those that it is drawn from."""
        if axis not in self._weights:
            log_q = self.tables[axis].log_q()
            self._weights[axis] = self.lw.build.elementwise("exp", (log_q,))
        return self._weights[axis]

    def _of_one(self, wanted: Set) -> Factors:
        last = max(wanted, key=self._order.__getitem__)
        own = self.weight(last)
        parents = self.reads(own) - {last}
        return contract(self.lw, (own, *self._of(wanted - {last} | parents)), parents - wanted)

    def _independent(self, wanted: Set) -> list[Set]:
        """The variables in groups that have no ancestor in common."""
        groups: list[tuple[Set, Set]] = []  # the variables, and all that they are drawn from
        for axis in sorted(wanted, key=self._order.__getitem__):
            mine, behind = frozenset({axis}), self._behind[axis]
            for group in [g for g in groups if g[1] & behind]:
                groups.remove(group)
                mine, behind = mine | group[0], behind | group[1]
            groups.append((mine, behind))
        return [group for group, _ in groups]


def expected(lw: Lowering, body: Sum, tables: Sequence[Table]) -> Sum:
    """The expectation of a sum of terms over enumerated variables.

    Args:
        lw: The lowering.
        body: The terms.
        tables: The variables in the order in which they are drawn.
    """
    marginals = Marginals(lw, tables)
    terms: dict[ir.Register, float] = {}
    groups: dict[Set, dict[ir.Register, float]] = {}
    for register, c in body.terms.items():
        reads = marginals.reads(register)
        (groups.setdefault(reads, {}) if reads else terms)[register] = c
    out = Sum(terms, body.bias, body.kind)
    for reads, alike in groups.items():
        integrand = lw.build.register(Sum(alike))
        (total,) = contract(lw, (integrand, *marginals.of(reads)), reads)
        out = out.plus(Sum({total: 1.0}))
    return out


def contract(lw: Lowering, factors: Iterable[ir.Register], over: Iterable[Axis]) -> Factors:
    """A product of tables summed over some axes, one after the other.

    Each sum multiplies only the tables that have its axis. That axis goes first which leaves the
    smallest table; of equal ones the newest, which is drawn last.
    """
    found, left = list(factors), set(over)
    while left:
        axis = min(left, key=lambda a: (len(_together(found, a)), -a.age))
        left.remove(axis)
        mine = [f for f in found if axis in f.axes]
        product = mine[0]
        for other in mine[1:]:
            product = lw.build.elementwise("mul", (other, product))
        found = [f for f in found if f not in mine]
        found.insert(0, lw.build.reduce("sum", axis, product))
    return tuple(found)


def _together(factors: Iterable[ir.Register], axis: Axis) -> set[Axis]:
    """The axes of all tables that have one axis."""
    return {a for f in factors if axis in f.axes for a in f.axes}
