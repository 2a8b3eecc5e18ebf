"""Sentence 15: Bayesian neural networks; the weights are one global variable."""

import math

import pytest
import torch
from torch import nn

from ancestral.core.errors import GradientOnlyError, MissingVariableError
from ancestral.distributions import MeanField, MultivariateNormal, Normal, Particles, weights
from ancestral.losses import KL, RBF, SVGD, E
from ancestral.models import Model
from tests.lowering.reading import axes
from tests.sentences.counting import agrees, counted, draws, passes

ROWS, SIZE, DRAWS, SCALE = 4, 12, 3, 0.5


class Laws:
    """A network of 13 weights, and a batch of the data set."""

    def __init__(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
        self.w = weights(net, prior=Normal(loc=0.0, scale=1.0))
        conditions = {"var": ["y"], "cond_var": ["x", "w"]}
        self.p = Normal(**conditions, net=self.w.apply, scale=SCALE, name="p")
        self.q = MeanField(self.w)
        x = torch.randn(ROWS, 2, dtype=torch.float64)
        self.batch = {"x": x, "y": x[:, :1].sin()}
        self.noise = {"w": torch.randn(DRAWS, self.w.size, dtype=torch.float64)}

    def elbo(self, count=None):
        return E(self.q, self.p.log_prob(), sample_shape=count) - KL(self.q, self.w.prior)


@pytest.fixture
def laws():
    return Laws()


def log_normal(x, loc, scale):
    scale = torch.as_tensor(scale, dtype=x.dtype)
    return -0.5 * ((x - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)


def by_hand(w, x):
    """The network, written out for one vector of weights."""
    one, rest = w[:6].reshape(3, 2), w[6:]
    hidden = (x @ one.T + rest[:3]).tanh()
    return hidden @ rest[3:6].reshape(1, 3).T + rest[6:]


def divergence(q):
    loc, scale = q.net.loc, nn.functional.softplus(q.net.rho)
    return (0.5 * (scale**2 + loc**2 - 1) - scale.log()).sum()


def test_it_prints_with_the_size_of_the_data_set(laws):
    assert str(laws.elbo()) == "E_{q(w)}[log p(y|x,w)] - KL[q(w) || p(w)]"
    assert str(laws.elbo().mean()) == "mean(E_{q(w)}[log p(y|x,w)] - KL[q(w) || p(w)] / N)"
    assert str(laws.elbo().sum()) == "N mean(E_{q(w)}[log p(y|x,w)] - KL[q(w) || p(w)] / N)"
    assert laws.elbo().latex() == (
        r"\mathbb{E}_{q(w)} \left[\log p(y|x,w) \right] - D_{KL} \left[q(w)||p(w) \right]"
    )


def test_all_draws_are_one_pass_over_the_rows(laws):
    """Axes of weights are vmapped: the network sees the batch once, whatever the draws."""
    elbo = laws.elbo([DRAWS]).mean()
    assert draws(elbo) == ["w"]
    assert axes(elbo) == {"w": [("draws", DRAWS)]}
    assert axes(laws.elbo().mean()) == {"w": []}  # one draw for all rows
    assert passes(elbo) == ["q(w)", "p(y|x,w)", "p(w)"]
    for loss in (elbo, laws.elbo().mean()):
        function = loss.function()
        for _ in range(2):  # the interpreter, the generated step
            with counted(p=laws.w.apply.net) as seen:
                function(laws.batch, data_size=SIZE)
            assert seen == {"p": [ROWS]}


@pytest.mark.parametrize("count", [None, [DRAWS]])
def test_value_and_gradient_by_hand(laws, count):
    noise = {"w": laws.noise["w"][0]} if count is None else laws.noise

    def rows():
        scale = nn.functional.softplus(laws.q.net.rho)
        each = [laws.q.net.loc + scale * eps for eps in noise["w"].reshape(-1, laws.w.size)]
        found = [log_normal(laws.batch["y"], by_hand(w, laws.batch["x"]), SCALE) for w in each]
        return torch.stack(found).mean(0).squeeze(-1)

    def mean():
        return -(rows().mean() - divergence(laws.q) / SIZE)

    def total():
        return SIZE / ROWS * rows().sum() - divergence(laws.q)

    options = {"noise": noise, "data_size": SIZE}
    agrees(-laws.elbo(count).mean(), laws.batch, mean, [laws.q], **options)
    agrees(laws.elbo(count).sum(), laws.batch, total, [laws.q], **options)


def test_a_model_trains_the_posterior_and_nothing_else(laws):
    model = Model(loss=-laws.elbo().mean(), distributions=[laws.q], data_size=SIZE)
    before = laws.w.init
    assert model.train(laws.batch).isfinite()
    assert torch.equal(laws.w.init, before)
    assert not list(laws.p.parameters())
    assert not torch.equal(laws.q.net.loc, before)


# -- particles ------------------------------------------------------------------------------------
class Stein(Laws):
    """A law of particles, which see each other."""

    def __init__(self, kernel, count=4):
        super().__init__()
        self.q = Particles(self.w, count, init_scale=0.5)
        self.povi = (E(self.q, self.p.log_prob()) - KL(self.q, self.w.prior)).estimate(
            {self.q: SVGD(kernel)}
        )

    def log_joint(self, w, batch):
        """(N/B) sum_n log p(y_n | x_n, w) + log p(w)."""
        rows = log_normal(batch["y"], by_hand(w, batch["x"]), SCALE)
        return SIZE / len(rows) * rows.sum() + log_normal(w, 0.0, 1.0).sum()

    def slopes(self, batch):
        points = self.q.points.detach()
        return [torch.func.grad(self.log_joint)(w, batch) for w in points]

    def step(self, batch=None, loss=None):
        """The gradient of one training step, and the value that it returns."""
        loss = -self.povi.mean() if loss is None else loss
        model = Model(
            loss=loss, distributions=[self.q], data_size=SIZE,
            optimizer=torch.optim.SGD, optimizer_params={"lr": 1.0},
        )  # fmt: skip
        before = self.q.points.detach().clone()
        value = model.train(batch or self.batch)
        found = before - self.q.points.detach()
        with torch.no_grad():
            self.q.points.copy_(before)
        return found, value


def direction(points, slopes, width):
    """The definition, pair by pair; of a kernel exp(-|a - b|^2 / 2 width^2)."""
    out = []
    for w in points:
        total = torch.zeros_like(w)
        for v, g in zip(points, slopes, strict=True):
            k = (-0.5 * ((v - w) ** 2).sum() / width**2).exp()
            total = total + k * g + k * (w - v) / width**2
        out.append(total / len(points))
    return torch.stack(out)


def test_particles_print_as_a_posterior_does_and_their_program_says_what_it_gives():
    stein = Stein(RBF())
    assert str(stein.povi.mean()) == "mean(E_{q(w)}[log p(y|x,w)] - KL[q(w) || p(w)] / N)"
    told = str(stein.povi.mean().program(N=SIZE))
    assert "w.points and log q by SVGD(RBF)" in told
    assert told.splitlines()[-2].endswith("gradient-only")
    assert passes(stein.povi) == ["q(w)", "p(y|x,w)", "p(w)"]
    assert draws(stein.povi) == []  # no noise: every particle stands once


@pytest.mark.parametrize("kernel", [RBF(lengthscale=1.5), RBF()], ids=["width", "median"])
def test_a_step_is_the_stein_direction(kernel):
    stein = Stein(kernel)
    points = stein.q.points.detach().clone()
    apart = torch.pdist(points).median() / math.sqrt(2 * math.log(len(points) + 1))
    width = 1.5 if kernel.lengthscale is not None else apart
    wanted = direction(points, stein.slopes(stein.batch), width)
    for scale, loss in ((SIZE, -stein.povi.mean()), (1, -stein.povi.sum())):
        for _ in range(2):  # a step is the interpreter's first, then the generated one
            found, _ = stein.step(loss=loss)
            torch.testing.assert_close(-found * scale, wanted, rtol=1e-12, atol=1e-12)


def test_all_particles_are_one_pass_over_the_rows():
    stein = Stein(RBF())
    model = Model(loss=-stein.povi.mean(), distributions=[stein.q], data_size=SIZE)
    for _ in range(3):
        with counted(p=stein.w.apply.net) as seen:
            model.train(stein.batch)
        assert seen == {"p": [ROWS]}


def test_the_number_that_training_returns_is_the_mean_log_joint_and_no_value_of_the_loss():
    stein = Stein(RBF())
    joint = [stein.log_joint(w, stein.batch) for w in stein.q.points.detach()]
    _, value = stein.step()
    torch.testing.assert_close(-value * SIZE, torch.stack(joint).mean())
    with pytest.raises(GradientOnlyError, match="the mean log joint at the particles"):
        stein.povi.mean().eval(stein.batch, data_size=SIZE)


def test_one_particle_climbs_the_log_joint():
    stein = Stein(RBF(), count=1)
    (wanted,) = stein.slopes(stein.batch)
    found, _ = stein.step(loss=-stein.povi.sum())
    torch.testing.assert_close(-found[0], wanted, rtol=1e-12, atol=1e-12)


def test_directions_of_minibatches_have_the_mean_of_the_whole():
    """The likelihood is scaled by N/B, the kernel and the prior are not."""
    stein = Stein(RBF())
    x = torch.randn(SIZE, 2, dtype=torch.float64)
    every = {"x": x, "y": x[:, :1].cos()}
    parts = [
        stein.step({k: v[i : i + ROWS] for k, v in every.items()})[0] for i in range(0, SIZE, ROWS)
    ]
    whole, _ = stein.step(every)
    torch.testing.assert_close(torch.stack(parts).mean(0), whole, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("make", [Laws, lambda: Stein(RBF())], ids=["mean field", "particles"])
def test_a_posterior_is_saved_and_goes_on_as_it_was(make, tmp_path):
    def built():
        laws = make()
        loss = laws.povi if isinstance(laws, Stein) else laws.elbo()
        watched = -E(laws.q, laws.p.log_prob()).mean()
        options = {"distributions": [laws.q], "data_size": SIZE, "test_loss": watched}
        options["optimizer"] = torch.optim.SGD  # weights are saved, an optimizer's moments are not
        return Model(loss=-loss.mean(), optimizer_params={"lr": 0.1}, **options), laws

    (model, laws), (other, _) = built(), built()
    for _ in range(2):
        model.train(laws.batch)
    model.save(tmp_path / "model")
    other.load(tmp_path / "model")
    found = []
    for m in (model, other):
        torch.manual_seed(0)
        trained = m.train(laws.batch)
        found.append((trained, m.test(laws.batch)))
    assert found[0] == found[1]


# -- exact values: a linear network ---------------------------------------------------------------
class Linear:
    """y = x w + noise with w ~ N(0, I): evidence, posterior and best mean field are known."""

    def __init__(self):
        torch.manual_seed(0)
        self.x = torch.randn(SIZE, 3, dtype=torch.float64)
        self.y = self.x @ torch.tensor([[0.5], [-1.0], [2.0]]).double() + SCALE * torch.randn(
            SIZE, 1, dtype=torch.float64
        )
        self.w = weights(nn.Linear(3, 1, bias=False).double(), prior=Normal(loc=0.0, scale=1.0))
        conditions = {"var": ["y"], "cond_var": ["x", "w"]}
        self.p = Normal(**conditions, net=self.w.apply, scale=SCALE, name="p")
        precision = torch.eye(3).double() + self.x.T @ self.x / SCALE**2
        self.precision = precision
        self.mean = torch.linalg.solve(precision, self.x.T @ self.y / SCALE**2).squeeze(-1)
        cov = SCALE**2 * torch.eye(SIZE).double() + self.x @ self.x.T
        joint = torch.distributions.MultivariateNormal(torch.zeros(SIZE).double(), cov)
        self.evidence = joint.log_prob(self.y.squeeze(-1))
        unit = 3**0.5 * torch.eye(3).double()  # the first two moments of a normal law, exactly
        self.points = torch.cat([unit, -unit])

    def elbo(self, q):
        return (E(q, self.p.log_prob(), sample_shape=[6]) - KL(q, self.w.prior)).sum()

    def at(self, q, rows=slice(None)):
        batch = {"x": self.x[rows], "y": self.y[rows]}
        return self.elbo(q).eval(batch, noise={"w": self.points}, data_size=SIZE)


@pytest.fixture
def linear():
    return Linear()


def gradients(value, law):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(law.parameters()))])


def test_the_best_mean_field_has_the_posterior_s_mean_and_the_diagonal_of_its_precision(linear):
    best = linear.precision.diagonal().rsqrt()
    q = MeanField(linear.w, init_loc=linear.mean, init_scale=best)
    found = linear.at(q)
    gap = 0.5 * (linear.precision.diagonal().log().sum() - linear.precision.logdet())
    torch.testing.assert_close(found, linear.evidence - gap, rtol=1e-12, atol=0)
    assert gradients(found, q).abs().max() < 1e-10
    worse = MeanField(linear.w, init_loc=linear.mean, init_scale=1.1 * best)
    assert linear.at(worse) < found - 1e-3


def test_the_full_normal_family_reaches_the_evidence(linear):
    tril = nn.Parameter(torch.linalg.cholesky(torch.linalg.inv(linear.precision)))
    loc = nn.Parameter(linear.mean)
    q = MultivariateNormal(var=["w"], name="q", loc=loc, scale_tril=tril, plate=None)
    found = linear.at(q)
    torch.testing.assert_close(found, linear.evidence, rtol=1e-12, atol=0)
    slopes = torch.autograd.grad(found, [loc, tril])
    assert slopes[0].abs().max() < 1e-10
    assert slopes[1].tril().abs().max() < 1e-10


def test_minibatches_of_an_epoch_have_the_mean_of_the_whole(linear):
    """ZhuSuan's scripts scale the likelihood by hand, and are silently wrong without it."""
    q = MeanField(linear.w)
    whole = linear.at(q)
    parts = [linear.at(q, slice(i, i + 4)) for i in range(0, SIZE, 4)]
    torch.testing.assert_close(sum(parts) / len(parts), whole, rtol=1e-13, atol=0)
    slopes = [gradients(part, q) for part in parts]
    torch.testing.assert_close(
        torch.stack(slopes).mean(0), gradients(whole, q), rtol=1e-12, atol=1e-12
    )
    with pytest.raises(MissingVariableError, match="its number of rows N is not known"):
        linear.elbo(q).eval({"x": linear.x, "y": linear.y})


def test_weights_without_a_posterior_are_not_drawn_from_the_prior(linear):
    """ZhuSuan's check of latents without a posterior never fires."""
    with pytest.raises(MissingVariableError, match="needs a value for w"):
        linear.p.log_prob().mean().eval({"x": linear.x, "y": linear.y})
