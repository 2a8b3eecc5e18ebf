"""Sentence 2: M2, labelled and unlabelled rows in one objective, the sum over labels exact."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import GradientError, ShapeError
from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import KL, E, Enumerate, H, LeaveOneOut, Parameter, Score
from ancestral.nn import MLP
from tests.lowering.reading import twice
from tests.sentences.counting import agrees, counted, draws, passes

L, U, CLASSES, D, ALPHA = 4, 6, 3, 2, 0.5


class Laws:
    """Images of 5 bits, three labels, latents of 2, in float64."""

    def __init__(self):
        torch.manual_seed(0)
        self.nets = {
            "q_z": MLP(5 + CLASSES, 2 * D, (4,)).double(),
            "q_y": MLP(5, CLASSES, (4,)).double(),
            "p": MLP(CLASSES + D, 5, (4,)).double(),
        }
        self.p_z = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[D], name="p").double()
        self.p_y = Categorical(probs=torch.ones(CLASSES).double() / CLASSES, var=["y"], name="p")
        self.q_z = Normal(var=["z"], cond_var=["x", "y"], net=self.nets["q_z"], name="q")
        self.q_y = Categorical(var=["y"], cond_var=["x"], net=self.nets["q_y"], name="q")
        self.p = Bernoulli(var=["x"], cond_var=["y", "z"], net=self.nets["p"], name="p")
        bits = lambda rows: (torch.rand(rows, 5) > 0.5).double()  # noqa: E731
        y = torch.eye(CLASSES).double()[torch.randint(CLASSES, (L,))]
        self.batch = {"x": bits(L), "y": y, "x_u": bits(U)}

    def sentence(self):
        labelled = E(self.q_z, (self.p * self.p_y * self.p_z).log_prob() - self.q_z.log_prob())
        unlabelled = E(self.q_y, labelled) + H(self.q_y)
        whole = labelled.mean() + unlabelled.replace_var(x="x_u").mean()
        return whole + ALPHA * self.q_y.log_prob().mean()

    def bound(self, x, y, eps):
        loc, raw = self.nets["q_z"](torch.cat([x, y], -1)).chunk(2, -1)
        scale = F.softplus(raw)
        z = loc + scale * eps
        logits = self.nets["p"](torch.cat([y, z], -1))
        log_p = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        log_z = (-0.5 * z**2 + 0.5 * eps**2 + scale.log()).sum(-1)
        return log_p + log_z - math.log(CLASSES)


def split(net, value):
    loc, raw = net(value).chunk(2, -1)
    return loc, F.softplus(raw)


@pytest.fixture
def laws():
    return Laws()


def test_it_prints_as_the_paper_writes_it(laws):
    m2 = laws.sentence()
    bound = "E_{q(z|x,y)}[log p(x,y,z) - log q(z|x,y)]"
    assert str(m2) == (
        f"mean({bound}) + mean(E_{{q(y|x_u)}}[{bound.replace('x', 'x_u')}] + H[q(y|x_u)])"
        " + 0.5 mean(log q(y|x))"
    )
    assert r"\mathbb{E}_{q(y|x_{u})} \left[\mathbb{E}_{q(z|x_{u},y)}" in m2.latex()
    assert str(m2.estimate({laws.q_y: Enumerate()})) == str(m2)


def test_passes_and_draws(laws):
    m2 = laws.sentence().estimate({laws.q_y: Enumerate()})
    assert draws(m2) == ["z", "z#2"]
    assert passes(m2).count("q(y|x)") == passes(m2).count("q(y|x_u)") == 1
    function = m2.function()
    for _ in range(2):
        with counted(**laws.nets) as seen:
            function(laws.batch)
        assert seen == {"q_z": [L, CLASSES * U], "p": [L, CLASSES * U], "q_y": [U, L]}


def test_value_and_gradient_by_hand(laws):
    x, y, x_u = laws.batch.values()
    noise = {"z": torch.randn(L, D).double(), "z#2": torch.randn(CLASSES, U, D).double()}

    def hand():
        log_pi = laws.nets["q_y"](x_u).log_softmax(-1)
        each = []
        for c in range(CLASSES):
            label = torch.eye(CLASSES).double()[c].expand(U, CLASSES)
            each.append(laws.bound(x_u, label, noise["z#2"][c]))
        every = torch.stack(each, -1)
        unlabelled = (log_pi.exp() * (every - log_pi)).sum(-1).mean()
        own = (y * laws.nets["q_y"](x).log_softmax(-1)).sum(-1).mean()
        return laws.bound(x, y, noise["z"]).mean() + unlabelled + ALPHA * own

    m2 = laws.sentence().estimate({laws.q_y: Enumerate()})
    agrees(m2, laws.batch, hand, [*laws.nets.values()], noise=noise)


def test_the_same_sentence_under_other_plans(laws):
    """The mean of a sampled plan is the exact sum; its gradient too, by the score function."""
    m2 = laws.sentence()
    noise = {"z": torch.randn(L, D).double()}
    exact = m2.estimate({laws.q_y: Enumerate()})
    weights = list(laws.nets["q_y"].parameters())
    found = {}
    for name, loss, many in (
        ("exact", exact, 300),
        ("score", m2.estimate({laws.q_y: Score(LeaveOneOut(), draws=40)}), 300),
    ):
        function, values = loss.function(), []
        for _ in range(many):
            value = function(laws.batch, noise=noise)
            slope = torch.autograd.grad(value, weights)[-1]
            values.append(torch.cat([value.detach()[None], slope]))
        found[name] = torch.stack(values)
    gap = found["score"].mean(0) - found["exact"].mean(0)
    error = (found["score"].var(0) / 300 + found["exact"].var(0) / 300).sqrt()
    assert bool((gap.abs() < 5 * error).all())
    assert bool((error < 0.05).all())
    with pytest.raises(GradientError, match=r"Enumerate\(\) \(exact\)"):
        m2.eval(laws.batch)


def test_data_is_hidden_where_its_name_is_bound(laws):
    """y is data in one term and summed over in the next: its value there is not the data's."""
    unlabelled = E(laws.q_y, laws.p_y.log_prob() + laws.q_y.log_prob())
    loss = unlabelled.estimate({laws.q_y: Enumerate()})
    assert loss.input_var == ["x"]
    one = twice(loss, {"x": laws.batch["x"]})
    two = twice(loss, {"x": laws.batch["x"], "y": laws.batch["y"].flip(-1)})
    assert torch.equal(one, two)


def test_rows_of_one_data_set_must_agree(laws):
    m2 = laws.sentence().estimate({laws.q_y: Enumerate()})
    with pytest.raises(ShapeError, match="they meet in one term"):
        m2.eval({**laws.batch, "y": laws.batch["y"][:2]})


def test_the_divergence_of_renamed_conditionals():
    """In Pixyz a TypeError: q(z|x) of one view against the same law of the other."""
    net = nn.Linear(3, 4).double()
    q = Normal(var=["z"], cond_var=["x"], net=net, name="q")
    a, b = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    loss = KL(q, q.replace_var(x="x2"))
    assert str(loss) == "KL[q(z|x) || q(z|x2)]"
    with counted(q=net) as seen:
        found = twice(loss, {"x": a, "x2": b})
    assert seen == {"q": [5, 5, 5, 5]}  # each of two evaluations sees both views
    parts = [torch.distributions.Normal(*split(net, v)) for v in (a, b)]
    exact = torch.distributions.kl_divergence(*parts).sum(-1)
    torch.testing.assert_close(found, exact)
    assert bool((twice(loss, {"x": a, "x2": a}) == 0).all())


def test_beta_one_is_the_vae_to_the_bit():
    torch.manual_seed(0)
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(2, 5), name="p")
    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(5, 4), name="q")
    x, noise = (torch.rand(6, 5) > 0.5).float(), {"z": torch.randn(6, 2)}
    weights = [*p.parameters(), *q.parameters()]
    vae = E(q, p.log_prob()) - KL(q, prior)
    found = []
    for loss, scalars in (
        (vae, {}),
        (E(q, p.log_prob()) - 1.0 * KL(q, prior), {}),
        (E(q, p.log_prob()) - Parameter("beta") * KL(q, prior), {"beta": 1.0}),
    ):
        value = twice(loss.mean(), {"x": x}, noise=noise, **scalars)
        found.append([value.detach(), *torch.autograd.grad(value, weights)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
