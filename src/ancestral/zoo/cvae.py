r"""Conditional variational autoencoder: images of a given class.

.. math::
    \mathcal{L}(x|y) = E_{q(z|x,y)}[\log p(x|y,z)] - KL[q(z|x,y) \| p(z)] \le \log p(x|y)

with a label y that encoder and decoder both read.

Source: Sohn, Lee, Yan, "Learning structured output representation using deep conditional
generative models", 2015, equation 4, with a prior that does not read y.

Run it alone: ``python -m ancestral.zoo.cvae``
"""

import torch

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


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


if __name__ == "__main__":
    import sys

    from ancestral.data import digits
    from ancestral.evaluation import bound

    data = digits()
    train, test = (
        {"x": part["x"], "y": torch.eye(10)[part["label"]]} for part in (data.train, data.test)
    )
    recipe = cvae(pixels=data.dimension)
    sys.stdout.write(f"{recipe.objective}\n")
    recipe.model.fit(train, epochs=100)
    sys.stdout.write(f"bound on log p(x|y) of the test images: {bound(recipe.objective, test)}\n")
