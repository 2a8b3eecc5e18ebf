"""Sentence 1: importance-weighted autoencoder; K copies are part of the bound."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import PlugInWarning, ScopeError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import E
from tests.sentences.counting import agrees, counted, draws, passes

K, ROWS = 50, 6


@pytest.fixture
def laws():
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(5, 4).double(), nn.Linear(2, 5).double()
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[2], name="p").double()
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p")
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    return p, prior, q, encoder, decoder


def bound(p, prior, q):
    w = (p * prior).log_prob() - q.log_prob()
    return E(q.iid(k=K), w.exp().mean("k").log())


def test_it_prints_as_the_paper_writes_it(laws):
    iwae = bound(*laws[:3])
    assert str(iwae) == (
        "E_{z_1..z_50 ~ q(z|x)}[log((1/50) Σ_k exp(log p(x,z_k) - log q(z_k|x)))]"
    )
    assert iwae.latex() == (
        r"\mathbb{E}_{z_{1}, \dots, z_{50} \sim q(z|x)} \left[\log \left(\frac{1}{50} \sum_{k} "
        r"\exp \left(\log p(x,z_{k}) - \log q(z_{k}|x) \right) \right) \right]"
    )


def test_one_pass_of_each_network_on_k_times_the_rows(laws):
    p, prior, q, encoder, decoder = laws
    loss = -bound(p, prior, q).mean()
    assert draws(loss) == ["z"]
    assert passes(loss) == ["q(z|x)", "p(x|z)", "p(z)"]
    function, x = loss.function(), torch.zeros(ROWS, 5).double()
    for _ in range(2):  # the interpreter, the generated step
        with counted(q=encoder, p=decoder) as seen:
            function({"x": x})
        assert seen == {"q": [ROWS], "p": [K * ROWS]}


def test_value_and_gradient_by_hand(laws):
    p, prior, q, encoder, decoder = laws
    x = (torch.rand(ROWS, 5) > 0.5).double()
    eps = torch.randn(K, ROWS, 2, dtype=torch.float64)

    def hand():
        loc, raw = encoder(x).chunk(2, -1)
        scale = F.softplus(raw)
        total = []
        for k in range(K):
            z = loc + scale * eps[k]
            log_p = -F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(-1)
            log_p = log_p - 0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)
            log_q = -(0.5 * eps[k] ** 2 + scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1)
            total.append((log_p - log_q).exp())
        return -torch.stack(total).mean(0).log().mean()

    agrees(-bound(p, prior, q).mean(), {"x": x}, hand, [encoder, decoder], noise={"z": eps})


def test_draws_outside_the_logarithm_are_a_plug_in_of_another_meaning(laws):
    p, prior, q = laws[:3]
    w = (p * prior).log_prob() - q.log_prob()
    with pytest.warns(PlugInWarning, match=r"iid\(k="):
        E(q, w.exp()).log().function()
    with pytest.raises(ScopeError, match="'k' of its copies is left free"):
        E(q.iid(k=K), w).program()


def ladder(copies):
    """z ~ N(0,1), x|z ~ N(z,1), q = N(0,1)."""
    prior = Normal(var=["z"], loc=0.0, scale=1.0)
    p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
    q = Normal(var=["z"], loc=0.0, scale=1.0, name="q")
    w = (p * prior).log_prob() - q.log_prob()
    return E(q.iid(k=copies), w.exp().mean("k").log())


def test_the_first_rung_is_exact():
    """The integrand is a square in z, whose mean over the draws +1 and -1 is that of N(0,1)."""
    x, noise = torch.ones(2).double(), torch.tensor([[1.0, -1.0]]).double()
    found = ladder(1).mean().eval({"x": x}, noise={"z": noise})
    assert found.item() == pytest.approx(-0.5 * math.log(2 * math.pi) - 1.0, abs=1e-14)


@pytest.mark.parametrize(
    ("copies", "exact", "error"),
    [(1, -1.918939, 0), (2, -1.6526, 0.001), (5, -1.5577, 5e-4), (50, -1.5194, 3e-4)],
)
def test_the_ladder_of_bounds(copies, exact, error):
    """At x = 1, below log p = -1.515512; the last column is the table's own error."""
    iwae = ladder(copies)
    torch.manual_seed(1)
    rows = iwae.eval({"x": torch.ones(400_000 // copies, dtype=torch.float64)})
    standard = float(rows.std()) / math.sqrt(len(rows))
    assert abs(float(rows.mean()) - exact) < 5 * math.hypot(standard, error)
    assert float(rows.mean()) < -1.515512 + 5 * standard
