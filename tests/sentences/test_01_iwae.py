"""Sentence 1: importance-weighted autoencoder; K copies are part of the bound."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ancestral.core.errors import PlugInWarning, ScopeError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import VIMCO, DReG, E, Pathwise
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


@pytest.mark.parametrize("plan", [Pathwise(), DReG(), VIMCO()], ids=repr)
def test_the_equation_and_the_passes_are_the_same_under_every_plan(laws, plan):
    p, prior, q, encoder, decoder = laws
    iwae = bound(p, prior, q)
    chosen = iwae.estimate({q: plan})
    assert str(chosen) == str(iwae)
    assert chosen.latex() == iwae.latex()
    assert passes(chosen.mean()) == passes(iwae.mean())
    assert draws(chosen.mean()) == ["z"]
    x, noise = torch.ones(ROWS, 5).double(), {"z": torch.randn(K, ROWS, 2, dtype=torch.float64)}
    plain = iwae.mean().eval({"x": x}, noise=noise)
    function, found = chosen.mean().function(), []
    for _ in range(2):  # the interpreter, the generated step
        with counted(q=encoder, p=decoder) as seen:
            value = function({"x": x}, noise=noise)
        assert seen == {"q": [ROWS], "p": [K * ROWS]}
        assert torch.equal(value, plain)
        found.append(torch.autograd.grad(value, [*encoder.parameters(), *decoder.parameters()]))
    assert all(map(torch.equal, *found))


def test_the_programs_of_the_plans(laws):
    p, prior, q, _, _ = laws
    listings = {
        plan: str(bound(p, prior, q).estimate({q: plan}).program()) for plan in (DReG(), VIMCO())
    }
    assert listings[DReG()] == (
        "x     = given                                                (n)    data\n"
        "θ_q   = parameters of q(z|x)                                 (n)\n"
        "z     ~ q(z|x)                                               (k,n)  -> t1\n"
        "t1    = z, its gradient scaled by DReG(draws=None)           (k,n)\n"
        "z'2   = the draw of t1                                       (k,n)\n"
        "t2    = the channel of its scales of t1                      (k,n)\n"
        "θ_p   = parameters of p(x|z'2)                               (k,n)\n"
        "t3    = log p(x|z'2)                                         (k,n)\n"
        "θ_p'2 = parameters of p(z)\n"
        "t4    = log p(z'2)                                           (k,n)\n"
        "t5    = sg[θ_q]                                              (n)\n"
        "t6    = log sg[q](z'2|x)                                     (k,n)\n"
        "t7    = t3 + t4 - t6                                         (k,n)\n"
        "t8    = logmeanexp over k of t7                              (n)\n"
        "t9    = t8 with DReG(draws=None) gradient by t2, weights t7  (n)\n"
        "return t9"
    )
    assert listings[VIMCO()] == (
        "x     = given                                                 (n)    data\n"
        "θ_q   = parameters of q(z|x)                                  (n)\n"
        "z     ~ q(z|x), gradient cut                                  (k,n)  -> θ_p, t2, t3\n"
        "θ_p   = parameters of p(x|z)                                  (k,n)\n"
        "t1    = log p(x|z)                                            (k,n)\n"
        "θ_p'2 = parameters of p(z)\n"
        "t2    = log p(z)                                              (k,n)\n"
        "t3    = log q(z|x)                                            (k,n)\n"
        "t4    = t1 + t2 - t3                                          (k,n)\n"
        "t5    = logmeanexp over k of t4                               (n)\n"
        "t6    = t5 with VIMCO(draws=None) gradient by t3, weights t4  (n)\n"
        "return t6"
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
