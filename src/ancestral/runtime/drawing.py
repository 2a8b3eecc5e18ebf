"""The text of a draw: a function of noise that is drawn before the step is called."""

import ast
from collections.abc import Mapping
from typing import Any

from ancestral.core.axes import union
from ancestral.distributions.noise import kinds, named, own_noise, together
from ancestral.program import instructions as ir
from ancestral.program.relaxed import Relaxed
from ancestral.runtime.operands import Code, Known, Operand
from ancestral.runtime.source import NoiseOf
from ancestral.runtime.writer import Writer, literal


def text_of_draw(w: Writer, step: ir.Draw) -> None:
    """A draw as a function of its noise, each part of which is an argument of the step."""
    law = w.program.laws[step.law]
    params = w.params(step.params, step.out.axes)
    parts = kinds(law.moves) or {"": str(law.noise)}
    noise = {part: noise_in_text(w, step, law, part, kind, params) for part, kind in parts.items()}
    given = together(noise) if len(noise) == 1 else Known(noise)
    if isinstance(step, Relaxed):
        text = w.inlined(law.moves.relaxed, [given, Known(step.through)], params)
        w.put(step.out, "z", text)
        return
    text = w.inlined(law.moves.draw, [given], params)
    if step.through is not None:
        soft = w.inlined(law.moves.relaxed, [given, Known(step.through)], params)
        soft = w.assign("soft", soft)
        text = f"({text}).detach() + ({soft} - {soft}.detach())"
    cut = step.cut and not _is_flat(text, noise)
    w.put(step.out, "z", f"({text}).detach()" if cut else text)


def noise_in_text(
    w: Writer, step: ir.Draw, law: Any, part: str, kind: str, params: Mapping[str, Operand]
) -> Code:
    """A part of the noise as the next argument of the step; in a loop, that of a round."""
    told = named(step.noise, part)
    noise, name, own = w.run.drawn[told], f"noise{len(w.noise)}", own_noise(law)
    axes = step.out.axes if step.time is None else union(step.out.axes, (step.time,))
    place = None if step.time is None else axes.index(step.time)
    event = tuple(noise.shape[len(axes) :])
    sizes = tuple(a if w.known_size(a) is None else w.known_size(a) for a in axes)
    w.noise.append(NoiseOf(told, kind, sizes, event, noise.dtype, noise.device, own, place))
    if own is not None:  # it depends on the parameters: the argument is the function that draws it
        drawn, name = name, name if step.time is None else w.fresh("noise_")
        shape = "".join(f"{n}, " for n in [*map(w.size, step.out.axes), *map(str, event)])
        found = "".join(f", {k}={literal(v)}" for k, v in params.items())
        w.lines.append(f"{name} = {drawn}(({shape}){found})")
    elif step.time is not None:  # one tensor for all rounds
        name = w.each("noise_", f"{name}.unbind({place})")
    return Code(ast.Name(name, ast.Load()), (step.out.axes, event, noise.dtype))


def _is_flat(text: str, noise: Mapping[str, Code]) -> bool:
    """Whether a draw has no derivative to cut: the noise, an index, a comparison, a one-hot row."""
    match ast.parse(text, mode="eval").body:
        case ast.Name(id):
            return id in [ast.unparse(n.node) for n in noise.values()]
        case ast.Call(ast.Attribute(ast.Compare(), "to" | "float" | "double")):
            return True
        case ast.Call(ast.Attribute(value, attr)):
            return attr == "argmax" or ast.unparse(value).startswith("torch.zeros_like(")
    return False
