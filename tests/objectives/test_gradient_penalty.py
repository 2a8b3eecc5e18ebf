"""Bounds on the slope of a critic: penalties, and spectral normalisation by torch."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ancestral.core.errors import OptionError, VariableError
from ancestral.distributions import EmpiricalDistribution
from ancestral.losses import (
    R1,
    AdversarialHinge,
    Function,
    GradientPenalty,
    norm,
    values,
)
from ancestral.models import Model
from ancestral.runtime import compiled
from tests.sentences.test_08_wgan_gp import World


def test_laws_of_one_name_are_told_apart():
    w = World()
    q = w.p_g.replace_var(x_f="x")
    assert str(GradientPenalty(w.data, q, w.f)) == (
        "E_{p_{data}(x)p_g(x')p(u_x)}[(||∇f(u_x x + (1 - u_x) x')|| - 1)^2]"
    )


def test_r1_of_a_quadratic():
    """f(x) = x'Ax / 2 has the slope Ax."""
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    f = Function(lambda x: 0.5 * ((x @ a) * x).sum(1), name="f")
    x = torch.randn(5, 2)
    found = R1(EmpiricalDistribution(["x"]), f).eval({"x": x})
    assert found.item() == pytest.approx(0.5 * (x @ a).square().sum(1).mean().item(), rel=1e-5)


def test_mistakes_are_named():
    w = World()
    with pytest.raises(OptionError, match="the critic is a Function.net."):
        R1(w.data, w.critic)
    with pytest.raises(VariableError, match="taken at one variable, but it draws 2"):
        GradientPenalty(EmpiricalDistribution(["x", "y"]), w.p_g, w.f)


# -- spectral normalisation ----------------------------------------------------------------------
def normed() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [spectral_norm(nn.Linear(3, 8)), nn.ReLU(), spectral_norm(nn.Linear(8, 1))]
    return nn.Sequential(*layers).double()


def test_spectral_norm_bounds_the_slope():
    """After many passes the slope of a critic of two layers is at most 1, in copies too."""
    w = World()
    net = normed()
    p = w.p_g.replace_var(x_f="x")
    model = Model(AdversarialHinge(w.data, p, net), distributions=[p])
    for _ in range(20):
        model.train({"x": w.x})
    twin = copy.deepcopy(model)
    twin.train({"x": w.x})
    with torch.no_grad():
        for layer in (0, 2):
            assert torch.linalg.matrix_norm(net[layer].weight, 2) == pytest.approx(1.0, abs=1e-3)
    x, slope = values("x"), Function(net.eval(), name="f")
    steepest = norm(slope.grad(x)).eval({"x": torch.randn(200, 3).double()})
    assert float(steepest.detach().max()) <= 1.0 + 1e-3


def test_spectral_norm_in_a_compiled_step(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    torch._dynamo.reset()
    found = []
    for compile in (False, True):
        w, net = World(), normed()
        dual = AdversarialHinge(w.data, w.p_g.replace_var(x_f="x"), net).dual()
        function, noise = dual.function(compile=compile), {"noise_x_f": torch.ones(6, 2).double()}
        found.append([function({"x": w.x}, noise=noise).item() for _ in range(3)])
    assert found[0][0] != found[0][2]  # each pass improves the estimate of the largest slope
    assert found[0] == pytest.approx(found[1], rel=1e-9)
    torch._dynamo.reset()
