"""A net written as a function: its values, its terms, and what it refuses."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    DataError,
    DensityError,
    MissingVariableError,
    OptionError,
    ParameterError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import (
    BayesianNet,
    CustomProb,
    Deterministic,
    GaussianMixture,
    Normal,
    meta_bayesian_net,
)

NUMBERS = torch.tensor([0.3, 1.2, 0.7])
LOGITS = torch.tensor([[0.2, -0.4, 1.0], [1.5, 0.1, -0.3]])
TRIL = torch.tensor([[1.0, 0.0], [0.4, 0.6]])

# method, parameters, shape of a draw, batch shape
FAMILIES = [
    ("normal", {"mean": NUMBERS, "std": 0.5}, (3,), (3,)),
    ("normal", {"mean": NUMBERS, "logstd": -0.5}, (3,), (3,)),
    ("fold_normal", {"mean": NUMBERS, "std": 0.5}, (3,), (3,)),
    ("laplace", {"loc": NUMBERS, "scale": 0.5}, (3,), (3,)),
    ("uniform", {"minval": -NUMBERS, "maxval": NUMBERS}, (3,), (3,)),
    ("gamma", {"alpha": NUMBERS, "beta": 2.0}, (3,), (3,)),
    ("inverse_gamma", {"alpha": NUMBERS, "beta": 2.0}, (3,), (3,)),
    ("beta", {"alpha": NUMBERS, "beta": 2.0}, (3,), (3,)),
    ("bernoulli", {"logits": NUMBERS}, (3,), (3,)),
    ("categorical", {"logits": LOGITS}, (2,), (2,)),
    ("discrete", {"logits": LOGITS}, (2,), (2,)),
    ("onehot_categorical", {"logits": LOGITS}, (2, 3), (2,)),
    ("onehot_discrete", {"logits": LOGITS}, (2, 3), (2,)),
    ("binomial", {"logits": NUMBERS, "n_experiments": 4.0}, (3,), (3,)),
    ("poisson", {"rate": NUMBERS}, (3,), (3,)),
    ("multinomial", {"logits": LOGITS, "n_experiments": torch.tensor(5.0)}, (2, 3), (2,)),
    ("multivariate_normal_cholesky", {"mean": torch.zeros(2), "cov_tril": TRIL}, (2,), ()),
    (
        "matrix_variate_normal_cholesky",
        {"mean": torch.zeros(2, 3), "u_tril": TRIL, "v_tril": torch.eye(3)},
        (2, 3),
        (),
    ),
    ("dirichlet", {"alpha": LOGITS.exp()}, (2, 3), (2,)),
    ("bin_concrete", {"temperature": 0.7, "logits": NUMBERS}, (3,), (3,)),
    ("concrete", {"temperature": 0.7, "logits": LOGITS}, (2, 3), (2,)),
    ("exp_concrete", {"temperature": torch.tensor(0.7), "logits": LOGITS}, (2, 3), (2,)),
]


@pytest.mark.parametrize(("method", "params", "value", "batch"), FAMILIES)
def test_draws_and_densities_have_the_axes_of_the_parameters(method, params, value, batch):
    torch.manual_seed(0)
    bn = BayesianNet()
    one = getattr(bn, method)("a", **params)
    several = getattr(bn, method)("b", **params, n_samples=4, group_ndims=len(batch))
    assert one.tensor.shape == value
    assert one.cond_log_p.shape == batch
    assert several.tensor.shape == (4, *value)
    assert several.cond_log_p.shape == (4,)
    again = getattr(BayesianNet({"b": several[2]}), method)("b", **params)
    torch.testing.assert_close(again.cond_log_p.sum(), several.cond_log_p[2])


def test_counts_in_a_known_order_have_a_density_alone():
    bn = BayesianNet({"x": torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]])})
    x = bn.bag_of_categoricals("x", LOGITS)
    logs = LOGITS.log_softmax(-1)
    wanted = torch.stack([2 * logs[0, 0] + logs[0, 2], logs[1, 1]])
    torch.testing.assert_close(x.cond_log_p, wanted)


def test_values_and_terms_are_computed_once():
    bn = BayesianNet()
    z = bn.normal("z", torch.zeros(3), std=1.0)
    assert z.tensor is bn["z"].tensor
    assert bn.cond_log_prob("z") is bn.cond_log_prob("z")
    assert bn.log_joint() is bn.log_joint()
    before = bn.log_joint()
    bn.normal("x", z, std=1.0)
    assert bn.log_joint() is not before
    torch.testing.assert_close(bn.log_joint(), sum(bn.cond_log_prob(["z", "x"])))


def test_gradients_of_a_node_are_those_that_were_asked_for():
    mean = torch.tensor([0.5], requires_grad=True)
    bn = BayesianNet()
    path = bn.normal("path", mean, std=2.0)
    cut = bn.normal("cut", mean, std=2.0, is_reparameterized=False)
    landing = bn.normal("landing", mean, std=2.0, use_path_derivative=True)
    assert path.tensor.requires_grad
    assert not cut.tensor.requires_grad
    assert path.dist.is_path
    assert not cut.dist.is_path
    (slope,) = torch.autograd.grad(landing.cond_log_p.sum(), mean)
    torch.testing.assert_close(slope, -(landing.tensor - 0.5).detach() / 4.0)


def test_a_node_stands_where_a_tensor_does():
    bn = BayesianNet({"x": torch.tensor([1.0, 2.0])})
    x = bn.normal("x", torch.zeros(2), std=1.0)
    torch.testing.assert_close(2 * x + x**2 - x / 2, torch.tensor([2.5, 7.0]))
    torch.testing.assert_close(torch.stack([x, -x]), torch.tensor([[1.0, 2.0], [-1.0, -2.0]]))
    assert nn.Linear(2, 3)(x).shape == (3,)
    assert x.shape == (2,)
    assert x.dtype == torch.float32
    assert x[1] == 2.0
    assert x.mean() == 1.5
    assert {x: 1}[x] == 1  # it is itself alone
    assert bool((x > 1.5)[1])
    assert (x @ x) == 5.0
    with pytest.raises(TypeError, match="no truth value"):
        bool(x)
    with pytest.raises(TypeError, match="not iterable"):
        iter(x)


def test_any_law_may_be_a_node():
    torch.manual_seed(0)
    loc = torch.tensor([[-1.0], [1.0]])
    mixture = GaussianMixture(
        var=["y"],
        weight_logits=torch.zeros(2),
        loc=loc,
        scale_tril=torch.ones(2, 1, 1),
    )
    bn = BayesianNet()
    plain = bn.stochastic("a", Normal(loc=torch.zeros(3), scale=1.0), n_samples=5, group_ndims=1)
    whole = bn.stochastic("b", mixture, n_samples=5)
    assert plain.cond_log_p.shape == whole.cond_log_p.shape == (5,)
    torch.testing.assert_close(whole.cond_log_p, mixture.get_log_prob({"y": whole.tensor}))
    assert bn.stochastic("c", mixture).tensor.shape == (1,)
    assert bn.log_joint is not None


def test_what_is_no_node_is_refused():
    bn = BayesianNet()
    z = bn.normal("z", torch.zeros(2), std=1.0)
    bn.deterministic("m", 2 * z)
    refused = [
        (VariableError, "a node z already", lambda: bn.normal("z", std=1.0)),
        (VariableError, "a node z already", lambda: bn.deterministic("z", z)),
        (TypeError, "observe", lambda: bn.__setitem__("z", z)),
        (MissingVariableError, "no node 'y'", lambda: bn["y"]),
        (VariableError, "no node 'y'", lambda: bn.cond_log_prob("y")),
        (VariableError, "deterministic", lambda: bn.cond_log_prob("m")),
        (ParameterError, "std= or logstd=", lambda: bn.normal("a")),
        (ParameterError, "std= or logstd=", lambda: bn.normal("a", std=1.0, logstd=0.0)),
        (OptionError, "group_ndims", lambda: bn.normal("a", std=1.0, group_ndim=1)),
        (OptionError, "n_samples", lambda: bn.normal("a", std=1.0, n_samples=0)),
        (ShapeError, "batch shape", lambda: bn.normal("a", std=1.0, group_ndims=1)),
        (ShapeError, "do not fit", lambda: bn.normal("a", torch.zeros(2), std=torch.ones(3))),
        (ValueError, "positive", lambda: bn.normal("a", std=-1.0)),
        (OptionError, "conditions", lambda: bn.stochastic("a", _given_x())),
        (OptionError, "got Tensor", lambda: bn.stochastic("a", torch.zeros(2))),
        (DensityError, "deterministic", lambda: bn.stochastic("a", _computed())),
        (NotImplementedError, "drawn from", lambda: bn.stochastic("a", CustomProb(torch.sum))),
        (DataError, "tensor", lambda: BayesianNet({"a": 1.0}).normal("a", std=1.0)),
        (TypeError, "bn.nodes", lambda: list(bn)),
    ]
    for kind, told, call in refused:
        with pytest.raises(kind, match=told):
            call()
    assert bn.get("z") is z
    assert bn.get(["m", "z"])[1] is z
    assert list(bn.nodes) == ["z", "m"]
    assert "z" in bn
    assert "a" not in bn


def _given_x():
    return Normal(var=["y"], cond_var=["x"], loc="x", scale=1.0)


def _computed():
    return Deterministic(var=["y"], net=lambda: {"y": torch.zeros(1, 1)})


@pytest.mark.parametrize("mean", [(5,), (5, 1)])
def test_a_likelihood_of_numbers_does_not_meet_a_column(mean):
    """(N,) against (N, 1) is (N, N) in torch: N^2 terms, and a plausible number."""
    seen = torch.zeros(5, 1) if mean == (5,) else torch.zeros(5)
    bn = BayesianNet({"y": seen})
    bn.normal("y", torch.zeros(mean), std=1.0)
    with pytest.raises(ShapeError, match=r"node y: .*\(5"):
        bn.log_joint()


def test_terms_stand_on_the_same_axes():
    bn = BayesianNet()
    bn.normal("a", torch.zeros(5), std=1.0)
    bn.normal("b", torch.zeros(5, 1), std=1.0)
    with pytest.raises(ShapeError, match="node a .*node b"):
        bn.log_joint()
    draws = BayesianNet()  # the axis of the weights' draws beside the rows: as many, by accident
    w = draws.normal("w", torch.zeros(2), std=1.0, group_ndims=1, n_samples=5)
    draws.normal("y", w @ torch.ones(2, 5), std=1.0)
    with pytest.raises(ShapeError, match="node w .*node y"):
        draws.log_joint()


def test_an_observation_may_lack_the_axis_of_draws_or_have_it():
    bn = BayesianNet({"x": torch.zeros(4, 2), "z": torch.zeros(7, 4, 2)})
    z = bn.normal("z", torch.zeros(4, 2), std=1.0, group_ndims=1, n_samples=7)
    bn.normal("x", z, std=1.0, group_ndims=1)
    assert bn.log_joint().shape == (7, 4)
    torch.testing.assert_close(bn.log_joint(), torch.full((7, 4), -2 * math.log(2 * math.pi)))


def test_an_observed_label_lacks_the_axis_that_it_would_be_drawn_along():
    """As in semi-supervised models: where y is observed, its term has rows alone."""
    bn = BayesianNet({"y": torch.eye(3)[[0, 2]]})
    y = bn.onehot_categorical("y", torch.zeros(2, 3), n_samples=5)
    z = bn.normal("z", torch.zeros(2, 3), std=1.0, group_ndims=1, n_samples=5)
    bn.normal("x", z + y, std=1.0, group_ndims=1)
    assert not y.has_draws
    assert z.has_draws
    assert bn.log_joint().shape == (5, 2)


# -- models -------------------------------------------------------------------------------------
@meta_bayesian_net(scope="model", reuse_variables=True)
def chain(layer, rows, n_samples=None):
    bn = BayesianNet()
    z = bn.normal("z", torch.zeros(rows, 2), std=1.0, group_ndims=1, n_samples=n_samples)
    bn.deterministic("mean", layer(z))
    bn.normal("x", layer(z), std=0.5, group_ndims=1)
    return bn


def test_a_model_is_built_at_each_observation_with_the_weights_as_they_are():
    layer = nn.Linear(2, 3)
    model = chain(layer, rows=4)
    seen = {"x": torch.randn(4, 3), "z": torch.randn(4, 2)}
    first = model.observe(**seen).log_joint()
    with torch.no_grad():
        layer.weight.add_(1.0)
    second = model.observe(**seen)
    assert not torch.equal(first, second.log_joint())
    torch.testing.assert_close(second["mean"], layer(seen["z"]))
    assert model.observe(x=seen["x"])["z"].is_observed() is False


def test_a_log_joint_may_be_written():
    model = chain(nn.Linear(2, 3), rows=4)
    model.log_joint = lambda bn: bn.cond_log_prob("x").mean() * 100 + bn.cond_log_prob("z").sum()
    bn = model.observe(x=torch.zeros(4, 3))
    z, x = bn.cond_log_prob(["z", "x"])
    torch.testing.assert_close(bn.log_joint(), x.mean() * 100 + z.sum())


def test_observations_are_of_nodes_and_stay_with_the_model():
    model = chain(nn.Linear(2, 3), rows=4)
    with pytest.raises(VariableError, match="no such node; did you mean 'x'"):
        model.observe(X=torch.zeros(4, 3))
    with pytest.raises(VariableError, match="deterministic"):
        model.observe(mean=torch.zeros(4, 3))
    with pytest.raises(OptionError, match="parentheses"):
        meta_bayesian_net(lambda: None)
    with pytest.raises(OptionError, match="scope"):
        meta_bayesian_net(reuse_variables=True)
    with pytest.raises(OptionError, match="returns its BayesianNet"):
        meta_bayesian_net()(lambda: 3)().observe()
    bn = BayesianNet()  # outside of a builder nothing is observed
    assert not bn.normal("x", std=1.0).is_observed()


def test_arguments_that_are_not_given_are_conditions():
    @meta_bayesian_net()
    def encoder(x, width=1.0):
        bn = BayesianNet()
        bn.normal("z", x, std=width)
        return bn

    q = encoder(width=0.5)
    assert q.arguments == ("x",)
    x = torch.tensor([0.2, 0.4])
    bn = q.observe(x=x, z=x)
    torch.testing.assert_close(
        bn.log_joint(), Normal(loc=x, scale=0.5).moves.log_density(x, x, 0.5)
    )
    with pytest.raises(VariableError, match="encoder needs a value for x"):
        q.observe(z=x)
