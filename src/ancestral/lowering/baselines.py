"""Score terms whose baseline steps hand on: its moments are state, its network runs before."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import PLAN, Axis, union
from ancestral.core.errors import OptionError
from ancestral.distributions.base import Factor
from ancestral.losses.apply import Function
from ancestral.lowering.build import Flow
from ancestral.lowering.context import Lowering, Scope
from ancestral.program import baselines
from ancestral.program import instructions as ir
from ancestral.program.chains import State


def baselined(
    lw: Lowering,
    f: ir.Register,
    log_q: ir.Register,
    drawn: tuple[Factor, ir.Register, str],
    plan: Any,
    scope: Scope,
    flow: Flow,
) -> ir.Register:
    """An integrand with a score term whose baseline is state, and perhaps a network.

    Args:
        lw: The lowering.
        f: The integrand.
        log_q: The log density of the draw.
        drawn: The factor, its value, the name of the draw.
        plan: The estimator.
        scope: Where the expectation stands.
        flow: Where the gradient of the result comes from, but for the network.
    """
    factor, _, noise = drawn
    if lw.loops:
        raise OptionError(
            f"{plan} for {factor.text} inside of a loss over time: nothing is kept from one of its "
            "steps to the next. Use Score(LeaveOneOut(), draws=4)."
        )
    baseline, learned = plan.baseline, None
    if plan.networks:
        learned = _learned(lw, f, drawn, plan, scope)
        flow = flow | lw.build.flow[learned]
    key = ("baselined", plan, f, log_q, learned)
    name = _name(lw, factor, noise, key)
    axes = (Axis("moments", PLAN, baseline.moments, age=-1),)
    fresh = partial(_fresh, factor.law, baseline.moments)
    what = f"the mean m of the signal of {noise}"
    make = partial(State, name=name, fresh=fresh, text=ir.Label(lambda: what))
    moments = lw.build.emit(("state", name), f"state.{name}", axes, make, Flow())
    moved = partial(baselines.Moved, baseline=baseline, moments=moments, f=f, learned=learned)
    lw.kept[name] = lw.build.emit(("moved", name), name, axes, moved, Flow())
    made = partial(
        baselines.Baselined, estimator=plan, f=f, log_q=log_q, axis=None, moments=moments,
        learned=learned,
    )  # fmt: skip
    return lw.build.emit(key, f.name, f.axes, made, flow)


def _fresh(law: Any, count: int, data: Mapping[str, Tensor], generator: Any) -> Tensor:
    """Moments of no signals at all."""
    return torch.zeros_like(law.anchor()).new_zeros(count)


def _name(lw: Lowering, factor: Factor, noise: str, key: Hashable) -> str:
    """The name of the state: of each draw, and each integrand that reads it, another one."""
    own = f"{factor.law.prob_text}." + ("" if noise == factor.var[0] else f"{noise}.") + "baseline"
    names = [name for name, known in lw.baselines.items() if known == key]
    count = sum(name == own or name.startswith(f"{own}#") for name in lw.baselines)
    name = names[0] if names else own + (f"#{count + 1}" if count else "")
    lw.baselines[name] = key
    return name


def _learned(
    lw: Lowering, f: ir.Register, drawn: tuple[Factor, ir.Register, str], plan: Any, scope: Scope
) -> ir.Register:
    """What the network says, one number where the integrand has one; its inputs are cut.

    Raises:
        OptionError: If it has no inputs, or one of them depends on the draw.
    """
    factor, value, _ = drawn
    names = plan.reads or factor.cond_var
    if not names:
        raise OptionError(
            f"{plan} for {factor.text}: the law has no conditions for the network to see. Name its "
            "inputs, Learned(net, cond_var=['x']); or use MovingAverage()."
        )
    args = []
    for name in names:
        arg = lw.value(name, scope)
        if value in lw.build.behind([arg]):
            raise OptionError(
                f"{plan} for {factor.text}: {name} is the draw itself or comes of it. A baseline "
                "that depends on the draw makes the gradient biased: name data, or draws that "
                f"stand before {factor.var[0]}."
            )
        flow = lw.build.flow[arg]
        args.append(lw.build.cut(arg) if flow.sources or flow.cuts else arg)
    function = Function(plan.networks[0], name="b")
    slot = lw.build.function_slot(function)
    label = ir.Label(lambda: f"b({', '.join(names)})")
    out = lw.build.emit(
        ("call", slot, tuple(args)),
        "b",
        union(*(r.axes for r in args)),
        lambda out: ir.Call(out, slot, tuple(args), label),
        Flow(frozenset({("function", slot)})),
    )
    told = ir.Label(lambda: f"{plan}: {label}, the baseline of {factor.text},")
    out = lw.build.emit(
        ("scalar", out), "b", out.axes, partial(ir.Scalar, arg=out, squeeze=True, text=told)
    )
    for extra in out.axes:
        if extra not in f.axes:  # the integrand has one value for all of them
            out = lw.build.reduce("mean", extra, out)
    return out
