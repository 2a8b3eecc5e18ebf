"""The weights of a network as one variable: names, priors, and one vmapped call for many."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.func import functional_call

from ancestral.bijections import Tanh
from ancestral.core.errors import (
    NetworkError,
    OptionError,
    SamplingError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import (
    Deterministic,
    Laplace,
    MeanField,
    MixtureModel,
    Normal,
    NormalizingFlow,
    ProductOfNormal,
    Sequence,
    Weights,
    weights,
)
from ancestral.losses import KL, E, Function, sqnorm, values
from ancestral.models import Model
from tests.lowering.reading import axes, twice

ROWS = 5
STANDARD = {"loc": 0.0, "scale": 1.0}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


@pytest.fixture
def w(net):
    return weights(net, prior=Normal(**STANDARD))


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(ROWS, 2, dtype=torch.float64)


def vectors(*shape, seed=2):
    torch.manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64)


def at(w, vector, x):
    return functional_call(w.apply.net, w.unflatten(vector), (x,))


# -- the vector and its tensors -------------------------------------------------------------------
def test_the_vector_is_the_network_s_parameters_in_order(net, w, x):
    assert w.size == 13
    assert w.shapes == {name: p.shape for name, p in net.named_parameters()}
    for name, value in w.unflatten(w.init).items():
        assert torch.equal(value, net.get_parameter(name))
    assert torch.equal(w.apply(x, w.init), net(x))
    many = vectors(2, 4, w.size)
    assert torch.equal(w.flatten(w.unflatten(many)), many)
    assert w.unflatten(many)["0.weight"].shape == (2, 4, 3, 2)


def test_many_weights_are_one_call(w, x):
    many = vectors(2, 3, w.size)
    found = w.apply(x, many)
    assert found.shape == (2, 3, ROWS, 1)
    torch.testing.assert_close(found[1, 2], at(w, many[1, 2], x))


def test_the_network_that_was_given_is_left_alone(net, w, x):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=1.0)
    q = MeanField(w)
    loss = -(E(q, p.log_prob()) - KL(q, w.prior)).mean()
    Model(loss=loss, distributions=[q], data_size=ROWS).train({"x": x, "y": x[:, :1]})
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not list(p.parameters())
    assert not list(w.prior.parameters())


def test_tied_weights_stand_once_and_stay_tied(x):
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Tanh(), nn.Linear(2, 2, bias=False))
    net[2].weight = net[0].weight
    w = weights(net.double(), prior=Normal(**STANDARD))
    assert w.shapes == {"0.weight": (2, 2)}
    vector = vectors(4)
    matrix = vector.reshape(2, 2)
    torch.testing.assert_close(w.apply(x, vector), (x @ matrix.T).tanh() @ matrix.T)


def test_some_of_the_parameters(net, x):
    """The others are trained with the law whose network it is; frozen ones are neither."""
    w = weights(net, prior=Normal(**STANDARD), names="2.*")
    assert list(w.shapes) == ["2.weight", "2.bias"]
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=1.0)
    assert [name for name, _ in p.named_parameters()] == ["net.net.0.weight", "net.net.0.bias"]
    q = MeanField(w)
    loss = -(E(q, p.log_prob()) - KL(q, w.prior)).mean()
    model = Model(loss=loss, distributions=[p, q], data_size=ROWS)
    before = [v.clone() for v in p.parameters()]
    model.train({"x": x, "y": x[:, :1]})
    assert not any(torch.equal(a, b) for a, b in zip(before, p.parameters(), strict=True))
    net[0].requires_grad_(False)
    assert list(weights(net, prior=Normal(**STANDARD)).shapes) == ["2.weight", "2.bias"]


# -- priors ---------------------------------------------------------------------------------------
def test_priors_by_name(net):
    w = weights(
        net,
        prior={
            "*.bias": Normal(loc=0.0, scale=3.0),
            "0.*": Normal(loc=1.0, scale=torch.tensor([0.5, 0.25])),
            "*": Normal(**STANDARD),
        },
    )
    scale = w.unflatten(w.prior.get_params()["scale"])
    assert torch.equal(scale["0.weight"], torch.tensor([[0.5, 0.25]]).expand(3, 2))
    assert (scale["0.bias"] == 3).all()
    assert (scale["2.weight"] == 1).all()
    assert w.prior.get_params()["loc"].sum() == 6
    vector = vectors(13).float()
    wanted = sum(
        torch.distributions.Normal(w.unflatten(w.prior.loc)[k], scale[k]).log_prob(v).sum()
        for k, v in w.unflatten(vector).items()
    )
    torch.testing.assert_close(w.prior.get_log_prob({"w": vector}), wanted)


def test_a_prior_may_be_trained_or_of_another_family(net):
    scale = nn.Parameter(torch.tensor(2.0))
    w = weights(net, prior=Normal(loc=0.0, scale=scale))
    assert list(w.prior.parameters()) == [scale]
    heavy = weights(net, prior=Laplace(loc=0.0, scale=1.0), name="v")
    q = MeanField(heavy)
    assert str(KL(q, heavy.prior)) == "KL[q(v) || p(v)]"
    assert KL(q, heavy.prior).eval().shape == ()


# -- laws of weights in the Distribution API ------------------------------------------------------
def test_a_global_has_one_draw_for_all_rows(w, x):
    q, p = MeanField(w), Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.1)
    assert q.sample()["w"].shape == (13,)
    assert q.sample(batch_n=7, sample_shape=[3])["w"].shape == (3, 13)
    joint = (p * q).sample({"x": x}, sample_shape=[3])
    assert joint["w"].shape == (3, 13)
    assert joint["y"].shape == (3, ROWS, 1)
    spread = joint["y"] - torch.stack([at(w, v, x) for v in joint["w"]])
    assert spread.abs().max() < 0.6
    assert spread.std() > 0.02
    one = (p * q).sample({"x": x}, sample_mean=True)
    torch.testing.assert_close(one["y"], at(w, q.net.loc, x))


def test_log_densities_of_many_weights(w, x):
    q, p = MeanField(w), Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=0.1)
    many, y = vectors(3, 13), vectors(ROWS, 1, seed=3)
    found = p.get_log_prob({"x": x, "w": many, "y": y})
    wanted = [torch.distributions.Normal(at(w, v, x), 0.1).log_prob(y).squeeze(-1) for v in many]
    torch.testing.assert_close(found, torch.stack(wanted))
    torch.testing.assert_close(p.get_log_prob({"x": x, "w": many[1], "y": y}), found[1])
    joint = (p * q).get_log_prob({"x": x, "w": many, "y": y})
    torch.testing.assert_close(joint, found + q.get_log_prob({"w": many})[:, None])
    torch.testing.assert_close(
        twice(p.log_prob(), {"x": x, "w": many[1], "y": y}), found[1]
    )  # a given value of weights has no rows
    torch.testing.assert_close(p.get_params({"x": x, "w": many})["loc"].shape, (3, ROWS, 1))


def test_a_latent_of_each_draw_meets_its_weights(w):
    z = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p_z").double()
    f = Deterministic(var=["f"], cond_var=["z", "w"], net=w.apply)
    found = (f * z * MeanField(w)).sample(batch_n=4, sample_shape=[3])
    assert found["f"].shape == (3, 4, 1)
    for i in range(3):
        torch.testing.assert_close(found["f"][i], at(w, found["w"][i], found["z"][i]))


# -- axes in a loss -------------------------------------------------------------------------------
def laws_with_latent(w):
    q_z = Normal(var=["z"], cond_var=["x"], loc="x", scale=0.3, name="q")
    p = Normal(var=["y"], cond_var=["z", "w"], net=w.apply, scale=1.0)
    return MeanField(w, name="r"), q_z, p


def by_hand(w, r, batch, eps_w, eps_z):
    """Log densities of every draw of weights with every draw of latents, and rows."""
    scale = r.get_params()["scale"]
    rows = []
    for e in eps_w:
        zs = batch["x"] + 0.3 * eps_z
        rows.append(torch.stack([at(w, r.net.loc + scale * e, z) for z in zs]))
    return torch.distributions.Normal(torch.stack(rows), 1.0).log_prob(batch["y"]).squeeze(-1)


def test_latents_nested_in_weights(w, x):
    """The newest axis stands first in memory: not that of the weights."""
    r, q_z, p = laws_with_latent(w)
    batch = {"x": x, "y": vectors(ROWS, 1)}
    noise = {"w": vectors(3, 13), "z": vectors(2, 3, ROWS, 2)}
    loss = E(r, E(q_z, p.log_prob(), sample_shape=[2]), sample_shape=[3])
    assert set(axes(loss)) == {"w", "z"}
    shape = [size for _, size in axes(loss)["z"]]
    noise["z"] = vectors(*(ROWS if n is None else n for n in shape), 2)
    found = twice(loss, batch, noise=noise)
    eps = noise["z"] if len(shape) == 2 else noise["z"].movedim(shape.index(2), 0)
    wanted = []
    for i, e in enumerate(noise["w"]):
        own = eps if len(shape) == 2 else eps[:, i]
        wanted.append(by_hand(w, r, batch, e[None], own)[0].mean(0))
    torch.testing.assert_close(found, torch.stack(wanted).mean(0))


def test_latents_drawn_with_the_weights(w, x):
    r, q_z, p = laws_with_latent(w)
    batch = {"x": x, "y": vectors(ROWS, 1)}
    noise = {"w": vectors(3, 13), "z": vectors(3, ROWS, 2)}
    found = twice(E(r * q_z, p.log_prob(), sample_shape=[3]), batch, noise=noise)
    each = [by_hand(w, r, batch, noise["w"][i, None], noise["z"][i, None])[0, 0] for i in range(3)]
    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_copies_of_weights(w, x):
    r, _, p = laws_with_latent(w)
    batch = {"z": x, "y": vectors(ROWS, 1)}
    bound = E(r.iid(k=4), p.log_prob().exp().mean("k").log())
    noise = {"w": vectors(4, 13)}
    rows = by_hand(w, r, {"x": x, "y": batch["y"]}, noise["w"], vectors(1, ROWS, 2) * 0)[:, 0]
    found = twice(bound, batch, noise=noise)
    torch.testing.assert_close(found, rows.logsumexp(0) - torch.tensor(4.0).double().log())


def test_weights_that_follow_the_rows(w, x):
    """A network that makes the weights of another, one vector for each row."""
    hyper = nn.Linear(2, 2 * w.size).double()
    q = Normal(var=["w"], cond_var=["x"], net=hyper, name="q")
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=1.0)
    y, noise = vectors(ROWS, 1), {"w": vectors(ROWS, 13)}
    found = twice(E(q, p.log_prob()), {"x": x, "y": y}, noise=noise)
    loc, raw = hyper(x).chunk(2, -1)
    own = loc + nn.functional.softplus(raw) * noise["w"]
    each = [at(w, v, row[None])[0] for v, row in zip(own, x, strict=True)]
    wanted = torch.distributions.Normal(torch.stack(each), 1.0).log_prob(y).squeeze(-1)
    torch.testing.assert_close(found, wanted)


class TwoHeads(Normal):
    """A law that is a network itself: two sets of weights, a number, a value for all rows."""

    def __init__(self, first, second):
        super().__init__(var=["y"], cond_var=["x", "w", "v"], name="p")
        self.first, self.second = first, second
        self.level = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x, w, v):
        return {"loc": self.first(x, w) + x[:, :1], "scale": self.level + self.second.size / 13}


def test_a_law_that_is_a_network_itself(w, net, x):
    v = weights(net, prior=Normal(**STANDARD), name="v")
    p, q = TwoHeads(w.apply, v.apply), MeanField(w)
    r = MeanField(v, name="r")
    y, noise = vectors(ROWS, 1), {"w": vectors(3, 13), "v": vectors(3, 13, seed=5)}
    found = twice(E(q * r, p.log_prob(), sample_shape=[3]), {"x": x, "y": y}, noise=noise)
    scale = q.get_params()["scale"]
    locs = [at(w, q.net.loc + scale * e, x) + x[:, :1] for e in noise["w"]]
    wanted = torch.distributions.Normal(torch.stack(locs), 2.0).log_prob(y).squeeze(-1)
    torch.testing.assert_close(found, wanted.mean(0))


class Transition(nn.Module):
    """The mean of a state, from the state before it and an input."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, z_prev, u):
        return self.layer(torch.cat([z_prev, u], -1)).tanh()


def test_weights_of_sequences():
    """One vector for all steps; the network runs once, over rows and time."""
    torch.manual_seed(0)
    w = weights(Transition().double(), prior=Normal(**STANDARD))
    step = Normal(
        var=["z"], cond_var=["z_prev", "u", "w"], net=w.apply, scale=0.5, features_shape=[2]
    )
    p = Sequence(step, carry={"z": "z_prev"}, series=["u"])
    q, batch = MeanField(w), {"z": vectors(ROWS, 4, 2), "u": vectors(ROWS, 4, 1)}
    eps = vectors(3, w.size)
    found = twice(E(q, p.log_prob(), sample_shape=[3]), batch, noise={"w": eps})
    before = torch.cat([torch.zeros(ROWS, 1, 2).double(), batch["z"][:, :-1]], 1)
    rows = []
    for v in q.net.loc + q.get_params()["scale"] * eps:
        loc = functional_call(w.apply.net, w.unflatten(v), (before, batch["u"]))
        each = torch.distributions.Normal(loc, 0.5).log_prob(batch["z"])
        rows.append(each.sum((1, 2)))
        torch.testing.assert_close(p.get_log_prob({**batch, "w": v}), rows[-1])
    torch.testing.assert_close(found, torch.stack(rows).mean(0))
    assert (p * q).sample({"u": batch["u"]})["z"].shape == (ROWS, 4, 2)
    with pytest.raises(SamplingError, match="one vector of weights at a time"):
        (p * q).sample({"u": batch["u"]}, sample_shape=[3])


def _laws_of_weights(w):
    one = Normal(var=["z"], cond_var=["x", "w"], net=w.apply, scale=0.5, name="a",
                 features_shape=[1])  # fmt: skip
    two = Normal(var=["z"], loc=0.0, scale=0.7, name="b", features_shape=[1])
    return {
        "experts": ProductOfNormal([one], prior=two),
        "mixture": MixtureModel([one, two], weights=[0.25, 0.75]),
        "flow": NormalizingFlow(one, [Tanh()], var=["z"], name="f"),
    }


@pytest.mark.parametrize("which", ["experts", "mixture", "flow"])
def test_laws_made_of_laws_with_weights(w, x, which):
    """Many draws in a loss are what each vector is by itself in the Distribution API."""
    p, q, z = _laws_of_weights(w)[which], MeanField(w), vectors(ROWS, 1, seed=3).tanh()
    eps = vectors(3, 13)
    found = twice(E(q, p.log_prob(), sample_shape=[3]), {"x": x, "z": z}, noise={"w": eps})
    vs = q.net.loc + q.get_params()["scale"] * eps
    each = [p.get_log_prob({"x": x, "z": z, "w": v}) for v in vs]
    torch.testing.assert_close(found, torch.stack(each).mean(0))


class Sine(nn.Module):
    """A function that has the network of weights in it, and the weights under their name."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, w, x):
        return self.net(x, w).sin()


def test_functions_of_weights(w, x):
    """The network as a function at values; one vmapped call, too."""
    q, noise = MeanField(w), {"w": vectors(3, 13)}
    vs = q.net.loc + q.get_params()["scale"] * noise["w"]
    outputs = torch.stack([at(w, v, x) for v in vs])
    f, g = Function(w.apply, name="f"), Function(Sine(w.apply), name="g")
    a, b = values("x w")
    loss = E(q, sqnorm(f(a, b) - 1) + sqnorm(g(b, a)), sample_shape=[3])
    wanted = ((outputs - 1) ** 2 + outputs.sin() ** 2).squeeze(-1)
    torch.testing.assert_close(twice(loss, {"x": x}, noise=noise), wanted.mean(0))
    one = twice(sqnorm(f(a, b)), {"x": x, "w": w.init})  # a given value has no rows
    torch.testing.assert_close(one, at(w, w.init, x).squeeze(-1) ** 2)
    with pytest.raises(OptionError, match="a network whose weights are a variable"):
        E(q, sqnorm(f.grad(a, b))).program()


def test_dropout_is_of_each_draw(x):
    """In float64 two of 3000 masks of 32 entries are equal with probability 1e-3."""
    net = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 1)).double()
    w = weights(net, prior=Normal(**STANDARD))
    same = w.init.expand(3, -1)
    found = w.apply(x[:1], same).flatten()
    assert found.unique().numel() == 3
    w.apply.eval()
    assert w.apply(x[:1], same).unique().numel() == 1


# -- a module like others -------------------------------------------------------------------------
def test_it_is_copied_saved_and_cast(net, w, x):
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=1.0)
    q = MeanField(w)
    twin = copy.deepcopy(q)
    with torch.no_grad():
        twin.net.loc.add_(1)
    twin.load_state_dict(load(save(q.state_dict())))
    assert torch.equal(twin.net.loc, q.net.loc)
    assert list(p.state_dict()) == ["scale"]  # weights are given, and stand nowhere twice
    law = pickle.loads(pickle.dumps(copy.deepcopy(p)))
    given = {"x": x, "w": w.init, "y": x[:, :1]}
    assert torch.equal(law.get_log_prob(given), p.get_log_prob(given))
    p.float(), q.float()
    assert w.init.dtype == torch.float32
    loss = (E(q, p.log_prob()) - KL(q, w.prior)).mean()
    assert loss.eval({"x": x.float(), "y": x[:, :1].float()}, data_size=9).dtype == torch.float32
    assert "13 weights" in repr(p)
    assert isinstance(w, Weights)
    assert "w: 13" in repr(w)


@pytest.mark.usefixtures("compiler_is_imported")
def test_it_is_compiled_to_one_graph(w, x):
    p = Normal(var=["y"], cond_var=["x", "w"], net=w.apply, scale=1.0)
    q = MeanField(w)
    loss = (E(q, p.log_prob(), sample_shape=[3]) - KL(q, w.prior)).mean()
    batch, noise = {"x": x, "y": x[:, :1]}, {"w": vectors(3, 13)}
    compiled = loss.function(compile="aot_eager")
    found = [compiled(batch, noise=noise, data_size=9) for _ in range(3)]
    torch.testing.assert_close(found[2], loss.eval(batch, noise=noise, data_size=9))


# -- what is refused ------------------------------------------------------------------------------
def test_what_is_refused(net, w, x):
    normal = Normal(**STANDARD)
    with pytest.raises(NetworkError, match=r"1 is a BatchNorm1d.*replace_all_batch_norm"):
        weights(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), prior=normal)
    with pytest.raises(OptionError, match=r"names has '3\.\*', which fits no parameter"):
        weights(net, prior=normal, names=["3.*"])
    with pytest.raises(OptionError, match="no parameter to be random"):
        weights(nn.Tanh(), prior=normal)
    with pytest.raises(OptionError, match="give the network itself"):
        weights(lambda x: x, prior=normal)
    with pytest.raises(OptionError, match=r"prior has no law for 0\.weight"):
        weights(net, prior={"*.bias": normal})
    with pytest.raises(OptionError, match=r"a Laplace\(loc, scale\) and a Normal"):
        weights(net, prior={"*.bias": normal, "*": Laplace(**STANDARD)})
    with pytest.raises(OptionError, match="must be a law of single numbers without conditions"):
        weights(net, prior=Normal(cond_var=["s"], loc="s", scale=1.0))
    with pytest.raises(
        OptionError, match=r"scale of shape \(7,\) does not broadcast to 0\.weight"
    ):
        weights(net, prior=Normal(loc=0.0, scale=torch.ones(7)))
    with pytest.raises(OptionError, match=r"init_scale=0\.0.*positive"):
        MeanField(w, init_scale=0.0)
    with pytest.raises(ShapeError, match=r"w have shape \(12,\), but the network has 13"):
        w.unflatten(torch.zeros(12))
    with pytest.raises(VariableError, match=r"the weights w are 0\.weight"):
        w.flatten({"0.weight": torch.zeros(3, 2)})
    swapped = Normal(var=["y"], cond_var=["w", "x"], net=w.apply, scale=1.0)
    with pytest.raises(VariableError, match=r"write cond_var=\['x', 'w'\]"):
        swapped.get_log_prob({"x": x, "w": w.init, "y": x[:, :1]})
