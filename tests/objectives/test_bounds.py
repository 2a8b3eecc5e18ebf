"""Bounds in order on linear-Gaussian models, by quadrature over the noise of the draws.

Every node of a product rule stands in a row of its own, with its weight.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, PlugInWarning
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import (
    CUBO,
    ELBO,
    IWAE,
    TVO,
    E,
    Enumerate,
    Renyi,
    SelfNormalized,
    sqnorm,
    values,
)

f64 = torch.float64
w, z = values("w z")


def rule(nodes: int, count: int) -> tuple[Tensor, Tensor]:
    """A product rule for standard normal noise: nodes ``(rows, count)``, weights ``(rows,)``."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    index = np.array(list(itertools.product(range(nodes), repeat=count)))
    return torch.tensor(points[index]), torch.tensor((weights / weights.sum())[index].prod(1))


class Affine(nn.Module):
    """The mean W z, and a standard deviation."""

    def __init__(self, matrix: list[list[float]], spread: float) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor(matrix, dtype=f64))
        self.spread = spread

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        loc = z @ self.matrix.T
        return {"loc": loc, "scale": torch.full_like(loc, self.spread)}


class Linear:
    """z ~ N(0, I), x|z ~ N(W z, s^2 I), and q = N(m, diag t^2), which is not the posterior."""

    def __init__(
        self,
        matrix: list[list[float]],
        spread: float,
        x: list[float],
        m: list[float],
        t: list[float],
    ) -> None:
        d = len(m)
        prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[d], name="p").double()
        self.net = Affine(matrix, spread)
        self.p = Normal(var=["x"], cond_var=["z"], net=self.net, name="p") * prior
        loc, scale = (nn.Parameter(torch.tensor(v, dtype=f64)) for v in (m, t))
        self.q = Normal(var=["z"], loc=loc, scale=scale, name="q")
        self.x, self.latents = torch.tensor([x], dtype=f64), d
        w = torch.tensor(matrix, dtype=f64)
        marginal = torch.distributions.MultivariateNormal(
            torch.zeros(len(x), dtype=f64), w @ w.T + spread**2 * torch.eye(len(x), dtype=f64)
        )
        self.log_p = float(marginal.log_prob(self.x[0]))

    def mean(self, loss, k: int, nodes: int, of=None) -> float:
        """A mean over k draws of a loss, by quadrature; with a number of copies, if it has them."""
        points, weight = rule(nodes, k * self.latents)
        noise = points.reshape(len(weight), k, self.latents).movedim(1, 0)
        noise = noise[0] if of is None else noise
        batch = {"x": self.x.expand(len(weight), -1), "w": weight}
        with torch.no_grad():
            return float((w * loss).sum().eval(batch, noise={"z": noise}))


def models() -> dict[str, Linear]:
    return {
        "one": Linear([[1.0]], 1.0, [1.0], [0.0], [1.0]),
        "shifted": Linear([[0.8], [-0.5]], 0.9, [0.7, -1.1], [0.2], [0.9]),
        "two": Linear([[0.6, 0.1], [-0.3, 0.4]], 1.0, [0.4, -0.8], [0.1, -0.2], [0.9, 0.95]),
    }


@pytest.mark.parametrize("name", ["one", "shifted", "two"])
def test_elbo_iwae_evidence_cubo_in_order(name):
    """ELBO = L_1 < L_2 < L_3 < log p(x) < CUBO_1.5 < CUBO_2, each by a rule that has converged."""
    m = models()[name]
    at = {1: 40, 2: 14, 3: 7} if m.latents == 2 else {1: 60, 2: 60, 3: 24}
    elbo = m.mean(ELBO(m.p, m.q), 1, at[1])
    ladder = [m.mean(IWAE(m.p, m.q, k=k), k, at[k], k) for k in (1, 2, 3)]
    cubo = [
        math.log(m.mean(CUBO(m.p, m.q, n=n, exponentiated=True), 1, at[1])) / n
        for n in (1.0, 1.5, 2.0)
    ]
    assert ladder[0] == pytest.approx(elbo, abs=1e-10)
    assert cubo[0] == pytest.approx(m.log_p, abs=1e-6)
    values = [*ladder, m.log_p, *cubo[1:]]
    gaps = np.diff(values)
    assert (gaps > 1e-3).all(), values
    assert m.mean(IWAE(m.p, m.q, k=2), 2, at[2] - 1, 2) == pytest.approx(ladder[1], abs=1e-4)


def test_the_ladder_of_values():
    """O10: L_1 = -1.918939 and L_2 = -1.6526(10) by quadrature, L_5 to L_50 from draws."""
    m = models()["one"]
    assert m.log_p == pytest.approx(-1.515512, abs=1e-6)
    assert m.mean(IWAE(m.p, m.q, k=1), 1, 20, 1) == pytest.approx(-1.918939, abs=1e-6)
    assert m.mean(IWAE(m.p, m.q, k=2), 2, 80, 2) == pytest.approx(-1.6526, abs=0.002)
    torch.manual_seed(0)
    for k, value, error in ((5, -1.5577, 5e-4), (10, -1.5353, 3e-4), (50, -1.5194, 3e-4)):
        with torch.no_grad():
            rows = IWAE(m.p, m.q, k=k).eval({"x": m.x.expand(40_000, -1)})
        spread = float(rows.std()) / 200
        assert abs(float(rows.mean()) - value) < 5 * math.hypot(error, spread)
        assert math.hypot(error, spread) < 0.003  # it would see 0.015, a tenth of L_5 - L_2


def test_renyi_falls_with_alpha_from_the_evidence_to_the_elbo():
    """L_alpha at infinite K: the mean of w^(1 - alpha) by quadrature, against the closed form."""
    m = models()["shifted"]
    elbo = m.mean(ELBO(m.p, m.q), 1, 40)
    found = []
    for alpha in (-0.5, 0.0, 0.5, 0.9, 0.999):
        loss = Renyi(m.p, m.q, alpha=alpha, k=1)
        power = (1.0 - alpha) * (m.p.log_prob() - m.q.log_prob())

        found.append(math.log(m.mean(E(m.q, power.exp()), 1, 60)) / (1 - alpha))
        assert m.mean(loss, 1, 40, 1) == pytest.approx(elbo, abs=1e-9)  # of one draw any alpha
    assert found[1] == pytest.approx(m.log_p, abs=1e-8)
    assert found[-1] == pytest.approx(elbo, abs=1e-3)
    assert (np.diff(found) < -1e-4).all()
    two = [m.mean(Renyi(m.p, m.q, alpha=a, k=2), 2, 40, 2) for a in (-0.5, 0.0, 0.5, 1.0, 2.0)]
    assert (np.diff(two) < -1e-3).all()
    assert two[1] == pytest.approx(m.mean(IWAE(m.p, m.q, k=2), 2, 40, 2), abs=1e-12)
    assert two[3] == pytest.approx(elbo, abs=1e-9)


def test_the_thermodynamic_sums_bracket_the_evidence():
    """At K = 4000: left sums rise to log p(x), right sums fall to it; each to its closed form."""
    m = models()["shifted"]
    torch.manual_seed(1)
    fine = tuple(i / 8 for i in range(9))

    def at(betas, upper):
        with torch.no_grad():
            rows = TVO(m.p, m.q, k=4000, betas=betas, upper=upper).eval({"x": m.x.expand(50, -1)})
        return float(rows.mean()), float(rows.std()) / math.sqrt(50)

    lower = [at(b, False) for b in ((0.0, 1.0), (0.0, 0.3, 1.0), fine)]
    upper = [at(b, True) for b in ((0.0, 1.0), (0.0, 0.3, 1.0), fine)]
    assert lower[0][0] == pytest.approx(m.mean(ELBO(m.p, m.q), 1, 40), abs=5 * lower[0][1])
    order = [*lower, (m.log_p, 0.0), *reversed(upper)]
    for (a, e), (b, f) in itertools.pairwise(order):
        assert b - a > 5 * math.hypot(e, f) > 0
    for betas, (found, error) in zip(((0.0, 1.0), (0.0, 0.3, 1.0), fine), upper, strict=True):
        exact = sum((b - a) * path_mean(m, b) for a, b in itertools.pairwise(betas))
        assert abs(found - exact) < 5 * error + 1e-3  # the bias of K draws is below Var / K


def path_mean(m: Linear, beta: float) -> float:
    """E[log w] under p^beta q^(1 - beta), in closed form for one latent."""
    points, weight = rule(60, 1)
    matrix, s, x = m.net.matrix.detach(), m.net.spread, m.x[0]
    loc, t = float(m.q.loc.detach()), float(m.q.scale.detach())
    precision = beta * (1 + float((matrix**2).sum()) / s**2) + (1 - beta) / t**2
    mean = (beta * float(matrix[:, 0] @ x) / s**2 + (1 - beta) * loc / t**2) / precision
    v = mean + points / math.sqrt(precision)  # (R, 1)
    log_p = -0.5 * v[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)
    log_p += (
        -0.5 * ((x - v @ matrix.T) / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)
    ).sum(-1)
    log_q = -0.5 * ((v[:, 0] - loc) / t) ** 2 - math.log(t) - 0.5 * math.log(2 * math.pi)
    return float((weight * (log_p - log_q)).sum())


def test_biased_means_equal_their_own_quadrature_mean():
    """K = 2: the self-normalised mean of |z|^2, and the middle term of TVO, by a rule by hand."""
    m = models()["shifted"]
    points, weight = rule(40, 2)
    noise = points.T[..., None]  # (K, R, 1)
    value = m.q.loc.detach() + m.q.scale.detach() * noise
    x = m.x.expand(len(weight), -1)
    rows = {"x": x.expand(2, -1, -1).reshape(-1, 2), "z": value.reshape(-1, 1)}
    with torch.no_grad():
        log_p, log_q = m.p.get_log_prob(rows), m.q.get_log_prob({"z": rows["z"]})
    log_w = (log_p - log_q).reshape(2, -1)
    share = log_w.softmax(0)
    by_hand = float((weight * (share * value[..., 0] ** 2).sum(0)).sum())
    found = m.mean(SelfNormalized(sqnorm(z), m.p, m.q, k=2), 2, 40, 2)
    assert found == pytest.approx(by_hand, abs=1e-11)
    half = ((0.5 * log_w).softmax(0) * log_w).sum(0)
    by_hand = float((weight * (0.5 * log_w.mean(0) + 0.5 * half)).sum())
    found = m.mean(TVO(m.p, m.q, k=2, betas=(0.0, 0.5, 1.0)), 2, 40, 2)
    assert found == pytest.approx(by_hand, abs=1e-11)


def test_the_upper_bound_of_a_discrete_law_is_exact():
    prior = Bernoulli(var=["z"], probs=torch.tensor([0.3], dtype=f64), name="p")
    p = Normal(var=["x"], cond_var=["z"], net=Affine([[1.5]], 1.0), name="p") * prior
    q = Bernoulli(var=["z"], probs=torch.tensor([0.6], dtype=f64), name="q")
    x = torch.tensor([[0.4]], dtype=f64)
    zs = torch.tensor([[0.0], [1.0]], dtype=f64)
    log_p = p.get_log_prob({"x": x.expand(2, 1), "z": zs})
    at = torch.tensor([0.4, 0.6], dtype=f64)
    for n in (1.0, 2.0, 3.5):
        exact = ((at * (n * (log_p - at.log())).exp()).sum().log() / n).item()
        with pytest.warns(PlugInWarning):
            CUBO(p, q, n=n).function()
        found = CUBO(p, q, n=n).estimate({q: Enumerate()}).eval({"x": x}).item()
        assert found == pytest.approx(exact, abs=1e-12)
        assert exact >= log_p.logsumexp(0).item() - 1e-12


def test_mistakes_in_bounds():
    m = models()["one"]
    for alpha in (float("nan"), float("inf"), "half"):
        with pytest.raises(OptionError, match="finite number"):
            Renyi(m.p, m.q, alpha=alpha, k=2)
    with pytest.raises(OptionError, match=r"Renyi\(alpha=1 - n\)"):
        CUBO(m.p, m.q, n=0.5)
    with pytest.raises(OptionError, match="copies change nothing"):
        CUBO(m.p, m.q, k=3, exponentiated=True)
    for betas in ((0.0,), (0.1, 1.0), (0.0, 0.9), (0.0, 0.6, 0.6, 1.0), ()):
        with pytest.raises(OptionError, match="rise from 0 to 1"):
            TVO(m.p, m.q, k=2, betas=betas)
