r"""Autoencoder with a price on the total correlation of its codes, and on nothing else.

.. math::
    E_{q(z|x)}[\log p(x|z)] - KL[q(z|x) \| p(z)]
    - (\beta - 1)\, KL\Big[q(z) \,\Big\|\, \prod_d q(z_d)\Big]

for the aggregate q(z) of q(z|x) over the data. Its density at a draw is estimated from the batch,
as the mean of q(z|x_j) over rows j: no network is needed, and nobody plays against the encoder. The
divergence is then that of the batch's own aggregate, up to a constant of the paper's weights.

The encoder ends in one law for each coordinate of z, which share its features h.

Source: Chen, Li, Grosse, Duvenaud, "Isolating sources of disentanglement in variational
autoencoders", 2018, equations 2 to 5.

Run it alone: ``python -m ancestral.zoo.beta_tcvae``
"""

from functools import reduce
from operator import mul
from pathlib import Path

import torch
from torch import nn

from ancestral.data import digits
from ancestral.distributions import Bernoulli, Deterministic, Distribution, Normal
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import KL, E, Node
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png


def log_aggregate(law: Distribution) -> Node:
    """log q(z) at the draw of a row: the mean of q(z|h_j) over the rows j of the batch."""
    return law.log_prob().over_rows("h").exp().mean().log()


def total_correlation(laws: list[Distribution]) -> Node:
    """log q(z) - Σ_d log q(z_d), whose mean over the draws is the total correlation."""
    return reduce(lambda tc, law: tc - log_aggregate(law), laws, log_aggregate(reduce(mul, laws)))


def beta_tcvae(
    *,
    pixels: int = 64,
    latent: int = 2,
    hidden: tuple[int, ...] = (256, 256),
    beta: float = 6.0,
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{f(h|x)}[E_{q(z_1|h)q(z_2|h)}[log p(x|z_1,z_2) - 5 (log((1/n) Σ_j exp(log q(z_1,z_2|h_j))) - log((1/n) Σ_j exp(log q(z_1|h_j))) - log((1/n) Σ_j exp(log q(z_2|h_j))))] - KL[q(z_1,z_2|h) || p(z_1,z_2)]].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        latent: The number of coordinates, variables z_1, z_2, ... of their own.
        hidden: Widths of the hidden layers of both networks; h is the last.
        beta: Price β of the total correlation.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the first term is then no log-likelihood.
    """  # noqa: E501 (the formula is one line)
    names = [f"z_{d + 1}" for d in range(latent)]
    features = nn.Sequential(MLP(pixels, hidden[-1], hidden[:-1]), nn.ReLU())
    f = Deterministic(var=["h"], cond_var=["x"], net=features, name="f")
    laws: list[Distribution] = [
        Normal(var=[name], cond_var=["h"], net=nn.Linear(hidden[-1], 2), name="q")
        for name in names
    ]
    q = reduce(mul, laws)
    prior = reduce(mul, [Normal(loc=0.0, scale=1.0, var=[z], features_shape=[1]) for z in names])
    decoder = MLP(latent, pixels, hidden=tuple(reversed(hidden)))
    p = Bernoulli(var=["x"], cond_var=names, net=decoder, name="p", grey=grey)

    fit: Node = p.log_prob()
    if beta != 1:
        fit = fit - (beta - 1) * total_correlation(laws)
    objective = E(f, E(q, fit) - KL(q, prior))

    model = Model(
        loss=-objective.mean(),
        distributions=[p, q, f],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(
        model=model, objective=objective, generative=p * prior, posterior=q * f, latent="z_1"
    )


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """The total correlation of codes of held-out digits, beside the VAE's (β = 1)."""
    torch.manual_seed(seed)
    data, latent = digits(), 6
    found = {}
    for beta in (1.0, 6.0):
        recipe = beta_tcvae(latent=latent, beta=beta, hidden=(128, 128)).to(device)
        recipe.model.fit(data.train, epochs=60, batch_size=100, progress=progress)
        q = recipe.posterior
        assert q is not None
        among = E(q, total_correlation([factor.law for factor in q.factors[:latent]]))
        found[beta] = bound(among, data.test, laws=recipe.laws, draws=10)
    vae = Reference(found[1.0].mean, "the VAE of the same networks", "baseline")
    tc = Measurement.of(
        found[6.0], "total correlation of z over these rows", reference=vae, at_most=vae.value
    )
    moved = torch.zeros(latent, 10, latent)  # (coordinate, position, latent)
    moved[range(latent), :, range(latent)] = torch.linspace(-2, 2, 10)
    z = {f"z_{d + 1}": moved[..., d].reshape(-1, 1).to(device) for d in range(latent)}
    means = recipe.decoder.sample_mean(z)
    return Reproduction(
        (tc,),
        png(image_grid(means.reshape(-1, *data.shape), columns=10, size=24)),
        "The middle of the prior, with one coordinate moved from -2 to 2 in each line.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{reproduce()}\n")
