"""Networks of weights in a program: rows are flattened into one axis, axes of weights are vmapped.

The interpreter and the generated step make the same call.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor

from ancestral.core.axes import Axes, Axis, fold, union
from ancestral.distributions.law import Law, Params
from ancestral.distributions.net_of_weights import (
    given_params,
    over_weights,
    own_params,
    places_in_call,
    places_of_weights,
)
from ancestral.program import instructions as ir
from ancestral.program.layers import LayerParams
from ancestral.runtime.layers import weights_of
from ancestral.runtime.run import Run
from ancestral.runtime.writer import Writer


class OverWeights:
    """A call into a network with values along their own axes: one batch axis comes out.

    Args:
        call: What is called with values, each with one batch axis, and weights.
        places: Which of them are weights.
        have: The axes of each value.
        axes: The axes of what it returns, all of those.
        law: The law whose parameters it returns, if it does.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        places: Sequence[int],
        have: Sequence[Axes],
        axes: Axes,
        law: Law | None = None,
    ) -> None:
        self.have, self.axes, self.places = tuple(have), axes, tuple(places)
        self.of = union(*(have[i] for i in self.places))
        self.rows = tuple(a for a in axes if a not in self.of)
        dims = [
            0 if i in self.places or set(h) & set(self.of) else None for i, h in enumerate(have)
        ]
        self.dims = dims
        self.call = over_weights(call, dims, self.places, law)

    def __call__(self, *values: Tensor) -> Any:
        """What the call returns, its first two axes as the one batch axis of all axes."""
        pairs = list(zip(values, self.have, strict=True))
        sizes = {a: n for v, h in pairs for a, n in zip(h, v.shape, strict=False)}
        args = []
        for i, (value, have) in enumerate(pairs):
            wide = [self.of] if self.dims[i] == 0 else []
            groups = wide if i in self.places else [*wide, self.rows]
            args.append(_grouped(value, have, groups, sizes))
        return self._each(self.call(*args), sizes)

    def _each(self, out: Any, sizes: dict[Axis, int]) -> Any:
        if isinstance(out, Tensor):
            return self._flat(out, sizes)
        if isinstance(out, dict):
            return type(out)({k: self._each(v, sizes) for k, v in out.items()})
        return [self._each(v, sizes) for v in out] if isinstance(out, (list, tuple)) else out

    def _flat(self, out: Tensor, sizes: dict[Axis, int]) -> Tensor:
        order = (*self.of, *self.rows)
        if order == self.axes:
            return out.flatten(0, 1)
        event = out.shape[2:]
        out = out.reshape(*(sizes[a] for a in order), *event)
        dims = [order.index(a) for a in self.axes]
        return out.permute(*dims, *range(len(dims), out.dim())).flatten(0, len(dims) - 1)


def _grouped(value: Tensor, have: Axes, groups: Sequence[Axes], sizes: dict[Axis, int]) -> Tensor:
    """A value expanded to groups of axes, each flattened into one axis."""
    order, event = [a for group in groups for a in group], tuple(value.shape[len(have) :])
    dims = [have.index(a) for a in order if a in have]
    if dims != sorted(dims):
        value = value.permute(*dims, *range(len(have), value.dim()))
    if len(dims) < len(order):
        value = value.reshape(*(sizes[a] if a in have else 1 for a in order), *event)
        value = value.expand(*(sizes[a] for a in order), *event)
    if all(len(group) == 1 for group in groups):
        return value
    return value.reshape(*(math.prod(sizes[a] for a in group) for group in groups), *event)


def has_axes(step: ir.Params, law: Law) -> bool:
    """Whether a step calls a network of weights that are many."""
    return any(step.conditions[i].axes for i in places_of_weights(law))


def conditions_of(step: ir.Params, run: Run, law: Law) -> list[Tensor]:
    """The conditions as a network sees them: one batch axis, and weights as they are."""
    if not isinstance(step, LayerParams) or step.noise is None:
        return _seen(step.conditions, step.out.axes, places_of_weights(law), run)
    registers = (*step.conditions, step.noise)
    *given, noise = _seen(registers, step.out.axes, (step.place,), run)
    given[step.place] = cast(Any, weights_of(step)(given[step.place], noise))
    return given


def _seen(
    registers: Sequence[ir.Register], axes: Axes, places: Sequence[int], run: Run
) -> list[Tensor]:
    values = [run.values[r] for r in registers]
    rows = [i for i in range(len(values)) if i not in places]
    some = [values[i] for i in rows]
    folded = fold(some, [registers[i].axes for i in rows], axes) if some else []
    for i, value in zip(rows, folded, strict=True):
        values[i] = value
    return values


def called(step: ir.Call, run: Run, apply: Callable[[list[Tensor]], Tensor]) -> Tensor:
    """What a function of weights returns, one batch axis in front.

    Args:
        step: The call.
        run: The run.
        apply: The function at arguments as it sees them.
    """
    places = places_in_call(run.program.functions[step.fn].net, len(step.args))
    if not any(step.args[i].axes for i in places):
        return apply(_seen(step.args, step.out.axes, places, run))
    have = [r.axes for r in step.args]
    over = OverWeights(lambda *args: apply(list(args)), places, have, step.out.axes)
    out: Tensor = over(*(run.values[r] for r in step.args))
    return out


def text_of_function(w: Writer, step: ir.Call) -> str:
    """The text of a call of a function, whose weights are not rows."""
    net, axes = w.program.functions[step.fn].net, step.out.axes
    places, have = places_in_call(net, len(step.args)), [r.axes for r in step.args]
    if any(have[i] for i in places):
        name = w.bind("f", OverWeights(net, places, have, axes))
        return f"{name}({', '.join(map(w.text, step.args))})"
    args = [w.text(r) if i in places else w.folded((r,), axes)[0] for i, r in enumerate(step.args)]
    return f"{w.bind('f', net)}({', '.join(args)})"


def params_of(step: ir.Params, run: Run, law: Law, conditions: Sequence[Tensor]) -> Params:
    """The parameters of a law, its network called once."""
    if not has_axes(step, law):
        return law.params(conditions)
    have = [r.axes for r in step.conditions]
    call = OverWeights(own_params(law), places_of_weights(law), have, step.out.axes, law)
    out: Params = call(*(run.values[r] for r in step.conditions))
    out.update(given_params(law, conditions))
    return out


def text_of_call(w: Writer, step: ir.Params, law: Law, net: str, call: Any) -> str:
    """The text of the one call into a law, to which names are given as it is called."""
    places, axes = places_of_weights(law), step.out.axes
    if not has_axes(step, law):
        args = [
            w.text(r) if i in places else w.folded((r,), axes)[0]
            for i, r in enumerate(step.conditions)
        ]
        if isinstance(step, LayerParams) and step.noise is not None:
            noise, name = w.folded((step.noise,), axes)[0], w.bind("weights", weights_of(step))
            args[step.place] = f"{name}({args[step.place]}, {noise})"
        return f"{net}({', '.join(args)})"
    have = [r.axes for r in step.conditions]
    name = w.bind("net", OverWeights(call, places, have, axes, law))
    return f"{name}({', '.join(map(w.text, step.conditions))})"


def text_of_interact(w: Writer, step: ir.Interact) -> None:
    """The text of particles that see each other."""
    name, out = w.bind("interact", step.plan.interact), (w.fresh("z"), w.fresh("t"))
    w.lines.append(f"{', '.join(out)} = {name}({w.text(step.points)})")
    w.names[step.out] = out
