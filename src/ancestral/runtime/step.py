"""The fast path: a generated step, the noise that it is given, and the short way in."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import OptionError
from ancestral.core.rng import NOISE, Generator
from ancestral.program import instructions as ir
from ancestral.program import loops
from ancestral.runtime import compiled
from ancestral.runtime.entry import Entry, EntryText
from ancestral.runtime.generate import generate
from ancestral.runtime.run import Run, wrong_noise
from ancestral.runtime.source import Source, made


class Step:
    """A compiled step for inputs of one kind: event shapes and dtypes; any number of rows.

    Args:
        run: A run of the program that the interpreter has made on such inputs.
        compile: Whether ``torch.compile`` makes one graph of it, or the name of its backend;
            ``"gradient"`` makes one of it and its gradient.
        weights: What that gradient is taken in; of a game, what each player's is, whose gradients
            are in the graph always.
    """

    def __init__(self, run: Run, compile: bool | str = False, weights: Sequence[Any] = ()) -> None:
        self.program = run.program
        self.source: Source = generate(run)
        self.function: Callable[..., Tensor] = self.source.compile()
        self._with_gradient: Any = None
        if compile:
            self._refuse_own_noise()
            is_named = isinstance(compile, str) and compile != compiled.GRADIENT
            backend = str(compile) if is_named else compiled.BACKEND
            made = compiled.Compiled(self.function, self._row_dims(run), backend, weights)
            self.function = made
            # what a step leaves of state comes with its value: backward() follows that
            if not self.source.states and (compile == compiled.GRADIENT or made.is_game):
                self._with_gradient = made.with_gradient
        carriers = {
            axis: (step.var, i)
            for step in run.program.steps
            if isinstance(step, ir.Input)
            for i, axis in enumerate(step.out.axes)
        }
        given = {s.out: s.var for s in run.program.steps if isinstance(s, ir.Input)}
        for step in run.program.steps:
            if isinstance(step, ir.Retime) and step.arg in given:
                where = {a: (given[step.arg], i) for i, a in enumerate(step.out.axes)}
                carriers = {**where, **carriers}
        self._noise = [
            (
                n.name,
                n.own or NOISE[n.kind],
                tuple(_size(a, carriers) for a in n.axes),
                n.event,
                torch.empty((), dtype=n.dtype, device=n.device),
                None if n.own is None else functools.partial(OwnNoise, time=n.time),
            )
            for n in self.source.noise
        ]
        merged = [(law, k) for pair in run.program.merged for law in pair for k in law.numbers]
        # what the text was made for, in flat lists: it is looked at in every step
        networks = self.source.networks
        self._same = [(n.holder, "net", n.net) for n in networks]
        self._same += [
            (law._buffers, k, law._buffers[k]) for law, k in (*self.source.literal, *merged)
        ]
        self._versions = [
            (t, t._version) for _, k, t in self._same if k != "net" and not t.is_inference()
        ]
        self._hooks = [hooks for n in networks for hooks in n.hooks]
        self._rows = [_size(a, carriers) for a in self.source.rows]

    def _row_dims(self, run: Run) -> list[tuple[int, ...]]:
        """For each argument the dimensions that follow the batch."""
        given = {s.var: s.out.axes for s in run.program.steps if isinstance(s, ir.Input)}
        timed = loops.timed(run.program)
        inputs = [tuple(range(len(given[n]) + (n in timed))) for n in self.source.inputs]
        noise = [
            tuple(i for i, a in enumerate(n.axes) if not isinstance(a, int))
            for n in self.source.noise
        ]
        return [*inputs, *noise]

    def _refuse_own_noise(self) -> None:
        for n in self.source.noise:
            if n.own is not None:
                raise OptionError(
                    f"compile=...: the noise of {n.name} ({n.kind}) is drawn by rejection, inside "
                    "of the step, since it depends on parameters; no graph can hold that. Leave "
                    "compile out, or take a law with fixed noise in its place (Normal, LogNormal, "
                    "Kumaraswamy, ...)."
                )

    def is_current(self) -> bool:
        """Whether constants and networks that the text was made for are still what they were."""
        for owner, key, thing in self._same:
            if owner.get(key) is not thing:
                return False
        for tensor, version in self._versions:
            if tensor._version != version:
                return False
        return not any(self._hooks)

    def __call__(self, run: Run) -> Any:
        """The value; the noise that was used is left in the run, and what it leaves of state.

        If the run asks for the gradient and it is part of the graph, it is left there too, and
        the value has no derivative.
        """
        args = self._arguments(run) if run.args is None else run.args
        if run.wants_gradient and self._with_gradient is not None and torch.is_grad_enabled():
            value, run.gradient = self._with_gradient(*args)
            return value
        if not self.source.states:
            return self.function(*args)
        value, kept = self.function(*args)
        run.kept = dict(zip(self.source.states, kept, strict=True))
        return value

    def _arguments(self, run: Run) -> list[Any]:
        data, given = run.data, run.noise
        args: list[Any] = [data[name] for name in self.source.inputs]
        for name, make, axes, event, like, own in self._noise:
            noise = given.get(name) if given else None
            if own:
                args.append(own(make, like, run.generator, noise, name, run.drawn))
                continue
            shape = (*[_read(a, run) for a in axes], *event)
            if noise is None:
                noise = make(like.expand(shape), run.generator)
            elif tuple(noise.shape) != shape:
                raise wrong_noise(name, noise, shape)
            run.drawn[name] = noise
            args.append(noise)
        args += [_read(a, run) for a in self._rows]
        return [*args, *(run.state[name] for name in self.source.states)]

    def entry(self, run: Run) -> Entry:
        """The short way in for inputs of the very shapes of a run's: to the same arguments; a step
        with state has none, as it is given more than inputs.
        """
        if self.source.states:
            return lambda found, batch_n, generator: None
        text = EntryText()
        text.expect(run.data, run.batch_n)
        for owner, key, thing in self._same:
            text.keep(owner, key, thing)
        for tensor, version in self._versions:
            text.terms += [f"{name}._version == {version}" for name in text.bind(tensor)]
        if self._hooks:
            text.terms += [f"not any({name})" for name in text.bind(self._hooks)]
        text.arguments += [text.inputs[name] for name in self.source.inputs]
        for _, make, axes, event, like, own in self._noise:
            if own:
                text.call(own, make, like)
            else:
                text.call(make, like.expand((*(_read(a, run) for a in axes), *event)))
        text.arguments += [str(_read(a, run)) for a in self._rows]
        found: Entry = made(text.written(), tuple(text.bound))
        return found


class Entered(Run):
    """A run by the arguments of a short way in; what it was given is told when it is asked for.

    Args:
        step: The generated step.
        args: Its arguments.
        generator: Source of what noise is not drawn yet.
        batch_n: Number of rows where no data says it.
    """

    __slots__ = ("_source",)

    def __init__(
        self, step: Step, args: tuple[Any, ...], generator: Generator, batch_n: int | None
    ) -> None:
        self.step, self.args, self.generator, self.batch_n = step, args, generator, batch_n
        self.program, self._source = step.program, step.source
        self.keep = None
        self.noise: Mapping[str, Tensor] = {}
        self.wants_gradient = False
        self.gradient = None

    @property
    def data(self) -> Mapping[str, Tensor]:  # type: ignore[override]
        """The given values that the step reads."""
        return dict(zip(self._source.inputs, self.args, strict=False))

    @property
    def drawn(self) -> dict[str, Tensor]:  # type: ignore[override]
        """The noise that was used."""
        source = self._source
        found: dict[str, Tensor] = {}
        for n, given in zip(source.noise, self.args[len(source.inputs) :], strict=False):
            if isinstance(given, OwnNoise):
                found.update((n.name, noise) for noise in given.drawn.values())
            else:
                found[n.name] = given
        return found


def _size(axis: Any, carriers: dict[Any, tuple[str, int]]) -> Any:
    """How the size of an axis is found: a number, a given value's dimension, or the batch."""
    while not isinstance(axis, int) and axis.like is not None:
        axis = axis.like  # rows seen a second time
    return axis if isinstance(axis, int) else carriers.get(axis)


def _read(size: Any, run: Run) -> int:
    if isinstance(size, int):
        return size
    if size is None:
        return run.batch_n or 1
    name, dim = size
    rows: int = run.data[name].shape[dim]
    return rows


class OwnNoise:
    """Noise that depends on parameters: the step calls it once these are known.

    In a loop it is called in each round; ``time`` is the axis of the rounds in all of it.
    """

    __slots__ = ("_generator", "_given", "_like", "_make", "_rounds", "_time", "drawn", "name")

    def __init__(
        self,
        make: Callable[..., Tensor],
        like: Tensor,
        generator: Generator,
        given: Tensor | None = None,
        name: str = "",
        drawn: dict[str, Tensor] | None = None,
        *,
        time: int | None = None,
    ) -> None:
        self._time, self._rounds = time, list[Tensor]()
        self._make, self._like, self._generator, self._given = make, like, generator, given
        self.name = name
        self.drawn = {} if drawn is None else drawn  # where it is left

    def __call__(self, shape: tuple[int, ...], **params: Any) -> Tensor:
        """The noise for these parameters."""
        noise = self._given
        if noise is not None and self._time is not None:
            noise = noise.select(self._time, len(self._rounds))
        if noise is None:
            with torch.no_grad():
                noise = self._make(shape, self._like, self._generator, **params)
        elif tuple(noise.shape) != shape:
            raise wrong_noise(self.name, noise, shape)
        if self._time is None:
            self.drawn[self.name] = noise
        else:
            self._rounds.append(noise)
            self.drawn[self.name] = torch.stack(self._rounds, self._time)
        return noise
