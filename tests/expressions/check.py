"""One random expression, three ways: the generated text, the interpreter, the oracle."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.runtime.interpret import interpret
from ancestral.runtime.run import Run
from tests.expressions import build
from tests.expressions.generate import Case
from tests.expressions.world import SCALARS, World, world
from tests.oracles.expressions import Evaluation
from tests.oracles.plain import UnspecifiedError

TOLERANCE = 1e-9
STEP = 1e-7  # of the perturbation that estimates the condition number
LARGEST_CONDITION = 1e6
NEAREST_KINK = 1e-5


@dataclass(frozen=True)
class Answer:
    """A value and its gradient in the weights, end to end."""

    value: Tensor
    gradient: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, value: Tensor, weights: list[Tensor]) -> "Answer":
        """The value, and the derivative of a sum that gives each row a weight of its own."""
        found: tuple[Tensor | None, ...] = (None,) * len(weights)
        if value.requires_grad and weights:
            mix = torch.linspace(0.7, 1.3, value.numel(), dtype=torch.float64)
            total = (value.reshape(-1) * mix).sum()
            found = torch.autograd.grad(total, weights, allow_unused=True)
        parts = [
            (torch.zeros_like(w) if g is None else g).reshape(-1)
            for g, w in zip(found, weights, strict=True)
        ]
        gradient = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
        return cls(value.detach().reshape(-1), gradient, tuple(value.shape))

    @property
    def is_finite(self) -> bool:
        """Whether no number is infinite or missing."""
        return bool(self.value.isfinite().all() and self.gradient.isfinite().all())


def distance(a: Answer, b: Answer) -> tuple[float, str]:
    """The largest |a - b| / max(1, |b|), and where; infinite if shapes differ."""
    if a.shape != b.shape:
        return math.inf, f"the value's shape, {a.shape} and {b.shape}"
    x, y = torch.cat([a.value, a.gradient]), torch.cat([b.value, b.gradient])
    gaps = (x - y).abs() / y.abs().clamp(min=1.0)
    worst = int(gaps.nan_to_num(math.inf).argmax())
    return float(gaps[worst]), "the value" if worst < a.value.numel() else "the gradient"


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
        oracle = Evaluation(c.expr, w.laws, w.functions, c.plans, set(SCALARS), w.rows, c.seed)
    except UnspecifiedError:
        return False
    keys = w.weights_of(c.expr)
    before = torch.cat([w.weights[k].reshape(-1) for k in keys]) if keys else torch.zeros(0)
    now = _moved(before, 0.1, generator)
    near = _moved(now, STEP, generator)
    try:
        with torch.no_grad():
            first = oracle(w.data, w.unflattened(keys, before))
        margin = oracle.margin
        expected = _by_oracle(oracle, w, keys, now)
        margin = min(margin, oracle.margin)
        moved = _by_oracle(oracle, w, keys, near)
    except UnspecifiedError:
        return False
    finite = bool(first.isfinite().all()) and expected.is_finite and moved.is_finite
    if not finite or margin < NEAREST_KINK:
        return False
    if distance(moved, expected)[0] > LARGEST_CONDITION * STEP:
        return False
    text, interpreted = _ours(c, w, oracle.noise, keys, before, now)
    for name, answer in (("generated text", text), ("interpreter", interpreted)):
        gap, where = distance(answer, expected)
        if not gap <= TOLERANCE:
            raise Mismatch(f"{name} and oracle differ by {gap:.3g} in {where}")
    return True


def _moved(weights: Tensor, step: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(weights.shape, dtype=torch.float64, generator=generator)
    return weights * (1 + step * noise.clamp(-2, 2))


def _by_oracle(oracle: Evaluation, w: World, keys: list[str], flat: Tensor) -> Answer:
    weights = w.unflattened(keys, flat)
    for weight in weights.values():
        weight.requires_grad_()
    return Answer.of(oracle(w.data, weights), list(weights.values()))


def _ours(
    c: Case, w: World, noise: dict[str, Tensor], keys: list[str], before: Tensor, now: Tensor
) -> tuple[Answer, Answer]:
    """The text, generated at other weights than it is run at; and the interpreter."""
    try:
        w.set_weights(w.unflattened(keys, before))
        function = build.estimated(w, c.expr, c.plans).function()
        data = {k: w.data[k] for k in function.loss.input_var}
        scalars = frozenset(k for k, v in data.items() if v.dim() == 0)
        program = function.program(scalars)
        if set(program.draws) != set(noise):
            raise Mismatch(f"draws {sorted(program.draws)}, by the oracle {sorted(noise)}")
        function(data, noise=noise, batch_n=w.rows)
        w.set_weights(w.unflattened(keys, now))
        parameters: list[Tensor] = [w.parameters[k] for k in keys]
        text = Answer.of(function(data, noise=noise, batch_n=w.rows), parameters)
        run = Run(program, data, noise, None, w.rows)
        return text, Answer.of(interpret(run), parameters)
    finally:
        w.set_weights(w.unflattened(keys, before))
