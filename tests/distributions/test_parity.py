"""Parity with Pixyz: what its tests and documentation promise about laws and losses.

The strings are those of ``.latex()``. What differs on purpose is said where it is tested: names
and cycles are checked when a law is built, and a draw is shared by the terms that mention it.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import (
    DensityError,
    MissingVariableError,
    ParameterError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import Bernoulli, Deterministic, EmpiricalDistribution, Normal
from ancestral.losses import (
    CrossEntropy,
    E,
    Entropy,
    KullbackLeibler,
    LogProb,
    MaxLoss,
    MinLoss,
    Parameter,
    ValueLoss,
)
from ancestral.models import Model

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def standard(var: str, name: str = "p", loc: float = 0.0, features: int = 64) -> Normal:
    return Normal(var=[var], loc=loc, scale=1.0, features_shape=[features], name=name)


def given(var: str, cond_var: str, name: str = "p") -> Normal:
    return Normal(var=[var], cond_var=[cond_var], loc=cond_var, scale=1.0, name=name)


# -- 1 to 3: divergences and entropies ------------------------------------------------------------
def test_divergence_of_normals():
    p, q = standard("z"), standard("z", "q", loc=1.0)
    loss = KullbackLeibler(p, q)
    assert loss.latex() == r"D_{KL} \left[p(z)||q(z) \right]"
    assert loss.eval().item() == pytest.approx(32.0)


def test_divergence_of_normals_has_one_value_per_row():
    p, q = given("z", "x"), standard("z", "q", loc=1.0)
    found = KullbackLeibler(p, q).eval({"x": torch.zeros(5, 64)})
    torch.testing.assert_close(found, torch.full((5,), 32.0))


def test_divergence_by_draws():
    """64 draws of 64 features; the standard error of the mean is 1, so 32 +- 5."""
    p, q = standard("z"), standard("z", "q", loc=1.0)
    loss = KullbackLeibler(p, q, analytical=False, sample_shape=[64])
    assert loss.latex() == r"\mathbb{E}_{p(z)} \left[\log p(z) - \log q(z) \right]"
    found = loss.eval().item()
    assert abs(found - 32.0) < 5 * math.sqrt(64.0 / 64)
    assert found != 32.0


@pytest.mark.parametrize(("features", "wanted"), [(10, 14.1894), (64, 90.8121)])
def test_entropy_of_a_standard_normal(features, wanted):
    p = standard("z", features=features)
    assert Entropy(p).eval().item() == pytest.approx(wanted, abs=1e-4)
    assert p.get_entropy().shape == (1,)
    assert p.get_entropy().item() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("y", [-3.0, 0.0, 1e3])
def test_entropy_of_a_conditional_normal_does_not_depend_on_the_condition(y):
    p = given("z", "y")
    rows = torch.full((2, 10), y)
    wanted = torch.full((2,), 14.1894)
    torch.testing.assert_close(Entropy(p).eval({"y": rows}), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(p.get_entropy({"y": rows}), wanted, atol=1e-4, rtol=0)


def test_cross_entropy_is_divergence_and_entropy():
    p, q = standard("z"), standard("z", "q", loc=1.0)
    loss = CrossEntropy(p, q)
    assert loss.eval().item() == pytest.approx(122.8121, abs=5e-4)
    assert loss.latex() == r"D_{KL} \left[p(z)||q(z) \right] + H \left[ {p(z)} \right]"


# -- 4: scalars -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("loss", "x", "wanted", "latex"),
    [
        (2 + Parameter("x"), 3.0, 5.0, "x + 2"),
        (2 - Parameter("x"), 4.0, -2.0, "2 - x"),
        (2 * Parameter("x"), 4.0, 8.0, "2 x"),
        (2 / Parameter("x"), 4.0, 0.5, r"\frac{2}{x}"),
        (Parameter("x") / 2, 4.0, 2.0, r"\frac{x}{2}"),
        (-Parameter("x"), 4.0, -4.0, "- x"),
        (Parameter("x") - 1, 4.0, 3.0, "x - 1"),
    ],
)
def test_scalars(loss, x, wanted, latex):
    assert loss.eval({"x": torch.tensor(x)}).item() == wanted
    assert loss.eval({}, x=x).item() == wanted
    assert loss.latex() in (latex, "2 + x" if latex == "x + 2" else latex)


def test_smaller_and_larger():
    assert MinLoss(ValueLoss(3), ValueLoss(1)).eval().item() == 1
    assert MaxLoss(ValueLoss(3), ValueLoss(1)).eval().item() == 3
    x, y = Parameter("x"), Parameter("y")
    both = {"x": torch.tensor(1.0), "y": torch.tensor(2.0)}
    assert (MinLoss(x, y).eval(both).item(), MaxLoss(x, y).eval(both).item()) == (1, 2)


# -- 5: shapes ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 10, 2)),
        ({"batch_n": 20}, (20, 10, 2)),
        ({"batch_n": 20, "sample_shape": (40, 30)}, (40, 30, 20, 10, 2)),
    ],
)
def test_features_shape(options, shape):
    p = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[10, 2])
    assert p.sample(**options)["z"].shape == shape
    assert p.features_shape == (10, 2)


# -- 6: products ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("left", "right", "whole", "factors"),
    [
        (("x", "z"), ("z", "y"), "p(x,z|y)", "p(x|z)p(z|y)"),
        (("x", "z"), ("y", "z"), "p(x,y|z)", "p(x|z)p(y|z)"),
        (("x", "z"), ("y", "a"), "p(x,y|z,a)", "p(x|z)p(y|a)"),
    ],
)
def test_product(left, right, whole, factors):
    joint = given(*left) * given(*right)
    assert joint.prob_text == whole
    assert joint.latex() == f"{whole} = {factors}"
    assert set(joint.input_var) == set(joint.cond_var) == set(whole[:-1].split("|")[1].split(","))


def test_product_prints_with_the_prior():
    prior = Normal(var=["z"], loc=0.0, scale=1.0, name="p_{prior}")
    assert (given("x", "z") * prior).latex() == "p(x,z) = p(x|z)p_{prior}(z)"


def test_product_draws_each_variable_once():
    with pytest.raises(VariableError, match="both draw x"):
        given("x", "z") * given("x", "y")
    assert issubclass(VariableError, ValueError)


def test_cycle_is_an_error_when_the_product_is_built():
    with pytest.raises(VariableError, match="cycle"):
        given("x", "z") * given("z", "x")
    with pytest.raises(VariableError, match="cycle"):
        given("x", "z") * given("y", "x") * given("z", "y")


# -- 7: marginals ---------------------------------------------------------------------------------
def test_marginal():
    p = (given("x", "z") * given("y", "z")).marginalize_var("y")
    assert p.latex() == r"p(x|z) = \int p(x|z)p(y|z)dy"
    assert p.var == ["x"]
    drawn = p.sample({"z": torch.zeros(4, 2)}, return_all=False)
    assert set(drawn) == {"x"}
    assert set(p.sample({"z": torch.zeros(4, 2)})) == {"x", "z"}
    assert drawn["x"].shape == (4, 2)


def test_marginal_of_a_product_with_a_prior():
    prior = Normal(var=["z"], loc=0.0, scale=1.0, name="p_{prior}")
    p = (given("x", "z") * prior).marginalize_var(["z"])
    assert p.latex() == r"p(x) = \int p(x|z)p_{prior}(z)dz"
    x = p.sample(batch_n=4000)["x"]  # N(0, 2): the standard error of the variance is 0.045
    assert abs(x.var().item() - 2.0) < 5 * 0.045


@pytest.mark.parametrize("names", ["x", ["x", "y"], "w"])
def test_marginal_that_is_impossible(names):
    joint = given("x", "z") * given("y", "z")
    if names == "x":
        joint = joint.marginalize_var("y")  # and x would be the last
    with pytest.raises(VariableError) as caught:
        joint.marginalize_var(names)
    assert isinstance(caught.value, ValueError)


def test_marginal_has_no_density_and_says_why():
    p = (given("x", "z") * given("y", "z")).marginalize_var("y")
    for ask in (lambda: p.get_log_prob({"x": torch.zeros(1), "z": torch.zeros(1)}), p.log_prob):
        with pytest.raises(DensityError, match="y is integrated out"):
            ask()
    assert issubclass(DensityError, NotImplementedError)


# -- 8: renaming ----------------------------------------------------------------------------------
def renamed():
    joint = given("z", "y") * Normal(var=["x"], loc=0.0, scale=1.0)
    joint = (joint * Normal(var=["y"], loc=0.0, scale=1.0)).marginalize_var("y")
    return joint.replace_var(z="w", x="z")


def test_rename_a_joint():
    joint = Normal(var=["x"], loc=0.0, scale=1.0) * given("z", "y")
    joint = joint * Normal(var=["y"], loc=0.0, scale=1.0)
    renamed = joint.marginalize_var("y").replace_var(z="w", x="z").replace_var(z="a")
    assert renamed.latex() == r"p(w,a) = \int p(a)p(w|y)p(y)dy"
    assert set(renamed.sample(batch_n=3)) == {"w", "a"}
    assert joint.latex() == "p(x,z,y) = p(x)p(z|y)p(y)"  # the first is as it was


@pytest.mark.parametrize("new", ["y", "w"])
def test_rename_onto_a_used_name(new):
    """y is integrated out, w is drawn: neither is free."""
    with pytest.raises(VariableError, match=f"cannot be renamed to {new}"):
        renamed().replace_var(z=new)


def test_old_names_are_rejected():
    p = given("z", "y").replace_var(z="w", y="x")
    x = torch.zeros(2, 3)
    assert p.prob_text == "p(w|x)"
    assert set(p.sample({"x": x})) == {"w", "x"}
    assert p.get_params({"x": x})["loc"].shape == (2, 3)
    for ask in (p.sample, p.get_params, p.get_entropy, p.sample_mean):
        with pytest.raises(MissingVariableError, match="needs a value for x"):
            ask({"y": x})
    with pytest.raises(MissingVariableError):
        p.get_log_prob({"z": x, "y": x})


def test_rename_leaves_entropy_and_density():
    p = given("z", "y")
    q = p.replace_var(z="w", y="x")
    y, z = torch.randn(4, 3), torch.randn(4, 3)
    assert torch.equal(q.get_entropy({"x": y}), p.get_entropy({"y": y}))
    assert torch.equal(q.get_log_prob({"x": y, "w": z}), p.get_log_prob({"y": y, "z": z}))


# -- 9: densities ---------------------------------------------------------------------------------
def test_density_of_a_standard_normal_and_of_two():
    p = Normal(var=["x"], loc=0.0, scale=1.0)
    joint = p * Normal(var=["y"], loc=0.0, scale=1.0)
    zero = {"x": torch.zeros(1), "y": torch.zeros(1)}
    assert p.get_log_prob(zero).item() == pytest.approx(-0.9189, abs=5e-5)
    assert joint.get_log_prob(zero).item() == pytest.approx(-1.8379, abs=5e-5)
    assert LogProb(joint).eval(zero).item() == pytest.approx(-2 * HALF_LOG_TWO_PI)


def test_values_that_are_not_needed():
    p = given("x", "z")
    data = {"z": torch.zeros(2, 3), "x": torch.zeros(2, 3), "other": torch.ones(7)}
    wanted = p.get_log_prob({k: data[k] for k in "xz"})
    assert torch.equal(p.get_log_prob(data), wanted)
    assert torch.equal(p.log_prob().eval(data), wanted)
    drawn = p.sample(data)
    assert set(drawn) == {"z", "x", "other"}
    assert drawn["other"] is data["other"]
    assert not torch.equal(drawn["x"], data["x"])  # a draw, not the value that was given
    assert set(p.sample(data, return_all=False)) == {"x"}


# -- 10: laws without a density -------------------------------------------------------------------
class Recurrence(Deterministic):
    def __init__(self, returned: list[str]) -> None:
        super().__init__(var=["h", "o"], cond_var=["h_prev", "x"], name="f")
        self.returned = returned

    def forward(self, h_prev: Tensor, x: Tensor) -> dict[str, Tensor]:
        return {name: h_prev + x for name in self.returned}


def test_deterministic_law_returns_its_variables():
    f = Recurrence(["h", "o"])
    inputs = {"h_prev": torch.ones(2, 3), "x": torch.ones(2, 3)}
    drawn = f.sample(inputs, return_all=False)
    assert set(drawn) == {"h", "o"}
    assert torch.equal(drawn["h"], torch.full((2, 3), 2.0))
    for wrong in (["h"], ["h", "o", "x"], ["h", "c"]):
        with pytest.raises(ParameterError, match="its variables are h, o"):
            Recurrence(wrong).sample(inputs)


def test_deterministic_law_has_no_density():
    with pytest.raises(NotImplementedError, match="no density"):
        Recurrence(["h", "o"]).log_prob()
    with pytest.raises(DensityError, match=r"f\(h,o\|h_prev,x\)"):
        Recurrence(["h", "o"]).get_log_prob({n: torch.ones(1) for n in ("h", "o", "h_prev", "x")})


def test_empirical_law_is_its_input():
    p = EmpiricalDistribution(["x"])
    assert p.latex() == "p_{data}(x)"
    assert p.input_var == ["x"] == p.var
    assert p.cond_var == []
    x = torch.randn(5, 2)
    for return_all in (True, False):
        assert p.sample({"x": x}, return_all=return_all)["x"] is x
    with pytest.raises(MissingVariableError, match="needs a value for x"):
        p.sample()


# -- 11: one variable, two parameters -------------------------------------------------------------
def test_one_variable_may_be_two_parameters():
    p = Normal(loc="y", scale="y", var=["x"], cond_var=["y"])
    y = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert p.sample({"y": y})["x"].shape == (2, 3)
    params = p.get_params({"y": y})
    assert torch.equal(params["loc"], y)
    assert torch.equal(params["scale"], y)


def test_parameter_must_be_a_declared_condition():
    with pytest.raises(ValueError, match="loc='z' names a variable that is not in cond_var"):
        Normal(loc="z", scale=1.0, var=["x"], cond_var=["y"])


# -- 12: one pass of each network -----------------------------------------------------------------
class Encoder(Normal):
    def __init__(self, calls: list[str]) -> None:
        super().__init__(var=["z"], cond_var=["x"], name="q")
        self.net_, self.calls = nn.Linear(4, 4), calls

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.calls.append("E")
        loc, scale = self.net_(x).chunk(2, -1)
        return {"loc": loc, "scale": F.softplus(scale)}


class Decoder(Bernoulli):
    def __init__(self, calls: list[str]) -> None:
        super().__init__(var=["x"], cond_var=["z"], name="p")
        self.net_, self.calls = nn.Linear(2, 4), calls

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        self.calls.append("D")
        return {"probs": self.net_(z).sigmoid()}


def test_step_runs_encoder_and_decoder_once_and_the_next_sees_new_weights():
    calls: list[str] = []
    q, p = Encoder(calls), Decoder(calls)
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p_{prior}")
    loss = (KullbackLeibler(q, prior) + E(q, -LogProb(p))).mean()
    model = Model(loss=loss, distributions=[p, q], optimizer_params={"lr": 0.1})
    x, eps = (torch.rand(8, 4) > 0.5).float(), torch.randn(8, 2)
    first = model.train({"x": x}, noise={"z": eps})
    assert calls == ["E", "D"]
    second = model.train({"x": x}, noise={"z": eps})  # the same tensor
    assert calls == ["E", "D"] * 2
    assert second < first
    fresh = loss.eval({"x": x.clone()}, noise={"z": eps})
    assert torch.equal(fresh, loss.eval({"x": x}, noise={"z": eps}))
    assert fresh < second


# -- 15: saving -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.arange(6.0).reshape(2, 3),
        lambda: torch.arange(6.0).reshape(3, 2).t(),
        lambda: torch.arange(2.0)[:, None].expand(2, 3),
        lambda: torch.tensor(3.0),
    ],
    ids=["contiguous", "transposed", "expanded", "number"],
)
def test_constants_round_trip_and_stay_independent(make):
    tensor = make()
    one, two = (Normal(var=["x"], loc=tensor, scale=1.0) for _ in range(2))
    other = Normal(var=["x"], loc=tensor + 5, scale=2.0)
    one.load_state_dict(other.state_dict())
    assert torch.equal(one.get_params()["loc"], tensor + 5)
    assert one.get_params()["scale"] == 2.0
    assert torch.equal(two.get_params()["loc"], tensor)
    assert torch.equal(tensor, make())
    other.name = "r"
    assert KullbackLeibler(one, other).eval().item() == 0


def test_model_restores_its_laws(tmp_path):
    def model(loc: float) -> Model:
        p = Normal(var=["x"], loc=nn.Parameter(torch.tensor([loc])), scale=1.0)
        return Model(loss=-p.log_prob().mean(), distributions=[p])

    saved, loaded = model(0.0), model(1.0)
    x = {"x": torch.zeros(3, 1)}
    before = loaded.test(x)
    saved.save(tmp_path)
    loaded.load(tmp_path)
    assert loaded.distributions[0].loc.item() == 0.0
    assert before - loaded.test(x) == pytest.approx(0.5)


def test_constants_that_are_loaded_are_seen_by_a_loss():
    """A number that was known when the loss was built may be another after loading."""
    p, q = standard("z"), standard("z", "q")
    loss = KullbackLeibler(p, q)
    assert loss.eval().item() == 0.0
    q.load_state_dict(standard("z", "q", loc=1.0).state_dict())
    assert loss.eval().item() == pytest.approx(32.0)


def test_shape_error_is_a_value_error():
    with pytest.raises(ValueError, match="features_shape"):
        Normal(loc=torch.zeros(3), scale=1.0, features_shape=[2])
    assert issubclass(ShapeError, ValueError)
