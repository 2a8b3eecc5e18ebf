"""Weights that are drawn layer by layer: their draws, and the laws whose networks read them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ancestral.core.axes import ROW, Axes, Axis, union
from ancestral.core.errors import OptionError
from ancestral.distributions.base import Factor
from ancestral.distributions.layer_weights import Layer, linear_layers
from ancestral.distributions.net_of_weights import NetOfWeights, places_of_weights
from ancestral.distributions.normal import Normal
from ancestral.lowering.build import Flow
from ancestral.program import instructions as ir
from ancestral.program import layers

if TYPE_CHECKING:
    from ancestral.lowering.context import Lowering, Scope

ADVICE = "Use Pathwise()."


@dataclass(frozen=True)
class Layered:
    """Weights that a plan draws layer by layer: the plan, their name, the axis of draws."""

    plan: Any
    factor: Factor
    noise: str
    axis: Axis | None


def draw(
    lw: "Lowering",
    factor: Factor,
    params: ir.Register,
    chosen: Any,
    which: tuple[int, str, Axis | None],
    scope: "Scope",
) -> ir.Register:
    """The register of the pair of vectors that a network draws its layers by.

    Raises:
        OptionError: If the law is not that of independent normal weights of all rows.
    """
    law, (index, noise, axis) = factor.law, which
    if law.moves is not Normal or law.plate is not None or params.axes or factor.copies:
        told = "copies" if factor.copies else f"a {law.distribution_name}"
        raise OptionError(
            f"{chosen} for {factor.text}: it is for independent normal weights of a network, "
            f"MeanField(weights(net, ...)), and this is {told}"
            f"{' of rows' if law.plate is not None else ''}. {ADVICE}"
        )
    slot = lw.build.law_slot(law)
    value = lw.build.emit(
        ("layers", index),
        noise,
        (),
        lambda out: layers.Spread(
            out, slot, params, noise, factor.var[0], False, lw.label(factor, scope),
            estimator=chosen,
        ),
        lw.build.flow[params],
    )  # fmt: skip
    if chosen.base:
        lw.noise[noise] = value
    value = lw.build.cut(value) if factor.detached else value
    lw.layered[value] = Layered(chosen, factor, noise, axis)
    return value


def params(
    lw: "Lowering", factor: Factor, conditions: tuple[ir.Register, ...], scope: "Scope"
) -> ir.Register:
    """The register of the parameters of a law whose network reads such weights."""
    law, places = factor.law, [i for i, r in enumerate(conditions) if r in lw.layered]
    given = lw.layered[conditions[places[0]]]
    net = _net(law, given.factor.law.var[0])
    if len(places) > 1 or tuple(places) != places_of_weights(law) or net is None:
        raise _elsewhere(given, factor.text)
    found, width = _placed(given.plan, linear_layers(net, given.plan))
    rows = union(*(r.axes for r in conditions), () if given.axis is None else (given.axis,))
    slot, value = lw.build.law_slot(law), conditions[places[0]]
    noise = _noise(lw, ("layer noise", slot, conditions), given, law.name, value, width, rows)
    flow = Flow(frozenset({("law", slot)}))
    for r in conditions:
        flow = flow | lw.build.flow[r]
    make = partial(
        layers.LayerParams,
        law=slot,
        conditions=conditions,
        var=factor.var,
        text=lw.label(factor, scope),
        noise=noise,
        place=places[0],
        layers=found,
        plan=given.plan,
    )
    return lw.build.emit(("params", slot, conditions), law.name, rows, make, flow)


def _noise(
    lw: "Lowering",
    key: tuple[Any, ...],
    given: Layered,
    law: str,
    like: ir.Register,
    width: int,
    rows: Axes,
) -> ir.Register:
    name, i = f"{given.noise}.{law}", 1
    known = [s.noise for s in lw.build.steps if isinstance(s, layers.LayerNoise)]
    while name in known and not lw.build.is_known(key, lw.noise[name]):
        i += 1
        name = f"{given.noise}.{law}#{i}"
    make = partial(layers.LayerNoise, like=like, noise=name, width=width)
    lw.noise[name] = lw.build.emit(key, name, rows, make, Flow())
    return lw.noise[name]


def _placed(plan: Any, found: Iterable[Layer]) -> tuple[tuple[Layer, ...], int]:
    """The layers with where the noise of each starts, and how much there is."""
    at, placed = 0, []
    for layer in found:
        placed.append(replace(layer, start=at))
        at += plan.width(layer)
    return tuple(placed), at


def _net(law: Any, variable: str) -> NetOfWeights | None:
    found = [
        m
        for m in (law.modules() if isinstance(law, nn.Module) else ())
        if isinstance(m, NetOfWeights) and m.variable == variable
    ]
    return found[0] if len(found) == 1 else None


def check(
    lw: "Lowering", drawn: Iterable[Any], body: Iterable[ir.Register], *, mixed: bool
) -> None:
    """Raise if an integrand reads such weights otherwise than by one network, row by row.

    Args:
        lw: The lowering.
        drawn: The draws of the expectation.
        body: The terms of the integrand.
        mixed: Whether a row of it reads others.
    """
    body = list(body)
    for d in drawn:
        given = lw.layered.get(d.value)
        if given is None:
            continue
        behind = lw.build.behind(body)
        steps = [lw.build.made[r] for r in behind if r in lw.build.made]
        readers = [s for s in steps if d.value in ir.Program.operands(s)]
        readers = [s for s in readers if not isinstance(s, layers.LayerNoise)]
        for s in readers:
            if not isinstance(s, layers.LayerParams):
                raise _elsewhere(given, s.out.name)
        if len(readers) > 1:
            raise OptionError(
                f"{given.plan} for {given.factor.text}: {len(readers)} laws of one expectation "
                "read the weights, and their layers would be drawn apart. Write an expectation for "
                "each, E(q, ...) + E(q, ...)."
            )
        rows = {a for s in readers for a in s.out.axes if a.kind == ROW}
        terms = [r for r in body if d.value in lw.build.behind([r])]
        if mixed or any(not rows <= set(r.axes) for r in terms):
            raise OptionError(
                f"{given.plan} for {given.factor.text}: the integrand reads several rows in one "
                "number, whose weights are one draw. Reduce rows outside of the expectation, "
                f"E(q, ...).mean(). Else {ADVICE[0].lower()}{ADVICE[1:]}"
            )


def _elsewhere(given: Layered, reader: str) -> OptionError:
    return OptionError(
        f"{given.plan} for {given.factor.text}: {reader} reads the weights themselves, but only "
        "the layers of net=w.apply are drawn. Use KL(q, w.prior) in closed form for their "
        f"divergence. Else {ADVICE[0].lower()}{ADVICE[1:]}"
    )
