"""A model written as a function is the law that it would be if it were written law by law."""

import copy

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    GradientError,
    MissingVariableError,
    OptionError,
    ScopeError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import (
    BayesianNet,
    Bernoulli,
    GaussianMixture,
    JointDensity,
    Normal,
    meta_bayesian_net,
)
from ancestral.losses import KL, VIMCO, E, Enumerate, LeaveOneOut, Score
from ancestral.models import Model


@meta_bayesian_net()
def generator(decoder, rows=None):
    bn = BayesianNet()
    mean = torch.zeros(2) if rows is None else torch.zeros(rows, 2)
    z = bn.normal("z", mean, std=1.0, group_ndims=1)
    logits = decoder(z)
    bn.deterministic("mean", logits.sigmoid())
    bn.bernoulli("x", logits, group_ndims=1)
    return bn


@meta_bayesian_net()
def encoder(net, x):
    bn = BayesianNet()
    loc, scale = net(x).chunk(2, -1)
    bn.normal("z", loc, std=nn.functional.softplus(scale), group_ndims=1)
    return bn


class VAE:
    """The two as functions, and law by law, with the same weights."""

    def __init__(self, rows=None):
        torch.manual_seed(0)
        self.decoder, self.encoder = nn.Linear(2, 3), nn.Linear(3, 4)
        self.x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
        self.p = generator(self.decoder, rows).law()
        self.q = encoder(self.encoder).law({"x": self.x[:1]}, name="q")
        likelihood = Bernoulli(var=["x"], cond_var=["z"], net=self.decoder)
        self.by_law = likelihood * Normal(var=["z"], loc=torch.zeros(2), scale=1.0)
        self.q_by_law = Normal(var=["z"], cond_var=["x"], net=self.encoder, name="q")


BOUNDS = {
    "elbo": lambda p, q: E(q, p.log_prob() - q.log_prob(), sample_shape=4),
    "analytical": lambda p, q: E(q, p.log_prob() - q.log_prob()).simplify(),
    "iwae": lambda p, q: E(q.iid(k=4), (p.log_prob() - q.log_prob()).exp().mean("k").log()),
    "vimco": lambda p, q: BOUNDS["iwae"](p, q).estimate({q: VIMCO()}),
    "score": lambda p, q: BOUNDS["elbo"](p, q).estimate({q: Score(LeaveOneOut())}),
}


@pytest.mark.parametrize("rows", [None, 5])
@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_of_functions_are_those_of_laws(bound, rows):
    """Value and gradient to the bit, whatever the estimator: the program is the same."""
    model, found = VAE(rows), []
    for p, q in ((model.p, model.q), (model.by_law, model.q_by_law)):
        torch.manual_seed(1)
        loss = BOUNDS[bound](p, q).mean()
        value = loss.eval({"x": model.x})
        weights = [*model.decoder.parameters(), *model.encoder.parameters()]
        found.append((str(loss), value, torch.autograd.grad(value, weights)))
    (text, value, slopes), (other_text, other, wanted) = found
    assert text == other_text
    torch.testing.assert_close(value, other)
    torch.testing.assert_close(slopes, wanted)


def test_it_prints_as_a_product_of_laws():
    model = VAE()
    assert model.p.latex() == "p(x,z) = p(x|z)p(z)"
    assert model.q.prob_text == "q(z|x)"
    assert str(BOUNDS["elbo"](model.p, model.q)) == "E_{q(z|x)}[log p(x,z) - log q(z|x)]"
    prior = next(f.law for f in model.p.factors if f.var == ("z",))
    assert str(KL(model.q, prior)) == "KL[q(z|x) || p(z)]"


@pytest.mark.usefixtures("compiler_is_imported")
def test_it_trains_the_modules_that_the_builder_calls():
    model = VAE()
    before = copy.deepcopy((model.decoder.weight.detach(), model.encoder.weight.detach()))
    loss = -BOUNDS["elbo"](model.p, model.q).mean()
    trained = Model(
        loss=loss,
        distributions=[model.p, model.q],
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.1},
    )
    trained.train({"x": model.x})
    assert not torch.equal(model.decoder.weight, before[0])
    assert not torch.equal(model.encoder.weight, before[1])


@pytest.mark.usefixtures("compiler_is_imported")
def test_it_is_saved_with_a_module_that_several_nodes_read(tmp_path):
    class Networks(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 3)

    @meta_bayesian_net()
    def deep(networks):
        bn = BayesianNet()
        u = bn.normal("u", torch.zeros(2), std=1.0, group_ndims=1)
        z = bn.normal("z", networks.first(u), std=1.0, group_ndims=1)
        bn.bernoulli("x", networks.second(z), group_ndims=1)
        return bn

    def made(seed):
        torch.manual_seed(seed)
        networks = Networks()
        p = deep(networks).law()
        return networks, Model(loss=-p.log_prob().mean(), distributions=[p])

    batch = {"u": torch.ones(2, 2), "z": torch.ones(2, 2), "x": torch.ones(2, 3)}
    (networks, model), (others, other) = made(0), made(1)
    model.train(batch)
    model.save(tmp_path / "model")
    other.load(tmp_path / "model")
    assert torch.equal(networks.first.weight, others.first.weight)
    torch.testing.assert_close(model.test(batch), other.test(batch))


def test_nodes_know_their_parents_through_everything_that_torch_does():
    @meta_bayesian_net()
    def chain():
        bn = BayesianNet()
        a = bn.normal("a", torch.zeros(1), std=1.0, group_ndims=1)
        b = bn.normal("b", 2 * a + 1, std=1.0, group_ndims=1)
        mean = torch.zeros_like(b.tensor)
        mean[:] = torch.cat([b.detach().exp().round()], -1)
        c = bn.bernoulli("c", mean, group_ndims=1)
        bn.normal("d", torch.where(c > 0.5, a.tensor, -a.tensor), std=1.0, group_ndims=1)
        return bn

    p = chain().law()
    assert p.latex() == "p(d,c,b,a) = p(d|a,c)p(c|b)p(b|a)p(a)"


def test_a_choice_by_the_value_of_one_row_is_refused():
    @meta_bayesian_net()
    def model():
        bn = BayesianNet()
        a = bn.bernoulli("a", torch.zeros(1), group_ndims=1)
        shift = 1.0 if a.tensor.sum().item() > 0 else -1.0
        bn.normal("b", torch.full((1, 1), shift), std=1.0, group_ndims=1)
        return bn

    with pytest.raises(OptionError, match="node b: .*asked for a as numbers"):
        model().law()


def test_a_discrete_net_is_enumerated():
    @meta_bayesian_net()
    def coin():
        bn = BayesianNet()
        z = bn.bernoulli("z", torch.tensor([0.3]), group_ndims=1)
        bn.normal("x", 2 * z, std=1.0, group_ndims=1)
        return bn

    p, x = coin().law(), torch.tensor([[0.5], [1.5]])
    q = Bernoulli(var=["z"], logits=torch.zeros(1), name="q")
    bound = E(q, p.log_prob() - q.log_prob()).estimate({q: Enumerate()}).eval({"x": x})
    terms = [
        Normal.log_density(x, 2.0 * z, 1.0).sum(-1)
        + Bernoulli.log_density(torch.tensor([z]), logits=torch.tensor([0.3])).sum()
        for z in (0.0, 1.0)
    ]
    torch.testing.assert_close(bound, sum(terms) / 2 + torch.tensor(2.0).log())


def test_draws_of_a_model_are_those_of_its_laws():
    model, seeds = VAE(), []
    for p in (model.p, model.by_law):
        torch.manual_seed(3)
        seeds.append(p.sample(batch_n=4, sample_shape=2))
    torch.testing.assert_close(seeds[0]["x"], seeds[1]["x"])
    assert seeds[0]["z"].shape == (2, 4, 2)


def test_running_it_once_leaves_nothing_behind():
    norm = nn.BatchNorm1d(2)

    @meta_bayesian_net()
    def model(norm):
        bn = BayesianNet()
        z = bn.normal("z", torch.zeros(2), std=1.0, group_ndims=1)
        bn.normal("x", norm(z), std=1.0, group_ndims=1)
        return bn

    state = torch.get_rng_state()
    model(norm).law()
    assert torch.equal(torch.get_rng_state(), state)
    assert norm.num_batches_tracked == 0
    assert norm.training


def test_weights_are_declared():
    decoder = nn.Linear(2, 3)

    @meta_bayesian_net()
    def model():
        bn = BayesianNet()
        z = bn.normal("z", torch.zeros(2), std=1.0, group_ndims=1)
        bn.bernoulli("x", decoder(z), group_ndims=1)
        return bn

    with pytest.raises(GradientError, match=r"node x .*\(3.*\).*modules=\[decoder\]"):
        model().law()
    p = model().law(modules=[decoder])
    assert {id(w) for w in p.parameters()} == {id(w) for w in decoder.parameters()}
    prior = next(f.law for f in p.factors if f.var == ("z",))
    assert not list(prior.parameters())
    with pytest.raises(OptionError, match="argument of the builder"):
        copy.deepcopy(p)
    again = copy.deepcopy(generator(decoder).law())
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.zero_()
    drawn = {"z": torch.ones(1, 2), "x": torch.ones(1, 3)}
    assert not torch.equal(again.get_log_prob(drawn), p.get_log_prob(drawn))
    mine = next(f.law.net.read[0].weight for f in again.factors if f.var == ("x",))
    assert not torch.equal(mine, decoder.weight)


def test_what_is_no_law_is_refused():
    @meta_bayesian_net()
    def batched(x):
        bn = BayesianNet()
        bn.normal("z", x, std=1.0)
        return bn

    with pytest.raises(VariableError, match="an example of x"):
        batched().law()
    with pytest.raises(ShapeError, match="node z .*group_ndims"):
        batched().law({"x": torch.zeros(1, 3)})

    @meta_bayesian_net()
    def rows():
        bn = BayesianNet()
        bn.normal("z", torch.arange(3.0), std=1.0)
        return bn

    with pytest.raises(ShapeError, match="node z .*rows that are all alike"):
        rows().law().sample()


def test_a_law_made_outside_is_a_node():
    loc = torch.tensor([[-2.0], [2.0]])
    prior = GaussianMixture(
        var=["z"], weight_logits=torch.zeros(2), loc=loc, scale_tril=torch.ones(2, 1, 1)
    )

    @meta_bayesian_net()
    def model():
        bn = BayesianNet()
        z = bn.stochastic("z", prior)
        bn.normal("x", z, std=1.0, group_ndims=1)
        return bn

    p = model().law()
    seen = {"x": torch.zeros(2, 1), "z": torch.tensor([[1.0], [2.0]])}
    wanted = prior.get_log_prob(seen) + Normal.log_density(seen["x"], seen["z"], 1.0).sum(-1)
    torch.testing.assert_close(p.get_log_prob(seen), wanted)


# -- one log density of all ---------------------------------------------------------------------
def test_an_override_is_taken_as_written():
    model = VAE()
    net = generator(model.decoder)
    net.log_joint = lambda bn: 2 * bn.cond_log_prob("x") + bn.cond_log_prob("z")
    p = net.law()
    assert isinstance(p, JointDensity)
    loss = E(model.q, p.log_prob() - model.q.log_prob())
    assert str(loss) == "E_{q(z|x)}[log p(x,z) - log q(z|x)]"
    torch.manual_seed(0)
    found = loss.eval({"x": model.x})
    torch.manual_seed(0)
    z = model.q.sample({"x": model.x})["z"]
    terms = generator(model.decoder).observe(x=model.x, z=z).cond_log_prob(["x", "z"])
    wanted = 2 * terms[0] + terms[1] - model.q.get_log_prob({"x": model.x, "z": z})
    torch.testing.assert_close(found, wanted)
    net.log_joint = lambda bn: bn.cond_log_prob("x").mean()
    with pytest.raises(ShapeError, match="one number per row"):
        E(model.q, net.law().log_prob()).eval({"x": model.x})


def test_a_function_of_a_dict_is_a_law_of_several_variables():
    def log_joint(given):
        return -(given["x"] - given["z"]).square().sum(-1) - given["c"].square().sum(-1)

    p = JointDensity(log_joint, var=["x", "z"], cond_var=["c"])
    seen = {"x": torch.ones(2, 1), "z": torch.zeros(2, 1), "c": torch.ones(2, 1)}
    assert p.prob_text == "p(x,z|c)"
    torch.testing.assert_close(p.get_log_prob(seen), torch.full((2,), -2.0))
    with pytest.raises(MissingVariableError, match="c"):
        p.get_log_prob({"x": seen["x"], "z": seen["z"]})
    with pytest.raises(NotImplementedError, match="cannot be drawn"):
        p.sample(seen)
    with pytest.raises(ValueError, match="a function of a dict"):
        JointDensity(3.0)


def test_a_global_in_a_function_of_rows_is_refused():
    """Its density would be counted once for each row, silently."""

    def log_joint(given):
        w, y = given["w"], given["y"]
        return -w.square().sum(-1) - (y - w.sum(-1, keepdim=True)).square().sum(-1)

    q = Normal(var=["w"], loc=torch.zeros(3), scale=1.0, name="q", plate=None)
    p = JointDensity(log_joint, var=["y", "w"])
    with pytest.raises(ScopeError, match="w is a global"):
        E(q, p.log_prob() - q.log_prob()).mean().eval({"y": torch.zeros(4, 1)}, data_size=8)


def test_a_model_is_one_graph_under_compile(compiler_is_imported):
    model = VAE()
    loss = -BOUNDS["elbo"](model.p, model.q).mean()
    values = []
    for compile in (False, "eager"):
        torch.manual_seed(1)
        values.append(loss.function(compile=compile)({"x": model.x}))
    torch.testing.assert_close(*values)
