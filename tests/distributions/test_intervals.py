"""Laws on an interval whose parameters are parts of one tensor of a network."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import ParameterError
from ancestral.distributions import TruncatedNormal, Uniform
from ancestral.losses import KullbackLeibler

Y = torch.linspace(-2.0, 2.0, 10).reshape(5, 2)


def test_a_uniform_law_has_its_ends_in_order():
    net = nn.Linear(2, 6)
    q = Uniform(var=["x"], cond_var=["y"], net=net, name="q")
    ends = q.get_params({"y": Y})
    low, width = net(Y).chunk(2, -1)
    assert torch.equal(ends["low"], low)
    assert torch.equal(ends["high"], low + nn.functional.softplus(width))
    x = q.sample({"y": Y}, sample_shape=[100], return_all=False)["x"]
    assert ((x >= ends["low"]) & (x <= ends["high"])).all()
    p = Uniform(var=["x"], low=-9.0, high=9.0, features_shape=[3])
    loss = KullbackLeibler(q, p).mean()
    wanted = (18.0 / (ends["high"] - ends["low"])).log().sum(-1).mean()
    torch.testing.assert_close(loss.eval({"y": Y}), wanted)


def test_one_end_is_not_taken_from_one_tensor():
    q = Uniform(var=["x"], cond_var=["y"], low=0.0, net=nn.Linear(2, 3))
    with pytest.raises(ParameterError, match=r"does not say how high keeps its side. Return a d"):
        q.get_params({"y": Y})


def test_a_truncated_normal_law_takes_location_and_scale():
    net = nn.Linear(2, 6)
    q = TruncatedNormal(var=["x"], cond_var=["y"], low=0.0, high=1.0, net=net)
    loc, scale = net(Y).chunk(2, -1)
    params = q.get_params({"y": Y})
    assert torch.equal(params["loc"], loc)
    assert torch.equal(params["scale"], nn.functional.softplus(scale))
    x = q.sample({"y": Y})["x"]
    assert ((x >= 0.0) & (x <= 1.0)).all()


def test_without_its_ends_it_says_what_is_missing():
    q = TruncatedNormal(var=["x"], cond_var=["y"], net=nn.Linear(2, 4))
    with pytest.raises(ParameterError, match=r"does not say low, high. Give low, high to the con"):
        q.get_params({"y": Y})
