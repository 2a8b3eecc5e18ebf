"""Energy-based laws: log densities up to a constant, draws by chains, and in others' losses."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    GradientError,
    OptionError,
    ParameterError,
    SamplingError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import (
    Bernoulli,
    EmpiricalDistribution,
    EnergyModel,
    Gamma,
    Normal,
    Uniform,
)
from ancestral.losses import (
    KL,
    ContrastiveDivergence,
    E,
    Enumerate,
    Function,
    PersistentCD,
    Score,
    values,
)
from ancestral.lowering.function import LossFunction, execute
from ancestral.models import Model
from ancestral.samplers import MALA, Langevin

f64 = torch.float64
x, z = values("x z")


class Distance(nn.Module):
    """E = |x - y|^2 / 2 s^2: the law N(y, s^2)."""

    def __init__(self, scale=0.5):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, value, y=0.0):
        return 0.5 * ((value - y) / self.scale).square().sum(-1)


# -- as a law -------------------------------------------------------------------------------------
def test_its_log_density_is_minus_the_energy():
    p = EnergyModel(var=["x"], cond_var=["y"], net=Distance(), features_shape=[2])
    given = {"x": torch.randn(3, 4, 2), "y": torch.randn(4, 2)}
    wanted = -2.0 * (given["x"] - given["y"]).square().sum(-1)
    torch.testing.assert_close(p.get_log_prob(given), wanted)
    renamed = p.replace_var(x="u", y="v")
    torch.testing.assert_close(renamed.get_log_prob({"u": given["x"], "v": given["y"]}), wanted)


@pytest.mark.parametrize("sampler", [MALA(50, step_size=0.3), Langevin(60, step_size=0.1)])
def test_its_draws_are_where_chains_end(sampler):
    """5 standard errors of 20000 chains: means off by 0.018, variances by 5 % would be seen. That
    of Langevin chains is s^2 / (1 - e / 4 s^2).
    """
    p = EnergyModel(var=["x"], cond_var=["y"], net=Distance(), features_shape=[2], sampler=sampler)
    y = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
    drawn = p.sample({"y": y}, sample_shape=[5000], generator=torch.Generator().manual_seed(0))
    assert drawn["x"].shape == (5000, 2, 2)
    assert not drawn["x"].requires_grad
    away = (drawn["x"] - y).double()
    variance = 0.25 if sampler.exact else 0.25 / (1 - 0.1 / (4 * 0.25))
    assert away.mean().abs() < 5 * math.sqrt(variance / away.numel())
    assert abs(away.square().mean() / variance - 1) < 5 * math.sqrt(2 / away.numel())


def test_it_stands_in_products_and_is_drawn_parents_first():
    prior = Uniform(low=-1.0, high=1.0, var=["y"], features_shape=[2], name="p")
    p = EnergyModel(
        var=["x"], cond_var=["y"], net=Distance(), features_shape=[2], sampler=MALA(20, 0.3)
    )
    joint = p * prior
    assert str(joint).splitlines()[1].strip() == "p(x,y) = p(x|y)p(y)"
    drawn = joint.sample(batch_n=6, sample_shape=[3])
    assert {k: v.shape for k, v in drawn.items()} == {"x": (3, 6, 2), "y": (3, 6, 2)}


def test_chains_start_at_the_initial_law():
    still = Langevin(steps=1, step_size=1e-12)
    p = EnergyModel(
        var=["x"], net=Distance(), features_shape=[1], sampler=still,
        initial=Uniform(low=4.0, high=5.0),
    )  # fmt: skip
    drawn = p.sample(batch_n=100)["x"]
    assert 4.0 <= drawn.min() < 4.2
    assert 4.8 < drawn.max() <= 5.0
    assert p.double().sample()["x"].dtype == f64


def test_what_it_cannot_do_is_said():
    p = EnergyModel(var=["x"], net=Distance(), features_shape=[1])
    for options in ({"reparam": True}, {"sample_mean": True}):
        with pytest.raises(SamplingError, match=r"p\(x\) is an EnergyModel, drawn by chains"):
            p.sample(**options)
    with pytest.raises(SamplingError, match="features_shape="):
        EnergyModel(var=["x"], net=Distance()).sample()
    with pytest.raises(ShapeError, match=r"one number per row, \(3,\)"):
        EnergyModel(var=["x"], net=torch.square).get_log_prob({"x": torch.zeros(3, 2)})
    with pytest.raises(ParameterError, match=r"net= must be a function.*got int"):
        EnergyModel(var=["x"], net=3)
    with pytest.raises(OptionError, match=r"sampler='langevin' is no sampler"):
        EnergyModel(var=["x"], net=Distance(), sampler="langevin")
    law = Normal(cond_var=["y"], loc="y", scale=1.0)
    for wrong in (law, Gamma(concentration=2.0, rate=1.0), torch.zeros(2)):
        with pytest.raises(ParameterError, match="chains start from a law with constant"):
            EnergyModel(var=["x"], net=Distance(), initial=wrong)
    with pytest.raises(VariableError):
        EnergyModel(var=["x", "y"], net=Distance())
    for make in (
        lambda: PersistentCD(Langevin(), buffer=0),
        lambda: PersistentCD(Langevin(), reinit=1.5),
        lambda: PersistentCD(60),
        lambda: ContrastiveDivergence("langevin"),
    ):
        with pytest.raises(OptionError, match="give|probability"):
            make()


# -- in losses ------------------------------------------------------------------------------------
def gradient(loss, batch, noise, weights):
    """Of a plan, by the interpreter and by the text."""
    function, found = LossFunction(loss), []
    for _ in range(2):
        run, _ = function.prepare(batch, None, noise, None, {})
        found.append(torch.autograd.grad(execute(run, None), weights))
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)
    return found[0]


def test_as_a_prior_of_latents():
    """A latent space energy-based prior (Pang et al. 2020): chains start at the encoder's draws,
    whose own gradient passes through the energy.
    """
    torch.manual_seed(0)
    encoder, net = nn.Linear(3, 4).double(), Distance().double()
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    p = EnergyModel(var=["z"], net=net, features_shape=[2], name="p")
    chosen = ContrastiveDivergence(Langevin(steps=3, step_size=0.1))
    loss = KL(q, p).mean().estimate({p: chosen})
    assert str(loss) == "mean(KL[q(z|x) || p(z)])"
    batch = {"x": torch.randn(6, 3, dtype=f64)}
    eps = torch.randn(6, 2, dtype=f64)
    steps = torch.randn(3, 6, 2, dtype=f64)
    weights = [*encoder.parameters(), *net.parameters()]
    names = set(loss.program().draws)
    assert names == {"z", "z#2"}
    found = gradient(loss, batch, {"z": eps, "z#2": steps}, weights)
    loc, scale = encoder(batch["x"]).chunk(2, -1)
    scale = nn.functional.softplus(scale)
    drawn = loc + scale * eps
    end = drawn.detach()
    for n in steps:
        end = (end - 0.05 * end / net.scale.detach() ** 2 + math.sqrt(0.1) * n).detach()
    log_q = (-0.5 * eps.square() - scale.log()).sum(-1)
    value = (log_q + net(drawn)).mean() - net(end).mean()
    wanted = torch.autograd.grad(value, weights)
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_a_frozen_energy_is_a_target():
    """Variational inference: the constant is none of the other law's business."""
    net = Distance(2.0).requires_grad_(False)
    p = EnergyModel(var=["z"], net=net, features_shape=[1])
    q = Normal(var=["z"], loc=nn.Parameter(torch.ones(1)), scale=1.0, name="q")
    value = E(q, p.log_prob() - q.log_prob()).eval(noise={"z": torch.zeros(1, 1)})
    assert value.item() == pytest.approx(-0.125 + 0.5 * math.log(2 * math.pi))
    Model(loss=KL(q, p), distributions=[q]).train()
    net.requires_grad_(True)
    with pytest.raises(GradientError, match=r"constant of log p\(z\)"):
        Model(loss=KL(q, p), distributions=[q, p])


def test_the_mean_under_it_of_another_function():
    """E_p[x^2] = s^2, by chains of exact steps, several of each row and a mean over them."""
    p = EnergyModel(var=["x"], net=Distance(), features_shape=[1], sampler=MALA(40, 0.3))
    second = Function(lambda v: v.square().sum(-1), name="f")
    loss = E(p.detach(), second(x), sample_shape=[50])
    found = loss.eval(batch_n=200, generator=torch.Generator().manual_seed(0))
    assert abs(found.item() / 0.25 - 1) < 5 * math.sqrt(2 / 10_000)


def test_plans_that_do_not_fit_are_refused():
    data = EmpiricalDistribution(["x"])
    p = EnergyModel(var=["x"], net=Distance())
    given = EnergyModel(var=["x"], cond_var=["y"], net=Distance())
    for chosen in (Enumerate(), Score()):
        with pytest.raises(OptionError, match="draws by chains alone"):
            E(data, p.log_prob()).estimate({p: chosen}).program()
        with pytest.raises(OptionError, match="draws by chains alone"):
            E(p.detach(), x).estimate({p: chosen}).program()
    keep = PersistentCD(Langevin(2))
    with pytest.raises(OptionError, match=r"p\(x\|y\).*another one in each row"):
        given.log_prob().mean().estimate({given: keep}).program()
    start = ContrastiveDivergence(Langevin(2))
    with pytest.raises(OptionError, match="no data is called 'x'"):
        E(p.detach(), x).estimate({p: start}).program()
    with pytest.raises(OptionError, match=r"\(x\).*parameters cannot be cut apart"):
        p.detach().log_prob().mean().program()
    b = Bernoulli(var=["b"], logits=nn.Parameter(torch.zeros(())), name="b")
    with pytest.raises(OptionError, match=r"chains of an energy.*is a Bernoulli"):
        E(b, values("b")).estimate({b: start}).program()
