r"""Variational autoencoder whose latent variables are to be independent, on binary pixels.

.. math::
    E_{q(z|x)}[\log p(x|z)] - KL[q(z|x) \| p(z)]
    - \gamma\, KL_d\Big[q(z) \,\Big\|\, \prod_j q(z_j)\Big]

The last term is the total correlation of the aggregate q(z) = E_{p_data(x)} q(z|x). A
discriminator d of draws of q(z) and draws whose entries come from different rows estimates it by
its logit; it is trained together with the autoencoder, on the same pass.

Source: Kim, Mnih, "Disentangling by factorising", 2018, equation 2, algorithm 1.

Run it alone: ``python -m ancestral.zoo.factor_vae``
"""

import torch

from ancestral.distributions import Bernoulli, EmpiricalDistribution, Normal
from ancestral.losses import KL, AdversarialKullbackLeibler, E, Function
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


def factor_vae(
    *,
    pixels: int = 64,
    latent: int = 16,
    hidden: tuple[int, ...] = (256, 256),
    gamma: float = 5.0,
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)] - 5 KL_d[q(z) || Π_j q(z_j)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        latent: Dimension of z; a batch has at least as many rows.
        hidden: Widths of the hidden layers of all networks.
        gamma: The weight γ of the total correlation.
        lr: Step size of Adam, for both players.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.

    Example:
        >>> print(factor_vae().objective)
        E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)] - 5 KL_d[q(z) || Π_j q(z_j)]
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    encoder = MLP(pixels, 2 * latent, hidden=hidden)
    decoder = MLP(latent, pixels, hidden=tuple(reversed(hidden)))
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p", grey=grey)
    d = Function(MLP(latent, 1, hidden=hidden), name="d")

    q_agg = (q * EmpiricalDistribution(["x"])).marginalize_var("x")
    tc = AdversarialKullbackLeibler(q_agg, q_agg.factorized(), d, optimizer_params={"lr": lr})
    objective = E(q, p.log_prob()) - KL(q, prior) - gamma * tc

    model = Model(
        loss=-objective.mean(),
        distributions=[p, q],  # the term brings the discriminator's player
        order="together",
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=objective, generative=p * prior, posterior=q)


if __name__ == "__main__":
    import sys

    from ancestral.data import digits

    data = digits()
    recipe = factor_vae(pixels=data.dimension)
    sys.stdout.write(f"{recipe.objective}\n")
    history = recipe.model.fit(data.train, epochs=100, validation=data.validation)
    sys.stdout.write(f"{history}\n")
