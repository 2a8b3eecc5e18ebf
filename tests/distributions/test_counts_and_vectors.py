"""Laws of counts and of vectors in losses: shapes, gradients and refusals, and known values."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import (
    GradientError,
    OptionError,
    SamplingError,
    ShapeError,
    SupportError,
)
from ancestral.distributions import (
    Binomial,
    Categorical,
    Dirichlet,
    LowRankMultivariateNormal,
    Multinomial,
    MultivariateNormal,
    Normal,
    OrderedLogistic,
    Poisson,
    PowerSpherical,
    RelaxedCategorical,
)
from ancestral.estimators.enumerate import Enumerate
from ancestral.estimators.score import LeaveOneOut, Score
from ancestral.losses import E, Entropy, KullbackLeibler
from tests.contracts.test_distributions import DENSE

LOWER = torch.tensor([[0.8, 0.0, 0.0], [0.3, 1.1, 0.0], [-0.5, 0.2, 0.6]], dtype=torch.float64)
OTHER = torch.tensor([[1.2, 0.0, 0.0], [-0.4, 0.9, 0.0], [0.1, 0.7, 1.4]], dtype=torch.float64)
MU = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


def gaussian(name="q", loc=MU, **scale):
    return MultivariateNormal(var=["z"], name=name, loc=loc, **(scale or {"scale_tril": LOWER}))


def forms(lower):
    """The three ways of giving one covariance."""
    covariance = lower @ lower.mT
    return [
        {"scale_tril": lower},
        {"covariance_matrix": covariance},
        {"precision_matrix": torch.linalg.inv(covariance)},
    ]


# -- multivariate normal --------------------------------------------------------------------------
@pytest.mark.parametrize("mine", forms(LOWER), ids=lambda form: next(iter(form)))
@pytest.mark.parametrize("its", forms(OTHER), ids=lambda form: next(iter(form)))
def test_divergences_do_not_depend_on_the_parametrisation(mine, its):
    found = KullbackLeibler(gaussian(**mine), gaussian("p", 0.5 * MU, **its)).eval()
    c_q, c_p = LOWER @ LOWER.mT, OTHER @ OTHER.mT
    inverse = torch.linalg.inv(c_p)
    wanted = 0.5 * (
        (inverse @ c_q).trace() + 0.5 * MU @ inverse @ (0.5 * MU) - 3 + c_p.logdet() - c_q.logdet()
    )
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("mine", forms(LOWER), ids=lambda form: next(iter(form)))
@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (-MU, MU.abs())], ids=["number", "vector"])
def test_divergence_from_and_to_a_normal_law(mine, loc, scale):
    q = gaussian(**mine)
    p = Normal(var=["z"], name="p", loc=loc, scale=scale, features_shape=[3])
    dense = gaussian("r", torch.as_tensor(loc).expand(3).double(),
                     scale_tril=torch.diag(torch.as_tensor(scale).expand(3)).double())  # fmt: skip
    for first, second, wanted in [(q, p, (q, dense)), (p, q, (dense, q))]:
        found = KullbackLeibler(first, second).eval()
        torch.testing.assert_close(found, KullbackLeibler(*wanted).eval(), rtol=1e-12, atol=1e-12)


def test_low_rank_is_the_dense_law():
    factor, own = LOWER[:, :2], MU.abs()
    low = LowRankMultivariateNormal(var=["z"], loc=MU, cov_factor=factor, cov_diag=own)
    dense = gaussian(covariance_matrix=factor @ factor.mT + torch.diag(own))
    z = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(low.get_log_prob({"z": z}), dense.get_log_prob({"z": z}))
    torch.testing.assert_close(low.get_entropy(), dense.get_entropy())
    torch.testing.assert_close(low.sample_variance(), dense.sample_variance())
    assert low.sample(batch_n=4, sample_shape=[2])["z"].shape == (2, 4, 3)


def test_network_gives_a_mean_and_a_triangle():
    net = nn.Linear(2, 9)
    q = MultivariateNormal(var=["z"], cond_var=["x"], name="q", net=net)
    p = MultivariateNormal(var=["z"], name="p", loc=0.0, scale_tril=torch.eye(3))
    x = torch.randn(7, 2)
    params = q.get_params({"x": x})
    assert params["loc"].shape == (7, 3)
    assert params["scale_tril"].shape == (7, 3, 3)
    assert (params["scale_tril"].tril() == params["scale_tril"]).all()
    loss = (KullbackLeibler(q, p) + E(q, -p.log_prob())).mean()
    value = loss.eval({"x": x})
    value.backward()
    assert net.weight.grad is not None
    assert net.weight.grad.abs().min() > 0
    with pytest.raises(ShapeError, match=r"D\(D \+ 3\)/2"):
        MultivariateNormal(var=["z"], cond_var=["x"], net=nn.Linear(2, 8)).sample({"x": x})


def test_text_is_the_interpreter_for_vectors():
    q = MultivariateNormal(var=["z"], cond_var=["x"], name="q", net=nn.Linear(2, 9))
    p = gaussian("p", 0.0, covariance_matrix=(OTHER @ OTHER.mT).float())
    loss = (KullbackLeibler(q, p) + E(q, p.log_prob() - q.log_prob(), draws=4)).mean()
    function, x = loss.function(), torch.randn(5, 2)
    noise = {"z": torch.randn(4, 5, 3)}
    first = function({"x": x}, noise=noise)
    assert torch.equal(function({"x": x}, noise=noise), first)  # the generated text
    assert function({"x": torch.randn(9, 2)}).isfinite()


# -- counts ---------------------------------------------------------------------------------------
def test_counts_need_an_estimator():
    rate = nn.Parameter(torch.tensor([2.0, 0.5]))
    q = Poisson(var=["x"], name="q", rate=rate)
    p = Poisson(var=["x"], name="p", rate=torch.tensor([1.0, 1.0]))
    loss = E(q, p.log_prob())
    with pytest.raises(GradientError, match="Score"):
        loss.eval()
    with pytest.raises(OptionError, match="values of a Poisson"):
        loss.estimate({q: Enumerate()}).eval()
    torch.manual_seed(0)
    loss.estimate({q: Score(LeaveOneOut(), draws=20_000)}).eval().backward()
    x = torch.arange(60.0)[:, None]
    exact = nn.Parameter(rate.detach().clone())
    log_q = x * exact.log() - exact - (x + 1).lgamma()
    (log_q.exp() * (-1 - (x + 1).lgamma())).sum().backward()
    torch.testing.assert_close(rate.grad, exact.grad, atol=0.05, rtol=0)


def test_grades_can_be_enumerated():
    cut = torch.tensor([-1.0, 0.0, 2.0])
    loc = nn.Parameter(torch.tensor([0.3, -0.7]))
    q = OrderedLogistic(var=["x"], name="q", loc=loc, cutpoints=cut)
    p = OrderedLogistic(var=["x"], name="p", loc=torch.zeros(2), cutpoints=cut)
    sum_ = E(q, q.log_prob() - p.log_prob()).estimate({q: Enumerate()}).eval()
    closed = KullbackLeibler(q, p).eval()
    torch.testing.assert_close(sum_, closed)
    slopes = [torch.autograd.grad(v, loc)[0] for v in (sum_, closed)]
    torch.testing.assert_close(*slopes)


def test_noise_of_counts_may_be_given():
    q = Binomial(var=["x"], name="q", total_count=5, probs=torch.tensor([0.3, 0.4]))
    loss = E(q, q.log_prob())
    x = torch.tensor([[2.0, 5.0]])
    torch.testing.assert_close(loss.eval(noise={"x": x}), q.get_log_prob({"x": x})[0])


def test_counts_may_be_integers():
    for x in (torch.tensor([[1, 3]]), torch.tensor([[1.0, 3.0]])):
        found = Poisson(rate=torch.tensor([2.0, 3.0])).get_log_prob({"x": x})
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.exp(), torch.tensor([0.270671 * 0.224042]))


@pytest.mark.parametrize(
    ("law", "x"),
    [
        (Poisson(rate=1.0), torch.tensor([0.5])),
        (Poisson(rate=1.0), torch.tensor([-1.0])),
        (Binomial(total_count=3, probs=0.5), torch.tensor([4.0])),
        (Multinomial(total_count=3, logits=torch.zeros(2)), torch.tensor([[1.0, 1.0]])),
        (OrderedLogistic(loc=0.0, cutpoints=torch.zeros(1)), torch.tensor([2])),
    ],
    ids=str,
)
def test_values_outside_are_refused(law, x):
    with pytest.raises(SupportError, match="whole number"):
        law.get_log_prob({"x": x})


def test_topic_model_takes_documents_of_any_length():
    beta = nn.Linear(3, 6, bias=False)  # topics x words
    p = Multinomial(var=["x"], cond_var=["z"], name="p", net=beta)
    q = Dirichlet(var=["z"], cond_var=["x"], name="q", net=nn.Linear(6, 3))
    prior = Dirichlet(var=["z"], name="p", concentration=torch.full((3,), 0.5))
    x = torch.tensor([[3.0, 0.0, 1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    loss = (KullbackLeibler(q, prior) - E(q, p.log_prob())).mean()
    loss.eval({"x": x}).backward()
    assert beta.weight.grad is not None
    assert beta.weight.grad.isfinite().all()
    z = torch.full((2, 3), 1 / 3)
    wanted = (x * beta(z).log_softmax(-1)).sum(-1)
    torch.testing.assert_close(p.get_log_prob({"x": x, "z": z}), wanted)
    with pytest.raises(SamplingError, match="Multinomial"):
        p.sample({"z": z})


def test_lengths_may_be_given_with_the_rows():
    p = Multinomial(var=["x"], cond_var=["n", "z"], total_count="n",
                    net=lambda n, z: {"logits": z})  # fmt: skip
    n, z = torch.tensor([6.0, 0.0, 40.0]), torch.randn(3, 5)
    x = p.sample({"n": n, "z": z}, sample_shape=[4])["x"]
    assert torch.equal(x.sum(-1), n.expand(4, 3))
    assert p.get_log_prob({"n": n, "z": z, "x": x}).shape == (4, 3)


# -- relaxed --------------------------------------------------------------------------------------
def test_v2_relaxed_density_is_that_of_the_simplex():
    """Pixyz gives a relaxed categorical law the density of independent coins: -1.273."""
    half = torch.tensor([0.5, 0.5])
    one_hot = torch.tensor([[1.0, 0.0]])
    found = Categorical(probs=half).get_log_prob({"x": one_hot})
    assert found.item() == pytest.approx(math.log(0.5), abs=1e-7)
    relaxed = RelaxedCategorical(temperature=1.0, probs=half)
    with pytest.raises(SupportError, match="For one-hot values use a Categorical law"):
        relaxed.get_log_prob({"x": one_hot})
    assert relaxed.get_log_prob({"x": torch.tensor([[0.2, 0.8]])}).item() == pytest.approx(
        0.0, abs=1e-6
    )


def test_relaxed_choice_is_trained_by_its_draws():
    logits = nn.Parameter(torch.tensor([0.1, -0.2, 0.4]))
    q = RelaxedCategorical(var=["z"], name="q", temperature=0.5, logits=logits)
    loss = E(q, q.log_prob())
    loss.eval().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# -- directions -----------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [2, 3, 50])
def test_directions_of_any_dimension(size):
    """Draws are unit vectors whose mean resultant is that of the law, by a pole or not."""
    for first in (1.0, -1.0, 0.3):
        mu = torch.zeros(size, dtype=torch.float64)
        mu[0], mu[1] = first, (1 - first**2) ** 0.5
        p = PowerSpherical(loc=mu, concentration=20.0)
        x = p.sample(batch_n=2000)["x"]
        torch.testing.assert_close(x.norm(dim=-1), torch.ones(2000, dtype=torch.float64))
        error = (x.mean(0) - p.sample_mean()[0]).abs()
        assert (error < 5 * p.sample_variance()[0].sqrt() / 2000**0.5 + 1e-9).all()


def test_direction_is_trained_by_its_draws():
    """A hyperspherical autoencoder's bound: entropy in closed form, draws with gradient."""
    q = PowerSpherical(
        var=["z"],
        cond_var=["x"],
        name="q",
        net=lambda x: {"loc": F.normalize(x[:, :3], dim=-1), "concentration": x[:, 3].exp()},
    )
    p = Normal(var=["x"], cond_var=["z"], name="p", net=lambda z: {"loc": z @ torch.ones(3, 4)},
               scale=1.0)  # fmt: skip
    x = torch.randn(5, 4, requires_grad=True)
    (E(q, p.log_prob()) + Entropy(q)).mean().eval({"x": x}).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad != 0).all()


# -- all of them ----------------------------------------------------------------------------------
COUNTS_AND_VECTORS = [
    case
    for case in DENSE
    if case.family.cores or case.family.noise in ("counts", "a point of the simplex")
]


@pytest.mark.parametrize("case", COUNTS_AND_VECTORS, ids=str)
def test_densities_are_batched_by_vmap(case):
    """Values in a batch of their own, and parameters too; checks of values stand aside."""
    law = case.law()
    name = law.var[0]
    x = law.sample(batch_n=4)[name]
    wanted = law.get_log_prob({name: x})
    found = torch.func.vmap(lambda x: law.get_log_prob({name: x[None]})[0])(x)
    torch.testing.assert_close(found, wanted)
    params = {k: torch.stack([v] * 4) for k, v in case.params.items()}
    each = torch.func.vmap(lambda x, p: law.moves.log_density(x, **p))(x, params)
    torch.testing.assert_close(each.flatten(1).sum(-1), wanted)


def on_meta(case):
    """The law with a number for each parameter that may be one, the others on another device."""
    keys = [k for k in case.params if case.core(k) == 0]
    keys = keys if len(keys) < len(case.params) else keys[:-1]
    numbers = {k: float(case.params[k].flatten()[0]) for k in keys}
    others = {k: v.float().to("meta") for k, v in case.params.items() if k not in numbers}
    return case.build(**numbers, **others)


@pytest.mark.parametrize("case", COUNTS_AND_VECTORS, ids=str)
def test_numbers_meet_tensors_of_another_device(case):
    law = on_meta(case)
    params = law.params(())
    x = law.sample(batch_n=2)[law.var[0]]
    found = [x, law.moves.log_density(x, **params)]
    for which in ("mean_of", "variance_of", "entropy_of"):
        if hasattr(law.moves, which):
            found.append(getattr(law.moves, which)(**params))
    # a single number is moved by whoever asks
    assert all(v.device.type == "meta" or v.dim() == 0 for v in found)
