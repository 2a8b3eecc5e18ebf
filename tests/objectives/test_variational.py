"""ZhuSuan's words: they are our losses, and estimates of them where all is tensors.

What is claimed of means is exact: sums over all draws, or quadrature that is exact for polynomials
of the degree that stands there.
"""

import itertools
import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import DataError, GradientError, OptionError, ShapeError, VariableError
from ancestral.distributions import BayesianNet, Bernoulli, Normal, meta_bayesian_net
from ancestral.losses import (
    ELBO,
    IWAE,
    VIMCO,
    DReG,
    InclusiveKL,
    Learned,
    MovingAverage,
    Score,
    StickingTheLanding,
    elbo,
    importance_weighted_objective,
    iw_objective,
    klpq,
)
from ancestral.models import Model

X = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


@meta_bayesian_net(scope="gen", reuse_variables=True)
def generator(decoder, rows, n_samples=None):
    bn = BayesianNet()
    z = bn.normal("z", torch.zeros(rows, 2), std=1.0, group_ndims=1, n_samples=n_samples)
    logits = decoder(z)
    bn.deterministic("x_mean", logits.sigmoid())
    bn.bernoulli("x", logits, group_ndims=1)
    return bn


@meta_bayesian_net()
def encoder(net, x, n_samples=None, is_reparameterized=True):
    bn = BayesianNet()
    loc, logstd = net(x).chunk(2, -1)
    bn.normal(
        "z",
        loc,
        logstd=logstd,
        group_ndims=1,
        n_samples=n_samples,
        is_reparameterized=is_reparameterized,
    )
    return bn


@pytest.fixture
def nets():
    torch.manual_seed(0)
    return nn.Linear(2, 3), nn.Linear(3, 4)


def slopes(value, *modules):
    weights = [w for m in modules for w in m.parameters()]
    return torch.autograd.grad(value, weights)


# -- words are losses ---------------------------------------------------------------------------
def laws(nets):
    decoder, net = nets
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder) * Normal(
        var=["z"], loc=torch.zeros(2), scale=1.0
    )
    return p, Normal(var=["z"], cond_var=["x"], net=net, name="q")


WORDS = {
    "sgvb": (
        lambda p, q: elbo(p, ["x"], variational=q).sgvb(),
        lambda p, q: -ELBO(p, q),
    ),
    "several": (
        lambda p, q: elbo(p, ["x"], variational=q, n_samples=3).sgvb(),
        lambda p, q: -ELBO(p, q, sample_shape=3),
    ),
    "reinforce": (
        lambda p, q: elbo(p, ["x"], variational=q).reinforce(variance_reduction=False),
        lambda p, q: -ELBO(p, q).estimate({q: Score()}),
    ),
    "moving mean": (
        lambda p, q: elbo(p, ["x"], variational=q).reinforce(decay=0.9),
        lambda p, q: -ELBO(p, q).estimate({q: Score(MovingAverage(0.9))}),
    ),
    "iwae": (
        lambda p, q: iw_objective(p, ["x"], axis=0, variational=q, n_samples=4).sgvb(),
        lambda p, q: -IWAE(p, q, k=4),
    ),
    "vimco": (
        lambda p, q: iw_objective(p, ["x"], axis=0, variational=q, n_samples=4).vimco(),
        lambda p, q: -IWAE(p, q, k=4).estimate({q: VIMCO()}),
    ),
    "importance": (
        lambda p, q: klpq(p, ["x"], axis=0, variational=q, n_samples=4).importance(),
        lambda p, q: InclusiveKL(p.log_prob(), q, k=4),
    ),
    "rws": (
        lambda p, q: klpq(p, ["x"], axis=0, variational=q, n_samples=4).rws(),
        lambda p, q: InclusiveKL(p.log_prob(), q, k=4),
    ),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_minus_the_bound_with_the_estimator(word, nets):
    """The text, the value and the gradient are those of the loss that it stands for."""
    p, q = laws(nets)
    found = []
    for loss in (make(p, q) for make in WORDS[word]):
        torch.manual_seed(1)
        value = loss.mean().eval({"x": X})
        trained = (nets[1],) if word in ("importance", "rws") else nets
        found.append((str(loss), value, slopes(value, *trained)))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1:], found[1][1:])


def test_a_learned_baseline_is_trained_with_the_cost(nets):
    """ZhuSuan's pair: their sum is minimised; the baseline's own cost is a part of the first."""
    p, q = laws(nets)
    baseline = nn.Linear(3, 1)
    cost, other = elbo(p, ["x"], variational=q).reinforce(baseline=baseline)
    assert str(cost) == "-E_{q(z|x)}[log p(x,z) - log q(z|x)]"
    wanted = -ELBO(p, q).estimate({q: Score(Learned(baseline, cond_var=["x"]))})
    found = []
    for loss in (cost + other, wanted):
        torch.manual_seed(1)
        value = loss.mean().eval({"x": X})
        found.append((value, slopes(value, *nets, baseline)))
    torch.testing.assert_close(*found)
    with pytest.raises(OptionError, match="nn.Module"):
        elbo(p, ["x"], variational=q).reinforce(baseline=torch.zeros(2))
    net = encoder(nets[1], X, is_reparameterized=False).observe()
    with pytest.raises(OptionError, match="of tensors it is a tensor"):
        elbo(generator(nets[0], 2), {"x": X}, variational=net).reinforce(baseline=baseline)
    one = encoder(nets[1], X[:1], is_reparameterized=False).observe()
    with pytest.raises(OptionError, match="moving mean is state"):
        elbo(generator(nets[0], 1), {"x": X[:1]}, variational=one).reinforce()


@pytest.mark.usefixtures("compiler_is_imported")
def test_a_moving_mean_is_state_of_the_model(nets):
    p, q = laws(nets)
    model = Model(
        loss=elbo(p, ["x"], variational=q).reinforce().mean(),
        distributions=[p, q],
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.0},
    )
    value = model.train({"x": X})
    (moments,) = (v for k, v in model.state.items() if "baseline" in k)
    torch.testing.assert_close(moments[1].abs(), value.abs())


def test_a_bound_prints_as_the_bound(nets):
    p, q = laws(nets)
    assert str(elbo(p, ["x"], variational=q)) == "E_{q(z|x)}[log p(x,z) - log q(z|x)]"
    bound = importance_weighted_objective(p, ["x"], axis=0, variational=q, n_samples=4)
    assert str(bound) == "E_{z_1..z_4 ~ q(z|x)}[log((1/4) Σ_k exp(log p(x,z_k) - log q(z_k|x)))]"
    assert str(bound.mean()) == f"mean({bound})"
    assert bound._repr_latex_().startswith("$\\mathbb{E}")
    net = encoder(nets[1], X, n_samples=4).observe()
    drawn = elbo(generator(nets[0], 2), {"x": X}, variational=net, axis=0)
    assert str(drawn) == "E_{q(z)}[log p(x,z) - log q(z)]"


@pytest.mark.parametrize("word", ["sgvb", "vimco", "iwae"])
def test_models_written_as_functions_are_laws(word, nets):
    """A net that is built anew: K is what its nodes say; gradients reach the modules."""
    p, q = laws(nets)
    by_laws = WORDS["several" if word == "sgvb" else word][0](p, q)
    model, variational = generator(nets[0], rows=2), encoder(nets[1], n_samples=4)
    if word == "sgvb":
        cost = elbo(model, {"x": X}, variational=variational, n_samples=3, axis=0).sgvb()
    else:
        bound = iw_objective(model, {"x": X}, variational=variational, axis=0)
        cost = bound.vimco() if word == "vimco" else bound.sgvb()
    assert str(cost) == str(by_laws)
    cost.mean().eval({"x": X}).backward()
    assert all(w.grad is not None for net in nets for w in net.parameters())


def test_the_model_may_be_a_function_of_a_dict(nets):
    p, q = laws(nets)
    decoder = nets[0]

    def log_joint(given):
        likelihood = Bernoulli.log_density(given["x"], logits=decoder(given["z"])).sum(-1)
        return likelihood + Normal.log_density(given["z"], 0.0, 1.0).sum(-1)

    values = []
    for model in (p, log_joint, p.log_prob()):
        torch.manual_seed(2)
        bound = elbo(model, ["x"], variational=q, modules=[decoder])
        values.append(bound.sgvb().mean().eval({"x": X}))
        assert str(bound) == "E_{q(z|x)}[log p(x,z) - log q(z|x)]"
        with pytest.raises(VariableError, match="latent x|a value for x"):
            elbo(model, [], variational=q).sgvb().eval()
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[0], values[2])
    torch.manual_seed(3)
    z = q.sample({"x": X}, sample_shape=5)["z"]
    pair = (z, q.get_log_prob({"z": z, "x": X}))
    drawn = [elbo(m, {"x": X}, latent={"z": pair}, axis=0).mean() for m in (p, log_joint)]
    torch.testing.assert_close(*drawn)


def test_its_net_is_the_model_at_draws_of_the_posterior(nets):
    by_laws = elbo(generator(nets[0], 2), {"x": X}, variational=encoder(nets[1]), n_samples=5)
    net = encoder(nets[1], X, n_samples=5).observe()
    drawn = elbo(generator(nets[0], 2), {"x": X}, variational=net, axis=0)
    for bound in (by_laws, drawn):
        assert bound.bn["x_mean"].shape == (5, 2, 3)
        assert bound.bn["z"].is_observed()
    torch.testing.assert_close(drawn.bn["z"].tensor, net["z"].tensor)
    with pytest.raises(OptionError, match=r"observed=\{'x': tensor\}"):
        _ = elbo(generator(nets[0], 2), ["x"], variational=laws(nets)[1]).bn
    with pytest.raises(OptionError, match="no net"):
        _ = elbo(laws(nets)[0], {"x": X}, variational=laws(nets)[1]).bn


# -- what is refused ----------------------------------------------------------------------------
@meta_bayesian_net()
def two_latents():
    bn = BayesianNet()
    y = bn.normal("y", torch.zeros(2, 1), std=1.0, group_ndims=1)
    z = bn.normal("z", y, std=1.0, group_ndims=1)
    bn.normal("x", z, std=1.0, group_ndims=1)
    return bn


def test_a_latent_without_a_posterior_is_named():
    """ZhuSuan drew it from its prior and left its density out: a silently wrong bound."""
    x = torch.zeros(2, 1)
    q = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
    drawn = BayesianNet()
    drawn.normal("z", x, std=1.0, group_ndims=1)
    for word in (elbo, klpq, iw_objective):
        with pytest.raises(VariableError, match="the latent y, which is neither"):
            word(two_latents(), {"x": x}, variational=q, axis=0)
        with pytest.raises(VariableError, match="the latent y, which is neither"):
            word(two_latents(), {"x": x}, variational=drawn, axis=0)
        with pytest.raises(VariableError, match="the latent y, which is neither"):
            word(two_latents().law(), ["x"], variational=q, axis=0)
        with pytest.raises(VariableError, match="the latent y, which is neither"):
            word(two_latents(), {"x": x}, latent={"z": (x, x[:, 0])}, axis=0)


def test_what_makes_no_bound_is_refused(nets):
    p, q = laws(nets)
    other = Normal(var=["u"], loc=0.0, scale=1.0, name="q")
    model, x = generator(nets[0], 2), {"x": X}
    net = encoder(nets[1], X).observe()
    one = torch.zeros(2)
    refused = [
        (VariableError, "observed, and the posterior", lambda: elbo(p, ["x", "z"], variational=q)),
        (VariableError, "draws u", lambda: elbo(p, ["x"], variational=q * other)),
        (OptionError, "one of them", lambda: elbo(p, ["x"])),
        (OptionError, "one of them", lambda: elbo(p, x, {"z": (one, one)}, variational=q)),
        (OptionError, "axis=...", lambda: iw_objective(p, ["x"], variational=q, n_samples=3)),
        (OptionError, "n_samples=", lambda: str(iw_objective(p, ["x"], None, 0, q))),
        (OptionError, "two draws", lambda: _iw(p, q, 1).vimco()),
        (OptionError, "got a int", lambda: elbo(3, ["x"], variational=q)),
        (OptionError, "got a int", lambda: elbo(3, x, variational=net)),
        (OptionError, "got a Linear", lambda: elbo(p, ["x"], variational=nets[1])),
        (OptionError, "pair", lambda: elbo(p, x, latent={"z": q})),
        (DataError, "'x': tensor", lambda: elbo(model, ["x"], variational=net)),
        (ShapeError, "axis=1", lambda: elbo(model, x, variational=net, axis=1)),
        (ShapeError, "same|both", lambda: elbo(model, x, {"z": (torch.zeros(2, 2), one[:1])})),
        (NotImplementedError, "importance", lambda: klpq(p, ["x"], variational=q).value),
        (NotImplementedError, "importance", lambda: klpq(p, ["x"], variational=q).mean()),
        (OptionError, "needs axis", lambda: klpq(model, x, variational=net).importance()),
    ]
    for kind, told, call in refused:
        with pytest.raises(kind, match=told):
            call()


def _iw(p, q, k):
    return iw_objective(p, ["x"], axis=0, variational=q, n_samples=k)


def test_draws_of_the_wrong_kind_are_refused(nets):
    """The pathwise word of draws that are cut, and the score's words of draws that are not."""
    model, x = generator(nets[0], 2), {"x": X}
    path = encoder(nets[1], X, n_samples=3).observe()
    cut = encoder(nets[1], X, n_samples=3, is_reparameterized=False).observe()
    refused = [
        ("reinforce", lambda: elbo(model, x, variational=cut, axis=0).sgvb()),
        ("vimco", lambda: iw_objective(model, x, variational=cut, axis=0).sgvb()),
        ("counted", lambda: elbo(model, x, variational=path, axis=0).reinforce()),
        ("counted", lambda: iw_objective(model, x, variational=path, axis=0).vimco()),
        ("counted", lambda: klpq(model, x, variational=path, axis=0).importance()),
    ]
    for told, call in refused:
        with pytest.raises(GradientError, match=told):
            call()
    q = Bernoulli(var=["z"], cond_var=["x"], probs="x", name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], probs="z") * Bernoulli(var=["z"], probs=0.3)
    cost = elbo(p, ["x"], variational=q).sgvb()
    with pytest.raises(GradientError, match="no pathwise derivative"):
        cost.eval({"x": torch.ones(2, 1)})


# -- one table of estimators --------------------------------------------------------------------
def points(dims):
    """As many draws of equal weight as integrate polynomials of degree 5 in a number exactly, of
    all pairs of them; in several numbers those of degree 3.
    """
    if dims == 1:
        root = math.sqrt(3.0)
        return torch.tensor([0.0, 0.0, 0.0, 0.0, root, -root], dtype=torch.float64)
    eye = math.sqrt(dims) * torch.eye(dims, dtype=torch.float64)
    return torch.cat([eye, -eye])


class Pair:
    """x_i ~ N(z_i, 1), z_i ~ N(0, 1), q(z_i) = N(loc_i, scale^2), of Pyro's gradient tests."""

    def __init__(self, x):
        self.x = x
        self.loc = torch.zeros(len(x), dtype=torch.float64, requires_grad=True)
        self.scale = torch.ones((), dtype=torch.float64, requires_grad=True)

    def log_joint(self, given):
        z, x = given["z"], given["x"]
        return Normal.log_density(z, 0.0, 1.0) + Normal.log_density(x, z, 1.0)

    def bound(self, word, eps, *, path):
        z = self.loc + self.scale * eps
        z = z if path else z.detach()
        latent = {"z": (z, Normal.log_density(z, self.loc, self.scale))}
        return word(self.log_joint, {"x": self.x}, latent=latent, axis=0)


def sgvb(pair, eps):
    return pair.bound(elbo, eps[:, None], path=True).sgvb()


def reinforce(pair, eps):
    return pair.bound(elbo, eps[:, None], path=False).reinforce(variance_reduction=False)


def leave_one_out(pair, eps):
    """All pairs of draws stand as rows: those two of a row are the others of each other."""
    two = torch.stack([*torch.meshgrid(eps, eps, indexing="ij")]).reshape(2, -1, 1)
    return pair.bound(elbo, two, path=False).reinforce().mean(0)


def with_baseline(pair, eps):
    baseline = torch.full_like(pair.loc, -1.3)
    cost, other = pair.bound(elbo, eps[:, None], path=False).reinforce(baseline=baseline)
    assert other.shape == cost.shape
    return cost


ESTIMATORS = {f.__name__: f for f in (sgvb, reinforce, leave_one_out, with_baseline)}


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("batches", [[[0, 1]], [[0], [1]]], ids=["full", "subsampled"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_has_the_gradient_of_pyros_table(estimator, batches, scale):
    """loc (0.5, -2), scale 2, exactly; over minibatches, each weighed by N/B, on average."""
    x = torch.tensor([-0.5, 2.0], dtype=torch.float64)
    loc, width = torch.zeros(2, dtype=torch.float64), 0.0
    for rows in batches:
        pair = Pair(x[rows])
        cost = scale * len(x) / len(rows) * ESTIMATORS[estimator](pair, points(1)).sum()
        one, other = torch.autograd.grad(cost, (pair.loc, pair.scale))
        loc[rows] += one / len(batches)
        width += other / len(batches)
    torch.testing.assert_close(loc / scale, torch.tensor([0.5, -2.0], dtype=torch.float64))
    torch.testing.assert_close(width / scale, torch.tensor(2.0, dtype=torch.float64))


PLANS = {
    "Pathwise": lambda q, bound: bound.sgvb(),
    "closed form": lambda q, bound: -bound.loss.simplify(),
    "StickingTheLanding": lambda q, bound: -bound.loss.estimate({q: StickingTheLanding()}),
    "Score": lambda q, bound: bound.reinforce(variance_reduction=False),
    "DReG": lambda q, bound: -IWAE(bound.sides.p, q, k=1).estimate({q: DReG()}),
}


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("batches", [[[0, 1]], [[0], [1]]], ids=["full", "subsampled"])
@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_has_the_gradient_of_pyros_table(plan, batches, scale):
    """The same of laws, whose program is given the noise: draws of equal weight."""
    x, eps = torch.tensor([-0.5, 2.0], dtype=torch.float64), points(1)
    loc = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    width = nn.Parameter(torch.ones((), dtype=torch.float64))
    q = Normal(
        var=["z"],
        cond_var=["row"],
        name="q",
        net=lambda row: {"loc": loc[row.long()]},
        scale=width,
    )
    p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0) * Normal(
        var=["z"], loc=0.0, scale=1.0
    )
    bound = elbo(p, ["x"], variational=q, n_samples=len(eps) if plan != "DReG" else None)
    total = 0.0
    for rows in batches:
        cost = scale * len(x) / len(rows) * PLANS[plan](q, bound).sum()
        given = {"x": x[rows], "row": torch.tensor(rows, dtype=torch.float64)}
        for e in eps if plan == "DReG" else [eps]:
            noise = e.reshape(-1, 1).expand(-1, len(rows))
            share = len(eps) if plan == "DReG" else 1
            total = total + cost.eval(given, noise={"z": noise}) / len(batches) / share
    by_loc, by_width = torch.autograd.grad(total, (loc, width))
    torch.testing.assert_close(by_loc / scale, torch.tensor([0.5, -2.0], dtype=torch.float64))
    torch.testing.assert_close(by_width.item() / scale, 2.0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradients_of_the_divergence_are_exact(estimator):
    """KL[N(2, 3^2) || N(0, 1)]: 2 in the mean, 3 - 1/3 in the deviation; 0 of q = p."""
    for mean, deviation in ((2.0, 3.0), (0.0, 1.0)):
        pair = Pair(torch.zeros(1, dtype=torch.float64))
        pair.log_joint = lambda given: Normal.log_density(given["z"], 0.0, 1.0)
        pair.loc = torch.tensor([mean], dtype=torch.float64, requires_grad=True)
        pair.scale = torch.tensor(deviation, dtype=torch.float64, requires_grad=True)
        cost = ESTIMATORS[estimator](pair, points(1)).sum()
        by_loc, by_scale = torch.autograd.grad(cost, (pair.loc, pair.scale))
        torch.testing.assert_close(by_loc.item(), mean)
        torch.testing.assert_close(by_scale.item(), deviation - 1 / deviation)


def test_no_noise_is_left_where_q_is_p():
    """Of each draw: the path derivative alone, and the score of a divergence that is 0."""
    loc = torch.tensor([0.4], requires_grad=True)
    for options, word in (
        ({"use_path_derivative": True}, lambda b: b.sgvb()),
        ({"is_reparameterized": False}, lambda b: b.reinforce(variance_reduction=False)),
    ):
        bn = BayesianNet()
        bn.normal("z", loc, std=1.0, n_samples=5, **options)
        bound = elbo(lambda d: Normal.log_density(d["z"], 0.4, 1.0), {}, variational=bn, axis=0)
        (slope,) = torch.autograd.grad(word(bound).sum(), loc)
        assert slope.abs() < 1e-6


def test_the_inclusive_gradient_is_that_of_the_divergence():
    """KL[N(0, 1) || N(2, 3^2)]: draws at the quantiles of q, so that sums are integrals."""
    loc = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    z = Normal.icdf(u, 2.0, 3.0)
    latent = {"z": (z, Normal.log_density(z, loc, scale))}
    bound = klpq(lambda d: Normal.log_density(d["z"], 0.0, 1.0), {}, latent=latent, axis=0)
    cost = bound.importance()
    found = torch.autograd.grad(cost, (loc, scale))
    torch.testing.assert_close(found[0].item(), 2.0 / 9.0, rtol=1e-3, atol=0)
    torch.testing.assert_close(found[1].item(), 1 / 3 - 5 / 27, rtol=1e-3, atol=0)
    divergence = math.log(3.0) + 5.0 / 18.0 - 0.5
    torch.testing.assert_close(cost.item(), divergence, rtol=1e-3, atol=0)


# -- bounds of several draws: all draws of bits as rows -----------------------------------------
class Bits:
    """z ~ Bernoulli, q of another logit; every one of the 2^K draws of K copies is a row."""

    def __init__(self, copies):
        self.logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        self.model = torch.tensor(-0.8, dtype=torch.float64, requires_grad=True)
        both = itertools.product((0.0, 1.0), repeat=copies)
        self.z = torch.tensor(list(both), dtype=torch.float64).T
        self.log_q = Bernoulli.log_density(self.z, logits=self.logit)

    def log_joint(self, given):
        z = given["z"]
        return Bernoulli.log_density(z, logits=self.model) - (1.5 - z).square()

    def bound(self, word):
        return word(self.log_joint, {}, latent={"z": (self.z, self.log_q)}, axis=0)

    def mean(self, value, *, weights_too=False):
        probability = self.log_q.sum(0).exp()
        return (value * (probability if weights_too else probability.detach())).sum()

    def slopes(self, value):
        return torch.autograd.grad(value, (self.logit, self.model), retain_graph=True)


@pytest.mark.parametrize("copies", [2, 3, 6])
def test_the_mean_gradient_of_vimco_is_that_of_the_bound(copies):
    bits = Bits(copies)
    bound = bits.bound(iw_objective)
    exact = bits.slopes(-bits.mean(bound.value, weights_too=True))
    torch.testing.assert_close(
        bits.slopes(bits.mean(bound.vimco())), exact, rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(bound.vimco(), -bound.value)


def test_the_mean_gradient_of_leave_one_out_is_that_of_the_bound():
    bits = Bits(3)
    bound = bits.bound(elbo)
    exact = bits.slopes(-bits.mean(bound.value, weights_too=True))
    for options in ({}, {"variance_reduction": False}):
        found = bits.slopes(bits.mean(bound.reinforce(**options)))
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-12)


def test_the_bound_rises_with_the_draws_and_of_one_is_the_elbo():
    values = []
    for copies in (1, 2, 4, 8):
        bits = Bits(copies)
        values.append(bits.mean(bits.bound(iw_objective).value).item())
        if copies == 1:
            torch.testing.assert_close(values[0], bits.mean(bits.bound(elbo).value).item())
            with pytest.raises(OptionError, match="two draws"):
                bits.bound(iw_objective).vimco()
    assert values == sorted(values)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert values[-1] < bits.log_joint({"z": ends}).logsumexp(0).item()


# -- conjugate chains ---------------------------------------------------------------------------
@meta_bayesian_net()
def chain(nodes):
    bn = BayesianNet()
    at = torch.zeros(1, dtype=torch.float64)
    for i in range(nodes - 1):
        at = bn.normal(f"z{i}", at, std=1.0, group_ndims=1).tensor
    bn.normal("x", at, std=1.0, group_ndims=1)
    return bn


class Backwards(nn.Module):
    """The posterior of a chain: z_i given z_{i+1}, which is N(a z_{i+1}, a), a = (i+1)/(i+2)."""

    def __init__(self, nodes):
        super().__init__()
        share = torch.tensor([(i + 1) / (i + 2) for i in range(nodes - 1)], dtype=torch.float64)
        self.slope = nn.Parameter(share.clone())
        self.shift = nn.Parameter(torch.zeros_like(share))
        self.std = nn.Parameter(share.sqrt())


@meta_bayesian_net()
def backwards(params, x, **options):
    bn = BayesianNet()
    at = x
    for i in reversed(range(len(params.slope))):
        mean = params.slope[i] * at + params.shift[i]
        at = bn.normal(f"z{i}", mean, std=params.std[i], group_ndims=1, **options).tensor
        options = {k: v for k, v in options.items() if k != "n_samples"}
    return bn


@pytest.mark.parametrize("nodes", [3, 5])
def test_at_the_posterior_of_a_chain_the_gradient_is_zero(nodes):
    """Pathwise in the mean, by quadrature of the noise; of the score at every draw."""
    params, x = Backwards(nodes), torch.tensor([[1.5]], dtype=torch.float64)
    eps = points(nodes - 1)
    noise = {f"z{i}": eps[:, i].reshape(-1, 1, 1) for i in range(nodes - 1)}
    model, exact = chain(nodes), Normal.log_density(x, 0.0, math.sqrt(nodes)).sum()
    path = elbo(model, {"x": x}, variational=backwards(params), n_samples=len(eps)).sgvb()
    drawn = backwards(params, x, n_samples=2, is_reparameterized=False).observe()
    score = elbo(model, {"x": x}, variational=drawn, axis=0).reinforce()
    for value in (path.mean().eval({"x": x}, noise=noise), score.mean()):
        torch.testing.assert_close(value, -exact)
        for slope in slopes(value, params):
            torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-10, rtol=0)


def test_a_path_derivative_through_another_draw_is_refused():
    """ZhuSuan cut the parameters, and with them the path to the draw that they were made of."""
    params, x = Backwards(3), torch.tensor([[1.5]], dtype=torch.float64)
    drawn = backwards(params, x, use_path_derivative=True).observe()
    with pytest.raises(GradientError, match="node z0: .*z1"):
        elbo(chain(3), {"x": x}, variational=drawn)


# -- weights as latents -------------------------------------------------------------------------
def test_a_log_joint_of_globals_is_taken_as_written():
    """No N/B of ours on top: minibatches, each with the override's N, average to the whole."""
    torch.manual_seed(0)
    x, y = torch.randn(6, 3), torch.randn(6)
    loc = torch.zeros(3, requires_grad=True)
    w = loc.detach() + torch.randn(4, 3)

    @meta_bayesian_net()
    def network(x):
        bn = BayesianNet()
        weights = bn.normal("w", torch.zeros(3), std=1.0, group_ndims=1, n_samples=4)
        bn.normal("y", weights @ x.T, std=0.1)
        return bn

    def bound(rows, override):
        model = network(x[rows])
        model.log_joint = override
        log_q = Normal.log_density(w, loc, 1.0).sum(-1)
        return elbo(model, {"y": y[rows]}, latent={"w": (w, log_q)}, axis=0).value

    def override(bn):
        log_w, log_y = bn.cond_log_prob(["w", "y"])
        return log_w + 6 * log_y.mean(1)

    whole = bound(
        slice(None), lambda bn: sum(p.reshape(4, -1).sum(1) for p in bn.cond_log_prob(["w", "y"]))
    )
    parts = [bound(slice(i, i + 2), override) for i in (0, 2, 4)]
    torch.testing.assert_close(sum(parts) / 3, whole)
    with pytest.raises(ShapeError, match="node w .*node y"):
        bound(slice(0, 4), None)
