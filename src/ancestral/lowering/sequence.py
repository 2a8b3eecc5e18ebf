"""Rules for laws of sequences: their draws, densities and divergences, step by step at once.

Registers of sequences are seen with the axis of time among those of the rows, and what a step
reads of the step before is a sequence, shifted by one. So a density at given values needs no loop;
a draw, or a recurrent state, needs one for what its next step waits for (the split pass).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from ancestral.core.axes import Axes, Axis, union
from ancestral.core.errors import DensityError, ScopeError
from ancestral.distributions import Joint, Sequence
from ancestral.distributions.base import Factor
from ancestral.distributions.chains import inside, reaches
from ancestral.losses.chain import ClosedForm, fits
from ancestral.lowering import flows
from ancestral.lowering.build import CutPath, Flow, Sum
from ancestral.lowering.context import Lowering, Scope, base_of, label
from ancestral.lowering.scan import Carried, Registers, shifted, split
from ancestral.lowering.times import sequences_of
from ancestral.program import instructions as ir
from ancestral.program import loops


@dataclass(frozen=True)
class Drawing:
    """How a sequence is drawn: the index of its draw, axes of its own, whether a gradient passes,
    and the names of its noises by the outer names of its variables.
    """

    index: int = -1
    axes: Axes = ()
    path: bool = True
    noise: Mapping[str, str] = field(default_factory=dict)


class Chain:
    """The law of a sequence as it stands in a loss.

    Inside, the variables of a step are called ``z_t``, and those of the step before ``z_{t-1}``.
    """

    def __init__(self, lw: Lowering, factor: Factor, scope: Scope) -> None:
        law = factor.law
        assert isinstance(law, Sequence)
        self.lw, self.factor, self.law, self.scope = lw, factor, law, scope
        self.outer = outer_names(factor)
        self.axis: Axis = lw.times[sequences_of(factor)[0]]
        self.factors = steps(factor)

    def timed(self, name: str, *, observed: bool = False) -> ir.Register:
        """A sequence with the axis of time; data is replaced where a mask is off."""
        register = self.lw.value(self.outer[name], self.scope)
        is_data = self.lw.build.is_known(("input", register.name), register)
        register = timed(self.lw, register, self.axis)
        mask = self.mask(observed=observed)
        if not is_data or mask is None:
            return register
        law = next((f.law for f in self.law.step_law.factors if name in f.var), None)
        return self.keep(register, mask, 0.0 if law is None else inside(law), repeat=True)

    def mask(self, *, observed: bool) -> ir.Register | None:
        """The mask of the steps that count, or ``None`` if all do."""
        names = self.law.masks if observed else self.law.masks[: self.law.mask is not None]
        masks = [
            timed(self.lw, self.lw.value(self.outer[n], self.scope), self.axis) for n in names
        ]
        return (
            self.lw.build.elementwise("mul", tuple(masks))
            if masks[1:]
            else next(iter(masks), None)
        )

    def keep(
        self, value: ir.Register, mask: ir.Register, fill: float, *, repeat: bool = False
    ) -> ir.Register:
        """The value where a mask is on."""
        text = ir.Label(lambda: f"the mask of {self.factor.text}")
        make = partial(loops.Keep, arg=value, mask=mask, fill=fill, text=text, repeat=repeat)
        axes = union(value.axes, mask.axes)
        flow = self.lw.build.flow[value]
        return self.lw.build.emit(
            ("keep", value, mask, fill, repeat), value.name, axes, make, flow
        )

    def initial(self, source: str, axes: Axes) -> ir.Register:
        """What a carry is before the first step."""
        key, given = self.law.initial[source], None
        name, flow = f"{self.outer[source]}_0", Flow()
        slot = self.lw.build.law_slot(self.law)
        if key in self.law.cond_var:
            given = self.lw.value(self.outer[key], self.scope)
            axes, flow = union(axes, given.axes), self.lw.build.flow[given]
            if given.axes == axes:
                return given
        elif key in self.law._parameters:
            flow = Flow(frozenset({("law", slot)}))
        text = ir.Label(lambda: f"what {self.factor.text} starts from")
        var = at(self.outer[source], "t")
        make = partial(loops.Initial, law=slot, key=key, arg=given, var=var, text=text)
        trained = self.law._parameters.get(key)
        which = (slot, key) if trained is None else ("tensor", id(trained))
        return self.lw.build.emit(("initial", which, given, axes), name, axes, make, flow)

    def inputs(self, given: Registers) -> Registers:
        """What the steps read of given sequences, and of what is the same in all steps."""
        found = {at(self.outer[v], "t"): r for v, r in given.items()}
        found |= {at(self.outer[s], "t"): self.timed(s) for s in self.law.series}
        for source in self.law.carried:
            if source in given or source not in self.law.var:
                value = given[source] if source in given else self.timed(source)
                axes = tuple(a for a in value.axes if a != self.axis)
                found[at(self.outer[source], "t-1")] = shifted(
                    self.lw, self.axis, value, self.initial(source, axes)
                )
        every = {*self.law.carried.values(), *self.law.series}
        for name in self.law.step_law.cond_var:
            if name not in every:
                found[self.outer[name]] = self.lw.value(self.outer[name], self.scope)
        return found

    # -- draws ----------------------------------------------------------------------------------
    def draw(self, given: Registers, how: Drawing) -> Registers:
        """The variables that are not given, drawn or computed step by step, with their times."""
        outside = self.inputs(given)
        key = (id(self.law), self.factor.detached, how.index, *outside.items())
        if key not in self.lw.chains:
            self.lw.chains[key] = self._drawn(outside, given, how)
        return self.lw.chains[key]

    def _drawn(self, outside: Registers, given: Registers, how: Drawing) -> Registers:
        free = [s for s in self.law.carried if s in self.law.var and s not in given]
        axes = {s: union(self.initial(s, ()).axes, how.axes) for s in free}
        while True:  # what is carried has the axes of all that it is computed from
            inner = {s: ir.Register(at(self.outer[s], "t-1"), axes[s]) for s in free}
            for s in free:
                self.lw.build.flow[inner[s]] = self.lw.build.flow[self.initial(s, axes[s])]
            series = self._one_time(outside)
            with self.lw.build.recording() as body:
                drawn, draws = self._step(series, inner, given, how)
            after = {s: drawn[s] for s in free}
            wider = {s: union(axes[s], after[s].axes) for s in free}
            if wider == axes:
                break
            axes = wider
        carried = [Carried(self.initial(s, axes[s]), inner[s], after[s]) for s in free]
        seen = {series[n]: r for n, r in outside.items() if series[n] is not r}
        moved = split(self.lw, self.axis, body, seen, carried)
        self.lw.noise.update({name: moved.get(r, r) for name, r in draws.items()})
        return {v: moved.get(r, r) for v, r in drawn.items()}

    def _one_time(self, outside: Registers) -> Registers:
        """What one step reads of sequences."""
        inner = {}
        for name, r in outside.items():
            axes = tuple(a for a in r.axes if a != self.axis)
            inner[name] = ir.Register(name, axes) if axes != r.axes else r
            self.lw.build.flow[inner[name]] = self.lw.build.flow[r]
        return inner

    def _step(
        self, series: Registers, inner: Registers, given: Registers, how: Drawing
    ) -> tuple[Registers, Registers]:
        """Record one step: its variables, and its draws by the name of their noise."""
        names = {at(self.outer[v], "t"): v for v in self.law.var}
        values = {**series, **{r.name: r for r in inner.values()}}
        draws: Registers = {}
        for f in self.factors:
            if all(names[v] in given for v in f.var):
                continue
            scope = self._scope(values)
            params = self.lw.params(f, scope)
            if f.law.is_random:
                values.update(self._draw(f, params, scope, how, draws))
                continue
            for own, v in zip(f.law.var, f.var, strict=True):
                make = partial(ir.Pick, params=params, key=own)
                values[v] = self.lw.build.emit(("pick", params, own), v, params.axes, make)
        return {v: values[n] for n, v in names.items() if v not in given}, draws

    def _draw(
        self, f: Factor, params: ir.Register, scope: Scope, how: Drawing, draws: Registers
    ) -> Registers:
        """Record one draw of a step."""
        base, noise = base_of(f), how.noise[f.var[0]]
        slot, law_slot = self.lw.build.law_slot(base.law), self.lw.build.law_slot(self.law)
        context = flows.context(self.lw, f, scope)
        behind = self.lw.build.flow[params]
        for r in context:
            behind = behind | self.lw.build.flow[r]
        flow = behind
        if not how.path:
            cut = CutPath(next(iter(how.noise.values())), law_slot, behind.sources)
            flow = Flow(cuts=frozenset({cut}) | behind.cuts)
        text = self.lw.label(base, scope)
        value = draws[noise] = self.lw.build.emit(
            ("draw", how.index, f.var[0]),
            f.var[0],
            union(params.axes, how.axes, *(r.axes for r in context)),
            lambda out: ir.Draw(out, slot, params, noise, base.var[0], not how.path, text),
            flow,
        )
        if f.law.pushforward is not None:
            value = flows.pushed(self.lw, f, value, context, scope)
            value = value if how.path else self.lw.build.cut(value, flow)
        return flows.parted(self.lw, f, value)

    def _scope(self, values: Registers) -> Scope:
        return Scope({name: Sum({r: 1.0}) for name, r in values.items()})

    # -- densities ------------------------------------------------------------------------------
    def given(self, *, observed: bool) -> tuple[Registers, Scope]:
        """All variables with their times, and what the steps read: states are computed from the
        others, unless an expectation has drawn them.
        """
        states = [v for v in self.law.states if self.outer[v] not in self.scope.values]
        known = [v for v in self.law.var if v not in states]
        given = {v: self.timed(v, observed=observed) for v in known}
        if states:
            given |= self.draw(given, Drawing())
        return given, self._scope(self.inputs(given))

    def params(self, f: Factor, scope: Scope) -> ir.Register:
        """The parameters of the law of a step at all times."""
        register = self.lw.params(f, scope)
        return self.lw.build.cut(register) if f.detached else register

    def total(self, terms: Sum, mask: ir.Register | None) -> ir.Register:
        """The sum over the steps that count."""
        register = self.lw.build.register(terms)
        if mask is not None:
            register = self.keep(register, mask, 0.0)
        if self.axis not in register.axes:  # no step depends on its time: as many as there are
            make = partial(loops.Length, axis=self.axis)
            count = self.lw.build.emit(("length", self.axis), "T", (), make)
            return self.lw.build.elementwise("mul", (count, register))
        return self.lw.build.reduce("sum", self.axis, register)


def draw(lw: Lowering, factor: Factor, scope: Scope, how: Drawing) -> Registers:
    """The variables of a sequence law, drawn, by their outer names; time in the event.

    Raises:
        ScopeError: If no data says how many steps there are.
    """
    chain = Chain(lw, factor, scope)
    known = {chain.outer[n] for n in (*chain.law.series, *chain.law.carried)} - {*factor.var}
    if not known and not any(lw.times.get(n) == chain.axis for n in lw.plates):
        raise ScopeError(
            f"{factor.text}: nothing that is given says how long its sequences are. Give it a "
            "series or a mask from the data; law.sample(length=...) draws without."
        )
    found = chain.draw({}, how)
    return {chain.outer[v]: whole(lw, r, chain.axis) for v, r in found.items()}


def density(
    lw: Lowering, factor: Factor, scope: Scope, counts: ir.Register | None = None
) -> ir.Register:
    """The register of the log density of a sequence, summed over its steps; ``counts`` are the
    rows where it matters.
    """
    chain = Chain(lw, factor, scope)
    _, scope = chain.given(observed=True)
    mask, terms = chain.mask(observed=True), Sum()
    both = tuple(r for r in (mask, counts) if r is not None)
    seen = lw.build.elementwise("mul", both) if both[1:] else next(iter(both), None)
    for f in chain.factors:
        if f.law.is_random:
            shown = seen if counts is not None or reaches(f.law) else None
            terms = terms.plus(Sum({lw.density(f, scope, shown): 1.0}))
    return chain.total(terms, mask)


def divergence(lw: Lowering, node: ClosedForm, scope: Scope) -> Sum:
    """KL of two sequences at a draw of the first: the sum of those of their steps."""
    assert node.p is not None
    chains = [Chain(lw, f, scope) for f in (node.q, node.p)]
    (q, p), (of_q, of_p) = chains, [c.given(observed=False)[1] for c in chains]
    by_var = {f.var: f for f in p.factors}
    whole_step, terms = Joint(q.factors), Sum()
    for f in q.factors:
        g = by_var.get(f.var)
        if g is None or f.law.is_random != g.law.is_random:
            raise _apart(node, f)
        if not f.law.is_random:
            if f.law is not g.law:
                raise _apart(node, f)
        elif fits(f, g, whole_step):
            terms = terms.plus(Sum({_closed(lw, q, f, of_q, p, g, of_p): 1.0}))
        else:
            terms = terms.plus(Sum({lw.density(f, of_q): 1.0, lw.density(g, of_p): -1.0}))
    masks = list(dict.fromkeys(m for c in chains if (m := c.mask(observed=False)) is not None))
    mask = lw.build.elementwise("mul", tuple(masks)) if masks[1:] else next(iter(masks), None)
    return Sum({q.total(terms, mask): 1.0})


def _closed(
    lw: Lowering, q: Chain, f: Factor, of_q: Scope, p: Chain, g: Factor, of_p: Scope
) -> ir.Register:
    """The closed form of one step, at all times."""
    params = (q.params(f, of_q), p.params(g, of_p))
    slots = (lw.build.law_slot(f.law), lw.build.law_slot(g.law))
    text = label(ClosedForm("kl", f, g))
    return lw.build.emit(
        ("closed", "kl", slots, params),
        "kl",
        union(*(r.axes for r in params)),
        lambda out: ir.Closed(out, "kl", slots, params, f.var[0], text),
    )


def _apart(node: ClosedForm, f: Factor) -> DensityError:
    assert node.p is not None
    return DensityError(
        f"KL[{node.q.text} || {node.p.text}]: {f.text} is a function in one of them, and no such "
        "function, or another one, in the other, so that the divergence is infinite. Give both "
        "the same Deterministic law, or take it out of their steps."
    )


# -- names and views ------------------------------------------------------------------------------
def at(name: str, time: str) -> str:
    """A variable at a time: ``z_t``, ``z_{t-1}``."""
    return f"{name}_{time}" if len(time) == 1 else f"{name}_{{{time}}}"


def outer_names(factor: Factor) -> dict[str, str]:
    """The outer name of each variable and condition of a law."""
    law = factor.law
    return dict(zip((*law.var, *law.cond_var), (*factor.var, *factor.cond_var), strict=True))


def steps(factor: Factor) -> list[Factor]:
    """The factors of one step, under names that say the time."""
    law, outer = factor.law, outer_names(factor)
    assert isinstance(law, Sequence)
    names = {v: at(outer[v], "t") for v in (*law.var, *law.series)}
    names |= {alias: at(outer[s], "t-1") for alias, s in law.names_before.items()}

    def renamed(f: Factor) -> Factor:
        var = tuple(names[v] for v in f.var)
        cond_var = tuple(names.get(c, outer.get(c, c)) for c in f.cond_var)
        return replace(f, var=var, cond_var=cond_var, detached=f.detached or factor.detached)

    return [renamed(f) for f in law.factors_of_step]


def timed(lw: Lowering, register: ir.Register, axis: Axis) -> ir.Register:
    """A sequence with its first event axis as that of time."""
    if axis in register.axes:
        return register
    return _retimed(lw, register, union(register.axes, (axis,)))


def whole(lw: Lowering, register: ir.Register, axis: Axis) -> ir.Register:
    """A sequence with its axis of time as the first of the event."""
    return _retimed(lw, register, tuple(a for a in register.axes if a != axis))


def _retimed(lw: Lowering, register: ir.Register, axes: Axes) -> ir.Register:
    make, grows = partial(ir.Retime, arg=register), len(axes) > len(register.axes)
    name = at(register.name, "t") if grows else register.name.removesuffix("_t")
    out = lw.build.emit(("retime", register, axes), name, axes, make)
    lw.build.name(("retime", out, register.axes), register)
    return out
