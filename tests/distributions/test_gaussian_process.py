"""Gaussian processes: against formulas of the book, and the law of all values at once."""

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from ancestral.core.errors import (
    OptionError,
    ParameterError,
    ShapeError,
    SupportError,
    VariableError,
)
from ancestral.distributions import GaussianProcess, MultivariateNormal, Normal
from ancestral.distributions.kernels import RBF, Linear, Matern, Periodic
from ancestral.losses import E, KullbackLeibler

f64 = torch.float64
X = torch.tensor([[0.0, 0.3], [0.4, -1.0], [1.1, 0.2], [2.0, 0.9]], dtype=f64)
NEW = torch.tensor([[0.2, 0.0], [3.0, 1.0]], dtype=f64)
Y = torch.tensor([0.3, -0.2, 0.9, 1.4], dtype=f64)


def process(inputs=X, kernel=None, **others):
    kernel = kernel or RBF(lengthscale=0.8, variance=1.5).double()
    given = {"name": "p", "noise_variance": 0.05, "mean": lambda x: x[..., 0], **others}
    return GaussianProcess(var=["y"], kernel=kernel, inputs=inputs, **given).double()


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
def test_matern_kernels_are_bessel_functions(nu):
    """k(r) = 2^(1 - nu) / Gamma(nu) s^nu K_nu(s) with s = sqrt(2 nu) r / l."""
    found = Matern(nu=nu, lengthscale=0.7, variance=2.0).double()(X, X).numpy()
    r = np.linalg.norm(X[:, None].numpy() - X[None].numpy(), axis=-1)
    s = np.sqrt(2 * nu) * r / 0.7
    with np.errstate(invalid="ignore"):
        wanted = 2.0 * 2 ** (1 - nu) / special.gamma(nu) * s**nu * special.kv(nu, s)
    np.testing.assert_allclose(found, np.where(r == 0, 2.0, wanted), rtol=1e-6)


def test_sums_products_and_the_other_kernels():
    rbf, periodic, linear = RBF(0.8), Periodic(0.6, period=2.0, variance=0.5), Linear(variance=3.0)
    k = (rbf * periodic + linear).double()
    d = (X[:, None] - X[None]).numpy()
    wanted = np.exp(-0.5 * (d**2).sum(-1) / 0.64)
    wanted = wanted * 0.5 * np.exp(-2 * (np.sin(np.pi * d / 2) ** 2).sum(-1) / 0.36)
    np.testing.assert_allclose(k(X, X).numpy(), wanted + 3 * (X @ X.mT).numpy(), rtol=1e-6)
    each = RBF(lengthscale=torch.tensor([0.5, 2.0], dtype=f64))
    one = RBF(lengthscale=1.0).double()
    scale = torch.tensor([2.0, 0.5], dtype=f64)
    torch.testing.assert_close(each(X, NEW), one(X * scale, NEW * scale))
    assert torch.linalg.eigvalsh(k(X, X)).min() > 0


@pytest.mark.parametrize("kernel", [RBF(0.8), *(Matern(nu, 0.8) for nu in (0.5, 1.5, 2.5)),
                                    Periodic(0.8, 3.0), Linear()], ids=str)  # fmt: skip
def test_derivatives_of_kernels(kernel):
    """Of the variance and the inputs, also where two of them are equal."""
    kernel = kernel.double()
    a = torch.cat([X, NEW]).requires_grad_()
    b = torch.cat([X + 0.1, NEW + 0.1])
    assert torch.autograd.gradcheck(kernel, (a, b))
    (slope,) = torch.autograd.grad(kernel(a, a.detach().clone()).sum(), a)
    assert slope.isfinite().all()


def test_it_is_the_multivariate_normal_law():
    p = process()
    flat = MultivariateNormal(
        var=["y"], loc=X[:, 0], covariance_matrix=p.kernel(X, X) + p.noise_variance * torch.eye(4)
    )
    draws = []
    for law in (p, flat):
        torch.manual_seed(0)
        draws.append(law.sample(batch_n=3, sample_shape=[2])["y"])
    assert draws[0].shape == (2, 3, 4)
    torch.testing.assert_close(*draws)
    for which in ("get_entropy", "sample_mean", "sample_variance"):
        torch.testing.assert_close(getattr(p, which)(), getattr(flat, which)())
    y = {"y": draws[0]}
    torch.testing.assert_close(p.get_log_prob(y), flat.get_log_prob(y))
    standard = Normal(var=["y"], name="r", loc=0.0, scale=1.0, features_shape=[4])
    found, wanted = (KullbackLeibler(q, standard).eval() for q in (p, flat))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("noise", [None, 1e-6], ids=["observations", "values"])
def test_posterior_is_the_conditional_of_the_joint_law(noise):
    """p(y | y') = p(y, y') / p(y'): by densities of the process at all inputs."""
    after = process().condition(X, Y, at=NEW, noise_variance=noise)
    y = torch.tensor([[0.1, 2.5], [0.4, 3.3]], dtype=f64)
    k = process().kernel
    every, own = torch.cat([X, NEW]), 0.05 if noise is None else noise
    covariance = k(every, every) + torch.diag(torch.tensor([0.05] * 4 + [own] * 2, dtype=f64))
    joint = MultivariateNormal(var=["y"], loc=every[:, 0], covariance_matrix=covariance)
    both = joint.get_log_prob({"y": torch.cat([Y.expand(2, 4), y], -1)})
    wanted = both - process().get_log_prob({"y": Y[None]})
    torch.testing.assert_close(after.get_log_prob({"y": y}), wanted, rtol=1e-5, atol=1e-6)


def test_conditioning_twice_is_conditioning_once():
    once = process().condition(X, Y, at=NEW)
    twice = process().condition(X[:1], Y[:1], at=X[1:]).condition(X[1:], Y[1:], at=NEW)
    for which in ("sample_mean", "sample_variance", "get_entropy"):
        torch.testing.assert_close(getattr(twice, which)(), getattr(once, which)())


def test_inputs_may_be_a_condition():
    """Each row has a set of inputs; a set by itself is the same."""
    p = process("x", cond_var=["x"])
    after = process().condition(X, Y, at="x")
    sets = torch.stack([NEW, NEW + 1.0, -NEW])
    for law, alone in ((p, process), (after, lambda x: process().condition(X, Y, at=x))):
        y = law.sample({"x": sets}, sample_shape=[2])["y"]
        assert y.shape == (2, 3, 2)
        found = law.get_log_prob({"x": sets, "y": y})
        for row, x in enumerate(sets):
            torch.testing.assert_close(found[:, row], alone(x).get_log_prob({"y": y[:, row]}))


@pytest.mark.usefixtures("compiler_is_imported")
def test_marginal_likelihood_trains_kernel_mean_and_noise():
    """Against the gradient of the book's formula; text, interpreter and graph agree."""
    length, noise = (
        nn.Parameter(torch.tensor(0.8).double()),
        nn.Parameter(torch.tensor(0.1).double()),
    )
    slope = nn.Linear(2, 1).double()
    p = process(kernel=RBF(length).double(), noise_variance=noise, mean=lambda x: slope(x)[:, 0])
    p.slope = slope  # a module of the law is trained with it
    theta = [length, noise, slope.weight]
    loss = -p.log_prob().mean()
    gradients = []
    for function in (loss.function(), loss.function(compile="eager")):
        for _ in range(2):
            value = function({"y": Y[None]})
            gradients.append(torch.autograd.grad(value, theta))
    d = (X[:, None] - X[None]).square().sum(-1)
    c = (-0.5 * d / length**2).exp() + noise * torch.eye(4)
    rest = Y - slope(X)[:, 0]
    wanted = 0.5 * rest @ torch.linalg.solve(c, rest) + 0.5 * c.logdet() + 2 * np.log(2 * np.pi)
    torch.testing.assert_close(value, wanted)
    for found in gradients:
        torch.testing.assert_close(found, torch.autograd.grad(wanted, theta, retain_graph=True))


def test_a_process_is_a_prior_of_latent_values():
    q = Normal(var=["y"], name="q", loc=nn.Parameter(Y.clone()), scale=0.3)
    loss = KullbackLeibler(q, process()) - E(q, process(name="r").log_prob())
    loss.eval().backward()
    assert q.loc.grad.isfinite().all()


def test_mistakes_in_processes():
    with pytest.raises(ParameterError, match="needs noise_variance"):
        GaussianProcess(kernel=RBF(1.0), inputs=X)
    with pytest.raises(ShapeError, match=r"inputs\[:, None\]"):
        process(inputs=X[:, 0])
    with pytest.raises(VariableError, match="Add it to cond_var"):
        process("x")
    with pytest.raises(SupportError, match="noise_variance must be 0 or more"):
        process(noise_variance=-1.0)
    with pytest.raises(SupportError, match="larger noise_variance"):
        process(inputs=torch.zeros(5, 1), mean=0.0, noise_variance=0.0).sample()
    with pytest.raises(ShapeError, match="one number for each row"):
        process().condition(X, Y[:2], at=NEW)
    with pytest.raises(OptionError, match=r"0.5, 1.5 or 2.5"):
        Matern(nu=3.0, lengthscale=1.0)
    with pytest.raises(SupportError, match="lengthscale must be positive"):
        RBF(lengthscale=-1.0)
