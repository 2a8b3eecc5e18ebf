"""Flows: the context, a draw that is pushed forward with its log-determinant, a value pulled back.

Of a flow's own draw both the base's value and the log-determinant are known: the density of a draw
comes with the draw, and the inverse is not run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ancestral.core.axes import union
from ancestral.distributions.base import Factor
from ancestral.lowering.build import Flow, Sum
from ancestral.printing import law as law_text
from ancestral.printing.dialect import TEXT
from ancestral.program import instructions as ir

if TYPE_CHECKING:
    from ancestral.lowering.context import Lowering, Scope

Drawn = tuple[ir.Register, int, tuple[ir.Register, ...]]  # a value, a bijection, its context
Context = tuple[ir.Register, ...]  # one register, or none


@dataclass(frozen=True)
class _Map:
    """A bijection, or a function of a flow, as a function of a program."""

    net: Any


def context(lw: "Lowering", factor: Factor, scope: "Scope") -> Context:
    """The register of what a flow's bijection reads of the conditions: one pass of its network."""
    parts = factor.law.pushforward
    if parts is None or parts.context is None:
        return ()
    conditions = tuple(lw.value(c, scope) for c in factor.cond_var)
    plain, move = lw.unmoved(conditions)
    text = ir.Label(lambda: f"context of {law_text.factor(factor, TEXT)}")
    out = _call(lw, parts.context, plain, f"context of {factor.law.name}", text)
    return (out if move is None else move(out),)


def _call(
    lw: "Lowering", net: Any, args: tuple[ir.Register, ...], name: str, text: ir.Label
) -> ir.Register:
    """The register of a function of registers."""
    slot = lw.build.function_slot(_Map(net))
    flow = Flow(frozenset({("function", slot)}))
    for r in args:
        flow = flow | lw.build.flow[r]
    make = partial(ir.Call, fn=slot, args=args, text=text)
    return lw.build.emit(("call", slot, args), name, union(*(r.axes for r in args)), make, flow)


def know_shapes(lw: "Lowering", factor: Factor) -> None:
    """Note the event shapes of a flow's variables: that of its base, or what it is told."""
    parts, shape = factor.law.pushforward, factor.law.declared_shape
    if parts is None:
        return
    if parts.pieces is None and shape is not None:
        lw.shapes.setdefault(factor.var[0], tuple(shape))
    elif parts.pieces is not None and parts.pieces.sizes is not None:
        for v, size in zip(factor.var, parts.pieces.sizes, strict=True):
            lw.shapes.setdefault(v, (size,))


# -- several variables in one vector --------------------------------------------------------------
def joined(lw: "Lowering", factor: Factor, values: tuple[ir.Register, ...]) -> ir.Register:
    """The register of a law's value from those of its variables."""
    parts = factor.law.pushforward
    if parts is None or parts.pieces is None:
        return values[0]
    plain, move = lw.unmoved(values)
    if plain in lw.whole:  # one draw, which was taken apart
        return lw.whole[plain] if move is None else move(lw.whole[plain])
    name = f"({','.join(factor.var)})"
    return _call(lw, parts.pieces, values, name, ir.Label(lambda: f"{name} side by side"))


def parted(lw: "Lowering", factor: Factor, value: ir.Register) -> dict[str, ir.Register]:
    """The registers of a law's variables from that of its value."""
    parts = factor.law.pushforward
    if parts is None or parts.pieces is None:
        return {factor.var[0]: value}
    pairs = zip(factor.var, parts.pieces.apart(), strict=True)
    found = {
        v: _call(lw, take, (value,), v, ir.Label(lambda v=v: f"{v} of {value.name}"))  # type: ignore[misc]
        for v, take in pairs
    }
    lw.whole[tuple(found.values())] = value
    return found


# -- draws and values -----------------------------------------------------------------------------
def pushed(
    lw: "Lowering", factor: Factor, z: ir.Register, given: Context, scope: "Scope"
) -> ir.Register:
    """The register of a flow's value, from that of its base."""
    name = base_name(factor)
    x, log_det = _transform(lw, factor, z, given, scope, name, inverse=False)
    lw.drawn[x, bijection(lw, factor), given] = z, log_det
    return x


def pulled_back(
    lw: "Lowering", factor: Factor, x: ir.Register, given: Context, scope: "Scope"
) -> tuple[ir.Register, Sum]:
    """The register of the base's value, and what the density gains on the way.

    Of the flow's own draw both are known; only a cut to its parameters asks for the inverse.
    """
    found = lw.drawn.get((x, bijection(lw, factor), given))
    if found is not None and not factor.detached:
        return found[0], Sum({found[1]: -1.0})
    name = f"{base_name(factor)}.base"
    z, log_det = _transform(lw, factor, x, given, scope, name, inverse=True)
    return z, Sum({log_det: 1.0})


def _transform(
    lw: "Lowering",
    factor: Factor,
    arg: ir.Register,
    given: Context,
    scope: "Scope",
    name: str,
    *,
    inverse: bool,
) -> tuple[ir.Register, ir.Register]:
    """The registers of a bijection's value and log-determinant."""
    slot, cut, var = bijection(lw, factor), factor.detached and inverse, base_name(factor)
    through = Flow() if cut else Flow(frozenset({("function", slot)}))
    for r in (arg, *given):
        through = through | lw.build.flow[r]
    text = lw.label(replace(factor, detached=cut), scope)
    axes = union(arg.axes, *(r.axes for r in given))
    beside: Mapping[str, Any] = {"context": given[0]} if given else {}
    pair = lw.build.emit(
        ("transform", slot, arg, given, inverse, cut),
        name,
        axes,
        lambda out: ir.Transform(out, slot, arg, inverse, cut, var, text, **beside),
        through,
    )
    value, log_det = (
        lw.build.emit(("part", pair, i), told, axes, partial(ir.Part, pair=pair, index=i))
        for i, told in enumerate((name, f"log|det| of {name}"))
    )
    return value, log_det


def base_name(factor: Factor) -> str:
    """How a flow's value is called: as its variable, or ``(x,z)``."""
    return factor.var[0] if len(factor.var) == 1 else f"({','.join(factor.var)})"


def bijection(lw: "Lowering", factor: Factor) -> int:
    """The slot of a flow's bijection."""
    assert factor.law.pushforward is not None
    return lw.build.function_slot(_Map(factor.law.pushforward.bijection))
