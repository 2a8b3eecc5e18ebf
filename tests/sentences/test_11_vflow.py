"""Sentence 11: VFlow, a flow over data and noise whose posterior is a flow; and Flow++."""

import math

import pytest
import torch
from torch import nn

from ancestral.bijections import Affine, AffineCoupling, Bijection, ConditionalAffine, Sigmoid
from ancestral.distributions import Normal, NormalizingFlow, Uniform
from ancestral.losses import E, values
from ancestral.models import Model
from ancestral.program import instructions as ir
from tests.lowering.reading import twice
from tests.sentences.counting import agrees, counted, draws, passes

f64 = torch.float64
ROWS, X, Z, C = 6, 3, 2, 4
x, u = values("x u")


def net(width, outputs):
    return nn.Linear(width, outputs).double()


def standard(size):
    return Normal(loc=0.0, scale=1.0, features_shape=[size], name="p_0").double()


class Laws:
    """p(x,z): two couplings; q(z|x): an affine map and a coupling, which read one context."""

    def __init__(self):
        torch.manual_seed(0)
        self.encoder, self.affine, self.coupling = net(X, C), net(C, 2 * Z), net(1 + C, 2)
        self.layers = [net(3, 4), net(3, 4)]
        self.q = NormalizingFlow(
            standard(Z),
            [ConditionalAffine(self.affine), AffineCoupling(self.coupling, conditional=True)],
            var=["z"], cond_var=["x"], context=self.encoder, name="q",
        )  # fmt: skip
        self.p = NormalizingFlow(
            standard(X + Z),
            [AffineCoupling(layer, flip=bool(i)) for i, layer in enumerate(self.layers)],
            var=["x", "z"], name="p",
        )  # fmt: skip
        self.batch = {"x": torch.randn(ROWS, X, dtype=f64)}

    @property
    def networks(self):
        first, second = self.layers
        return {"context": self.encoder, "affine": self.affine, "coupling": self.coupling,
                "first": first, "second": second}  # fmt: skip

    def bound(self):
        return E(self.q, self.p.log_prob() - self.q.log_prob())


@pytest.fixture
def laws():
    return Laws()


def log_normal(value):
    return (-0.5 * value**2 - 0.5 * math.log(2 * math.pi)).sum(-1)


# -- VFlow ----------------------------------------------------------------------------------------
def test_it_prints_as_the_paper_writes_it(laws):
    vflow = laws.bound()
    assert str(vflow) == "E_{q(z|x)}[log p(x,z) - log q(z|x)]"
    assert vflow.latex() == (r"\mathbb{E}_{q(z|x)} \left[\log p(x,z) - \log q(z|x) \right]")


def test_its_program_draws_with_the_density_and_inverts_p_alone(laws):
    program = laws.bound().program()
    moved = [(str(s.text), s.inverse) for s in program.steps if isinstance(s, ir.Transform)]
    assert moved == [("q(z|x)", False), ("p(x,z)", True)]
    calls = [str(s.text) for s in program.steps if isinstance(s, ir.Call)]
    assert calls == ["context of q(z|x)", "(x,z) side by side"]
    listing = str(program)
    assert "f of q(z|x) at z.base given" in listing
    assert "f⁻¹ of p(x,z)" in listing
    assert "f⁻¹ of q" not in listing


def test_one_draw_and_one_pass_of_each_network(laws):
    loss = -laws.bound().mean()
    assert draws(loss) == ["z.base"]
    assert passes(loss) == ["p_0('z.base')", "p_0('(x,z).base')"]  # constants: nothing runs
    function = loss.function()
    for _ in range(2):  # the interpreter, the generated step
        with counted(**laws.networks) as seen:
            function(laws.batch)
        assert seen == {name: [ROWS] for name in laws.networks}
    with counted(**laws.networks) as seen:  # x is repeated for each draw, its context is not
        E(laws.q, laws.p.log_prob() - laws.q.log_prob(), sample_shape=5).eval(laws.batch)
    assert seen == {n: [ROWS if n == "context" else 5 * ROWS] for n in laws.networks}


def test_value_and_gradient_by_hand(laws):
    eps = torch.randn(ROWS, Z, dtype=f64)

    def hand():
        data = laws.batch["x"]
        c = laws.encoder(data)
        t, s = laws.affine(c).chunk(2, -1)
        h = t + s.exp() * eps
        t2, s2 = laws.coupling(torch.cat([h[:, :1], c], -1)).chunk(2, -1)
        z = torch.cat([h[:, :1], h[:, 1:] * s2.exp() + t2], -1)
        log_q = log_normal(eps) - s.sum(-1) - s2.sum(-1)
        v = torch.cat([data, z], -1)
        t3, s3 = laws.layers[1](v[:, 2:]).chunk(2, -1)  # the last layer: its first part moves
        w = torch.cat([(v[:, :2] - t3) * (-s3).exp(), v[:, 2:]], -1)
        t4, s4 = laws.layers[0](w[:, :3]).chunk(2, -1)
        e = torch.cat([w[:, :3], (w[:, 3:] - t4) * (-s4).exp()], -1)
        log_p = log_normal(e) - s3.sum(-1) - s4.sum(-1)
        return -(log_p - log_q).mean()

    agrees(-laws.bound().mean(), laws.batch, hand, [*laws.networks.values()],
           noise={"z.base": eps})  # fmt: skip


def test_linear_flows_are_gaussian_and_the_exact_posterior_makes_the_bound_tight():
    """(x, z) = A e + b is normal, so that log p(x,z), q(z|x) and log p(x) are known; with that q
    the bound is log p(x) at every draw, and its gradient in q is 0 at every draw too.
    """
    torch.manual_seed(1)
    layers = [net(3, 4), net(3, 4)]
    with torch.no_grad():
        for layer in layers:
            layer.weight[2:] = 0.0  # constant factors: the map is affine
    f = [AffineCoupling(layer, flip=bool(i)) for i, layer in enumerate(layers)]
    p = NormalizingFlow(standard(X + Z), f, var=["x", "z"], name="p")
    zero = torch.zeros(1, X + Z, dtype=f64)
    b = p.bijection(zero)[0].detach()
    a = p.bijection(torch.eye(X + Z, dtype=f64)).detach().T - b[:, None]
    joint = torch.distributions.MultivariateNormal(b, a @ a.T)
    data, point = torch.randn(ROWS, X, dtype=f64), torch.randn(ROWS, Z, dtype=f64)
    found = twice(p.log_prob(), {"x": data, "z": point})
    torch.testing.assert_close(found, joint.log_prob(torch.cat([data, point], -1)))

    cov = a @ a.T
    gain = torch.linalg.solve(cov[:X, :X], cov[:X, X:]).T  # (Z, X)
    tril = torch.linalg.cholesky(cov[X:, X:] - gain @ cov[:X, X:])
    affine, shear = net(X, 2 * Z), net(1 + X, 2)
    with torch.no_grad():
        affine.weight.copy_(torch.cat([gain, torch.zeros(Z, X, dtype=f64)]))
        affine.bias.copy_(torch.cat([b[X:] - gain @ b[:X], tril.diagonal().log()]))
        shear.weight.zero_(), shear.bias.zero_()
        shear.weight[0, 0] = tril[1, 0] / tril[1, 1]  # e_2 + l_21 / l_22 e_1
    q = NormalizingFlow(
        standard(Z),
        [AffineCoupling(shear, conditional=True), ConditionalAffine(affine)],
        var=["z"], cond_var=["x"], name="q",
    )  # fmt: skip
    bound = twice(E(q, p.log_prob() - q.log_prob()), {"x": data})
    marginal = torch.distributions.MultivariateNormal(b[:X], cov[:X, :X])
    torch.testing.assert_close(bound, marginal.log_prob(data))
    exact = q.log_prob()  # the posterior itself, at another point than a draw
    wanted = joint.log_prob(torch.cat([data, point], -1)) - marginal.log_prob(data)
    torch.testing.assert_close(twice(exact, {"x": data, "z": point}), wanted)
    loss = E(q, p.log_prob() - q.detach().log_prob()).mean()  # the path alone
    slopes = torch.autograd.grad(loss.eval({"x": data}), [affine.weight, affine.bias])
    for slope in slopes:
        torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-10, rtol=0.0)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_without_noise_it_is_the_plain_flow_to_the_bit():
    """dim z = 0: q draws nothing, and no random number is used."""
    torch.manual_seed(0)
    layers = [net(2, 2), net(2, 2)]
    f = [AffineCoupling(layer, flip=bool(i)) for i, layer in enumerate(layers)]
    plain = NormalizingFlow(standard(X), f, var=["x"], name="p")
    both = NormalizingFlow(standard(X), f, var=["x", "z"], name="p", sizes=[X, 0])
    conditional = [ConditionalAffine(net(C, 0)), AffineCoupling(net(C, 0), conditional=True)]
    q = NormalizingFlow(standard(0), conditional, var=["z"], cond_var=["x"], context=net(X, C))
    batch = {"x": torch.randn(ROWS, X, dtype=f64)}
    state = torch.get_rng_state()
    found = twice(E(q, both.log_prob() - q.log_prob()), batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found, twice(plain.log_prob(), batch))
    assert q.sample(batch)["z"].shape == (ROWS, 0)
    assert both.sample(batch_n=2)["z"].shape == (2, 0)


def test_it_trains_both_flows(laws):
    torch.manual_seed(2)
    with torch.no_grad():
        for network in laws.networks.values():
            network.weight.mul_(0.1), network.bias.zero_()  # near the identity, as flows start
    data = 0.3 * torch.randn(200, X, dtype=f64) + 0.5
    model = Model(
        loss=-laws.bound().mean(),
        distributions=[laws.p, laws.q],
        optimizer_params={"lr": 3e-3},
    )
    first = float(model.test({"x": data}))
    for _ in range(80):
        model.train({"x": data})
    assert float(model.test({"x": data})) < first - 0.3
    assert all(network.weight.grad is not None for network in laws.networks.values())


@pytest.mark.usefixtures("compiler_is_imported")
def test_it_is_one_graph(laws):
    loss = -laws.bound().mean()
    noise = {"z.base": torch.randn(ROWS, Z, dtype=f64)}
    function = loss.function(compile="eager")
    for _ in range(2):  # the interpreter; what is generated follows
        found = function(laws.batch, noise=noise)
    torch.testing.assert_close(found, loss.eval(laws.batch, noise=noise))


# -- Flow++ ---------------------------------------------------------------------------------------
class Plus:
    """log p(x + u), u ~ q(u|x) in (0, 1): a flow over numbers for whole numbers x."""

    def __init__(self):
        torch.manual_seed(0)
        self.encoder, self.noise, self.layer = net(X, C), net(C, 2 * X), net(2, 2)
        self.q = NormalizingFlow(
            standard(X), [ConditionalAffine(self.noise), Sigmoid()],
            var=["u"], cond_var=["x"], context=self.encoder, name="q",
        )  # fmt: skip
        stretch = Affine(torch.tensor(3.0, dtype=f64), torch.tensor(2.0, dtype=f64))
        layers = [AffineCoupling(self.layer), stretch]
        self.p = NormalizingFlow(standard(X), layers, var=["x"], name="p")
        self.batch = {"x": torch.randint(0, 8, (ROWS, X)).double()}

    def bound(self):
        return E(self.q, self.p.log_prob().replace_var(x=x + u) - self.q.log_prob())


def test_flow_plus_plus_prints_and_runs_each_network_once():
    plus = Plus()
    loss = plus.bound()
    assert str(loss) == "E_{q(u|x)}[log p(x + u) - log q(u|x)]"
    assert loss.latex() == (r"\mathbb{E}_{q(u|x)} \left[\log p(x + u) - \log q(u|x) \right]")
    assert draws(loss) == ["u.base"]
    function = loss.function()
    for _ in range(2):
        with counted(context=plus.encoder, noise=plus.noise, layer=plus.layer) as seen:
            function(plus.batch)
        assert seen == {"context": [ROWS], "noise": [ROWS], "layer": [ROWS]}


def test_flow_plus_plus_by_hand():
    """The gradient passes through u into q, as well as into p."""
    plus, eps = Plus(), torch.randn(ROWS, X, dtype=f64)

    def hand():
        data = plus.batch["x"]
        t, s = plus.noise(plus.encoder(data)).chunk(2, -1)
        h = t + s.exp() * eps
        slope = nn.functional.logsigmoid(h) + nn.functional.logsigmoid(-h)
        log_q = log_normal(eps) - s.sum(-1) - slope.sum(-1)
        v = (data + h.sigmoid() - 3.0) / 2.0
        t2, s2 = plus.layer(v[:, :2]).chunk(2, -1)
        e = torch.cat([v[:, :2], (v[:, 2:] - t2) * (-s2).exp()], -1)
        log_p = log_normal(e) - s2.sum(-1) - X * math.log(2.0)
        return -(log_p - log_q).mean()

    agrees(-plus.bound().mean(), plus.batch, hand, [plus.encoder, plus.noise, plus.layer],
           noise={"u.base": eps})  # fmt: skip


class Within(Bijection):
    """From (0, 1) to the noise of a logistic law between c and c + 1: the exact q(u|x)."""

    takes_context = True

    def forward_and_log_det(self, x, context=None):
        low, high = context.sigmoid(), (context + 1).sigmoid()
        at = low + x * (high - low)
        return at.logit() - context, (high - low).log() - at.log() - (1 - at).log()

    def inverse_and_log_det(self, y, context=None):
        raise AssertionError("the noise is the flow's own draw")


def test_the_exact_noise_makes_the_bound_the_probability_of_whole_numbers():
    """log P(x) = log(F(x + 1) - F(x)) at every draw, where q(u|x) is p(x + u) / P(x)."""
    p = NormalizingFlow(standard(2), [Cdf()], var=["x"], name="p")
    uniform = Uniform(low=0.0, high=1.0, features_shape=[2]).double()
    q = NormalizingFlow(uniform, Within(), var=["u"], cond_var=["x"], name="q")
    data = torch.randint(-4, 4, (ROWS, 2)).double()
    found = twice(E(q, p.log_prob().replace_var(x=x + u) - q.log_prob()), {"x": data})
    wanted = ((data + 1).sigmoid() - data.sigmoid()).log().sum(-1)
    torch.testing.assert_close(found, wanted)


class Cdf(Bijection):
    """A standard normal number as a logistic one, by its distribution function."""

    def forward_and_log_det(self, x):
        raise AssertionError("a density needs the inverse")

    def inverse_and_log_det(self, y):
        z = torch.special.ndtri(y.sigmoid())
        slope = nn.functional.logsigmoid(y) + nn.functional.logsigmoid(-y)
        return z, slope + 0.5 * z**2 + 0.5 * math.log(2 * math.pi)
