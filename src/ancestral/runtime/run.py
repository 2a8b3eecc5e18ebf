"""One evaluation of a program: what it is given, and what it has computed so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ancestral.core.axes import Axes, Axis, align
from ancestral.core.errors import ShapeError
from ancestral.core.rng import Generator
from ancestral.distributions.law import Law
from ancestral.distributions.layout import spanned
from ancestral.program import instructions as ir


@dataclass(frozen=True)
class ParamSet:
    """A law's parameters: with the register's axes, of event shape alone, and the axes' sizes."""

    rows: dict[str, Tensor]
    fixed: dict[str, Any]
    sizes: tuple[int, ...]

    def aligned(self, have: Axes, want: Axes) -> dict[str, Any]:
        """All parameters, ready to meet a value that carries ``want``."""
        if have == want or not have:
            return {**self.rows, **self.fixed}
        return {**{k: align(v, have, want) for k, v in self.rows.items()}, **self.fixed}

    def event(self, axes: int, moves: type[Law]) -> tuple[int, ...]:
        """The event shape that the parameters of a law with these moves span."""
        shapes = [spanned(moves, k, tuple(v.shape[axes:])) for k, v in self.rows.items()]
        shapes += [
            spanned(moves, k, tuple(v.shape))
            for k, v in self.fixed.items()
            if isinstance(v, Tensor)
        ]
        return tuple(torch.broadcast_shapes(*shapes)) if shapes else ()


class Run:
    """One evaluation: what it is given, and what it has computed so far.

    Args:
        program: The program.
        data: Given values by the name of the variable.
        noise: Given noise by the name of the draw.
        generator: Source of the rest of the noise.
        batch_n: Number of rows where no data says it.
    """

    __slots__ = (
        "program", "data", "noise", "generator", "batch_n", "step", "keep", "wants_gradient",
        "gradient", "args", "drawn", "values", "rows", "raw", "closed", "round", "watch",
        "state", "kept",
    )  # fmt: skip
    values: dict[ir.Register, Any]
    rows: dict[Any, int]  # axis to size
    raw: dict[ir.Register, Any]  # what each law's network returned
    closed: dict[ir.Register, Any]  # each closed form and its shapes
    round: int  # of the loop over time that is being run
    watch: Any  # sees each step of a loop, if the run is watched

    def __init__(
        self,
        program: ir.Program,
        data: Mapping[str, Tensor],
        noise: Mapping[str, Tensor] | None = None,
        generator: Generator = None,
        batch_n: int | None = None,
    ) -> None:
        self.program = program
        self.data = data
        self.noise = noise or {}
        self.generator = generator
        self.batch_n = batch_n
        self.step: Any = None  # the generated step, if there is one for these inputs
        self.keep: Any = None  # called with the run, it keeps a generated step for such inputs
        self.args: Any = None  # the step's arguments, if they are at hand
        self.wants_gradient = False  # whether a compiled step is to give its gradient too
        self.gradient: Any = None  # the gradient, if it has: for each weight a tensor, or None
        self.drawn: dict[str, Tensor] = {}  # the noise that was used
        self.state: Mapping[str, Tensor] = {}  # what an evaluation before this one has left
        self.kept: dict[str, Tensor] = {}  # what this one leaves

    def start(self) -> None:
        """Room for what the interpreter computes, which a generated step does without.

        The rows of the data are known first: a draw may stand before the data it follows.
        """
        self.values, self.rows, self.raw, self.closed = {}, {}, {}, {}
        self.round, self.watch = 0, None
        for step in self.program.steps:
            if isinstance(step, ir.Input):
                for axis, size in zip(step.out.axes, self.data[step.var].shape, strict=False):
                    self.rows.setdefault(axis, size)
        given = {s.out: self.data[s.var] for s in self.program.steps if isinstance(s, ir.Input)}
        for step in self.program.steps:
            if isinstance(step, ir.Retime) and step.arg in given:
                for axis, size in zip(step.out.axes, given[step.arg].shape, strict=False):
                    self.rows.setdefault(axis, size)

    def sizes(self, axes: Axes) -> tuple[int, ...]:
        """The sizes of axes: as fixed by the equation or the plan, or as the data has them."""
        rows = self.rows
        return tuple(a.size or (rows[a] if a in rows else self._size_like(a)) for a in axes)

    def _size_like(self, axis: Axis) -> int:
        return self.sizes((axis.like,))[0] // axis.parts if axis.like else self.batch_n or 1


def wrong_noise(name: str, noise: Tensor, shape: tuple[int, ...]) -> ShapeError:
    """The error of given noise that would be shared by several draws, or does not fit."""
    return ShapeError(
        f"noise={{{name!r}: ...}} has shape {tuple(noise.shape)}, but the draw takes {shape}: its "
        "axes as program() prints them, then the event."
    )
