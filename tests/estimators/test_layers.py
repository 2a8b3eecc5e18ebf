"""Local reparameterisation and flipout: one row's law as with drawn weights, rows uncorrelated."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import NetworkError, OptionError, ShapeError
from ancestral.distributions import MeanField, MultivariateNormal, Normal, weights
from ancestral.losses import KL, E, Flipout, Function, LocalReparameterisation, Pathwise, values
from ancestral.models import Model
from tests.contracts.linear_model import data, f64, linear

PLANS = [LocalReparameterisation(), Flipout()]


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_of_a_network_the_mean_is_that_of_drawn_weights(plan):
    """Two layers, 20,000 draws with each plan: within 5 standard errors, each below 0.1."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    w = weights(net, prior=Normal(loc=0.0, scale=1.0).double())
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.5, name="p").double()
    q = MeanField(w, init_scale=0.3)
    batch, found = data(3, 2, 1), {}
    for chosen in (Pathwise(), plan):
        rows = E(q, p.log_prob(), sample_shape=[1000]).estimate({q: chosen}).mean().function()
        each = []
        for _ in range(20):
            value = rows(batch)
            slopes = torch.autograd.grad(value, [q.net.loc, q.net.rho])
            each.append(torch.cat([value.detach()[None], *slopes]))
        found[chosen] = torch.stack(each)
    plain, other = found.values()
    error = ((plain.var(0) + other.var(0)) / 20).sqrt()
    assert ((plain.mean(0) - other.mean(0)).abs() < 5 * error).all()
    assert (error < 0.1).all()


def means(q, p, plan, x, noise):
    """What the network returns: of a density of scale 1/2 at y = 0 the slope in y is 4 times it."""
    y = torch.zeros(len(x), 2, dtype=f64, requires_grad=True)
    value = E(q, p.log_prob()).estimate({q: plan}).sum().eval({"x": x, "y": y}, noise=noise)
    return torch.autograd.grad(value, y)[0] / 4


def parts(w, q):
    params = q.get_params()
    return (w.unflatten(params[k].detach()) for k in ("loc", "scale"))


def test_local_reparameterisation_draws_the_pre_activations():
    """Equation 6, noise given: rows have noise of their own."""
    w, p, q = linear()
    x, eps = data()["x"], torch.randn(5, 2, dtype=f64)
    found = means(q, p, LocalReparameterisation(), x, {"w.p": eps})
    mean, scale = parts(w, q)
    var = F.linear(x**2, scale["weight"] ** 2, scale["bias"] ** 2)
    wanted = F.linear(x, mean["weight"], mean["bias"]) + var.sqrt() * eps
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)


def test_flipout_gives_each_row_weights_of_the_same_law():
    """Row n has the weights M + Delta * s_n r_n, whose signs are as likely as any: the law is that
    of drawn weights. Over all signs of one of two rows their deviations have the product 0.
    """
    w, p, q = linear()
    x = data()["x"]
    eps, signs = torch.randn(w.size, dtype=f64), torch.randn(5, 5, dtype=f64)
    found = means(q, p, Flipout(), x, {"w": eps, "w.p": signs})
    mean, scale = parts(w, q)
    added = {k: scale[k] * v for k, v in w.unflatten(eps).items()}
    r, s = signs.sign()[:, :3], signs.sign()[:, 3:]
    own = mean["weight"] + added["weight"] * s[:, :, None] * r[:, None, :]
    wanted = (own @ x[:, :, None])[..., 0] + mean["bias"] + added["bias"] * s
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
    every = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=f64)] * 5)
    row = x[:1].expand(len(every), -1)
    gap = means(q, p, Flipout(), row, {"w": eps, "w.p": every}) - F.linear(
        x[:1], mean["weight"], mean["bias"]
    )
    torch.testing.assert_close(gap.mean(0), torch.zeros(2, dtype=f64), rtol=0, atol=1e-13)


def test_the_variance_of_the_gradient_falls_with_the_batch():
    """Of 64 rows, where with drawn weights all rows err together."""
    _, p, q = linear()
    batch, spread = data(64), {}
    for plan in (Pathwise(), *PLANS):
        function = E(q, p.log_prob()).estimate({q: plan}).mean().function()
        each = [torch.autograd.grad(function(batch), q.net.loc)[0] for _ in range(300)]
        spread[type(plan).__name__] = torch.stack(each).var(0).sum().item()
    plain, local, flip = spread.values()
    assert local < 0.2 * plain  # 300 draws tell such a ratio to a tenth of itself
    assert flip < 0.3 * plain


def test_several_draws_are_rows_of_one_pass():
    w, p, q = linear()
    batch, calls = data(), []
    w.apply.net.register_forward_hook(lambda m, i, o: calls.append(o.shape))
    for plan in (LocalReparameterisation(draws=4), Flipout(draws=4)):
        loss = E(q, p.log_prob()).estimate({q: plan}).mean().function()
        for _ in range(2):
            loss(batch)
    assert calls == [(20, 2)] * 4


def test_weights_that_are_not_random_and_rows_without_variance():
    """A bias alone, and a weight alone on a row of zeros: no NaN, and the gradient 0."""
    torch.manual_seed(0)
    for names in ("bias", "weight"):
        net = nn.Linear(3, 2).double()
        w = weights(net, prior=Normal(loc=0.0, scale=1.0).double(), names=[names])
        p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.5, name="p").double()
        q = MeanField(w)
        batch = {"x": torch.zeros(4, 3, dtype=f64), "y": torch.zeros(4, 2, dtype=f64)}
        for plan in PLANS:
            value = E(q, p.log_prob()).estimate({q: plan}).mean().eval(batch)
            slope = torch.autograd.grad(value, q.net.loc)[0]
            assert torch.isfinite(slope).all()
            assert (slope == 0).all() == (names == "weight")


def test_a_network_trains():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    w = weights(net, prior=Normal(loc=0.0, scale=1.0))
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.1, name="p")
    q = MeanField(w, init_scale=0.02)
    elbo = (E(q, p.log_prob()) - KL(q, w.prior)).mean()
    x = torch.linspace(-2, 2, 64)[:, None]
    for plan in PLANS:
        model = Model(
            loss=-elbo.estimate({q: plan}),
            distributions=[p, q],
            optimizer=torch.optim.Adam,
            optimizer_params={"lr": 0.01},
            data_size=64,
        )
        losses = [model.train({"x": x, "y": x.sin()}).item() for _ in range(150)]
        assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


# -- what is refused -----------------------------------------------------------------------------
def bayesian(net, **options):
    w = weights(net, prior=Normal(loc=0.0, scale=1.0), **options)
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.5, name="p")
    return w, p, MeanField(w)


class Read(nn.Module):
    """A network whose layer is read by something else, or runs twice."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = nn.Linear(2, 2), how

    def forward(self, x):
        if self.how == "twice":
            return self.layer(self.layer(x))
        return x @ self.layer.weight.T + self.layer.bias


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_networks_with_other_layers_are_refused(plan):
    x = torch.zeros(3, 2)
    shared = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    shared[1].weight = shared[0].weight
    for net, told in (
        (nn.Conv1d(2, 2, 1), "weight belongs to a Conv1d.*names="),
        (shared, "0.weight is shared by 0 and 1"),
        (Read("twice"), "the layer layer runs twice"),
        (Read("transposed"), "reads layer.weight, which has no one value"),
    ):
        _, p, q = bayesian(net)
        batch = {"x": x, "y": x}
        with pytest.raises((NetworkError, ShapeError), match=f"(?s){told}.*Pathwise"):
            E(q, p.log_prob()).estimate({q: plan}).eval(batch)
    _, p, q = bayesian(nn.Conv1d(2, 2, 1), names=["bias"])
    with pytest.raises(NetworkError, match="belongs to a Conv1d"):
        E(q, p.log_prob()).estimate({q: plan}).program()


def test_positions_of_a_row_share_weights():
    _, p, q = bayesian(nn.Linear(2, 2))
    batch = {"x": torch.zeros(3, 4, 2), "y": torch.zeros(3, 4, 2)}
    with pytest.raises(ShapeError, match=r"several vectors for each row.*Flipout"):
        E(q, p.log_prob()).estimate({q: LocalReparameterisation()}).eval(batch)
    assert E(q, p.log_prob()).estimate({q: Flipout()}).eval(batch).shape == (3,)


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_laws_and_integrands_are_refused(plan):
    w, p, q = bayesian(nn.Linear(2, 2))
    full = MultivariateNormal(
        loc=torch.zeros(w.size), scale_tril=torch.eye(w.size), var=["w"], name="f", plate=None
    )
    with pytest.raises(OptionError, match=r"independent normal weights.*Use Pathwise"):
        E(full, p.log_prob()).estimate({full: plan}).program()
    with pytest.raises(OptionError, match=r"reads the weights themselves.*KL\(q, w.prior\)"):
        E(q, p.log_prob() - q.log_prob()).estimate({q: plan}).program()
    with pytest.raises(OptionError, match=r"reads several rows.*Reduce rows outside"):
        E(q, p.log_prob().sum()).estimate({q: plan}).program()
    other = Normal(var=["v"], cond_var=["x", "w"], net=w.apply, scale=0.5, name="r")
    with pytest.raises(OptionError, match="2 laws of one expectation"):
        E(q, p.log_prob() + other.log_prob()).estimate({q: plan}).program()
    both = E(q, p.log_prob()) + E(q, other.log_prob())
    assert len([n for n in both.estimate({q: plan}).program().draws if n != "w"]) == 2
    z = Normal(loc=0.0, scale=1.0, var=["z"], name="z")
    with pytest.raises(OptionError, match="independent normal weights"):
        E(z, Function(lambda z: z, name="f")(values("z"))).estimate({z: plan}).program()
