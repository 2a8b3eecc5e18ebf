"""Every objective of ``ancestral.objectives``: its golden formula, its value and gradient by hand.

Objectives are found by walking the modules: the capitalised functions of one in a new file need a
case in ``CASES`` here. The interpreter and the generated step have one value, to the bit; it and
its gradient are those of PyTorch written by hand, on the same noise.
"""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

import ancestral.objectives as package
from ancestral.distributions import EmpiricalDistribution, Normal
from ancestral.losses import Function, sqnorm, values
from tests.sentences.counting import agrees

f64 = torch.float64
B, K = 5, 3


def members() -> dict[str, Callable[..., Any]]:
    """The public objectives of the package's modules."""
    found = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for name, thing in vars(importlib.import_module(info.name)).items():
            own = inspect.isfunction(thing) and thing.__module__ == info.name
            if own and name[0].isupper():
                found[name] = thing
    return found


def log_normal(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-0.5 * ((x - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


class World:
    """A VAE of three pixels and two latents, a generator, a critic; data and noise in float64."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(3, 4).double(), nn.Linear(2, 6).double()
        self.critic = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.mean = nn.ParameterList([nn.Parameter(torch.tensor([0.3, -0.5], dtype=f64))])
        zero, one = torch.zeros(2, dtype=f64), torch.ones(2, dtype=f64)
        prior = Normal(var=["z"], loc=zero, scale=one, name="p")
        self.p = Normal(var=["x"], cond_var=["z"], net=self.decoder, name="p") * prior
        self.q = Normal(var=["z"], cond_var=["x"], net=self.encoder, name="q")
        self.data = EmpiricalDistribution(["y"])
        self.g = Normal(var=["y"], loc=self.mean[0], scale=one, name="g")
        self.d = Function(self.critic, name="d")
        self.target = Normal(var=["y"], loc=0.5 * one, scale=2.0 * one, name="p")
        self.batch = {"x": torch.randn(B, 3, dtype=f64), "y": torch.randn(B, 2, dtype=f64)}
        self.eps, self.e = torch.randn(K, B, 2, dtype=f64), torch.randn(B, 2, dtype=f64)
        self.theta, self.u = torch.randn(4, 2, dtype=f64), torch.rand(B, dtype=f64)

    # -- by hand ----------------------------------------------------------------------------------
    def latents(self, *, cut: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """z, log p(x, z) and log q(z|x) of every copy, shapes ``(K, B, 2)`` and ``(K, B)``."""
        x = self.batch["x"]
        loc, raw = self.encoder(x).chunk(2, -1)
        scale = F.softplus(raw)
        z = loc + scale * self.eps
        z = z.detach() if cut else z
        mean, spread = self.decoder(z).chunk(2, -1)
        log_p = log_normal(x, mean, F.softplus(spread))
        log_p = log_p + log_normal(z, torch.zeros_like(z), torch.ones_like(z))
        return z, log_p, log_normal(z, loc, scale)

    def log_w(self, *, cut: bool = False) -> Tensor:
        _, log_p, log_q = self.latents(cut=cut)
        return log_p - log_q

    def fake(self) -> Tensor:
        """The draws of the generator."""
        return self.mean[0] + self.e

    def scores(self) -> tuple[Tensor, Tensor]:
        """The outputs of the critic at data and at draws."""
        return self.critic(self.batch["y"])[:, 0], self.critic(self.fake())[:, 0]


@dataclass
class Case:
    """A loss that is one number, its formula, and the same by hand.

    Args:
        make: The objective, of a world.
        formula: How it prints.
        hand: Its value by hand.
        noise: The names of the draws that have noise, and which.
        part: What is evaluated of it; by default its mean over rows.
    """

    make: Callable[[World], Any]
    formula: str
    hand: Callable[[World], Tensor]
    noise: Callable[[World], Mapping[str, Tensor]] = field(default=lambda w: {"z": w.eps})
    part: Callable[[Any], Any] = field(default=lambda loss: loss.mean())


def o(name: str) -> Callable[..., Any]:
    return members()[name]


def given(**names: str) -> Callable[[World], Mapping[str, Tensor]]:
    """The noise of draws, by the attribute of the world that has it."""
    return lambda w: {name: getattr(w, attribute) for name, attribute in names.items()}


def inclusive(w: World) -> Tensor:
    """KL = sum_k sg[share] (log p - log q) - log mean w, the draws and p without gradient."""
    _, log_p, log_q = w.latents(cut=True)
    log_w = (log_p - log_q).detach()
    mean = (log_w.softmax(0) * (log_p.detach() - log_q)).sum(0)
    return (mean - log_w.logsumexp(0) + math.log(K)).mean()


def wake_theta(w: World) -> Tensor:
    _, log_p, log_q = w.latents(cut=True)
    return -((log_p - log_q.detach()).logsumexp(0) - math.log(K)).mean()


def tvo(w: World) -> Tensor:
    log_w = w.log_w()
    return (0.3 * log_w.mean(0) + 0.7 * ((0.3 * log_w).softmax(0) * log_w).sum(0)).mean()


def pairs(k: Callable[[Tensor], Tensor]) -> Callable[[World], Tensor]:
    """The U-statistics of a kernel of squared distances."""

    def run(w: World) -> Tensor:
        def table(a: Tensor, b: Tensor) -> Tensor:
            return k((a[:, None] - b[None]).square().sum(-1))

        off = ~torch.eye(B, dtype=torch.bool)
        x, y = w.batch["y"], w.fake()
        return table(x, x)[off].mean() - 2 * table(x, y).mean() + table(y, y)[off].mean()

    return run


def slope_at(w: World, points: Tensor) -> Tensor:
    points = points if points.requires_grad else points.requires_grad_()
    out = w.critic(points).sum()
    (slope,) = torch.autograd.grad(out, points, create_graph=True)
    return slope


def sliced(w: World) -> Tensor:
    way = w.theta / w.theta.norm(dim=1, keepdim=True)
    a, b = ((v @ way.T).sort(0).values for v in (w.batch["y"], w.fake()))
    return (a - b).square().mean()


def transport(w: World) -> Tensor:
    cost = torch.cdist(w.batch["y"], w.fake()).square()

    rows, columns = linear_sum_assignment(cost.detach().numpy())
    return cost[rows, columns].mean()


def sinkhorn(w: World) -> Tensor:
    """By plans found by scaling, whose gradient is that of the cost at the plan."""

    def transported(a: Tensor, b: Tensor) -> Tensor:
        cost, epsilon = (a[:, None] - b[None]).square().sum(-1), 2.0
        kernel, u = (-cost.detach() / epsilon).exp(), torch.ones(B, dtype=f64)
        for _ in range(2000):
            v = 1 / (B * (kernel.T @ u))
            u = 1 / (B * (kernel @ v))
        plan = u[:, None] * kernel * v
        return (plan * cost).sum() + epsilon * (plan * (plan * B * B).log()).sum()

    x, y = w.batch["y"], w.fake()
    return transported(x, y) - 0.5 * (transported(x, x) + transported(y, y))


def stein(w: World) -> Tensor:
    """The kernel (1 + r^2)^(-1/2) and the score of N(1/2, 4)."""
    y = w.fake()
    s = (0.5 - y) / 4
    gap = y[:, None] - y[None]
    r = gap.square().sum(-1)
    k, slope, bend = (1 + r) ** -0.5, -0.5 * (1 + r) ** -1.5, 0.75 * (1 + r) ** -2.5
    u = k * (s @ s.T) - 2 * slope * ((s[:, None] - s[None]) * gap).sum(-1) - 4 * slope
    return (u - 4 * r * bend)[~torch.eye(B, dtype=torch.bool)].mean()


LOG_W = "log p(x,z_k) - log q(z_k|x)"
ZS = "z_1..z_3 ~ q(z|x)"
SG = "log sg[p](x,z_k) - log sg[q](z_k|x)"
KERNEL = "E_{p_{data}(y)p_{data}(y'')}[#1] - 2 E_{p_{data}(y)g(y')}[#2] + E_{g(y')g(y''')}[#3]"
D_PAIR = {"noise": given(y="e"), "part": lambda loss: loss.dual()}


def of_pairs(kernel: str) -> str:
    out = KERNEL
    for i, (a, b) in enumerate((("y", "y''"), ("y", "y'"), ("y'", "y'''")), 1):
        out = out.replace(f"#{i}", kernel.replace("A", a).replace("B", b))
    return out


def critic_of(
    name: str, hand: Callable[[Tensor, Tensor], Tensor], symbol: str, **options: Any
) -> Case:
    """The dual form of an adversarial objective of data and the generator."""
    return Case(
        lambda w: o(name)(w.data, w.g, w.d, **options),
        f"{symbol}_d[p_{{data}}(y) || g(y)]",
        lambda w: hand(*w.scores()),
        **D_PAIR,
    )


CASES: dict[str, Case] = {
    "ELBO": Case(
        lambda w: o("ELBO")(w.p, w.q),
        "E_{q(z|x)}[log p(x,z) - log q(z|x)]",
        lambda w: w.log_w()[0].mean(),
        lambda w: {"z": w.eps[0]},
    ),
    "IWAE": Case(
        lambda w: o("IWAE")(w.p, w.q, k=K),
        f"E_{{{ZS}}}[log((1/3) Σ_k exp({LOG_W}))]",
        lambda w: (w.log_w().logsumexp(0) - math.log(K)).mean(),
    ),
    "Renyi": Case(
        lambda w: o("Renyi")(w.p, w.q, alpha=0.5, k=K),
        f"E_{{{ZS}}}[2 log((1/3) Σ_k exp(0.5 ({LOG_W})))]",
        lambda w: 2 * ((0.5 * w.log_w()).logsumexp(0) - math.log(K)).mean(),
    ),
    "CUBO": Case(
        lambda w: o("CUBO")(w.p, w.q, n=2, k=K),
        f"E_{{{ZS}}}[0.5 log((1/3) Σ_k exp(2 ({LOG_W})))]",
        lambda w: 0.5 * ((2 * w.log_w()).logsumexp(0) - math.log(K)).mean(),
    ),
    "TVO": Case(
        lambda w: o("TVO")(w.p, w.q, k=K, betas=(0.0, 0.3, 1.0)),
        f"E_{{{ZS}}}[0.3 ((1/3) Σ_k ({LOG_W})) + 0.7 ((Σ_k (exp(0.3 ({LOG_W})) ({LOG_W}))) / "
        f"(Σ_k exp(0.3 ({LOG_W}))))]",
        tvo,
    ),
    "SelfNormalized": Case(
        lambda w: o("SelfNormalized")(sqnorm(values("z")), w.p, w.q, k=K),
        f"E_{{{ZS}}}[(Σ_k (exp({LOG_W}) ||z_k||^2)) / (Σ_k exp({LOG_W}))]",
        lambda w: (w.log_w().softmax(0) * w.latents()[0].square().sum(-1)).sum(0).mean(),
    ),
    "InclusiveKL": Case(
        lambda w: o("InclusiveKL")(w.p, w.q, k=K),
        f"E_{{z_1..z_3 ~ sg[q](z|x)}}[(Σ_k (exp({SG}) (log sg[p](x,z_k) - log q(z_k|x)))) / "
        f"(Σ_k exp({SG})) - log((1/3) Σ_k exp({SG}))]",
        inclusive,
    ),
    "ReweightedWakeSleep": Case(
        lambda w: o("ReweightedWakeSleep")(w.p, w.q, k=K).wake_theta,
        "-E_{z_1..z_3 ~ sg[q](z|x)}[log((1/3) Σ_k exp(log p(x,z_k) - log sg[q](z_k|x)))]",
        wake_theta,
    ),
    "LogJoint": Case(
        lambda w: o("LogJoint")(lambda d: -w.encoder(d["x"]).square().sum(-1), ["x"]),
        "log_p(x)",
        lambda w: -w.encoder(w.batch["x"]).square().sum(-1).mean(),
        lambda w: {},
    ),
    "MMD": Case(
        lambda w: o("MMD")(w.data, w.g, bandwidth=2.0),
        of_pairs("exp(-0.125 ||A - B||^2)"),
        pairs(lambda r: (-0.125 * r).exp()),
        given(**{"y'": "e"}),
    ),
    "EnergyDistance": Case(
        lambda w: o("EnergyDistance")(w.data, w.g),
        of_pairs("-||A - B||"),
        pairs(lambda r: -r.clamp(min=1e-300).sqrt()),
        given(**{"y'": "e"}),
    ),
    "Wasserstein": Case(
        lambda w: o("Wasserstein")(w.data, w.g),
        "E_{π(y,y')}[||y - y'||^2]",
        transport,
        given(**{"y'": "e"}),
    ),
    "SlicedWasserstein": Case(
        lambda w: o("SlicedWasserstein")(w.data, w.g, projections=4, features_shape=[2]),
        "E_{p_{data}(y)g(y')p_θ(θ)}[SW(y, y', θ)]",
        sliced,
        given(**{"y'": "e", "theta": "theta"}),
    ),
    "Sinkhorn": Case(
        lambda w: o("Sinkhorn")(w.data, w.g, epsilon=2.0, iterations=400),
        "E_{p_{data}(y)g(y')}[S_ε(y, y')]",
        sinkhorn,
        given(**{"y'": "e"}),
    ),
    "KernelStein": Case(
        lambda w: o("KernelStein")(w.g, w.target),
        "E_{g(y)g(y')}[u(y, y', ∇log_p(y), ∇log_p(y'))]",
        stein,
        given(y="e"),
    ),
    "AdversarialJensenShannon": critic_of(
        "AdversarialJensenShannon",
        lambda r, f: F.logsigmoid(r).mean() + F.logsigmoid(-f).mean(),
        "JS",
    ),
    "AdversarialKullbackLeibler": critic_of(
        "AdversarialKullbackLeibler",
        lambda r, f: F.logsigmoid(r).mean() + F.logsigmoid(-f).mean(),
        "KL",
    ),
    "AdversarialWassersteinDistance": critic_of(
        "AdversarialWassersteinDistance", lambda r, f: r.mean() - f.mean(), "W"
    ),
    "AdversarialHinge": critic_of(
        "AdversarialHinge",
        lambda r, f: -(1 - r).clamp(min=0).mean() - (1 + f).clamp(min=0).mean(),
        "hinge",
    ),
    "AdversarialLeastSquares": critic_of(
        "AdversarialLeastSquares",
        lambda r, f: -0.5 * ((r - 1) ** 2).mean() - 0.5 * (f**2).mean(),
        "LS",
    ),
    "AdversarialFDivergence": critic_of(
        "AdversarialFDivergence",
        lambda r, f: r.mean() - (0.25 * f**2 + f).mean(),
        "χ2",
        divergence="pearson",
    ),
    "R1": Case(
        lambda w: o("R1")(w.data, w.d),
        "0.5 E_{p_{data}(y)}[||∇d(y)||^2]",
        lambda w: 0.5 * slope_at(w, w.batch["y"].clone()).square().sum(-1).mean(),
        lambda w: {},
    ),
    "GradientPenalty": Case(
        lambda w: o("GradientPenalty")(w.data, w.g, w.d),
        "E_{p_{data}(y)g(y')p(u_y)}[(||∇d(u_y y + (1 - u_y) y')|| - 1)^2]",
        lambda w: (
            (
                slope_at(w, w.u[:, None] * w.batch["y"] + (1 - w.u[:, None]) * w.fake()).norm(
                    dim=-1
                )
                - 1
            )
            .square()
            .mean()
        ),
        given(**{"y'": "e", "u_y": "u"}),
    ),
}


def test_every_objective_has_a_case() -> None:
    assert set(members()) == set(CASES)
    assert set(members()) <= set(package.__all__)


@pytest.mark.parametrize("name", CASES)
def test_its_formula_its_value_and_its_gradient(name: str) -> None:
    world, case = World(), CASES[name]
    loss = case.make(world)
    assert str(loss) == case.formula
    for written in (loss.latex(), loss.mathml(), str(case.part(loss).program())):
        assert written
    batch = {k: world.batch[k] for k in case.part(loss).input_var}
    options: dict[str, Any] = {} if batch else {"batch_n": B}
    known = case.part(loss).program().draws
    noise = {k: v for k, v in case.noise(world).items() if k in known}
    assert set(noise) == set(known)
    modules = [world.encoder, world.decoder, world.critic, world.mean]
    options |= {"noise": noise, "tolerance": 1e-8 if name == "Sinkhorn" else 1e-12}
    agrees(case.part(loss), batch, lambda: case.hand(world), modules, **options)
