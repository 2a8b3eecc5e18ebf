"""Estimators that cut the density of their own draw, and those that see the weights of copies."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError
from ancestral.distributions import Bernoulli, Normal
from ancestral.estimators.vimco import learning_signal
from ancestral.losses import (
    VIMCO,
    DReG,
    E,
    Function,
    Pathwise,
    Score,
    StickingTheLanding,
    values,
)
from ancestral.models import Model
from ancestral.runtime import compiled

f64 = torch.float64
ROWS = 5


class Affine(nn.Module):
    """A normal law's mean, linear in the condition, and its scale, one number."""

    def __init__(self, slope: float, offset: float, scale: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=f64))
        self.offset = nn.Parameter(torch.tensor(offset, dtype=f64))
        self.scale = nn.Parameter(torch.tensor(scale, dtype=f64))

    def forward(self, given: Tensor) -> dict[str, Tensor]:
        mean = self.offset + self.slope * given
        return {"loc": mean, "scale": self.scale.expand_as(mean)}


def affine(var: str, cond: str, *numbers: float) -> Normal:
    return Normal(var=[var], cond_var=[cond], net=Affine(*numbers), name=f"q_{var}")


def linear_gaussian(*, exact: bool) -> tuple[Any, Any, Any]:
    """z ~ N(0, 1), x|z ~ N(2 z + 1, 0.5^2): z|x ~ N((x - 1) 2 / 4.25, 0.25 / 4.25)."""
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
    p = affine("x", "z", 2.0, 1.0, 0.5)
    at_posterior = (2 / 4.25, -2 / 4.25, (0.25 / 4.25) ** 0.5)
    q = affine("z", "x", *(at_posterior if exact else (0.3, 0.2, 0.6)))
    return p * prior, q, p


def per_row(loss: Any, noise: Tensor, parameters: list[Any]) -> Tensor:
    """The gradient of each row, ``(rows, parameters)``."""
    x = torch.linspace(-1.0, 2.0, 2 * ROWS, dtype=f64).reshape(ROWS, 2)
    rows = loss.eval({"x": x}, noise={"z": noise})
    each = torch.autograd.grad(rows, parameters, torch.eye(ROWS, dtype=f64), is_grads_batched=True)
    return torch.stack(each, -1)


def bound(model: Any, q: Any, copies: int) -> Any:
    w = model.log_prob() - q.log_prob()
    return E(q.iid(k=copies), w.exp().mean("k").log())


@pytest.mark.parametrize("copies", [None, 1, 4])
def test_no_noise_is_left_where_the_law_is_the_posterior(copies: int | None) -> None:
    """The gradient is 0 at every draw; that of the pathwise estimator is not."""
    model, q, _ = linear_gaussian(exact=True)
    single = E(q, model.log_prob() - q.log_prob())
    loss = single if copies is None else bound(model, q, copies)
    chosen = StickingTheLanding() if copies is None else DReG()
    noise = torch.randn(*() if copies is None else (copies,), ROWS, 2, dtype=f64)
    parameters = list(q.parameters())
    found = per_row(loss.estimate({q: chosen}), noise, parameters)
    plain = per_row(loss.estimate({q: Pathwise()}), noise, parameters)
    assert found.abs().max() < 1e-13
    assert plain.abs().max() > 0.1


def test_one_copy_is_a_single_draw() -> None:
    model, q, p = linear_gaussian(exact=False)
    noise, parameters = torch.randn(1, ROWS, 2, dtype=f64), [*q.parameters(), *p.parameters()]
    single = E(q, model.log_prob() - q.log_prob()).estimate({q: StickingTheLanding()})
    one = bound(model, q, 1).estimate({q: DReG()})
    left, right = per_row(single, noise[0], parameters), per_row(one, noise, parameters)
    torch.testing.assert_close(left, right, rtol=1e-14, atol=1e-14)


def test_the_gradient_by_hand() -> None:
    """Squared weights for the law's parameters, plain ones for the model's."""
    model, q, p = linear_gaussian(exact=False)
    noise = torch.randn(3, ROWS, 2, dtype=f64)
    x = torch.randn(ROWS, 2, dtype=f64)
    rows = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0], dtype=f64)  # what stands around the bound
    loss = (values("c") * bound(model, q, 3).estimate({q: DReG()})).sum()
    function = loss.function()
    own, others = list(q.parameters()), list(p.parameters())

    def log_weights(z: Tensor) -> Tensor:
        mean, scale = q.net(x).values()
        law = torch.distributions.Normal(mean.detach(), scale.detach())
        given = torch.distributions.Normal(*p.net(z).values())
        prior = torch.distributions.Normal(torch.zeros((), dtype=f64), 1.0)
        return (given.log_prob(x) + prior.log_prob(z) - law.log_prob(z)).sum(-1)

    mean, scale = q.net(x).values()
    log_w = log_weights(mean + scale * noise)
    weight = log_w.detach().softmax(0)
    hand = torch.autograd.grad((rows * (weight**2 * log_w).sum(0)).sum(), own)
    log_w = log_weights((mean + scale * noise).detach())
    hand += torch.autograd.grad((rows * log_w.logsumexp(0)).sum(), others)
    for _ in range(2):
        value = function({"x": x, "c": rows}, noise={"z": noise})
        for one, two in zip(torch.autograd.grad(value, own + others), hand, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_the_mean_is_the_pathwise_gradient_in_several_dimensions() -> None:
    """5 standard errors of 100,000 pairs of gradients: 5 % of each entry would show."""
    model, _, p = linear_gaussian(exact=False)
    q = affine("z", "x", 0.3, 0.2, 0.25)
    own, others = list(q.parameters()), list(p.parameters())
    generator = torch.Generator().manual_seed(0)
    batch = {"x": torch.tensor([[0.5, -1.0]], dtype=f64).expand(2000, 2)}
    plans = [bound(model, q, 4).estimate({q: e}).mean().function() for e in (Pathwise(), DReG())]
    plain, gap = [], []
    for _ in range(50):
        noise = {"z": torch.randn(4, 2000, 2, dtype=f64, generator=generator)}
        one, two = (torch.autograd.grad(f(batch, noise=noise), own + others) for f in plans)
        torch.testing.assert_close(one[3:], two[3:], rtol=1e-12, atol=1e-12)  # the model's
        plain.append(torch.stack(one[:3]))
        gap.append(torch.stack(two[:3]) - plain[-1])
    error = torch.stack(gap).std(0) / len(gap) ** 0.5
    assert (torch.stack(gap).mean(0).abs() < 5 * error).all()
    assert (5 * error < 0.05 * torch.stack(plain).mean(0).abs()).all()


def test_two_expectations_of_one_draw_do_not_see_each_others_scales() -> None:
    model, q, _ = linear_gaussian(exact=False)
    one, two = (
        bound(model, q, 3),
        bound(model, q, 3) * 0.0
        + E(q.iid(k=3), (0.5 * (model.log_prob() - q.log_prob())).exp().mean("k").log()),
    )
    noise, parameters = torch.randn(3, ROWS, 2, dtype=f64), list(q.parameters())
    apart = [per_row(part.estimate({q: DReG()}), noise, parameters) for part in (one, two)]
    loss = (one + two).estimate({q: DReG()})
    assert list(loss.program().draws) == ["z"]
    torch.testing.assert_close(per_row(loss, noise, parameters), sum(apart))


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize("compile", [True, "gradient"])
def test_a_compiled_step_has_the_same_scales(compile: Any, monkeypatch: Any) -> None:
    """A graph has a channel where the step has a hook; so has a transform of torch.func."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    found = []
    for how in (False, compile):
        model, q, _ = linear_gaussian(exact=False)
        loss = -bound(model, q, 3).mean().estimate({q: DReG()})
        options: Any = {"optimizer": torch.optim.SGD, "compile": how}
        trained = Model(loss=loss, optimizer_params={"lr": 0.1}, **options)
        batch = {"x": torch.linspace(-1.0, 2.0, 2 * ROWS, dtype=f64).reshape(ROWS, 2)}
        for i in range(3):
            trained.train(batch, generator=torch.Generator().manual_seed(i))
        function = trained._steps.of(trained._turns[0])
        if how:
            assert not next(iter(function._steps.values())).function.gave_up
        found.append([p.detach() for p in q.parameters()])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


def test_a_transform_of_a_step_has_the_same_scales() -> None:
    model, q, _ = linear_gaussian(exact=False)
    function = bound(model, q, 3).mean().estimate({q: DReG()}).function()
    noise, x = torch.randn(3, ROWS, 2, dtype=f64), torch.randn(ROWS, 2, dtype=f64)
    x.requires_grad_()
    (wanted,) = torch.autograd.grad(function({"x": x}, noise={"z": noise}), x)
    for _ in range(2):
        found = torch.func.grad(lambda v: function({"x": v}, noise={"z": noise}))(x.detach())
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


# -- hierarchies -----------------------------------------------------------------------------------
def hierarchy(*, exact: bool) -> tuple[Any, Any, Any]:
    """z ~ N(0, 1), a|z ~ N(0.8 z, 0.5^2), x|a ~ N(1.5 a, 0.7^2); q(a|x) q(z|a)."""
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[1], name="p").double()
    p_a = Normal(var=["a"], cond_var=["z"], net=Affine(0.8, 0.0, 0.5), name="p_a")
    p_x = Normal(var=["x"], cond_var=["a"], net=Affine(1.5, 0.0, 0.7), name="p_x")
    of_a = 1 / (1 / (0.8**2 + 0.5**2) + 1.5**2 / 0.7**2)
    of_z = 1 / (1 + 0.8**2 / 0.5**2)
    q = affine("a", "x", of_a * 1.5 / 0.7**2, 0.0, of_a**0.5)
    r = affine("z", "a", of_z * 0.8 / 0.5**2, 0.0, of_z**0.5)
    if not exact:
        q, r = affine("a", "x", 0.4, 0.1, 0.4), affine("z", "a", 0.9, -0.1, 0.5)
    return p_x * p_a * prior, q, r


def of_hierarchy(model: Any, q: Any, r: Any, copies: int | None) -> Any:
    """The bound, and the estimator for both laws."""
    log_w = model.log_prob() - q.log_prob() - r.log_prob()
    if copies is None:
        return E(q * r, log_w), StickingTheLanding()
    return E((q * r).iid(k=copies), log_w.exp().mean("k").log()), DReG()


@pytest.mark.parametrize("copies", [None, 1, 3])
def test_no_noise_is_left_where_a_hierarchy_is_the_posterior(copies: int | None) -> None:
    model, q, r = hierarchy(exact=True)
    loss, chosen = of_hierarchy(model, q, r, copies)
    axes = () if copies is None else (copies,)
    noise = {name: torch.randn(*axes, ROWS, 1, dtype=f64) for name in ("a", "z")}
    batch = {"x": torch.linspace(-1.0, 2.0, ROWS, dtype=f64)[:, None]}
    parameters = [*q.parameters(), *r.parameters()]
    for plan, largest in (({q: chosen, r: chosen}, 1e-13), ({}, None)):
        function = loss.estimate(plan).function()
        for _ in range(2):
            rows = function(batch, noise=noise)
            every = torch.eye(ROWS, dtype=f64)
            found = torch.autograd.grad(rows, parameters, every, is_grads_batched=True)
            size = torch.stack(found).abs().max()
            assert size > 0.1 if largest is None else size < largest


@pytest.mark.parametrize(("copies", "nodes"), [(None, 40), (1, 40), (2, 15)])
def test_the_mean_of_a_hierarchy_is_the_pathwise_gradient(copies: int | None, nodes: int) -> None:
    """By quadrature over the noise of both laws, and of all copies."""
    model, q, r = hierarchy(exact=False)
    loss, chosen = of_hierarchy(model, q, r, copies)
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    count = 2 * (copies or 1)
    index = np.stack(np.meshgrid(*[np.arange(nodes)] * count), -1).reshape(-1, count)
    p = torch.tensor((weights / weights.sum())[index].prod(1))
    each = torch.tensor(points[index].T.copy())[..., None]  # (draws, rows, 1)
    a, z = (each[0], each[1]) if copies is None else each.chunk(2)
    batch = {"x": torch.full((len(p), 1), 0.7, dtype=f64), "w": p}
    parameters = [*q.parameters(), *r.parameters(), *model.parameters()]
    found = []
    for plan in ({}, {q: chosen, r: chosen}):
        value = (values("w") * loss.estimate(plan)).sum().eval(batch, noise={"a": a, "z": z})
        found.append(torch.stack(torch.autograd.grad(value, parameters)))
    tolerance = 1e-12 if copies is None else 1e-9 if copies == 1 else 1e-5
    torch.testing.assert_close(found[0], found[1], rtol=tolerance, atol=tolerance)
    assert found[0].abs().min() > 1e-3


# -- what is refused ----------------------------------------------------------------------------
def test_copies_ask_for_dreg() -> None:
    model, q, _ = linear_gaussian(exact=False)
    with pytest.raises(OptionError, match=r"would be biased\. Use DReG\(\)"):
        bound(model, q, 3).estimate({q: StickingTheLanding()}).program()


def test_an_integrand_that_is_not_linear_in_the_density_is_refused() -> None:
    model, q, _ = linear_gaussian(exact=False)
    square, z = Function(lambda v: v.square().sum(-1), name="f"), values("z")
    log_q, weight = q.log_prob(), values("c")
    for body in (log_q.exp(), log_q * square(z), log_q * log_q, (log_q - model.log_prob()).abs()):
        with pytest.raises(OptionError, match=r"linear in the log density.*Use Pathwise\(\)"):
            E(q, body).estimate({q: StickingTheLanding()}).program()
    for body in (square(z), 2 * log_q - square(z), weight * (model.log_prob() - log_q)):
        E(q, body).estimate({q: StickingTheLanding()}).program()


def test_a_law_given_a_draw_is_refused_where_its_density_cannot_be_parted() -> None:
    q, r = affine("a", "x", 0.3, 0.2, 0.6), affine("z", "a", 0.5, 0.1, 0.7)
    both = {q: DReG(), r: DReG()}
    log_w = -q.log_prob() - r.log_prob()
    for parent in (q.detach(), Normal(var=["a"], loc=0.0, scale=1.0)):
        E(parent * r, -r.log_prob()).estimate({r: StickingTheLanding()}).program()
    bound = E((q * r).iid(k=3), log_w.exp().mean("k").log())
    with pytest.raises(OptionError, match=r"must be scaled once\. Use DReG.* for a, too"):
        bound.estimate({r: DReG()}).program()
    unequal = E((q * r).iid(k=3), (-q.log_prob() - 0.5 * r.log_prob()).exp().mean("k").log())
    with pytest.raises(OptionError, match=r"times -1, its own times -0\.5: no one scale"):
        unequal.estimate(both).program()
    r.net.noise = nn.Dropout(0.1)
    with pytest.raises(OptionError, match=r"z\|a\) is drawn given a.*without dropout"):
        E(q * r, log_w).estimate({r: StickingTheLanding()}).program()


def test_weights_that_cut_the_draw_are_refused() -> None:
    _, q, p = linear_gaussian(exact=False)
    for log_w, told in (
        (p.log_prob().detach() - q.log_prob(), "passes no gradient on"),
        (p.log_prob() - values("beta") * q.log_prob(), "times a number"),
    ):
        loss = E(q.iid(k=3), log_w.exp().mean("k").log()).estimate({q: DReG()})
        with pytest.raises(OptionError, match=told):
            loss.program()


# -- the learning signal ------------------------------------------------------------------------
def test_the_learning_signal_is_stable() -> None:
    """In float32, where a difference of sums would be -inf or 0; a weight of 0 is one."""
    log_w = torch.tensor([[0.0, 90.0, 1.0], [-300.0, -310.0, -305.0], [0.0, -torch.inf, 0.0]])
    found = learning_signal(log_w, 1)
    for i, row in enumerate(log_w.double()):
        for k in range(3):
            others = torch.cat([row[:k], row[k + 1 :]])
            left_out = torch.cat([others, others.mean()[None]]).logsumexp(0)
            wanted = (row.logsumexp(0) - left_out).float()
            rounding = 2 * 300 * torch.finfo(torch.float32).eps  # of two numbers near 300
            torch.testing.assert_close(found[i, k], wanted, rtol=1e-6, atol=rounding)
    assert torch.equal(learning_signal(log_w.T, 0), found.T)


def test_the_signal_lowers_the_variance_of_the_score() -> None:
    """Of one bound over four copies: by the signal of each below the plain score's, ten-fold."""
    q = Bernoulli(var=["z"], cond_var=["x"], net=nn.Linear(2, 3).double(), name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(3, 2).double(), name="p")
    prior = Bernoulli(var=["z"], probs=0.5, features_shape=[3], name="p").double()
    noise = torch.rand(4, ROWS, 3, dtype=f64)
    torch.manual_seed(0)
    spread = {}
    for chosen in (VIMCO(), Score()):
        loss = bound(p * prior, q, 4).estimate({q: chosen})
        function = loss.mean().function()
        found = []
        for _ in range(300):
            value = function({"x": torch.ones(ROWS, 2, dtype=f64)}, noise={"z": noise.uniform_()})
            found.append(torch.autograd.grad(value, q.net.bias)[0])
        spread[type(chosen)] = torch.stack(found).var(0).sum()
    assert spread[VIMCO] < 0.1 * spread[Score]
