r"""Hierarchical variational autoencoder with residual posteriors (NVAE), in small.

.. math::
    E_{q(z|x)}[\log p(x|z)] - KL[q(z_1|x) \| p(z_1)]
    - \sum_{l>1} E_{q(z_{<l}|x)}\big[KL[q(z_l|z_{<l},x) \| p(z_l|z_{<l})]\big] \le \log p(x)

with latent variables z_1, ..., z_L, each drawn after those before it, by the prior and by the
posterior alike. A posterior says how it differs from its prior, with which it moves:

.. math::
    p(z_l|z_{<l}) = N(\mu_l, \sigma_l^2), \qquad
    q(z_l|z_{<l},x) = N(\mu_l + \Delta\mu_l, \sigma_l^2\,\Delta\sigma_l^2)

Networks are multilayer perceptrons, which read x itself in place of features of an encoder.

Source: Vahdat, Kautz, "NVAE: a deep hierarchical variational autoencoder", 2020, equations 1 to 3.

Run it alone: ``python -m ancestral.zoo.nvae``
"""

from functools import reduce
from operator import mul
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.data import digits
from ancestral.distributions import Bernoulli, Distribution, Joint, Normal
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png

ONE = Reference(-19.36, "one level with as many latent dimensions", "baseline")


class Residual(nn.Module):
    """The posterior of a level by its difference from the prior (section 3.2)."""

    def __init__(self, prior: nn.Module, difference: nn.Module) -> None:
        super().__init__()
        self.prior, self.difference = prior, difference

    def forward(self, *above_and_x: Tensor) -> dict[str, Tensor]:
        """Mean and standard deviation, shape ``(rows, latent)``."""
        loc, raw = self.prior(*above_and_x[:-1]).chunk(2, -1)
        delta, log_ratio = self.difference(*above_and_x).chunk(2, -1)
        return {"loc": loc + delta, "scale": F.softplus(raw) * log_ratio.exp()}


def nvae(
    *,
    pixels: int = 64,
    levels: int = 3,
    latent: int = 6,
    hidden: tuple[int, ...] = (128,),
    binary: bool = True,
    lr: float = 1e-3,
) -> Recipe:
    """E_{q(z3|z1,z2,x)q(z2|z1,x)q(z1|x)}[log p(x|z1,z2,z3)] - KL[q(z3,z2,z1|x) || p(z3,z2,z1)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        levels: L.
        latent: Dimension of each z_l.
        hidden: Widths of the hidden layers of all networks; without any, they are linear.
        binary: Whether p(x|z) is Bernoulli; it is normal if not.
        lr: Step size of Adam.
    """
    z = [f"z{i + 1}" for i in range(levels)]
    priors: list[Distribution] = [
        Normal(loc=0.0, scale=1.0, var=z[:1], features_shape=[latent], name="p")
    ]
    encoder = MLP(pixels, 2 * latent, hidden)
    posteriors: list[Distribution] = [Normal(var=z[:1], cond_var=["x"], net=encoder, name="q")]
    for i in range(1, levels):
        prior = MLP(i * latent, 2 * latent, hidden)
        net = Residual(prior, MLP(pixels + i * latent, 2 * latent, hidden))
        priors.append(Normal(var=[z[i]], cond_var=z[:i], net=prior, name="p"))
        posteriors.append(Normal(var=[z[i]], cond_var=[*z[:i], "x"], net=net, name="q"))
    decoder = MLP(levels * latent, pixels if binary else 2 * pixels, hidden)
    p = (Bernoulli if binary else Normal)(var=["x"], cond_var=z, net=decoder, name="p")

    q, prior_z = reduce(mul, reversed(posteriors)), reduce(mul, reversed(priors))
    elbo = E(q, p.log_prob()) - KL(q, prior_z)

    model = Model(
        loss=-elbo.mean(),
        distributions=[p, *posteriors, *priors[1:]],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=elbo, generative=p * prior_z, posterior=q, latent=z[-1])


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Binary digits, by three levels of six dimensions and beside one of eighteen."""
    torch.manual_seed(seed)
    data = digits()
    recipe = nvae(pixels=data.dimension).to(device)
    recipe.model.fit({"x": data.train["x"]}, epochs=120, progress=progress)
    above = bound(recipe.objective, data.test, laws=recipe.laws, draws=16)
    found = Measurement.of(above, "test bound", reference=ONE, at_least=ONE.value)
    top = {"z1": torch.randn(8, 6).to(device).repeat_interleave(8, 0)}
    below = Joint([f for f in recipe.generative.factors if "z1" not in f.var])
    means = recipe.decoder.sample_mean(below.sample(top))
    return Reproduction(
        (found,),
        png(image_grid(means.reshape(-1, *data.shape), columns=8, size=24)),
        "In each line means of p(x|z) for one draw of the first level and eight of the others.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{nvae().objective}\n{reproduce()}\n")
