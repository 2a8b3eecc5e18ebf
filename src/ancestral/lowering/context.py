"""What lowering knows while it walks an expression: the scope, and the pieces that rules share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ancestral.core.axes import ROW, Axis, union
from ancestral.distributions.base import Factor
from ancestral.losses.node import Node
from ancestral.lowering.build import NUMBER, OUTPUT, Builder, Flow, Sum
from ancestral.lowering.draws import Counts, Ledger, Path
from ancestral.lowering.plates import plates
from ancestral.lowering.plug_in import is_plug_in
from ancestral.printing import law as law_text
from ancestral.printing import loss as loss_text
from ancestral.printing.dialect import TEXT
from ancestral.program import instructions as ir


@dataclass(frozen=True)
class Scope:
    """What surrounds a node: the values of names and the rows they follow (a value of a table
    does, too, though it stands once for all), axes of copies, chosen estimators, the path.
    """

    values: Mapping[str, Sum] = field(default_factory=dict)
    rows: Mapping[str, frozenset[Axis]] = field(default_factory=dict)
    copies: Mapping[str, Axis] = field(default_factory=dict)
    choices: Mapping[int, Any] = field(default_factory=dict)
    path: Path = ()
    depth: int = 0

    def below(self, node: Node, child: int) -> "Scope":
        """The scope of a child."""
        return replace(self, path=(*self.path, (node, child)))


class Lowering:
    """One round of lowering an expression, with the draws' numbers of an earlier round."""

    def __init__(
        self,
        node: Node,
        rules: "Rules",
        scalars: frozenset[str],
        counts: Counts,
    ) -> None:
        self.rules = rules
        self.scalars = scalars
        self.ledger = Ledger(counts)
        self.build = Builder()
        self.plates = plates(node, scalars)
        self.plug_in: set[ir.Register] = set()
        self.noise: dict[str, ir.Register] = {}
        self.bound: dict[str, ir.Register] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    # -- shared pieces ------------------------------------------------------------------------
    def lower(self, node: Node, scope: Scope) -> Sum:
        """A node as a linear combination of registers."""
        value = self.rules[type(node)](self, node, scope)
        if is_plug_in(node, scope.choices):
            self.plug_in.update(value.terms)
        return value

    def scalar(self, node: Node, value: Sum, beside: Node | None = None) -> ir.Register:
        """A node's value as one number per row, checked when it runs if its kind does not say."""
        other = None if beside is None else label(beside)
        register = self.build.register(value)
        if value.kind >= NUMBER:
            return register
        squeeze = value.kind == OUTPUT
        return self.build.emit(
            ("scalar", register),
            register.name,
            register.axes,
            lambda out: ir.Scalar(out, register, squeeze, label(node), other),
        )

    def value(self, name: str, scope: Scope) -> ir.Register:
        """The register of a variable: bound, or given as data or as a scalar."""
        if name in scope.values:
            return self.build.register(scope.values[name])
        return self.input(name)

    def rows(self, name: str, scope: Scope) -> frozenset[Axis]:
        """The rows that a variable follows."""
        if name not in scope.values:
            return frozenset() if name in self.scalars else frozenset({self.plates[name]})
        own = {a for r in scope.values[name].terms for a in r.axes if a.kind == ROW}
        return scope.rows.get(name, frozenset()) | own

    def input(self, name: str) -> ir.Register:
        """The register of a given value."""
        axes = () if name in self.scalars else (self.plates[name],)
        return self.build.emit(("input", name), name, axes, lambda out: ir.Input(out, name))

    def params(self, factor: Factor, scope: Scope) -> ir.Register:
        """The register of a factor's parameters; its network runs there."""
        law = factor.law
        conditions = tuple(self.value(c, scope) for c in factor.cond_var)
        slot = self.build.law_slot(law)
        axes = union(*(r.axes for r in conditions))
        flow = Flow(frozenset({("law", slot)}))
        for r in conditions:
            flow = flow | self.build.flow[r]
        register = self.build.emit(
            ("params", slot, conditions),
            law.name,
            axes,
            lambda out: ir.Params(out, slot, conditions, factor.var, self.label(factor, scope)),
            flow,
        )
        for var in factor.var:
            if law.declared_shape is not None and len(factor.var) == 1:
                self.shapes.setdefault(var, tuple(law.declared_shape))
        return register

    def density(self, factor: Factor, scope: Scope) -> ir.Register:
        """The register of a factor's log density."""
        params = self.params(factor, scope)
        params = self.build.cut(params) if factor.detached else params
        value = self.value(factor.var[0], scope)
        slot = self.build.law_slot(factor.law)
        return self.build.emit(
            ("density", slot, value, params),
            "log " + factor.law.name,
            union(value.axes, params.axes),
            lambda out: ir.Density(
                out, slot, value, params, factor.var[0], self.label(factor, scope)
            ),
        )

    def label(self, factor: Factor, scope: Scope) -> ir.Label:
        """How a factor prints, made when it is read; renamed data by the name it has."""
        names: dict[str, str] = {}
        for name in (*factor.var, *factor.cond_var):
            for r in scope.values[name].terms if name in scope.values else ():
                if self.build.is_known(("input", r.name), r):
                    names[name] = TEXT.name(r.name)
        return ir.Label(lambda: law_text.factor(factor, TEXT, names))


def label(node: Node) -> ir.Label:
    """How a node prints, made when it is read."""
    return ir.Label(lambda: loss_text.text(node))


Rules = Mapping[type, Callable[[Lowering, Any, Scope], Sum]]
