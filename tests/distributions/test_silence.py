"""Regression tests for what Pixyz 0.3.3 accepts in silence, or refuses without saying why."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    DensityError,
    MissingVariableError,
    OptionError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import Bernoulli, Law, Normal
from ancestral.losses import E, Entropy, KullbackLeibler, Parameter


def test_unknown_options_are_errors():
    """Pixyz: prior.sample(batch_size=64) draws one row."""
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[3])
    with pytest.raises(OptionError, match="did you mean 'batch_n'"):
        p.sample(batch_size=64)
    with pytest.raises(OptionError, match="did you mean 'sum_features'"):
        p.get_log_prob({"x": torch.zeros(1, 3)}, sum_feature=False)
    with pytest.raises(OptionError, match="did you mean 'feature_dims'"):
        p.get_entropy(features_dims=[1])
    with pytest.raises(TypeError, match="dim"):
        KullbackLeibler(p, p, dim=0)
    with pytest.raises(TypeError, match="locc"):
        Normal(locc=0.0)


@pytest.mark.parametrize("options", [{"batch_n": 0}, {"batch_n": 2.0}, {"sample_shape": [-1]}])
def test_sizes_are_whole_numbers(options):
    with pytest.raises(OptionError, match="must be a whole number of at least 1"):
        Normal(var=["x"], loc=0.0, scale=1.0).sample(**options)


def test_column_against_row_is_an_error():
    """Pixyz: (B, 1) times (B,) is (B, B)."""
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[3])
    loss = Parameter("r") * p.log_prob()
    data = {"x": torch.zeros(5, 3), "r": torch.ones(5)}
    assert loss.eval(data).shape == (5,)
    with pytest.raises(ShapeError, match=r"r.*\(5, 1\)"):
        loss.eval({**data, "r": torch.ones(5, 1)})


def test_column_against_row_is_an_error_in_a_density():
    p = Normal(var=["x"], cond_var=["y"], loc="y", scale=1.0)
    assert p.get_log_prob({"x": torch.zeros(5), "y": torch.zeros(5)}).shape == (5,)
    assert p.get_log_prob({"x": torch.zeros(7, 5), "y": torch.zeros(5)}).shape == (7, 5)
    with pytest.raises(ShapeError, match=r"x has shape \(5, 1\)"):
        p.get_log_prob({"x": torch.zeros(5, 1), "y": torch.zeros(5)})
    with pytest.raises(ShapeError, match=r"x has shape \(5,\)"):
        p.get_log_prob({"x": torch.zeros(5), "y": torch.zeros(5, 1)})


def test_terms_of_a_joint_are_one_number_per_row():
    """Without an event shape a prior of numbers is a scalar: (8, 8) + (8,) is refused."""
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(8, 4))
    values = {"x": torch.ones(8, 4), "z": torch.zeros(8, 8)}
    good = p * Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[8])
    assert good.get_log_prob(values).shape == (8,)
    values = {"x": torch.ones(8, 4), "z": torch.zeros(8, 7)}
    bad = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(7, 4)) * Normal(
        var=["z"], loc=0.0, scale=1.0
    )
    with pytest.raises(ShapeError, match="declare the event shapes"):
        bad.get_log_prob(values)


@pytest.mark.parametrize("shape", [(5, 1), (5, 2), (3, 5), (5,)])
def test_value_must_have_the_event_shape(shape):
    """Pixyz: data of width 1 against features_shape 3 is accepted."""
    laws: list[Law] = [
        Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[3]),
        Normal(var=["x"], loc=torch.zeros(3), scale=1.0),
        Normal(var=["x"], cond_var=["y"], loc="y", scale=1.0),
    ]
    for p in laws:
        values = {"x": torch.zeros(shape), "y": torch.zeros(5, 3)}
        with pytest.raises(ShapeError, match=r"x has shape"):
            p.get_log_prob(values)


def test_more_leading_axes_are_not_summed():
    """Pixyz: (8, 5, 3) data is summed over the 5."""
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[3])
    assert p.get_log_prob({"x": torch.zeros(8, 5, 3)}).shape == (8, 5)


def test_network_must_give_the_declared_event_shape():
    p = Normal(var=["x"], cond_var=["y"], net=nn.Linear(2, 8), features_shape=[3])
    with pytest.raises(ShapeError, match=r"its event shape is \(3,\)"):
        p.sample({"y": torch.zeros(5, 2)})
    q = Normal(var=["z"], cond_var=["y"], loc="y", scale=1.0, name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[3])
    y = torch.zeros(3)  # as many rows as the prior has features: torch would broadcast
    for loss in (
        KullbackLeibler(q, prior),
        E(q, prior.log_prob()),
        E(q, q.log_prob() - prior.log_prob()),
    ):
        with pytest.raises(ShapeError):
            loss.eval({"y": y})


def test_cycles_are_errors_at_once():
    """Pixyz: p(x|z) * p(z|x) builds."""
    p, q = (Normal(var=[a], cond_var=[b], loc=b, scale=1.0) for a, b in (("x", "z"), ("z", "x")))
    with pytest.raises(VariableError, match="x needs z needs x"):
        p * q
    with pytest.raises(VariableError, match="cycle"):
        p * q.replace_var(x="w") * Normal(var=["w"], cond_var=["x"], loc="x", scale=1.0)


def test_divergence_of_different_variables():
    """Pixyz: D_KL[p(a)||p(z)] evaluates."""
    p, q = (Normal(var=[v], loc=0.0, scale=1.0) for v in "az")
    with pytest.raises(VariableError, match="compares laws of different variables"):
        KullbackLeibler(p, q)
    assert KullbackLeibler(p, q.replace_var(z="a")).eval() == 0


def test_divergence_of_a_renamed_conditional():
    """Pixyz: unexpected keyword."""
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(4, 6), name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[3])
    x = torch.randn(5, 4)
    renamed = q.replace_var(x="y", z="u")
    found = KullbackLeibler(renamed, prior.replace_var(z="u")).eval({"y": x})
    assert torch.equal(found, KullbackLeibler(q, prior).eval({"x": x}))


def test_divergence_of_joints_is_decomposed():
    """Pixyz: cannot be evaluated. Here the chain rule: 1/2 + E_q[...]."""
    q = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0, name="q") * Normal(
        var=["z"], loc=0.0, scale=1.0, name="q"
    )
    p = Normal(var=["x"], cond_var=["z"], loc="z", scale=2.0) * Normal(
        var=["z"], loc=1.0, scale=1.0
    )
    wanted = 0.5 + (math.log(2.0) + 0.125 - 0.5)
    found = KullbackLeibler(q, p).eval()
    assert found.item() == pytest.approx(wanted, abs=1e-6)


def test_missing_variables_are_errors():
    """Pixyz: missing keys are dropped."""
    p = Normal(var=["x"], cond_var=["y", "z"], loc="y", scale="z")
    with pytest.raises(MissingVariableError, match="needs a value for z"):
        p.sample({"y": torch.ones(1)})
    with pytest.raises(MissingVariableError, match="did you mean 'zz'"):
        p.get_log_prob({"y": torch.ones(1), "x": torch.ones(1), "zz": torch.ones(1)})


def test_constructor_options_are_not_shared():
    """Pixyz: mutable defaults."""
    one, two = Normal(loc=0.0, scale=1.0), Normal(loc=0.0, scale=1.0)
    one.var.append("y")
    one.cond_var.append("z")
    assert (one.var, two.var, one.cond_var) == (["x"], ["x"], [])


def test_entropy_of_a_joint_whose_condition_is_drawn():
    joint = Normal(var=["x"], cond_var=["z"], net=lambda z: torch.cat([z, z], -1)) * Normal(
        var=["z"], loc=0.0, scale=1.0, features_shape=[2]
    )
    for given in ({}, {"z": torch.zeros(1, 2)}):
        with pytest.raises(DensityError, match="depends on z, which is drawn"):
            joint.get_entropy(given)
    independent = Normal(var=["x"], loc=0.0, scale=1.0) * Normal(var=["y"], loc=0.0, scale=1.0)
    assert independent.get_entropy().item() == pytest.approx(2 * 1.4189385)


def test_entropy_has_one_value_for_each_row():
    """Also where it depends on no row: its sum counts them."""
    p = Normal(var=["z"], cond_var=["y"], loc="y", scale=1.0)
    y = {"y": torch.zeros(3, 2)}
    each = 2 * 1.4189385
    assert Entropy(p).sum().eval(y).item() == pytest.approx(3 * each)
    assert Entropy(p).mean().eval(y).item() == pytest.approx(each)
