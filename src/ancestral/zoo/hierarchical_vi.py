r"""Hierarchical variational inference: two layers of latent variables, each inferred from the data.

.. math::
    \mathcal{L}(x) = E_{q(a|x)q(z|x)}[\log p(x|a)p(a|z)p(z) - \log q(a|x)q(z|x)] \le \log p(x)

The layer a that the pixels hang on has a learned prior, p(a|z) averaged over z. The layers of the
posterior are independent given x, which p(a|z) is drawn towards.

Source: Rezende, Mohamed, Wierstra, "Stochastic backpropagation and approximate inference in deep
generative models", 2014, equations 1 to 4, with Bernoulli pixels and without the noise of the
layers between.

Run it alone: ``python -m ancestral.zoo.hierarchical_vi``
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

NOTEBOOK = Reference(
    104.52,
    "pixyz/examples/hierarchical_variational_inference.ipynb, 105.69 as it prints means",
    "literature",
)


def hierarchical_vi(
    *,
    pixels: int = 64,
    latent: tuple[int, int] = (16, 8),
    hidden: tuple[int, ...] = (256, 256),
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(a|x)q(z|x)}[log p(x,a,z) - log q(a,z|x)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        latent: Dimensions of a and of z.
        hidden: Widths of the hidden layers of all networks.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.
    """
    below, top = latent
    q_a = Normal(var=["a"], cond_var=["x"], net=MLP(pixels, 2 * below, hidden), name="q")
    q_z = Normal(var=["z"], cond_var=["x"], net=MLP(pixels, 2 * top, hidden), name="q")
    p_z = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[top], name="p")
    p_a = Normal(var=["a"], cond_var=["z"], net=MLP(top, 2 * below, hidden), name="p")
    p_x = Bernoulli(var=["x"], cond_var=["a"], net=MLP(below, pixels, hidden), grey=grey)

    p, q = p_x * p_a * p_z, q_a * q_z
    elbo = E(q, p.log_prob() - q.log_prob())

    model = Model(
        loss=-elbo.mean(),
        distributions=[p, q],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=elbo, generative=p, posterior=q, latent="a")


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
    recipe = hierarchical_vi(pixels=data.dimension, latent=(64, 32), hidden=(512, 512), grey=True)
    recipe.to(device).model.fit(
        data.train_and_validation, epochs=10, batch_size=128, progress=progress
    )
    found = bound(recipe.objective, data.test, laws=recipe.laws)
    loss = Measurement.of(found, "test loss", sign=-1, reference=NOTEBOOK, at_most=105.0)
    z = torch.randn(8, 32).repeat_interleave(10, 0).to(device)
    _, p_a, _ = recipe.generative.factors
    a = p_a.law.sample({"z": z})["a"]
    means = recipe.decoder.sample_mean({"a": a})
    return Reproduction(
        (loss,),
        png(image_grid(means.reshape(-1, *data.shape), columns=10, size=28)),
        "Means of p(x|a): one z ~ p(z) for each line, ten a ~ p(a|z) of each.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{reproduce()}\n")
