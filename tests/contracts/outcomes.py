"""Objectives over discrete laws, and every outcome of their noise with its probability.

What a program draws is read off its steps; probabilities and exact values are plain torch.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import E, Function, values
from ancestral.program import instructions as ir

f64 = torch.float64
a, b = values("a b")


class Free(nn.Module):
    """A network that returns its own parameters in every row; conditions shift them."""

    def __init__(self, start: list[float]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=f64))
        self.weight = nn.Parameter(torch.linspace(-0.7, 0.9, len(start), dtype=f64))

    def forward(self, given: Tensor) -> Tensor:
        return self.theta + self.weight * given.flatten(1).sum(-1, keepdim=True)


class LocAndScale(nn.Module):
    """The same for a normal law: means, then logarithms of standard deviations."""

    def __init__(self, start: list[float]) -> None:
        super().__init__()
        self.free = Free(start)

    def forward(self, given: Tensor) -> dict[str, Tensor]:
        loc, log_scale = self.free(given).chunk(2, -1)
        return {"loc": loc, "scale": log_scale.exp()}


def bernoulli(name: str, cond: str, start: list[float]) -> Bernoulli:
    """q(name|cond) with free logits."""
    return Bernoulli(var=[name], cond_var=[cond], net=Free(start), name=f"q_{name}")


def categorical(name: str, cond: str, start: list[float], **options: Any) -> Categorical:
    """q(name|cond) with free logits."""
    return Categorical(var=[name], cond_var=[cond], net=Free(start), name=f"q_{name}", **options)


def normal(name: str, cond: str, start: list[float]) -> Normal:
    """q(name|cond) with free means and logarithms of standard deviations."""
    return Normal(var=[name], cond_var=[cond], net=LocAndScale(start), name=f"q_{name}")


def curve(*given: Tensor) -> Tensor:
    """A function of all components that is no sum of functions of each."""
    flat = torch.cat([g.reshape(len(g), -1).to(f64) for g in given], -1)
    s = (flat * torch.linspace(0.5, 1.5, flat.shape[-1], dtype=f64)).sum(-1)
    return 0.3 * s**2 - 0.8 * s + 1.1


f = Function(curve, name="f")


@dataclass
class Problem:
    """An objective of laws, the first over ``a`` given x = 1, the second over ``b`` given a.

    Args:
        laws: The laws.
        loss: The objective.
        by_hand: The objective from the probability of each outcome, the log densities of the laws
            and the values.
    """

    laws: tuple[Any, ...]
    loss: Any
    by_hand: Callable[[Tensor, list[Tensor], list[Tensor]], Tensor]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters."""
        return [p for law in self.laws for p in law.parameters()]

    def exact(self) -> tuple[Tensor, list[Tensor]]:
        """The objective and its gradient by summing over all values."""
        every = [value_of(law, outcomes(law)) for law in self.laws]
        index = torch.cartesian_prod(*(torch.arange(len(v)) for v in every))
        index = index.reshape(-1, len(every))
        picked = [v[index[:, i]] for i, v in enumerate(every)]
        givens = [torch.ones(len(index), 1, dtype=f64), *picked[:-1]]
        log_q = [log_density(*each) for each in zip(self.laws, picked, givens, strict=True)]
        total = self.by_hand(torch.stack(log_q).sum(0).exp(), log_q, picked)
        return total, list(torch.autograd.grad(total, self.parameters))


def three_bits() -> Problem:
    q = bernoulli("a", "x", [0.3, -1.0, 0.8])
    return Problem((q,), E(q, f(a)), lambda p, _, v: (p * curve(*v)).sum())


def entropy() -> Problem:
    """The body depends on the parameters itself."""
    q = bernoulli("a", "x", [0.3, -1.0])
    return Problem(
        (q,),
        E(q, f(a) - 0.7 * q.log_prob()),
        lambda p, log, v: (p * (curve(*v) - 0.7 * log[0])).sum(),
    )


def classes() -> Problem:
    q = categorical("a", "x", [0.3, -1.0, 0.8, 0.1])
    return Problem((q,), E(q, f(a) * f(a)), lambda p, _, v: (p * curve(*v) ** 2).sum())


def by_index() -> Problem:
    q = categorical("a", "x", [0.3, -1.0, 0.8], onehot=False)
    return Problem((q,), E(q, f(a).exp()), lambda p, _, v: (p * curve(*v).exp()).sum())


def squared() -> Problem:
    """Two draws of one law, one of them shared with a third expectation."""
    q = bernoulli("a", "x", [0.3])
    return Problem(
        (q,),
        E(q, f(a)) ** 2 - 0.5 * E(q, f(a) + 1),
        lambda p, _, v: (p * curve(*v)).sum() ** 2 - 0.5 * (p * (curve(*v) + 1)).sum(),
    )


def joint() -> Problem:
    q, r = bernoulli("a", "x", [0.3, -0.6]), bernoulli("b", "a", [0.5])
    return Problem((q, r), E(q * r, f(a, b)), lambda p, _, v: (p * curve(*v)).sum())


def nested() -> Problem:
    q, r = bernoulli("a", "x", [0.3]), bernoulli("b", "a", [0.5])
    return Problem(
        (q, r),
        E(q, f(a) + 2 * E(r, f(a, b) - r.log_prob())),
        lambda p, log, v: (p * (curve(v[0]) + 2 * (curve(*v) - log[1]))).sum(),
    )


def mixed() -> Problem:
    q, r = categorical("a", "x", [0.3, -0.2]), bernoulli("b", "a", [0.5])
    return Problem((q, r), E(q * r, f(a, b)), lambda p, _, v: (p * curve(*v)).sum())


def through_a_condition() -> Problem:
    """The body does not name the first draw: it acts through the second law alone."""
    q, r = bernoulli("a", "x", [0.3]), bernoulli("b", "a", [0.5, -0.4])
    return Problem((q, r), E(q * r, f(b)), lambda p, _, v: (p * curve(v[1])).sum())


PROBLEMS: dict[str, Callable[[], Problem]] = {
    make.__name__: make
    for make in (
        three_bits, entropy, classes, by_index, squared, joint, nested, mixed, through_a_condition
    )
}  # fmt: skip


# -- every outcome ------------------------------------------------------------
def outcomes(law: Any) -> Tensor:
    """The noise that gives each value of a draw, shape ``(values, *event)``."""
    size = len(law.net.theta)
    if isinstance(law, Bernoulli):  # uniform noise below the probability gives 1
        return torch.tensor(list(itertools.product((0.0, 1.0), repeat=size)), dtype=f64)
    return -1e6 * torch.eye(size, dtype=f64)  # Gumbel noise with its sign turned: the least wins


def value_of(law: Any, noise: Tensor) -> Tensor:
    """The value that such noise gives."""
    if isinstance(law, Bernoulli):
        return (noise == 0).to(f64)
    return (noise < 0).to(f64) if law.onehot else noise.argmin(-1)


def log_density(law: Any, value: Tensor, given: Tensor) -> Tensor:
    """The log density by hand; values and conditions have leading axes that broadcast."""
    event = 0 if value.dtype == torch.int64 else 1
    shift = given.sum(-1) if given.dtype == f64 else given.to(f64)
    eta = law.net.theta + law.net.weight * shift[..., None]
    if isinstance(law, Bernoulli):
        return F.logsigmoid(eta * (2 * value - 1)).sum(-1)
    onehot = value if event else F.one_hot(value, eta.shape[-1])
    return (onehot * eta.log_softmax(-1)).sum(-1)


def every_outcome(loss: Any, laws: tuple[Any, ...]) -> tuple[dict[str, Tensor], Tensor]:
    """The noise of every outcome, one per row, and the probability of each row.

    A draw with axes of the plan (draws, values of a table) has noise of its own for each entry.
    """
    by_var = {law.var[0]: law for law in laws}
    steps = [s for s in loss.program().steps if isinstance(s, (ir.Draw, ir.Table))]
    sizes = {s.out.axes[0]: len(outcomes(by_var[s.out.name])) for s in steps if _is_table(s)}
    plans = {
        s.out: [a.size or sizes[a] for a in s.out.axes if a.size or a in sizes] for s in steps
    }
    made = [s for s in steps if not _is_table(s)]
    choices = [
        range(len(outcomes(by_var[s.var]))) for s in made for _ in range(math.prod(plans[s.out]))
    ]
    every = list(itertools.product(*choices))
    index = torch.tensor(every, dtype=torch.int64).reshape(len(every), len(choices))
    noise: dict[str, Tensor] = {}
    drawn: dict[str, Tensor] = {"x": torch.ones(len(index), 1, dtype=f64)}
    tables: dict[str, tuple[Any, Tensor]] = {}
    log_p, at = torch.zeros(len(index), dtype=f64), 0
    for s in steps:
        if _is_table(s):
            law = by_var[s.out.name]
            every_value = value_of(law, outcomes(law))
            in_order = every_value.flip(0) if isinstance(law, Bernoulli) else every_value
            tables[s.out.name] = s.out.axes[0], in_order
            continue
        law, count = by_var[s.var], math.prod(plans[s.out])
        picked = outcomes(law)[index[:, at : at + count]].movedim(0, 1)
        at += count
        noise[s.noise] = picked.reshape(*plans[s.out], len(index), *picked.shape[2:])
        drawn[s.var] = value_of(law, noise[s.noise])
        parent = law.cond_var[0]
        if parent in tables:
            axis, given = tables[parent]
            lead = [len(given) if a == axis else 1 for a in s.out.axes]
            drawn[parent] = given.reshape(*lead, *given.shape[1:])
        each = log_density(law, drawn[s.var], drawn[parent])
        log_p = log_p + each.reshape(-1, len(index)).sum(0)
    return noise, log_p.exp().detach()


def _is_table(step: ir.Step) -> bool:
    return isinstance(step, ir.Table)
