"""Each operation against hand-written torch in float64, values and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ancestral.core.errors import DataError, OptionError
from ancestral.distributions import Normal
from ancestral.losses import KL, E, Function, MaxLoss, MinLoss, ValueLoss, norm, sqnorm, values
from tests.lowering.reading import twice

f64 = torch.float64
x, y = values("x y")
v, w = values("v w")  # events

EACH: dict[str, tuple[Any, Callable[..., torch.Tensor]]] = {
    "x + y": (x + y, lambda x, y: x + y),
    "x - y": (x - y, lambda x, y: x - y),
    "x * y": (x * y, lambda x, y: x * y),
    "x / y": (x / y, lambda x, y: x / y),
    "-x": (-x, lambda x, y: -x),
    "x ** 3": (x**3, lambda x, y: x**3),
    "x ** 1": (x**1, lambda x, y: x),
    "x ** 0.5": (x.abs() ** 0.5, lambda x, y: x.abs() ** 0.5),
    "x ** -2": (x**-2, lambda x, y: x**-2),
    "1 + x": (1 + x, lambda x, y: 1 + x),
    "1 - x": (1 - x, lambda x, y: 1 - x),
    "0.1 * x": (0.1 * x, lambda x, y: 0.1 * x),
    "x * 0.1": (x * 0.1, lambda x, y: x * 0.1),
    "x / 3": (x / 3, lambda x, y: x / 3),
    "0.1 / x": (0.1 / x, lambda x, y: 0.1 / x),
    "exp": (x.exp(), lambda x, y: x.exp()),
    "log": (x.exp().log(), lambda x, y: x),
    "log of abs": (x.abs().log(), lambda x, y: x.abs().log()),
    "abs": (x.abs(), lambda x, y: x.abs()),
    "clamp": (x.clamp(-0.5, 0.3), lambda x, y: x.clamp(-0.5, 0.3)),
    "clamp below": (x.clamp(min=0.1), lambda x, y: x.clamp(min=0.1)),
    "clamp above": (x.clamp(max=0.1), lambda x, y: x.clamp(max=0.1)),
    "min": (x.min(y), torch.minimum),
    "max": (x.max(y), torch.maximum),
    "min of a number": (x.min(0.1), lambda x, y: x.clamp(max=0.1)),
    "max of a number": (MaxLoss(0.1, x), lambda x, y: x.clamp(min=0.1)),
    "MinLoss": (MinLoss(x, y), torch.minimum),
    "mean": (x.mean(), lambda x, y: x.mean()),
    "sum": (x.sum(), lambda x, y: x.sum()),
    "detach": (x.detach() * y + x, lambda x, y: x.detach() * y + x),
    "a sum of many": (
        2 * x - 0.3 * y + 1.5 - x / 4 + y,
        lambda x, y: 2 * x - 0.3 * y + 1.5 - x / 4 + y,
    ),
    "terms collected": (x + x - 3 * x + y, lambda x, y: -x + y),
    "a ratio of sums": ((x + y) / (x * y + 2.1), lambda x, y: (x + y) / (x * y + 2.1)),
    "numbers alone": (
        x * (ValueLoss(0.1) ** 2 + ValueLoss(0.3).exp() - ValueLoss(0.2).log().abs()),
        lambda x, y: x * (0.01 + torch.tensor(0.3, dtype=f64).exp() - 1.6094379124341003),
    ),
    "numbers compared": (
        x * (ValueLoss(0.1).max(0.3) + ValueLoss(0.7).clamp(max=0.2)),
        lambda x, y: x * 0.5,
    ),
}
EVENTS: dict[str, tuple[Any, Callable[..., torch.Tensor]]] = {
    "norm": (norm(v), lambda v, w: v.flatten(1).norm(dim=-1)),
    "sqnorm": (sqnorm(v), lambda v, w: (v**2).flatten(1).sum(-1)),
    "sqnorm of a difference": (
        sqnorm(2 * v - w),
        lambda v, w: ((2 * v - w) ** 2).flatten(1).sum(-1),
    ),
    "sqnorm of a product": (
        sqnorm(v * w.exp()),
        lambda v, w: ((v * w.exp()) ** 2).flatten(1).sum(-1),
    ),
    "function": (
        Function(lambda a, b: (a * b).flatten(1).sum(-1))(v, w),
        lambda v, w: (v * w).flatten(1).sum(-1),
    ),
    "function of a number": (
        Function(lambda a, t: a.flatten(1).sum(-1) * t)(v, 0.1),
        lambda v, w: v.flatten(1).sum(-1) * 0.1,
    ),
    "function of a function": (
        Function(lambda a: a.flatten(1).sum(-1))(Function(torch.sin)(v - 0.5 * w)),
        lambda v, w: (v - 0.5 * w).sin().flatten(1).sum(-1),
    ),
    "gradient": (
        sqnorm(Function(lambda a: (a**3).flatten(1).sum(-1)).grad(v)),
        lambda v, w: (9 * v**4).flatten(1).sum(-1),
    ),
    "directional derivative": (
        sqnorm(Function(torch.sin).jvp((v,), (w,))),
        lambda v, w: ((v.cos() * w) ** 2).flatten(1).sum(-1),
    ),
}


@pytest.mark.parametrize("name", EACH)
def test_operations(name: str) -> None:
    batch = {k: torch.randn(6, dtype=f64, requires_grad=True) for k in "xy"}
    _compare(*EACH[name], batch)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # inside torch.func.jvp
@pytest.mark.parametrize("event", [(3,), (2, 3)])
@pytest.mark.parametrize("name", EVENTS)
def test_operations_of_events(name: str, event: tuple[int, ...]) -> None:
    batch = {k: torch.randn(6, *event, dtype=f64, requires_grad=True) for k in "vw"}
    _compare(*EVENTS[name], batch)


def _compare(
    loss: Any, by_hand: Callable[..., torch.Tensor], batch: dict[str, torch.Tensor]
) -> None:
    """Values to the last digits, gradients with random weights of the rows."""
    expected = by_hand(*batch.values())
    given = {k: batch[k] for k in loss.input_var}
    function = loss.function()
    weights = torch.randn(expected.shape, dtype=f64)
    wanted = torch.autograd.grad(
        (expected * weights).sum(), list(batch.values()), allow_unused=True, retain_graph=True
    )
    for _ in range(2):  # the interpreter, then the generated step
        value = function(given)
        assert value.dtype == f64
        torch.testing.assert_close(value, expected, rtol=1e-14, atol=1e-14)
        found = torch.autograd.grad(
            (value * weights).sum(), list(batch.values()), allow_unused=True
        )
        for a, b in zip(found, wanted, strict=True):
            zero = torch.zeros(())
            torch.testing.assert_close(
                *torch.broadcast_tensors(zero if a is None else a, zero if b is None else b),
                rtol=1e-12,
                atol=1e-12,
                check_dtype=False,
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["0.1 / x", "min of a number", "a sum of many", "numbers alone"])
def test_a_number_takes_the_dtype_of_what_it_meets(name: str, dtype: torch.dtype) -> None:
    loss = EACH[name][0]
    value = twice(loss, {k: torch.rand(4, dtype=dtype) + 0.5 for k in loss.input_var})
    assert value.dtype == dtype


def test_scalar_algebra_of_pixyz() -> None:
    three, four = {"x": torch.tensor(3.0)}, {"x": torch.tensor(4.0)}
    assert twice(2 + x, three).item() == 5.0
    assert twice(2 - x, four).item() == -2.0
    assert twice(2 * x, four).item() == 8.0
    assert twice(2 / x, four).item() == 0.5
    assert twice(x / 2, four).item() == 2.0
    assert twice(-x, four).item() == -4.0
    assert MinLoss(ValueLoss(3), ValueLoss(1)).eval().item() == 1.0
    assert MaxLoss(ValueLoss(3), ValueLoss(1)).eval().item() == 3.0
    assert (2 * (x - x) / 3).eval(four).item() == 0.0


def test_the_log_of_a_density_is_its_log_density() -> None:
    p = Normal(var=["x"], loc=0.0, scale=1.0)
    far = {"x": torch.tensor([60.0], dtype=f64)}  # exp(-1800) is 0
    assert twice(p.prob().log(), far).item() == pytest.approx(-1800.918938533205)
    ratio = (p.prob() ** 2 / p.prob() * p.prob()).log()
    torch.testing.assert_close(twice(ratio, far), twice(2 * p.log_prob(), far))
    near = {"x": torch.tensor([0.5], dtype=f64)}
    torch.testing.assert_close(twice(p.prob(), near), twice(p.log_prob(), near).exp())


def test_a_trained_number() -> None:
    c = nn.Parameter(torch.tensor(2.0, dtype=f64))
    q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
    p = Normal(var=["z"], loc=0.0, scale=1.0)
    loss = (c * KL(q, p)).mean()
    assert str(loss) == "mean(2 KL[q(z|x) || p(z)])"
    assert "2" in str(loss.program())
    batch = {"x": torch.ones(3, dtype=f64)}
    function = loss.function()
    for _ in range(2):
        value = function(batch)
        assert value.item() == pytest.approx(1.0)
        assert torch.autograd.grad(value, c)[0].item() == pytest.approx(0.5)
    with torch.no_grad():
        c.fill_(4.0)
    assert function(batch).item() == pytest.approx(2.0)


def test_a_network_in_a_loss_is_trained_and_live() -> None:
    net = nn.Linear(3, 1)
    critic = Function(net, name="f")
    loss = E(Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[3]), critic(values("z"))).mean()
    function = loss.function()
    noise = {"z": torch.randn(8, 3)}
    for _ in range(3):
        value = function(batch_n=8, noise=noise)
        torch.testing.assert_close(value, net(noise["z"]).mean())
        (slope,) = torch.autograd.grad(value, net.weight)
        torch.testing.assert_close(slope, noise["z"].mean(0, keepdim=True))
        with torch.no_grad():
            net.weight += 1.0


def test_mistakes_in_expressions() -> None:
    with pytest.raises(OptionError, match="needs min=, max= or both"):
        x.clamp()
    with pytest.raises(OptionError, match="min is above max"):
        x.clamp(1.0, 0.0)
    with pytest.raises(OptionError, match="exponent must be a number"):
        x**y
    with pytest.raises(OptionError, match="axis is a name"):
        x.mean(0)
    with pytest.raises(DataError, match="takes numbers and 0-d"):
        x + torch.ones(3)
    with pytest.raises(DataError, match="cannot stand in a loss"):
        x + "y"
    with pytest.raises(TypeError):
        list(x)
