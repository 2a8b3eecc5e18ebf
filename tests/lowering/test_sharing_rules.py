"""The rules of sharing one by one: what shares a draw, and what asks for a fresh one."""

import math
import warnings

import pytest
import torch
from torch import nn

from ancestral.distributions import Normal
from ancestral.losses import KL, CrossEntropy, E, Entropy, Function, Parameter, ValueLoss, values
from tests.lowering.laws import at, hierarchy, likelihood, near, posterior, prior
from tests.lowering.reading import draws, passes

x, z = values("x z")


def test_five_expectations_over_a_joint_are_one_program():
    def law(var, cond, name):
        net = nn.Linear(2 * len(cond), 4)
        cat = Function(lambda *c: net(torch.cat(c, -1)))
        return Normal(var=[var], cond_var=cond, net=cat.net, name=name)

    p_b2, q = law("z2", ["b2"], "p_B"), law("z1", ["z2", "b1", "b2"], "q")
    p_b1, p_t, p_x = (
        law("z1", ["b1"], "p_{B1}"),
        law("z2", ["z1"], "p_t"),
        law("x2", ["z2"], "p_x"),
    )
    every = [p_x.log_prob(), p_b1.log_prob(), p_t.log_prob(), -p_b2.log_prob(), -q.log_prob()]
    joint = q * p_b2
    one = E(joint, every[0] + every[1] + every[2] + every[3] + every[4])
    five = E(joint, every[0])
    for term in every[1:]:
        five = five + E(joint, term)
    batch = {n: torch.randn(3, 2) for n in ("b1", "b2", "x2")}
    noise = {n: torch.randn(3, 2) for n in ("z1", "z2")}
    assert str(one.program()) == str(five.program())
    assert draws(five) == ["z2", "z1"]
    assert torch.equal(one.eval(batch, noise=noise), five.eval(batch, noise=noise))


def test_renaming_a_variable_asks_for_a_fresh_draw():
    q = posterior()
    twice = E(q, z) + E(q.replace_var(z="z1"), values("z1"))
    assert draws(twice) == ["z", "z1"]
    assert passes(twice) == ["q(z|x)"]  # the network runs once all the same
    inside = E(q * q.replace_var(z="z1"), z * values("z1"))
    near(inside.eval(at(1)), 1.0, sd=math.sqrt(3))


@pytest.mark.parametrize(
    "term",
    [
        lambda q, p: KL(q, p, analytical=False),
        lambda q, p: CrossEntropy(q, p, analytical=False),
        lambda q, p: Entropy(q, analytical=False),
    ],
    ids=["KL", "CE", "H"],
)
def test_monte_carlo_divergences_count_as_the_expectations_they_stand_for(term):
    q, p = posterior(), prior()
    assert draws(E(q, z) + term(q, p)) == ["z"]
    assert draws(E(q, z) * term(q, p)) == ["z", "z#2"]
    assert draws(term(q, p) + E(q, z)) == ["z"]
    assert draws(E(q, z + term(q, p))) == ["z", "z#2"]  # one lies inside the other


def test_the_chain_rule_shares_its_outer_draw():
    q_a, q_z = hierarchy()
    p_a = Normal(var=["a"], loc=0.0, scale=1.0, name="p_a")
    p_z = Normal(var=["z"], cond_var=["a"], loc="a", scale=1.0, name="p_z")
    divergence = KL(q_a * q_z, p_a * p_z)
    elbo = E(q_a * q_z, values("a") * z) - divergence
    assert draws(divergence) == ["a"]
    assert draws(elbo) == ["a", "z"]
    assert draws(divergence * E(q_a, values("a"))) == ["a", "a#2"]


@pytest.mark.parametrize(
    "apart",
    [
        lambda f, g: f * g,
        lambda f, g: f / g,
        lambda f, g: f.max(g),
        lambda f, g: g.min(f),
        lambda f, g: Function(torch.add)(f, g),
        lambda f, g: (f + 1) * (2 * g).mean(),
    ],
    ids=["product", "ratio", "max", "min", "function", "inside a product"],
)
def test_what_is_no_sum_conflicts(apart):
    q = posterior()
    assert draws(apart(E(q, z), E(q, z**2))) == ["z", "z#2"]


@pytest.mark.parametrize(
    "together",
    [
        lambda f, g: f + g,
        lambda f, g: f - g,
        lambda f, g: -f + 2 * g,
        lambda f, g: f.mean() + g.sum() / 3,
        lambda f, g: Parameter("beta") * f - g.detach(),
        lambda f, g: (f + g).exp(),
        lambda f, g: (f + 1) * ValueLoss(2.0) + g,
        lambda f, g: f.replace_var(x="x") + g,
    ],
)
def test_a_sum_shares(together):
    q = posterior()
    assert draws(together(E(q, z), E(q, z**2))) == ["z"]


def test_siblings_in_one_body_share():
    q_a, q_z = hierarchy()
    loss = E(q_a, E(q_z, z) + 2 * E(q_z, z**2))
    assert draws(loss) == ["a", "z"]


def test_same_names_under_other_conditions_are_other_draws():
    q = posterior()
    loss = E(q, z).mean() + E(q, z).replace_var(x="u").mean()
    assert draws(loss) == ["z", "z#2"]
    noise = {"z": torch.zeros(3), "z#2": torch.zeros(5)}
    assert loss.eval({"x": torch.ones(3), "u": 2 * torch.ones(5)}, noise=noise).item() == 3.0


def test_a_prior_is_drawn_for_the_rows_of_each_plate():
    """Same law, same names, no conditions: but the rows are others."""
    term = E(prior(), likelihood().log_prob())
    loss = term.mean() + term.replace_var(x="u").mean()
    assert draws(loss) == ["z", "z#2"]
    value = loss.eval({"x": torch.ones(3), "u": torch.ones(5)})
    assert value.shape == ()


def test_copies_are_not_shared_with_one_copy():
    q = posterior()
    assert draws(E(q, z) + E(q.iid(k=3), z.mean("k"))) == ["z", "z#2"]
    assert draws(E(q.iid(k=3), z.sum("k")) + E(q.iid(k=3), z.mean("k"))) == ["z"]


def test_equal_terms_are_collected_after_draws_are_assigned():
    q = posterior()
    batch, noise = {"x": torch.zeros(2)}, {"z": torch.tensor([1.0, 2.0])}
    assert (E(q, z) + E(q, z)).eval(batch, noise=noise).tolist() == [2.0, 4.0]
    assert (E(q, z) - E(q, z)).eval(batch, noise=noise).tolist() == [0.0, 0.0]
    assert draws(E(q, z) * E(q, z)) == ["z", "z#2"]


def test_nothing_warns_where_nothing_is_biased():
    q, p = posterior(), prior()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (E(q, z) ** 2 + E(q, z) * E(q, z) / 2 - KL(q, p).exp()).function()
