"""Sentence 12, continued: atoms are other rows; the contrastive losses of a batch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import OptionError, ScopeError, VariableError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    EmpiricalDistribution,
    Normal,
    Sequence,
    Simulator,
)
from ancestral.losses import KL, E, Enumerate, Function, LeaveOneOut, Score, sqnorm, values
from ancestral.models import Model
from tests.lowering.reading import twice
from tests.sentences.counting import agrees, counted, passes

ROWS = 6
x, y, z, theta = values("x y z theta")
data = EmpiricalDistribution(["x", "y"])


class Laws:
    """q(theta|x), a critic f(x, y), two encoders, in float64."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = nn.Linear(3, 4).double()
        self.q = Normal(var=["theta"], cond_var=["x"], net=self.net, name="q")
        self.critic = Critic().double()
        self.f = Function(self.critic, name="f")
        self.left, self.right = nn.Linear(3, 2).double(), nn.Linear(2, 2).double()
        self.batch = {
            "x": torch.randn(ROWS, 3).double(),
            "theta": torch.randn(ROWS, 2).double(),
            "y": torch.randn(ROWS, 2).double(),
        }

    def atomic(self):
        log_q = self.q.log_prob()
        return log_q - log_q.over_rows("theta").logsumexp()

    def grid(self):
        """log q(theta_j|x_i), by hand: (i, j)."""
        loc, raw = self.net(self.batch["x"]).chunk(2, -1)
        law = torch.distributions.Normal(loc[:, None], F.softplus(raw)[:, None])
        return law.log_prob(self.batch["theta"]).sum(-1)


class Critic(nn.Module):
    """f(x, y)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 1)

    def forward(self, a, b):
        return torch.tanh(self.layer(torch.cat([a, b], -1)))[:, 0]


@pytest.fixture
def laws():
    return Laws()


def test_it_prints(laws):
    loss = laws.atomic()
    assert str(loss) == "log q(θ|x) - log(Σ_j q(θ_j|x))"
    assert loss.latex() == (r"\log q(\theta|x) - \log \left(\sum_{j} q(\theta_{j}|x) \right)")
    assert "θ" in loss.mathml()
    f = laws.f(x, y)
    assert str(f - f.over_rows("y").exp().mean().log()) == (
        "f(x, y) - log((1/n) Σ_j exp(f(x, y_j)))"
    )
    both = f.over_rows("x").logsumexp().over_rows("y").mean()
    assert str(both) == "(1/n) Σ_l log(Σ_j exp(f(x_j, y_l)))"


def test_the_network_runs_on_the_rows_and_the_density_on_their_pairs(laws):
    loss = laws.atomic().mean()
    assert passes(loss) == ["q(θ|x)"]
    function = loss.function()
    for _ in range(2):
        with counted(q=laws.net) as seen:
            function(laws.batch)
        assert seen == {"q": [ROWS]}
    assert str(loss.program()).count("(m,n)") == 1


def test_value_and_gradient_by_hand(laws):
    def hand():
        grid = laws.grid()
        return (grid.diagonal() - grid.logsumexp(1)).mean()

    agrees(laws.atomic().mean(), laws.batch, hand, [laws.net])


def test_the_exact_posterior_has_no_gradient(laws):
    """APT: with atoms drawn from the prior, q / p is the posterior's odds for any number of atoms.

    5 standard errors of 50 batches see a fifth of the slope that q alone has there, which is
    wrong: it learns the likelihood.
    """
    noise, net = 0.5, nn.Linear(2, 4).double()
    share = 1 / (1 + noise**2)
    with torch.no_grad():
        net.weight.copy_(torch.cat([share * torch.eye(2), torch.zeros(2, 2)]))
        net.bias[:2] = 0
        net.bias[2:] = math.log(math.expm1(noise * share**0.5))
    q = Normal(var=["theta"], cond_var=["x"], net=net, name="q")
    prior = Normal(var=["theta"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
    sim = Simulator(lambda t: t + noise * torch.randn_like(t), ["x"], ["theta"]).double()

    def slopes(ratio):
        apt = E(sim * prior, ratio.over_rows("theta").logsumexp() - ratio)
        function = apt.function()
        torch.manual_seed(0)
        found = [
            torch.cat([g.flatten() for g in torch.autograd.grad(
                function(batch_n=200), list(net.parameters()))]) for _ in range(50)
        ]  # fmt: skip
        return torch.stack(found)

    found, wrong = slopes(q.log_prob() - prior.log_prob()), slopes(q.log_prob())
    error = found.std(0) / len(found) ** 0.5
    assert (found.mean(0).abs() < 5 * error).all()
    assert (5 * error).max() < 0.2 * wrong.mean(0).abs().max()
    apt = E(sim * prior, q.log_prob().over_rows("theta").logsumexp() - q.log_prob())
    assert Model(apt, distributions=[q]).train(batch_n=8).isfinite()


def test_a_stored_table_is_a_law(laws):
    prior = Normal(var=["theta"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
    ratio = laws.q.log_prob() - prior.log_prob()
    stored = E(EmpiricalDistribution(["theta", "x"]), ratio.over_rows("theta").logsumexp() - ratio)
    grid = laws.grid() - prior.get_log_prob({"theta": laws.batch["theta"]})
    wanted = (grid.logsumexp(1) - grid.diagonal()).mean()
    torch.testing.assert_close(twice(stored, laws.batch), wanted)


def test_a_score_counts_the_draws_of_all_rows():
    """f_i = b_i log (1/n) Σ_j exp(2 b_j) reads every bit: its slope is that of all 2^n of them.

    The score of row i alone would leave out about half of it, 40 times what is allowed here.
    """
    n, logit = 3, nn.Parameter(torch.tensor([0.4], dtype=torch.float64))
    q = Bernoulli(var=["b"], cond_var=["x"], net=lambda x: logit.expand(len(x), 1), name="q")
    first = Function(lambda v: v[:, 0], name="first")(values("b"))
    loss = E(q, first * (2 * first).over_rows("b").exp().mean().log()).mean()
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n)
    each = (bits * ((2 * bits).logsumexp(1, keepdim=True) - math.log(n))).mean(1)
    log_p = (bits * F.logsigmoid(logit) + (1 - bits) * F.logsigmoid(-logit)).sum(1)
    exact = torch.autograd.grad((log_p.exp() * each).sum(), logit)[0]
    function = loss.estimate({q: Score(LeaveOneOut(), draws=5000)}).function()
    torch.manual_seed(0)
    batch = {"x": torch.zeros(n, 1).double()}
    found = torch.stack([torch.autograd.grad(function(batch), logit)[0] for _ in range(40)])
    error = float(found.std()) / len(found) ** 0.5
    assert abs(float(found.mean() - exact)) < 5 * error < 0.02 * abs(float(exact))


@pytest.mark.parametrize("form", ["joint", "separable"])
def test_infonce(laws, form):
    """A joint critic sees n^2 rows; encoders of each side n, and only their product is n x n."""
    b = laws.batch
    if form == "joint":
        term, networks = laws.f(x, y), {"f": laws.critic}

        def score():
            rows = [laws.critic(b["x"][i].expand(ROWS, -1), b["y"]) for i in range(ROWS)]
            return torch.stack(rows)

        seen_rows = {"f": [ROWS, ROWS**2]}
    else:
        g, h = Function(laws.left, name="g"), Function(laws.right, name="h")
        term, networks = -0.5 * sqnorm(g(x) - h(y)), {"g": laws.left, "h": laws.right}

        def score():
            far = laws.left(b["x"])[:, None] - laws.right(b["y"])
            return -0.5 * far.square().sum(-1)

        seen_rows = {"g": [ROWS], "h": [ROWS]}
    infonce = E(data, term - term.over_rows("y").exp().mean().log())

    def hand():
        grid = score()
        return (grid.diagonal() - grid.logsumexp(1) + math.log(ROWS)).mean()

    agrees(infonce, b, hand, list(networks.values()))
    with counted(**networks) as seen:
        infonce.eval(b)
    assert seen == seen_rows


def test_both_ways_and_both_at_once(laws):
    """CLIP: the mean of both conditionals; and each y beside each x, once more reduced."""
    term = laws.f(x, y)
    b = laws.batch
    grid = torch.stack([laws.critic(b["x"][i].expand(ROWS, -1), b["y"]) for i in range(ROWS)])
    clip = term - (term.over_rows("y").logsumexp() + term.over_rows("x").logsumexp()) / 2
    wanted = grid.diagonal() - (grid.logsumexp(1) + grid.logsumexp(0)) / 2
    torch.testing.assert_close(twice(clip, b), wanted)
    nested = term.over_rows("x").logsumexp().over_rows("y").mean()
    torch.testing.assert_close(twice(nested, b), grid.logsumexp(0).mean())
    together = term.over_rows("x", "y").mean()
    torch.testing.assert_close(twice(together, b), grid.diagonal().mean())
    open_twice = term.over_rows("x").over_rows("y")
    torch.testing.assert_close(twice(open_twice.mean().mean(), b), grid.mean())
    torch.testing.assert_close(twice(term.over_rows("y"), b), grid.T)  # (j, i): newest first
    torch.testing.assert_close(twice(term.over_rows("y").sum().mean(), b), grid.sum(1).mean())


def test_draws_of_other_rows(laws):
    """z ~ q(z|x) of every row: the aggregate posterior log (1/n) Σ_j q(z|x_j), minibatch-weighted
    (beta-TCVAE). One encoder pass, one draw.
    """
    q = Normal(var=["z"], cond_var=["x"], net=laws.net, name="q")
    eps = torch.randn(ROWS, 2).double()
    loss = E(q, q.log_prob() - q.log_prob().over_rows("x").exp().mean().log()).mean()

    def hand():
        loc, raw = laws.net(laws.batch["x"]).chunk(2, -1)
        scale = F.softplus(raw)
        drawn = loc + scale * eps
        law = torch.distributions.Normal(loc, scale)
        grid = law.log_prob(drawn[:, None]).sum(-1)  # (row of z, row of x)
        return (grid.diagonal() - grid.logsumexp(1) + math.log(ROWS)).mean()

    agrees(loss, laws.batch, hand, [laws.net], noise={"z": eps})
    with counted(q=laws.net) as seen:
        loss.eval(laws.batch)
    assert seen == {"q": [ROWS]}
    several = E(q, q.log_prob().over_rows("x").exp().mean().log(), sample_shape=[3])
    assert twice(several, laws.batch).shape == (ROWS,)


def test_an_expectation_inside(laws):
    """E over a law of the moved value is at that row; its plan stays a plan."""
    p = Normal(var=["z"], cond_var=["y"], loc="y", scale=1.0, name="p").double()
    inner = E(p, sqnorm(z - Function(laws.left, name="g")(x)))
    eps = torch.randn(ROWS, 2).double()
    moved = inner.over_rows("y").sum()
    far = (laws.batch["y"] + eps)[:, None] - laws.left(laws.batch["x"])
    wanted = far.square().sum(-1).sum(0)
    torch.testing.assert_close(twice(moved, laws.batch, noise={"z": eps}), wanted)


def test_what_stands_inside_keeps_its_plan(laws):
    """Enumerated values, closed forms and copies of a law whose condition is moved."""
    b = laws.batch
    c_net = nn.Linear(3, 2).double()
    c = Categorical(var=["v"], cond_var=["x"], net=c_net, name="c")
    f = Function(lambda v, w: (v * w).sum(-1) ** 2, name="f")
    summed = E(c, f(values("v"), y)).over_rows("x").mean().estimate({c: Enumerate()})
    table = torch.stack([b["y"][:, k] ** 2 for k in range(2)])  # (value, i)
    wanted = F.softmax(c_net(b["x"]), -1).mean(0) @ table
    torch.testing.assert_close(twice(summed, b), wanted)

    q = Normal(var=["z"], cond_var=["x"], net=laws.net, name="q")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
    kl = KL(q, prior)
    moved = kl.over_rows("x").mean() + sqnorm(y)
    wanted = kl.mean().eval(b) + b["y"].square().sum(-1)
    torch.testing.assert_close(twice(moved, b), wanted)

    eps = torch.randn(4, ROWS, 2).double()
    copies = E(q.iid(k=4), sqnorm(z - y).exp().mean("k").log()).over_rows("x").mean()
    loc, raw = laws.net(b["x"]).chunk(2, -1)
    far = ((loc + F.softplus(raw) * eps)[:, :, None] - b["y"]).square().sum(-1)  # (k, j, i)
    wanted = (far.logsumexp(0) - math.log(4)).mean(0)
    torch.testing.assert_close(twice(copies, b, noise={"z": eps}), wanted)


def test_sequences_of_other_rows():
    class Walk(nn.Module):
        def forward(self, z_prev, u):
            return {"loc": z_prev + u, "scale": torch.ones_like(u)}

    step = Normal(var=["z"], cond_var=["z_prev", "u"], net=Walk(), features_shape=[2])
    p = Sequence(step, carry={"z": "z_prev"}, init=torch.zeros(2), series=["u"]).double()
    torch.manual_seed(0)
    b = {k: torch.randn(ROWS, 4, 2).double() for k in ("z", "u")}
    rows = [{"z": b["z"], "u": b["u"][i].expand(ROWS, 4, 2)} for i in range(ROWS)]
    grid = torch.stack([p.get_log_prob(r) for r in rows])  # (i, j)
    found = twice(p.log_prob().over_rows("z").logsumexp(), b)
    torch.testing.assert_close(found, grid.logsumexp(1))


def test_beside_copies_of_the_data(laws):
    """Pairs of different rows in an expectation, and all rows under over_rows: both at once."""
    p, x1 = EmpiricalDistribution(["x"]), values("x1")
    rows = laws.batch["x"]
    pairs = p * p.replace_var(x="x1")
    loss = E(pairs, sqnorm(x - x1) + sqnorm(x).over_rows("x").mean())
    wanted = 2 * rows.var(0).sum() + rows.square().sum(-1).mean()
    torch.testing.assert_close(twice(loss, laws.batch), wanted)
    every = E(pairs, sqnorm(x - x1).over_rows("x1").mean())
    wanted = (rows[:, None] - rows).square().sum(-1).mean()
    torch.testing.assert_close(twice(every, laws.batch), wanted)


def test_renaming_goes_through(laws):
    loss = laws.atomic().replace_var(theta="y").mean()
    given = {"x": laws.batch["x"], "y": laws.batch["theta"]}
    torch.testing.assert_close(loss.eval(given), laws.atomic().mean().eval(laws.batch))
    assert str(loss) == "mean(log q(y|x) - log(Σ_j q(y_j|x)))"


def test_what_is_refused(laws):
    log_q = laws.q.log_prob()
    with pytest.raises(VariableError, match=r"over_rows\('w'\).*no free variable"):
        log_q.over_rows("w")
    with pytest.raises(OptionError, match="non-empty"):
        log_q.over_rows()
    with pytest.raises(ScopeError, match=r"E.*over_rows.*Reduce it inside"):
        E(EmpiricalDistribution(["x", "theta"]), log_q.over_rows("theta")).eval(laws.batch)
    with pytest.raises(ScopeError, match="theta has no rows"):
        log_q.over_rows("theta").constant_var({"theta": 1.0}).logsumexp().eval(laws.batch)
    c = Categorical(var=["y"], cond_var=["x"], net=nn.Linear(3, 2).double(), name="c")
    table = E(c, sqnorm(y).over_rows("y").mean())
    assert torch.isfinite(table.mean().estimate({c: Score()}).eval(laws.batch))
    with pytest.raises(ScopeError, match="y has no rows"):
        table.estimate({c: Enumerate()}).eval(laws.batch)
