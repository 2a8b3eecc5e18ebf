r"""Generative adversarial network on points of the plane.

.. math::
    \min_g \max_d\; E_{p_{data}(x)}[\log \sigma(d(x))] + E_{p_g(x)}[\log (1 - \sigma(d(x)))]

with a generator :math:`x = G(\epsilon)` of standard normal noise and a discriminator whose logit is
d(x), both multilayer perceptrons with leaky rectifiers. As the paper advises, the generator's
player ascends :math:`E_{p_g(x)}[\log \sigma(d(x))]` in place of descending the game, whose gradient
vanishes while the discriminator wins.

Source: Goodfellow et al., "Generative adversarial networks", 2014, equation 1 and section 3.

Run it alone: ``python -m ancestral.zoo.gan``
"""

import torch
from torch import nn

from ancestral.distributions import EmpiricalDistribution, Implicit
from ancestral.losses import E, Function, values
from ancestral.models import Model, Player, Recipe
from ancestral.nn import MLP


def gan(
    *,
    width: int = 2,
    noise: int = 2,
    hidden: tuple[int, ...] = (64, 64),
    lr: float = 1e-3,
) -> Recipe:
    """The game's value for the discriminator, the logit's for the generator.

    Args:
        width: D, the length of a row x of shape (N, D).
        noise: Dimension of the noise.
        hidden: Widths of the hidden layers of both networks.
        lr: Step size of Adam, for both players.

    Example:
        >>> for player in str(gan().objective).split(";  "):
        ...     print(player)
        d: max E_{p_{data}(x)}[log σ(d(x))] + E_{p_g(x)}[log(1 - σ(d(x)))]
        g: max E_{p_g(x)}[log σ(d(x))]
    """
    p_data = EmpiricalDistribution(["x"])
    generator = MLP(noise, width, hidden=hidden, activation=nn.LeakyReLU)
    p_g = Implicit(generator, var=["x"], noise=[noise], name="p_g")
    d = Function(MLP(width, 1, hidden=hidden, activation=nn.LeakyReLU), name="d")
    x = values("x")

    real = d(x).sigmoid()
    game = E(p_data, real.log()) + E(p_g, (1 - real).log())

    model = Model(
        players=[
            Player("d", maximise=game, over=[d]),
            Player("g", maximise=E(p_g, real.log()), over=[p_g]),
        ],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr, "betas": (0.0, 0.9)},
    )
    return Recipe(model=model, objective=model.loss, generative=p_g, latent="noise_x")


if __name__ == "__main__":
    import sys

    from ancestral.data.points import crescent

    recipe = gan()
    sys.stdout.write(f"{recipe.objective}\n")
    recipe.model.fit({"x": crescent(20_000)}, epochs=20, batch_size=256)
    x1, x2 = recipe.generative.sample(batch_n=1000)["x"].unbind(1)
    off = (x2 - x1**2 + 1).square().mean().sqrt()
    sys.stdout.write(f"mean distance of a draw from the line: {off:.2f}, of the data 0.30\n")
