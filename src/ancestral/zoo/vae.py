r"""Variational autoencoder on binary pixels.

.. math::
    \mathcal{L}(x) = E_{q(z|x)}[\log p(x|z)] - KL[q(z|x) \| p(z)] \le \log p(x)

with a standard normal prior p(z), a decoder p(x|z) = Bernoulli(x; f(z)) and an encoder
q(z|x) = N(z; m(x), s(x)^2), both multilayer perceptrons.

Source: Kingma, Welling, "Auto-encoding variational Bayes", 2014, equation 3.

Run it alone: ``python -m ancestral.zoo.vae``
"""

from pathlib import Path

import torch

from ancestral.data import mnist
from ancestral.distributions import Bernoulli, Normal
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png

NOTEBOOK = Reference(102.85, "pixyz/examples/vae.ipynb, 104.00 as it prints means", "literature")


def vae(
    *,
    pixels: int = 64,
    latent: int = 16,
    hidden: tuple[int, ...] = (256, 256),
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of both networks.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.

    Example:
        >>> print(vae().objective)
        E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)]
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    encoder = MLP(pixels, 2 * latent, hidden=hidden)
    decoder = MLP(latent, pixels, hidden=tuple(reversed(hidden)))
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p", grey=grey)

    elbo = E(q, p.log_prob()) - KL(q, prior)

    model = Model(
        loss=-elbo.mean(),
        distributions=[p, q],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=elbo, generative=p * prior, posterior=q)


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Pixyz's notebook: ten epochs on grey MNIST; the loss is a mean over all test rows."""
    torch.manual_seed(seed)
    data = mnist(data_dir, pixels="grey")
    recipe = vae(pixels=data.dimension, latent=64, hidden=(512, 512), grey=True).to(device)
    recipe.model.fit(data.train_and_validation, epochs=10, batch_size=128, progress=progress)
    found = bound(recipe.objective, data.test, laws=recipe.laws)
    loss = Measurement.of(found, "test loss", sign=-1, reference=NOTEBOOK, at_most=103.2)
    means = recipe.decoder.sample_mean({"z": torch.randn(80, 64).to(device)})
    return Reproduction(
        (loss,),
        png(image_grid(means.reshape(-1, *data.shape), columns=10, size=28)),
        "Means of p(x|z) for draws z ~ p(z).",
    )


if __name__ == "__main__":
    import sys

    from ancestral.data import digits
    from ancestral.evaluation import log_likelihood

    data = digits()
    recipe = vae(pixels=data.dimension)
    sys.stdout.write(f"{recipe.objective}\n")
    recipe.model.fit(data.train, epochs=100, validation=data.validation)
    assert recipe.posterior is not None
    estimate = log_likelihood(recipe.generative, recipe.posterior, data.test)
    sys.stdout.write(f"log p(x) on the test images: {estimate}\n")
