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

A product, or the exponential of a sum, is summed with its weights variable by variable, in an order
that joins as few variables as it can (variable elimination).

Source: Koller and Friedman, Probabilistic Graphical Models (2009), sections 9.3, 9.4 and 10.2.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ancestral.core.axes import Axis
from ancestral.lowering.build import Sum
from ancestral.lowering.context import Lowering
from ancestral.program import instructions as ir

Set = frozenset[Axis]
Factors = tuple[ir.Register, ...]
SPLIT = {"mul": 1, "exp": 0}  # what is taken apart where it reads more variables than so many


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
        for axis in self.behind(wanted):
            self._of(frozenset({axis}))  # each by those before it, or calls would be as deep
        return self._of(wanted)

    def behind(self, wanted: Set) -> list[Axis]:
        """The variables and all that they are drawn from, in the order in which they are drawn."""
        every = frozenset[Axis]().union(*(self._behind[a] for a in wanted))
        return sorted(every, key=self._order.__getitem__)

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
        body: The terms; of a product, and of the exponential of a sum, each factor is met by the
            sums over its own variables.
        tables: The variables in the order in which they are drawn.
    """
    marginals = Marginals(lw, tables)
    out = Sum({}, body.bias, body.kind)
    groups: dict[Set, dict[ir.Register, float]] = {}
    for register, c in body.terms.items():
        reads = marginals.reads(register)
        step = lw.build.made.get(register)
        if isinstance(step, ir.Elementwise) and len(reads) > SPLIT.get(step.op, len(reads)):
            out = out.plus(Sum({_of_product(lw, step, marginals, reads): c}))
        elif reads:
            groups.setdefault(reads, {})[register] = c
        else:
            out = out.plus(Sum({register: c}))
    for reads, alike in groups.items():
        integrand = lw.build.register(Sum(alike))
        (total,) = contract(lw, (integrand, *marginals.of(reads)), reads)
        out = out.plus(Sum({total: 1.0}))
    return out


def _of_product(
    lw: Lowering, step: ir.Elementwise, marginals: Marginals, reads: Set
) -> ir.Register:
    """The expectation of a product, or of the exponential of a sum, which stays a logarithm."""
    every = marginals.behind(reads)
    if step.op == "mul":
        return _product(
            lw, contract(lw, (*_factors(lw, step), *map(marginals.weight, every)), every)
        )
    logs = [*_terms(lw, step.args[0]), *(marginals.tables[a].log_q() for a in every)]
    log = lw.build.register(Sum(_counted(contract(lw, logs, every, logs=True))))
    return lw.build.elementwise("exp", (log,))


def _factors(lw: Lowering, step: ir.Elementwise) -> list[ir.Register]:
    """The factors of a product, those of its factors too."""
    found: list[ir.Register] = []
    for arg in step.args:
        inner = lw.build.made.get(arg)
        product = isinstance(inner, ir.Elementwise) and inner.op == "mul"
        found += _factors(lw, inner) if product else [arg]  # type: ignore[arg-type]
    return found


def _terms(lw: Lowering, register: ir.Register) -> list[ir.Register]:
    """The terms of a sum."""
    step = lw.build.made.get(register)
    if not isinstance(step, ir.Linear):
        return [register]
    found = [lw.build.register(Sum({r: c})) for c, r in step.terms]
    return [*found, lw.build.number(step.bias)] if step.bias else found


def _product(lw: Lowering, factors: Sequence[ir.Register]) -> ir.Register:
    out = factors[0]
    for other in factors[1:]:
        out = lw.build.elementwise("mul", (other, out))
    return out


# -- elimination --------------------------------------------------------------------------------
def contract(
    lw: Lowering, tables: Iterable[ir.Register], over: Iterable[Axis], *, logs: bool = False
) -> Factors:
    """A product of tables summed over some axes, one after the other.

    Each sum multiplies only the tables that have its axis.

    Args:
        lw: The lowering.
        tables: The tables.
        over: The axes.
        logs: The tables are logarithms, and so are those that are returned.
    """
    found = list(tables)
    for axis in order([f.axes for f in found], over):
        mine = [f for f in found if axis in f.axes]
        found = [f for f in found if axis not in f.axes]
        if logs:
            joint = lw.build.register(Sum(_counted(mine)))
            found.insert(0, lw.build.reduce("logsumexp", axis, joint))
        else:
            found.insert(0, lw.build.reduce("sum", axis, _product(lw, mine)))
    return tuple(found)


def _counted(registers: Iterable[ir.Register]) -> dict[ir.Register, float]:
    """Terms of a sum, equal ones collected."""
    terms: dict[ir.Register, float] = {}
    for r in registers:
        terms[r] = terms.get(r, 0.0) + 1.0
    return terms


def order(tables: Iterable[Iterable[Axis]], over: Iterable[Axis]) -> list[Axis]:
    """Axes in the order in which they are summed: the next is always one whose sum joins the
    fewest pairs of axes that no table had together; of equal ones that which leaves the smallest
    table, then the newest.

    Example:
        >>> a, b, c = (Axis(name, 0, age=i) for i, name in enumerate("abc"))
        >>> [str(axis) for axis in order([(a, b), (b, c)], [a, b, c])]
        ['c', 'b', 'a']
    """
    near: dict[Axis, set[Axis]] = {}
    for axes in tables:
        for axis in axes:
            near.setdefault(axis, set()).update(a for a in axes if a != axis)
    costs = {a: _cost(a, near) for a in sorted(over, key=lambda a: -a.age)}
    found: list[Axis] = []
    while costs:
        axis = min(costs, key=costs.__getitem__)
        del costs[axis]
        found.append(axis)
        joined = near.pop(axis)
        for a in joined:
            near[a] = (near[a] | joined) - {a, axis}
        for a in joined.union(*(near[a] for a in joined)) & costs.keys():
            costs[a] = _cost(a, near)
    return found


def _cost(axis: Axis, near: Mapping[Axis, set[Axis]]) -> tuple[int, int, int]:
    """The pairs that a sum over an axis joins, the axes that it leaves together, its age."""
    mine = near[axis]
    missing = sum(len(mine - near[a]) - 1 for a in mine)  # each pair twice
    return missing // 2, len(mine), -axis.age
