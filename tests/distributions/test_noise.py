"""Noise that depends on parameters: one hook for eager draws, interpreter and generated step."""

import math

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions import Beta, Gamma, Normal, TruncatedNormal
from ancestral.distributions.noise import noise_move
from ancestral.losses import E, KullbackLeibler
from tests.oracles.slopes import gamma_slope

f64 = torch.float64


class Encoder(nn.Module):
    """The two parameters of a positive law, from one weight each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.3, -0.2], dtype=f64))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a, b = ((x * w).exp() for w in self.weight)
        return {"concentration": a, "rate": b}


def loss_of(draws: int | None = None):
    q = Gamma(var=["z"], cond_var=["x"], net=Encoder(), name="q")
    p = Normal(var=["x"], cond_var=["z"], net=lambda z: {"loc": z, "scale": torch.ones_like(z)})
    prior = Gamma(var=["z"], concentration=2.0, rate=1.0, features_shape=[3], name="r").double()
    return q, E(q, p.log_prob(), sample_shape=draws) - KullbackLeibler(q, prior)


def gradient(value: Tensor, q: Gamma) -> Tensor:
    return torch.autograd.grad(value.sum(), q.net.weight)[0]


@pytest.mark.parametrize("draws", [None, 4])
def test_interpreter_and_text_draw_the_same(draws):
    q, loss = loss_of(draws)
    x = torch.linspace(-1.0, 1.0, 15, dtype=f64).reshape(5, 3)
    function = loss.function()
    found = []
    for _ in range(3):  # the interpreter, then the text twice
        torch.manual_seed(3)
        value = function({"x": x})
        found.append((value, gradient(value, q)))
    assert "noise0 = noise0(" in function.source()
    for value, slope in found[1:]:
        assert torch.equal(value, found[0][0])
        assert torch.equal(slope, found[0][1])


@pytest.mark.parametrize("draws", [None, 4])
def test_noise_given_is_the_standard_draw(draws):
    """Value and gradient by hand; another number of rows in the same text."""
    q, loss = loss_of(draws)
    function = loss.function()
    for rows in (5, 5, 7):
        x = torch.linspace(-1.0, 1.0, 3 * rows, dtype=f64).reshape(rows, 3)
        g = 0.5 + torch.rand(*(() if draws is None else (draws,)), rows, 3, dtype=f64)
        value = function({"x": x}, noise={"z": g})
        a, b = (x * q.net.weight[0]).exp(), (x * q.net.weight[1]).exp()
        slope = torch.from_numpy(gamma_slope(a.detach().numpy(), g.numpy()))
        z = (g + slope * (a - a.detach())) / b
        fit = torch.distributions.Normal(z, 1.0).log_prob(x).sum(-1)
        fit = fit if draws is None else fit.mean(0)
        two, one = torch.tensor(2.0, dtype=f64), torch.tensor(1.0, dtype=f64)
        kl = torch.distributions.kl_divergence(
            torch.distributions.Gamma(a, b), torch.distributions.Gamma(two, one)
        )
        wanted = fit - kl.sum(-1)
        torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(gradient(value, q), gradient(wanted, q))


def test_noise_of_a_wrong_shape_is_refused():
    _q, loss = loss_of()
    function = loss.function()
    x = torch.ones(5, 3, dtype=f64)
    for _ in range(2):
        function({"x": x})
        with pytest.raises(ShapeError, match=r"noise=\{'z'"):
            function({"x": x}, noise={"z": torch.ones(5, 2, dtype=f64)})


def test_a_family_has_one_source_of_noise():
    """A draw of its own, or a fixed kind; moves that declare a fixed kind do not use another."""

    def noise_of(shape, like, generator=None, **params):
        return torch.zeros(shape)

    with pytest.raises(OptionError, match=r"Twice has a noise_of and noise='normal'.*in words"):
        type("Twice", (Normal,), {"noise_of": staticmethod(noise_of)})
    drawn = type("Drawn", (Normal,), {"noise_of": staticmethod(noise_of), "noise": "a draw"})
    assert noise_move(drawn) is noise_of
    assert noise_move(type("Fixed", (drawn,), {"noise": "normal"})) is None
    assert noise_move(Gamma) is not None


def test_generator_decides_the_draw():
    _q, loss = loss_of()
    function = loss.function()
    x, values = torch.ones(5, 3, dtype=f64), []
    for seed in range(3):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(7)
        values.append(function({"x": x}, generator=generator))
    assert torch.equal(values[1], values[0])
    assert torch.equal(values[2], values[0])


def test_compiling_a_draw_by_rejection_is_refused():
    _q, loss = loss_of()
    with pytest.raises(OptionError, match=r"noise of z \(standard gamma\).*Leave compile out"):
        loss.function(compile=True)({"x": torch.ones(5, 3, dtype=f64)})


def test_second_derivatives_of_implicit_draws_are_refused():
    q, loss = loss_of()
    value = loss.eval({"x": torch.ones(5, 3, dtype=f64)}).sum()
    (slope,) = torch.autograd.grad(value, q.net.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.slow
def test_a_draw_by_quantiles_is_compiled(caplog):
    """Of a truncated law too, whose gradient is attached: value and gradient are those of eager."""

    def net(x: Tensor) -> dict[str, Tensor]:
        one = torch.ones_like(x)
        return {"loc": 0.1 * x, "scale": one, "low": -one, "high": 2.0 * one}

    q = TruncatedNormal(var=["z"], cond_var=["x"], net=net, name="q")
    p = Normal(var=["x"], cond_var=["z"], net=lambda z: {"loc": z, "scale": torch.ones_like(z)})
    loss = E(q, p.log_prob() - q.log_prob())
    x = torch.linspace(-1.0, 1.0, 12).reshape(4, 3).requires_grad_()
    found = []
    for function in (loss.function(), loss.function(compile="aot_eager")):
        for _ in range(2):
            torch.manual_seed(0)
            value = function({"x": x})
        found.append((value, torch.autograd.grad(value.sum(), x)[0]))
    assert not [r for r in caplog.records if r.name.startswith("ancestral")]
    torch.testing.assert_close(found[1], found[0])


def test_beta_draws_of_small_concentrations_lie_at_the_ends():
    """Between 0.1 and 0.9 lies 0.0022 of the mass; gamma variables that underflow gave 0.24.

    Within 5 standard errors: a share of 0.004 would be detected.
    """
    p = Beta(concentration1=1e-3, concentration0=1e-3)
    x = p.sample(batch_n=20_000)["x"]
    middle = ((x > 0.1) & (x < 0.9)).double().mean().item()
    wanted = 1e-3 * math.log(9.0)
    assert abs(middle - wanted) < 5 * (wanted / 20_000) ** 0.5
    assert 0.45 < (x > 0.5).double().mean().item() < 0.55


def test_a_draw_without_data_is_repeated():
    """The number of rows, which no input has, is an argument of the generated step."""
    q = Gamma(var=["z"], concentration=torch.tensor([0.5, 2.0]), rate=1.0, name="q")
    p = Gamma(var=["z"], concentration=1.5, rate=2.0, features_shape=[2])
    run, values = E(q, p.log_prob()).mean().function(), []
    for _ in range(3):  # the interpreter, then the text
        torch.manual_seed(0)
        values.append(run({}, batch_n=7))
    assert torch.equal(values[1], values[2])
    torch.testing.assert_close(values[0], values[1])
