"""Where the parameters of a law come from, and what its constructor refuses."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    MissingVariableError,
    OptionError,
    ParameterError,
    SamplingError,
    ShapeError,
    SupportError,
    VariableError,
)
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    EmpiricalDistribution,
    Laplace,
    Normal,
)
from ancestral.losses import KullbackLeibler


# -- constants ------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [2.0, 2, torch.tensor(2.0), torch.tensor(2), True])
def test_number_is_known(value):
    p = Normal(var=["x"], loc=0.0, scale=value)
    assert p.constants() == {"loc": 0.0, "scale": float(value)}
    assert p.state_dict()["scale"].dtype == torch.float32


def test_numbers_are_known_after_moves_copies_and_loading():
    p = Normal(var=["x"], loc=0.0, scale=0.1)
    wanted = p.constants()
    assert p.double().constants() == wanted
    assert copy.deepcopy(p).constants() == wanted
    p.load_state_dict(Normal(loc=1.0, scale=0.5).state_dict())
    assert p.constants() == {"loc": 1.0, "scale": 0.5}
    assert copy.deepcopy(p).constants() == {"loc": 1.0, "scale": 0.5}
    assert pickle.loads(pickle.dumps(p)).constants() == {"loc": 1.0, "scale": 0.5}
    twin = copy.deepcopy(p)
    twin.loc.fill_(7.0)
    assert (twin.get_params()["loc"], p.get_params()["loc"]) == (7.0, 1.0)
    assert copy.deepcopy(twin).get_params()["loc"] == 7.0


def test_law_is_built_on_the_meta_device_and_loaded():
    with torch.device("meta"):
        p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[3])
    assert p.sample(batch_n=2)["x"].shape == (2, 3)
    p = p.to_empty(device="cpu")
    p.load_state_dict(Normal(loc=1.0, scale=2.0).state_dict())
    assert p.constants() == {"loc": 1.0, "scale": 2.0}


def test_law_of_inference_mode():
    with torch.inference_mode():
        p = Normal(var=["x"], loc=0.0, scale=1.0)
        assert p.constants() == {"loc": 0.0, "scale": 1.0}
        assert p.sample(batch_n=2)["x"].shape == (2,)


def test_constant_outside_its_domain():
    with pytest.raises(SupportError, match=r"p\(x\): scale must be positive, got -1"):
        Normal(loc=0.0, scale=-1.0)
    with pytest.raises(SupportError, match=r"scale must be positive, got \[0.0\]"):
        Laplace(loc=0.0, scale=nn.Parameter(torch.tensor([1.0, 0.0])))
    with pytest.raises(SupportError, match="loc must be finite, got nan"):
        Normal(loc=float("nan"), scale=1.0)
    with pytest.raises(SupportError, match=r"probs must be in \[0, 1\], got \[1.5\]"):
        Bernoulli(probs=torch.tensor([0.5, 1.5]))
    with pytest.raises(SupportError, match="sum 1 along the last axis"):
        Categorical(probs=torch.tensor([0.5, 0.6]))
    Categorical(logits=torch.tensor([0.0, -torch.inf]))  # an excluded category


def test_network_is_no_parameter():
    with pytest.raises(ParameterError, match="A network is given as net="):
        Normal(var=["x"], cond_var=["y"], loc=nn.Linear(2, 2), scale=1.0)


def test_two_parametrisations():
    with pytest.raises(ParameterError, match="probs and logits were both given"):
        Bernoulli(probs=0.5, logits=0.0)
    p = Bernoulli(var=["x"], cond_var=["y"], net=lambda y: {"probs": y.sigmoid(), "logits": y})
    with pytest.raises(ParameterError, match=r"needs \(logits\) or \(probs\)"):
        p.sample({"y": torch.zeros(2, 3)})


def test_missing_parameter():
    with pytest.raises(ParameterError, match=r"q\(z\) has no value for scale"):
        Normal(var=["z"], loc=0.0, name="q").sample()


# -- event shapes ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"loc": 0.0, "scale": 1.0}, ()),
        ({"loc": 0.0, "scale": 1.0, "features_shape": torch.Size([2])}, (2,)),
        ({"loc": torch.zeros(3), "scale": 1.0}, (3,)),
        ({"loc": torch.zeros(3), "scale": 1.0, "features_shape": torch.Size()}, (3,)),
        ({"loc": torch.zeros(3), "scale": torch.ones(2, 1)}, (2, 3)),
        ({"loc": torch.zeros(3), "scale": 1.0, "features_shape": [2, 3]}, (2, 3)),
        ({"loc": 0.0, "cond_var": ["y"], "net": nn.Linear(2, 2)}, None),
        ({"loc": torch.zeros(3), "cond_var": ["y"], "net": nn.Linear(2, 3)}, (3,)),
    ],
)
def test_declared_shape(arguments, shape):
    p = Normal(**arguments)
    assert p.declared_shape == (None if shape is None else torch.Size(shape))
    assert p.features_shape == torch.Size(shape or ())


@pytest.mark.parametrize(("onehot", "shape"), [(True, (2, 4)), (False, (2,))])
def test_declared_shape_of_a_categorical(onehot, shape):
    p = Categorical(logits=torch.zeros(2, 4), onehot=onehot)
    assert p.features_shape == shape
    assert p.sample(batch_n=3)["x"].shape == (3, *shape)


def test_wrong_features_shape():
    for wrong in ([2], [3, 2], [4, 1]):
        with pytest.raises(ShapeError, match="does not fit its constants"):
            Normal(loc=torch.zeros(3), scale=1.0, features_shape=wrong)
    for wrong in ([2.5], ["3"], [-1]):
        with pytest.raises(OptionError, match="must be whole numbers"):
            Normal(loc=0.0, scale=1.0, features_shape=wrong)
    with pytest.raises(ShapeError, match=r"do not fit one another: loc \[3\], scale \[2\]"):
        Normal(loc=torch.zeros(3), scale=torch.ones(2))


# -- names ----------------------------------------------------------------------------------------
def test_law_of_one_variable():
    with pytest.raises(VariableError, match="is the law of one variable"):
        Normal(var=["x", "y"], loc=0.0, scale=1.0)
    assert Deterministic(var=["x", "y"], net=lambda: {"x": 1, "y": 2}).var == ["x", "y"]


def test_moments_of_a_deterministic_law():
    f = Deterministic(var=["y"], cond_var=["x"], net=lambda x: 2 * x)
    x = torch.ones(4, 3)
    assert torch.equal(f.sample_mean({"x": x}), 2 * x)
    assert torch.equal(f.sample_variance({"x": x}), torch.zeros(4, 3))
    two = Deterministic(var=["y", "z"], cond_var=["x"], net=lambda x: {"y": x, "z": x})
    with pytest.raises(OptionError, match="the mean is asked of one variable"):
        two.sample_mean({"x": x})
    with pytest.raises(SamplingError, match="has no entropy|has no mean"):
        EmpiricalDistribution(["x"]).sample_mean({"x": x})


def test_hidden_variable_is_not_a_condition_of_another_factor():
    def law(var: str, cond: str) -> Normal:
        return Normal(var=[var], cond_var=[cond], loc=cond, scale=1.0)

    hidden = (law("x", "z") * law("z", "y")).marginalize_var("z")
    for left, right in ((hidden, law("w", "z")), (law("w", "z"), hidden)):
        with pytest.raises(VariableError, match="z is integrated out in one and a condition"):
            left * right
    whole = hidden * law("w", "z").replace_var(z="u")
    assert (whole.var, whole.cond_var) == (["x", "w"], ["y", "u"])


@pytest.mark.parametrize("copies", [{}, {"k": 5, "j": 2}, {"k": 0}, {"k": 2.0}, {"k": True}])
def test_copies_are_one_axis_of_a_whole_size(copies):
    with pytest.raises(OptionError, match="iid"):
        Normal(loc=0.0, scale=1.0).iid(**copies)
    with pytest.raises(OptionError, match="has copies already"):
        Normal(loc=0.0, scale=1.0).iid(k=2).iid(j=3)


def test_product_with_something_else():
    with pytest.raises(OptionError, match="a law is multiplied by a law"):
        Normal(loc=0.0, scale=1.0) * 2


# -- inputs ---------------------------------------------------------------------------------------
def test_inputs_as_tensor_list_or_dict():
    p = Normal(var=["z"], cond_var=["x", "y"], loc="x", scale="y")
    x, y = torch.zeros(3), torch.ones(3)
    wanted = p.get_params({"x": x, "y": y})
    for key, value in p.get_params([x, y]).items():
        assert torch.equal(value, wanted[key])
    q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0)
    assert torch.equal(q.sample_mean(x), q.sample_mean({"x": x}))
    with pytest.raises(MissingVariableError, match="give a dict"):
        p.sample(x)
    with pytest.raises(MissingVariableError, match="needs 2 values"):
        p.sample([x])
    with pytest.raises(ValueError, match="must be a dict"):
        p.sample("xy")
    with pytest.raises(ValueError, match="must be a tensor, got float"):
        q.sample({"x": 1.0})


def test_rows_that_differ_from_batch_n():
    p = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0)
    assert p.sample({"x": torch.zeros(3)}, batch_n=3)["z"].shape == (3,)
    with pytest.raises(ShapeError, match="batch_n=4, but x"):
        p.sample({"x": torch.zeros(3)}, batch_n=4)


def test_condition_without_effect_gives_rows():
    p = Normal(var=["z"], cond_var=["x"], loc=0.0, scale=1.0, features_shape=[2])
    x = torch.zeros(3, 7)
    assert p.sample({"x": x}, sample_shape=[4])["z"].shape == (4, 3, 2)
    assert p.get_entropy({"x": x}).shape == (3,)
    one_row = Normal(var=["z"], cond_var=["x"], net=lambda x: torch.zeros(1, 4))
    drawn = one_row.sample({"x": x})["z"]
    assert drawn.shape == (3, 2)
    assert len(drawn.unique(dim=0)) == 3


# -- divergences use what is known ----------------------------------------------------------------
def test_standard_normal_has_the_short_divergence():
    """Its numbers are known, so that nothing is subtracted and nothing divided."""
    q = Normal(var=["z"], cond_var=["x"], loc="x", scale=2.0, name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0)
    tensors = Normal(var=["z"], loc=torch.zeros(1), scale=torch.ones(1), name="r")
    x = {"x": torch.randn(5, 1)}
    short, long = (KullbackLeibler(q, p).function() for p in (prior, tensors))
    for _ in range(2):  # interpreted, then as text
        torch.testing.assert_close(short(x), long(x))
    assert "/" not in short.source()
    assert "/" in long.source()


# -- repr -----------------------------------------------------------------------------------------
def test_repr_shows_the_source_of_each_parameter():
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(2, 4), name="q")
    assert "loc: from net, part 1 of 2" in repr(q)
    assert "scale: from net, part 2 of 2 through softplus" in repr(q)
    assert "Linear(in_features=2" in repr(q)
    half = Normal(var=["z"], cond_var=["x"], net=nn.Linear(2, 4), scale=0.5)
    assert "loc: from net\n" in repr(half)
    assert "scale: 0.5" in repr(half)
    assert "logits: from net" in repr(Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(2, 2)))
    assert "loc: not given" in repr(Normal(var=["z"]))


def test_repr_does_not_guess_what_forward_returns():
    class Coin(Bernoulli):
        def forward(self, z):
            return {"probs": z.sigmoid()}

    class Wide(Normal):
        def forward(self, x):
            return {"loc": x}

    assert "parameters: what forward returns" in repr(Coin(var=["x"], cond_var=["z"]))
    assert "logits" not in repr(Coin(var=["x"], cond_var=["z"]))
    wide = repr(Wide(scale=2.0, var=["z"], cond_var=["x"]))
    assert "scale: 2\n" in wide
    assert "the others: what forward returns" in wide


def test_a_condition_that_is_needed_cannot_be_left_out():
    p = Normal(var=["x"], cond_var=["y"], loc="y", scale=1.0)
    assert p.without([]) is p
    with pytest.raises(
        VariableError, match=r"p\(x\|y\): a Normal needs a value for y\. .*experts"
    ):
        p.without(["y"])
