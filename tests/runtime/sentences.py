"""Small losses that between them use every step of a program, with data for each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    EmpiricalDistribution,
    Laplace,
    MeanField,
    Normal,
    weights,
)
from ancestral.losses import (
    KL,
    REBAR,
    RELAX,
    E,
    Enumerate,
    Flipout,
    Function,
    GumbelSoftmax,
    H,
    LeaveOneOut,
    LocalReparameterisation,
    MeasureValued,
    Parameter,
    Score,
    norm,
    sqnorm,
    values,
)

Case = tuple[Any, dict[str, Any], dict[str, Any]]  # loss, data, options


class OneScale(Normal):
    """A network that returns its scale in several ways, the mean from a layer."""

    def __init__(self, scale: Callable[[nn.Parameter], Any], name: str) -> None:
        super().__init__(var=["z"], cond_var=["x"], name=name)
        self.layer = nn.Linear(5, 3)
        self.log_scale = nn.Parameter(torch.zeros(3))
        self.make = scale

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"loc": self.layer(x), "scale": self.make(self.log_scale)}


def sentences() -> dict[str, Case]:
    """The losses by name, float64, weights by the current seed."""
    torch.manual_seed(0)
    x = (torch.rand(6, 5) > 0.5).double()
    data = {"x": x}
    u = torch.rand(6).double()
    net = lambda a, b: nn.Linear(a, b).double()  # noqa: E731
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[3], name="p_0").double()
    shifted = Normal(loc=1.0, scale=2.0, var=["z"], features_shape=[3], name="p_1").double()
    p = Bernoulli(var=["x"], cond_var=["z"], net=net(3, 5), name="p")
    q = Normal(var=["z"], cond_var=["x"], net=net(5, 6), name="q")
    laplace = Laplace(var=["z"], cond_var=["x"], net=net(5, 6), name="l")
    laplace_prior = Laplace(loc=0.0, scale=1.0, var=["z"], features_shape=[3], name="l_0").double()
    c = Categorical(var=["y"], cond_var=["x"], net=net(5, 4), name="c")
    index = Categorical(var=["y"], cond_var=["x"], net=net(5, 4), name="ci", onehot=False)
    q_y = Normal(var=["z"], cond_var=["y"], net=net(4, 6), name="qy")
    q_i = Normal(var=["z"], cond_var=["y"], net=nn.Embedding(4, 6).double(), name="qi")
    b = Bernoulli(var=["h"], cond_var=["x"], net=net(5, 3), name="b")
    b_0 = Bernoulli(var=["h"], probs=torch.tensor([0.2, 0.5, 0.7]).double(), name="b_0")
    p_h = Bernoulli(var=["x"], cond_var=["h"], net=net(3, 5), name="ph")
    trained = Normal(var=["z"], loc=nn.Parameter(torch.zeros(3).double()), scale=1.0, name="t")
    bound = Normal(var=["x"], cond_var=["y"], loc="y", scale=1.0, name="bound")
    generator = Deterministic(var=["x"], cond_var=["z"], net=net(3, 5), name="g")
    p_data = EmpiricalDistribution(["x"])
    f = Function(nn.Sequential(net(5, 8), nn.Tanh(), net(8, 1)), name="f")
    wave = Function(lambda x, t: torch.sin(x) * t[:, None], name="wave")
    X, U = values("x u")
    fixed = OneScale(torch.exp, "fixed").double()
    number = OneScale(lambda s: 1.5, "number").double()
    row = OneScale(lambda s: s.exp()[None], "row").double()
    elbo = E(q, p.log_prob()) - KL(q, prior)
    w = (p * prior).log_prob() - q.log_prob()
    kl = KL(q, prior)
    losses: dict[str, Any] = {
        "elbo": elbo.mean(),
        "rows": elbo,
        "sum": elbo.sum(),
        "draws": E(q, p.log_prob(), sample_shape=[4]),
        "iwae": E(q.iid(k=5), w.exp().mean("k").log()).mean(),
        "iwae in draws": E(q.iid(k=5), w.exp().mean("k").log(), sample_shape=[2]).mean(),
        "sum of copies": E(q.iid(k=3), w.sum("k")).mean(),
        "prior": E(prior, p.log_prob()).mean(),
        "product": (E(q, p.log_prob()) * E(q, p.log_prob())).mean(),
        "enumerate": E(c, E(q_y, p.log_prob())).estimate({c: Enumerate()}).mean(),
        "score": E(c, E(q_y, p.log_prob())).estimate({c: Score()}).mean(),
        "versions": E(c, E(q_y, p.log_prob()) - c.log_prob()).estimate({c: REBAR(0.5)}).mean(),
        "trained versions": E(b, p_h.log_prob())
        .estimate({b: REBAR(0.5, nn.Parameter(torch.tensor(0.8).double()))})
        .mean(),
        "versions and a network": E(b, p_h.log_prob())
        .estimate({b: RELAX(nn.Sequential(net(3, 4), nn.Tanh(), net(4, 1)), 0.5)})
        .mean(),
        "versions beside a network": E(b, p_h.log_prob())
        .estimate({b: RELAX(nn.Sequential(net(3, 4), nn.Tanh(), net(4, 1)), relaxed=True)})
        .mean(),
        "measure valued": E(q, p.log_prob()).estimate({q: MeasureValued(draws=2)}).mean(),
        "relaxed": E(b, p_h.log_prob() - KL(b, b_0)).estimate({b: GumbelSoftmax(0.5)}).mean(),
        "leave one out": E(c * q_y, p.log_prob())
        .estimate({c: Score(LeaveOneOut(), draws=4)})
        .mean(),
        "enumerate an index": (E(index, E(q_i, p.log_prob()) - index.log_prob()))
        .estimate({index: Enumerate()})
        .mean(),
        "score of an index": E(index, E(q_i, p.log_prob())).estimate({index: Score()}).mean(),
        "entropies": (H(c) + H(q) + H(prior) + H(b)).mean(),
        "enumerate bits": (E(b, p_h.log_prob()) - KL(b, b_0)).estimate({b: Enumerate()}).mean(),
        "score of bits": E(b, p_h.log_prob() - b.log_prob() + b_0.log_prob())
        .estimate({b: Score(LeaveOneOut(), draws=3)})
        .mean(),
        "laplace": (E(laplace, p.log_prob()) - KL(laplace, laplace_prior)).mean(),
        "no closed form": KL(laplace, prior).mean(),
        "shifted": KL(q, shifted).mean(),
        "trained constant": (KL(q, trained) + E(trained, p.log_prob())).mean(),
        "function": (f(X) - f(X * 0.5)).mean(),
        "gradient penalty": ((norm(f.grad(X)) - 1) ** 2).mean(),
        "norms of events": (kl.max(0.5) + kl.log().abs() + kl**2.5 / (kl + 1)).mean(),
        "clamp": (kl.clamp(0.1, 2.0) + kl.min(1.5) - (-kl).exp()).mean(),
        "detach": (
            E(q, p.log_prob()) + E(q.detach(), q.log_prob()) + E(q, q.detach().log_prob())
        ).mean(),
        "data": E(p_data * q, p.log_prob()),
        "fixed scale": (E(fixed, p.log_prob()) - KL(fixed, prior)).mean(),
        "number scale": E(number.iid(k=2), p.log_prob().mean("k")).mean()
        - KL(number, prior).sum(),
        "row scale": E(row.iid(k=2), p.log_prob().sum("k")).mean() - KL(row, prior).sum(),
    }
    cases: dict[str, Case] = {name: (loss, data, {}) for name, loss in losses.items()}
    cases["beta"] = ((Parameter("beta") * elbo).mean(), data, {"beta": 0.5})
    cases["bound"] = (bound.log_prob() + H(bound), {"x": x, "y": x * 0.5}, {})
    layer = weights(net(5, 2), prior=Normal(loc=0.0, scale=1.0).double())
    q_w = MeanField(layer, init_scale=0.3).double()
    linear = Normal(var=["y"], cond_var=["x", "w"], net=layer.apply, scale=0.5, name="pw").double()
    for told, plan in (("layers", LocalReparameterisation()), ("flipout", Flipout())):
        loss = E(q_w, linear.log_prob()).estimate({q_w: plan}).sum()
        cases[told] = (loss, {"x": x, "y": x[:, :2] * 0.5}, {})
    cases["vectors"] = (sqnorm(U * X + (1 - U) * X * 2).mean(), {"x": x, "u": u}, {})
    cases["jvp"] = (sqnorm(wave.jvp((X, U), along=(X, 1))), {"x": x, "u": u}, {})
    cases["two plates"] = (
        elbo.replace_var(x="u").mean() + elbo.mean(),
        {"x": x, "u": x[:4]},
        {},
    )
    cases["implicit"] = (E(generator * prior, f(X)).mean(), {}, {"batch_n": 7})
    cases["no data"] = (E(prior, prior.log_prob()), {}, {"batch_n": 3})
    cases["constants"] = (KL(prior, shifted), {}, {})
    return cases
