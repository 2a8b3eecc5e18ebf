"""Every estimator of ``ancestral.estimators``: the mean of its gradient is the exact gradient.

One that is biased says so in the program; the mean of its value is exact all the same, but for one
that relaxes the draw itself, which has tests of its own.

Estimators are found by walking the modules: one in a new file is tested without a word here.
There is no sampling: every outcome of the noise stands in a row of its own, weighted by its
probability (discrete laws), or every node of a Gauss-Hermite rule by its weight (normal laws and
polynomials), so that the mean over all draws is a sum over rows, exact to rounding.
"""

import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ancestral.estimators as package
from ancestral.core.errors import GradientError, OptionError
from ancestral.distributions import Normal
from ancestral.estimators.base import Estimator
from ancestral.losses import (
    E,
    Enumerate,
    Function,
    Learned,
    LeaveOneOut,
    MovingAverage,
    Pathwise,
    Score,
    values,
)
from tests.contracts.linear_model import data, exact, linear
from tests.contracts.outcomes import (
    PROBLEMS,
    Free,
    Problem,
    bernoulli,
    curve,
    every_outcome,
    f,
    f64,
    log_density,
    normal,
    outcomes,
    value_of,
)
from tests.estimators.quadrature import coin_rule, couple_rule

a, x, w, z = values("a x w z")


# baselines that steps hand on, one of them a network of weights that were never trained
KEPT = [
    MovingAverage(),
    MovingAverage(decay=0.0),
    Learned(Free([0.4])),
    Learned(Free([0.4]), decay=0.5, normalise=True),
]


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
    """Each estimator, with each option that its constructor has."""
    for family in members():
        options: Any = inspect.signature(family).parameters
        net = (
            {"net": torch.nn.Sequential(Free([0.4]), torch.nn.Tanh())} if "net" in options else {}
        )
        yield family(**net)
        if "draws" in options:
            yield family(**net, draws=2)
        if "baseline" in options:
            for thing in vars(inspect.getmodule(family)).values():
                own = isinstance(thing, type) and thing.__module__ == family.__module__
                if own and not issubclass(thing, Estimator) and "__call__" in vars(thing):
                    yield family(baseline=thing(), draws=2)
                    yield family(baseline=thing(), draws=3)
            for baseline in KEPT:
                yield family(baseline=baseline)
            yield family(baseline=KEPT[0], draws=2)


ALL = list(instances())
ESTIMATORS = [e for e in ALL if not (e.biased or e.over_copies or e.how in ("versions", "layers"))]
LAYERS = [e for e in ALL if e.how == "layers"]  # which draw the layers of a network
VERSIONS = [e for e in ALL if e.how == "versions"]  # whose means are integrals over their noise
BOUNDS = [e for e in ALL if e.over_copies]  # those of bounds over copies, which have their tests
BIASED = [e for e in ALL if e.biased and e.how != "relaxed"]


def test_estimators_are_found() -> None:
    names = {family.__name__ for family in members()}
    assert {"Pathwise", "Score", "Enumerate"} <= names
    assert {e.how for e in ESTIMATORS} == {"path", "cut", "table"}
    assert {e.how for e in BOUNDS} == {"path", "cut"}
    assert {e.how for e in ALL if e.biased} == {"through", "relaxed", "cut"}
    assert sum(getattr(e, "baseline", None) is not None for e in ESTIMATORS) >= 2


def mean_over_outcomes(loss: Any, problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """The mean value and mean gradient."""
    noise, p = every_outcome(loss, problem.laws)
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    function = (w * loss).sum().function()
    batch = {"x": torch.ones(len(p), 1, dtype=f64), "w": p}
    for _ in range(2):  # the interpreter, then the generated step
        value = function(batch, noise=noise, state=some_moments(loss))
        found = torch.autograd.grad(value, problem.parameters)
    return value, list(found)


def some_moments(loss: Any) -> dict[str, Tensor]:
    """What steps may have left of each baseline: a weight, a mean, a variance."""
    kept = loss.program().kept
    moments = torch.tensor([0.6, 0.9, 2.25], dtype=f64)
    return {name: moments[: register.axes[0].size] for name, register in kept.items()}


def close(found: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
        assert other.abs().max() > 1e-3


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("chosen", ESTIMATORS, ids=repr)
def test_the_mean_gradient_is_exact_for_discrete_laws(chosen: Estimator, name: str) -> None:
    problem = PROBLEMS[name]()
    loss = problem.loss.estimate(dict.fromkeys(problem.laws, chosen))
    if chosen.how == "path":
        with pytest.raises(GradientError, match=r"Enumerate\(\) or Score"):
            loss.program()
        return
    if name in ("three_bits", "classes") and (chosen.draws or 0) > 2:
        return  # too many outcomes to be quick
    value, found = mean_over_outcomes(loss, problem)
    expected, wanted = problem.exact()
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    close(found, wanted)


@pytest.mark.parametrize("name", ["three_bits", "classes"])
@pytest.mark.parametrize("chosen", BIASED, ids=repr)
def test_a_biased_gradient_is_marked_and_its_value_exact(chosen: Estimator, name: str) -> None:
    problem = PROBLEMS[name]()
    loss = problem.loss.estimate(dict.fromkeys(problem.laws, chosen))
    assert "(biased)" in str(loss.program())
    if (chosen.draws or 0) > 1:
        return  # too many outcomes to be quick
    value, _ = mean_over_outcomes(loss, problem)
    assert value.item() == pytest.approx(problem.exact()[0].item(), abs=1e-12)


@pytest.mark.parametrize("enumerated", [0, 1])
@pytest.mark.parametrize("name", ["joint", "nested", "mixed", "through_a_condition"])
def test_one_law_enumerated_and_the_other_estimated(name: str, enumerated: int) -> None:
    table = next(e for e in ESTIMATORS if e.how == "table")
    for chosen in (e for e in ESTIMATORS if e.how == "cut" and (e.draws or 0) < 3):
        problem = PROBLEMS[name]()
        laws = problem.laws
        loss = problem.loss.estimate({laws[enumerated]: table, laws[1 - enumerated]: chosen})
        value, found = mean_over_outcomes(loss, problem)
        expected, wanted = problem.exact()
        assert value.item() == pytest.approx(expected.item(), abs=1e-12)
        close(found, wanted)


# -- normal laws ------------------------------------------------------------
def rule(nodes: int, draws: int) -> tuple[Tensor, Tensor]:
    """A product rule for standard normal noise: nodes ``(draws, rows, 1)``, weights ``(rows,)``."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    index = list(itertools.product(range(nodes), repeat=draws))
    noise = torch.tensor(points[np.array(index)].T.copy())[..., None]
    return noise, torch.tensor(weights[np.array(index)].prod(1))


@pytest.mark.parametrize("chosen", ESTIMATORS, ids=repr)
def test_the_mean_gradient_is_exact_for_a_normal_law(chosen: Estimator) -> None:
    """E[z^3 - z^2 + log q] = m^3 + 3 m s^2 - m^2 - s^2 - log s - (1 + log 2 pi) / 2."""
    q = normal("z", "x", [0.4, -0.3])
    cube = Function(lambda v: v[:, 0] ** 3 - v[:, 0] ** 2, name="f")
    loss = E(q, cube(z) + q.log_prob()).estimate({q: chosen})
    if chosen.how == "table":
        with pytest.raises(OptionError, match="cannot be enumerated"):
            loss.program()
        return
    count = loss.program().draws["z"].axes[0].size or 1
    noise, weights = rule(8, count)
    function = (w * loss).sum().function()
    batch = {"x": torch.ones(len(weights), 1, dtype=f64), "w": weights}
    noise = noise if count > 1 else noise[0]
    parameters = list(q.parameters())
    for _ in range(2):
        value = function(batch, noise={"z": noise}, state=some_moments(loss))
        found = list(torch.autograd.grad(value, parameters))
    m, log_s = q.net.free(torch.ones(1, 1, dtype=f64))[0]
    s = log_s.exp()
    exact = m**3 + 3 * m * s**2 - m**2 - s**2 - log_s - 0.5 - 0.5 * np.log(2 * np.pi)
    assert value.item() == pytest.approx(exact.item(), abs=1e-10)
    close(found, list(torch.autograd.grad(exact, parameters)))


def test_the_score_of_a_normal_law_is_not_mixed_with_its_path() -> None:
    """d/d log s of E[-z^2 / 2] at s = 1 is -1; score and path in one term gave +0.91."""
    q = normal("z", "x", [0.0, 0.0])
    body = Function(lambda v: -0.5 * v[:, 0] ** 2, name="f")(z)
    score = next(e for e in ESTIMATORS if e.how == "cut" and e.draws is None)
    noise, weights = rule(8, 1)
    batch = {"x": torch.zeros(len(weights), 1, dtype=f64), "w": weights}
    for loss in (E(q, body).estimate({q: score}), E(q, body, reparam=False), E(q, body)):
        value = (w * loss).sum().eval(batch, noise={"z": noise[0]})
        (slope,) = torch.autograd.grad(value, q.net.free.theta)
        torch.testing.assert_close(slope, torch.tensor([0.0, -1.0], dtype=f64))


def test_a_discrete_draw_before_a_pathwise_one() -> None:
    """E over y of E over z given y: the path goes through z, the score through y."""
    q_y, q_z = bernoulli("a", "x", [0.3]), normal("z", "a", [0.4, -0.3])
    square = Function(lambda y, v: (v[:, 0] + y[:, 0]) ** 2, name="f")
    body = square(values("a"), z)
    parameters = [*q_y.parameters(), *q_z.parameters()]
    points, weights = rule(6, 1)

    def exact() -> Tensor:
        y = torch.tensor([[0.0], [1.0]], dtype=f64)
        on = q_y.net(torch.ones(1, 1, dtype=f64))[0, 0].sigmoid()
        p = torch.stack([1 - on, on])
        m, log_s = q_z.net.free(y).unbind(-1)
        return (p * ((m + y[:, 0]) ** 2 + (2 * log_s).exp())).sum()

    wanted = list(torch.autograd.grad(exact(), parameters))
    for loss in (E(q_y, E(q_z, body)), E(q_y * q_z, body)):
        for chosen in (e for e in ESTIMATORS if e.how == "cut" and e.draws is None):
            planned = loss.estimate({q_y: chosen})
            bits = torch.tensor([0.0, 1.0], dtype=f64).repeat_interleave(len(weights))
            on = q_y.net(torch.ones(1, 1, dtype=f64))[0, 0].sigmoid().detach()
            p = torch.where(bits == 0, on, 1 - on) * weights.repeat(2)
            noise = {"a": bits[:, None], "z": points[0].repeat(2, 1)}
            batch = {"x": torch.ones(len(p), 1, dtype=f64), "w": p}
            value = (w * planned).sum().eval(batch, noise=noise)
            assert value.item() == pytest.approx(exact().item(), abs=1e-10)
            close(list(torch.autograd.grad(value, parameters)), wanted)
        for chosen in (e for e in ESTIMATORS if e.how == "table"):
            planned = loss.estimate({q_y: chosen})
            batch = {"x": torch.ones(len(weights), 1, dtype=f64), "w": weights}
            noise = {"z": points[0].expand(2, -1, 1)}
            value = (w * planned).sum().eval(batch, noise=noise)
            assert value.item() == pytest.approx(exact().item(), abs=1e-10)
            close(list(torch.autograd.grad(value, parameters)), wanted)


# -- bounds over copies ---------------------------------------------------------
def bound_over(q: Any, log_w: Any, copies: int) -> Any:
    return E(q.iid(k=copies), log_w.exp().mean("k").log())


@pytest.mark.parametrize("chosen", BOUNDS, ids=repr)
def test_an_estimator_of_bounds_is_refused_elsewhere(chosen: Estimator) -> None:
    law = bernoulli("z", "x", [0.3]) if chosen.how == "cut" else normal("z", "x", [0.3, 0.1])
    body = Function(lambda v: v[:, 0] ** 2, name="f")(z)
    with pytest.raises(OptionError, match=r"for a bound over copies, .*Of single draws use"):
        E(law, body).estimate({law: chosen}).program()
    for other in (body.mean("k"), body.exp().mean("k").log() + body.mean("k")):
        with pytest.raises(OptionError, match="logarithm of a mean over copies alone"):
            E(law.iid(k=2), other).estimate({law: chosen}).program()


@pytest.mark.parametrize("chosen", [e for e in BOUNDS if e.draws is None], ids=repr)
def test_the_mean_gradient_of_a_bound_is_exact_for_discrete_laws(chosen: Estimator) -> None:
    """Six bits in two copies: 4,096 outcomes; the law and the model are both trained."""
    q = bernoulli("a", "x", [0.3, -1.0, 0.8, 0.1, -0.4, 1.3])
    p = bernoulli("x", "a", [-0.6])
    loss = bound_over(q, p.log_prob() + f(a) - q.log_prob(), 2).estimate({q: chosen})
    if chosen.how == "path":
        with pytest.raises(GradientError, match=r"(?s)DReG.*no pathwise derivative. Use VIMCO"):
            loss.program()
        return
    problem = Problem((q, p), loss, lambda *_: torch.zeros(()))
    noise, weight = every_outcome(loss, (q,))
    assert len(weight) == 4096
    function, batch = (w * loss).sum().function(), {"x": torch.ones(4096, 1, dtype=f64)}
    for _ in range(2):
        value = function({**batch, "w": weight}, noise=noise)
        found = list(torch.autograd.grad(value, problem.parameters))
    every = value_of(q, outcomes(q))
    log_q = log_density(q, every, torch.ones(64, 1, dtype=f64))
    log_w = log_density(p, torch.ones(64, 1, dtype=f64), every) + curve(every) - log_q
    rows = torch.logaddexp(log_w[:, None], log_w) - np.log(2.0)
    exact = ((log_q[:, None] + log_q).exp() * rows).sum()
    assert value.item() == pytest.approx(exact.item(), abs=1e-12)
    close(found, list(torch.autograd.grad(exact, problem.parameters)))


@pytest.mark.parametrize("chosen", [e for e in BOUNDS if e.how == "cut"][:1], ids=repr)
def test_the_mean_gradient_of_a_bound_is_exact_for_two_discrete_laws(chosen: Estimator) -> None:
    """The second is drawn given the first; both have the estimator, or one another's."""
    q, r = bernoulli("a", "x", [0.3, -1.0]), bernoulli("b", "a", [0.5])
    log_w = f(a, values("b")) - 0.6 * q.log_prob() - r.log_prob()
    parameters = [*q.parameters(), *r.parameters()]
    for plan in ({q: chosen, r: chosen}, {q: chosen, r: Score()}, {q: Score(), r: chosen}):
        loss = bound_over(q * r, log_w, 2).estimate(plan)
        noise, weight = every_outcome(loss, (q, r))
        batch = {"x": torch.ones(len(weight), 1, dtype=f64), "w": weight}
        value = (w * loss).sum().eval(batch, noise=noise)
        first, second = value_of(q, outcomes(q)), value_of(r, outcomes(r))
        index = torch.cartesian_prod(torch.arange(4), torch.arange(2))
        given, last = first[index[:, 0]], second[index[:, 1]]
        log_q = log_density(q, given, torch.ones(8, 1, dtype=f64))
        log_r = log_density(r, last, given)
        each = curve(given, last) - 0.6 * log_q - log_r
        rows = torch.logaddexp(each[:, None], each) - np.log(2.0)
        log_p = log_q + log_r
        exact = ((log_p[:, None] + log_p).exp() * rows).sum()
        assert value.item() == pytest.approx(exact.item(), abs=1e-12)
        close(list(torch.autograd.grad(value, parameters)), gradient_of(exact, parameters))


def gradient_of(value: Tensor, parameters: list[Any]) -> list[Tensor]:
    return list(torch.autograd.grad(value, parameters))


class Mean(torch.nn.Module):
    """A mean that is linear in the condition, and a fixed scale."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = Free([0.2])

    def forward(self, given: Tensor) -> dict[str, Any]:
        return {"loc": self.mean(given), "scale": 0.8}


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("factor", [1.0, 0.4])
@pytest.mark.parametrize("chosen", [e for e in BOUNDS if e.draws is None], ids=repr)
def test_the_mean_gradient_of_a_bound_is_exact_for_a_normal_law(
    chosen: Estimator, factor: float, copies: int
) -> None:
    """By quadrature against the pathwise gradient; with a factor below 1, Renyi's bound."""
    q, p = normal("z", "x", [0.4, -1.4]), Normal(var=["x"], cond_var=["z"], net=Mean(), name="p_x")
    prior = Normal(var=["z"], loc=0.3, scale=1.2, features_shape=[1], name="p").double()
    log_w = factor * ((p * prior).log_prob() - q.log_prob())
    loss = bound_over(q, log_w, copies)
    if copies == 1 and chosen.how == "cut":
        with pytest.raises(OptionError, match=r"one copy .* or use Score\(\)"):
            loss.estimate({q: chosen}).program()
        return
    noise, weight = rule(64, copies)
    batch = {"x": torch.ones(len(weight), 1, dtype=f64), "w": weight}
    parameters = [*q.parameters(), *p.parameters()]
    found = []
    for plan in (Pathwise(), chosen):
        function = (w * loss.estimate({q: plan})).sum().function()
        for _ in range(2):
            value = function(batch, noise={"z": noise})
            found.append((value, torch.autograd.grad(value, parameters)))
    for value, gradient in found[1:]:
        assert value.item() == pytest.approx(found[0][0].item(), abs=1e-14)
        for one, other in zip(gradient, found[0][1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
            assert other.abs().max() > 1e-3


# -- versions of a draw ---------------------------------------------------------
@pytest.mark.parametrize(
    "chosen", [e for e in VERSIONS if e.draws is None and e.discrete], ids=repr
)
def test_the_mean_gradient_over_versions_of_a_discrete_law_is_exact(chosen: Estimator) -> None:
    """Of one coin, by quadrature on either side of its jump."""
    problem = PROBLEMS["nested"]()
    q, r = problem.laws
    loss = problem.loss.estimate({q: chosen, r: Enumerate()})
    on = q.net(torch.ones(1, 1, dtype=f64))[0, 0].sigmoid().item()
    noise, weights = coin_rule([on])
    function = (w * loss).sum().function()
    batch = {"x": torch.ones(len(weights), 1, dtype=f64), "w": weights}
    for _ in range(2):
        value = function(batch, noise={"a": noise})
        found = list(torch.autograd.grad(value, problem.parameters))
    expected, wanted = problem.exact()
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    close(found, wanted)


@pytest.mark.parametrize(
    "chosen", [e for e in VERSIONS if e.draws is None and not e.discrete], ids=repr
)
def test_the_mean_gradient_over_versions_of_a_normal_law_is_exact(chosen: Estimator) -> None:
    """The integral of above, over the noise of the draw and of what it is compared with."""
    q = normal("z", "x", [0.4, -0.3])
    cube = Function(lambda v: v[:, 0] ** 3 - v[:, 0] ** 2, name="f")
    loss = E(q, cube(z) + q.log_prob()).estimate({q: chosen})
    eps, gap, weights = couple_rule()
    batch = {"x": torch.ones(len(weights), 1, dtype=f64), "w": weights}
    value = (w * loss).sum().eval(batch, noise={"z": eps[:, None], "z.gap": gap[:, None]})
    m, log_s = q.net.free(torch.ones(1, 1, dtype=f64))[0]
    s = log_s.exp()
    exact = m**3 + 3 * m * s**2 - m**2 - s**2 - log_s - 0.5 - 0.5 * np.log(2 * np.pi)
    assert value.item() == pytest.approx(exact.item(), abs=1e-10)
    parameters = list(q.parameters())
    close(gradient_of(value, parameters), gradient_of(exact, parameters))


# -- layers of random weights -----------------------------------------------------
@pytest.mark.parametrize("chosen", [e for e in LAYERS if e.draws is None], ids=repr)
def test_the_mean_over_layers_is_that_of_drawn_weights(chosen: Estimator) -> None:
    """The loss is quadratic in the noise, which takes the values -1 and 1 with equal weight: the
    mean over all of them is that of normal noise, so that value and gradient are exact.
    """
    weights, p, q = linear(inputs=1, outputs=1)
    batch = data(1, 1, 1)
    loss = E(q, p.log_prob()).estimate({q: chosen}).sum()
    shapes = {
        s.noise: (1, s.width) if hasattr(s, "width") else (weights.size,)
        for s in loss.program().steps
        if getattr(s, "noise", None) in loss.program().draws
    }
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=f64)] * sum(sizes))
    function, parameters, found = loss.function(), [q.net.loc, q.net.rho], []
    for row in signs.reshape(-1, sum(sizes)):
        each = zip(shapes.items(), row.split(sizes), strict=True)
        value = function(batch, noise={name: v.reshape(shape) for (name, shape), v in each})
        slopes = torch.autograd.grad(value, parameters)
        found.append(torch.cat([value.detach()[None], *slopes]))
    wanted = exact(weights, q, batch).sum()
    every = torch.cat([wanted.detach()[None], *torch.autograd.grad(wanted, parameters)])
    torch.testing.assert_close(torch.stack(found).mean(0), every, rtol=0, atol=1e-12)


# -- variance, values ------------------------------------------------------------
def spread(chosen: Estimator, name: str) -> float:
    """The variance of the gradient, summed over parameters, exactly."""
    problem = PROBLEMS[name]()
    loss = problem.loss.estimate(dict.fromkeys(problem.laws, chosen))
    noise, p = every_outcome(loss, problem.laws)
    rows = loss.eval({"x": torch.ones(len(p), 1, dtype=f64)}, noise=noise)
    each = torch.autograd.grad(
        rows, problem.parameters[0], torch.eye(len(p), dtype=f64), is_grads_batched=True
    )[0]
    mean = (p[:, None] * each).sum(0)
    return float((p[:, None] * (each - mean) ** 2).sum())


@pytest.mark.parametrize("name", ["entropy", "by_index", "joint"])
def test_a_leave_one_out_baseline_lowers_the_variance(name: str) -> None:
    plain, reduced = spread(Score(draws=2), name), spread(Score(LeaveOneOut(), draws=2), name)
    assert reduced < 0.7 * plain
    assert plain == pytest.approx(spread(Score(), name) / 2)  # two independent draws


@pytest.mark.parametrize("chosen", [e for e in ESTIMATORS if e.how != "path"], ids=repr)
def test_the_value_of_a_step_is_the_objectives(chosen: Estimator) -> None:
    """What an estimator adds has no value: row by row the body at the draws, to the bit."""
    problem = PROBLEMS["by_index"]()
    loss = problem.loss.estimate({problem.laws[0]: chosen})
    noise, p = every_outcome(loss, problem.laws)
    batch = {"x": torch.ones(len(p), 1, dtype=f64)}
    value = loss.eval(batch, noise=noise)
    with torch.no_grad():
        detached = loss.detach().eval(batch, noise=noise)
    assert torch.equal(value, detached)
    if chosen.how == "cut":
        same = E(problem.laws[0].detach(), problem.loss.body, sample_shape=chosen.draws)
        assert torch.equal(value, same.eval(batch, noise=noise))


def test_mistakes_in_estimators() -> None:
    problem = PROBLEMS["three_bits"]()
    q, batch = problem.laws[0], {"x": torch.ones(2, 1, dtype=f64)}
    with pytest.raises(OptionError, match="at least two draws"):
        problem.loss.estimate({q: Score(LeaveOneOut())}).eval({"x": batch["x"][:1]})
    with pytest.raises(OptionError, match="LeaveOneOut"):
        Score(baseline=3.0)
    with pytest.raises(OptionError, match=r"Score is a class; write Score\(\)"):
        E(bernoulli("a", "x", [0.3]), f(a)).estimate({"a": Score})
    with pytest.raises(OptionError, match="is no estimator"):
        problem.loss.estimate({q: "score"})
    with pytest.raises(OptionError, match="nothing draws 'c'"):
        problem.loss.estimate({"c": Score()})
    with pytest.raises(OptionError, match="draws nothing from"):
        problem.loss.estimate({normal("z", "x", [0.0, 0.0]): Score()})
    with pytest.raises(OptionError, match=r"copies cannot be enumerated"):
        E(q.iid(k=2), values("a").mean("k")).estimate({q: Enumerate()}).program()
    for wrong in (0, -1, 1.5, True):
        for family in (Score, Pathwise):
            with pytest.raises(OptionError, match="draws="):
                family(draws=wrong)
    with pytest.raises(TypeError):
        Enumerate(draws=3)  # type: ignore[call-arg]
    by_name = PROBLEMS["joint"]().loss.estimate({"a": Enumerate(), "b": Score()})
    assert by_name.eval(batch).shape == (2,)


def test_the_baseline_of_a_draw_is_the_mean_of_the_others() -> None:
    f = torch.tensor([[1.0, 2.0], [5.0, 4.0], [9.0, 0.0]])
    assert LeaveOneOut()(f, 0).tolist() == [[7.0, 2.0], [5.0, 1.0], [3.0, 3.0]]
    assert LeaveOneOut()(f, 1).tolist() == [[2.0, 1.0], [4.0, 5.0], [0.0, 9.0]]
