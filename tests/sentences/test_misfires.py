"""When does "no gradient reaches a parameter it mentions" misfire: one test per row.

Legal models run without error or warning and have the gradient of an evaluation by hand. What is
silently wrong elsewhere raises, or, where nobody could see it, the test states what happens.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import GradientError, TrainingError
from ancestral.distributions import (
    Categorical,
    Deterministic,
    EmpiricalDistribution,
    EnergyModel,
    Normal,
    Simulator,
)
from ancestral.losses import (
    KL,
    E,
    Entropy,
    Enumerate,
    Function,
    LeaveOneOut,
    Parameter,
    Score,
    StraightThrough,
    norm,
    sqnorm,
    values,
)
from ancestral.models import Model, Player
from tests.sentences.counting import agrees

ROWS, PIXELS, LATENT = 5, 4, 2
f64 = torch.float64
x, y, z = values("x y z")
legal = pytest.mark.filterwarnings("error")  # a legal model is not warned of either


class Normals(nn.Module):
    """The loc, of scale 1 elsewhere; or loc and scale from heads of their own."""

    def __init__(self, inputs, outputs, *, scale=False):
        super().__init__()
        self.loc = nn.Linear(inputs, outputs)
        self.raw = nn.Linear(inputs, outputs) if scale else None

    def forward(self, given):
        found = {"loc": self.loc(given)}
        return found | ({"scale": F.softplus(self.raw(given))} if self.raw else {})


def encoder(*, scale=False):
    """q(z|x)."""
    given = {} if scale else {"scale": 1.0}
    net = Normals(PIXELS, LATENT, scale=scale)
    return Normal(var=["z"], cond_var=["x"], net=net, name="q", **given).double()


def decoder():
    """p(x|z), of scale 1."""
    net = Normals(LATENT, PIXELS)
    return Normal(var=["x"], cond_var=["z"], net=net, scale=1.0, name="p").double()


def standard(var="z", size=LATENT, name="p"):
    """A law without parameters."""
    return Normal(var=[var], loc=0.0, scale=1.0, features_shape=[size], name=name).double()


def log_normal(value, loc, scale):
    """Summed over the event."""
    return torch.distributions.Normal(loc, scale).log_prob(value).sum(-1)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {"x": torch.randn(ROWS, PIXELS, dtype=f64)}


def steps(loss, batch, *modules, **options):
    """Two steps of a model; which of the modules have moved."""
    model = loss if isinstance(loss, Model) else Model(loss, **options)
    before = [nn.utils.parameters_to_vector(m.parameters()).clone() for m in modules]
    for _ in range(2):
        model.train(batch)
    after = (nn.utils.parameters_to_vector(m.parameters()) for m in modules)
    return [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]


# -- false alarms ---------------------------------------------------------------------------------
@legal
def test_an_entropy_that_no_parameter_moves(batch):
    """Of H(q) the loc has no derivative, and with scale 1 nothing has: both are zero, no error."""
    eps = torch.randn(ROWS, LATENT, dtype=f64)
    for scale in (False, True):
        q, p = encoder(scale=scale), decoder()

        def hand(q=q, p=p):
            made = q.net(batch["x"])
            s = made.get("scale", torch.ones(1, dtype=f64))
            value = made["loc"] + s * eps
            entropy = torch.distributions.Normal(made["loc"], s).entropy().sum(-1)
            return (log_normal(batch["x"], p.net(value)["loc"], 1.0) + entropy).mean()

        for term in (Entropy(q), Entropy(q, analytical=False)):
            if term.analytical or scale is False:
                assert torch.isfinite(term.mean().eval(batch))
            elbo = E(q, p.log_prob()) + term
            assert steps(-elbo.mean(), batch, q, p) == [True, True]
        agrees((E(q, p.log_prob()) + Entropy(q)).mean(), batch, hand, [q, p], noise={"z": eps})


@legal
def test_each_player_mentions_the_other(batch):
    """D stands in G's loss and G in D's; what the other owns is a constant to each."""
    noise, data = standard("e", 2, "p_e"), EmpiricalDistribution(["x"])
    g = Deterministic(var=["x_f"], cond_var=["e"], net=nn.Linear(2, PIXELS), name="g").double()
    net = nn.Linear(PIXELS, 1).double()
    d, x_f = Function(net, name="d"), values("x_f")
    game = E(data, d(x)) - E(g * noise, d(x_f))
    model = Model(
        players=[
            Player("d", maximise=game - 0.1 * E(data, norm(d.grad(x))), over=[d]),
            Player("g", minimise=game, over=[g]),
        ]
    )
    eps = torch.randn(ROWS, 2, dtype=f64)
    model.play_next(batch, noise={"e": eps})  # d's
    wanted = torch.autograd.grad(-net(g.net(eps)).mean(), list(g.parameters()))
    model.play_next(batch, noise={"e": eps})
    for w, slope in zip(g.parameters(), wanted, strict=True):
        torch.testing.assert_close(w.grad, slope)
    assert steps(model, batch, g.net, net) == [True, True]


@legal
def test_copies_that_no_gradient_reaches(batch):
    """An averaged target, a frozen autoencoder, a simulator with parameters of its own."""
    net, frozen = nn.Linear(PIXELS, PIXELS).double(), nn.Linear(PIXELS, PIXELS).double()
    frozen.requires_grad_(False)
    f, into = Function(net, name="f"), Function(frozen, name="e")
    data = EmpiricalDistribution(["x"])
    loss = E(data, sqnorm(f(into(x)) - f.ema(0.9)(x)))
    assert steps(loss, batch, net, frozen) == [True, False]

    program = nn.Linear(LATENT, PIXELS).double().requires_grad_(False)
    sim = Simulator(program, var=["x"], cond_var=["z"], name="p").double()
    q = encoder()
    npe = E(sim * standard(), -q.log_prob())
    assert Model(npe, distributions=[q]).train(batch_n=ROWS).isfinite()
    program.requires_grad_(True)
    assert (
        Model(E(sim.detach() * standard(), -q.log_prob()), distributions=[q])
        .train(batch_n=ROWS)
        .isfinite()
    )


K = 3


@legal
@pytest.mark.parametrize("which", ["sticking the landing", "wake", "sleep"])
def test_estimators_that_cut_on_purpose(batch, which):
    """Written with detach they are equations: the score term of q is left out, or q's draw is."""
    q, p, prior = encoder(scale=True), decoder(), standard(name="p_z")
    eps = torch.randn(ROWS, LATENT, dtype=f64)
    joint = (p * prior).log_prob()

    def normal(law, given):
        made = law.net(given)
        return made["loc"], made.get("scale", torch.ones(1, dtype=f64))

    if which == "sticking the landing":
        loss = E(q, joint - q.detach().log_prob()).mean()

        def hand():
            m, s = normal(q, batch["x"])
            value = m + s * eps
            log_q = log_normal(value, m.detach(), s.detach())
            log_p = log_normal(batch["x"], p.net(value)["loc"], 1.0) + log_normal(value, 0.0, 1.0)
            return (log_p - log_q).mean()

        agrees(loss, batch, hand, [q, p], noise={"z": eps})
    elif which == "wake":
        eps = torch.randn(K, ROWS, LATENT, dtype=f64)
        w = (joint - q.log_prob()).exp().detach()
        of = joint + q.log_prob()
        loss = E(q.detach().iid(k=K), (w * of).sum("k") / w.sum("k")).mean()

        def hand():
            m, s = normal(q, batch["x"])
            value = (m + s * eps).detach()
            log_q = log_normal(value, m, s)
            log_p = log_normal(batch["x"], p.net(value)["loc"], 1.0) + log_normal(value, 0.0, 1.0)
            weight = torch.softmax((log_p - log_q).detach(), 0)
            return (weight * (log_p + log_q)).sum(0).mean()

        agrees(loss, batch, hand, [q, p], noise={"z": eps})
    else:  # the draw of p trains nothing of p
        loss = E(p.detach() * prior, -q.log_prob())
        noise = {"z": eps, "x": torch.randn(ROWS, PIXELS, dtype=f64)}

        def hand():
            given = (p.net(eps)["loc"] + noise["x"]).detach()
            return -log_normal(eps, *normal(q, given)).mean()

        agrees(loss, {}, hand, [q], noise=noise, batch_n=ROWS)
    assert torch.isfinite(Model(-loss, distributions=[q, p] if which != "sleep" else [q]).train(
        batch if which != "sleep" else None, batch_n=None if which != "sleep" else ROWS
    ))  # fmt: skip


@legal
def test_a_number_without_gradient(batch):
    """An accuracy as test loss, whose draw or argmax has no derivative; eval for a number."""
    net = nn.Linear(PIXELS, 3).double()
    q = Categorical(var=["y"], cond_var=["x"], net=net, name="q")
    labels = F.one_hot(torch.arange(ROWS) % 3, 3).double()
    data = {**batch, "y": labels}
    right = Function(lambda a, b: (a.argmax(-1) == b.argmax(-1)).double(), name="right")
    logits = Function(net, name="logits")
    model = Model(-q.log_prob().mean(), test_loss=right(logits(x), y).mean())
    model.train(data)
    wanted = (net(batch["x"]).argmax(-1) == labels.argmax(-1)).double().mean()
    torch.testing.assert_close(model.test(data), wanted)
    drawn = E(q, right(y, values("label"))).mean()
    told = {**batch, "label": labels}
    with torch.no_grad():
        assert 0 <= drawn.eval(told) <= 1
    assert 0 <= Model(-q.log_prob().mean(), test_loss=drawn).test({**told, "y": labels}) <= 1


@legal
@pytest.mark.parametrize("weight", ["schedule", "value", "number"])
def test_a_term_with_the_weight_0(batch, weight):
    """A warm-up begins with 0, an ablation has it: the parameters have the gradient 0."""
    q, p = encoder(scale=True), decoder()
    prior = Normal(var=["z"], loc=nn.Parameter(torch.zeros(LATENT)), scale=1.0, name="p").double()
    beta = 0 if weight == "number" else Parameter("beta")
    loss = -(E(q, p.log_prob()) - beta * KL(q, prior)).mean()
    given = {"schedules": {"beta": lambda step: 0.0}} if weight == "schedule" else {}
    model = Model(loss, distributions=[q, p, prior], **given)
    before = prior.loc.detach().clone()
    model.train(batch, **({"beta": 0.0} if weight == "value" else {}))
    assert torch.equal(prior.loc.grad, torch.zeros(LATENT, dtype=f64))
    assert torch.equal(prior.loc.detach(), before)


@legal
def test_a_modality_that_the_first_batch_lacks(batch):
    """Its network has the gradient 0 then, whatever stands in the missing rows."""
    prior = standard()
    p_x = decoder()
    p_y = Normal(var=["y"], cond_var=["z"], net=Normals(LATENT, 3), scale=1.0, name="p_y").double()
    q = encoder(scale=True)
    loss = -(E(q, (p_x * p_y).log_prob(mask="S")) - KL(q, prior)).mean()
    data = {**batch, "y": torch.full((ROWS, 3), torch.nan, dtype=f64)}
    data["S"] = torch.tensor([[1.0, 0.0]], dtype=f64).repeat(ROWS, 1)
    model = Model(loss, distributions=[q, p_x, p_y])
    model.train(data)
    assert all(not w.grad.any() for w in p_y.parameters())
    data["S"], data["y"] = torch.ones(ROWS, 2, dtype=f64), torch.randn(ROWS, 3, dtype=f64)
    model.train(data)
    assert all(w.grad.any() for w in p_y.parameters())


@legal
def test_a_head_that_only_another_player_uses(batch):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.a, self.b = nn.Linear(PIXELS, 3), nn.Linear(3, 1), nn.Linear(3, 1)

        def forward(self, v):
            return self.a(self.trunk(v))

    two = Two().double()
    first, second = Function(two, name="f"), Function(lambda v: two.b(two.trunk(v)), name="h")
    data = EmpiricalDistribution(["x"])
    for order, mine, others in (
        ("in turn", [two], [two]),
        ("together", [two.trunk, two.a], [two.b]),
    ):
        one = Player("first", minimise=E(data, sqnorm(first(x))), over=mine)
        other = Player("second", minimise=E(data, sqnorm(second(x) - 1)), over=others)
        model = Model(players=[one, other], order=order)
        assert steps(model, batch, two.a, two.b, two.trunk) == [True, True, True]


@legal
@pytest.mark.parametrize("by", ["function", "estimator"])
def test_a_codebook_with_straight_through(batch, by):
    """VQ: no gradient passes the index; the code takes that of what it replaces."""
    net, out = nn.Linear(PIXELS, LATENT).double(), nn.Linear(LATENT, PIXELS).double()
    if by == "estimator":
        law = Categorical(var=["y"], cond_var=["x"], net=net, name="q")
        loss = E(law, sqnorm(Function(out)(y) - x)).mean().estimate({law: StraightThrough()})
        assert steps(loss, batch, net, out) == [True, True]
        return

    class Codes(nn.Module):
        def __init__(self):
            super().__init__()
            self.codes = nn.Parameter(torch.randn(6, LATENT, dtype=f64))

        def forward(self, v):
            return self.codes[torch.cdist(v, self.codes).argmin(-1)]

    book = Codes()
    encode, nearest, decode = (
        Function(n, name=t) for n, t in ((net, "e"), (book, "c"), (out, "d"))
    )
    at, code = encode(x), nearest(encode(x))
    through = at + (code - at).detach()
    loss = (
        sqnorm(decode(through) - x)
        + sqnorm(code - at.detach())
        + 0.25 * sqnorm(at - code.detach())
    ).mean()

    def hand():
        e = net(batch["x"])
        c = book(e)
        back = out(e + (c - e).detach())
        terms = (back - batch["x"]).square(), (c - e.detach()).square(), (e - c.detach()).square()
        a, b, beta = (t.sum(-1).mean() for t in terms)
        return a + b + 0.25 * beta

    agrees(loss, batch, hand, [net, out, book])
    assert steps(loss, batch, net, out, book) == [True, True, True]


@legal
def test_a_metric_logged_with_the_loss(batch):
    """A detached term, or one that has no parameter at all, changes the value and no gradient."""
    q, p, prior = encoder(scale=True), decoder(), standard()
    elbo = E(q, p.log_prob()) - KL(q, prior)
    metric = E(q, sqnorm(z)).detach() + sqnorm(x)
    eps = {"z": torch.randn(ROWS, LATENT, dtype=f64)}
    own = list(q.parameters()) + list(p.parameters())
    found = [(-elbo + extra).mean().eval(batch, noise=eps) for extra in (0 * sqnorm(x), metric)]
    slopes = [torch.autograd.grad(v, own) for v in found]
    assert not torch.equal(*(v.detach() for v in found))
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b)
    assert steps((-elbo + metric).mean(), batch, q, p) == [True, True]


# -- misses ---------------------------------------------------------------------------------------
class Energy(nn.Module):
    """E(x) = theta |x|^2 / 2, so that p(x) has the variance 1 / theta."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(2.0, dtype=f64))

    def forward(self, v):
        return self.theta * v.square().sum(-1) / 2


class Chain(nn.Module):
    """Draws by Langevin steps on an energy."""

    def __init__(self, energy, steps=3):
        super().__init__()
        self.energy, self.steps = energy, steps

    def forward(self, rows):
        at = torch.randn(rows, 1, dtype=f64)
        for _ in range(self.steps):
            slope = self.energy.theta * at
            at = at - 0.05 * slope + 0.1**0.5 * torch.randn_like(at)
        return at


def test_draws_of_a_chain_over_trained_weights():
    """The energy's own parameter moves the law of the draws: -1/s of the gradient would be 0."""
    energy = Energy()
    value = Function(energy, name="E")(x)
    for program in (Chain(energy), Chain(energy).forward):
        p = Simulator(program, var=["x"], name="p").double()
        with pytest.raises(GradientError, match=r"x is what a program returns.*\.detach\(\)"):
            E(p, value).eval(batch_n=ROWS)
    law = EnergyModel(var=["x"], net=energy, features_shape=[1])
    with pytest.raises(GradientError, match=r"through the law.*Write p\.detach\(\)"):
        E(law, value).eval(batch_n=ROWS)
    with pytest.raises(GradientError, match="would be lost"):
        Model(E(EmpiricalDistribution(["x"], name="d"), value) - E(p, value))
    model = Model(
        E(EmpiricalDistribution(["x"], name="d"), value) - E(p.detach(), value),
        distributions=[energy],
    )
    model.train({"x": torch.ones(ROWS, 1, dtype=f64)})
    assert energy.theta.grad.abs() > 0


def test_a_discrete_law_whose_trunk_another_term_trains(batch):
    """The trunk has a gradient, from the other term; that of the draw would be lost."""
    trunk = nn.Linear(PIXELS, 3).double()
    q = Categorical(var=["y"], cond_var=["x"], net=trunk, name="q")
    other = sqnorm(Function(trunk, name="t")(x))
    entropy = E(q, -q.log_prob())
    loss = (entropy + other).mean()
    with pytest.raises(GradientError, match=r"y is drawn from q\(y\|x\)"):
        Model(loss, distributions=[q])
    with pytest.raises(GradientError, match=r"y is drawn from q\(y\|x\)"):
        loss.eval(batch)

    def hand():
        logits = trunk(batch["x"])
        log_q = F.log_softmax(logits, -1)
        return (-(log_q.exp() * log_q).sum(-1) + logits.square().sum(-1)).mean()

    agrees(loss.estimate({q: Enumerate()}), batch, hand, [trunk])


@legal
def test_score_and_path_of_one_law():
    """G4: d/dlog s of E[-x^2 / 2 s0^2] is -1 at s = s0; Pixyz has +0.91.

    Each term takes its own way; a draw is never scored and differentiated at once. 5 standard
    errors of 400 000 draws: an error of 3 % would be seen.
    """
    log_scale = nn.Parameter(torch.zeros((), dtype=f64))

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = log_scale

        def forward(self, given):
            return {"loc": 0.0 * given, "scale": self.log_scale.exp().expand_as(given)}

    q = Normal(var=["z"], cond_var=["x"], net=Scale(), name="q")
    term = -0.5 * sqnorm(z)
    rows = {"x": torch.zeros(4000, 1, dtype=f64)}
    scored, both = E(q, term, reparam=False), E(q, term) + E(q, term, reparam=False)
    chosen = E(q, term).estimate({q: Score(LeaveOneOut(), draws=2)})
    torch.manual_seed(0)
    for loss, exact in ((scored, -1.0), (both, -2.0), (chosen, -1.0), (E(q, term), -1.0)):
        function = loss.mean().function()
        found = torch.stack(
            [torch.autograd.grad(function(rows), log_scale)[0] for _ in range(100)]
        )
        error = float(found.std()) / 10
        assert abs(float(found.mean()) - exact) < 5 * error < 0.03 * 2


@pytest.mark.parametrize("how", ["argmax", "item", "round"])
def test_a_cut_inside_of_an_opaque_network(batch, how):
    """argmax and item leave no gradient: named at the first step. That of round is 0, as torch
    has it, and no one can tell it from a true zero.
    """

    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = nn.Linear(PIXELS, 3), nn.Linear(3, LATENT)

        def forward(self, v):
            made = self.below(v)
            if how == "argmax":
                made = F.one_hot(made.argmax(-1), 3).to(made)
            elif how == "item":
                made = torch.full_like(made, made.mean().item())
            else:
                made = made.round()
            return {"loc": self.above(made)}

    q, p = Normal(var=["z"], cond_var=["x"], net=Cut(), scale=1.0, name="q").double(), decoder()
    model = Model(-(E(q, p.log_prob()) - KL(q, standard())).mean())
    if how == "round":
        model.train(batch)
        assert not q.net.below.weight.grad.any()
        return
    with pytest.raises(
        GradientError, match=r"no gradient reaches net\.below\.weight of q\(z\|x\)"
    ):
        model.train(batch)


def test_a_trained_prior_that_is_not_in_the_list():
    """Reached, and never updated: refused when the model is built."""
    q, p = encoder(scale=True), decoder()
    prior = Normal(var=["z"], loc=nn.Parameter(torch.zeros(LATENT)), scale=1.0, name="r").double()
    loss = -(E(q, p.log_prob()) - KL(q, prior)).mean()
    with pytest.raises(TrainingError, match=r"r\(z\) is in the loss.*requires_grad_\(False\)"):
        Model(loss, distributions=[p, q])


@legal
def test_the_gradient_of_the_value_that_eval_returns(batch):
    """Where value and surrogate differ, `.backward()` of what `eval` returns has the gradient of
    the estimator, and the value is that of the objective. 5 standard errors see 5 % of it.
    """
    net = nn.Linear(PIXELS, 3).double()
    q = Categorical(var=["y"], cond_var=["x"], net=net, name="q")
    cost = torch.tensor([1.0, -2.0, 0.5], dtype=f64)
    f = Function(lambda v: v @ cost, name="f")
    loss = E(q, f(y)).mean()
    exact = torch.autograd.grad((q_probs(net, batch) @ cost).mean(), net.bias)[0]
    scored = loss.estimate({q: Score(LeaveOneOut(), draws=400)})
    torch.manual_seed(1)
    found = []
    for _ in range(30):
        value = scored.eval(batch)
        net.bias.grad = None
        value.backward()
        found.append(net.bias.grad.clone())
    slopes = torch.stack(found)
    error = slopes.std(0) / len(found) ** 0.5
    assert ((slopes.mean(0) - exact).abs() < 5 * error).all()
    assert (5 * error < 0.05 * exact.abs().max()).all()
    with torch.no_grad():
        assert abs(scored.eval(batch) - (q_probs(net, batch) @ cost).mean()) < 0.3


def q_probs(net, batch):
    """q(y|x)."""
    return F.softmax(net(batch["x"]), -1)


@legal
def test_a_step_under_the_path_cannot_be_seen():
    """P(z > 0) of z ~ N(m, 1): the pathwise gradient is 0, the true one is the density at -m.

    A body is opaque: nothing tells a step from a constant. The score function has the gradient.
    """
    m = nn.Parameter(torch.tensor([0.5], dtype=f64))
    q = Normal(var=["z"], loc=m, scale=1.0, features_shape=[1], name="q").double()
    step = Function(lambda v: (v > 0).to(v)[:, 0] + 0 * v[:, 0], name="step")
    exact = float(torch.exp(-0.5 * m.detach() ** 2) / (2 * torch.pi) ** 0.5)
    torch.manual_seed(0)
    value = E(q, step(z)).eval(batch_n=100)
    assert torch.autograd.grad(value, m)[0] == 0
    scored = E(q, step(z)).estimate({q: Score(LeaveOneOut(), draws=20)}).function()
    found = torch.cat([torch.autograd.grad(scored(batch_n=1000), m)[0] for _ in range(30)])
    error = float(found.std()) / 30**0.5
    assert abs(float(found.mean()) - exact) < 5 * error < 0.1 * exact
