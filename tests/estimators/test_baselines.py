"""Baselines that steps hand on, and what the score of a draw multiplies.

Means and variances are exact: every outcome of the noise stands in a row of its own.
"""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import (
    E,
    Function,
    IterativeLoss,
    Learned,
    LeaveOneOut,
    MovingAverage,
    Score,
    values,
)
from ancestral.models import Model, Player
from ancestral.runtime import compiled
from tests.contracts.outcomes import Free, bernoulli, curve, every_outcome, f, f64

a, b, w = values("a b w")
NAME = "q_a(a|x).baseline"


class Net(nn.Module):
    """A linear function of everything, of one output."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(sum(sizes), 1)

    def forward(self, *given: Tensor) -> Tensor:
        out: Tensor = self.linear(torch.cat(given, -1))
        return out


def batch_of(rows: int) -> dict[str, Tensor]:
    return {"x": torch.ones(rows, 1, dtype=f64)}


def gradients(loss: Any, laws: tuple[Any, ...], **options: Any) -> tuple[Tensor, Tensor]:
    """The mean of the gradient and its variance, each entry, over all outcomes."""
    noise, p = every_outcome(loss, laws)
    rows = loss.eval(batch_of(len(p)), noise=noise, **options)
    parameters = [v for law in laws for v in law.parameters()]
    every = torch.autograd.grad(
        rows, parameters, torch.eye(len(p), dtype=f64), is_grads_batched=True
    )
    each = torch.cat([g.flatten(1) for g in every], 1)
    mean = (p[:, None] * each).sum(0)
    return mean, (p[:, None] * (each - mean) ** 2).sum(0)


def model_of(baseline: Any, **options: Any) -> tuple[Any, Model]:
    torch.manual_seed(0)
    q = bernoulli("a", "x", [0.3, -1.0])
    loss = E(q, f(a) - q.log_prob()).mean().estimate({q: Score(baseline)})
    options = {"optimizer": torch.optim.SGD, "optimizer_params": {"lr": 0.01}, **options}
    return q, Model(loss=loss, distributions=[q], **options)


# -- what the score multiplies ------------------------------------------------------------
def chain() -> tuple[tuple[Any, Any], Any, Any]:
    """q(a) q(b|a) with a term of each draw, and one of neither."""
    q, r = bernoulli("a", "x", [0.3, -0.6]), bernoulli("b", "a", [0.5])
    return (q, r), f(a), Function(lambda v: 2.0 * curve(v), name="g")(b)


def naive(q: Any, r: Any, first: Any, second: Any) -> Any:
    """One function of both draws: the graph cannot tell its terms apart."""
    both = Function(lambda u, v: curve(u) + 2.0 * curve(v), name="h")
    return E(q * r, both(a, b))


def test_a_score_multiplies_the_terms_behind_its_draw_alone() -> None:
    (q, r), first, second = chain()
    plan = {q: Score(), r: Score()}
    split, whole = E(q * r, first + second + 3.0), naive(q, r, first, second) + 3.0
    found, less = gradients(split.estimate(plan), (q, r))
    wanted, more = gradients(whole.estimate(plan), (q, r))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(less[:4], more[:4])  # everything stands behind a
    assert (less[4:] < 0.8 * more[4:]).all()  # but of b only the second term


def test_the_program_shows_what_the_score_multiplies() -> None:
    (q, r), first, second = chain()
    text = str(E(q * r, first + second + 3.0).estimate({q: Score(), r: Score()}).program())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    by_b = next(line for line in lines if "gradient by" in line)
    second = next(line.split()[0] for line in lines if "= g(b)" in line)
    number = next(line.split()[0] for line in lines if f"= {second}, one number" in line)
    assert by_b.split("=", 1)[1].split()[0] == number


def test_a_term_that_no_draw_reaches_has_no_score() -> None:
    """The number 3 would add noise, and no mean."""
    q = bernoulli("a", "x", [0.3, -1.0])
    mean, spread = gradients(E(q, f(a) + 100.0).estimate({q: Score()}), (q,))
    other, same = gradients(E(q, f(a)).estimate({q: Score()}), (q,))
    torch.testing.assert_close(mean, other)
    torch.testing.assert_close(spread, same)


@pytest.mark.parametrize("baseline", [None, MovingAverage(), Learned(Free([0.0]))], ids=repr)
def test_no_noise_is_left_where_the_laws_are_one(baseline: Any) -> None:
    """log p - log q is 0 at every draw, and the score of q itself is left out."""
    q = bernoulli("a", "x", [0.3, -1.0])
    probs = (q.net.theta + q.net.weight).sigmoid().detach()
    p = Bernoulli(var=["a"], probs=probs, name="p")
    if baseline is not None and hasattr(baseline, "net"):
        nn.init.zeros_(baseline.net.weight)
    loss = E(q, p.log_prob() - q.log_prob()).estimate({q: Score(baseline)})
    mean, spread = gradients(loss, (q,))
    assert mean.abs().max() < 1e-12
    assert spread.max() < 1e-24


def test_the_score_of_the_own_density_is_kept_where_it_does_not_vanish() -> None:
    """Times a value of the draw it has a mean; and an entropy's written detach stays one."""
    q = bernoulli("a", "x", [0.3])
    plan = {q: Score()}
    for body in (q.log_prob() * f(a), q.log_prob() + q.log_prob().detach()):
        loss = E(q, body)
        found, _ = gradients(loss.estimate(plan), (q,))
        eta = q.net.theta + q.net.weight
        on = eta.sigmoid()
        log_p = torch.stack([(1 - on).log(), on.log()])
        bits = torch.tensor([[0.0], [1.0]], dtype=f64)
        times = curve(bits)[:, None]
        each = log_p * times if body.__class__.__name__ == "Mul" else log_p + log_p.detach()
        # the path through a written detach is cut: its score does not count
        exact = (log_p.exp() * each).sum()
        if body.__class__.__name__ != "Mul":
            exact = (log_p.exp() * log_p).sum()
        wanted = torch.cat(torch.autograd.grad(exact, list(q.parameters())))
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


# -- the mean that steps hand on ----------------------------------------------------------
def test_the_variance_falls_and_the_mean_stays() -> None:
    """The moving mean has come to rest, the network was fitted: both are below no baseline."""
    (q,) = laws = (bernoulli("a", "x", [0.3, -1.0, 0.8]),)
    loss = E(q, Function(lambda v: curve(v) + 2.0, name="f")(a))
    noise, p = every_outcome(loss.estimate({q: Score()}), laws)
    level = (p * loss.detach().eval(batch_of(len(p)), noise=noise)).sum()
    net = Free([0.0])
    nn.init.zeros_(net.weight)
    net.theta.data += level
    rest = torch.stack([torch.tensor(1.0, dtype=f64), level])
    plain, most = gradients(loss.estimate({q: Score()}), laws)
    for baseline, moments in ((MovingAverage(), rest), (Learned(net), rest * 0)):
        planned = loss.estimate({q: Score(baseline)})
        found, less = gradients(planned, laws, state={NAME: moments})
        torch.testing.assert_close(found, plain, rtol=1e-10, atol=1e-10)
        assert less.sum() < 0.5 * most.sum()


def test_a_deviation_scales_the_gradient_by_the_draws_and_says_so() -> None:
    (q,) = laws = (bernoulli("a", "x", [0.3, -1.0]),)
    loss = E(q, f(a)).estimate({q: Score(Learned(Free([0.1]), normalise=True))})
    assert "over the deviation (biased)" in str(loss.program())
    exact, _ = gradients(E(q, f(a)).estimate({q: Score()}), laws)
    for variance, scale in ((4.0, 2.0), (0.25, 1.0)):  # one below 1 does not blow it up
        moments = torch.tensor([1.0, 0.3, variance], dtype=f64)
        found, _ = gradients(loss, laws, state={NAME: moments})
        torch.testing.assert_close(found * scale, exact, rtol=1e-12, atol=1e-12)


def test_the_mean_is_that_of_the_steps_before() -> None:
    """A step's own signals have no part in its baseline: the value would be biased by them."""
    q, model = model_of(MovingAverage(decay=0.5))
    seen, weights = [], 0.0
    for i in range(4):  # the interpreter, then the generated step
        before = model.state.get(NAME, torch.zeros(2, dtype=f64))
        theta = [p.detach().clone() for p in q.parameters()]
        noise = torch.rand(64, 2, generator=torch.Generator().manual_seed(i)).to(f64)
        value = model.train(batch_of(64), noise={"a": noise})
        seen.append(value.item())
        weights = [0.5 ** (i + 1 - j) for j in range(i + 1)]
        wanted = sum(w * s for w, s in zip(weights, seen, strict=True)) / sum(weights)
        torch.testing.assert_close(
            model.state[NAME], torch.tensor([sum(weights), wanted], dtype=f64)
        )
        # the step itself, by hand, with the mean from before
        twin = copy.deepcopy(q)
        for p, old in zip(twin.parameters(), theta, strict=True):
            p.data.copy_(old)
        eta = (twin.net.theta + twin.net.weight).expand(64, 2)
        z = (noise < eta.sigmoid()).to(f64)
        log_q = (z * eta - nn.functional.softplus(eta)).sum(-1)
        gain = (curve(z) - log_q).detach()
        (torch.mean((gain - before[1]) * log_q)).backward()
        for p, mine in zip(q.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p, mine - 0.01 * mine.grad, rtol=1e-10, atol=1e-12)


def test_the_moments_are_those_of_all_signals_weighed() -> None:
    q, model = model_of(Learned(Free([0.2]), decay=0.7, normalise=True))
    net = model.loss.choices[0][1].networks[0]
    signals = []
    for i in range(5):
        noise = torch.rand(16 + i, 2, generator=torch.Generator().manual_seed(i)).to(f64)
        with torch.no_grad():
            eta = (q.net.theta + q.net.weight).expand(16 + i, 2)
            z = (noise < eta.sigmoid()).to(f64)
            log_q = (z * eta - nn.functional.softplus(eta)).sum(-1)
            signals.append(curve(z) - log_q - net(batch_of(16 + i)["x"])[:, 0])
        model.train(batch_of(16 + i), noise={"a": noise})
    share = torch.tensor([0.3 * 0.7 ** (4 - i) for i in range(5)], dtype=f64)
    each = torch.cat(
        [s.new_full((len(s),), float(c) / len(s)) for c, s in zip(share, signals, strict=True)]
    )
    every = torch.cat(signals)
    mean = (each * every).sum() / share.sum()
    variance = (each * (every - mean) ** 2).sum() / share.sum()
    torch.testing.assert_close(model.state[NAME], torch.stack([share.sum(), mean, variance]))


@pytest.mark.parametrize("baseline", [MovingAverage(), Learned(Free([0.2]), normalise=True)])
def test_it_is_state_of_the_model(baseline: Any, tmp_path: Any) -> None:
    """Copied, pickled, saved: the same steps to the bit; tests read it, and write none."""
    _, model = model_of(baseline)

    def step(m: Model, seed: int) -> Tensor:
        found: Tensor = m.train(batch_of(8), generator=torch.Generator().manual_seed(seed))
        return found

    for i in range(3):
        step(model, i)
    model.save(tmp_path)
    twin, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    before = model.state[NAME].clone()
    model.test(batch_of(8))
    assert torch.equal(model.state[NAME], before)
    _, loaded = model_of(copy.deepcopy(baseline))
    loaded.load(tmp_path)
    step(model, 7), step(model, 8)
    assert not torch.equal(model.state[NAME], before)
    for other in (twin, pickled, loaded):
        step(other, 7), step(other, 8)
        assert torch.equal(other.state[NAME], model.state[NAME])
        for p, mine in zip(other.trained, model.trained, strict=True):
            assert torch.equal(p, mine)


def test_an_evaluation_starts_a_fresh_one() -> None:
    q, model = model_of(MovingAverage())
    model.train(batch_of(8))
    noise = {"a": torch.rand(8, 2, dtype=f64)}

    def slope() -> Tensor:
        value = model.loss.eval(batch_of(8), noise=noise)
        return torch.autograd.grad(value, q.net.theta)[0]

    plain = torch.autograd.grad(
        E(q, f(a) - q.log_prob()).mean().estimate({q: Score()}).eval(batch_of(8), noise=noise),
        q.net.theta,
    )[0]
    torch.testing.assert_close(slope(), plain)
    torch.testing.assert_close(slope(), plain)  # and leaves none behind


def test_each_expectation_has_its_own() -> None:
    """One draw in two expectations: two integrands, two means; the same one twice: one."""
    q = bernoulli("a", "x", [0.3])
    first, second = E(q, f(a)), E(q, 5.0 * f(a) + 40.0)
    kept = (first + second + first).estimate({q: Score(MovingAverage())}).program().kept
    assert list(kept) == [NAME, f"{NAME}#2"]


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize("compile", [True, "gradient"])
def test_a_compiled_step_is_the_same(compile: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    found = []
    for how in (False, compile):
        net = Free([0.2])
        _, model = model_of(Learned(net), compile=how)
        for i in range(3):
            model.train(batch_of(8), generator=torch.Generator().manual_seed(i))
        function = model._steps.of(model._turns[0])
        if how:
            assert not next(iter(function._steps.values())).function.gave_up
        found.append([*(p.detach().clone() for p in model.trained), model.state[NAME]])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


# -- the network --------------------------------------------------------------------------
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_network_is_trained_by_its_squared_error(sign: float) -> None:
    """Whether the objective is minimised or stands with a minus; the value is that of none."""
    q, net = bernoulli("a", "x", [0.3, -1.0]), Free([0.4])
    loss = sign * E(q, f(a)).mean()
    planned = loss.estimate({q: Score(Learned(net))})
    noise = {"a": torch.rand(16, 2, dtype=f64)}
    value = planned.eval(batch_of(16), noise=noise)
    assert torch.equal(value, loss.detach().eval(batch_of(16), noise=noise))
    found = torch.autograd.grad(value, list(net.parameters()))
    signal = E(q, f(a)).detach().eval(batch_of(16), noise=noise)
    cost = (signal - net(batch_of(16)["x"])[:, 0]).square().mean()
    for one, other in zip(found, torch.autograd.grad(cost, list(net.parameters())), strict=True):
        torch.testing.assert_close(one, other)


def test_the_network_learns_what_depends_on_the_condition() -> None:
    """E(f|x) = 4 x: a mean over rows cannot follow it, the network can."""
    torch.manual_seed(0)
    q = Bernoulli(var=["a"], cond_var=["x"], net=nn.Linear(1, 1), name="q_a")
    nn.init.zeros_(q.net.weight), nn.init.zeros_(q.net.bias)
    q.requires_grad_(False)
    net, x = nn.Linear(1, 1), values("x")
    body = Function(lambda u, v: (4.0 * u + v)[:, 0], name="f")(x, a)
    plan = {q: Score(Learned(net))}
    loss = -E(q, body).mean().estimate(plan)
    options = {"lr": 0.1}
    model = Model(
        loss=loss, distributions=[net], optimizer=torch.optim.SGD, optimizer_params=options
    )
    data = {"x": torch.randn(256, 1)}
    for _ in range(40):
        model.train(data)
    assert net.weight.item() == pytest.approx(4.0, abs=0.2)  # 5 standard errors of z


def test_whoever_trains_the_law_trains_the_network() -> None:
    q, p = bernoulli("a", "x", [0.3]), bernoulli("b", "a", [0.5])
    net = Free([0.4])
    value = E(q, E(p, f(a, b))).mean().estimate({q: Score(Learned(net)), p: Score()})
    one = Player("one", minimise=value, over=[q])
    two = Player("two", maximise=value, over=[p])
    assert net in one.over
    assert net not in two.over
    for order in ("in turn", "together"):
        model = Model(players=[one, two], order=order)
        assert all(any(p is t for t in model.trained) for p in net.parameters())
        before = net.theta.detach().clone()
        model.train(batch_of(8))
        assert not torch.equal(net.theta, before)
    assert net in Model(loss=value, distributions=[q, p]).distributions
    assert net in Model(loss=value).distributions
    assert list(Model(loss=value, distributions=[q, p, net]).distributions).count(net) == 1


def test_it_sees_other_data_and_draws_that_stand_before() -> None:
    q, r = bernoulli("a", "x", [0.3]), bernoulli("b", "a", [0.5])
    plan = Score(Learned(Net(1, 2).double(), cond_var=["a", "y"]))
    loss = E(q * r, f(a, b)).mean().estimate({q: Score(), r: plan})
    assert set(loss.input_var) == {"x", "y"}
    batch = {**batch_of(4), "y": torch.randn(4, 2, dtype=f64)}
    loss.eval(batch).backward()
    assert "b(a,y)" in str(loss.program()).replace(", ", ",")
    late = Score(Learned(Net(1), cond_var=["b"]))
    loss = E(q * r, f(a, b))
    with pytest.raises(OptionError, match=r"b is the draw itself .*stand before b"):
        loss.estimate({r: late, q: Score()}).program()
    with pytest.raises(OptionError, match=r"b is the draw itself or comes of it"):
        loss.estimate({q: late, r: Score()}).program()


class Shaped(nn.Module):
    """A parameter in the shape of what a function of the rows makes."""

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.theta, self.shape = nn.Parameter(torch.ones((), dtype=f64)), shape

    def forward(self, given: Tensor) -> Tensor:
        return self.theta.expand(self.shape(len(given)))


@pytest.mark.parametrize(
    "shape", [lambda n: (n, 2), lambda n: (n, n), lambda n: (1, n), lambda n: (n + 1,)]
)
def test_a_network_of_another_shape_is_refused(shape: Any) -> None:
    q = bernoulli("a", "x", [0.3])
    loss = E(q, f(a)).mean().estimate({q: Score(Learned(Shaped(shape)))})
    with pytest.raises(ShapeError, match=r"b\(x\)"):
        loss.eval(batch_of(4))


@pytest.mark.parametrize("shape", [lambda n: (n,), lambda n: (n, 1)])
def test_a_network_has_one_number_for_each_row(shape: Any) -> None:
    q = bernoulli("a", "x", [0.3])
    net = Shaped(shape)
    for draws in (None, 3):
        loss = E(q, f(a)).mean().estimate({q: Score(Learned(net), draws=draws)})
        loss.eval(batch_of(4)).backward()


def test_mistakes() -> None:
    q = bernoulli("a", "x", [0.3])
    p = Bernoulli(var=["a"], logits=nn.Parameter(torch.zeros(1, dtype=f64)), name="p")
    with pytest.raises(OptionError, match=r"has no conditions .*cond_var=\['x'\]"):
        E(p, f(a)).estimate({p: Score(Learned(Free([0.1])))}).program()
    for wrong in (1.0, -0.1, True, "0.8"):
        with pytest.raises(OptionError, match="decay="):
            MovingAverage(decay=wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"as an nn\.Module"):
        Learned(torch.tanh)  # type: ignore[arg-type]
    for names in ("x", []):
        with pytest.raises(OptionError, match="a list of names"):
            Learned(Free([0.1]), cond_var=names)
    with pytest.raises(OptionError, match=r"Learned\(net\)"):
        Score(3.0)  # type: ignore[arg-type]
    assert repr(Learned(Free([0.1]), cond_var=["x"], decay=0.5)) == (
        "Learned(Free, cond_var=['x'], decay=0.5)"
    )
    step = E(q, f(a)).sum()
    over = IterativeLoss(step, max_iter=2, series_var=["x"]).estimate({q: Score(MovingAverage())})
    with pytest.raises(OptionError, match=r"inside of a loss over time.*LeaveOneOut"):
        over.program()


def test_the_defect_of_a_default_that_mixes_path_and_score() -> None:
    """d/d log sigma of E[-z^2 / 2] at 1 is -1, under every baseline; both in one gave +0.91."""
    points = torch.linspace(-8.0, 8.0, 4001, dtype=f64)
    p = torch.exp(-0.5 * points**2)
    p = p / p.sum()
    body = Function(lambda v: -0.5 * v[:, 0] ** 2, name="f")(values("z"))
    for baseline in (None, MovingAverage(), Learned(Free([0.3])), LeaveOneOut()):
        log_sigma = nn.Parameter(torch.zeros(1, dtype=f64))

        class Scale(nn.Module):
            def __init__(self, value: nn.Parameter) -> None:
                super().__init__()
                self.value = value

            def forward(self, x: Tensor) -> dict[str, Tensor]:
                return {"loc": 0.0 * x, "scale": self.value.exp().expand(len(x), 1)}

        q = Normal(var=["z"], cond_var=["x"], net=Scale(log_sigma), name="q")
        if isinstance(baseline, LeaveOneOut):
            continue  # of rows that are weighted, it is no mean
        loss = (w * E(q, body).estimate({q: Score(baseline)})).sum()
        batch = {"x": torch.zeros(len(p), 1, dtype=f64), "w": p}
        loss.eval(batch, noise={"z": points[:, None]}).backward()
        assert log_sigma.grad is not None
        assert log_sigma.grad.item() == pytest.approx(-1.0, abs=1e-8)
