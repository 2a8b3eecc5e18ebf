"""Sentence 9: maximum mean discrepancy; copies of a law of the batch are different rows."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import integrate
from torch import nn

from ancestral.core.errors import OptionError, ShapeError, VariableError
from ancestral.distributions import Bernoulli, EmpiricalDistribution, Implicit, Normal
from ancestral.losses import MMD, E, EnergyDistance, Function, Pairs, Score, sqnorm, values
from tests.lowering.reading import twice
from tests.sentences.counting import agrees, counted, draws, passes

ROWS = 7
p_data = EmpiricalDistribution(["x"])


def k(a, b):
    return (-0.5 * sqnorm(a - b)).exp()


def kernel(a, b):
    return torch.exp(-0.5 * (a - b).square().sum(-1))


class Laws:
    """An InfoVAE: encoder, decoder, generator of latents, in float64."""

    def __init__(self):
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(5, 4).double(), nn.Linear(2, 5).double()
        self.generator = nn.Linear(3, 2).double()
        self.q = Normal(var=["z"], cond_var=["x"], net=self.encoder, name="q")
        self.p = Bernoulli(var=["x"], cond_var=["z"], net=self.decoder, name="p")
        self.noise = Normal(loc=0.0, scale=1.0, var=["e"], features_shape=[3], name="p_e").double()
        self.g = Implicit(self.generator, var=["y"], noise=self.noise, name="g")
        self.aggregate = (self.q * p_data).marginalize_var("x")
        self.x = (torch.rand(ROWS, 5) > 0.5).double()

    def written_out(self, kernel=k):
        p, r = self.g, self.aggregate
        y, y1, z, z1 = values("y y1 z z1")
        return (
            E(p * p.replace_var(y="y1"), kernel(y, y1))
            - 2 * E(p * r, kernel(y, z))
            + E(r * r.replace_var(z="z1"), kernel(z, z1))
        ).estimate({p: Pairs(), r: Pairs()})


@pytest.fixture
def laws():
    return Laws()


def test_it_prints_as_the_definition(laws):
    loss = laws.written_out(Function(kernel, name="k"))
    assert str(loss) == (
        "E_{g(y)g(y1)}[k(y, y1)] - 2 E_{g(y)q(z)}[k(y, z)] + E_{q(z)q(z1)}[k(z, z1)]"
    )
    assert loss.latex() == (
        r"\mathbb{E}_{g(y)g(y1)} \left[k(y, y1) \right] - 2 \mathbb{E}_{g(y)q(z)} "
        r"\left[k(y, z) \right] + \mathbb{E}_{q(z)q(z1)} \left[k(z, z1) \right]"
    )
    named = MMD(laws.g, laws.aggregate, kernel=Function(kernel, name="k"))
    assert str(named) == str(loss).replace("y1", "y'").replace("z1", "z'")


def test_each_law_is_drawn_once_with_the_reconstruction(laws):
    infovae = E(laws.q, laws.p.log_prob()).mean() - 10 * laws.written_out()
    assert draws(infovae) == ["z", "e"]
    assert passes(infovae) == ["q(z|x)", "p(x|z)", "p_e(e)", "g(y|e)"]
    function = infovae.function()
    for _ in range(2):
        with counted(q=laws.encoder, p=laws.decoder, g=laws.generator) as seen:
            function({"x": laws.x})
        assert seen == {"q": [ROWS], "p": [ROWS], "g": [ROWS]}


def test_value_and_gradient_by_hand(laws):
    eps, e = torch.randn(ROWS, 2).double(), torch.randn(ROWS, 3).double()

    def mean_of_pairs(a):
        pairs = [kernel(a[i], a[j]) for i in range(ROWS) for j in range(ROWS) if i != j]
        return sum(pairs) / len(pairs)

    def hand():
        loc, raw = laws.encoder(laws.x).chunk(2, -1)
        z, y = loc + F.softplus(raw) * eps, laws.generator(e)
        log_p = -F.binary_cross_entropy_with_logits(laws.decoder(z), laws.x, reduction="none")
        cross = sum(kernel(y[i], z[j]) for i in range(ROWS) for j in range(ROWS)) / ROWS**2
        return log_p.sum(-1).mean() - 10 * (mean_of_pairs(y) - 2 * cross + mean_of_pairs(z))

    batch, noise = {"x": laws.x}, {"z": eps, "e": e}
    networks = [laws.encoder, laws.decoder, laws.generator]
    bound = E(laws.q, laws.p.log_prob()).mean()
    for discrepancy in (laws.written_out(), MMD(laws.g, laws.aggregate)):
        agrees(bound - 10 * discrepancy, batch, hand, networks, noise=noise)


def test_the_named_objective_lowers_to_the_same_program(laws):
    named, written = MMD(laws.g, laws.aggregate), laws.written_out()
    assert str(named.program()) == str(written.program())


def test_rows_of_one_draw_are_unbiased_where_all_pairs_are_not():
    """B = 8, encoder N(x, .1^2), x ~ N(0, 1): exact .5754; with the pairs i = j .6273."""
    batch, v = 8, 1 + 0.1**2
    exact = 1 / math.sqrt(1 + 2 * v)
    with_diagonal = exact * (1 - 1 / batch) + 1 / math.sqrt(1 + 2 * 0.1**2) / batch
    assert (round(exact, 4), round(with_diagonal, 4)) == (0.5754, 0.6273)
    q = Normal(var=["z"], cond_var=["x"], loc="x", scale=0.1, name="q")
    r = (q * p_data).marginalize_var("x")
    z, z1 = values("z z1")
    loss = E(r * r.replace_var(z="z1"), k(z, z1)).function()
    torch.manual_seed(2)
    found = torch.stack([loss({"x": torch.randn(batch, 1)}) for _ in range(3000)]).double()
    assert abs(float(found.mean()) - exact) < 5 * float(found.std()) / math.sqrt(len(found))
    assert 5 * float(found.std()) / math.sqrt(len(found)) < 0.3 * (with_diagonal - exact)


def test_gaussians_have_the_closed_form():
    """O17: E k = h / sqrt(h^2 + v) exp(-d^2 / 2(h^2 + v)) with v = s1^2 + s2^2, each coordinate."""
    p = Normal(var=["x"], loc=0.5, scale=0.8).double()
    r = Normal(var=["x"], loc=-0.3, scale=1.5, name="r").double()

    def mean(d, v, h):
        return h / math.sqrt(h**2 + v) * math.exp(-(d**2) / (2 * (h**2 + v)))

    for h in (0.7, 2.0):
        exact = mean(0, 2 * 0.64, h) - 2 * mean(0.8, 0.64 + 2.25, h) + mean(0, 2 * 2.25, h)
        torch.manual_seed(0)
        function = MMD(p, r, bandwidth=h).function()
        found = torch.stack([function(batch_n=500) for _ in range(60)])
        assert abs(float(found.mean()) - exact) < 5 * float(found.std()) / math.sqrt(len(found))
        assert float(found.std()) / math.sqrt(len(found)) < 0.05 * exact


@pytest.mark.parametrize("widths", [0.7, [0.5, 1.0, 3.0]], ids=str)
def test_gaussians_by_inverse_multiquadrics_have_the_integral(widths):
    """h^2 / (h^2 + s) is the integral of e^(-t - t s / h^2) over t > 0, so that its mean is one of
    Gaussian means; of several widths their sum. Value, and gradient in a mean, in two dimensions.
    """
    spread = {"p": (0.8, 1.1), "r": (1.5, 0.6)}
    loc = nn.Parameter(torch.tensor([0.5, -0.2], dtype=torch.float64))
    law = {"var": ["x"], "name": "p"}
    p = Normal(loc=loc, scale=torch.tensor(spread["p"]).double(), **law)
    r = Normal(loc=torch.tensor([-0.9, 0.4]).double(), scale=torch.tensor(spread["r"]).double(),
               var=["x"], name="r")  # fmt: skip

    def mean(gap, one, other, h):
        def at(t):
            out = math.exp(-t)
            for d, s1, s2 in zip(gap, spread[one], spread[other], strict=True):
                wide = 1 + 2 * t * (s1**2 + s2**2) / h**2
                out *= math.exp(-t * d**2 / h**2 / wide) / math.sqrt(wide)
            return out

        return integrate.quad(at, 0, math.inf, epsabs=1e-12, epsrel=1e-12)[0]

    def exact(shift):
        gap = (1.4 + shift, -0.6)
        every = widths if isinstance(widths, list) else [widths]
        parts = [((0, 0), "p", "p", 1), (gap, "p", "r", -2), ((0, 0), "r", "r", 1)]
        return sum(c * mean(d, one, other, h) for h in every for d, one, other, c in parts)

    torch.manual_seed(0)
    function = MMD(p, r, "inverse_multiquadric", bandwidth=widths).function()
    found = []
    for _ in range(60):
        value = function(batch_n=150)
        found.append([float(value.detach()), float(torch.autograd.grad(value, loc)[0][0])])
    each = torch.tensor(found, dtype=torch.float64)
    error = each.std(0) / math.sqrt(len(each))
    wanted = torch.tensor([exact(0.0), (exact(1e-4) - exact(-1e-4)) / 2e-4]).double()
    assert ((each.mean(0) - wanted).abs() < 5 * error).all()
    assert (5 * error < 0.2 * wanted.abs()).all()  # a bias of a fifth would be seen


def test_equal_laws_are_no_distance_apart():
    """V1: two identical N(0, I_3), N = 200; Pixyz has 1323.7 there, and inf for one dimension."""
    for d in (1, 3):
        p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[d])
        r = Normal(var=["y"], loc=0.0, scale=1.0, features_shape=[d], name="r")
        for distance in (MMD(p, r), EnergyDistance(p, r)):
            function = distance.function()
            found = torch.stack([function(batch_n=200) for _ in range(40)])
            error = float(found.std()) / math.sqrt(len(found))
            assert abs(float(found.mean())) < 5 * error < 0.02
            assert bool((found < 0).any())  # unbiased: of both signs


def test_the_energy_distance_of_shifted_points():
    """Of points at 0 and at d it is 2 d."""
    p, r = EmpiricalDistribution(["a"], name="p_a"), EmpiricalDistribution(["b"], name="p_b")
    batch = {"a": torch.zeros(4, 2), "b": torch.zeros(4, 2) + torch.tensor([3.0, 4.0])}
    assert twice(EnergyDistance(p, r), batch).item() == pytest.approx(10.0)
    assert torch.isfinite(twice(EnergyDistance(p, r), batch))


def test_the_gradient_reaches_a_stochastic_encoder(laws):
    """G1: in Pixyz the term is a constant to the encoder."""
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
    MMD(laws.aggregate, prior).eval({"x": laws.x}).backward()
    assert all(w.grad.abs().sum() > 0 for w in laws.encoder.parameters())


def test_data_pairs_are_different_rows():
    x, x1 = values("x x1")
    both = p_data * p_data.replace_var(x="x1")
    loss = E(both, (x - x1) ** 2 / 2)
    assert loss.input_var == ["x"]
    batch = {"x": torch.tensor([1.0, 2.0, 4.0, 9.0])}
    assert twice(loss, batch).item() == pytest.approx(batch["x"].var().item())
    half = loss.estimate({p_data: Pairs(disjoint=True)})
    assert twice(half, batch).item() == pytest.approx((3**2 + 7**2) / 4)
    drawn = both.sample(batch)
    assert set(drawn) == {"x", "x1"}
    assert bool((drawn["x"] != drawn["x1"]).all())
    with pytest.raises(ShapeError, match="different rows, but the batch has 1"):
        loss.eval({"x": torch.ones(1)})
    with pytest.raises(ShapeError, match="different rows, but the batch has 1"):
        both.sample({"x": torch.ones(1)})


def test_three_copies_are_three_rows():
    x, x1, x2 = values("x x1 x2")
    three = p_data * p_data.replace_var(x="x1") * p_data.replace_var(x="x2")
    rows = torch.tensor([1.0, 2.0, 4.0, 9.0])
    every = [
        rows[i] * rows[j] ** 2 * rows[m]
        for i in range(4)
        for j in range(4)
        for m in range(4)
        if len({i, j, m}) == 3
    ]
    found = twice(E(three, x * x1**2 * x2), {"x": rows})
    assert found.item() == pytest.approx(float(sum(every)) / len(every))


def test_what_a_copy_alone_reads_is_computed_on_the_rows_alone(laws):
    """A network at both copies runs once, on n rows, and not on pairs."""
    r, f = laws.aggregate, Function(laws.decoder, name="f")
    z, z1 = values("z z1")
    loss = E(r * r.replace_var(z="z1"), sqnorm(f(z) - f(z1)))
    with counted(f=laws.decoder, q=laws.encoder) as seen:
        loss.eval({"x": laws.x})
    assert seen == {"f": [ROWS], "q": [ROWS]}


def test_the_score_gradient_counts_both_rows():
    """E[(b - b1)^2] = 2 v (1 - v) for bits of probability v: its slope by v is 2 - 4 v."""
    logit = nn.Parameter(torch.tensor([0.4], dtype=torch.float64))
    q = Bernoulli(var=["b"], cond_var=["x"], net=lambda x: logit.expand(len(x), 1), name="q")
    r = (q * p_data).marginalize_var("x")
    b, b1 = values("b b1")
    loss = E(r * r.replace_var(b="b1"), sqnorm(b - b1)).estimate({q: Score()}).function()
    v = torch.sigmoid(logit.detach())
    exact = float((2 - 4 * v) * v * (1 - v))
    torch.manual_seed(0)
    x = torch.zeros(200, 1).double()
    slopes = torch.stack([torch.autograd.grad(loss({"x": x}), logit)[0] for _ in range(400)])
    error = float(slopes.std()) / math.sqrt(len(slopes))
    assert abs(float(slopes.mean()) - exact) < 5 * error < 0.5 * abs(exact)


def test_what_is_refused(laws):
    with pytest.raises(VariableError, match="one variable without conditions"):
        MMD(laws.q, laws.g)
    with pytest.raises(OptionError, match="did you mean 'gaussian'"):
        MMD(laws.g, laws.aggregate, kernel="gausian")
    with pytest.raises(OptionError, match="positive number"):
        MMD(laws.g, laws.aggregate, bandwidth=0)
