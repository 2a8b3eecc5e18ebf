"""Self-normalised means: equal to their own exact mean at fixed K, with the bias that theory says.

Discrete laws: every outcome of the K draws stands in a row of its own, so that means are sums.
"""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import GradientError, OptionError, VariableError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import (
    CUBO,
    ELBO,
    IWAE,
    TVO,
    VIMCO,
    E,
    Function,
    InclusiveKL,
    LogJoint,
    Renyi,
    ReweightedWakeSleep,
    Score,
    SelfNormalized,
    values,
)
from ancestral.models import Model, Player
from tests.contracts.outcomes import bernoulli
from tests.lowering.reading import twice

f64 = torch.float64
z, w = values("z w")


class Net(nn.Module):
    """Two logits, or their log odds given z, free in every row."""

    def __init__(self, start: list[float], slope: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=f64))
        self.slope = nn.Parameter(torch.tensor(slope, dtype=f64))

    def forward(self, z: Tensor) -> Tensor:
        return self.theta + self.slope * z.sum(-1, keepdim=True)


class Bits:
    """Two latent bits z, three observed ones x, q(z|x); all trained."""

    def __init__(self) -> None:
        self.prior = Bernoulli(
            var=["z"], logits=nn.Parameter(torch.tensor([0.4, -0.7], dtype=f64)), name="p"
        )
        self.likelihood = Bernoulli(
            var=["x"], cond_var=["z"], net=Net([0.3, -0.2, 0.9], 1.1), name="p"
        )
        self.p = self.likelihood * self.prior
        self.q = bernoulli("z", "x", [0.2, -0.5])
        self.x = torch.tensor([1.0, 0.0, 1.0], dtype=f64)

    def tables(self) -> tuple[Tensor, Tensor]:
        """log p(x, z) and log q(z|x) at all z, differentiable."""
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)), dtype=f64)

        def log_prob(logits: Tensor, bits: Tensor) -> Tensor:
            return -torch.nn.functional.softplus(logits * (1 - 2 * bits)).sum(-1)

        x = self.x.expand(len(every), 3)
        log_p = log_prob(self.prior.logits, every) + log_prob(self.likelihood.net(every), x)
        return log_p, log_prob(self.q.net(x), every)

    def rows(self, k: int) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """A row for each outcome of k draws: data, noise (0 draws a 1), and the indices of z."""
        index = torch.tensor(list(itertools.product(range(4), repeat=k)))  # (R, k)
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)), dtype=f64)
        batch = {"x": self.x.expand(len(index), 3).clone()}
        return batch, {"z": 1.0 - every[index].transpose(0, 1)}, index


def mean_and_slopes(loss, bits: Bits, k: int, parameters) -> tuple[Tensor, list[Tensor]]:
    """The exact mean over the draws of a loss's value, and of its gradient as a step takes it."""
    batch, noise, index = bits.rows(k)
    function = (w * loss).sum().function()
    weight = bits.tables()[1].detach()[index].sum(-1).exp()
    for _ in range(2):  # the interpreter, then the generated step
        value = function({**batch, "w": weight}, noise=noise)
        slopes = torch.autograd.grad(value, parameters, allow_unused=True)
    return value.detach(), list(slopes)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_inclusive_divergence_is_its_own_enumerated_mean(k):
    bits = Bits()
    parameters = list(bits.q.parameters())
    value, slopes = mean_and_slopes(InclusiveKL(bits.p, bits.q, k=k), bits, k, parameters)
    log_p, log_q = bits.tables()
    _, _, index = bits.rows(k)
    at = log_q.detach()[index].sum(-1).exp()  # of each outcome
    log_w = (log_p - log_q).detach()[index]
    share = log_w.softmax(-1)
    mean = (share * log_w).sum(-1) - (log_w.logsumexp(-1) - math.log(k))
    assert value.item() == pytest.approx(float((at * mean).sum().detach()), abs=1e-12)
    wanted = torch.autograd.grad(-(at * (share * log_q[index]).sum(-1)).sum(), parameters)
    for one, other in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        assert k == 1 or other.abs().max() > 1e-3


def test_its_bias_falls_as_one_over_k():
    """The exact gradient is that of KL[p(z|x) || q]; the bias of K draws, times K, settles."""
    bits = Bits()
    parameters = list(bits.q.parameters())
    log_p, log_q = bits.tables()
    posterior = log_p.detach().softmax(0)
    exact = torch.autograd.grad(-(posterior * log_q).sum(), parameters, retain_graph=True)[0]
    ratio = (log_p - log_q).detach().exp()
    bias = {}
    for k in (1, 2, 4, 6):
        slopes = mean_and_slopes(InclusiveKL(bits.p, bits.q, k=k), bits, k, parameters)[1]
        bias[k] = float((slopes[0] - exact).norm())
    assert bias[1] > bias[2] > bias[4] > bias[6] > 0
    score = torch.stack(
        [torch.autograd.grad(log_q[i], parameters[0], retain_graph=True)[0] for i in range(4)]
    )
    q, p_x = log_q.detach().exp(), float(log_p.detach().logsumexp(0).exp())
    v = ratio / p_x
    first = ((q * v**2)[:, None] * (score - (posterior[:, None] * score).sum(0))).sum(0)
    assert bias[6] == pytest.approx(float(first.norm()) / 6, rel=0.25)  # -Cov[w, w f] / K p(x)^2


def test_the_guide_has_the_bias_of_these_laws():
    """Value and gradient in q of the inclusive divergence less the exact ones, by K."""
    bits = Bits()
    parameters = list(bits.q.parameters())
    log_p, log_q = bits.tables()
    posterior = log_p.detach().log_softmax(0)
    exact = float((posterior.exp() * (posterior - log_q.detach())).sum())
    slope = torch.autograd.grad(-(posterior.exp() * log_q).sum(), parameters)[0]
    rows = []
    for k in (1, 2, 4, 6):
        loss = InclusiveKL(bits.p, bits.q, k=k)
        value, slopes = mean_and_slopes(loss, bits, k, parameters)
        rows.append((k, float(value) - exact, float((slopes[0] - slope).norm())))
    guide = Path(__file__).parents[2] / "docs" / "guides" / "objectives.md"
    told = guide.read_text("utf-8")
    for k, of_value, of_slope in rows:
        assert f"| {k} | {of_value:.3f} | {of_slope:.3f} |" in told
    assert f"{exact:.3f}" in told
    assert f"{float(slope.norm()):.3f}" in told


def test_weights_that_no_float_holds():
    """Log weights around -1500 and +900: the ratio is that of their differences."""
    q = Normal(var=["z"], loc=0.0, scale=1.0, name="q").double()
    f = Function(lambda v: v.reshape(len(v), -1).sum(-1), name="f")
    for shift in (-1500.0, 900.0):
        log_w = f(z) + shift
        weight = log_w.exp()
        for written in (
            (weight * f(z)).sum("k") / weight.sum("k"),
            (f(z) * weight).mean("k") / weight.mean("k"),
            -(-weight * f(z)).sum("k") / weight.sum("k"),
            (weight.detach() * f(z)).sum("k") / weight.detach().sum("k"),
            (2.0 * weight * f(z)).sum("k") / weight.sum("k") / 2.0,
        ):
            noise = torch.linspace(-1, 1, 4, dtype=f64)[:, None]
            found = twice(E(q.iid(k=4), written), {}, noise={"z": noise})
            wanted = (noise[:, 0].softmax(0) * noise[:, 0]).sum()
            assert float(found) == pytest.approx(float(wanted), abs=1e-12)


def test_a_program_marks_it():
    bits = Bits()
    mean = SelfNormalized(bits.q.log_prob(), bits.p, bits.q, k=3)
    for loss in (InclusiveKL(bits.p, bits.q, k=3), mean):
        lines = str(loss.program()).splitlines()
        assert sum("plug-in" in line for line in lines) == 1
    assert "plug-in" not in str(IWAE(bits.p, bits.q, k=3).program())


# -- latents and posteriors ------------------------------------------------------------------------
BOUNDS = {
    "ELBO": lambda p, q, **o: ELBO(p, q, **o),
    "IWAE": lambda p, q, **o: IWAE(p, q, k=2, **o),
    "Renyi": lambda p, q, **o: Renyi(p, q, alpha=0.5, k=2, **o),
    "CUBO": lambda p, q, **o: CUBO(p, q, k=2, **o),
    "TVO": lambda p, q, **o: TVO(p, q, k=2, **o),
    "InclusiveKL": lambda p, q, **o: InclusiveKL(p, q, k=2, **o),
    "SelfNormalized": lambda p, q, **o: SelfNormalized(q.log_prob(), p, q, k=2, **o),
    "ReweightedWakeSleep": lambda p, q, **o: ReweightedWakeSleep(p, q, k=2, **o).wake_theta,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_latent_without_a_posterior_is_an_error_that_names_it(name):
    """a.9.3: ZhuSuan's check never ran, and the latent was drawn from its prior."""
    bits = Bits()
    second = Normal(var=["u"], loc=0.0, scale=1.0, name="p")
    with pytest.raises(VariableError, match="draws u, .* a latent without a posterior"):
        BOUNDS[name](bits.p * second, bits.q, observed=["x"])
    with pytest.raises(VariableError, match="draws z, which p.x.z. has no density of"):
        BOUNDS[name](bits.likelihood, bits.q)
    loss = BOUNDS[name](bits.p * second, bits.q)  # u may be data
    with torch.no_grad():
        with pytest.raises(VariableError, match="needs a value for u"):
            loss.eval({"x": bits.x[None]})
        assert BOUNDS[name](bits.p, bits.q, observed="x").eval({"x": bits.x[None]}).shape == (1,)


@pytest.mark.parametrize("name", [n for n in BOUNDS if n != "ReweightedWakeSleep"])
def test_a_function_of_a_dict_stands_for_a_law(name):
    bits = Bits()

    def log_joint(d):
        return bits.p.get_log_prob({"x": d["x"], "z": d["z"]})

    written = LogJoint(log_joint, ["x", "z"])
    noise = {"z": torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=f64)[:, None]}
    noise = noise if name != "ELBO" else {"z": noise["z"][0]}
    batch = {"x": bits.x[None]}
    with torch.no_grad():
        found = [
            BOUNDS[name](p, bits.q, observed=["x"]).eval(batch, noise=noise)
            for p in (written, bits.p)
        ]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
    with pytest.raises(VariableError, match="draws u"):
        BOUNDS[name](LogJoint(log_joint, ["x", "z", "u"]), bits.q, observed=["x"])
    with pytest.raises(OptionError, match="LogJoint"):
        BOUNDS[name](log_joint, bits.q)


# -- wake-sleep ------------------------------------------------------------------------------------
def test_wake_sleep_is_two_players_with_one_set_of_draws():
    bits = Bits()
    rws = ReweightedWakeSleep(bits.p, bits.q, k=2)
    p, q = list(bits.p.parameters()), list(bits.q.parameters())
    log_p, log_q = bits.tables()
    _, _, index = bits.rows(2)
    at = log_q.detach()[index].sum(-1).exp()
    bound = (log_p - log_q.detach())[index].logsumexp(-1) - math.log(2)
    value, slopes = mean_and_slopes(rws.wake_theta, bits, 2, p)
    assert value.item() == pytest.approx(-float((at * bound).sum().detach()), abs=1e-12)
    for one, other in zip(slopes, torch.autograd.grad(-(at * bound).sum(), p), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    players = [
        Player("theta", minimise=rws.wake_theta.mean(), over=[bits.p]),
        Player("phi", minimise=rws.wake_phi.mean() + rws.sleep_phi, over=[bits.q]),
    ]
    model = Model(players=players, order="together")
    before = [t.detach().clone() for t in (*p, *q)]
    model.train({"x": bits.x.expand(8, 3)})
    assert all(not torch.equal(a, b) for a, b in zip(before, (*p, *q), strict=True))


def test_the_sleep_phase_is_the_cross_entropy_on_dreams():
    """-E_{p(x,z)}[log q(z|x)]: its gradient reaches q alone."""
    bits = Bits()
    sleep = ReweightedWakeSleep(bits.p, bits.q, k=2).sleep_phi
    value = sleep.eval(batch_n=16)
    assert value.shape == ()
    slopes = torch.autograd.grad(
        value, [*bits.q.parameters(), *bits.p.parameters()], allow_unused=True
    )
    count = len(list(bits.q.parameters()))
    assert all(s is not None for s in slopes[:count])
    assert all(s is None for s in slopes[count:])


# -- gradients of discrete latents -----------------------------------------------------------------
@pytest.mark.parametrize("chosen", [Score(), VIMCO()], ids=repr)
@pytest.mark.parametrize("name", ["IWAE", "Renyi", "CUBO", "TVO", "SelfNormalized"])
def test_the_mean_gradient_of_a_bound_of_bits_is_exact(name, chosen):
    """K = 2: sixteen outcomes; through draws, weights and both laws."""
    bits = Bits()
    parameters = [*bits.q.parameters(), *bits.p.parameters()]
    loss = BOUNDS[name](bits.p, bits.q).estimate({bits.q: chosen})
    if isinstance(chosen, VIMCO) and name in ("TVO", "SelfNormalized"):
        with pytest.raises(OptionError, match="logarithm of a mean over copies alone"):
            loss.program()
        return
    value, slopes = mean_and_slopes(loss, bits, 2, parameters)
    log_p, log_q = bits.tables()
    index = bits.rows(2)[2]
    log_w, at = (log_p - log_q)[index], log_q[index].sum(-1).exp()
    if name == "TVO":
        rows = 0.1 * log_w.mean(-1) + 0.9 * ((0.1 * log_w).softmax(-1) * log_w).sum(-1)
    elif name == "SelfNormalized":
        rows = (log_w.softmax(-1) * log_q[index]).sum(-1)
    else:
        power = {"IWAE": 1.0, "Renyi": 0.5, "CUBO": 2.0}[name]
        rows = ((power * log_w).logsumexp(-1) - math.log(2)) / power
    exact = (at * rows).sum()
    assert value.item() == pytest.approx(exact.item(), abs=1e-12)
    wanted = torch.autograd.grad(exact, parameters)
    for one, other in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        assert other.abs().max() > 1e-4


def test_a_discrete_latent_without_an_estimator_is_refused():
    bits = Bits()
    for name in ("IWAE", "Renyi", "CUBO", "TVO", "SelfNormalized"):
        with pytest.raises(GradientError, match="no pathwise derivative"):
            BOUNDS[name](bits.p, bits.q).eval({"x": bits.x[None]})
    assert InclusiveKL(bits.p, bits.q, k=2).eval({"x": bits.x[None]}).requires_grad
