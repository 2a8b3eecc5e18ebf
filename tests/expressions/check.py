"""One random expression, three ways: the generated text, the interpreter, the oracle."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ancestral.runtime.interpret import interpret
from ancestral.runtime.run import Run
from tests.expressions import build
from tests.expressions.generate import Case
from tests.expressions.world import SCALARS, World, world
from tests.oracles.expressions import Evaluation
from tests.oracles.sharing import UnspecifiedError

TOLERANCE = 1e-9
STEP = 1e-7  # of the perturbation that estimates the condition number
LARGEST_CONDITION = 1e6
NEAREST_KINK = 1e-5


@dataclass(frozen=True)
class Answer:
    """A value and its gradient in the weights."""

    value: Tensor
    gradient: dict[str, Tensor]

    @classmethod
    def of(cls, value: Tensor, weights: dict[str, Tensor]) -> "Answer":
        """The value, and the derivative of its sum with distinct weights per row."""
        keys = list(weights)
        if not value.requires_grad:
            return cls(value.detach(), {k: torch.zeros_like(weights[k]) for k in keys})
        mix = torch.linspace(0.7, 1.3, max(value.numel(), 1), dtype=torch.float64)
        total = (value.reshape(-1) * mix).sum()
        found = torch.autograd.grad(total, [weights[k] for k in keys], allow_unused=True)
        gradient = {
            k: torch.zeros_like(weights[k]) if g is None else g
            for k, g in zip(keys, found, strict=True)
        }
        return cls(value.detach(), gradient)

    def parts(self) -> list[tuple[str, Tensor]]:
        """All numbers, by name."""
        return [("value", self.value), *((f"d/d {k}", g) for k, g in self.gradient.items())]

    @property
    def is_finite(self) -> bool:
        """Whether no number is infinite or missing."""
        return all(bool(t.isfinite().all()) for _, t in self.parts())


def distance(a: Answer, b: Answer) -> tuple[float, str]:
    """The largest |a - b| / max(1, |b|), and where; infinite if shapes differ."""
    worst, where = 0.0, ""
    for (name, x), (_, y) in zip(a.parts(), b.parts(), strict=True):
        if x.shape != y.shape:
            return math.inf, f"{name} of shape {tuple(x.shape)} and {tuple(y.shape)}"
        gap = float(((x - y).abs() / y.abs().clamp(min=1.0)).max()) if x.numel() else 0.0
        if not gap <= worst:
            worst, where = gap, name
    return worst, where


class Mismatch(AssertionError):
    """Two of the three ways disagree, or one of them raised."""


def check(c: Case) -> bool:
    """Raise if the three ways disagree; whether the expression was valid.

    Valid is what the language defines, is finite, stands away from kinks and has a condition
    number below a million.
    """
    w = world(c.world)
    generator = torch.Generator().manual_seed(c.seed)
    try:
        oracle = Evaluation(
            c.expr, w.laws, w.functions, c.plans, set(SCALARS), w.rows, c.seed
        )
    except UnspecifiedError:
        return False
    before = {k: v.clone() for k, v in w.weights.items()}
    now = {k: _moved(v, 0.1, generator).requires_grad_() for k, v in w.weights.items()}
    near = {k: _moved(v.detach(), STEP, generator).requires_grad_() for k, v in now.items()}
    try:
        expected = Answer.of(oracle(w.data, now), now)
        margin = oracle.margin
        moved = Answer.of(oracle(w.data, near), near)
    except UnspecifiedError:
        return False
    if not expected.is_finite or not moved.is_finite or margin < NEAREST_KINK:
        return False
    if distance(moved, expected)[0] > LARGEST_CONDITION * STEP:
        return False
    text, interpreted = _ours(c, w, oracle.noise, before, now)
    for name, answer in (("generated text", text), ("interpreter", interpreted)):
        gap, where = distance(answer, expected)
        if not gap <= TOLERANCE:
            raise Mismatch(f"{name} and oracle differ by {gap:.3g} in {where}")
    return True


def _moved(value: Tensor, step: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(value.shape, dtype=value.dtype, generator=generator)
    return value * (1 + step * noise.clamp(-2, 2))


def _ours(
    c: Case, w: World, noise: dict[str, Tensor], before: Any, now: Any
) -> tuple[Answer, Answer]:
    """The text, generated at other weights than it is run at; and the interpreter."""
    w.set_weights(before)
    function = build.estimated(w, c.expr, c.plans).function()
    data = {k: w.data[k] for k in function.loss.input_var}
    scalars = frozenset(k for k, v in data.items() if v.dim() == 0)
    program = function.program(scalars)
    if set(program.draws) != set(noise):
        raise Mismatch(f"draws {sorted(program.draws)}, by the oracle {sorted(noise)}")
    function(data, noise=noise, batch_n=w.rows)
    w.set_weights(now)
    text = Answer.of(function(data, noise=noise, batch_n=w.rows), w.parameters)
    run = Run(program, data, noise, None, w.rows)
    return text, Answer.of(interpret(run), w.parameters)
