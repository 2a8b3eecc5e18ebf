"""Sentence 6: joint and mixed posteriors of two modalities, of which some are missing."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import ShapeError, SupportError
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    MixtureOfNormal,
    Normal,
    Poisson,
    ProductOfNormal,
    Sequence,
    Uniform,
)
from ancestral.losses import KL, E, Enumerate, H
from ancestral.models import Model
from tests.lowering.reading import twice
from tests.sentences.counting import agrees, counted, draws, passes

ROWS, A = 6, 0.1
SUBSETS = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]).double()


class Laws:
    """Two views x of 5 and y of 3 entries, latents of 2, in float64."""

    def __init__(self):
        torch.manual_seed(0)
        net = lambda a, b: nn.Linear(a, b).double()  # noqa: E731
        self.nets = {"q_x": net(5, 4), "q_y": net(3, 4), "p_x": net(2, 10), "p_y": net(2, 6)}
        self.prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p").double()
        self.q_x = Normal(var=["z"], cond_var=["x"], net=self.nets["q_x"], name="q_x")
        self.q_y = Normal(var=["z"], cond_var=["y"], net=self.nets["q_y"], name="q_y")
        self.p_x = Normal(var=["x"], cond_var=["z"], net=self.nets["p_x"], name="p_x")
        self.p_y = Normal(var=["y"], cond_var=["z"], net=self.nets["p_y"], name="p_y")
        self.batch = {"x": torch.randn(ROWS, 5).double(), "y": torch.randn(ROWS, 3).double()}
        index = Categorical(var=["i"], probs=torch.ones(3).double() / 3, name="p")
        subset = Deterministic(var=["S"], cond_var=["i"], net=lambda i: i @ SUBSETS, name="s")
        self.p_s = (subset * index).marginalize_var("i")

    def jmvae(self):
        q = ProductOfNormal([self.q_x, self.q_y], prior=self.prior, name="q")
        bound = E(q, (self.p_x * self.p_y).log_prob()) - KL(q, self.prior)
        return bound - A * (KL(q, self.q_x) + KL(q, self.q_y))

    def poe(self):
        return ProductOfNormal([self.q_x, self.q_y], prior=self.prior, mask="S", name="q")

    def bound(self, q=None):
        q = q or self.poe()
        return E(q, (self.p_x * self.p_y).log_prob(mask="S")) - KL(q, self.prior)

    def mvae(self):
        return E(self.p_s, self.bound()).estimate({self.p_s: Enumerate()})

    def params(self, name, value):
        loc, raw = self.nets[name](value).chunk(2, -1)
        return loc, F.softplus(raw)

    def product(self, subset, x, y):
        """The product of experts by precisions."""
        every = [(torch.zeros(ROWS, 2).double(), torch.ones(ROWS, 2).double())]
        every += [
            self.params(n, v) for n, v, s in zip(("q_x", "q_y"), (x, y), subset, strict=True) if s
        ]
        precision = sum(s**-2 for _, s in every)
        return sum(m * s**-2 for m, s in every) / precision, precision**-0.5


@pytest.fixture
def laws():
    return Laws()


def log_normal(x, loc, scale):
    return (-0.5 * ((x - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def kl(loc, scale, other=0.0, its=1.0):
    its = torch.as_tensor(its).double()
    r = scale / its
    return (0.5 * (r**2 + ((loc - other) / its) ** 2 - 1) - r.log()).sum(-1)


def test_they_print_as_sums_over_what_is_present(laws):
    assert str(laws.jmvae()) == (
        "E_{q(z|x,y)}[log p(x,y|z)] - KL[q(z|x,y) || p(z)]"
        " - 0.1 (KL[q(z|x,y) || q_x(z|x)] + KL[q(z|x,y) || q_y(z|y)])"
    )
    assert laws.jmvae().latex() == (
        r"\mathbb{E}_{q(z|x,y)} \left[\log p(x,y|z) \right] - "
        r"D_{KL} \left[q(z|x,y)||p(z) \right] - 0.1 \left("
        r"D_{KL} \left[q(z|x,y)||q_{x}(z|x) \right] + "
        r"D_{KL} \left[q(z|x,y)||q_{y}(z|y) \right] \right)"
    )
    assert str(laws.mvae()) == (
        "E_{p(S)}[E_{q(z|x,y,S)}[S_1 log p_x(x|z) + S_2 log p_y(y|z)] - KL[q(z|x,y,S) || p(z)]]"
    )
    assert r"\left[S_{1} \log p_{x}(x|z) + S_{2} \log p_{y}(y|z) \right]" in laws.mvae().latex()
    assert laws.poe().latex() == "q(z|x,y,S) \\propto p(z)q_{x}(z|x)^{S_{1}}q_{y}(z|y)^{S_{2}}"


def test_each_network_runs_once_for_all_subsets(laws):
    assert passes(laws.jmvae()).count("q_x(z|x)") == 1
    assert draws(laws.jmvae()) == draws(laws.mvae()) == ["z"]
    for loss, seen_by_decoders in ((laws.jmvae(), ROWS), (laws.mvae(), 3 * ROWS)):
        function = loss.mean().function()
        for _ in range(2):
            with counted(**laws.nets) as seen:
                function(laws.batch)
            assert seen == {
                "q_x": [ROWS], "q_y": [ROWS], "p_x": [seen_by_decoders], "p_y": [seen_by_decoders],
            }  # fmt: skip


def test_jmvae_by_hand(laws):
    x, y = laws.batch["x"], laws.batch["y"]
    eps = torch.randn(ROWS, 2).double()

    def hand():
        loc, scale = laws.product((1, 1), x, y)
        z = loc + scale * eps
        log_p = log_normal(x, *laws.params("p_x", z)) + log_normal(y, *laws.params("p_y", z))
        apart = sum(kl(loc, scale, *laws.params(n, laws.batch[n[2]])) for n in ("q_x", "q_y"))
        return (log_p - kl(loc, scale) - A * apart).mean()

    agrees(laws.jmvae().mean(), laws.batch, hand, [*laws.nets.values()], noise={"z": eps})


def test_mvae_by_hand(laws):
    x, y = laws.batch["x"], laws.batch["y"]
    eps = torch.randn(3, ROWS, 2).double()

    def hand():
        total = 0.0
        for subset, noise in zip(SUBSETS.tolist(), eps, strict=True):
            loc, scale = laws.product(subset, x, y)
            z = loc + scale * noise
            log_p = subset[0] * log_normal(x, *laws.params("p_x", z))
            log_p = log_p + subset[1] * log_normal(y, *laws.params("p_y", z))
            total = total + (log_p - kl(loc, scale)) / 3
        return total.mean()

    agrees(laws.mvae().mean(), laws.batch, hand, [*laws.nets.values()], noise={"z": eps})


@pytest.mark.parametrize("family", [ProductOfNormal, MixtureOfNormal])
def test_what_is_missing_reaches_neither_value_nor_gradient(laws, family):
    """A NaN in a missing row, or any number, gives one value and one gradient, to the bit."""
    options = {"prior": laws.prior} if family is ProductOfNormal else {"features_shape": [2]}
    q = family([laws.q_x, laws.q_y], mask="S", name="q", **options)
    bound = E(q, (laws.p_x * laws.p_y).log_prob(mask="S") - q.log_prob() + laws.prior.log_prob())
    mask = SUBSETS.repeat(2, 1)
    found = []
    for value in (math.nan, 7.0, math.inf):
        batch = {
            "x": torch.where(mask[:, :1] == 1, laws.batch["x"], value),
            "y": torch.where(mask[:, 1:] == 1, laws.batch["y"], value),
            "S": mask,
        }
        torch.manual_seed(1)
        loss = twice(bound.mean(), batch)
        weights = [w for net in laws.nets.values() for w in net.parameters()]
        found.append([loss.detach(), *torch.autograd.grad(loss, weights)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    assert all(bool(v.isfinite().all()) for v in found[0])


def test_a_program_and_the_eager_law_agree(laws):
    mask = SUBSETS.repeat(2, 1)
    batch = {**laws.batch, "S": mask, "z": torch.randn(ROWS, 2).double()}
    mixture = MixtureOfNormal([laws.q_x, laws.q_y], [0.3, 0.7], "q", [2], mask="S")
    weighted = ProductOfNormal([laws.q_x, laws.q_y], [0.5, 2.0], prior=laws.prior, mask="S")
    for q in (laws.poe(), mixture, weighted, weighted.replace_var(z="w", x="u")):
        names = dict(zip(("z", "x"), (q.var[0], q.cond_var[0]), strict=True))
        given = {names.get(k, k): v for k, v in batch.items()}
        torch.testing.assert_close(twice(q.log_prob(), given), q.get_log_prob(given))


def test_a_modality_that_a_whole_batch_lacks_has_gradient_zero(laws):
    batch = {"x": laws.batch["x"], "y": torch.full((ROWS, 3), math.nan).double()}
    batch["S"] = torch.tensor([[1.0, 0.0]]).double().expand(ROWS, 2)
    laws.bound().mean().eval(batch).backward()
    assert all(bool((w.grad == 0).all()) for w in laws.nets["q_y"].parameters())
    assert all(w.grad.abs().sum() > 0 for w in laws.nets["q_x"].parameters())


def test_a_value_that_is_said_to_be_present_must_be_there(laws):
    batch = {"x": laws.batch["x"], "y": torch.full((ROWS, 3), math.nan).double()}
    with pytest.raises(SupportError, match=r"q_y\(z\|y\): loc must be finite"):
        laws.mvae().mean().eval(batch)
    with pytest.raises(ShapeError, match="one entry for each of the 2"):
        laws.bound().eval({**laws.batch, "S": torch.ones(ROWS, 3)})


def test_the_golden_product():
    """O18: N(0, 1) N(1, .25) N(-2, 4) has the mean 2/3 and the variance .190476."""
    one = Normal(var=["z"], loc=1.0, scale=0.5, name="a")
    two = Normal(var=["z"], loc=-2.0, scale=2.0, name="b")
    q = ProductOfNormal([one, two], prior=Normal(var=["z"], loc=0.0, scale=1.0)).double()
    assert q.sample_mean().item() == pytest.approx(2 / 3, abs=1e-6)
    assert q.sample_variance().item() == pytest.approx(0.190476, abs=1e-6)
    exact = 0.5 * math.log(2 * math.pi * math.e * 0.190476)
    assert H(q).eval().item() == pytest.approx(exact, abs=1e-6)


def test_the_product_is_the_exact_posterior_of_linear_views():
    """x = a z + N(0, s^2): the expert of a view is its likelihood as a law of z, N(x/a, s^2/a^2).

    Their product with the prior is p(z|x,y), so that the bound is log p(x,y), and that of each
    subset is its log p(x_S), without a draw's noise; both for each row.
    """
    a, b, s, t = 1.5, -0.7, 0.6, 0.9
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[1]).double()
    q_x = Normal(var=["z"], cond_var=["x"], net=lambda x: {"loc": x / a, "scale": s / a + 0 * x})
    q_y = Normal(var=["z"], cond_var=["y"], net=lambda y: {"loc": y / b, "scale": -t / b + 0 * y})
    p_x = Normal(var=["x"], cond_var=["z"], net=lambda z: {"loc": a * z, "scale": s + 0 * z})
    p_y = Normal(var=["y"], cond_var=["z"], net=lambda z: {"loc": b * z, "scale": t + 0 * z})
    q = ProductOfNormal([q_x, q_y], prior=prior, mask="S", name="q")
    joint = (p_x * p_y).log_prob(mask="S") + prior.log_prob() - q.log_prob()
    x, y = torch.randn(6, 1).double(), torch.randn(6, 1).double()
    mask = SUBSETS.repeat(2, 1)
    found = twice(E(q, joint), {"x": x, "y": y, "S": mask})
    cov = torch.tensor([[a * a + s * s, a * b], [a * b, b * b + t * t]], dtype=torch.float64)
    for i, subset in enumerate(mask.tolist()):
        keep = [j for j in (0, 1) if subset[j]]
        value, own = torch.cat([x[i], y[i]])[keep], cov[keep][:, keep]
        law = torch.distributions.MultivariateNormal(torch.zeros(len(keep)).double(), own)
        assert found[i].item() == pytest.approx(law.log_prob(value).item(), abs=1e-12)


def test_a_first_batch_without_a_modality_is_no_mistake(laws):
    """The gradient of its networks is zero, and not none: a model goes on."""
    model = Model(-laws.bound().mean(), distributions=[laws.q_x, laws.q_y, laws.p_x, laws.p_y])
    before = [w.clone() for w in laws.nets["q_y"].parameters()]
    batch = {"x": laws.batch["x"], "y": torch.full((ROWS, 3), math.nan).double()}
    mask = torch.tensor([[1.0, 0.0]]).double().expand(ROWS, 2)
    assert model.train({**batch, "S": mask}).isfinite()
    after = laws.nets["q_y"].parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.train({**laws.batch, "S": torch.ones(ROWS, 2).double()}).isfinite()


def test_a_subset_may_be_drawn_for_each_row(laws):
    """The mean over drawn subsets is that of the enumerated ones."""
    drawn = E(laws.p_s, laws.bound()).mean().function()
    exact = laws.mvae().mean().function()
    torch.manual_seed(0)
    with torch.no_grad():
        gap = torch.stack([drawn(laws.batch) - exact(laws.batch) for _ in range(400)])
    error = float(gap.std()) / 20
    assert abs(float(gap.mean())) < 5 * error < 1.5


LIKELIHOODS = {  # of what stands in for a missing value none of these could be
    "labels": (Categorical, lambda z: {"logits": z}, torch.eye(2)[[0, 1, 1, 0]]),
    "counts": (Poisson, lambda z: {"rate": z.exp()}, torch.tensor([[3.0, 0.0]]).expand(4, 2)),
    "interval": (
        Uniform,
        lambda z: {"low": 2 - z * z, "high": 3 + z * z},
        torch.full((4, 2), 2.5),
    ),
    "bits": (Bernoulli, lambda z: {"logits": z}, torch.ones(4, 2)),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_missing_modality_may_be_of_any_law(name, recwarn):
    """Some rows lack it, and a whole batch: the others' terms are those without it."""
    family, link, y = LIKELIHOODS[name]
    weight = nn.Parameter(torch.tensor(0.1).double())
    p_y = family(var=["y"], cond_var=["z"], net=lambda z: link(weight * z), name="p_y")
    p_x = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0, name="p_x")
    q = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="q").double()
    y, x, eps = y.double(), torch.randn(4, 2).double(), torch.randn(4, 2).double()
    for there in ([1.0, 0.0, 1.0, 0.0], [0.0] * 4):
        held = torch.tensor(there).double()
        given = {"x": x, "y": torch.where(held[:, None] > 0, y, torch.nan),
                 "S": torch.stack([torch.ones(4).double(), held], 1)}  # fmt: skip
        found = twice(E(q, (p_x * p_y).log_prob(mask="S")), given, noise={"z": eps})
        of_y = torch.where(held > 0, p_y.get_log_prob({"y": y, "z": eps}), 0.0)
        wanted = p_x.get_log_prob({"x": x, "z": eps}) + of_y
        torch.testing.assert_close(found, wanted)
        slopes = (torch.autograd.grad(v.sum(), weight)[0] for v in (found, wanted))
        torch.testing.assert_close(*slopes)
    assert not recwarn.list


@pytest.mark.parametrize("masked", [True, False])
def test_a_missing_modality_may_be_a_sequence_of_labels(masked):
    step = Categorical(var=["y"], cond_var=["z"], net=lambda z: {"logits": z}, name="p_y")
    p_y = Sequence(step, series=["z"], mask="m" if masked else None)
    p_x = Normal(var=["x"], cond_var=["v"], loc="v", scale=1.0, name="p_x")
    y, z = torch.eye(3).double()[torch.tensor([[0, 2], [1, 1], [2, 0]])], torch.randn(3, 2, 3)
    given = {"x": torch.randn(3, 1), "v": torch.randn(3, 1), "z": z, "m": torch.ones(3, 2)}
    given = {name: value.double() for name, value in given.items()} | {"y": y}
    wanted = p_x.get_log_prob(given) + p_y.get_log_prob(given)
    wanted[1] = p_x.get_log_prob(given)[1]
    missing = y.clone()
    missing[1] = torch.nan
    held = {"y": missing, "S": torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])}
    found = twice((p_y * p_x).log_prob(mask="S"), {**given, **held})
    torch.testing.assert_close(found, wanted)
