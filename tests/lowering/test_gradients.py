"""Gradients are never silently wrong: a path is estimated, cut by a written detach, or an error.

And one objective under several plans: the semi-supervised bound of M2.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import GradientError
from ancestral.distributions import Bernoulli, Categorical, Deterministic, Laplace, Normal
from ancestral.losses import (
    KL,
    E,
    Entropy,
    Enumerate,
    Function,
    LeaveOneOut,
    Pathwise,
    Score,
    values,
)
from ancestral.lowering.function import LossFunction
from ancestral.models import Model
from tests.lowering.reading import passes, program

a, y, z, s = values("a y z s")
f64 = torch.float64
X = {"x": torch.randn(4, 3, generator=torch.Generator().manual_seed(0))}
f = Function(lambda v: v.flatten(1).sum(-1) ** 2, name="f")


def classifier(**options):
    """q(y|x), discrete and trained."""
    net = nn.Linear(3, 2)
    return Categorical(var=["y"], cond_var=["x"], net=net, name="q_y", **options)


def encoder():
    """q(z|x), with a pathwise derivative."""
    return Normal(var=["z"], cond_var=["x"], net=nn.Linear(3, 4), name="q")


def from_y():
    """p(z|y), with a pathwise derivative."""
    return Normal(var=["z"], cond_var=["y"], net=nn.Linear(2, 4), name="p")


# -- errors -----------------------------------------------------------------------------------
def test_a_draw_without_pathwise_derivative_needs_a_choice():
    loss = E(classifier(), f(y)).mean()
    for run in (loss.eval, loss.function(), lambda b: Model(loss=loss).train(b)):
        with pytest.raises(GradientError) as found:
            run(X)
        text = str(found.value)
        for part in ("y is drawn from q_y(y|x)", "Categorical", "no pathwise derivative"):
            assert part in text
        for choice in ("Enumerate() (exact)", "Score(LeaveOneOut(), draws=4)", "q_y.detach()"):
            assert choice in text
    bits = Bernoulli(var=["y"], cond_var=["x"], net=nn.Linear(3, 2), name="q_y")
    with pytest.raises(GradientError, match="a Bernoulli, whose draws have no pathwise"):
        E(bits, f(y)).eval(X)


def test_pathwise_for_a_discrete_law_is_refused_when_it_is_lowered():
    q = classifier()
    with pytest.raises(GradientError, match=r"Pathwise\(\).*Enumerate\(\) or Score"):
        E(q, f(y)).estimate({q: Pathwise()}).function().program()


CUTS = {
    "through a deterministic law": lambda q: E(
        q * Deterministic(var=["s"], cond_var=["y"], net=lambda y: y * 2, name="g"), f(s)
    ),
    "through the condition of another law": lambda q: E(q * from_y(), f(z)),
    "through a nested expectation": lambda q: E(q, E(from_y(), f(z))),
    "through a density": lambda q: E(
        q, Normal(var=["x"], cond_var=["y"], net=nn.Linear(2, 6), name="p").log_prob()
    ),
    "through a function of a function": lambda q: E(q, Function(torch.sin)(f(y)) + 1.0),
    "through a log-mean-exp": lambda q: E(q.iid(k=3), f(y).exp().mean("k").log()),
    "through a clamp and a power": lambda q: E(q, f(y).clamp(max=2.0) ** 2 / 3),
    "beside an estimated one": lambda q: (
        E(q, f(y)).estimate({q: Score()}) + E(q.replace_var(y="a"), f(a))
    ),
    "through a marginal": lambda q: E((from_y() * q).marginalize_var("y"), f(z)),
    "renamed": lambda q: E(q, f(y)).replace_var(x="u").replace_var(u="x"),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_path_is_found(name):
    q = classifier()
    with pytest.raises(GradientError, match=r"is drawn from q_y\(y\|x\)"):
        CUTS[name](q).mean().eval(X)
    with torch.no_grad():
        assert torch.isfinite(CUTS[name](q).mean().eval(X))


def test_what_lies_behind_a_frozen_discrete_law_counts():
    """q(z|x) is trained, the law of y given z is not: the path from z is cut at y."""
    q = encoder()
    r = Categorical(var=["y"], cond_var=["z"], net=nn.Linear(2, 2), name="r")
    r.requires_grad_(False)
    with pytest.raises(GradientError, match=r"y is drawn from r\(y\|z\)"):
        E(q * r, f(y)).mean().eval(X)
    q.requires_grad_(False)
    assert torch.isfinite(E(q * r, f(y)).mean().eval(X))


SILENT = {
    "detached": lambda q: E(q.detach(), f(y)),
    "the body detached": lambda q: E(q, f(y).detach()),
    "the expectation detached": lambda q: E(q, f(y)).detach() + Entropy(q),
    "enumerated": lambda q: E(q, f(y)).estimate({q: Enumerate()}),
    "score": lambda q: E(q, f(y)).estimate({q: Score()}),
    "reparam=False": lambda q: E(q, f(y), reparam=False),
    "the body does not depend on it": lambda q: E(q, f(values("x"))),
    "the draw is cut": lambda q: E(q, f(y.detach())),
    "closed forms": lambda q: Entropy(q),
}


@pytest.mark.parametrize("name", SILENT)
def test_no_error_where_nothing_is_lost(name):
    assert torch.isfinite(SILENT[name](classifier()).mean().eval(X))


def test_no_error_where_nothing_is_trained():
    q = classifier().requires_grad_(False)
    assert torch.isfinite(E(q, f(y)).mean().eval(X))
    constant = Bernoulli(var=["y"], probs=0.3, features_shape=[2])
    assert torch.isfinite(E(constant, f(y)).eval())
    function = LossFunction(E(classifier(), f(y)).mean(), trained=set())  # another player's
    assert torch.isfinite(function(X))


def test_trained_inputs_of_a_function_count():
    net = nn.Linear(3, 2)
    logits = Function(net, name="h")
    q = Bernoulli(var=["y"], cond_var=["s"], name="q_y", net=nn.Identity())
    given = Deterministic(var=["s"], cond_var=["x"], net=net, name="h")
    with pytest.raises(GradientError, match=r"y is drawn from q_y\(y\|s\)"):
        E(q * given, f(y)).mean().eval(X)
    assert torch.isfinite(f(logits(values("x"))).mean().eval(X))


# -- gradients that are right -------------------------------------------------------------------
def test_cutting_the_draw_leaves_the_other_paths():
    q = classifier(onehot=True)
    joint = from_y()
    loss = E(q.detach() * joint, f(z)).mean()
    value = loss.eval(X)
    value.backward()
    assert joint.net.weight.grad is not None
    assert q.net.weight.grad is None


def test_a_laplace_and_a_normal_law_are_pathwise_by_default():
    for law in (Normal, Laplace):
        q = law(var=["z"], cond_var=["x"], net=nn.Linear(3, 4).double(), name="q")
        x, noise = X["x"].double(), torch.rand(4, 2, dtype=f64)
        value = E(q, f(z)).sum().eval({"x": x}, noise={"z": noise})
        (found,) = torch.autograd.grad(value, q.net.weight)
        params = q.params([x])
        (by_hand,) = torch.autograd.grad(
            (law.draw(noise, **params).sum(-1) ** 2).sum(), q.net.weight
        )
        torch.testing.assert_close(found, by_hand)


def test_an_integrand_without_rows_is_scored_by_all_rows():
    """E of a mean over rows: the density of all draws together carries the gradient."""
    theta = nn.Parameter(torch.tensor([0.3], dtype=f64))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = theta

        def forward(self, x):
            return self.theta.expand(len(x), 1)

    q = Bernoulli(var=["y"], cond_var=["x"], net=Net(), name="q_y")
    loss = (E(q, f(y).mean() ** 2)).estimate({q: Score()})
    total, slope = 0.0, 0.0
    on = theta.detach().sigmoid().item()
    for bits in ((0, 0), (0, 1), (1, 0), (1, 1)):
        noise = 1.0 - torch.tensor(bits, dtype=f64)[:, None]
        p = on ** sum(bits) * (1 - on) ** (2 - sum(bits))
        value = loss.mean().eval({"x": torch.ones(2, 1, dtype=f64)}, noise={"y": noise})
        total += p * value.item()
        slope += p * torch.autograd.grad(value, theta)[0].item()
    pi = theta.sigmoid()
    exact = pi / 2 + pi**2 / 2  # E of the squared mean of two bits
    assert total == pytest.approx(exact.item())
    assert slope == pytest.approx(torch.autograd.grad(exact, theta)[0].item())


# -- M2: one equation, three plans ----------------------------------------------------------------
class Semi:
    """The laws of M2 over few pixels, and its objective."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.q_y = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(3, 2), name="q").double()
        both = nn.Linear(5, 4)
        self.q_z = Normal(
            var=["z"],
            cond_var=["x", "y"],
            net=lambda x, y: both(torch.cat([x, y], -1)),
            name="q",
        )
        self.both = both.double()
        self.head = nn.Linear(4, 3).double()
        self.p = Bernoulli(
            var=["x"],
            cond_var=["y", "z"],
            net=lambda y, z: self.head(torch.cat([y, z], -1)),
            name="p",
        )
        half = torch.tensor([0.5, 0.5], dtype=f64)
        self.p_y = Categorical(var=["y"], probs=half, name="p")
        self.p_z = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p")
        joint = self.p * self.p_y * self.p_z
        self.bound = E(self.q_z, joint.log_prob() - self.q_z.log_prob())
        self.unlabelled = E(self.q_y, self.bound) + Entropy(self.q_y)
        self.loss = self._with(self.unlabelled.replace_var(x="x_u").mean())

    def objective(self, weight):
        """The same with weighted unlabelled rows."""
        return self._with((weight * self.unlabelled.replace_var(x="x_u")).sum())

    def _with(self, unlabelled):
        return self.bound.mean() + unlabelled + 0.1 * self.q_y.log_prob().mean()


def test_m2_under_three_plans_has_one_expectation():
    m = Semi()
    assert str(m.loss) == (
        "mean(E_{q(z|x,y)}[log p(x,y,z) - log q(z|x,y)])"
        " + mean(E_{q(y|x_u)}[E_{q(z|x_u,y)}[log p(x_u,y,z) - log q(z|x_u,y)]] + H[q(y|x_u)])"
        " + 0.1 mean(log q(y|x))"
    )
    assert str(m.loss.estimate({m.q_y: Enumerate()})) == str(m.loss)
    parameters = [m.q_y.net.weight, m.both.weight, m.head.weight]
    labelled = {"x": torch.ones(1, 3, dtype=f64), "y": torch.eye(2, dtype=f64)[:1]}
    x_u = torch.tensor([[0.0, 1.0, 1.0]], dtype=f64)
    base = torch.tensor([0.4, -1.3], dtype=f64)  # of z, the same for every label
    pi = m.q_y.net(x_u).softmax(-1)[0].detach()
    onehot = -1e6 * torch.eye(2, dtype=f64)  # the noise that gives each label: the least wins
    first, second = torch.cartesian_prod(torch.arange(2), torch.arange(2)).unbind(1)
    plans = {
        "enumerated": (Enumerate(), torch.ones(1), None, (2, 1)),
        "score": (Score(), pi, onehot, (2,)),
        "leave one out": (
            Score(LeaveOneOut(), draws=2),
            pi[first] * pi[second],
            torch.stack([onehot[first], onehot[second]]),
            (2, 4),
        ),
    }
    found = {}
    for name, (choice, p, y_noise, lead) in plans.items():
        loss = m.objective(values("w")).estimate({m.q_y: choice})
        batch = {**labelled, "x_u": x_u.expand(len(p), 3), "w": p.double()}
        noise = {"z": base[None], "z#2": base.expand(*lead, 2)}
        noise.update({"y": y_noise} if y_noise is not None else {})
        value = loss.eval(batch, noise=noise)  # the mean over all draws of y
        found[name] = [value, *torch.autograd.grad(value, parameters)]
    for name in ("score", "leave one out"):
        for one, other in zip(found[name], found["enumerated"], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert all(g.abs().max() > 0.01 for g in found["enumerated"])
    with pytest.raises(GradientError, match=r"q\(y\|x\)"):
        m.loss.eval({**labelled, "x_u": x_u})


def test_m2_enumerated_is_one_pass_of_each_network_per_plate():
    m = Semi()
    loss = m.loss.estimate({m.q_y: Enumerate()})
    assert sorted(t for t in passes(loss) if t.startswith("q")) == [
        "q(y|x)",
        "q(y|x_u)",
        "q(z|x,y)",
        "q(z|x_u,y)",
    ]
    seen = []
    m.both.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    m.head.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    batch = {
        "x": torch.ones(3, 3, dtype=f64),
        "y": F.one_hot(torch.tensor([0, 1, 1]), 2).double(),
        "x_u": torch.ones(5, 3, dtype=f64),
    }
    assert loss.eval(batch).shape == ()
    assert seen == [3, 3, 10, 10]
    assert list(program(loss).draws) == ["z", "z#2"]


def test_an_enumerated_bound_equals_the_sum_by_hand():
    m = Semi()
    unlabelled = m.unlabelled.estimate({m.q_y: Enumerate()})
    x = (torch.rand(4, 3) > 0.5).double()
    noise = torch.randn(2, 4, 2, dtype=f64)
    value = unlabelled.eval({"x": x}, noise={"z": noise})
    log_pi = m.q_y.net(x).log_softmax(-1)
    by_hand = -(log_pi.exp() * log_pi).sum(-1)
    for k in range(2):
        label = F.one_hot(torch.full((4,), k), 2).double()
        each = m.bound.eval({"x": x, "y": label}, noise={"z": noise[k]})
        by_hand = by_hand + log_pi.exp()[:, k] * each
    torch.testing.assert_close(value, by_hand)
    weight = m.q_y.net.weight
    (found,) = torch.autograd.grad(value.sum(), weight)
    torch.testing.assert_close(found, torch.autograd.grad(by_hand.sum(), weight)[0])


def test_a_term_with_the_factor_0_still_reaches_its_parameters():
    """An ablation written as 0 * KL is a legal model: the gradient is 0, not missing."""
    q, p = encoder(), Normal(var=["x"], cond_var=["z"], net=nn.Linear(2, 6), name="p")
    trained = Normal(var=["z"], loc=nn.Parameter(torch.zeros(2)), scale=1.0, name="p_0")
    loss = E(q, p.log_prob()) - 0 * KL(q, trained)
    Model(loss=-loss.mean()).train(X)
    assert trained.loc.grad.tolist() == [0.0, 0.0]
    frozen = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p_1")
    dropped = E(q, p.log_prob()) - 0 * KL(q, frozen)
    assert "return t1" in str(dropped.program())
