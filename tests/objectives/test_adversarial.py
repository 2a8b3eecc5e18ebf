"""Adversarial objectives: their values with the best discriminator, and every gradient by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import OptionError, TrainingError, VariableError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    EmpiricalDistribution,
    Implicit,
    MultivariateNormal,
    Normal,
)
from ancestral.losses import (
    KL,
    AdversarialHinge,
    AdversarialJensenShannon,
    AdversarialKullbackLeibler,
    AdversarialLeastSquares,
    AdversarialWassersteinDistance,
    E,
    Enumerate,
    Function,
    values,
)
from ancestral.models import Model, Player

ALL = [
    AdversarialJensenShannon,
    AdversarialKullbackLeibler,
    AdversarialWassersteinDistance,
    AdversarialHinge,
    AdversarialLeastSquares,
]


def normals(loc: float) -> tuple[Normal, Normal]:
    """N(0, 1) and N(loc, 1) of x."""
    p = Normal(loc=0.0, scale=1.0, var=["x"], features_shape=[1], name="p")
    return p, Normal(loc=loc, scale=1.0, var=["x"], features_shape=[1], name="q")


def midpoints(n: int = 100_000) -> Tensor:
    """Base noise at the middles of n equally probable cells: a mean over it is a quadrature."""
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.special.ndtri(u)[:, None]


# -- values with the best discriminator -----------------------------------------------------------
def test_normal_laws_by_quadrature():
    """O15: V* = -1.163451 and JSD .111422 of N(0,1), N(1,1); their KL is 1/2, their W_1 is 1."""
    p, q = (law.double() for law in normals(1.0))
    best = Function(lambda x: 0.5 - x, name="d")  # log p(x)/q(x)
    grid = {"noise": {"x": midpoints(), "x#2": midpoints()}}
    js = AdversarialJensenShannon(p, q, best, inverse_g_loss=False)
    value = float(js.dual().eval(**grid, batch_n=100_000))
    assert value == pytest.approx(-1.163451, abs=2e-6)
    assert (value + math.log(4.0)) / 2 == pytest.approx(0.111422, abs=2e-6)
    assert float(js.eval(**grid, batch_n=100_000)) == pytest.approx(value, abs=1e-12)
    kl = AdversarialKullbackLeibler(p, q, best)
    found = kl.eval(noise={"x": midpoints()}, batch_n=100_000)
    assert float(found) == pytest.approx(0.5, abs=1e-9)
    slope = Function(lambda x: -x, name="d")
    w = AdversarialWassersteinDistance(p, q, slope, clip_value=None)
    assert float(w.eval(**grid, batch_n=100_000)) == pytest.approx(1.0, abs=1e-9)


def test_discrete_laws_exactly():
    """By enumeration: 2 JS - log 4 and KL of two categorical laws, to rounding."""
    a = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    b = torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64)
    p, q = (Categorical(probs=probs, var=["x"], name=name) for probs, name in ((a, "p"), (b, "q")))
    best = Function(lambda x: x @ (a / b).log(), name="d")
    plan = {p: Enumerate(), q: Enumerate()}
    m = (a + b) / 2
    js = 0.5 * ((a * (a / m).log()).sum() + (b * (b / m).log()).sum())
    dual = AdversarialJensenShannon(p, q, best).dual().estimate(plan)
    assert float(dual.eval()) == pytest.approx(2 * float(js) - math.log(4.0), abs=1e-12)
    kl = AdversarialKullbackLeibler(p, q, best).estimate({p: Enumerate()})
    assert float(kl.eval()) == pytest.approx(float((a * (a / b).log()).sum()), abs=1e-12)


def test_a_trained_ratio_finds_the_total_correlation():
    """O16: TC of N(0, [[1,.9],[.9,1]]) is .830366; a logistic regression on squares, within .05."""
    torch.manual_seed(0)
    both = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    q = MultivariateNormal(loc=torch.zeros(2), covariance_matrix=both, var=["z"], name="q")
    apart = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p")

    class Quadratic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(3, 1)

        def forward(self, z: Tensor) -> Tensor:
            return self.out(torch.stack([z[:, 0] ** 2, z[:, 1] ** 2, z[:, 0] * z[:, 1]], 1))

    d = Quadratic()
    tc = AdversarialKullbackLeibler(q, apart, d)
    options = {"lr": 0.2}
    model = Model(players=[Player("d", maximise=tc.dual(), over=[d], optimizer_params=options)])
    for _ in range(200):
        model.train(batch_n=1000)
    with torch.no_grad():
        assert float(tc.eval(batch_n=100_000)) == pytest.approx(0.830366, abs=0.05)


# -- gradients ------------------------------------------------------------------------------------
def hand(name: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """What the laws' player minimises and what the discriminator minimises, of its outputs."""
    bce = -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()
    return {
        "AdversarialJensenShannon": (
            -F.logsigmoid(-real).mean() - F.logsigmoid(fake).mean(), bce
        ),
        "AdversarialKullbackLeibler": (real.mean(), bce),
        "AdversarialWassersteinDistance": (
            real.mean() - fake.mean(), fake.mean() - real.mean()
        ),
        "AdversarialHinge": (
            -fake.mean(), F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        ),
        "AdversarialLeastSquares": (
            0.5 * (fake - 1).square().mean(),
            0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        ),
    }[name]  # fmt: skip


@pytest.mark.parametrize("objective", ALL)
def test_values_and_gradients_by_hand(objective):
    """Of both laws (a stochastic encoder and a generator) and the discriminator, to 1e-10 (G1)."""
    torch.manual_seed(0)
    encoder = nn.Linear(3, 4).double()
    generator = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    data = EmpiricalDistribution(["x"])
    q = (Normal(var=["z"], cond_var=["x"], net=encoder, name="q") * data).marginalize_var("x")
    p = Implicit(generator, var=["z"], noise=[2], name="p").double()
    loss = objective(q, p, net)
    x, e = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    noise = torch.randn(6, 2, dtype=torch.float64)
    loc, raw = encoder(x).chunk(2, -1)
    outputs = net(loc + F.softplus(raw) * e)[:, 0], net(generator(noise))[:, 0]
    mine, critics = hand(objective.__name__, *outputs)
    weights = [*encoder.parameters(), *generator.parameters(), *net.parameters()]
    needs = loss.program().draws
    given = {k: v for k, v in {"z": e, "noise_z": noise}.items() if k in needs}
    both = {"z": e, "noise_z": noise}
    pairs = [
        (loss.eval({"x": x}, noise=given, batch_n=6), mine),
        (loss.eval({"x": x}, noise=both, discriminator=True), critics),
    ]
    for found, wanted in pairs:
        assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-12)
        ours = torch.autograd.grad(found, weights, allow_unused=True)
        theirs = torch.autograd.grad(wanted, weights, allow_unused=True, retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("objective", ALL[:3])
def test_a_sum_with_an_expectation_trains_the_encoder(objective):
    """G1: beside an Expectation too, whose draw it shares; the encoder runs once."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(3, 4), nn.Linear(2, 3)
    data = EmpiricalDistribution(["first_image"])  # a name of several letters
    q = Normal(var=["z"], cond_var=["first_image"], net=encoder, name="q")
    p = Bernoulli(var=["first_image"], cond_var=["z"], net=decoder, name="p")
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p_0")
    aggregate = (q * data).marginalize_var("first_image")
    loss = -E(q, p.log_prob()).mean() + objective(aggregate, prior, nn.Linear(2, 1))
    calls = []
    encoder.register_forward_hook(lambda *a: calls.append(1))
    found = loss.eval({"first_image": (torch.rand(5, 3) > 0.5).float()})
    found.backward()
    assert len(calls) == 1
    assert encoder.weight.grad.abs().sum() > 0


# -- discriminators ------------------------------------------------------------------------------
class Pixyzs(Deterministic):
    """d(t|x) with a probability t, as Pixyz writes it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(var=["t"], cond_var=["x"], name="d")
        self.layer = layer

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"t": torch.sigmoid(self.layer(x))}


@pytest.mark.parametrize("objective", ALL[:2])
def test_three_forms_of_a_discriminator(objective):
    """A network of logits, a Bernoulli law and a law of probabilities are one discriminator."""
    torch.manual_seed(0)
    layer = nn.Linear(2, 1).double()
    data = EmpiricalDistribution(["x"])
    p = Normal(loc=nn.Parameter(torch.ones(2).double()), scale=1.0, var=["x"], name="p")
    forms = [layer, Bernoulli(var=["r"], cond_var=["x"], net=layer, name="d"), Pixyzs(layer)]
    x, noise = torch.randn(4, 2).double(), {"x": torch.randn(4, 2).double()}
    for discriminator in (True, False):
        if not discriminator and objective is AdversarialKullbackLeibler:
            noise = None  # the second law is not drawn from
        found = [
            objective(data, p, d).eval({"x": x}, noise=noise, discriminator=discriminator)
            for d in forms
        ]
        told = [value.item() for value in found]
        assert told == pytest.approx([told[0]] * 3, rel=1e-12)


def test_a_probability_that_has_rounded_to_one():
    """As Pixyz's cross-entropy does, its logarithm is bounded, and the gradient is no NaN."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1e4)
    data = EmpiricalDistribution(["x"])
    p = Normal(loc=nn.Parameter(torch.ones(1)), scale=1e-3, var=["x"], name="p")
    value = AdversarialJensenShannon(data, p, Pixyzs(layer)).dual().eval({"x": torch.ones(3, 1)})
    value.backward()
    assert value < -80
    assert torch.isfinite(p.loc.grad).all()
    assert torch.isfinite(layer.weight.grad).all()


def test_patches_are_averaged():
    """Pixyz wants outputs of shape (B, 1); a discriminator of patches has many."""
    torch.manual_seed(0)
    net = nn.Conv2d(1, 1, 2).double()
    data, x = EmpiricalDistribution(["x"]), torch.randn(3, 1, 4, 4).double()
    p = Normal(loc=nn.Parameter(torch.zeros(1, 4, 4).double()), scale=1.0, var=["x"], name="p")
    loss = AdversarialJensenShannon(data, p, net, patches=True)
    noise = torch.randn(3, 1, 4, 4).double()
    found = loss.eval({"x": x}, noise={"x": noise}, discriminator=True)
    wanted = -F.logsigmoid(net(x)).mean() - F.logsigmoid(-net(noise)).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)


# -- how it reads, and mistakes ------------------------------------------------------------------
def test_it_prints():
    p, q = normals(1.0)
    d = Function(nn.Linear(1, 1), name="d")
    loss = 2.0 * AdversarialKullbackLeibler(p, q, d) + KL(p, q)
    assert str(loss) == "2 KL_d[p(x) || q(x)] + KL[p(x) || q(x)]"
    assert loss.latex().startswith(r"2 D_{KL}^{d} \left[p(x)||q(x) \right]")
    assert "<msubsup><mi>D</mi><mi>KL</mi><mrow><mi>d</mi></mrow></msubsup>" in loss.mathml()
    dual = AdversarialKullbackLeibler(p, q, d).dual()
    assert str(dual) == "E_{p(x)}[log σ(d(x))] + E_{q(x)}[log(1 - σ(d(x)))]"
    assert r"\log \sigma(d(x))" in dual.latex()


def test_the_log_of_a_sigmoid_is_stable():
    x = values("x")
    given = {"x": torch.tensor(-200.0)}
    assert float(x.sigmoid().log().eval(given)) == -200.0
    assert float((1 - x.sigmoid()).log().eval({"x": torch.tensor(200.0)})) == -200.0
    assert float(x.sigmoid().eval(given)) == pytest.approx(0.0)
    assert str(x.sigmoid().log() + 1) == "log σ(x) + 1"


def test_loss_train_gives_the_two_lines():
    p, q = normals(1.0)
    js = AdversarialJensenShannon(p, q, nn.Linear(1, 1))
    with pytest.raises(TrainingError, match=r"(?s)owns no optimizer.*Model\(loss=.*\.train\("):
        js.loss_train({"x": torch.zeros(2, 1)})
    with pytest.raises(TrainingError, match="discriminator=True"):
        js.loss_test({"x": torch.zeros(2, 1)})


def test_mistakes_are_named():
    p, q = normals(1.0)
    d = nn.Linear(1, 1)
    with pytest.raises(VariableError, match=r"different variables: x and y. Rename one"):
        AdversarialJensenShannon(p, q.replace_var(x="y"), d)
    with pytest.raises(OptionError, match="compares two laws, got a Linear"):
        AdversarialKullbackLeibler(p, d, d)
    with pytest.raises(OptionError, match="takes a Function or network .* got str"):
        AdversarialKullbackLeibler(p, q, "d")
    with pytest.raises(OptionError, match="a Bernoulli law of one variable, or"):
        AdversarialKullbackLeibler(p, q, Normal(loc="x", scale=1.0, var=["r"], cond_var=["x"]))
    of_x, of_y = (Bernoulli(var=["r"], cond_var=[v], net=d, name="d") for v in ("x", "y"))
    with pytest.raises(VariableError, match="is given y, which"):
        AdversarialKullbackLeibler(p, q, of_y)
    with pytest.raises(OptionError, match="its output is any number, no probability"):
        AdversarialWassersteinDistance(p, q, of_x)
    with pytest.raises(TypeError, match="optimiser"):
        AdversarialJensenShannon(p, q, d, optimiser=torch.optim.Adam)
