"""Gumbel-softmax: its mean is that of the relaxation, by quadrature; biased, and marked."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scipy import integrate
from torch import nn

from ancestral.core.errors import OptionError, SupportError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Multinomial,
    Normal,
    RelaxedBernoulli,
)
from ancestral.losses import KL, E, Function, GumbelSoftmax, StraightThrough, values
from benchmarks import relaxation_bias
from tests.estimators.quadrature import coin_rule, f64

T, ETA = 0.6, 0.4
z, w = values("z w")


def coin(eta=ETA, **options):
    return Bernoulli(
        logits=nn.Parameter(torch.tensor([eta], dtype=f64)), var=["z"], name="q", **options
    )


def square(z):
    return (z[:, 0] - 0.45) ** 2


def weighted(q, plan, nodes, weights):
    """The mean value and gradient of f, the interpreter's and the generated step's."""
    loss = E(q, w * Function(square, name="f")(z)).estimate({q: plan})
    function, out = loss.sum().function(), []
    for _ in range(2):
        value = function({"w": weights}, noise={"z": nodes})
        out.append((value.item(), torch.autograd.grad(value, q.logits)[0]))
    assert out[0][0] == out[1][0]
    assert torch.equal(out[0][1], out[1][1])
    return out[0]


def test_the_mean_is_that_of_the_relaxation_and_not_the_objective():
    q = coin()
    nodes, weights = coin_rule([0.5])
    value, slope = weighted(q, GumbelSoftmax(T), nodes, weights)

    def at(eta):  # by scipy, in the logistic noise
        def f(t):
            soft = 1.0 / (1.0 + math.exp(-(eta + t) / T))
            return (soft - 0.45) ** 2 / (2.0 + math.exp(t) + math.exp(-t))

        return integrate.quad(f, -36, 36, epsabs=1e-13, epsrel=1e-13, limit=400)[0]

    assert value == pytest.approx(at(ETA), abs=1e-10)
    assert slope.item() == pytest.approx((at(ETA + 1e-4) - at(ETA - 1e-4)) / 2e-4, abs=1e-8)
    pi = torch.tensor(ETA).sigmoid().item()
    exact = pi * 0.55**2 + (1 - pi) * 0.45**2
    assert abs(value - exact) > 0.02  # another value: so it is marked
    loss = E(q, Function(square, name="f")(z)).estimate({q: GumbelSoftmax(T)})
    assert "relaxed at temperature 0.6 (biased)" in str(loss.program())


def test_the_mean_of_straight_through_is_its_own():
    """The exact value; the gradient E[f'(z) d sigma_T / d eta], by scipy, on either side of the
    jump.
    """
    q = coin()
    pi = q.logits.sigmoid().item()
    value, slope = weighted(q, StraightThrough(T), *coin_rule([pi]))
    assert value == pytest.approx(pi * 0.55**2 + (1 - pi) * 0.45**2, abs=1e-10)

    def rate(t, on):
        soft = 1.0 / (1.0 + math.exp(-(ETA + t) / T))
        return 2 * (on - 0.45) * soft * (1 - soft) / T / (2.0 + math.exp(t) + math.exp(-t))

    options = {"epsabs": 1e-13, "epsrel": 1e-13, "limit": 400}
    off, on = (
        integrate.quad(rate, *ends, args=(bit,), **options)[0]
        for bit, ends in enumerate([(-36, -ETA), (-ETA, 36)])
    )
    assert slope.item() == pytest.approx(off + on, abs=1e-10)
    exact = pi * (1 - pi) * (0.55**2 - 0.45**2)
    assert abs(slope.item() - exact) > 0.015  # another gradient: so it is marked
    loss = E(q, Function(square, name="f")(z)).estimate({q: StraightThrough(T)})
    assert "gradient of its relaxation at temperature 0.6 (biased)" in str(loss.program())


def test_two_categories_are_a_coin():
    """softmax of two is the logistic function of their difference."""
    q = Categorical(logits=nn.Parameter(torch.tensor([ETA, 0.0], dtype=f64)), var=["z"], name="q")
    u, weights = coin_rule([0.5])
    noise = torch.cat([u.log() - torch.log1p(-u), torch.zeros_like(u)], -1)  # the difference
    value, slope = weighted(q, GumbelSoftmax(T), noise, weights)
    other = coin()
    wanted = weighted(other, GumbelSoftmax(T), u, weights)
    assert value == pytest.approx(wanted[0], abs=1e-13)
    torch.testing.assert_close(slope[0], wanted[1][0], rtol=0, atol=1e-13)
    torch.testing.assert_close(slope[0], -slope[1], rtol=0, atol=1e-13)


def test_the_bias_falls_with_the_temperature():
    """In the end as T |p'(eta)| times the integral of f'(s) logit(s), p the logistic density."""
    pi = torch.tensor(ETA, dtype=f64).sigmoid()
    nodes, weights = coin_rule([pi.item()])
    exact = (pi * (1 - pi) * (0.55**2 - 0.45**2)).item()
    bias = []
    for t in (0.5, 0.25, 0.1, 0.05):
        q = coin()
        bias.append(abs(weighted(q, GumbelSoftmax(t), nodes, weights)[1].item() - exact))
    assert bias == sorted(bias, reverse=True), bias
    slope = pi * (1 - pi) * (2 * pi - 1)  # the integral is 1
    assert bias[-1] == pytest.approx(0.05 * slope.item(), rel=0.04)


@pytest.mark.parametrize("family", [Bernoulli, Categorical])
def test_densities_between_the_values_are_linear(family):
    torch.manual_seed(0)
    q = family(logits=nn.Parameter(torch.randn(3, dtype=f64)), var=["z"], name="q")
    p = family(logits=torch.randn(3, dtype=f64), var=["z"], name="p")
    noise = torch.rand(5, 3, dtype=f64)
    noise = noise if family is Bernoulli else (-noise.log()).log()
    loss = E(q, p.log_prob() - 0.5 * q.log_prob()).estimate({q: GumbelSoftmax(T)})
    soft = q.moves.relaxed(noise, T, logits=q.logits)

    def linear(law):
        if family is Bernoulli:
            on, off = F.logsigmoid(law.logits), F.logsigmoid(-law.logits)
            return (soft * on + (1 - soft) * off).sum(-1)
        return (soft * law.logits.log_softmax(-1)).sum(-1)

    wanted = (linear(p) - 0.5 * linear(q)).mean()
    function = loss.function()
    for _ in range(2):
        found = function(noise={"z": noise}, batch_n=5)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
        torch.testing.assert_close(
            torch.autograd.grad(found, q.logits),
            torch.autograd.grad(wanted, q.logits, retain_graph=True),
            rtol=0,
            atol=1e-13,
        )
    closed = KL(q, p).estimate(
        {q: GumbelSoftmax(T)}
    )  # nothing is drawn: that of the discrete laws
    assert closed.mean().eval().item() == pytest.approx(KL(q, p).mean().eval().item())


def test_a_law_of_relaxed_values_has_its_own_density_there():
    q, p = coin(), RelaxedBernoulli(temperature=T, logits=torch.zeros(1), var=["z"], name="p")
    noise = torch.rand(5, 1, dtype=f64)
    loss = E(q, p.double().log_prob()).estimate({q: GumbelSoftmax(T)})
    soft = Bernoulli.relaxed(noise, T, logits=q.logits)
    wanted = p.get_log_prob({"z": soft}, sum_features=True)
    torch.testing.assert_close(loss.eval(batch_n=5, noise={"z": noise}), wanted.mean())


def test_a_law_without_a_density_between_its_values_refuses():
    q = Categorical(logits=nn.Parameter(torch.zeros(3)), var=["z"], name="q")
    p = Multinomial(total_count=1, probs=torch.ones(3) / 3, var=["z"], name="p")
    loss = E(q, p.log_prob()).estimate({q: GumbelSoftmax(T)})
    with pytest.raises(SupportError, match=r"(?s)relaxed values in the place of z.*use Score"):
        loss.eval(batch_n=2)


@pytest.mark.parametrize(
    "law",
    [
        Normal(loc=0.0, scale=1.0, var=["z"], name="q"),
        Categorical(logits=torch.zeros(3), onehot=False, var=["z"], name="q"),
    ],
    ids=["normal", "index"],
)
def test_laws_without_a_relaxation_refuse(law):
    f = Function(lambda z: z.flatten(1)[:, 0], name="f")(z)
    with pytest.raises(OptionError, match=r"GumbelSoftmax\(\) for .* has no relaxation"):
        E(law, f).estimate({law: GumbelSoftmax()}).program()


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), "low", True])
def test_temperature_is_a_positive_number(temperature):
    with pytest.raises(OptionError, match=r"GumbelSoftmax.*give a positive number"):
        GumbelSoftmax(temperature)


def test_the_table_of_biases_in_the_guide_is_what_the_script_prints():
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "gradients.md"
    assert relaxation_bias.table() in guide.read_text("utf-8")
