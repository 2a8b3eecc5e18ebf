"""The text of a step and its compilation: the one place that runs text as code."""

import itertools
import linecache
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

COUNTER = itertools.count(1)


@dataclass(frozen=True)
class NoiseOf:
    """The base noise of one draw: what is drawn before the step is called.

    Where ``own`` is given it depends on the parameters: the step is given a function of them.
    """

    name: str
    kind: str
    axes: tuple[Any, ...]  # an axis that follows the batch, or a size
    event: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    own: Callable[..., Tensor] | None = None
    time: int | None = None  # where the axis of the loop stands in which it is drawn


@dataclass(frozen=True)
class Source:
    """The text of a step, and what its arguments are.

    Args:
        text: A factory ``make(...)`` that returns ``loss(...)``.
        bound: What the factory is called with: networks, functions, constants.
        inputs: Names of the given values, in the order of the step's arguments.
        noise: The noises that follow them.
        rows: The row axes whose sizes follow those, where no given value has them.
        literal: Laws and their constants that stand in the text as numbers.
        networks: The calls into laws.
        states: The states whose values follow the sizes; if there are any, the step returns a pair
            of its value and what it leaves of them.
    """

    text: str
    bound: tuple[Any, ...]
    inputs: tuple[str, ...]
    noise: tuple[NoiseOf, ...]
    rows: tuple[Any, ...]
    literal: tuple[tuple[Any, str], ...] = ()
    networks: tuple[Any, ...] = ()
    states: tuple[str, ...] = ()

    def compile(self) -> Callable[..., Tensor]:
        """The step, from nothing but the text."""
        step: Callable[..., Tensor] = made(self.text, self.bound)
        return step


WITH_GRADIENT = """\
def make(loss, weights):
    def loss_and_gradient(*args):
        value = loss(*args)
        return value.detach(), torch.autograd.grad(value, weights, allow_unused=True)
    return loss_and_gradient
"""


WITH_GRADIENTS = """\
def make(losses, groups):
    def losses_and_gradients(*args):
        values, found = losses(*args), ()
        for i, weights in enumerate(groups):
            keep = i + 1 < len(groups)
            found += torch.autograd.grad(
                values[i], weights, retain_graph=keep, allow_unused=True
            )
        return tuple(v.detach() for v in values), found
    return losses_and_gradients
"""


def losses_and_gradients(
    losses: Callable[..., Any], groups: tuple[tuple[Tensor, ...], ...]
) -> Any:
    """A function that returns a game's values and the gradient of each in its player's weights,
    one after the other.
    """
    return made(WITH_GRADIENTS, (losses, groups))


def loss_and_gradient(loss: Callable[..., Tensor], weights: tuple[Tensor, ...]) -> Any:
    """A function that returns a step's value and its gradient in weights.

    It is text too: each compiled graph needs a code object of its own, since ``torch.compile``
    keeps what it has made with the code object.
    """
    return made(WITH_GRADIENT, (loss, weights))


def made(text: str, bound: tuple[Any, ...]) -> Any:
    """What a factory in a text returns; a traceback shows its lines while that lives."""
    name = f"<ancestral step {next(COUNTER)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    space: dict[str, Any] = {"torch": torch, "F": F, "math": math}
    exec(compile(text, name, "exec"), space)
    step = space["make"](*bound)
    weakref.finalize(step, linecache.cache.pop, name, None)
    return step
