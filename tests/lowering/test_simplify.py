"""``.simplify()``: closed forms in place of Monte Carlo, of equal value, printed as made."""

import math

import pytest
import torch
from torch import nn

from ancestral.distributions import Categorical, Normal
from ancestral.losses import ELBO, KL, E, Entropy, Function, Score, values
from tests.lowering.reading import draws, twice

z = values("z")
f64 = torch.float64


def posterior(name="q"):
    return Normal(var=["z"], cond_var=["x"], loc="x", scale=0.5, name=name)


def prior(loc=0.0, name="p_0"):
    return Normal(var=["z"], loc=loc, scale=1.0, name=name)


def likelihood():
    return Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)


q, p, p_0 = posterior(), likelihood(), prior()
MADE = {
    "elbo": (ELBO(p * p_0, q), "E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p_0(z)]"),
    "other signs": (
        E(q, q.log_prob() - p_0.log_prob() - p.log_prob()),
        "E_{q(z|x)}[-log p(x|z)] + KL[q(z|x) || p_0(z)]",
    ),
    "KL alone": (E(q, q.log_prob() - p_0.log_prob()), "KL[q(z|x) || p_0(z)]"),
    "entropy": (E(q, -q.log_prob()), "H[q(z|x)]"),
    "entropy and more": (
        E(q, z - q.log_prob()),
        "E_{q(z|x)}[z] + H[q(z|x)]",
    ),
    "inside": (
        2 * E(q, q.log_prob() - p_0.log_prob()).mean() + 1,
        "2 mean(KL[q(z|x) || p_0(z)]) + 1",
    ),
    "a constant beside": (
        E(q, values("y") + q.log_prob() - p_0.log_prob()),
        "y + KL[q(z|x) || p_0(z)]",
    ),
    "draws are kept": (
        E(q, p.log_prob() - q.log_prob() + p_0.log_prob(), sample_shape=[3]),
        "E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p_0(z)]",
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_what_it_makes(name):
    loss, text = MADE[name]
    assert str(loss.simplify()) == text
    assert str(loss.simplify().simplify()) == text


KEPT = {
    "nothing to do": E(q, p.log_prob()),
    "the log ratio the other way round": E(p_0, p.log_prob() + q.log_prob()),
    "another law's entropy": E(q, p_0.log_prob()),
    "inside a function": E(q, (q.log_prob() - p_0.log_prob()).exp()),
    "weighted": E(q, 2 * q.log_prob() - p_0.log_prob()),
    "same sign": E(q, p_0.log_prob() + z),
    "copies": E(q.iid(k=3), (q.log_prob() - p_0.log_prob()).exp().mean("k").log()),
    "another variable's": E(
        q, q.replace_var(z="u").log_prob() - p_0.replace_var(z="u").log_prob()
    ),
    "cut": E(q, q.detach().log_prob() - p_0.log_prob()),
    "conditions are drawn": E(q, Normal(var=["u"], cond_var=["z"], loc="z", scale=1.0).log_prob()),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_it_leaves_alone(name):
    loss = KEPT[name]
    assert str(loss.simplify()) == str(loss)


@pytest.mark.parametrize("name", MADE)
def test_the_value_is_the_mean_of_what_was_written(name):
    loss, _ = MADE[name]
    rows = 100_000
    batch = {"x": torch.full((rows,), 0.7, dtype=f64), "y": torch.full((rows,), 0.3, dtype=f64)}
    written, made = loss.eval(batch), loss.simplify().eval(batch)
    if written.dim() == 0:
        assert made.item() == pytest.approx(written.item(), abs=0.03)
        return
    error = (written.var() / rows + made.var() / rows).sqrt()
    # a wrong sign of the KL (0.37 nats) or of the entropy (0.73) would be seen at once
    assert abs(made.mean() - written.mean()) < 5 * error
    assert error < 0.01
    assert made.var() <= written.var()


def test_a_plan_is_kept():
    net = nn.Linear(1, 2)
    y = Categorical(var=["y"], cond_var=["x"], name="c", net=lambda x: net(x[:, None]))
    uniform = Categorical(var=["y"], probs=torch.tensor([0.5, 0.5]), name="p")
    f = Function(lambda v: v[:, 0], name="f")
    loss = E(y, f(values("y")) + uniform.log_prob() - y.log_prob(), reparam=False)
    assert str(loss.simplify()) == "E_{c(y|x)}[f(y)] - KL[c(y|x) || p(y)]"
    batch = {"x": torch.ones(4)}
    assert loss.simplify().eval(batch).requires_grad  # reparam=False is kept: the score
    planned = loss.estimate({y: Score(draws=3)}).simplify()
    assert "draws" in str(planned.program())
    three = E(q, p.log_prob() - q.log_prob() + p_0.log_prob(), sample_shape=[3]).simplify()
    assert [s.size for s in three.program().draws["z"].axes] == [3, None]


def test_copies_of_the_law_itself_do_not_break_it():
    loss = E(q.iid(k=3), q.log_prob() - p_0.log_prob())
    assert str(loss.simplify()) == str(loss)


def test_a_divergence_given_what_the_law_draws_stays():
    """p(z|x) of another law over z, whose condition is drawn by nobody here: a closed form."""
    other = posterior("r")
    loss = E(q, q.log_prob() - other.log_prob())
    assert str(loss.simplify()) == "KL[q(z|x) || r(z|x)]"
    joint = q.replace_var(z="u") * Normal(var=["z"], cond_var=["u"], loc="u", scale=1.0, name="q2")
    kept = E(joint, q.replace_var(z="u").log_prob() - prior().replace_var(z="u").log_prob())
    assert str(kept.simplify()) == str(kept)
    assert draws(kept) == ["u", "z"]


def test_kl_of_equal_laws_is_zero():
    loss = E(q, q.log_prob() - posterior("r").log_prob()).simplify()
    assert twice(loss, {"x": torch.ones(2, dtype=f64)}).tolist() == [0.0, 0.0]
    entropy = Entropy(q).simplify().eval({"x": torch.ones(1)}).item()
    assert entropy == pytest.approx(math.log(0.5) + 0.5 * math.log(2 * math.pi * math.e))
    assert str(KL(q, p_0).simplify()) == str(KL(q, p_0))
