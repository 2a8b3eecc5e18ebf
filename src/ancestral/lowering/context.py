"""What lowering knows while it walks an expression: the scope, and the pieces that rules share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ancestral.core.axes import ROW, Axis, union
from ancestral.core.errors import OptionError, ScopeError
from ancestral.distributions import EnergyModel
from ancestral.distributions.base import Factor
from ancestral.distributions.law import Law
from ancestral.losses.node import Node
from ancestral.lowering import experts, flows, layers
from ancestral.lowering.build import NUMBER, OUTPUT, Builder, Flow, Sum
from ancestral.lowering.draws import Counts, Ledger, Path
from ancestral.lowering.plates import plates
from ancestral.lowering.plug_in import is_plug_in
from ancestral.lowering.times import loop_axes, times
from ancestral.printing import law as law_text
from ancestral.printing import loss as loss_text
from ancestral.printing.dialect import TEXT
from ancestral.program import instructions as ir
from ancestral.program.listed import ListedDensity
from ancestral.program.relaxed import Relaxed, RelaxedDensity
from ancestral.program.versions import Versions


@dataclass(frozen=True)
class Scope:
    """What surrounds a node: the values of names and the rows they follow (a value of a table
    does, too, though it stands once for all), axes of copies, chosen estimators and rows, the path.
    """

    values: Mapping[str, Sum] = field(default_factory=dict)
    rows: Mapping[str, frozenset[Axis]] = field(default_factory=dict)
    copies: Mapping[str, Axis] = field(default_factory=dict)
    choices: Mapping[int, Any] = field(default_factory=dict)
    pairs: Mapping[int, Any] = field(default_factory=dict)
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
        self.loops = loop_axes(node)
        self.plates = plates(node, scalars, self.loops)
        self.sized: set[Axis] = set()  # rows that stand for the data set, of which N are
        self.drawn_as: dict[str, list[ir.Register]] = {}  # the draws of each name
        self.times = times(node)
        # of each chain of steps that was run: what it has drawn
        self.chains: dict[tuple[Any, ...], dict[str, ir.Register]] = {}
        self.plug_in: set[ir.Register] = set()
        # of each term with the formula's gradient and another value: what that value is
        self.gradient_only: dict[ir.Register, str] = {}
        # of points that see each other: what they are before
        self.interactions: dict[ir.Register, ir.Register] = {}
        self.noise: dict[str, ir.Register] = {}
        self.layered: dict[ir.Register, layers.Layered] = {}  # weights drawn layer by layer
        self.bound: dict[str, ir.Register] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.kept: dict[str, ir.Register] = {}  # of each state: what is given back
        self.gates: dict[ir.Register, ir.Register] = {}  # of each gated draw: what it is before
        self.fixed: dict[int, Any] = {}  # of each law whose parameters alone are cut: its twin
        self.baselines: dict[str, Any] = {}  # of each state of a baseline: what it is of
        # of each value seen along another axis of rows: what it was before, and the move
        self.moved: dict[ir.Register, tuple[ir.Register, tuple[Axis, Axis, int]]] = {}
        # of each draw of a flow, by its bijection and context: that of its base, and log|det|
        self.drawn: dict[flows.Drawn, tuple[ir.Register, ir.Register]] = {}
        # of each draw whose own density is cut: values, law and conditions, and what is cut
        self.own: set[Any] = set()
        self.cut_own: dict[ir.Register, tuple[ir.Register, ...]] = {}
        self.own_scores: set[ir.Register] = set()  # densities whose score, of mean 0, is left out
        # of variables that are one draw: the vector in which they stand side by side
        self.whole: dict[tuple[ir.Register, ...], ir.Register] = {}

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
        flows.know_shapes(self, factor)
        factor = base_of(factor)
        if experts.has_parts(factor):
            return experts.params(self, factor, scope)
        conditions = tuple(self.value(c, scope) for c in factor.cond_var)
        if any(r in self.layered for r in conditions):
            return layers.params(self, factor, conditions, scope)
        plain, move = self.unmoved(conditions)
        if move is not None:  # the network has run on these rows already
            return move(self._params(factor, plain, scope))
        return self._params(factor, conditions, scope)

    def _params(
        self, factor: Factor, conditions: tuple[ir.Register, ...], scope: Scope
    ) -> ir.Register:
        law = factor.law
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

    def density(
        self, factor: Factor, scope: Scope, counts: ir.Register | None = None
    ) -> ir.Register:
        """The register of a factor's log density, and a mask of the rows where it counts."""
        if isinstance(factor.law, EnergyModel):
            return self.build.register(self.rules[EnergyModel](self, factor, scope))
        if factor.law.density_net is not None:
            return self._by_function(factor, scope)
        params = self.params(factor, scope)
        given = (params, *flows.context(self, factor, scope))
        given = tuple(self.build.cut(r) for r in given) if factor.detached else given
        value = flows.joined(self, factor, tuple(self.value(v, scope) for v in factor.var))
        base, log_det = base_of(factor), Sum()
        (value, params, *context), move = self.unmoved((value, *given))
        counts = counts if move is None else None
        if factor.law.pushforward is not None:
            value, log_det = flows.pulled_back(self, factor, value, tuple(context), scope)
        slot, text = self.build.law_slot(base.law), self.label(base, scope)
        make = RelaxedDensity if self.is_relaxed(value) else ir.Density
        make = ListedDensity if self.is_listed(value, base.law, params) else make
        log_p = self.build.emit(
            ("density", slot, value, params, counts),
            "log " + base.law.name,
            union(value.axes, params.axes),
            lambda out: make(out, slot, value, params, base.var[0], text, counts),
        )
        log_p = self.build.register(Sum({log_p: 1.0}).plus(log_det))
        return log_p if move is None else move(log_p)

    def is_relaxed(self, value: ir.Register) -> bool:
        """Whether a value is a discrete draw with its jumps smoothed."""
        step = self.build.made.get(value)  # a carried value is made by no step
        while isinstance(step, (ir.Cut, ir.Again)):
            step = self.build.made.get(step.arg)
        if isinstance(step, ir.Part):
            drawn = self.build.made[step.pair]
            return isinstance(drawn, Versions) and drawn.estimator.relaxes
        return isinstance(step, Relaxed)

    def is_listed(self, value: ir.Register, law: Law, params: ir.Register) -> bool:
        """Whether a value is the table of a law's own values, at which it lists its density."""
        step = self.build.made.get(value)
        if not isinstance(step, ir.Table) or {*value.axes} & {*params.axes}:
            return False
        tabled = self.build.laws[step.law].moves
        homes = [_home(law.moves, name) for name in ("log_values", "log_density", "values")]
        return homes[0] is not None and {*homes, _home(tabled, "values")} == {homes[0]}

    # -- rows seen along another axis ---------------------------------------------------------
    def again(self, arg: ir.Register, old: Axis, new: Axis, part: int = 0) -> ir.Register:
        """The register of the same rows along another axis; of a value without rows, itself."""
        if old not in arg.axes:
            return arg
        axes = union(a for a in arg.axes if a != old)
        out = self.build.emit(
            ("again", arg, old, new, part),
            arg.name,
            union(axes, (new,)),
            lambda out: ir.Again(out, arg, old, new, part),
        )
        self.moved[out] = (arg, (old, new, part))
        return out

    def unmoved(
        self, registers: tuple[ir.Register, ...]
    ) -> tuple[tuple[ir.Register, ...], Callable[[ir.Register], ir.Register] | None]:
        """Registers as they were before they were all seen along another axis, and that move."""
        moves = {self.moved[r][1] if r in self.moved else None for r in registers if _has_rows(r)}
        move = moves.pop() if len(moves) == 1 else None
        if move is None:
            return registers, None
        plain = tuple(self.moved[r][0] if r in self.moved else r for r in registers)
        return plain, lambda r: self.again(r, *move)

    def _by_function(self, factor: Factor, scope: Scope) -> ir.Register:
        """The register of a log density that is a function of values."""
        if factor.detached:
            raise OptionError(
                f"{factor.text}: its log density is a function, whose parameters cannot be cut "
                "apart from its value. Freeze them, with requires_grad_(False)."
            )
        shared = [n for n in factor.var if not self.rows(n, scope)]
        if shared and len(shared) < len(factor.var):
            raise ScopeError(
                f"{factor.text}: {shared[0]} is a global, one draw for all rows, but the log "
                "density is one function of each row, in which that of "
                f"{shared[0]} would be counted once for each. Write it as a product of laws, "
                f"p(...|{shared[0]}) * p({shared[0]}), the latter with plate=None."
            )
        args = tuple(self.value(n, scope) for n in (*factor.var, *factor.cond_var))
        slot = self.build.function_slot(Map(factor.law.density_net))
        flow = Flow(frozenset({("function", slot)}))
        for r in args:
            flow = flow | self.build.flow[r]
        return self.build.emit(
            ("call", slot, args),
            "log " + factor.law.name,
            union(*(r.axes for r in args)),
            lambda out: ir.Call(out, slot, args, self.label(factor, scope)),
            flow,
        )

    def label(self, factor: Factor, scope: Scope) -> ir.Label:
        """How a factor prints, made when it is read; renamed data by the name it has."""
        names: dict[str, str] = {}
        for name in (*factor.var, *factor.cond_var):
            for r in scope.values[name].terms if name in scope.values else ():
                if self.build.is_known(("input", r.name), r):
                    names[name] = TEXT.name(r.name)
        return ir.Label(lambda: law_text.factor(factor, TEXT, names))


def _home(moves: type, name: str) -> type | None:
    """The class that defines a move: one that overrides a formula alone has no list of it."""
    return next((c for c in moves.__mro__ if name in vars(c)), None)


def _has_rows(register: ir.Register) -> bool:
    return any(a.kind == ROW for a in register.axes)


@dataclass(frozen=True)
class Map:
    """A bijection, or a log density, as a function of a program."""

    net: Any


def base_of(factor: Factor) -> Factor:
    """The factor itself; of a flow its base, whose variable is called ``x.base``."""
    parts = factor.law.pushforward
    if parts is None:
        return factor
    outer = dict(zip(factor.law.cond_var, factor.cond_var, strict=True))
    name = factor.var[0] if len(factor.var) == 1 else f"({','.join(factor.var)})"
    given = tuple(outer[c] for c in parts.base.cond_var)
    return replace(factor, law=parts.base, var=(f"{name}.base",), cond_var=given)


def label(node: Node) -> ir.Label:
    """How a node prints, made when it is read."""
    return ir.Label(lambda: loss_text.text(node))


Rules = Mapping[type, Callable[[Lowering, Any, Scope], Sum]]
