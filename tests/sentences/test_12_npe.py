"""Sentence 12: neural posterior estimation; data come from a simulator, and none are given."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import DensityError, GradientError, SamplingError, TrainingError
from ancestral.distributions import EmpiricalDistribution, Normal, Simulator
from ancestral.losses import E
from ancestral.models import Model
from tests.sentences.counting import agrees, counted, draws, passes

ROWS = 7
NOISE = 0.5


class Measure(nn.Module):
    """The program: the parameter and an error of measurement."""

    def forward(self, theta):
        return theta + NOISE * torch.randn_like(theta)


@pytest.fixture
def laws():
    torch.manual_seed(0)
    net, program = nn.Linear(2, 4).double(), Measure()
    prior = Normal(var=["theta"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
    sim = Simulator(program, var=["x"], cond_var=["theta"], name="p").double()
    q = Normal(var=["theta"], cond_var=["x"], net=net, name="q")
    return sim, prior, q, net, program


def log_normal(x, loc, scale):
    return (-0.5 * ((x - loc) / scale) ** 2 - torch.as_tensor(scale).double().log()).sum(
        -1
    ) - math.log(2 * math.pi)


def test_it_prints_as_the_paper_writes_it(laws):
    sim, prior, q, *_ = laws
    npe = E(sim * prior, -q.log_prob())
    assert str(npe) == "E_{p(x|θ)p(θ)}[-log q(θ|x)]"
    assert npe.latex() == (r"\mathbb{E}_{p(x|\theta)p(\theta)} \left[- \log q(\theta|x) \right]")


def test_one_run_of_the_program_and_one_pass_of_the_network(laws):
    sim, prior, q, net, program = laws
    npe = E(sim * prior, -q.log_prob())
    assert draws(npe) == ["seed_x", "theta"]
    assert [p for p in passes(npe) if p.startswith("q")] == ["q(θ|x)"]
    function = npe.function()
    for _ in range(2):  # the interpreter, the generated step
        with counted(q=net, sim=program) as seen:
            function(batch_n=ROWS)
        assert seen == {"q": [ROWS], "sim": [ROWS]}


def test_value_and_gradient_by_hand(laws):
    _, prior, q, net, _ = laws
    seen = []

    def program(theta):
        assert not torch.is_grad_enabled()
        seen.append(theta + NOISE * torch.randn_like(theta))
        return seen[-1]

    sim = Simulator(program, var=["x"], cond_var=["theta"], name="p").double()
    eps = torch.randn(ROWS, 2, dtype=torch.float64)
    noise = {"theta": eps, "seed_x": torch.full((ROWS,), 0.3, dtype=torch.float64)}

    def hand():
        loc, raw = net(seen[0]).chunk(2, -1)
        return -log_normal(eps, loc, nn.functional.softplus(raw)).mean()

    agrees(E(sim * prior, -q.log_prob()), {}, hand, [net], noise=noise, batch_n=ROWS)
    assert torch.equal(seen[0], seen[1])  # a given seed repeats the run
    before = torch.get_rng_state()
    sim.sample({"theta": eps})
    after = torch.rand(())
    torch.set_rng_state(before)
    torch.rand(ROWS, dtype=torch.float64)  # the seeds
    assert torch.equal(torch.rand(()), after)  # the program has left no trace


def test_the_exact_posterior_has_no_gradient(laws):
    """5 standard errors of 200000 rows: an error of 1 % of its slope would be seen."""
    sim, prior, q, net, _ = laws
    share = 1 / (1 + NOISE**2)
    with torch.no_grad():
        net.weight.copy_(torch.cat([share * torch.eye(2), torch.zeros(2, 2)]))
        net.bias[:2] = 0
        net.bias[2:] = math.log(math.expm1(NOISE * share**0.5))
    npe = E(sim * prior, -q.log_prob()).function()
    torch.manual_seed(1)
    found = torch.stack([torch.cat([g.flatten() for g in torch.autograd.grad(
        npe(batch_n=4000), list(net.parameters()))]) for _ in range(50)])  # fmt: skip
    assert (found.mean(0).abs() < 5 * found.std(0) / 50**0.5).all()


def test_proposals_are_weighted_and_train_nothing_that_is_cut(laws):
    sim, prior, q, net, _ = laws
    r = Normal(var=["theta"], loc=nn.Parameter(torch.zeros(2)), scale=1.25, name="r").double()
    weight = (prior.log_prob() - r.log_prob()).exp().detach()
    snpe = E(sim * r.detach(), -weight * q.log_prob())
    assert str(snpe) == ("E_{p(x|θ)sg[r](θ)}[(-sg[exp(log p(θ) - log r(θ))]) log q(θ|x)]")
    seen = []

    def program(theta):
        seen.append(theta + NOISE * torch.randn_like(theta))
        return seen[-1]

    told = Simulator(program, var=["x"], cond_var=["theta"], name="p").double()
    eps = torch.randn(ROWS, 2, dtype=torch.float64)
    noise = {"theta": eps, "seed_x": torch.full((ROWS,), 0.3, dtype=torch.float64)}

    def hand():
        theta = 1.25 * eps
        w = (log_normal(theta, 0.0, 1.0) - log_normal(theta, 0.0, 1.25)).exp()
        loc, raw = net(seen[0]).chunk(2, -1)
        return -(w * log_normal(theta, loc, nn.functional.softplus(raw))).mean()

    loss = E(told * r.detach(), -weight * q.log_prob())
    agrees(loss, {}, hand, [net], noise=noise, batch_n=ROWS)
    model = Model(loss=snpe, distributions=[q])  # r is cut wherever it stands
    before = r.loc.clone()
    model.train(batch_n=ROWS)
    assert torch.equal(r.loc, before)
    with pytest.raises(TrainingError, match=r"r\(theta\) is in the loss"):
        Model(loss=E(sim * r, -q.log_prob()), distributions=[q])
    with pytest.raises(GradientError, match=r"x is what a program returns.*Write .detach\(\)"):
        Model(loss=E(sim * r, -q.log_prob()), distributions=[q, r])
    with pytest.raises(SamplingError, match=r"p\(x"):
        sim.sample({"theta": eps}, reparam=True)
    Model(loss=E(sim.detach() * r, -q.log_prob()), distributions=[q, r]).train(batch_n=ROWS)


def test_a_stored_table_is_a_law(laws):
    *_, q, _net, _program = laws
    table = {k: torch.randn(ROWS, 2).double() for k in ("theta", "x")}
    stored = E(EmpiricalDistribution(["theta", "x"]), -q.log_prob())
    torch.testing.assert_close(stored.eval(table), -q.log_prob().mean().eval(table))
    assert Model(loss=stored, distributions=[q]).train(table).isfinite()
    with pytest.raises(DensityError):
        laws[0].log_prob()
