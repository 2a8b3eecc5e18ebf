"""Instructions of chains, whose ends are draws of a law that is given by its energy; and of state.

A chain is a loop over a sampler's steps. Nothing in it has a gradient: where it ends is a draw.
Where it starts may be a *state*, what an evaluation before this one has left: a program is given it
beside data and noise and gives it back, so that it has no memory of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ancestral.core.axes import Axis
from ancestral.core.rng import Generator
from ancestral.program.instructions import Label, Register, Step

# of the given values and the source of randomness: what a state is before the first step
Fresh = Callable[[Mapping[str, Tensor], Generator], Tensor]


@dataclass(frozen=True, eq=False)
class State(Step):
    """What an evaluation before this one has left under this name; the first time a fresh one."""

    name: str
    fresh: Fresh
    text: Label


@dataclass(frozen=True, eq=False)
class Unnormalised(Step):
    """Minus an energy: a log density without its constant."""

    arg: Register
    text: Label


@dataclass(frozen=True, eq=False)
class Start(Step):
    """Where chains of a law start that were not run yet: a draw, of its variable's event shape."""

    law: int
    noise: str
    var: str
    text: Label


@dataclass(frozen=True, eq=False)
class Choose(Step):
    """As many different entries of a state as there are rows, by chance: their indices."""

    state: Register
    noise: str
    axis: Axis


@dataclass(frozen=True, eq=False)
class Recall(Step):
    """The chosen entries of a state, or with a probability something fresh."""

    state: Register
    index: Register
    fresh: Register | None
    noise: str
    share: float


@dataclass(frozen=True, eq=False)
class Chain(Step):
    """Where chains of a sampler end, over the energy of a function; no gradient passes."""

    fn: int
    start: Register
    conditions: tuple[Register, ...]
    sampler: Any
    noise: str
    text: Label


@dataclass(frozen=True, eq=False)
class Store(Step):
    """A state with the chosen entries replaced."""

    state: Register
    index: Register
    value: Register
