r"""Importance-weighted autoencoder: a tighter bound from K draws.

.. math::
    \mathcal{L}_K(x) = E_{z_1,\dots,z_K \sim q(z|x)}\left[\log \frac{1}{K} \sum_k
    \frac{p(x,z_k)}{q(z_k|x)}\right] \le \log p(x)

which grows with K to log p(x); at K = 1 it is the bound of the VAE. K is part of the bound: it
stands in the equation, as copies of q.

Source: Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", 2016, equation 8.

Run it alone: ``python -m ancestral.zoo.iwae``
"""

import torch

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


def iwae(
    *,
    pixels: int = 64,
    latent: int = 16,
    hidden: tuple[int, ...] = (256, 256),
    k: int = 50,
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{z_1..z_50 ~ q(z|x)}[log((1/50) Σ_k exp(log p(x,z_k) - log q(z_k|x)))].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of both networks.
        k: Draws in the bound.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    encoder = MLP(pixels, 2 * latent, hidden=hidden)
    decoder = MLP(latent, pixels, hidden=tuple(reversed(hidden)))
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p", grey=grey)

    log_w = (p * prior).log_prob() - q.log_prob()
    bound = E(q.iid(k=k), log_w.exp().mean("k").log())

    model = Model(
        loss=-bound.mean(),
        distributions=[p, q],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=bound, generative=p * prior, posterior=q)


if __name__ == "__main__":
    import sys

    from ancestral.data import digits
    from ancestral.evaluation import log_likelihood

    data = digits()
    recipe = iwae(pixels=data.dimension)
    sys.stdout.write(f"{recipe.objective}\n")
    recipe.model.fit({"x": data.train["x"]}, epochs=60)
    assert recipe.posterior is not None
    estimate = log_likelihood(recipe.generative, recipe.posterior, data.test)
    sys.stdout.write(f"log p(x) on the test images: {estimate}\n")
