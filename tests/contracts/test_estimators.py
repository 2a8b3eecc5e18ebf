"""Every estimator of ``ancestral.estimators``: the mean of its gradient is the exact gradient.

Estimators are found by walking the modules: one in a new file is tested without a word here.
There is no sampling: every outcome of the noise stands in a row of its own with its probability
(discrete laws), or every node of a Gauss-Hermite rule with its weight (normal laws, polynomials),
so that the mean over all draws is a weighted sum of rows, exact to rounding.
"""

import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ancestral.estimators as package
from ancestral.core.errors import GradientError, OptionError
from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.estimators.base import Estimator
from ancestral.losses import E, Function, values
from ancestral.program import instructions as ir

f64 = torch.float64


def members() -> list[type[Estimator]]:
    """The public estimators of the package's modules."""
    found = []
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for thing in vars(importlib.import_module(info.name)).values():
            own = isinstance(thing, type) and thing.__module__ == info.name
            if own and issubclass(thing, Estimator) and thing is not Estimator:
                found.append(thing)
    return found


def instances() -> Iterator[Estimator]:
    """Each estimator with each option that its constructor has."""
    for family in members():
        options = inspect.signature(family).parameters
        yield family()
        if "draws" in options:
            yield family(draws=2)
        if "baseline" in options:
            for thing in vars(inspect.getmodule(family)).values():
                own = isinstance(thing, type) and thing.__module__ == family.__module__
                if own and not issubclass(thing, Estimator) and "__call__" in vars(thing):
                    yield family(baseline=thing(), draws=2)
                    yield family(baseline=thing(), draws=3)


ESTIMATORS = list(instances())


# -- problems ---------------------------------------------------------------------------------------
class Free(nn.Module):
    """A network that returns its own parameters in every row; conditions shift them."""

    def __init__(self, size: int, start: Any) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.as_tensor(start, dtype=f64))
        self.weight = nn.Parameter(torch.linspace(-0.7, 0.9, size, dtype=f64))

    def forward(self, *given: Tensor) -> Tensor:
        shift = sum(g.flatten(1).sum(-1, keepdim=True) for g in given)
        return self.theta + self.weight * shift


def bernoulli(name: str, cond: list[str], start: list[float]) -> Bernoulli:
    net = Free(len(start), start)
    return Bernoulli(var=[name], cond_var=cond, net=net, name=f"q_{name}")


def categorical(name: str, cond: list[str], start: list[float], **options: Any) -> Categorical:
    net = Free(len(start), start)
    return Categorical(var=[name], cond_var=cond, net=net, name=f"q_{name}", **options)


def normal(name: str, cond: list[str], start: list[float]) -> Normal:
    net = Free(len(start), start)

    def split(*given: Tensor) -> dict[str, Tensor]:
        loc, log_scale = net(*given).chunk(2, -1)
        return {"loc": loc, "scale": log_scale.exp()}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *given: Tensor) -> dict[str, Tensor]:
            return split(*given)

    return Normal(var=[name], cond_var=cond, net=Net(), name=f"q_{name}")


def curve(*given: Tensor) -> Tensor:
    """A function of all components that is no sum of functions of each."""
    flat = torch.cat([g.flatten(1).to(f64) for g in given], -1)
    ramp = torch.linspace(0.5, 1.5, flat.shape[-1], dtype=f64)
    s = (flat * ramp).sum(-1)
    return 0.3 * s**2 - 0.8 * s + 1.1


F = Function(curve, name="f")
a, b, z = values("a b z")


class Problem:
    """An objective, its laws, and how to sum it exactly."""

    def __init__(self, write: Callable[..., Any], *laws: Any, over: Any = None) -> None:
        self.laws = laws
        self.over = over if over is not None else laws[0]
        self.write = write

    def loss(self, chosen: Estimator, *, scored: tuple[int, ...] = ()) -> Any:
        """The objective with the estimator of the laws; others are enumerated or pathwise."""
        keys = [self.laws[i] for i in scored] if scored else self.laws
        return self.write(*self.laws).estimate(dict.fromkeys(keys, chosen))

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for law in self.laws for p in law.parameters()]


def problems() -> dict[str, Callable[[], Problem]]:
    """Name -> a fresh problem over discrete laws with few outcomes."""

    def three_bits() -> Problem:
        return Problem(lambda q: E(q, F(values("a"))), bernoulli("a", ["x"], [0.3, -1.0, 0.8]))

    def entropy() -> Problem:
        return Problem(
            lambda q: E(q, F(a) - 0.7 * q.log_prob()), bernoulli("a", ["x"], [0.3, -1.0])
        )

    def classes() -> Problem:
        return Problem(lambda q: E(q, F(a) * F(a)), categorical("a", ["x"], [0.3, -1.0, 0.8, 0.1]))

    def by_index() -> Problem:
        q = categorical("a", ["x"], [0.3, -1.0, 0.8], onehot=False)
        return Problem(lambda q: E(q, F(a).exp()), q)

    def joint() -> Problem:
        return Problem(
            lambda q, r: E(q * r, F(a, b)),
            bernoulli("a", ["x"], [0.3, -0.6]), bernoulli("b", ["a"], [0.5]),
        )  # fmt: skip

    def nested() -> Problem:
        return Problem(
            lambda q, r: E(q, F(a) + 2 * E(r, F(a, b) - r.log_prob())),
            bernoulli("a", ["x"], [0.3]), bernoulli("b", ["a"], [0.5]),
        )  # fmt: skip

    def squared() -> Problem:
        return Problem(
            lambda q: E(q, F(a)) ** 2 - 0.5 * E(q, F(a) + 1), bernoulli("a", ["x"], [0.3])
        )

    def mixed() -> Problem:
        return Problem(
            lambda q, r: E(q * r, F(a, b)),
            categorical("a", ["x"], [0.3, -0.2]), bernoulli("b", ["a"], [0.5]),
        )  # fmt: skip

    def conditions_only() -> Problem:
        """The second law's density carries the gradient to the first one's parameters."""
        return Problem(
            lambda q, r: E(q * r, F(b)),
            bernoulli("a", ["x"], [0.3]), bernoulli("b", ["a"], [0.5, -0.4]),
        )  # fmt: skip

    return {k: v for k, v in locals().items() if callable(v)}


DISCRETE = problems()


# -- every outcome ----------------------------------------------------------------------------------
def outcomes(law: Any) -> Tensor:
    """The noise of each value of one draw, shape ``(values, *event)``."""
    size = law.net.theta.shape[-1]
    if isinstance(law, Bernoulli):
        return torch.tensor(list(itertools.product((0.0, 1.0), repeat=size)), dtype=f64)
    return 1e6 * torch.eye(size, dtype=f64)


def value_of(law: Any, noise: Tensor) -> Tensor:
    """The value that noise stands for."""
    if isinstance(law, Bernoulli):
        return (noise == 0).to(f64)
    return noise.argmax(-1) if not law.onehot else (noise > 0).to(f64)


def log_density(law: Any, value: Tensor, given: Tensor) -> Tensor:
    """The log density of values by hand, any leading axes."""
    lead = torch.broadcast_shapes(value.shape[: value.dim() - _event(law)], given.shape[:-1])
    eta = law.net.theta + law.net.weight * given.sum(-1, keepdim=True)
    eta = eta.expand(*lead, eta.shape[-1])
    if isinstance(law, Bernoulli):
        return -nn.functional.softplus(eta * (1 - 2 * value)).sum(-1)
    value = nn.functional.one_hot(value, eta.shape[-1]) if not law.onehot else value
    return (value * eta.log_softmax(-1)).sum(-1)


def _event(law: Any) -> int:
    return 0 if isinstance(law, Categorical) and not law.onehot else 1


def every_outcome(loss: Any, laws: tuple[Any, ...]) -> tuple[dict[str, Tensor], Tensor]:
    """The noise of every outcome, one per row, and the probability of each."""
    by_var = {law.var[0]: law for law in laws}
    steps = [s for s in loss.program().steps if isinstance(s, ir.Draw)]
    choices = []
    for s in steps:
        count = int(np.prod([a.size for a in s.out.axes if a.size]))
        choices += [range(len(outcomes(by_var[s.var])))] * count
    index = torch.tensor(list(itertools.product(*choices))).reshape(-1, len(choices))
    noise: dict[str, Tensor] = {}
    drawn: dict[str, Tensor] = {}
    log_p = torch.zeros(len(index), dtype=f64)
    at = 0
    for s in steps:
        law, plan = by_var[s.var], [a.size for a in s.out.axes if a.size]
        count = int(np.prod(plan))
        picked = outcomes(law)[index[:, at : at + count]]  # (rows, plan, event)
        at += count
        noise[s.noise] = picked.movedim(0, 1).reshape(*plan, len(index), *picked.shape[2:])
        drawn[s.var] = value_of(law, noise[s.noise])
        parent = law.cond_var[0]
        given = torch.ones(len(index), 1, dtype=f64) if parent == "x" else drawn[parent].to(f64)
        given = given[..., None] if parent != "x" and _event(by_var[parent]) == 0 else given
        each = log_density(law, drawn[s.var], given)
        log_p = log_p + each.sum(tuple(range(each.dim() - 1)))
    return noise, log_p.exp().detach()


def exact(problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """The objective and its gradient by summing over all values, in plain torch."""
    first, *rest = problem.laws
    every = [value_of(law, outcomes(law)) for law in problem.laws]
    rows = list(itertools.product(*(range(len(v)) for v in every)))
    picked = [v[[r[i] for r in rows]] for i, v in enumerate(every)]
    log_q = []
    for law, value in zip(problem.laws, picked, strict=True):
        given = torch.ones(len(rows), 1, dtype=f64) if law is first else picked[0].to(f64)
        log_q.append(log_density(law, value, given))
    p = sum(log_q).exp()
    value = BY_HAND[problem.name](p, log_q, picked)
    return value, list(torch.autograd.grad(value, problem.parameters, allow_unused=True))


BY_HAND: dict[str, Callable[[Tensor, list[Tensor], list[Tensor]], Tensor]] = {
    "three_bits": lambda p, _, v: (p * curve(*v)).sum(),
    "entropy": lambda p, log, v: (p * (curve(*v) - 0.7 * log[0])).sum(),
    "classes": lambda p, _, v: (p * curve(*v) ** 2).sum(),
    "by_index": lambda p, _, v: (p * curve(v[0][:, None]).exp()).sum(),
    "joint": lambda p, _, v: (p * curve(*v)).sum(),
    "nested": lambda p, log, v: (p * (curve(v[0]) + 2 * (curve(*v) - log[1]))).sum(),
    "squared": lambda p, _, v: (p * curve(*v)).sum() ** 2 - 0.5 * (p * (curve(*v) + 1)).sum(),
    "mixed": lambda p, _, v: (p * curve(*v)).sum(),
    "conditions_only": lambda p, _, v: (p * curve(v[1])).sum(),
}


def mean_gradient(loss: Any, problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """The mean value and gradient over every outcome of the noise."""
    noise, p = every_outcome(loss, problem.laws)
    function = (values("w") * loss).sum().function()
    batch = {"x": torch.ones(len(p), 1, dtype=f64), "w": p}
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    for _ in range(2):  # the interpreter, then the generated step
        value = function(batch, noise=noise)
        found = torch.autograd.grad(value, problem.parameters, allow_unused=True)
    return value, list(found)


def close(found: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert sum(g.abs().sum().item() for g in wanted) > 0.05


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("chosen", ESTIMATORS, ids=repr)
def test_the_mean_gradient_is_exact_for_discrete_laws(chosen: Estimator, name: str) -> None:
    problem = DISCRETE[name]()
    problem.name = name
    if chosen.how == "path":
        with pytest.raises(GradientError, match=r"Enumerate\(\) or Score"):
            problem.loss(chosen).program()
        return
    loss = problem.loss(chosen)
    value, found = mean_gradient(loss, problem)
    expected, wanted = exact(problem)
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)  # the objective's value
    close(found, wanted)


def test_estimators_are_found() -> None:
    names = {family.__name__ for family in members()}
    assert {"Pathwise", "Score", "Enumerate"} <= names
    assert {e.how for e in ESTIMATORS} == {"path", "cut", "table"}
    assert sum(getattr(e, "baseline", None) is not None for e in ESTIMATORS) >= 2


@pytest.mark.parametrize("order", [(0,), (1,)])
def test_one_law_enumerated_and_the_other_scored(order: tuple[int, ...]) -> None:
    scored, table = (next(e for e in ESTIMATORS if e.how == how) for how in ("cut", "table"))
    for name in ("joint", "nested", "mixed", "conditions_only"):
        problem = DISCRETE[name]()
        problem.name = name
        laws = problem.laws
        choices = {laws[order[0]]: scored, laws[1 - order[0]]: table}
        loss = problem.write(*laws).estimate(choices)
        value, found = mean_gradient_of_some(loss, problem)
        expected, wanted = exact(problem)
        assert value.item() == pytest.approx(expected.item(), abs=1e-12)
        close(found, wanted)
