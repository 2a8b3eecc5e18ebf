"""Which expectations share a draw: the stress tests of the sharing pass.

Two expectations are two integrals: they share a law's draw unless one lies inside the other, or
the smallest expression that holds both is not a sum. Statistical checks use one row per repetition
and pass within five standard errors; each says what a wrong sharing would give.
"""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import PlugInWarning, VariableError
from ancestral.distributions import Bernoulli, Deterministic, Normal
from ancestral.losses import KL, E, Function, values
from tests.lowering.laws import at, hierarchy, likelihood, near, posterior, prior
from tests.lowering.reading import axes, draws, passes, readers

x, z = values("x z")


def test_t1_nested_is_joint():
    q_a, q_z = hierarchy()
    f = (values("a") * z) ** 2
    nested, joint = E(q_a, E(q_z, f)), E(q_a * q_z, f)
    assert draws(nested) == draws(joint) == ["a", "z"]
    noise = {name: torch.randn(7, dtype=torch.float64) for name in ("a", "z")}
    assert torch.equal(nested.eval(at(1, 7), noise=noise), joint.eval(at(1, 7), noise=noise))


def test_t1_draws_of_nested_expectations_are_nested_and_those_of_a_joint_one_axis():
    q_a, q_z = hierarchy()
    f = values("a") * z
    nested = E(q_a, E(q_z, f, sample_shape=[4]), sample_shape=[3])
    assert axes(nested) == {
        "a": [("draws", 3), ("n", None)],
        "z": [("draws#2", 4), ("draws", 3), ("n", None)],
    }
    joint = E(q_a * q_z, f, sample_shape=[3])
    assert axes(joint) == {"a": [("draws", 3), ("n", None)], "z": [("draws", 3), ("n", None)]}
    a, b = torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    by_hand = (1 + a) * (1 + a + 0.5 * b)
    found = nested.eval(at(1, 5), noise={"a": a, "z": b})
    torch.testing.assert_close(found, by_hand.mean((0, 1)))
    found = joint.eval(at(1, 5), noise={"a": a, "z": b[0]})
    torch.testing.assert_close(found, ((1 + a) * (1 + a + 0.5 * b[0])).mean(0))


def test_t2_variance_takes_two_inner_draws():
    q = posterior()
    variance = E(q, (z - E(q, z)) ** 2)
    assert draws(variance) == ["z", "z#2", "z#3"]
    # shared: 0; one inner draw for both factors: 2
    near(variance.eval(at(3)), 1.0, sd=math.sqrt(5))


def test_t3_a_square_is_two_draws():
    q = posterior()
    mean = E(q, z)
    for square in (mean * mean, mean**2, E(q, z) * E(q, z)):
        assert draws(square) == ["z", "z#2"]
        near(square.eval(at(1)), 1.0, sd=math.sqrt(3))  # shared: 2
    assert str(mean * mean) == str(mean**2) == "E_{q(z|x)}[z]^2"
    assert draws(mean**3) == ["z", "z#2", "z#3"]


def test_t3_a_power_of_a_sum_draws_each_factor():
    q = posterior()
    square = (E(q, z) + 1.0) ** 2
    assert draws(square) == ["z", "z#2"]
    near(square.eval(at(1)), 4.0, sd=3.0)  # var = (4 + 1)^2 - 4^2; shared: 5


def test_t4_log_of_a_monte_carlo_expectation():
    q, p = prior(name="q"), likelihood()
    plug_in = E(q, p.prob()).log()
    with pytest.warns(PlugInWarning, match=r"q\.iid\(k="):
        plug_in.function()
    meant = E(q, p.prob(), sample_shape=[1]).log()  # E log p(x|z), not log p(x) = -1.515512
    found = meant.eval(at(1))
    near(found, -1.918939, sd=math.sqrt(1.5))
    bound = E(q.iid(k=50), p.prob().mean("k").log())
    assert abs(bound.eval(at(1, 20_000)).mean().item() + 1.5194) < 0.01


def test_t5_a_ratio_of_expectations():
    q = Bernoulli(var=["z"], cond_var=["x"], probs="x", name="q")
    w, f = z + 1.0, z
    ratio = E(q, w * f) / E(q, w)
    assert draws(ratio) == ["z", "z#2"]
    with pytest.warns(PlugInWarning, match=r"iid"):
        found = ratio.eval(at(0.5))
    # E[wf] E[1/w] = 1 * 3/4; exact 2/3; one draw for both: E[f] = 1/2
    near(found, 0.75, sd=math.sqrt(1.25 - 0.75**2))
    with_copies = E(q.iid(k=10_000), (w * f).sum("k") / w.sum("k"))
    assert draws(with_copies) == ["z"]
    assert with_copies.eval(at(0.5, 20)).mean().item() == pytest.approx(2 / 3, abs=0.01)


def test_t6_distance_of_a_divergence_from_a_capacity():
    q, p = posterior(), Normal(var=["z"], loc=1.0, scale=1.0)
    capacity = 0.5  # = KL at x = 0
    monte_carlo = (KL(q, p, analytical=False) - capacity).abs()
    with pytest.warns(PlugInWarning, match=r"simplify"):
        found = monte_carlo.eval(at(0))
    # the log ratio is 1/2 - z, so the estimate is |z|; exact 0
    near(found, math.sqrt(2 / math.pi), sd=math.sqrt(1 - 2 / math.pi))
    assert (KL(q, p) - capacity).abs().eval(at(0, 3)).tolist() == [0.0] * 3


def test_t7_sharing_is_greedy_from_left_to_right():
    q = posterior()
    loss = E(q, z) + E(q, z**2) * E(q, z**3)
    assert draws(loss) == ["z", "z#2"]
    assert readers(loss, "z") == 2
    assert readers(loss, "z#2") == 1
    noise = {"z": torch.tensor([1.0]), "z#2": torch.tensor([2.0])}
    assert loss.eval({"x": torch.zeros(1)}, noise=noise).item() == 1 + 1 * 8
    other_way = E(q, z**2) * E(q, z**3) + E(q, z)
    assert other_way.eval({"x": torch.zeros(1)}, noise=noise).item() == 1 * 8 + 1


def test_t8_detach_is_looked_through():
    net = nn.Linear(3, 4).double()
    q = Normal(var=["z"], cond_var=["x"], net=net, name="q")
    f = E(q, Function(lambda v: v.square().sum(-1))(z))
    loss = (f - f.detach()).mean()
    assert draws(loss) == ["z"]
    batch = {"x": torch.randn(5, 3, dtype=torch.float64)}
    noise = {"z": torch.randn(5, 2, dtype=torch.float64)}
    value = loss.eval(batch, noise=noise)
    assert value.item() == 0.0
    (found,) = torch.autograd.grad(value, net.weight)
    (alone,) = torch.autograd.grad(f.mean().eval(batch, noise=noise), net.weight)
    assert torch.equal(found, alone)
    assert found.abs().sum() > 0


def test_t9_a_detached_law_shares_the_draw():
    net = nn.Linear(3, 4).double()
    q = Normal(var=["z"], cond_var=["x"], net=net, name="q")
    f, g = (Function(h) for h in (lambda v: v.square().sum(-1), lambda v: v.exp().sum(-1)))
    loss = (E(q, f(z)) + E(q.detach(), g(z))).mean()
    assert draws(loss) == ["z"]
    assert passes(loss) == ["q(z|x)"]
    batch = {"x": torch.randn(5, 3, dtype=torch.float64)}
    noise = {"z": torch.randn(5, 2, dtype=torch.float64)}
    value = loss.eval(batch, noise=noise)
    drawn = E(q, f(z) + g(z)).mean().eval(batch, noise=noise)
    torch.testing.assert_close(value, drawn)
    (found,) = torch.autograd.grad(value, net.weight)
    (alone,) = torch.autograd.grad(E(q, f(z)).mean().eval(batch, noise=noise), net.weight)
    torch.testing.assert_close(found, alone)
    turned = (E(q.detach(), g(z)) + E(q, f(z))).mean()  # the cut reading first
    (found,) = torch.autograd.grad(turned.eval(batch, noise=noise), net.weight)
    torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("turned", [False, True])
def test_t10_a_divergence_adopts_the_number_of_draws(turned):
    q, p = posterior(), prior()
    terms = [E(q, z, sample_shape=[3]), KL(q, p, analytical=False)]
    left, right = reversed(terms) if turned else terms
    loss = left + right
    assert axes(loss) == {"z": [("draws", 3), ("n", None)]}
    noise = torch.randn(3, 4, dtype=torch.float64)
    drawn = 1 + noise
    by_hand = (drawn + 0.5 * (drawn**2 - noise**2)).mean(0)
    torch.testing.assert_close(loss.eval(at(1, 4), noise={"z": noise}), by_hand)


def test_t10_two_different_numbers_make_two_draws():
    q = posterior()
    loss = E(q, z, sample_shape=[3]) + E(q, z**2, sample_shape=[5]) + E(q, z**3)
    assert axes(loss) == {"z": [("draws", 3), ("n", None)], "z#2": [("draws", 5), ("n", None)]}


def test_t10_a_number_reaches_only_the_draws_that_share_it():
    """Adopting a number may split a draw in two; the numbers of other laws must not move."""
    f = Function(lambda v: v, name="f")
    p, a, b = prior(), *(Normal(var=[v], loc=0.0, scale=1.0, name=v) for v in "ab")
    nested = E(a, E(p, f(z) * values("a")))
    loss = E(p, f(z)) + nested + E(p, z, sample_shape=[3]) + E(b, values("b"), sample_shape=[7])
    found = {name: dict(sizes).get("draws") for name, sizes in axes(loss).items()}
    assert found == {"z": 3, "a": None, "z#2": None, "b": 7}


def test_t11_rows_of_an_unconditional_law():
    p, generator = likelihood(), Deterministic(var=["x_f"], cond_var=["z"], net=lambda z: 2 * z)
    kept = E(prior(), p.log_prob())
    batch = at(1, 6)
    value, found = kept.function()(batch, return_dict=True)
    assert value.shape == found["z"].shape == (6,)
    torch.testing.assert_close(
        value.double(), (-0.5 * (1 - found["z"]) ** 2 - 0.5 * math.log(2 * math.pi)).double()
    )
    p_g = (generator * prior()).marginalize_var("z")
    averaged = E(p_g, values("x_f")) + E(prior(), p.log_prob()).mean()
    value, found = averaged.function()(batch, return_dict=True)
    assert value.shape == ()
    assert found["x_f"].shape == (6,)
    assert E(p_g, values("x_f")).function()(batch_n=9, return_dict=True)[1]["x_f"].shape == (9,)


def test_t12_laws_of_equal_constants_are_one():
    def equal():
        return Normal(var=["z"], loc=0.0, scale=1.0, name="p", features_shape=[2])

    f = Function(lambda v: v.sum(-1), name="f")
    loss = E(equal(), f(z)) + E(equal(), f(z)) - KL(equal(), equal())
    assert draws(loss) == ["z"]
    assert passes(loss) == ["p(z)"]
    other = Normal(var=["z"], loc=0.5, scale=1.0, name="p", features_shape=[2])
    with pytest.raises(VariableError, match=r"two different laws print as p\(z\)"):
        (E(equal(), f(z)) + E(other, f(z))).program()


def test_t12_equal_constants_do_not_make_trained_laws_one():
    def trained():
        return Normal(var=["z"], loc=nn.Parameter(torch.zeros(2)), scale=1.0, name="p")

    f = Function(lambda v: v.sum(-1), name="f")
    with pytest.raises(VariableError, match="two different laws"):
        (E(trained(), f(z)) + E(trained(), f(z))).program()


def test_t12_deterministic_laws_are_told_apart():
    """They have no parameters: nothing that is equal makes two of them one."""
    double = Deterministic(var=["y"], cond_var=["x"], net=lambda x: 2 * x, name="f")
    triple = Deterministic(var=["w"], cond_var=["x"], net=lambda x: 3 * x, name="f")
    y, w = values("y w")
    assert E(double * triple, w - y).eval({"x": torch.ones(4)}).tolist() == [1.0] * 4


class WithDropout(Normal):
    """q(z|x) whose network drops half of its features."""

    def __init__(self) -> None:
        super().__init__(var=["z"], cond_var=["x"], scale=1.0, name="q")
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return {"loc": self.drop(x)}


def test_t13_a_network_is_a_function_within_an_evaluation():
    q = WithDropout()
    runs = []
    q.drop.register_forward_hook(lambda *_: runs.append(1))
    f = Function(lambda v: v.sum(-1), name="f")
    loss = E(q, f(z)) * E(q, f(z) + 0.0 * f(z) ** 2)
    assert draws(loss) == ["z", "z#2"]
    still = {"z": torch.zeros(1000, 8), "z#2": torch.zeros(1000, 8)}
    value = loss.eval({"x": torch.ones(1000, 8)}, noise=still)
    assert len(runs) == 1
    # one mask: the square of an even number, mean 64 + 8; two masks: mean 64
    assert torch.equal(value.sqrt().round() ** 2, value.round())
    assert value.mean().item() == pytest.approx(72, abs=5 * 46 / math.sqrt(1000))


def test_t14_free_bits_inside_an_expectation_are_exact():
    q1 = Normal(var=["z1"], cond_var=["x"], loc="x", scale=1.0, name="q1")
    q2 = Normal(var=["z"], cond_var=["z1"], loc="z1", scale=1.0, name="q2")
    loss = E(q1, KL(q2, prior()).max(0.5))
    assert draws(loss) == ["z1"]
    noise = {"z1": torch.linspace(-3, 3, 13, dtype=torch.float64)}
    value = loss.eval(at(0, 13), noise=noise)  # warnings are errors
    torch.testing.assert_close(value, (0.5 * noise["z1"] ** 2).clamp(min=0.5))


def test_laws_that_were_equal_part_when_one_is_loaded():
    """Frozen laws of equal constants are one; a function lowered before notices the change."""
    one, other = (
        Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p") for _ in range(2)
    )
    f = (one.log_prob() + 2 * other.log_prob()).function()
    data = {"z": torch.zeros(1, 2)}
    f(data)
    shifted = Normal(var=["z"], loc=1.0, scale=1.0, features_shape=[2], name="p")
    for law in (one, other):  # both: they are one again
        law.load_state_dict(shifted.state_dict())
    assert f(data).item() == pytest.approx(3 * shifted.get_log_prob(data).item())
    one.load_state_dict(Normal(var=["z"], loc=2.0, scale=1.0).state_dict())
    with pytest.raises(VariableError, match="two different laws print as p"):
        f(data)
