"""The von Mises-Fisher law: in any dimension, and where it is another law."""

import math

import pytest
import torch
import torch.nn.functional as F

from ancestral.core.errors import OptionError
from ancestral.distributions import Normal, VonMises, VonMisesFisher
from ancestral.losses import E, Entropy, KullbackLeibler

f64 = torch.float64
KAPPA = 10.0 ** torch.arange(-3, 7, dtype=f64)


def fisher(mu, kappa, name="q"):
    return VonMisesFisher(var=["z"], name=name, loc=mu, concentration=kappa)


def resultant(size):
    """A of each concentration in D dimensions, as what is missing of 1."""
    mu = torch.eye(size, dtype=f64)[0]
    mean = VonMisesFisher.mean_of(mu.expand(len(KAPPA), size), KAPPA)
    return mean[:, 0]


@pytest.mark.parametrize("size", [2, 3, 4, 9, 50, 400, 4000])
def test_resultants_obey_the_recurrence_of_bessel_functions(size):
    """1/A_D = D / kappa + A_{D+2}, at concentrations from 1e-3 to 1e6."""
    found = 1 / resultant(size)
    torch.testing.assert_close(found, size / KAPPA + resultant(size + 2), rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [2, 3, 40])
def test_a_small_concentration_is_the_uniform_law(size):
    mu, x = torch.eye(size, dtype=f64)[:1], torch.eye(size, dtype=f64)[-1:]
    log_area = math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)
    flat, q = fisher(mu, 1e-12, "p"), fisher(mu, 7.0)
    assert flat.get_log_prob({"z": x[None]}).item() == pytest.approx(-log_area, abs=1e-10)
    assert flat.get_entropy().item() == pytest.approx(log_area, abs=1e-10)
    kl = KullbackLeibler(q, flat).eval()
    torch.testing.assert_close(kl, log_area - q.get_entropy()[0], rtol=1e-10, atol=1e-10)


def test_on_the_circle_it_is_the_von_mises_law():
    angle, at = torch.tensor([0.4, -2.0, 3.0], dtype=f64), torch.linspace(-3, 3, 3, dtype=f64)
    kappa = torch.tensor([0.2, 5.0, 400.0], dtype=f64)

    def on_circle(a):
        return torch.stack([a.cos(), a.sin()], -1)

    q, p = fisher(on_circle(angle), kappa), fisher(on_circle(at), kappa.flip(0), "p")
    same = VonMises(var=["z"], name="q", loc=angle, concentration=kappa)
    other = VonMises(var=["z"], name="p", loc=at, concentration=kappa.flip(0))
    z = {"z": at[None]}
    torch.testing.assert_close(q.get_log_prob({"z": on_circle(z["z"])}), same.get_log_prob(z))
    torch.testing.assert_close(q.get_entropy(), same.get_entropy())
    torch.testing.assert_close(KullbackLeibler(q, p).eval(), KullbackLeibler(same, other).eval())


@pytest.mark.parametrize("kappa", [1e-3, 0.5, 20.0, 1e4])
def test_gradient_of_a_draw_in_space_is_that_of_its_quantile(kappa):
    """There the height 1 - 2w is 1 + log(1 - u (1 - e^-2k)) / k of its rank u."""
    k = torch.tensor(kappa, dtype=f64, requires_grad=True)
    u = torch.linspace(0.001, 0.999, 301, dtype=f64)
    away = -0.5 * (u * torch.expm1(-2.0 * k)).log1p() / k
    (wanted,) = torch.autograd.grad(away, k, torch.ones_like(u), retain_graph=True)
    each = torch.stack([torch.autograd.grad(a, k, retain_graph=True)[0] for a in away])
    noise = torch.cat([away.detach()[:, None], torch.eye(2, dtype=f64)[:1].expand(301, 2)], -1)
    mu = torch.tensor([0.0, 0.6, 0.8], dtype=f64)
    keys = k.detach().expand(301).clone().requires_grad_()
    x = VonMisesFisher.draw(noise, mu.expand(301, 3), keys)
    (found,) = torch.autograd.grad(-0.5 * (x @ mu).sum(), keys)
    torch.testing.assert_close(found, each, rtol=1e-7, atol=1e-9 / kappa)
    torch.testing.assert_close(found.sum(), wanted, rtol=1e-7, atol=0)


@pytest.mark.parametrize("size", [2, 3, 50])
def test_directions_of_any_dimension(size):
    """Draws are unit vectors whose mean and variance are those of the law, by a pole or not."""
    for first in (1.0, -1.0, 0.3):
        mu = torch.zeros(size, dtype=f64)
        mu[0], mu[1] = first, (1 - first**2) ** 0.5
        p = fisher(mu, 20.0)
        x = p.sample(batch_n=2000)["z"]
        torch.testing.assert_close(x.norm(dim=-1), torch.ones(2000, dtype=f64))
        error = (x.mean(0) - p.sample_mean()[0]).abs()
        assert (error < 5 * p.sample_variance()[0].sqrt() / 2000**0.5 + 1e-9).all()


def test_hyperspherical_autoencoder_is_trained_by_its_draws():
    """Davidson et al.: the entropy in closed form, draws with gradient; no graph holds them."""
    q = VonMisesFisher(
        var=["z"],
        cond_var=["x"],
        name="q",
        net=lambda x: {"loc": F.normalize(x[:, :3], dim=-1), "concentration": x[:, 3].exp()},
    )
    p = Normal(var=["x"], cond_var=["z"], name="p", net=lambda z: {"loc": z @ torch.ones(3, 4)},
               scale=1.0)  # fmt: skip
    x = torch.randn(5, 4, requires_grad=True)
    loss = (E(q, p.log_prob()) + Entropy(q)).mean()
    loss.eval({"x": x}).backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).all()
    with pytest.raises(OptionError, match="no graph can hold that"):
        loss.function(compile="eager")({"x": x.detach()})
