"""The short way into a step: taken for inputs like the last ones, and for no others."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    DataError,
    MissingVariableError,
    NetworkError,
    ShapeError,
    SupportError,
)
from ancestral.distributions import Bernoulli, Gamma, Normal
from ancestral.losses import KL, E
from ancestral.models import Model

PRIOR = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p_{prior}")


def vae():
    """Encoder, decoder, their loss."""
    torch.manual_seed(0)
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4), name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(2, 3))
    return q, p, (KL(q, PRIOR) - E(q, p.log_prob())).mean()


def fits(function, data, **options):
    """Whether a call would take the short way."""
    batch_n = options.get("batch_n")
    last = function._last
    return last is not None and last[1](data, batch_n, None) is not None


X = (torch.arange(12.0).reshape(4, 3) % 2).contiguous()


def test_taken_by_a_batch_like_the_last_one():
    f = vae()[2].function()
    assert not fits(f, {"x": X})
    f({"x": X})
    assert fits(f, {"x": X})
    assert fits(f, {"x": 1.0 - X, "unused": None})


@pytest.mark.parametrize(
    "data", [{"x": X[:3]}, {"x": X.double()}, {"x": X.to("meta")}, {"x": 1.0}, {}, None, [X]]
)
def test_not_taken_by_another_kind(data):
    f = vae()[2].function()
    f({"x": X})
    assert not fits(f, data)


def test_not_taken_for_another_number_of_rows():
    f = E(PRIOR, PRIOR.log_prob()).function()
    f(batch_n=3)
    assert fits(f, None, batch_n=3)
    assert not fits(f, None, batch_n=4)
    assert not fits(f, None)
    f(batch_n=5)
    assert fits(f, None, batch_n=5)
    assert not fits(f, None, batch_n=3)


def another_network(q, p):
    q.net = nn.Linear(3, 4)


def a_hook(q, p):
    q.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize("change", [another_network, a_hook])
def test_not_taken_once_a_law_has_changed(change):
    q, p, loss = vae()
    f = loss.function()
    f({"x": X})
    change(q, p)
    assert not fits(f, {"x": X})


def test_not_taken_once_a_constant_has_changed():
    prior = Normal(var=["x"], loc=0.0, scale=1.0)
    f = prior.log_prob().function()
    f({"x": torch.zeros(2)})
    with torch.no_grad():
        prior.get_buffer("loc").fill_(1.0)
    assert not fits(f, {"x": torch.zeros(2)})
    assert f({"x": torch.ones(2)}).tolist() == pytest.approx([-0.9189385] * 2)


def test_both_ways_draw_the_same_noise():
    _, _, loss = vae()
    f, told = loss.function(), []
    for short in (False, True):
        f({"x": X})
        f._last = f._last if short else None
        torch.manual_seed(3)
        told.append([f({"x": X}).item(), f({"x": X}, generator=torch.Generator()).item()])
    assert told[0] == told[1]


def test_noise_that_is_drawn_inside_of_a_step():
    p = Gamma(var=["z"], concentration=torch.tensor([0.5, 2.0]), rate=1.0)
    loss = E(p, p.log_prob())
    f, told = loss.function(), []
    for short in (False, True):
        f(batch_n=4)
        f._last = f._last if short else None
        torch.manual_seed(3)
        told.append(f(batch_n=4))
    assert torch.equal(*told)


@pytest.mark.parametrize(
    ("data", "error"),
    [({}, MissingVariableError), ([X], DataError), ({"x": torch.zeros(4, 2)}, NetworkError)],
)
def test_what_is_amiss_is_said_as_before(data, error):
    f = vae()[2].function()
    f({"x": X})
    with pytest.raises(error):
        f(data)


def test_an_error_inside_of_the_step_names_its_term():
    _, p, loss = vae()
    f = loss.function()
    f({"x": X})
    p.net.weight = nn.Parameter(torch.zeros(5, 2))
    p.net.bias = nn.Parameter(torch.zeros(5))
    assert fits(f, {"x": X})
    with pytest.raises(ShapeError, match=r"x has event shape \(3,\)"):
        f({"x": X})


def test_a_loss_that_is_not_finite_is_explained_by_the_same_noise():
    class Far(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))
            self.limit = float("inf")

        def forward(self, z):
            return torch.where(z.abs().max() > self.limit, torch.nan, self.scale) * z

    p = Normal(var=["x"], cond_var=["z"], net=Far(), scale=1.0)
    model = Model(-E(PRIOR, p.log_prob()).mean())
    x = torch.zeros(4, 2)
    for _ in range(3):
        model.train({"x": x})
    p.net.limit = 0.0
    with pytest.raises(SupportError, match="loc must be finite"):
        model.train({"x": x})
