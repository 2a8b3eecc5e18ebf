"""Flows with conditions and over several variables: contexts, noise, cuts, axes, refusals."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ancestral.bijections import Affine, AffineCoupling, Bijection, ConditionalAffine, Exp
from ancestral.core.axes import PLAN
from ancestral.core.errors import (
    DensityError,
    OptionError,
    SamplingError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import (
    Categorical,
    EmpiricalDistribution,
    Normal,
    NormalizingFlow,
    Sequence,
)
from ancestral.losses import KL, E, Enumerate, Score, sqnorm, values
from ancestral.models import Model
from ancestral.program import instructions as ir
from tests.lowering.reading import draws, twice

f64 = torch.float64
ROWS, X, C, Z = 4, 3, 5, 2
z = values("z")


class Counted(Bijection):
    """A conditional shift that counts how often it runs in either direction."""

    takes_context = True

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.calls = {"forward": 0, "inverse": 0}

    def forward_and_log_det(self, x, context=None):
        self.calls["forward"] += 1
        return x + self.net(context), torch.zeros_like(x)

    def inverse_and_log_det(self, y, context=None):
        self.calls["inverse"] += 1
        return y - self.net(context), torch.zeros_like(y)


def standard(size=Z, **words):
    return Normal(loc=0.0, scale=1.0, features_shape=[size], **words).double()


def affine(cond="x", **words):
    """N(z; t, e^s), as a flow of a standard normal law and as the normal law that it is."""
    torch.manual_seed(0)
    encoder, head = nn.Linear(X, C).double(), nn.Linear(C, 2 * Z).double()

    def net(x):
        loc, log_scale = head(encoder(x)).chunk(2, -1)
        return {"loc": loc, "scale": log_scale.exp()}

    flow = NormalizingFlow(standard(), ConditionalAffine(head), var=["z"], cond_var=[cond],
                           context=encoder, name="q", **words)  # fmt: skip
    return (
        flow,
        Normal(var=["z"], cond_var=[cond], net=net, name="q", features_shape=[Z]),
        encoder,
        head,
    )


def data(seed=0):
    return torch.randn(ROWS, X, generator=torch.Generator().manual_seed(seed), dtype=f64)


# -- values ---------------------------------------------------------------------------------------
def test_it_is_the_normal_law_of_its_network():
    flow, normal, *_ = affine()
    x, point = data(), torch.randn(7, ROWS, Z, dtype=f64)
    for value in (point[0], point):
        wanted = normal.get_log_prob({"x": x, "z": value})
        torch.testing.assert_close(flow.get_log_prob({"x": x, "z": value}), wanted)
    wide = torch.stack([x, 2 * x])  # a condition with axes of its own
    wanted = normal.get_log_prob({"x": wide, "z": point[:2]})
    torch.testing.assert_close(flow.get_log_prob({"x": wide, "z": point[:2]}), wanted)
    for shape in ((), (7,), (2, 3)):
        drawn = [q.sample({"x": x}, sample_shape=shape, generator=torch.Generator().manual_seed(1))
                 for q in (flow, normal)]  # fmt: skip
        torch.testing.assert_close(drawn[0]["z"], drawn[1]["z"])
    torch.testing.assert_close(flow.get_log_cdf({"x": x, "z": point[0]}),
                               normal.get_log_cdf({"x": x, "z": point[0]}))  # fmt: skip
    assert flow.has_reparam
    assert set(flow.get_params({"x": x})) == {"loc", "scale"}  # of the base
    assert flow.context(x).shape == (ROWS, C)


def test_the_context_may_be_conditions_side_by_side_or_taken_by_name():
    head = nn.Linear(X + 1, 2 * Z).double()
    flow = NormalizingFlow(standard(), ConditionalAffine(head), var=["z"], cond_var=["x", "y"])

    class Beside(nn.Module):
        def forward(self, y, x):
            return torch.cat([x, y[:, None]], -1)

    named = NormalizingFlow(standard(), ConditionalAffine(head), var=["z"], cond_var=["x", "y"],
                            context=Beside())  # fmt: skip
    given = {"x": data(), "y": torch.arange(ROWS).double(), "z": torch.ones(ROWS, Z).double()}
    assert torch.equal(flow.get_log_prob(given), named.get_log_prob(given))
    assert torch.equal(twice(flow.log_prob(), given), twice(named.log_prob(), given))
    torch.testing.assert_close(twice(flow.log_prob(), given), flow.get_log_prob(given))


def test_a_base_with_conditions_of_its_own_and_a_context_of_more():
    base = Normal(cond_var=["y"], loc="y", scale=0.5, features_shape=[Z])
    head = nn.Linear(X + Z, 2 * Z).double()
    flow = NormalizingFlow(base, [ConditionalAffine(head), Exp()], var=["z"], cond_var=["x", "y"])
    x, y, eps = data(), torch.randn(ROWS, Z, dtype=f64), torch.randn(ROWS, Z, dtype=f64)
    t, s = head(torch.cat([x, y], -1)).chunk(2, -1)
    known = torch.distributions.LogNormal(t + s.exp() * y, s.exp() * 0.5)
    point = eps.exp()
    wanted = known.log_prob(point).sum(-1)
    given = {"x": x, "y": y, "z": point}
    torch.testing.assert_close(flow.get_log_prob(given), wanted)
    torch.testing.assert_close(twice(flow.replace_var(x="a", y="b").log_prob(),
                               {"a": x, "b": y, "z": point}), wanted)  # fmt: skip


def test_flow_of_a_conditional_flow_has_its_context():
    flow, normal, *_ = affine()
    two = NormalizingFlow(flow, Affine(0.0, 3.0).double(), var=["z"])
    assert two.cond_var == ["x"]
    given = {"x": data(), "z": torch.ones(ROWS, Z, dtype=f64)}
    third = normal.get_log_prob({**given, "z": given["z"] / 3}) - Z * torch.tensor(3.0).log()
    torch.testing.assert_close(two.get_log_prob(given), third)
    more = NormalizingFlow(flow, ConditionalAffine(nn.Linear(C, 2 * Z).double()), var=["z"])
    assert torch.isfinite(twice(more.log_prob(), given)).all()
    with pytest.raises(OptionError, match="has a context of its own"):
        NormalizingFlow(
            flow, ConditionalAffine(nn.Linear(1, 4)), var=["z"], context=nn.Linear(X, 1)
        )


# -- in a loss ------------------------------------------------------------------------------------
def test_the_density_of_a_draw_comes_with_it():
    """Also of several draws, of copies, and where the draw is seen at other rows."""
    torch.manual_seed(0)
    encoder, shift = nn.Linear(X, C).double(), Counted(nn.Linear(C, Z).double())
    q = NormalizingFlow(standard(), shift, var=["z"], cond_var=["x"], context=encoder, name="q")
    seen = []
    encoder.register_forward_hook(lambda *_: seen.append(1))
    body = standard(var=["z"], name="p").log_prob() - q.log_prob()
    for loss in (
        E(q, body),
        E(q, body, sample_shape=3),
        E(q.iid(k=3), body.exp().mean("k").log()),
        KL(q, standard(var=["z"], name="p"), analytical=False),
    ):
        twice(loss, {"x": data()})
        assert len(seen) == shift.calls["forward"] == 2  # the interpreter, the generated step
        assert shift.calls["inverse"] == 0
        assert "f⁻¹" not in str(loss.program())
        seen.clear()
        shift.calls["forward"] = 0


def test_draws_given_other_conditions_are_other_draws():
    flow, normal, *_ = affine()
    moved = flow.replace_var(x="y")
    loss = E(flow, sqnorm(z)).mean() + E(moved, sqnorm(z)).mean()
    assert draws(loss) == ["z.base", "z.base#2"]
    other = E(flow, flow.replace_var(x="y").log_prob())  # the draw at another condition: inverted
    assert "f⁻¹" in str(other.program())
    eps = torch.randn(ROWS, Z, dtype=f64)
    given = {"x": data(), "y": data(1)}
    wanted = E(normal, normal.replace_var(x="y").log_prob()).eval(given, noise={"z": eps})
    torch.testing.assert_close(twice(other, given, noise={"z.base": eps}), wanted)


def test_each_draw_of_a_condition_has_noise_of_its_own():
    """Its base has no conditions, and yet is drawn along all axes of the context."""
    flow, normal, *_ = affine(cond="w")
    w = Normal(var=["w"], cond_var=["x"], loc="x", scale=1.0, name="r")
    noise = {"w": torch.randn(6, ROWS, X, dtype=f64)}
    eps = torch.randn(6, ROWS, Z, dtype=f64)
    mine = E(w * flow, sqnorm(z), sample_shape=6)
    wanted = E(w * normal, sqnorm(z), sample_shape=6).eval({"x": data()}, noise=noise | {"z": eps})
    found = twice(mine, {"x": data()}, noise=noise | {"z.base": eps})
    torch.testing.assert_close(found, wanted)
    nested = E(w, E(flow, sqnorm(z)), sample_shape=6)
    assert torch.isfinite(twice(nested, {"x": data()})).all()
    with pytest.raises(ShapeError, match=r"z\.base"):
        nested.eval({"x": data()}, noise=noise | {"z.base": eps[0]})


def test_a_cut_law_is_inverted_and_has_no_gradient_of_its_own():
    """Sticking the landing: the gradient of log q is that of the path alone."""
    flow, normal, encoder, head = affine()
    parameters = [*encoder.parameters(), *head.parameters()]
    eps = torch.randn(ROWS, Z, dtype=f64)
    found, wanted = (
        torch.autograd.grad(
            twice(E(q, q.detach().log_prob()).mean(), {"x": data()}, noise={name: eps}), parameters
        )
        for q, name in ((flow, "z.base"), (normal, "z"))
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)
    given = {"x": data(), "z": eps}
    assert not flow.detach().log_prob().mean().eval(given).requires_grad
    assert not flow.detach().get_log_prob(given).requires_grad
    torch.testing.assert_close(flow.detach().get_log_prob(given), flow.get_log_prob(given))
    assert not joint().detach().get_log_prob({"x": data(), "z": eps}).requires_grad
    drawn = flow.detach().sample(data(), reparam=True)["z"]
    assert not drawn.requires_grad


def test_score_gradients_reach_the_context():
    flow, normal, encoder, head = affine()
    parameters = [*encoder.parameters(), *head.parameters()]
    eps, given = torch.randn(ROWS, Z, dtype=f64), {"x": data()}
    found, wanted = (
        torch.autograd.grad(
            twice(E(q, sqnorm(z)).mean().estimate({q: Score()}), given, noise={n: eps}), parameters
        )
        for q, n in ((flow, "z.base"), (normal, "z"))
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_a_transition_of_a_sequence():
    """z_t given z_{t-1} by a conditional flow: that of the normal law, draws and densities."""
    torch.manual_seed(0)
    head = nn.Linear(Z, 2 * Z).double()

    def net(z_prev):
        loc, log_scale = head(z_prev).chunk(2, -1)
        return {"loc": loc, "scale": log_scale.exp()}

    step = NormalizingFlow(standard(), ConditionalAffine(head), var=["z"], cond_var=["z_prev"])
    known = Normal(var=["z"], cond_var=["z_prev"], net=net, features_shape=[Z])
    steps = 3
    laws = [Sequence(s, carry={"z": "z_prev"}, series=[]) for s in (step, known)]
    path = torch.randn(ROWS, steps, Z, dtype=f64)
    found, wanted = (twice(law.log_prob(), {"z": path}) for law in laws)
    torch.testing.assert_close(found, wanted)
    mask = torch.ones(ROWS, steps, dtype=f64)
    laws = [Sequence(s, carry={"z": "z_prev"}, series=[], mask="m") for s in (step, known)]
    eps = torch.randn(ROWS, steps, Z, dtype=f64)
    found, wanted = (
        twice(E(q, sqnorm(z) - q.log_prob()), {"m": mask}, noise={name: eps})
        for q, name in zip(laws, ("z", "z"), strict=True)
    )
    torch.testing.assert_close(found, wanted)


def test_it_trains_in_a_model():
    flow, _, encoder, _ = affine()
    p = standard(var=["z"], name="p")
    loss = -E(flow, p.log_prob() - flow.log_prob()).mean()
    before = encoder.weight.clone()
    model = Model(loss=loss, distributions=[flow])
    torch.manual_seed(1)
    first = float(model.train({"x": data()}))
    for _ in range(60):
        last = float(model.train({"x": data()}))
    assert last < first
    assert not torch.equal(encoder.weight, before)


def test_copies_and_pickles_have_their_own_networks():
    flow, _, encoder, _ = affine()
    given = {"x": data(), "z": torch.ones(ROWS, Z, dtype=f64)}
    wanted = flow.get_log_prob(given)
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(twin.get_log_prob(given), wanted)
        assert torch.equal(twice(twin.log_prob(), given), twice(flow.log_prob(), given))
        with torch.no_grad():
            twin.context_net.weight.add_(1.0)
        assert not torch.equal(twin.get_log_prob(given), wanted)
    assert torch.equal(flow.get_log_prob(given), wanted)
    assert len([k for k in flow.state_dict() if k.startswith("context_net")]) == 2
    assert sum(p is encoder.weight for p in flow.parameters()) == 1


# -- several variables ----------------------------------------------------------------------------
def joint(**words):
    torch.manual_seed(0)
    nets = [nn.Linear(3, 4).double(), nn.Linear(3, 4).double()]
    layers = [AffineCoupling(net, flip=bool(i)) for i, net in enumerate(nets)]
    return NormalizingFlow(standard(X + Z), layers, var=["x", "z"], name="p", **words)


def test_several_variables_are_one_vector():
    p, one = joint(sizes=[X, Z]), NormalizingFlow(standard(X + Z), joint().bijection, var=["v"])
    drawn = p.sample(batch_n=ROWS, sample_shape=[2])
    assert [tuple(drawn[v].shape) for v in "xz"] == [(2, ROWS, X), (2, ROWS, Z)]
    both = torch.cat([drawn["x"], drawn["z"]], -1)
    torch.testing.assert_close(p.get_log_prob(drawn), one.get_log_prob({"v": both}))
    torch.testing.assert_close(twice(p.log_prob(), {v: drawn[v][0] for v in "xz"}),
                               p.get_log_prob(drawn)[0])  # fmt: skip
    apart = p.get_log_prob({"x": data(), "z": drawn["z"]})  # x is repeated for both draws of z
    for i in range(2):
        row = p.get_log_prob({"x": data(), "z": drawn["z"][i]})
        torch.testing.assert_close(apart[i], row)


def test_its_marginal_is_drawn_and_has_no_density():
    p = joint(sizes=[X, Z])
    px = p.marginalize_var("z")
    assert px.latex() == "p(x) = \\int p(x,z)dz"
    assert set(px.sample(batch_n=3)) == {"x"}
    with pytest.raises(DensityError, match="z is integrated out"):
        px.get_log_prob({"x": data()})
    renamed = p.replace_var(x="a", z="b")
    assert str(renamed.log_prob()) == "log p(a,b)"
    assert renamed.sample(batch_n=3)["b"].shape == (3, Z)


def test_its_own_draw_is_not_joined_or_inverted_again():
    p = joint(sizes=[X, Z])
    entropy = -E(p, p.log_prob())
    text = str(entropy.program())
    assert "side by side" not in text
    assert "f⁻¹" not in text
    assert draws(entropy) == ["(x,z).base"]
    eps = torch.randn(ROWS, X + Z, dtype=f64)
    value, log_det = p.bijection.forward_and_log_det(eps)
    by_hand = -(torch.distributions.Normal(0.0, 1.0).log_prob(eps).sum(-1) - log_det).mean()
    found = twice(entropy, {}, noise={"(x,z).base": eps}, batch_n=ROWS)
    torch.testing.assert_close(found, by_hand)
    moments = E(p, sqnorm(values("x")) + 2 * sqnorm(z))
    wanted = value[:, :X].square().sum(-1) + 2 * value[:, X:].square().sum(-1)
    found = twice(moments, {}, noise={"(x,z).base": eps}, batch_n=ROWS)
    torch.testing.assert_close(found, wanted.mean())


def test_a_law_of_several_variables_by_its_score():
    p = joint(sizes=[X, Z])
    loss = E(p, sqnorm(z)).estimate({p: Score()})
    eps = torch.randn(ROWS, X + Z, dtype=f64)
    value = p.bijection(eps).detach()
    log_p = p.get_log_prob({"x": value[:, :X], "z": value[:, X:]})
    by_hand = (log_p * value[:, X:].square().sum(-1)).mean()
    found = twice(loss, {}, noise={"(x,z).base": eps}, batch_n=ROWS)
    parameters = list(p.bijection.parameters())
    for a, b in zip(torch.autograd.grad(found, parameters),
                    torch.autograd.grad(by_hand, parameters), strict=True):  # fmt: skip
        torch.testing.assert_close(a, b)


# -- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: NormalizingFlow(standard(), ConditionalAffine(nn.Linear(1, 4))),
         OptionError, r"no conditions that one could be made of.*cond_var=\['y'\]"),
        (lambda: NormalizingFlow(standard(), Exp(), cond_var=["y"]),
         OptionError, "nothing reads the condition y"),
        (lambda: NormalizingFlow(standard(), Exp(), context=nn.Linear(1, 2)),
         OptionError, "nothing reads context="),
        (lambda: NormalizingFlow(Normal(cond_var=["y"], loc="y", scale=1.0), Exp(), cond_var=["x"]),
         VariableError, "leaves out y, which the base"),
        (lambda: NormalizingFlow(standard(), Exp(), sizes=[2]), OptionError, "it is over one"),
        (lambda: NormalizingFlow(standard(), Exp(), var=["a", "b"], sizes=[1, 2]),
         ShapeError, "together the 2 entries of the base"),
        (lambda: NormalizingFlow(Normal(loc=0.0, scale=1.0), AffineCoupling(nn.Linear(1, 2))),
         ShapeError, r"law of one number. Give the base features_shape=\[D\]"),
        (lambda: NormalizingFlow(Normal(loc=0.0, scale=1.0), Exp(), var=["a", "b"]),
         ShapeError, "side by side in one vector"),
        (lambda: joint().sample(), SamplingError, r"Say it: NormalizingFlow\(..., sizes="),
        (lambda: E(joint(), sqnorm(z)).eval(batch_n=2), SamplingError, "sizes="),
        (lambda: joint(sizes=[X, Z]).get_log_prob({"x": data(), "z": data()}),
         ShapeError, r"z has shape \(4, 3\).*must have 2 entries"),
        (lambda: joint().log_prob().eval({"x": data(), "z": torch.ones(ROWS, dtype=f64)}),
         ShapeError, r"z has shape \(4,\).*over vectors"),
        (lambda: joint().get_icdf(torch.ones(ROWS, X + Z)), DensityError, "has no icdf"),
        (lambda: joint().context(data()), OptionError, "none of its bijections takes a context"),
    ],
)  # fmt: skip
def test_mistakes_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


# -- wherever a law may stand ---------------------------------------------------------------------
def _atoms(q):
    """Atomic posterior estimation: each z at each x."""
    return (q.log_prob() - q.log_prob().over_rows("z").logsumexp()).mean()


def _aggregate(q):
    """Two copies of an aggregate posterior are different rows."""
    r = (q * EmpiricalDistribution(["x"], "p_d")).marginalize_var("x")
    return E(r * r.replace_var(z="w"), sqnorm(z - values("w")))


def _enumerated(q):
    """A condition that is enumerated, and a density of the draw inside."""
    y = Categorical(var=["x"], cond_var=["a"], logits="a", name="c").double()
    prior = standard(var=["z"], name="p")
    inner = E(q, prior.log_prob() - q.log_prob())
    return E(y, inner).mean().estimate({y: Enumerate()})


def _two_data_sets(q):
    """Two data sets, one law."""
    terms = E(q, sqnorm(z)).mean() + E(q, sqnorm(z)).replace_var(x="a").mean()
    return terms - KL(q, standard(var=["z"], name="p"), analytical=False).mean()


@pytest.mark.parametrize("sentence", [_atoms, _aggregate, _enumerated, _two_data_sets])
def test_it_stands_where_a_normal_law_stands(sentence):
    flow, normal, encoder, head = affine()
    losses = [sentence(flow), sentence(normal)]
    batch = {"x": data(), "z": torch.ones(ROWS, Z, dtype=f64), "a": data(1)}
    batch = {k: v for k, v in batch.items() if k in losses[0].input_var}
    parameters, found = [*encoder.parameters(), *head.parameters()], []
    for loss in losses:
        made = [s for s in loss.program().steps if isinstance(s, ir.Draw)]
        noise = {}
        for step in made:
            rows = [3 if a.kind == PLAN else ROWS for a in step.out.axes]
            fixed = torch.Generator().manual_seed(len(noise))
            noise[step.noise] = torch.randn(*rows, Z, generator=fixed, dtype=f64)
        value = twice(loss, batch, noise=noise)
        found.append([value, *torch.autograd.grad(value, parameters)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
