r"""Averages of weights over training steps.

.. math:: \theta^- \leftarrow a\,\theta^- + (1-a)\,\theta

A law or network of the averaged weights is a copy with parameters of its own, which no gradient
reaches. It is state: whoever trains the source moves the copy after each step
(:class:`~ancestral.models.Model` does), and saves it beside the source.

Source: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging (1992).
"""

import copy
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError
from ancestral.core.names import subscripted
from ancestral.distributions.base import Distribution
from ancestral.distributions.joint import Joint, as_joint

Module = TypeVar("Module", bound=nn.Module)
WORD = "_average"  # where a copy keeps what it follows; no part of it as a module


@dataclass(frozen=True)
class Average:
    """What a copy follows.

    Args:
        source: The module whose weights are averaged.
        decay: The share of the average that a step keeps.
    """

    source: nn.Module
    decay: float


def average_of(module: nn.Module) -> Average | None:
    """What a module follows, if it is an average."""
    found: Average | None = vars(module).get(WORD)
    return found


def averaged(module: Module, decay: float, what: str) -> Module:
    """A copy that follows a module; it begins with the module's weights.

    Args:
        module: The source.
        decay: The share of the average that a step keeps, in [0, 1).
        what: How a message calls it.

    Raises:
        OptionError: If the decay is none, or the module has no parameter.
    """
    if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0.0 <= decay < 1.0:
        raise OptionError(f"{what}.ema({decay!r}): the decay is a number in [0, 1), e.g. 0.999.")
    if next(nn.Module.parameters(module), None) is None:
        raise OptionError(f"{what}.ema({decay}): it has no parameters, so its average is itself.")
    twin = copy.deepcopy(module)
    nn.Module.requires_grad_(twin, False)
    object.__setattr__(twin, WORD, Average(module, decay))
    return twin


@torch.no_grad()
def follow(module: nn.Module) -> None:
    """Move an average by one step towards its source; buffers are taken over."""
    average = average_of(module)
    assert average is not None
    own: list[Tensor] = list(nn.Module.parameters(module))
    source: list[Tensor] = list(nn.Module.parameters(average.source))
    torch._foreach_lerp_(own, source, 1.0 - average.decay)
    for mine, other in zip(module.buffers(), average.source.buffers(), strict=True):
        mine.copy_(other)


def ema(law: Distribution, decay: float, name: str | None = None) -> Joint:
    """The law of averaged weights; a joint law's factors are averaged one by one.

    Raises:
        OptionError: If the decay is none, or no factor has a parameter.
    """
    laws = list({id(f.law): f.law for f in law.factors}.values())
    copies = {}
    for factor in laws:
        if next(nn.Module.parameters(factor), None) is not None or len(laws) == 1:
            twin = averaged(factor, decay, factor.prob_text)
            twin.name = subscripted(factor.name, "ema") if name is None else name
            copies[id(factor)] = twin
    if not copies:
        averaged(law, decay, law.prob_text)  # says that there is nothing to average
    factors = [replace(f, law=copies.get(id(f.law), f.law)) for f in law.factors]
    out = as_joint(law).rebuilt(factors)
    out.name = subscripted(law.name, "ema") if name is None else name
    return out
