"""Laws of points, and Stein variational gradient descent, which moves them."""

import math
import warnings

import pytest
import torch
from torch import nn

from ancestral.core.errors import (
    DensityError,
    GradientError,
    GradientOnlyError,
    OptionError,
    ShapeError,
)
from ancestral.distributions import (
    GaussianProcess,
    MultivariateNormal,
    Normal,
    Particles,
    Points,
    weights,
)
from ancestral.distributions.kernels import Kernel, Linear, Matern
from ancestral.estimators.svgd import kernel_and_slopes
from ancestral.losses import KL, RBF, SVGD, E, Enumerate, H, Score, values
from ancestral.models import Model
from tests.lowering.reading import twice

f64 = torch.float64


@pytest.fixture
def q():
    torch.manual_seed(0)
    return Points(nn.Parameter(torch.randn(6, 2, dtype=f64)), var=["z"])


def norm2(z):
    return (z**2).sum(-1)


# -- expectations ---------------------------------------------------------------------------------
def test_an_expectation_is_the_mean_over_all_points(q):
    p = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    found = twice(E(q, p.log_prob()))
    wanted = (-0.5 * norm2(q.points) - math.log(2 * math.pi)).mean()
    torch.testing.assert_close(found, wanted)
    slope = torch.autograd.grad(found, q.points)[0]  # an ensemble: each climbs alone
    torch.testing.assert_close(slope, -q.points.detach() / 6)


def test_expectations_are_exact_in_products_and_logarithms(q):
    """No draw is shared or biased: nothing is drawn."""
    p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0, name="p")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="r")
    x = torch.randn(3, 2, dtype=f64)
    rows = torch.distributions.Normal(q.points.detach(), 1.0).log_prob(x[:, None]).sum(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = E(q, p.prob()).log().eval({"x": x})
    torch.testing.assert_close(found, rows.exp().mean(-1).log())
    squared = E(q, prior.log_prob()) * E(q, p.log_prob())
    alone = (-0.5 * norm2(q.points.detach()) - math.log(2 * math.pi)).mean()
    torch.testing.assert_close(twice(squared, {"x": x}), alone * rows.mean(-1))


def test_a_draw_is_one_of_the_points():
    """5 standard errors of 4000 draws: a probability of 0.29 in place of 0.25 would be seen."""
    q = Points(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), var=["z"])
    torch.manual_seed(0)
    found = q.sample(batch_n=4000)["z"]
    counts = torch.bincount(found.flatten().long(), minlength=4)
    error = (4000 * 0.25 * 0.75) ** 0.5
    assert ((counts - 1000).abs() < 5 * error).all()
    assert q.sample(batch_n=3, sample_shape=[5])["z"].shape == (5, 3, 1)
    torch.testing.assert_close(q.sample_variance(), torch.tensor([[1.25]]))


# -- Stein directions -----------------------------------------------------------------------------
def test_slopes_of_kernels_are_theirs_pair_by_pair():
    """Of one that is not symmetric too: which argument is which matters."""
    torch.manual_seed(1)
    points = torch.randn(5, 3, dtype=f64)
    skew = torch.randn(3, 3, dtype=f64)

    def lopsided(a, b):
        return (a @ skew @ b.mT).tanh()

    for kernel in (RBF(2.0), Matern(2.5, 1.0) + Linear(), RBF(1.0) * Matern(1.5, 2.0), lopsided):
        k, slopes = kernel_and_slopes(kernel, points)
        leaf = points.clone().requires_grad_()
        for i in range(5):
            column = kernel(leaf, points[i, None])[:, 0]
            torch.testing.assert_close(k[:, i], column.detach())
            each = torch.autograd.grad(column.sum(), leaf)[0]
            torch.testing.assert_close(slopes[i], each.sum(0))
    _, mine = kernel_and_slopes(RBF() + RBF(1.0), points)
    _, sums = kernel_and_slopes(RBF(), points)
    torch.testing.assert_close(mine, sums + kernel_and_slopes(RBF(1.0), points)[1])


def test_a_kernel_that_is_not_symmetric_smooths_by_its_first_argument(q):
    skew = torch.tensor([[1.0, 2.0], [0.5, 1.0]], dtype=f64)

    def kernel(a, b):
        return (a @ skew @ b.mT).tanh()

    z, _ = SVGD(kernel).interact(q.points)
    slope = torch.randn(6, 2, dtype=f64)
    found = torch.autograd.grad((z * slope).sum(), q.points)[0]
    points = q.points.detach()
    torch.testing.assert_close(found, kernel(points, points).mT @ slope)
    assert torch.equal(z.detach(), points)


def affine(a, b):
    return 1 + a @ b.mT


def test_the_exact_moments_are_a_fixed_point_of_the_affine_kernel():
    """Particles with a normal target's mean and covariance do not move (Liu and Wang, Stein
    variational gradient descent as moment matching, 2018, theorem 3); others do.
    """
    tril = torch.tensor([[1.0, 0.0], [0.6, 1.3]], dtype=f64)
    loc = torch.tensor([1.0, -2.0], dtype=f64)
    target = MultivariateNormal(var=["z"], loc=loc, scale_tril=tril)
    exact = loc + 2**0.5 * torch.cat([tril.T, -tril.T])
    for points, still in ((exact, True), (1.1 * exact, False), (exact + 0.1, False)):
        q = Points(nn.Parameter(points.clone()), var=["z"])
        sgd = {"optimizer": torch.optim.SGD, "optimizer_params": {"lr": 1.0}}
        loss = KL(q, target).estimate({q: SVGD(affine)})
        Model(loss=loss, distributions=[q], **sgd).train({})
        moved = (q.points.detach() - points).abs().max()
        assert moved < 1e-12 if still else moved > 1e-2


def test_particles_come_to_a_normal_law():
    """The mean is exact by symmetry of the kernel; the variance is too small by a share that falls
    with their number. Without repulsion it is 0, with half of it far below a half.
    """
    target = Normal(var=["z"], loc=3.0, scale=0.5, features_shape=[1])
    gaps = []
    for count in (10, 40):
        torch.manual_seed(0)
        q = Points(nn.Parameter(3 + torch.randn(count, 1, dtype=f64)), var=["z"])
        loss = KL(q, target).estimate({q: SVGD(RBF())})
        model = Model(loss=loss, distributions=[q], optimizer_params={"lr": 0.06})
        for _ in range(200):
            model.train({})
        assert abs(q.points.mean().item() - 3) < 0.005
        gaps.append(1 - q.points.var(correction=0).item() / 0.25)
    assert 0 < 2 * gaps[1] < gaps[0] < 0.25


@pytest.mark.usefixtures("compiler_is_imported")
def test_it_compiles_to_one_graph():
    torch.manual_seed(0)
    start = torch.randn(5, 2, dtype=f64)
    target = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    found = []
    for compiled in (False, "eager"):
        q = Points(nn.Parameter(start.clone()), var=["z"])
        loss = KL(q, target).estimate({q: SVGD(RBF())})
        model = Model(loss=loss, distributions=[q], compile=compiled)
        for _ in range(3):
            model.train({})
        found.append(q.points.detach())
    torch.testing.assert_close(*found)


# -- what is refused ------------------------------------------------------------------------------
def test_what_is_refused(q):
    p = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2])
    with pytest.raises(DensityError, match=r"law of 6 points.*SVGD\(RBF\(\)\)"):
        KL(q, p).eval()
    with pytest.raises(DensityError, match="has no density"):
        q.get_log_prob({"z": torch.zeros(2, 2)})
    stein = KL(q, p).estimate({q: SVGD(RBF())})
    with pytest.raises(GradientOnlyError, match=r"without log q\(z\)"):
        stein.eval()
    with pytest.raises(GradientError, match="which reads the value"):
        stein.exp().program()
    with pytest.raises(OptionError, match="the mean over all of them"):
        E(q, p.log_prob(), sample_shape=[3]).program()
    for plan in (Score(), Enumerate()):
        with pytest.raises(OptionError, match="plans for draws"):
            E(q, p.log_prob()).estimate({q: plan}).program()
    r = Normal(var=["z"], loc=0.0, scale=nn.Parameter(torch.ones(2)), name="r")
    with pytest.raises(OptionError, match=r"it moves particles, and a Normal has none"):
        E(r, p.log_prob()).estimate({r: SVGD(RBF())}).program()
    with pytest.raises(OptionError, match="without trained parameters"):
        SVGD(RBF(lengthscale=nn.Parameter(torch.tensor(1.0))))
    gp = GaussianProcess(kernel=RBF(), inputs=torch.zeros(2, 1), noise_variance=0.1)
    with pytest.raises(OptionError, match=r"RBF\(\) has no lengthscale"):
        gp.sample()
    with pytest.raises(ShapeError, match=r"shape \(P, \*event\)"):
        Points(torch.tensor(1.0))
    w = weights(nn.Linear(2, 1), prior=Normal(loc=0.0, scale=1.0))
    with pytest.raises(OptionError, match=r"20 particles of the 3 weights w are \(20, 3\)"):
        Particles(w, 20, init=torch.zeros(20, 2))
    with pytest.raises(OptionError, match=r"count=0"):
        Particles(w, 0)
    assert isinstance(RBF(), Kernel)
    assert H(q).estimate({q: SVGD()}).input_var == []
    assert str(E(q, values("z"))) == "E_{q(z)}[z]"
