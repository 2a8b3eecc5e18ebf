"""VAE, VI and ML: three models by their names, as Pixyz users know them."""

import copy
import inspect

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, TrainingError
from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import KL, E
from ancestral.models import ML, VAE, VI, Model
from tests.models.parts import draws, hand_loss, parts, same, weights


def test_how_they_print():
    w = parts()
    reconstruction = "E_{q(z|x)}[log p(x|z)]"
    assert str(VAE(w.q, w.p).loss) == f"mean(-{reconstruction})"
    regular = VAE(w.q, w.p, regularizer=KL(w.q, w.prior)).loss
    assert str(regular) == f"mean(-{reconstruction} + KL[q(z|x) || p_{{prior}}(z)])"
    assert str(VI(w.p * w.prior, w.q).loss) == "-mean(E_{q(z|x)}[log p(x,z) - log q(z|x)])"
    assert str(ML(w.p).loss) == "-mean(log p(x|z))"
    assert repr(VAE(w.q, w.p)).startswith("Model(\n  trained:\n    q(z|x)\n    p(x|z)\n")


def three_ways(w):
    """The same bound, with the closed form of the divergence and without."""
    closed = [
        VAE(w.q, w.p, regularizer=KL(w.q, w.prior)),
        w.model(),
    ]
    joint = w.p * w.prior
    sampled = [
        VI(joint, w.q),
        Model(loss=-E(w.q, joint.log_prob() - w.q.log_prob()).mean(), distributions=[joint, w.q]),
    ]
    return closed, sampled


@pytest.mark.parametrize("group", [0, 1])
def test_the_numbers_of_the_model_form(group):
    runs = []
    for i in range(2):
        w = parts(torch.float64)
        model = three_ways(w)[group][i]
        losses = [float(model.train({"x": w.x}, noise={"z": e})) for e in draws(10, w)]
        runs.append((losses, {**weights(w.p, "p."), **weights(w.q, "q.")}))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-12)
    for k, v in runs[0][1].items():
        torch.testing.assert_close(v, runs[1][1][k], rtol=1e-10, atol=1e-12)


def test_the_bound_by_hand():
    w = parts(torch.float64)
    (eps,) = draws(1, w)
    vae = VAE(w.q, w.p, regularizer=KL(w.q, w.prior))
    value = vae.test({"x": w.x}, noise={"z": eps})
    assert float(value) == pytest.approx(hand_loss(w.p, w.q, w.x, eps).item(), rel=1e-12)
    plain = VAE(w.q, w.p).test({"x": w.x}, noise={"z": eps})
    expected = hand_loss(w.p, w.q, w.x, eps, beta=0.0).item()
    assert float(plain) == pytest.approx(expected, rel=1e-12)


def test_vi_without_a_closed_form():
    """E_q[log p(x,z) - log q(z|x)] is estimated as written, from one draw."""
    w = parts(torch.float64)
    (eps,) = draws(1, w)
    params = w.q.get_params({"x": w.x})
    z = params["loc"] + params["scale"] * eps
    both = w.p.get_log_prob({"x": w.x, "z": z}) + w.prior.get_log_prob({"z": z})
    expected = -(both - w.q.get_log_prob({"x": w.x, "z": z})).mean()
    value = VI(w.p * w.prior, w.q).test({"x": w.x}, noise={"z": eps})
    assert float(value) == pytest.approx(expected.item(), rel=1e-12)


def test_ml_is_a_classifier():
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    p = Categorical(var=["y"], cond_var=["x"], net=net, name="p")
    x, labels = torch.randn(90, 4), torch.arange(90) % 3
    x[torch.arange(90), labels] += 3
    y = nn.functional.one_hot(labels, 3).float()
    model = ML(p, optimizer_params={"lr": 0.1})
    expected = nn.functional.cross_entropy(net(x), labels).item()
    assert float(model.test({"x": x, "y": y})) == pytest.approx(expected, rel=1e-6)
    history = model.fit((x, y), 30, vars=("x", "y"), batch_size=30, progress=False)
    assert history["loss"][-1] < 0.3 < 0.6 < history["loss"][0]


def test_ml_fits_the_moments():
    loc, scale = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))
    p = Normal(var=["x"], loc=loc, scale=scale, name="p")
    x = torch.tensor([[1.0, -1.0], [3.0, 2.0], [2.0, 5.0]])
    model = ML(p, optimizer=torch.optim.Adam, optimizer_params={"lr": 0.05})
    for _ in range(500):
        model.train({"x": x})
    assert loc.tolist() == pytest.approx(x.mean(0).tolist(), abs=1e-2)
    assert scale.tolist() == pytest.approx(x.std(0, correction=0).tolist(), abs=1e-2)


@pytest.mark.parametrize(
    ("cls", "first"),
    [
        (VAE, ["encoder", "decoder", "other_distributions", "regularizer"]),
        (VI, ["p", "approximate_dist", "other_distributions"]),
        (ML, ["p", "other_distributions"]),
    ],
)
def test_the_order_of_arguments_is_that_of_pixyz(cls, first):
    common = ["optimizer", "optimizer_params", "clip_grad_norm", "clip_grad_value"]
    ours, models = inspect.signature(cls).parameters, inspect.signature(Model).parameters
    assert list(ours)[: len(first) + 4] == [*first, *common]
    own = ("loss", "test_loss", "distributions")
    rest = [n for n, w in models.items() if n not in own and w.kind is not w.KEYWORD_ONLY]
    assert list(ours) == [*first, *rest]
    assert all(ours[n].default == models[n].default for n in rest)


def test_options_reach_the_model():
    w = parts()
    for model in (
        VAE(w.q, w.p, [], KL(w.q, w.prior), torch.optim.SGD, {"lr": 0.5}, 1.0, 2.0, True),
        VI(w.p * w.prior, w.q, [], torch.optim.SGD, {"lr": 0.5}, 1.0, 2.0, True),
        ML(w.p, [], torch.optim.SGD, {"lr": 0.5}, 1.0, 2.0, True),
    ):
        assert isinstance(model.optimizer, torch.optim.SGD)
        assert model.optimizer.param_groups[0]["lr"] == 0.5
        assert (model.clip_grad_norm, model.clip_grad_value) == (1.0, 2.0)
        assert model.retain_graph
    with pytest.raises(OptionError, match="SGD has no such option"):
        ML(w.p, [], torch.optim.SGD, {"beta": 0.5})


def test_other_laws():
    w = parts()
    learned = Normal(
        loc=nn.Parameter(torch.zeros(2)), scale=nn.Parameter(torch.ones(2)), var=["z"], name="r"
    )
    with pytest.raises(TrainingError, match=r"r\(z\) is in the loss, but not in distributions"):
        VAE(w.q, w.p, regularizer=KL(w.q, learned))
    for others in ([learned], learned, (learned,)):
        before = weights(learned)
        VAE(w.q, w.p, others, KL(w.q, learned)).train({"x": w.x})
        assert not same(before, weights(learned))


def recorded(w) -> list[str]:
    """The order in which the networks run."""
    order: list[str] = []
    w.q.register_forward_hook(lambda *args: order.append("E"))
    w.p.register_forward_hook(lambda *args: order.append("D"))
    return order


WAYS = {
    "VAE": lambda w: VAE(w.q, w.p, regularizer=KL(w.q, w.prior)),
    "VAE, Monte Carlo": lambda w: VAE(w.q, w.p, regularizer=KL(w.q, w.prior, analytical=False)),
    "VI": lambda w: VI(w.p * w.prior, w.q),
    "Model": lambda w: w.model(),
    "divergence first": lambda w: Model(loss=(KL(w.q, w.prior) - E(w.q, w.p.log_prob())).mean()),
    "means apart": lambda w: Model(loss=KL(w.q, w.prior).mean() - E(w.q, w.p.log_prob()).mean()),
}


@pytest.mark.parametrize("name", WAYS)
def test_one_pass_of_each_network_in_this_order(name):
    """Parity test 12 of Pixyz; and the second step on the same tensor sees the new weights."""
    w = parts()
    model, order = WAYS[name](w), recorded(w)
    for _ in range(3):
        model.train({"x": w.x})
        assert order == ["E", "D"]
        order.clear()
    model.test({"x": w.x})
    assert order == ["E", "D"]


@pytest.mark.parametrize("name", WAYS)
def test_the_second_step_on_the_same_tensor(name):
    w = parts(torch.float64)
    model = WAYS[name](w)
    (eps,) = draws(1, w)
    losses = [float(model.train({"x": w.x}, noise={"z": eps})) for _ in range(30)]
    assert len(set(losses)) == 30
    assert losses[-1] < losses[0]


def test_the_walk_through_classes_are_copied_as_they_are():
    w = parts()
    model = VAE(w.q, w.p, regularizer=KL(w.q, w.prior))
    model.train({"x": w.x})
    other = copy.deepcopy(model)
    assert type(other) is VAE
    assert isinstance(other.distributions[1], Bernoulli)
    other.train({"x": w.x})
