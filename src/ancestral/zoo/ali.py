r"""Adversarially learned inference: a generator and an encoder that a discriminator sees in pairs.

.. math::
    \min_{p,q} \max_d\; E_{p_{data}(x)\,q(z|x)}[\log \sigma(d(x,z))]
    + E_{p(x|z)\,p(z)}[\log (1 - \sigma(d(x,z)))]

At the optimum the two joint laws are equal, q(z|x) p_data(x) = p(x|z) p(z): the generator has the
law of the data, and the encoder is its posterior. Both are normal laws, drawn by their
reparameterisation; as the paper does, their player ascends the game with the labels exchanged.

Source: Dumoulin et al., "Adversarially learned inference", 2017, equations 2 and 3, algorithm 1.

Run it alone: ``python -m ancestral.zoo.ali``
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import EmpiricalDistribution, Normal
from ancestral.evaluation import Measurement, Reference, Reproduction
from ancestral.losses import E, Function, values
from ancestral.models import Model, Player, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png, scatter

LOADING = torch.tensor([1.5, 1.0, -0.5])  # of probabilistic PCA, x = W z + e / 2
EXACT = Reference(1.0, "the posterior mean W'x / (W'W + 1/4)", "exact")


def ali(
    *,
    width: int = 2,
    latent: int = 1,
    hidden: tuple[int, ...] = (64, 64),
    lr: float = 1e-3,
) -> Recipe:
    """The game's value for the discriminator, with the labels exchanged for the two laws.

    Args:
        width: D, the length of a row x of shape (N, D).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of the generator, the encoder and the discriminator;
            without any, the two laws are linear.
        lr: Step size of Adam, for both players.

    Example:
        >>> for player in str(ali().objective).split(";  "):
        ...     print(player)
        d: max E_{q(z|x)p_{data}(x)}[log σ(d(x, z))] + E_{p(x|z)p(z)}[log(1 - σ(d(x, z)))]
        p,q: max E_{q(z|x)p_{data}(x)}[log(1 - σ(d(x, z)))] + E_{p(x|z)p(z)}[log σ(d(x, z))]
    """
    p_data = EmpiricalDistribution(["x"])
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    p = Normal(var=["x"], cond_var=["z"], net=MLP(latent, 2 * width, hidden), name="p")
    q = Normal(var=["z"], cond_var=["x"], net=MLP(width, 2 * latent, hidden), name="q")
    critic = MLP(width + latent, 1, hidden or (64, 64), activation=nn.LeakyReLU)
    d = Function(critic, name="d")

    inferred = d(*values("x z")).sigmoid()
    game = E(q * p_data, inferred.log()) + E(p * prior, (1 - inferred).log())
    exchanged = E(q * p_data, (1 - inferred).log()) + E(p * prior, inferred.log())

    model = Model(
        players=[
            Player("d", maximise=game, over=[d]),
            Player("p,q", maximise=exchanged, over=[p, q]),
        ],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr, "betas": (0.5, 0.99)},
    )
    return Recipe(model=model, objective=model.loss, generative=p * prior, posterior=q)


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Linear laws on rows of probabilistic PCA: the direction of the encoder, and its mean."""

    def rows(n: int) -> Tensor:
        return torch.randn(n, 1) * LOADING + torch.randn(n, 3) / 2

    torch.manual_seed(seed)
    recipe = ali(width=3, latent=1, hidden=(), lr=2e-3).to(device)
    recipe.model.fit({"x": rows(20_000)}, epochs=200, batch_size=512, progress=progress)
    assert recipe.posterior is not None
    x, drawn = rows(4000), recipe.generative.sample(batch_n=4000)
    z, mean = recipe.posterior.sample({"x": x.to(device)})["z"], x @ LOADING
    found = recipe.posterior.sample_mean({"x": x.to(device)})[:, 0].detach().cpu()
    slope = torch.linalg.lstsq(x, found[:, None] - found.mean()).solution[:, 0]
    cosine = float(F.cosine_similarity(slope, LOADING, dim=0).abs())
    r2 = float(torch.corrcoef(torch.stack([found, mean]))[0, 1] ** 2)
    pairs = ({"x": x.to(device), "z": z}, drawn)
    first = [torch.cat([v["x"][:, :1], v["z"]], 1) for v in pairs]
    seen = [scatter(v, low=-5, high=5) for v in first]
    return Reproduction(
        (
            Measurement("|cosine| of the slope and W", cosine, "", "slope", EXACT, at_least=0.98),
            Measurement("r^2 of the two means", r2, "", "correlation", EXACT, at_least=0.98),
        ),
        png(image_grid(torch.stack(seen), columns=2, size=224)),
        "The first coordinate of x across and z up: data with q(z|x), and the generator's p(x,z).",
    )


if __name__ == "__main__":
    import sys

    from ancestral.data.points import crescent

    recipe = ali()
    sys.stdout.write(f"{recipe.objective}\n")
    recipe.model.fit({"x": crescent(20_000)}, epochs=20, batch_size=256)
    x = crescent(1000)
    assert recipe.posterior is not None
    z = recipe.posterior.sample({"x": x})["z"]
    back = recipe.generative.sample({"z": z})["x"]
    off = (back - x).norm(dim=1).mean()
    sys.stdout.write(f"mean distance of a row from its reconstruction: {off:.2f}\n")
