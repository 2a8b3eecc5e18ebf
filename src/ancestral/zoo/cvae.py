r"""Conditional variational autoencoder: images of a given class.

.. math::
    \mathcal{L}(x|y) = E_{q(z|x,y)}[\log p(x|y,z)] - KL[q(z|x,y) \| p(z)] \le \log p(x|y)

with a label y that encoder and decoder both read.

Source: Sohn, Lee, Yan, "Learning structured output representation using deep conditional
generative models", 2015, equation 4, with a prior that does not read y.

Run it alone: ``python -m ancestral.zoo.cvae``
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

NOTEBOOK = Reference(97.99, "pixyz/examples/cvae.ipynb, 99.09 as it prints means", "literature")


def cvae(
    *,
    pixels: int = 64,
    classes: int = 10,
    latent: int = 16,
    hidden: tuple[int, ...] = (256, 256),
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(z|x,y)}[log p(x|y,z)] - KL[q(z|x,y) || p(z)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        classes: C, the length of a one-hot row y of shape (N, C).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of both networks.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    encoder = MLP(pixels + classes, 2 * latent, hidden=hidden)
    decoder = MLP(classes + latent, pixels, hidden=tuple(reversed(hidden)))
    q = Normal(var=["z"], cond_var=["x", "y"], net=encoder, name="q")
    p = Bernoulli(var=["x"], cond_var=["y", "z"], net=decoder, name="p", grey=grey)

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
    train, test = (
        {"x": part["x"], "y": torch.eye(10)[part["label"]]}
        for part in (data.train_and_validation, data.test)
    )
    recipe = cvae(pixels=data.dimension, latent=64, hidden=(512, 512), grey=True).to(device)
    recipe.model.fit(train, epochs=10, batch_size=128, progress=progress)
    found = bound(recipe.objective, test, laws=recipe.laws)
    loss = Measurement.of(found, "test loss", sign=-1, reference=NOTEBOOK, at_most=98.4)
    z, y = torch.randn(8, 64).repeat_interleave(10, 0), torch.eye(10).repeat(8, 1)
    means = recipe.decoder.sample_mean({"z": z.to(device), "y": y.to(device)})
    return Reproduction(
        (loss,),
        png(image_grid(means.reshape(-1, *data.shape), columns=10, size=28)),
        "Means of p(x|y,z): one z for each line, one digit y for each column.",
    )


if __name__ == "__main__":
    import sys

    from ancestral.data import digits

    data = digits()
    train, test = (
        {"x": part["x"], "y": torch.eye(10)[part["label"]]} for part in (data.train, data.test)
    )
    recipe = cvae(pixels=data.dimension)
    sys.stdout.write(f"{recipe.objective}\n")
    recipe.model.fit(train, epochs=100)
    sys.stdout.write(f"bound on log p(x|y) of the test images: {bound(recipe.objective, test)}\n")
