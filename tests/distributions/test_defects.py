"""Regression tests for what is known to go wrong in Pixyz 0.3.3, with the value it gave there.

G: a gradient or a parameter that is silently stale; V: a wrong value. What it accepted in silence
stands in ``test_silence.py``.
"""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import (
    GradientError,
    SamplingError,
    VariableError,
)
from ancestral.distributions import Bernoulli, Deterministic, EmpiricalDistribution, Normal
from ancestral.losses import E, KullbackLeibler, LogProb, Parameter
from ancestral.models import Model


class Encoder(Normal):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(var=["z"], cond_var=["x"], name="q")
        self.layer, self.dropout = nn.Linear(4, 6), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        loc, scale = self.dropout(self.layer(x)).chunk(2, -1)
        return {"loc": loc, "scale": F.softplus(scale)}


@pytest.fixture
def prior() -> Normal:
    return Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[3], name="p_{prior}")


@pytest.fixture
def x() -> Tensor:
    return torch.randn(8, 4)


# -- G3: parameters are not kept from one evaluation to the next ----------------------------------
def test_g3_same_tensor_after_a_step_sees_new_weights(prior, x):
    """Pixyz: 0.665 before and after the weights changed."""
    q = Encoder()
    divergence = KullbackLeibler(q, prior).mean()
    before, params = divergence.eval({"x": x}), q.get_params({"x": x})
    with torch.no_grad():
        q.layer.weight.add_(1.0)
    after = divergence.eval({"x": x})
    assert (after - before).abs() > 0.1
    assert torch.equal(after, divergence.eval({"x": x.clone()}))
    assert not torch.equal(q.get_params({"x": x})["loc"], params["loc"])


def test_g3_two_steps_on_one_tensor(prior, x):
    """Pixyz: backward through the graph a second time."""
    model = Model(loss=KullbackLeibler(Encoder(), prior).mean(), optimizer_params={"lr": 0.1})
    losses = [model.train({"x": x}).item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 5


def test_g3_training_after_an_evaluation_without_gradient(prior, x):
    """Pixyz: the value of the training step has no gradient."""
    q = Encoder()
    loss = KullbackLeibler(q, prior).mean()
    with torch.no_grad():
        assert not loss.eval({"x": x}).requires_grad
        q.sample({"x": x}, reparam=True)
        q.get_params({"x": x})
    assert q.sample({"x": x}, reparam=True)["z"].requires_grad
    loss.eval({"x": x}).backward()
    assert q.layer.weight.grad.abs().sum() > 0


def test_g3_dropout_follows_the_mode(prior, x):
    q = Encoder(dropout=0.5)
    loss = KullbackLeibler(q, prior).mean()
    q.eval()
    assert loss.eval({"x": x}) == loss.eval({"x": x})
    q.train()
    assert loss.eval({"x": x}) != loss.eval({"x": x})


def test_g3_nothing_is_alive_after_del(prior, x):
    """Pixyz: the cache keeps inputs, graphs and laws."""
    q = Encoder()
    value = KullbackLeibler(q, prior).mean().eval({"x": x})
    q.sample({"x": x})
    gone = [weakref.ref(t) for t in (q, q.layer.weight, x)]
    del q, value, x
    gc.collect()
    assert [r() for r in gone[:2]] == [None, None]


def test_constant_that_is_changed_in_place_is_seen():
    """A number is known when the law is built; its buffer is still the value that counts."""
    p = Normal(var=["x"], loc=0.0, scale=1.0, name="p")
    q = Normal(var=["x"], loc=1.0, scale=1.0, name="q")
    assert p.constants() == {"loc": 0.0, "scale": 1.0}
    loss = KullbackLeibler(q, p)
    assert loss.eval() == 0.5
    p.loc.fill_(3.0)
    assert p.constants() is None
    assert p.get_params()["loc"] == 3.0
    assert loss.eval() == 2.0
    assert p.get_log_prob({"x": torch.full((1,), 3.0)}) == pytest.approx(-0.9189, abs=5e-5)
    p.scale = torch.tensor(2.0)
    assert p.get_params()["scale"] == 2.0


# -- G5: an nn.Parameter stays one ----------------------------------------------------------------
def test_g5_parameter_stays_trainable():
    """Pixyz: a cloned buffer, 0 trainable parameters."""
    loc = nn.Parameter(torch.zeros(2))
    p = Normal(var=["x"], loc=loc, scale=1.0)
    assert [id(t) for t in p.parameters()] == [id(loc)]
    assert "loc: trained, shape [2]" in repr(p)
    model = Model(loss=-p.log_prob().mean(), optimizer_params={"lr": 0.5})
    model.train({"x": torch.full((16, 2), 4.0)})
    torch.testing.assert_close(loc.detach(), torch.full((2,), 0.5))  # Adam's first step is lr
    assert p.loc is loc


def test_tensor_with_a_gradient_is_no_constant():
    w = torch.zeros(2, requires_grad=True)
    for tensor in (w, 2 * w):
        with pytest.raises(GradientError, match=r"nn.Parameter\(\.\.\.\) to train it"):
            Normal(var=["x"], loc=tensor, scale=1.0)
    assert Normal(var=["x"], loc=w.detach(), scale=1.0).constants() is None


def test_gradient_of_a_detached_law_is_cut(x):
    q = Encoder()
    for cut, whole in ((q.detach(), q), ((q * Bernoulli(var=["y"], probs=0.5)).detach(), q)):
        inputs = {"x": x, "z": torch.zeros(8, 3), "y": torch.ones(8)}
        assert not cut.get_log_prob(inputs).requires_grad
        assert whole.get_log_prob(inputs).requires_grad
    assert not q.detach().sample({"x": x}, reparam=True)["z"].requires_grad
    assert not q.detach().get_params({"x": x})["loc"].requires_grad
    assert not q.detach().get_entropy({"x": x}).requires_grad
    y = x.clone().requires_grad_()  # to the conditions too, as in a loss
    assert not q.detach().sample_mean({"x": y}).requires_grad


# -- V7: the mean is the mean ---------------------------------------------------------------------
def test_v7_sample_mean_is_the_mean():
    """Pixyz: the variance of a product, 9 for scale 3 and loc 1."""
    p = Normal(var=["x"], loc=1.0, scale=3.0, features_shape=[2])
    assert torch.equal(p.sample_mean(), torch.ones(1, 2))
    assert torch.equal(p.sample_variance(), torch.full((1, 2), 9.0))
    renamed = p.replace_var(x="y")
    assert torch.equal(renamed.sample_mean(), torch.ones(1, 2))
    joint = Normal(var=["y"], cond_var=["x"], loc="x", scale=5.0) * p
    means = joint.sample(sample_mean=True, batch_n=4)
    assert torch.equal(means["x"], torch.ones(4, 2))
    assert torch.equal(means["y"], torch.ones(4, 2))


def test_means_keep_their_gradient(x):
    """A mean is a function of the parameters, also where a draw is not."""
    q = Encoder()
    assert q.sample({"x": x}, sample_mean=True)["z"].requires_grad
    p = Bernoulli(var=["y"], cond_var=["x"], net=nn.Linear(4, 2))
    assert p.sample({"x": x}, sample_mean=True, reparam=True)["y"].requires_grad
    with pytest.raises(SamplingError, match="not a differentiable function"):
        p.sample({"x": x}, reparam=True)


# -- V9: the batch is never summed ----------------------------------------------------------------
@pytest.mark.parametrize("features", [[], [3], [3, 2]])
def test_v9_log_density_keeps_the_batch(features):
    """Pixyz: shape (7), the batch summed."""
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=features)
    drawn = p.sample(sample_shape=(7,), batch_n=5)
    assert drawn["x"].shape == (7, 5, *features)
    assert p.get_log_prob(drawn).shape == (7, 5)


def test_v9_log_density_of_a_network_keeps_the_batch(x):
    """Where no event shape is declared, the value and the other laws tell it."""
    q, decoder = Encoder(), Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(3, 4), name="p")
    z = q.sample({"x": x}, sample_shape=(7,))["z"]
    assert z.shape == (7, 8, 3)
    assert q.get_log_prob({"x": x, "z": z}).shape == (7, 8)
    found = decoder.get_log_prob({"x": (x > 0).float(), "z": z})
    assert found.shape == (7, 8)
    one = decoder.get_log_prob({"x": (x > 0).float(), "z": z[2]})
    torch.testing.assert_close(found[2], one)


def test_v9_entropy_and_moments_keep_the_batch():
    p = Normal(var=["x"], cond_var=["y"], loc="y", scale=2.0, features_shape=[3])
    y = torch.zeros(7, 5, 3)
    assert p.get_entropy({"y": y}).shape == (7, 5)
    assert p.sample_mean({"y": y}).shape == (7, 5, 3)
    assert p.get_entropy({"y": y}, sum_features=False).shape == (7, 5, 3)


# -- V10: sample_shape stands once in front of a joint law ----------------------------------------
def test_v10_joint_with_sample_shape():
    """Pixyz: y (3, 1), x (3, 3, 1): the axis was applied at every factor."""
    p = Normal(var=["x"], cond_var=["y"], loc="y", scale=1.0)
    joint = p * Normal(var=["y"], loc=0.0, scale=1.0)
    drawn = joint.sample(sample_shape=[3])
    assert drawn["y"].shape == drawn["x"].shape == (3, 1)
    drawn = joint.sample(sample_shape=[3, 2], batch_n=4)
    assert drawn["y"].shape == drawn["x"].shape == (3, 2, 4)
    assert joint.get_log_prob(drawn).shape == (3, 2, 4)


def test_v10_children_stand_under_their_parents():
    """With a tiny scale each child is its own parent's value, whatever was folded."""
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    layer, dims = nn.Linear(5, 3), []

    class Child(Normal):
        def __init__(self) -> None:
            super().__init__(var=["x"], cond_var=["z", "y"], name="p")
            self.layer = layer

        def forward(self, z: Tensor, y: Tensor) -> dict[str, Tensor]:
            dims.append((z.dim(), y.dim()))
            return {"loc": self.layer(torch.cat([z, y], -1)), "scale": torch.tensor(1e-4)}

    y = torch.randn(4, 3)
    drawn = (Child() * prior).sample({"y": y}, sample_shape=[6])
    assert drawn["x"].shape == (6, 4, 3)
    wanted = layer(torch.cat([drawn["z"], y.expand(6, 4, 3)], -1))
    torch.testing.assert_close(drawn["x"], wanted, atol=1e-3, rtol=0)
    assert dims == [(2, 2)]  # networks see one batch axis
    given = {**drawn, "y": y.expand(6, 4, 3)}  # values that are given reach them as they are
    assert (Child() * prior).get_log_prob(given).shape == (6, 4)
    assert dims[1:] == [(3, 3)]


def test_v10_deterministic_and_data_factors():
    f = Deterministic(var=["h"], cond_var=["y"], net=lambda y: 2 * y, name="f")
    p = Normal(var=["x"], cond_var=["h"], loc="h", scale=1e-4)
    y = torch.randn(4, 3)
    drawn = (p * f).sample({"y": y}, sample_shape=[6])
    assert drawn["h"].shape == drawn["x"].shape == (6, 4, 3)
    torch.testing.assert_close(drawn["x"], (2 * y).expand(6, 4, 3), atol=1e-3, rtol=0)
    assert len(drawn["x"].unique(dim=0)) == 6
    q = Normal(var=["h"], cond_var=["y"], loc="y", scale=1.0, name="q")
    drawn = (q * EmpiricalDistribution(["y"])).sample({"y": y}, sample_shape=[6])
    assert drawn["y"] is y
    assert drawn["h"].shape == (6, 4, 3)


def test_v10_network_that_returns_one_row():
    """A parameter that follows no row is each row's; the draws are still many."""
    one = Normal(var=["x"], cond_var=["z"], net=lambda z: torch.zeros(1, 4))
    drawn = (one * Normal(var=["z"], loc=0.0, scale=1.0)).sample(sample_shape=[6], batch_n=5)
    assert drawn["x"].shape == (6, 5, 2)
    assert drawn["x"].unique().numel() == 60


def test_v10_independent_draws_for_each_axis():
    joint = Normal(var=["x"], cond_var=["y"], loc="y", scale=1.0, features_shape=[]) * Normal(
        var=["y"], loc=0.0, scale=1.0
    )
    x = joint.sample(sample_shape=[50], batch_n=40)["x"]  # variance 2, standard error 0.063
    assert abs(x.var().item() - 2.0) < 5 * 0.063
    assert x.unique().numel() == 2000


def test_copies_of_a_law_are_for_expectations():
    q = Normal(var=["z"], loc=0.0, scale=1.0, name="q").iid(k=5)
    for ask in (q.sample, q.get_entropy, lambda: q.get_log_prob({"z": torch.zeros(1)})):
        with pytest.raises(SamplingError, match=r"use sample\(\.\.\., sample_shape=\[5\]\)"):
            ask()


# -- V11: two laws that print alike ---------------------------------------------------------------
def test_v11_different_laws_with_one_name_are_an_error():
    """Pixyz: prints an expectation of 0, while the value is -0.87."""
    p, q = (Normal(var=["z"], loc=loc, scale=1.0) for loc in (0.0, 1.0))
    loss = E(p, LogProb(p) - LogProb(q))
    assert "0" not in loss.latex()
    with pytest.raises(VariableError, match=r"two different laws print as p\(z\)"):
        loss.eval()


def test_v11_product_of_two_expectations_is_no_square():
    q = Normal(var=["z"], loc=0.0, scale=1.0, name="q")
    first, second = E(q, Parameter("z")), E(q, Parameter("z"))
    found = torch.stack([(first * second).eval() for _ in range(100)])
    assert (found < 0).any()  # two draws
    found = torch.stack([E(q, Parameter("z") * Parameter("z")).eval() for _ in range(100)])
    assert (found >= 0).all()  # one
    assert (first * second).latex() != E(q, Parameter("z") * Parameter("z")).latex()
