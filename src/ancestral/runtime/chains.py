"""Chains of samplers, and state: as they are run and as they are written."""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import Axes, align
from ancestral.core.errors import ShapeError
from ancestral.core.rng import blank, uniform
from ancestral.core.slope import slope
from ancestral.distributions.noise import named
from ancestral.program import chains
from ancestral.program import instructions as ir
from ancestral.runtime.operands import Code, Known, Operand
from ancestral.runtime.run import Run, wrong_noise
from ancestral.runtime.source import NoiseOf
from ancestral.runtime.writer import Writer
from ancestral.samplers import Target
from ancestral.samplers import run as run_chains


def unnormalised(step: chains.Unnormalised, run: Run) -> Tensor:
    """Minus the energy."""
    out: Tensor = -run.values[step.arg]
    return out


def text_of_unnormalised(w: Writer, step: chains.Unnormalised) -> None:
    """The text of :func:`unnormalised`."""
    w.put(step.out, "t", f"-{w.text(step.arg)}")


# -- state ----------------------------------------------------------------------------------------
def state(step: chains.State, run: Run) -> Tensor:
    """What was kept."""
    return run.state[step.name]


def fill(run: Run) -> None:
    """Make what a run needs of state, where it was not given, or not in the plan's sizes."""
    for step in run.program.steps:
        if isinstance(step, chains.State):
            given, sizes = run.state.get(step.name), tuple(a.size for a in step.out.axes)
            if given is None or tuple(given.shape[: len(sizes)]) != sizes:
                run.state = {**run.state, step.name: step.fresh(run.data, run.generator)}


def text_of_state(w: Writer, step: chains.State) -> None:
    """A state is an argument of the step."""
    name = w.names[step.out] = w.fresh("state")
    w.states.append((step.name, name))


def choose(step: chains.Choose, run: Run) -> Tensor:
    """The indices of different entries of a state."""
    kept: Tensor = run.values[step.state]
    keys = _noise(run, step.noise, (len(kept),), kept)
    return chosen(keys, _sizes(run, step.out.axes))


def chosen(keys: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The indices of the largest of some keys, one for each row.

    Raises:
        ShapeError: If there are more rows than keys.
    """
    count = math.prod(sizes)
    if count > len(keys):
        raise ShapeError(
            f"PersistentCD keeps {len(keys)} chains, but the batch asks for {count}: give "
            f"buffer={count} at least."
        )
    return keys.topk(count).indices.reshape(sizes)


def text_of_choose(w: Writer, step: chains.Choose) -> None:
    """The text of :func:`choose`."""
    keys = _text_of_noise(w, step.noise, (step.axis.size,), ())
    sizes = "".join(f"{w.size(a)}, " for a in step.out.axes)
    w.put(step.out, "z", f"{w.bind('chosen', chosen)}({keys}, ({sizes}))")


def recall(step: chains.Recall, run: Run) -> Tensor:
    """The chosen entries, or what is fresh."""
    value: Tensor = run.values[step.state][run.values[step.index]]
    if step.fresh is None:
        return value
    u = _noise(run, step.noise, _sizes(run, step.out.axes), value)
    u = u.reshape(*u.shape, *(1,) * (value.dim() - u.dim()))
    return torch.where(u < step.share, run.values[step.fresh], value)


def text_of_recall(w: Writer, step: chains.Recall) -> None:
    """The text of :func:`recall`."""
    text = f"{w.text(step.state)}[{w.text(step.index)}]"
    if step.fresh is not None:
        u = _text_of_noise(w, step.noise, step.out.axes, ())
        event = ", None" * len(w.shape(step.out))
        text = f"torch.where({u}[...{event}] < {step.share!r}, {w.text(step.fresh)}, {text})"
    w.put(step.out, "z", text)


def store(step: chains.Store, run: Run) -> Tensor:
    """The state with other entries; that which was given is as it was."""
    kept, index, value = (run.values[r] for r in (step.state, step.index, step.value))
    count = index.dim()
    rows = value.flatten(0, count - 1) if count > 1 else value
    out: Tensor = kept.index_copy(0, index.flatten(), rows.to(kept.dtype))
    return out


def text_of_store(w: Writer, step: chains.Store) -> None:
    """The text of :func:`store`."""
    count, value = len(step.index.axes), w.text(step.value)
    rows = value if count == 1 else f"{value}.flatten(0, {count - 1})"
    if w.run.values[step.value].dtype != w.run.values[step.state].dtype:
        rows += f".to({w.text(step.state)}.dtype)"
    index = w.text(step.index) + ("" if count == 1 else ".flatten()")
    w.put(step.out, "z", f"{w.text(step.state)}.index_copy(0, {index}, {rows})")


# -- chains ---------------------------------------------------------------------------------------
def start(step: chains.Start, run: Run) -> Tensor:
    """Draws to start from."""
    law: Any = run.program.laws[step.law]
    event = law.event(step.var, run.data)
    rows, like = _sizes(run, step.out.axes), run.data.get(step.var, law.anchor())
    noise = run.noise.get(step.noise)
    if noise is None:
        noise = law.noise_of_start(rows, event, like, run.generator)
    elif tuple(noise.shape) != (*rows, *event):
        raise wrong_noise(step.noise, noise, (*rows, *event))
    run.drawn[step.noise] = noise
    found: Tensor = law.started(noise)
    return found


def text_of_start(w: Writer, step: chains.Start) -> None:
    """The text of :func:`start`."""
    law: Any = w.program.laws[step.law].start
    noise = _text_of_noise(w, step.noise, step.out.axes, w.shape(step.out), str(law.moves.noise))
    params = {
        k: Code(ast.Name(w.assign("t", f"{w.bind('law', law)}.{k}"), ast.Load()))
        if isinstance(v, Tensor)
        else Known(v)
        for k, v in law.params(()).items()
    }
    w.literal += [(law, k) for k, v in params.items() if isinstance(v, Known)]
    w.put(step.out, "z", w.inlined(law.moves.draw, [Code(ast.Name(noise, ast.Load()))], params))


def target(f: Callable[..., Tensor], conditions: Sequence[Tensor]) -> Target:
    """What chains are moved towards: the energy of a function, and its gradient."""

    def energy(x: Tensor) -> Tensor:
        return f(x, *conditions).reshape(len(x))

    return Target(energy, lambda x: slope(f, (x, *conditions), 0))


def chain(step: chains.Chain, run: Run) -> Tensor:
    """Where chains end."""
    axes, sampler = step.out.axes, step.sampler
    net = run.program.functions[step.fn].net
    begin = run.values[step.start]
    event, rows = tuple(begin.shape[len(step.start.axes) :]), _sizes(run, axes)
    registers = (step.start, *step.conditions)
    x, *given = _rows(run, registers, axes, rows)
    told = {k: run.noise.get(named(step.noise, k)) for k in sampler.noise}
    noise = {k: v for k, v in told.items() if v is not None}
    if len(noise) < len(told):
        noise = {**sampler.draw_noise(rows, event, x, run.generator), **noise}
    for part, shape in sampler.noise_shapes(rows, event).items():
        name = named(step.noise, part)
        if tuple(noise[part].shape) != shape:
            raise wrong_noise(name, noise[part], shape)
        run.drawn[name] = noise[part]
    flat = {k: v.flatten(1, len(axes)) if axes else v[:, None] for k, v in noise.items()}
    with torch.no_grad():
        out = run_chains(sampler, x, flat, target(net, given))
    return out.reshape(*rows, *event)


def _rows(
    run: Run, registers: Sequence[ir.Register], axes: Axes, rows: tuple[int, ...]
) -> list[Tensor]:
    """Values without gradient, one row for each chain."""
    out = []
    for r in registers:
        value = run.values[r].detach()
        event = value.shape[len(r.axes) :]
        value = align(value, r.axes, axes) if r.axes else value
        out.append(value.expand(*rows, *event).reshape(-1, *event))
    return out


def text_of_chain(w: Writer, step: chains.Chain) -> None:
    """The text of :func:`chain`: a ``for`` whose body is the step's formula, if that is one."""
    axes, sampler = step.out.axes, step.sampler
    event = w.shape(step.out)
    x, *given = w.folded((step.start, *step.conditions), axes)
    given = [w.assign("y", f"{c}.detach()") for c in given]
    f = w.bind("f", w.program.functions[step.fn].net)
    parts = {}
    for part, kind in sampler.noise.items():
        own = () if part in sampler.per_chain else event
        name = _text_of_noise(w, named(step.noise, part), (sampler.steps, *axes), own, kind)
        wide = f"{name}.flatten(1, {len(axes)})" if len(axes) > 1 else name
        parts[part] = wide if axes else f"{name}[:, None]"
    z = w.assign("z", f"{x}.detach()")
    if sampler.move is None:
        noise = ", ".join(f"{k!r}: {v}" for k, v in parts.items())
        energy = f"{w.bind('target', target)}({f}, ({''.join(f'{c}, ' for c in given)}))"
        names = w.bind("run", run_chains), w.bind("sampler", sampler)
        w.lines.append(f"{z} = {names[0]}({names[1]}, {z}, {{{noise}}}, {energy})")
    else:
        w.lines.append(_loop(w, step, z, f, given, parts[""]))
    w.put(step.out, "z", w.unfolded(z, axes, event))


def _loop(w: Writer, step: chains.Chain, z: str, f: str, given: Sequence[str], noise: str) -> str:
    """The lines of a loop over a sampler's steps, as one."""
    outside, w.lines = w.lines, []
    gradient, eps = w.fresh("g"), w.fresh("noise_")
    point = "".join(f"{name}, " for name in (z, *given))
    w.lines.append(f"{gradient} = {w.bind('slope', slope)}({f}, ({point}), 0)")
    operands: list[Operand] = [Code(ast.Name(n, ast.Load())) for n in (z, gradient, eps)]
    options: Mapping[str, Operand] = {k: Known(v) for k, v in step.sampler.options.items()}
    moved = w.inlined(step.sampler.move, operands, options)
    w.lines.append(f"{z} = {moved}")
    body = [f"        {line}" for line in w.lines]
    w.lines = outside
    head = ["with torch.no_grad():", f"    for {eps} in {noise}.unbind(0):"]
    return "\n".join([*head, *body])


def _sizes(run: Run, axes: Axes) -> tuple[int, ...]:
    """The sizes of axes, those of all values of a discrete law among them."""
    tables = (s.out for s in run.program.steps if isinstance(s, ir.Table))
    known = {r.axes[0]: len(run.values[r]) for r in tables if r in run.values}
    return tuple(known.get(a) or run.sizes((a,))[0] for a in axes)


# -- noise ----------------------------------------------------------------------------------------
def _noise(run: Run, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform noise, given or drawn; it is left in the run."""
    noise = run.noise.get(name)
    if noise is None:
        noise = uniform(blank(shape, like), run.generator)
    elif tuple(noise.shape) != shape:
        raise wrong_noise(name, noise, shape)
    run.drawn[name] = noise
    return noise


def _text_of_noise(
    w: Writer, name: str, axes: Sequence[Any], event: tuple[int, ...], kind: str = "uniform"
) -> str:
    """Noise as the next argument of the step."""
    noise, own = w.run.drawn[name], f"noise{len(w.noise)}"
    known = [a if isinstance(a, int) else w.known_size(a) for a in axes]
    sizes = tuple(a if k is None else k for a, k in zip(axes, known, strict=True))
    w.noise.append(NoiseOf(name, kind, sizes, event, noise.dtype, noise.device))
    return own


MEANINGS: dict[type, Callable[[Any, Run], Any]] = {
    chains.Unnormalised: unnormalised,
    chains.State: state,
    chains.Start: start,
    chains.Choose: choose,
    chains.Recall: recall,
    chains.Chain: chain,
    chains.Store: store,
}
TEXTS: dict[type, Callable[[Writer, Any], None]] = {
    chains.Unnormalised: text_of_unnormalised,
    chains.State: text_of_state,
    chains.Start: text_of_start,
    chains.Choose: text_of_choose,
    chains.Recall: text_of_recall,
    chains.Chain: text_of_chain,
    chains.Store: text_of_store,
}
