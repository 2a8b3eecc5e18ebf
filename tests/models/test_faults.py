"""What goes wrong during training is stopped before the weights are touched, and is named."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    AncestralError,
    DataError,
    DeviceError,
    SupportError,
    TrainingError,
)
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E, Parameter, values
from ancestral.models import Model
from tests.models.parts import LATENT, PIXELS, draws, parts, same, weights


def test_data_that_are_not_a_number_at_step_five():
    w = parts()
    model = w.model()
    for _ in range(5):
        model.train({"x": w.x})
    before = weights(model.distributions)
    moments = {k: v["exp_avg"].clone() for k, v in model.optimizer.state.items()}
    x = w.x.clone()
    x[3, 2] = math.nan
    with pytest.raises(DataError, match=r"the data x is NaN at index \(3, 2\)"):
        model.train({"x": x})
    assert same(before, weights(model.distributions))
    for k, v in model.optimizer.state.items():
        assert torch.equal(moments[k], v["exp_avg"])
    assert math.isfinite(model.train({"x": w.x}))


class Breaks(nn.Module):
    """A network that returns NaN for one row as soon as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(PIXELS, 2 * LATENT)
        self.value = 0.0

    def forward(self, x):
        out = self.fc(x)
        spoil = torch.zeros_like(out)
        spoil[5, 1] = self.value
        return out + spoil


@pytest.mark.parametrize(
    ("value", "message"), [(math.nan, r"NaN"), (math.inf, r"inf"), (-math.inf, r"inf")]
)
def test_a_network_that_breaks_at_step_five(value, message):
    w, net = parts(), Breaks()
    q = Normal(var=["z"], cond_var=["x"], net=net, name="q")
    model = Model(loss=-(E(q, w.p.log_prob()) - KL(q, w.prior)).mean())
    for _ in range(5):
        model.train({"x": w.x})
    before = weights(model.distributions)
    net.value = value
    with pytest.raises(SupportError, match=rf"q\(z\|x\).*loc.*{message}.*\(5, 1\)"):
        model.train({"x": w.x})
    assert same(before, weights(model.distributions))
    net.value = 0.0
    model.train({"x": w.x})


def test_a_term_that_overflows():
    w = parts()
    loss = (-w.elbo * Parameter("a")).mean()
    model = Model(loss=loss, distributions=[w.p, w.q])
    model.train({"x": w.x}, a=1.0)
    before = weights(model.distributions)
    with pytest.raises(AncestralError, match="not finite|infinite"):
        model.train({"x": w.x}, a=1e38)
    assert same(before, weights(model.distributions))


def test_weights_that_an_earlier_step_has_spoilt():
    """The first loss is finite, its gradient is not: the next step says which weight it was."""

    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, z):
            return {"loc": (z.new_zeros(len(z), 3) + self.weight).abs().sqrt(), "scale": z.exp()}

    p = Normal(var=["x"], cond_var=["z"], net=Root(), name="p")
    batch = {"x": torch.ones(4, 3), "z": torch.zeros(4, 3)}
    model = Model(loss=-p.log_prob().mean())
    model.train(batch)
    assert not p.net.weight.isfinite().all()
    with pytest.raises(TrainingError, match=r"since net\.weight of p\(x\|z\) is not"):
        model.train(batch)

    p = Normal(var=["x"], cond_var=["z"], net=Root(), name="p")
    model = Model(loss=-p.log_prob().mean(), clip_grad_norm=1.0)
    with pytest.raises(TrainingError, match=r"the gradient of net\.weight of p\(x\|z\) is not"):
        model.train(batch)
    assert p.net.weight.tolist() == [0.0, 0.0, 0.0]


def test_a_batch_without_rows():
    w = parts()
    model = w.model()
    with pytest.raises(DataError, match=r"x has no rows: shape \(0, 6\)"):
        model.train({"x": w.x[:0]})


def test_a_loss_that_is_not_finite_from_the_start():
    w = parts()
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(PIXELS, 2 * LATENT), name="q")
    with torch.no_grad():
        q.net.bias[LATENT:] = -1e6  # softplus gives a standard deviation of 0
    model = Model(loss=-(E(q, w.p.log_prob()) - KL(q, w.prior)).mean())
    with pytest.raises(SupportError, match=r"q\(z\|x\): scale must be positive, got 0"):
        model.train({"x": w.x})


def test_a_shape_that_is_new_is_checked():
    w = parts()
    model = w.model()
    model.train({"x": w.x})
    with pytest.raises(AncestralError, match=r"q\(z\|x\).*\(8, 5\)"):
        model.train({"x": w.x[:, :5]})
    x = w.x[:3].clone()
    x[1, 1] = math.inf
    with pytest.raises(DataError, match=r"x is infinite at index \(1, 1\)"):
        model.train({"x": x})


@pytest.mark.parametrize("which", ["batch", "laws"])
@pytest.mark.parametrize("first", [True, False])
def test_another_device(which, first):
    w = parts()
    model = w.model()
    if not first:
        model.train({"x": w.x})
    x = w.x
    if which == "batch":
        x, fix = w.x.to("meta"), r"x\.to\('cpu'\)"
    else:
        w.p.to("meta"), w.q.to("meta")
        fix = r"x\.to\('meta'\)"
    with pytest.raises(DeviceError, match=rf"q\(z\|x\): x is on .*{fix}"):
        model.train({"x": x})


def test_another_precision():
    w = parts()
    with pytest.raises(AncestralError, match=r"q\(z\|x\).*[dD]ouble"):
        w.model().train({"x": w.x.double()})


def test_an_error_leaves_no_trace():
    """A run with a failed step in it is the same as the run without it."""
    w, v = parts(torch.float64), parts(torch.float64)
    ours, plain = w.model(), v.model()
    for i, eps in enumerate(draws(4, w)):
        if i == 2:
            for wrong in (w.x[:, :5], w.x.float(), w.x * math.nan, w.x[:0], "x"):
                with pytest.raises((AncestralError, RuntimeError)):
                    ours.train({"x": wrong}, noise={"z": eps})
        a = ours.train({"x": w.x}, noise={"z": eps})
        assert float(a) == float(plain.train({"x": v.x}, noise={"z": eps}))


def test_two_weights_of_one_loss_are_independent():
    w = parts()
    a, b = values("a b")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(LATENT, PIXELS), name="p")
    loss = (a * KL(w.q, w.prior) - b * E(w.q, p.log_prob())).mean()
    model = Model(loss=loss)
    value = model.test({"x": w.x, "a": 0.0, "b": torch.zeros(())})
    assert float(value) == 0.0
