"""The text of a draw: a function of noise that is drawn before the step is called."""

import ast

from ancestral.distributions.noise import own_noise
from ancestral.program import instructions as ir
from ancestral.runtime.operands import Code, Known
from ancestral.runtime.source import NoiseOf
from ancestral.runtime.writer import Writer, literal


def text_of_draw(w: Writer, step: ir.Draw) -> None:
    """A draw as a function of its noise, which is an argument of the step."""
    law, noise = w.program.laws[step.law], w.run.drawn[step.noise]
    place = None if step.time is None else len(step.out.axes)
    axes = step.out.axes if step.time is None else (*step.out.axes, step.time)
    event = tuple(noise.shape[len(axes) :])
    name = f"noise{len(w.noise)}"
    sizes = tuple(a if w.known_size(a) is None else w.known_size(a) for a in axes)
    own, like = own_noise(law), (noise.dtype, noise.device)
    w.noise.append(NoiseOf(step.noise, law.noise or "", sizes, event, *like, own, place))
    kind = (step.out.axes, event, noise.dtype)
    if step.time is not None and own is None:  # one tensor for all rounds
        name = w.each("noise_", f"{name}.unbind({len(step.out.axes)})")
    params = w.params(step.params, step.out.axes)
    if own is not None:  # it depends on the parameters: the argument is the function that draws it
        drawn, name = name, name if step.time is None else w.fresh("noise_")
        shape = "".join(f"{n}, " for n in [*map(w.size, step.out.axes), *map(str, event)])
        told = "".join(f", {k}={literal(v)}" for k, v in params.items())
        w.lines.append(f"{name} = {drawn}(({shape}){told})")
    given = Code(ast.Name(name, ast.Load()), kind)
    text = w.inlined(law.moves.draw, [given], params)
    if step.through is not None:
        soft = w.inlined(law.moves.relaxed, [given, Known(step.through)], params)
        soft = w.assign("soft", soft)
        text = f"({text}).detach() + ({soft} - {soft}.detach())"
    cut = step.cut and not _is_flat(text, name)
    w.put(step.out, "z", f"({text}).detach()" if cut else text)


def _is_flat(text: str, noise: str) -> bool:
    """Whether a draw has no derivative to cut: the noise, an index, a comparison, a one-hot row."""
    match ast.parse(text, mode="eval").body:
        case ast.Name(id):
            return id == noise
        case ast.Call(ast.Attribute(value, "to")):
            return isinstance(value, ast.Compare)
        case ast.Call(ast.Attribute(value, attr)):
            return attr == "argmax" or ast.unparse(value).startswith("torch.zeros_like(")
    return False
