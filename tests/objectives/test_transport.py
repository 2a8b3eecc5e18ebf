"""Divergences of draws: closed forms, independent implementations, gradients to the laws."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, VariableError
from ancestral.distributions import Bernoulli, EmpiricalDistribution, EnergyModel, Normal
from ancestral.losses import (
    MMD,
    AdversarialFDivergence,
    BatchFunction,
    E,
    EnergyDistance,
    Enumerate,
    Function,
    KernelStein,
    Score,
    Sinkhorn,
    SlicedWasserstein,
    Wasserstein,
    values,
)
from tests.lowering.reading import draws, passes, twice

f64 = torch.float64
p_data = EmpiricalDistribution(["x"])


def normal(name: str, loc: float, scale: float, d: int = 1) -> Normal:
    var = {"p": "x", "r": "y"}[name]
    mean, spread = (torch.full((d,), v, dtype=f64) for v in (loc, scale))
    return Normal(var=[var], loc=mean, scale=spread, name=name)


def midpoints(n: int) -> Tensor:
    """Base noise at the middles of n equally probable cells, in an order of its own."""
    u = (torch.arange(n, dtype=f64) + 0.5) / n
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
    return torch.special.ndtri(u)[order, None]


def samples(n: int, d: int, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {"a": torch.randn(n, d, dtype=f64), "b": 0.7 + 1.3 * torch.randn(n, d, dtype=f64)}


p_a, p_b = EmpiricalDistribution(["a"], "p_a"), EmpiricalDistribution(["b"], "p_b")


# -- exact transport ------------------------------------------------------------------------------
def test_distances_of_normal_laws_on_the_line():
    """O16: W_2^2(N(0,1), N(3,4)) = 10 and W_1(N(0,1), N(d,1)) = d, at the quantiles."""
    grid = {"x": midpoints(20_000), "y": midpoints(20_000).flip(0)}
    p = normal("p", 0.0, 1.0)
    for d in (0.0, 0.8, 2.5):
        loss = Wasserstein(p, normal("r", d, 1.0), order=1)
        found = twice(loss, {}, noise=grid, batch_n=20_000)
        assert float(found) == pytest.approx(d, abs=1e-12)
    found = Wasserstein(p, normal("r", 3.0, 2.0)).eval(noise=grid, batch_n=20_000)
    assert float(found) == pytest.approx(10.0, abs=2e-3)  # what the outermost cells lack
    sliced = SlicedWasserstein(p, normal("r", 3.0, 2.0), projections=3)
    grid["theta"] = torch.tensor([[[1.0], [-2.0], [0.3]]], dtype=f64)[0]
    found = twice(sliced, {}, noise=grid, batch_n=20_000)
    assert float(found) == pytest.approx(10.0, abs=2e-3)


@pytest.mark.parametrize("order", [1, 2, 3.5])
@pytest.mark.parametrize("d", [1, 2])
def test_the_matching_is_the_best_of_all_permutations(order, d):
    data = samples(6, d)
    cost = torch.cdist(data["a"], data["b"]) ** order
    every = torch.tensor(list(itertools.permutations(range(6))))
    best = cost[torch.arange(6), every].mean(1).min()
    found = twice(Wasserstein(p_a, p_b, order=order), data)
    assert float(found) == pytest.approx(float(best), abs=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_slices_by_hand(order):
    data = samples(9, 3)
    theta = torch.randn(5, 3, dtype=f64)
    loss = SlicedWasserstein(p_a, p_b, order=order, projections=5, features_shape=[3])
    found = twice(loss, data, noise={"theta": theta})
    each = []
    for direction in theta / theta.norm(dim=1, keepdim=True):
        a, b = ((data[n] @ direction).sort().values for n in "ab")
        each.append(((a - b).abs() ** order).mean())
    assert float(found) == pytest.approx(float(torch.stack(each).mean()), abs=1e-12)


def test_slices_of_shifted_normal_laws():
    """SW_2^2(N(0, I), N(m, I)) = |m|^2 / d; that of n draws is above by O(log log n / n)."""
    torch.manual_seed(0)
    loss = SlicedWasserstein(normal("p", 0.0, 1.0, 3), normal("r", 0.9, 1.0, 3), projections=30)
    function = loss.function()
    found = torch.stack([function(batch_n=2000) for _ in range(25)])
    error = float(found.std()) / math.sqrt(25)
    assert abs(float(found.mean()) - 0.81) < 5 * error + 0.006
    assert error < 0.04  # a mean over d forgotten would be 2.43


# -- Sinkhorn -------------------------------------------------------------------------------------
def plan_cost(a: Tensor, b: Tensor, epsilon: float, order: float) -> float:
    """OT with entropy of two batches, by plain scaling of the plan: another implementation."""
    cost = torch.cdist(a, b) ** order
    kernel, n = (-cost / epsilon).exp(), len(a)
    u = torch.ones(n, dtype=f64)
    for _ in range(3000):
        v = 1 / (n * (kernel.T @ u))
        u = 1 / (n * (kernel @ v))
    plan = u[:, None] * kernel * v
    return float((plan * cost).sum() + epsilon * (plan * (plan * n * n).log()).sum())


@pytest.mark.parametrize(("epsilon", "order"), [(0.5, 2), (2.0, 2), (0.4, 1)])
def test_the_divergence_is_that_of_scaled_plans(epsilon, order):
    data = samples(12, 2)
    a, b = data["a"], data["b"]
    exact = plan_cost(a, b, epsilon, order) - 0.5 * (
        plan_cost(a, a, epsilon, order) + plan_cost(b, b, epsilon, order)
    )
    loss = Sinkhorn(p_a, p_b, epsilon=epsilon, order=order, iterations=300)
    assert float(twice(loss, data)) == pytest.approx(exact, abs=1e-7)
    assert float(loss.eval({"a": a, "b": a[torch.randperm(12)]})) == pytest.approx(0.0, abs=1e-9)


def test_its_limits_are_transport_and_the_energy_distance():
    data = samples(6, 2)
    a, b = data["a"], data["b"]
    small = Sinkhorn(p_a, p_b, epsilon=3e-3, iterations=500).eval(data)
    assert float(small) == pytest.approx(float(Wasserstein(p_a, p_b).eval(data)), rel=5e-3)
    large = Sinkhorn(p_a, p_b, epsilon=1e6, order=1).eval(data)
    means = [torch.cdist(v, w).mean() for v, w in ((a, b), (a, a), (b, b))]
    assert float(large) == pytest.approx(float(means[0] - 0.5 * (means[1] + means[2])), abs=1e-5)


# -- Stein ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kernel", ["gaussian", "inverse_multiquadric"])
def test_the_stein_kernel_by_its_definition(kernel):
    """u = (s + grad_x)^T (s' + grad_x') k, the derivatives of the kernel by autograd."""
    h, x = 0.8, samples(5, 2)["a"]
    mean, spread = (torch.full((2,), v, dtype=f64) for v in (0.3, 1.4))
    p = Normal(var=["v"], loc=mean, scale=spread, name="p")

    def k(a: Tensor, b: Tensor) -> Tensor:
        square = (a - b).square().sum() / h**2
        return (-0.5 * square).exp() if kernel == "gaussian" else (1 + square) ** -0.5

    def u(a: Tensor, b: Tensor) -> Tensor:
        s, t = (-(v - 0.3) / 1.4**2 for v in (a, b))
        of_a, of_b = torch.func.grad(k, 0)(a, b), torch.func.grad(k, 1)(a, b)
        mixed = torch.func.jacrev(torch.func.grad(k, 0), 1)(a, b)
        return k(a, b) * (s @ t) + s @ of_b + t @ of_a + mixed.trace()

    wanted = sum(u(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    loss = KernelStein(p_a, p, kernel=kernel, bandwidth=h)
    assert float(twice(loss, {"a": x}).detach()) == pytest.approx(float(wanted), abs=1e-12)
    energy = EnergyModel(
        var=["v"], net=lambda v: 0.5 * ((v - 0.3) / 1.4).square().sum(-1), features_shape=[2]
    )
    for same in (energy, Function(lambda v: -0.5 * ((v - 0.3) / 1.4).square().sum(-1), name="f")):
        found = KernelStein(p_a, same, kernel=kernel, bandwidth=h).eval({"a": x})
        assert float(found.detach()) == pytest.approx(float(wanted), abs=1e-12)


def test_the_stein_discrepancy_of_shifted_normal_laws():
    """Scores differ by m: KSD^2 = m^2 E k(x, x') = m^2 h / sqrt(h^2 + 2) by O17, and 0 at r = p."""
    for m in (0.0, 0.7):
        torch.manual_seed(0)
        function = KernelStein(
            normal("r", m, 1.0), normal("p", 0.0, 1.0), kernel="gaussian", bandwidth=1.2
        ).function()
        found = torch.stack([function(batch_n=300).detach() for _ in range(80)])
        exact = m**2 * 1.2 / math.sqrt(1.2**2 + 2)
        error = float(found.std()) / math.sqrt(80)
        assert abs(float(found.mean()) - exact) < 5 * error < 0.1
        assert m > 0 or bool((found < 0).any())  # unbiased: of both signs


# -- dual forms -----------------------------------------------------------------------------------
def steep(x: Tensor) -> Tensor:
    return 60.0 * (0.5 - x).sign()


DUALS = {  # of N(0,1) and N(1,1): the value, and the best discriminator of log p/q = 1/2 - x;
    # of N(0,1) and N(0.4,1) Pearson's, whose integrand is too heavy in the tails for a grid else
    "kl": (0.5, lambda x: 1.5 - x),
    "reverse_kl": (0.5, lambda x: 0.5 - x),
    "pearson": (math.exp(0.16) - 1, lambda x: 2 * ((0.08 - 0.4 * x).exp() - 1)),
    "hellinger": (2 - 2 * math.exp(-1 / 8), lambda x: 0.5 * (0.5 - x)),
    "jensen_shannon": (2 * 0.111422, lambda x: 0.5 - x),
    "total_variation": (math.erf(0.5 / math.sqrt(2)), steep),
}


@pytest.mark.parametrize("name", DUALS)
def test_dual_forms_at_their_best_and_below_elsewhere(name):
    p = Normal(var=["x"], loc=0.0, scale=1.0, features_shape=[1], name="p").double()
    shift = torch.full((1,), 0.4 if name == "pearson" else 1.0, dtype=f64)
    q = Normal(var=["x"], loc=shift, scale=torch.ones(1, dtype=f64), name="q")
    value, best = DUALS[name]
    grid = {"noise": {"x": midpoints(50_000), "x#2": midpoints(50_000)}, "batch_n": 50_000}

    def dual(net) -> float:
        loss = AdversarialFDivergence(p, q, Function(net, name="d"), divergence=name)
        assert float(loss.eval(**grid)) == float(loss.dual().eval(**grid))
        return float(loss.dual().eval(**grid))

    found = dual(best)
    assert found == pytest.approx(value, abs=1e-4)
    for worse in (lambda x: best(x) + 0.2, lambda x: best(x) - 0.2 * x, lambda x: 0.5 * best(x)):
        assert dual(worse) < found + 1e-12
    with pytest.raises(OptionError, match="no divergence 'pearsn'"):
        AdversarialFDivergence(p, q, Function(best), divergence="pearsn")


# -- gradients reach stochastic encoders ----------------------------------------------------------
class Encoder:
    """q(z|x) with trained mean and scale; its aggregate over data, and a prior."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Linear(3, 4).double()
        self.q = Normal(var=["z"], cond_var=["x"], net=self.net, name="q")
        self.aggregate = (self.q * p_data).marginalize_var("x")
        self.prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[2], name="p").double()
        self.x = torch.randn(8, 3, dtype=f64)
        self.noise = {"z": torch.randn(8, 2, dtype=f64), "z'": torch.randn(8, 2, dtype=f64)}
        self.noise["theta"] = torch.randn(4, 2, dtype=f64)


CRITIC = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
ENCODED = {
    "MMD": lambda e: MMD(e.aggregate, e.prior),
    "MMD several widths": lambda e: MMD(e.aggregate, e.prior, bandwidth=[0.5, 2.0]),
    "MMD inverse multiquadric": lambda e: MMD(e.aggregate, e.prior, "inverse_multiquadric"),
    "EnergyDistance": lambda e: EnergyDistance(e.aggregate, e.prior),
    "Wasserstein": lambda e: Wasserstein(e.aggregate, e.prior),
    "Wasserstein 1": lambda e: Wasserstein(e.prior, e.aggregate, order=1),
    "SlicedWasserstein": lambda e: SlicedWasserstein(e.aggregate, e.prior, projections=4),
    "Sinkhorn": lambda e: Sinkhorn(e.aggregate, e.prior, epsilon=2.0, iterations=200),
    "KernelStein": lambda e: KernelStein(e.aggregate, e.prior),
    **{
        f"f-divergence {name}": lambda e, name=name: AdversarialFDivergence(
            e.aggregate, e.prior, CRITIC, divergence=name
        )
        for name in DUALS
    },
}


@pytest.mark.parametrize("name", ENCODED)
def test_the_gradient_of_an_encoder_is_the_slope_of_the_value(name):
    """G1: Pixyz drew without a gradient there, so that mean and scale of q(z|x) never moved."""
    e = Encoder()
    loss = ENCODED[name](e)
    known = set(loss.program().draws)
    noise = {k.replace("z'", "z'" if "z'" in known else "z#2"): v for k, v in e.noise.items()}
    options = {"noise": {k: v for k, v in noise.items() if k in known}}
    assert set(options["noise"]) == known
    function, parameters = loss.function(), list(e.net.parameters())
    along = [torch.randn_like(p) for p in parameters]
    for _ in range(2):
        slopes = torch.autograd.grad(function({"x": e.x}, **options), parameters)
    assert all(
        float(s[rows].abs().max()) > 1e-6 for s in slopes for rows in (slice(2), slice(2, 4))
    )
    ends = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            for p, v in zip(parameters, along, strict=True):
                p.add_(step * v)
            ends.append(float(function({"x": e.x}, **options)))
            for p, v in zip(parameters, along, strict=True):
                p.sub_(step * v)
    found = sum(float((s * v).sum()) for s, v in zip(slopes, along, strict=True))
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_one_draw_is_shared_with_the_reconstruction():
    e = Encoder()
    p = Normal(var=["x"], cond_var=["z"], net=nn.Linear(2, 6).double(), name="p")
    for name in ("SlicedWasserstein", "Sinkhorn", "Wasserstein", "KernelStein"):
        loss = E(e.q, p.log_prob()).mean() - ENCODED[name](e)
        assert draws(loss).count("z") == 1
        assert passes(loss).count("q(z|x)") == 1


def test_a_discrete_encoder_has_the_score_of_all_rows():
    """Two rows of one bit: the mean gradient over four outcomes is that of the mean value."""
    net = nn.Linear(1, 1).double()
    q = Bernoulli(var=["z"], cond_var=["x"], net=net, name="q")
    prior = Normal(var=["z"], loc=0.2, scale=1.0, features_shape=[1], name="p").double()
    x = torch.tensor([[0.4], [-1.1]], dtype=f64)
    rest = {"z'": torch.tensor([[0.3], [0.9]], dtype=f64)}
    mean = (q * p_data).marginalize_var("x")
    for loss in (
        Sinkhorn(mean, prior, epsilon=0.5),
        SlicedWasserstein(mean, prior, projections=2),
    ):
        planned = loss.estimate({q: Score()})
        rest["theta"] = torch.tensor([[1.0], [-1.0]], dtype=f64)
        on = net(x)[:, 0].sigmoid()
        exact, found = torch.zeros((), dtype=f64), 0.0
        for bits in itertools.product((0.0, 1.0), repeat=2):
            z = torch.tensor(bits, dtype=f64)
            share = torch.where(z == 1, on, 1 - on).prod()
            known = planned.program().draws
            noise = {"z": 1 - z[:, None], **{k: v for k, v in rest.items() if k in known}}
            value = planned.eval({"x": x}, noise=noise)
            exact = exact + share * value.detach()
            found = found + share.detach() * torch.autograd.grad(value, net.weight)[0]
        (wanted,) = torch.autograd.grad(exact, net.weight)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
        assert float(wanted.abs().max()) > 1e-3


# -- mistakes -------------------------------------------------------------------------------------
def test_what_reads_whole_batches_is_refused_beside_other_axes():
    p, r = normal("p", 0.0, 1.0), normal("r", 1.0, 1.0)
    d = BatchFunction(lambda x, y: (x - y).abs().mean().expand(len(x)), name="d")
    x, y = values("x y")
    for loss in (E(p * r, d(x, y), sample_shape=3), E(p.iid(k=3), d(x, x).mean("k"))):
        with pytest.raises(OptionError, match="reads all rows of one batch at once"):
            loss.eval(batch_n=4)
    bit = Bernoulli(var=["x"], probs=torch.tensor([0.4], dtype=f64), name="p")
    with pytest.raises(OptionError, match="enumeration"):
        E(bit * r, d(x, y)).estimate({bit: Enumerate()}).eval(batch_n=4)
    assert "plug-in" in str(E(p * r, d(x, y)).program())


@pytest.mark.parametrize("make", [Wasserstein, SlicedWasserstein, Sinkhorn])
def test_mistakes(make):
    p, r = normal("p", 0.0, 1.0), normal("r", 1.0, 1.0)
    for order in (0.5, "two", float("inf"), True):
        with pytest.raises(OptionError, match="order="):
            make(p, r, order=order)
    two = p * Normal(var=["u"], loc=0.0, scale=1.0)
    with pytest.raises(VariableError, match="law of one variable"):
        make(two, r)
    e = Encoder()
    with pytest.raises(VariableError, match="without conditions"):
        make(e.q, e.prior)


def test_mistakes_in_options():
    p, r = normal("p", 0.0, 1.0), normal("r", 1.0, 1.0)
    for epsilon in (0.0, -1.0, float("nan")):
        with pytest.raises(OptionError, match="positive number"):
            Sinkhorn(p, r, epsilon=epsilon)
    with pytest.raises(OptionError, match="whole number"):
        Sinkhorn(p, r, iterations=1)
    with pytest.raises(OptionError, match="whole number"):
        SlicedWasserstein(p, r, projections=0)
    with pytest.raises(OptionError, match="features_shape"):
        SlicedWasserstein(p_a, p_b)
    with pytest.raises(OptionError, match="no kernel"):
        KernelStein(r, p, kernel="gausian")
    with pytest.raises(OptionError, match="bandwidth"):
        KernelStein(r, p, bandwidth=-1.0)
    with pytest.raises(OptionError, match="whose slope is known"):
        KernelStein(r, lambda x: x)
    with pytest.raises(VariableError, match="without conditions"):
        KernelStein(Encoder().q, p)
