"""Every objective whose optimum is the posterior finds that of conjugate models, within 0.05.

Of numbers their value, of positive ones their logarithm. The batch repeats one observation, so that
a step averages over many draws; the step size falls to nothing.
"""

import pytest
import torch
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Beta, Exponential, Gamma, Normal, Poisson
from ancestral.losses import (
    CUBO,
    ELBO,
    IWAE,
    TVO,
    DReG,
    InclusiveKL,
    LeaveOneOut,
    Pathwise,
    Renyi,
    ReweightedWakeSleep,
    Score,
    StickingTheLanding,
)
from ancestral.models import Model

f64 = torch.float64


class Free(nn.Module):
    """Parameters of a law of z, the same in every row; those in ``log`` by their logarithm."""

    def __init__(self, log: tuple[str, ...], **start: list[float]) -> None:
        super().__init__()
        self.log = log
        self.free = nn.ParameterDict(
            {k: nn.Parameter(torch.tensor(v, dtype=f64)) for k, v in start.items()}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        made = {k: v.exp() if k in self.log else v for k, v in self.free.items()}
        return {k: v.expand(len(x), *v.shape) for k, v in made.items()}


class Each(nn.Module):
    """z as a parameter of each of several observations, and a constant one."""

    def __init__(self, key: str, count: int, **constant: float) -> None:
        super().__init__()
        self.key, self.count, self.constant = key, count, constant

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        each = z.expand(len(z), self.count, *z.shape[2:])
        return {self.key: each, **{k: torch.full_like(each, v) for k, v in self.constant.items()}}


class Conjugate:
    """A joint law, its data, and an approximate posterior with what its parameters should be."""

    def __init__(self, p, x: list, q, exact: dict[str, list[float]], log_p: float) -> None:
        self.p, self.q, self.exact, self.log_p = p, q, exact, log_p
        self.x = torch.tensor(x, dtype=f64)

    def error(self) -> float:
        """The largest distance of a parameter from that of the posterior."""
        free = self.q.net.free
        wanted = {k: torch.tensor(v, dtype=f64) for k, v in self.exact.items()}
        wanted = {k: v.log() if k in self.q.net.log else v for k, v in wanted.items()}
        return max(float((free[k].detach() - v).abs().max()) for k, v in wanted.items())


def normal_normal() -> Conjugate:
    """z ~ N(0, I) in two dimensions, three observations of x ~ N(z, 1/2)."""
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[1, 2], name="p").double()
    p = Normal(var=["x"], cond_var=["z"], net=Each("loc", 3, scale=0.5**0.5), name="p") * prior
    x = torch.tensor([[0.9, -0.4], [0.3, -1.1], [1.2, 0.1]], dtype=f64)
    q = Normal(
        var=["z"],
        cond_var=["x"],
        net=Free(("scale",), loc=[[0.0, 0.0]], scale=[[0.0, -0.4]]),
        name="q",
    )
    mean, variance = 2 * x.sum(0) / 7, 1 / 7
    covariance = 0.5 * torch.eye(3, dtype=f64) + torch.ones(3, 3, dtype=f64)
    marginal = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=f64), covariance)
    exact = {"loc": [mean.tolist()], "scale": [[variance**0.5] * 2]}
    return Conjugate(p, x.tolist(), q, exact, float(marginal.log_prob(x.T).sum()))


def of_counts(prior, likelihood, x: list[float], q, exact: dict[str, list[float]]) -> Conjugate:
    """With log p(x) = log p(x, z) - log p(z|x) at one z."""
    p = likelihood * prior
    at = {"x": torch.tensor([x], dtype=f64), "z": torch.full((1, 1), 0.6, dtype=f64)}
    own = {k: torch.tensor(v, dtype=f64) for k, v in exact.items()}
    posterior = type(q)(var=["z"], name="q", **own)
    log_p = p.get_log_prob(at) - posterior.get_log_prob({"z": at["z"]})
    return Conjugate(p, x, q, exact, float(log_p))


def gamma_q() -> Gamma:
    net = Free(("concentration", "rate"), concentration=[1.0], rate=[0.6])
    return Gamma(var=["z"], cond_var=["x"], net=net, name="q")


def gamma_poisson() -> Conjugate:
    prior = Gamma(var=["z"], concentration=2.0, rate=1.0, features_shape=[1], name="p").double()
    p = Poisson(var=["x"], cond_var=["z"], net=Each("rate", 4), name="p")
    x = [1.0, 3.0, 0.0, 2.0]
    return of_counts(prior, p, x, gamma_q(), {"concentration": [8.0], "rate": [5.0]})


def gamma_exponential() -> Conjugate:
    prior = Gamma(var=["z"], concentration=2.0, rate=1.0, features_shape=[1], name="p").double()
    p = Exponential(var=["x"], cond_var=["z"], net=Each("rate", 5), name="p")
    x = [0.4, 1.3, 0.8, 0.2, 0.9]
    return of_counts(prior, p, x, gamma_q(), {"concentration": [7.0], "rate": [4.6]})


def beta_bernoulli() -> Conjugate:
    prior = Beta(
        var=["z"], concentration1=1.5, concentration0=2.0, features_shape=[1], name="p"
    ).double()
    p = Bernoulli(var=["x"], cond_var=["z"], net=Each("probs", 5), name="p")
    net = Free(("concentration1", "concentration0"), concentration1=[0.5], concentration0=[0.3])
    q = Beta(var=["z"], cond_var=["x"], net=net, name="q")
    exact = {"concentration1": [4.5], "concentration0": [4.0]}
    return of_counts(prior, p, [1.0, 0.0, 1.0, 1.0, 0.0], q, exact)


MODELS = {f.__name__: f for f in (normal_normal, gamma_poisson, gamma_exponential, beta_bernoulli)}


def chi(m: Conjugate):
    """E_q[w^2] relative to p(x), for which a step would take the largest weight so far."""
    return CUBO(m.p.log_prob() - m.log_p, m.q, exponentiated=True).estimate(
        {m.q: Pathwise(draws=4)}
    )


OBJECTIVES = {  # what is minimised
    "ELBO": lambda m: -ELBO(m.p, m.q).estimate({m.q: StickingTheLanding(draws=4)}),
    "ELBO by the score": lambda m: -ELBO(m.p, m.q).estimate({m.q: Score(LeaveOneOut(), draws=8)}),
    "IWAE": lambda m: -IWAE(m.p, m.q, k=4).estimate({m.q: DReG()}),
    "Renyi": lambda m: -Renyi(m.p, m.q, alpha=0.5, k=4),
    "CUBO": chi,
    "TVO": lambda m: -TVO(m.p, m.q, k=4, betas=(0.0, 0.3, 1.0)),
    "InclusiveKL": lambda m: InclusiveKL(m.p, m.q, k=8),
    "ReweightedWakeSleep": lambda m: ReweightedWakeSleep(m.p, m.q, k=8).wake_phi,
}


SLOW = [  # every pair is a run of a second or two; one of each kind runs always
    pytest.param(o, m, marks=() if fast else pytest.mark.slow)
    for o in OBJECTIVES
    for m in MODELS
    for fast in [m == "normal_normal" or (o, m) in (("IWAE", "gamma_exponential"),)]
]


@pytest.mark.parametrize(("objective", "name"), SLOW)
def test_the_posterior_is_found(objective: str, name: str) -> None:
    torch.manual_seed(0)
    m = MODELS[name]()
    model = Model(
        loss=OBJECTIVES[objective](m).mean(),
        distributions=[m.q],
        optimizer_params={"lr": 0.1},
    )
    batch = {"x": m.x.expand(48, *m.x.shape)}
    assert m.error() > 0.3
    steps = 160
    for i in range(steps):
        for group in model.optimizer.param_groups:
            group["lr"] = 0.12 * (1 - i / steps) ** 2 + 1e-5
        model.train(batch)
    assert m.error() < 0.05


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_frozen_stays_to_the_bit(objective: str) -> None:
    torch.manual_seed(0)
    m = normal_normal()
    model, guide = nn.Linear(2, 2).double(), m.q.net
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[1, 2], name="p").double()
    likelihood = Normal(var=["x"], cond_var=["z"], net=Decoder(model), name="p")
    m.p = likelihood * prior
    batch = {"x": m.x.expand(4, *m.x.shape)}
    reaches_p = objective not in ("InclusiveKL", "ReweightedWakeSleep")
    for trained, frozen in ((guide, model), (model, guide))[: 2 if reaches_p else 1]:
        frozen.requires_grad_(False)
        trained.requires_grad_(True)
        before = [[t.clone() for t in part.parameters()] for part in (trained, frozen)]
        laws = [m.q] if trained is guide else [likelihood]
        Model(loss=OBJECTIVES[objective](m).mean(), distributions=laws).train(batch)
        after = [list(part.parameters()) for part in (trained, frozen)]
        assert all(map(torch.equal, before[1], after[1]))
        assert not any(map(torch.equal, before[0], after[0]))


class Decoder(nn.Module):
    """Three observations with a trained mean."""

    def __init__(self, net: nn.Linear) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        loc = self.net(z).expand(len(z), 3, 2)
        return {"loc": loc, "scale": torch.ones_like(loc)}
