r"""Variational inference by draws alone: the bound of the autoencoder without a closed divergence.

.. math::
    \mathcal{L}(x) = E_{q(z|x)}[\log p(x,z) - \log q(z|x)] \le \log p(x)

No divergence need be known, so that any laws do. Its mean is the bound of the autoencoder; a draw
has the noise of :math:`\log q(z|x) - \log p(z)`, too, and none at all where q is the posterior.

Source: Kingma, Welling, "Auto-encoding variational Bayes", 2014, equations 2 and 6.

Run it alone: ``python -m ancestral.zoo.vi``
"""

from pathlib import Path

import torch

from ancestral.data import mnist
from ancestral.distributions import Bernoulli, Normal
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png

NOTEBOOK = Reference(104.42, "pixyz/examples/vi.ipynb, 105.59 as it prints means", "literature")


def vi(
    *,
    pixels: int = 64,
    latent: int = 16,
    hidden: tuple[int, ...] = (256, 256),
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(z|x)}[log p(x,z) - log q(z|x)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of both networks.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    encoder = MLP(pixels, 2 * latent, hidden=hidden)
    decoder = MLP(latent, pixels, hidden=tuple(reversed(hidden)))
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p", grey=grey)

    elbo = E(q, (p * prior).log_prob() - q.log_prob())

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
    recipe = vi(pixels=data.dimension, latent=64, hidden=(512, 512), grey=True).to(device)
    recipe.model.fit(data.train_and_validation, epochs=10, batch_size=128, progress=progress)
    found = bound(recipe.objective, data.test, laws=recipe.laws)
    loss = Measurement.of(found, "test loss", sign=-1, reference=NOTEBOOK, at_most=104.9)
    means = recipe.decoder.sample_mean({"z": torch.randn(80, 64).to(device)})
    return Reproduction(
        (loss,),
        png(image_grid(means.reshape(-1, *data.shape), columns=10, size=28)),
        "Means of p(x|z) for draws z ~ p(z).",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{reproduce()}\n")
