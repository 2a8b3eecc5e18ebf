"""Mixtures of normal experts: the value Pixyz misses, random choice per row, missing modalities."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    MissingVariableError,
    ParameterError,
    ShapeError,
    SupportError,
)
from ancestral.distributions import Bernoulli, MixtureOfNormal, Normal
from ancestral.losses import KL, E

X, Y = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[4.0, 0.0], [-1.0, 1.0]])


def expert(cond: str, scale: float = 1.0, **options: object) -> Normal:
    """q(z|cond), with its condition as the mean."""
    return Normal(var=["z"], cond_var=[cond], loc=cond, scale=scale, name="q", **options)


def encoder(cond: str) -> Normal:
    """q(z|cond), with a network."""
    return Normal(var=["z"], cond_var=[cond], net=nn.Linear(2, 4), name="q")


def by_hand(z: torch.Tensor, *experts: tuple[float, torch.Tensor, float]) -> torch.Tensor:
    """The log density of a mixture of vectors."""
    each = [
        math.log(w) + torch.distributions.Normal(m, s).log_prob(z).sum(-1) for w, m, s in experts
    ]
    return torch.stack(each).logsumexp(0)


def test_v3_equal_experts_are_one():
    """Pixyz takes the logarithm of a sum of powers: +0.234 for what is -0.919."""
    law = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[1])
    q = MixtureOfNormal([law, law.replace_var()])
    assert q.get_log_prob({"z": torch.zeros(1, 1)}).item() == pytest.approx(-0.918939, abs=1e-6)
    assert "weight_modalities" in q.state_dict()


def test_density_is_that_of_the_weighted_experts():
    q = MixtureOfNormal([expert("x", 0.5), expert("y", 2.0)], [3.0, 1.0], name="q")
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    found = q.get_log_prob({"x": X, "y": Y, "z": z})
    torch.testing.assert_close(found, by_hand(z, (0.75, X, 0.5), (0.25, Y, 2.0)))
    found = q.get_log_prob({"y": Y, "z": z})
    torch.testing.assert_close(found, by_hand(z, (1.0, Y, 2.0)))
    with pytest.raises(MissingVariableError, match="at least one expert: x, y"):
        q.sample({})


def test_a_mask_drops_experts_and_renormalises():
    q = MixtureOfNormal([expert("x", 0.5), expert("y", 2.0)], [0.8, 0.2], mask="S")
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    torn = torch.stack([torch.full((2,), torch.nan), Y[1]])
    given = {"x": X, "y": torn, "S": torch.tensor([[1, 0], [1, 1]])}
    found = q.get_log_prob({**given, "z": z})
    torch.testing.assert_close(found[:1], by_hand(z, (1.0, X, 0.5))[:1])
    torch.testing.assert_close(found[1:], by_hand(z, (0.8, X, 0.5), (0.2, Y, 2.0))[1:])
    drawn = q.sample(given, sample_shape=[2000])["z"]
    assert (drawn[:, 0] - X[0]).abs().max() < 3.0  # six standard deviations of the first expert
    assert drawn.isfinite().all()


def test_a_row_without_any_expert_is_refused():
    q = MixtureOfNormal([encoder("x"), encoder("y")], mask="S", name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    given = {"x": X, "y": Y, "S": torch.tensor([[1, 0], [0, 0]])}
    with pytest.raises(SupportError, match="each row needs one of the modalities"):
        E(q, prior.log_prob()).mean().eval(given)


def test_draws_choose_an_expert_in_each_row():
    """Pixyz gives the first rows to the first expert. Shares within 5 standard errors: an error
    of 0.025 in a weight would be detected."""
    q = MixtureOfNormal([expert("x", 0.01), expert("y", 0.01)], [0.3, 0.7])
    z = q.sample({"x": X, "y": Y}, sample_shape=[10_000])["z"]
    from_x, from_y = ((z - m).abs() < 0.1 for m in (X, Y))
    assert (from_x.all(-1) ^ from_y.all(-1)).all()  # one expert for all entries of a row
    share = from_x.all(-1).double().mean(0)
    assert ((share - 0.3).abs() < 5 * (0.21 / 10_000) ** 0.5).all()


def test_what_stands_in_a_missing_row_reaches_no_gradient():
    laws = [encoder("x"), encoder("y")]
    q = MixtureOfNormal(laws, mask="S", name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    loss = E(q, prior.log_prob() - q.log_prob()).mean()
    torn = torch.stack([torch.full((2,), torch.nan), Y[1]])
    noise = {"z": torch.randn(2, 2), "z.component": torch.randn(2, 2)}
    found = []
    for y in (torn, Y):
        q.zero_grad()
        value = loss.eval({"x": X, "y": y, "S": torch.tensor([[1, 0], [1, 1]])}, noise=noise)
        value.backward()
        found.append((value.detach(), *(law.net.weight.grad.clone() for law in laws)))
    for torn_part, whole_part in zip(*found, strict=True):
        assert torn_part.isfinite().all()
        torch.testing.assert_close(torn_part, whole_part)


def test_draws_have_the_pathwise_gradient():
    r"""The mean of :math:`z^2` is :math:`\sum_i w_i (m_i^2 + s_i^2)`; 5 standard errors."""
    m = torch.tensor([0.5, -1.5], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([0.7, 1.2], dtype=torch.float64, requires_grad=True)
    w, rows = torch.tensor([0.3, 0.7], dtype=torch.float64), 40_000
    laws = [
        Normal(var=["z"], cond_var=[f"m{i}", f"s{i}"], loc=f"m{i}", scale=f"s{i}")
        for i in range(2)
    ]
    q = MixtureOfNormal(laws, w, features_shape=[1])
    given = {
        f"{k}{i}": v[i].expand(rows, 1).clone() for i in range(2) for k, v in (("m", m), ("s", s))
    }
    z = q.sample(given, reparam=True)["z"]
    grads = torch.autograd.grad((z**2).sum(), list(given.values()))
    for (name, value), grad in zip(given.items(), grads, strict=True):
        wanted = 2 * w[int(name[1])] * value[0, 0]
        assert (grad.mean() - wanted).abs() < 5 * grad.std() / rows**0.5, name


def test_events_of_other_ranks():
    for shape in ([], [2, 3]):
        loc = torch.randn(4, *shape)
        laws = [
            Normal(var=["z"], cond_var=[c], loc=c, scale=s, features_shape=shape)
            for c, s in (("x", 0.5), ("y", 1.5))
        ]
        q = MixtureOfNormal(laws)
        given = {"x": loc, "y": -loc}
        drawn = q.sample(given, sample_shape=[5])["z"]
        assert drawn.shape == (5, 4, *shape)
        flat = (-1, math.prod(shape)) if shape else (-1, 1)
        wanted = by_hand(
            drawn[0].reshape(flat), (0.5, loc.reshape(flat), 0.5), (0.5, -loc.reshape(flat), 1.5)
        )
        torch.testing.assert_close(q.get_log_prob({**given, "z": drawn[0]}), wanted)
    image = Normal(var=["z"], cond_var=["x"], net=lambda x: {"loc": x, "scale": 1.0 + 0 * x})
    with pytest.raises(ShapeError, match=r"features_shape=\[3, 4\]"):
        MixtureOfNormal([image]).sample({"x": torch.zeros(2, 3, 4)})


def test_text_agrees_with_the_interpreter_and_by_hand():
    laws = [encoder("x"), encoder("y")]
    q = MixtureOfNormal(laws, name="q")
    p = Bernoulli(var=["o"], cond_var=["z"], net=nn.Linear(2, 3))
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    loss = -(E(q, p.log_prob()) - KL(q, prior)).mean()
    given = {"x": X, "y": Y, "o": torch.ones(2, 3)}
    noise = {"z": torch.randn(2, 2), "z.component": torch.tensor([[0.1, 0.2], [0.4, 0.3]])}
    step = loss.function()
    first, second = (step(given, noise=noise) for _ in range(2))
    assert torch.equal(first, second)
    a, b = (law.get_params([v]) for law, v in zip(laws, (X, Y), strict=True))
    second_expert = torch.tensor([[False], [True]])  # the smaller of two
    loc, scale = (torch.where(second_expert, b[k], a[k]) for k in ("loc", "scale"))
    z = loc + scale * noise["z"]
    log_q = by_hand(z, (0.5, a["loc"], a["scale"]), (0.5, b["loc"], b["scale"]))
    wanted = log_q - prior.get_log_prob({"z": z}) - p.get_log_prob({"o": given["o"], "z": z})
    torch.testing.assert_close(first, wanted.mean())


def test_prints_and_copies():
    q = MixtureOfNormal([expert("x"), expert("y")], [0.3, 0.7], name="q")
    assert q.latex() == "q(z|x,y) = 0.3 q(z|x) + 0.7 q(z|y)"
    masked = MixtureOfNormal([expert("x"), expert("y")], mask="S", name="q")
    assert str(masked).splitlines()[1] == "  q(z|x,y,S) ∝ S_1 q(z|x) + S_2 q(z|y)"
    for twin in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        at = {"x": X, "y": Y, "z": Y}
        torch.testing.assert_close(twin.get_log_prob(at), q.get_log_prob(at))
        assert twin._every[0].law is twin.experts[0]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: MixtureOfNormal([]), ParameterError, "needs at least one expert"),
        (lambda: MixtureOfNormal([Bernoulli(probs=0.5)]), ParameterError, "Bernoulli"),
        (lambda: MixtureOfNormal([expert("x")], [0.0]), ParameterError, "not all 0"),
        (lambda: MixtureOfNormal([expert("x")], [1.0, 2.0]), ParameterError, "give 1 numbers"),
    ],
)
def test_mistakes_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()
