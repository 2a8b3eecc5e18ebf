r"""Conditional GAN whose discriminator projects on the class, on grey digits.

.. math::
    \max_d\; -E_{p_{data}(x,y)}[\max(0, 1 - d(x,y))] - E_{p_g(x|y)p(y)}[\max(0, 1 + d(x,y))],
    \qquad \max_g\; E_{p_g(x|y)p(y)}[d(x,y)]

with the logit :math:`d(x,y) = v_y^\top \phi(x) + \psi(\phi(x))`: the class enters by an inner
product, as it does in :math:`\log p(y|x)` of a softmax. Every layer of d has a spectral norm of 1,
so that its slope is bounded. The generator is given a class with its noise; draws are those of its
averaged weights.

Source: Miyato, Koyama, "cGANs with projection discriminator", 2018, equations 3 and 4; Miyato et
al., "Spectral normalization for generative adversarial networks", 2018.

Run it alone: ``python -m ancestral.zoo.conditional_gan``
"""

from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ancestral.data import digits
from ancestral.distributions import Categorical, EmpiricalDistribution, Implicit
from ancestral.evaluation import Measurement, Reference, Reproduction
from ancestral.losses import MMD, E, Function, values
from ancestral.models import Model, Player, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png

TEST = Reference(0.9865, "the test images themselves, by the same neighbours", "baseline")
PIXELS = Reference(0.0231, "independent pixels; training images have -.002", "baseline")
CAPTION = "Six draws of each class, a class in a column."


class Projection(nn.Module):
    """d(x, y), of shape (rows, 1)."""

    def __init__(self, pixels: int, classes: int, hidden: int) -> None:
        super().__init__()
        first, second = nn.Linear(pixels, hidden), nn.Linear(hidden, hidden)
        leaky = nn.LeakyReLU(0.2)
        self.phi = nn.Sequential(spectral_norm(first), leaky, spectral_norm(second), leaky)
        self.psi = spectral_norm(nn.Linear(hidden, 1))
        self.v = spectral_norm(nn.Linear(classes, hidden, bias=False))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The logits of images (rows, D) and classes (rows, C)."""
        phi = self.phi(x)
        out: Tensor = (self.v(y) * phi).sum(-1, keepdim=True) + self.psi(phi)
        return out


def conditional_gan(
    *, pixels: int = 64, classes: int = 10, noise: int = 16, hidden: int = 128, lr: float = 1e-3
) -> Recipe:
    r"""The discriminator's hinge loss, and its logit for the generator.

    Args:
        pixels: D, the length of a row x of shape (N, D) in [0, 1].
        classes: C, the length of a row y of shape (N, C), which has a single 1.
        noise: Dimension of the noise.
        hidden: Width of the hidden layers of both networks, of which each has two.
        lr: Step size of Adam, for both players.

    Example:
        >>> for player in str(conditional_gan().objective).split(";  "):
        ...     print(player.replace(" - E_{p_g", "\n    - E_{p_g"))
        d: max -E_{p_{data}(x,y)}[max(1 - d(x, y), 0)]
            - E_{p_g(x|y)p(y)}[max(1 + d(x, y), 0)]
        g: max E_{p_g(x|y)p(y)}[d(x, y)]
    """
    p_data = EmpiricalDistribution(["x", "y"])
    p_y = Categorical(probs=torch.ones(classes) / classes, var=["y"], name="p")
    generator = MLP(noise + classes, pixels, (hidden, hidden)).append(nn.Sigmoid())
    p_g = Implicit(generator, var=["x"], cond_var=["y"], noise=[noise], name="p_g") * p_y
    d = Function(Projection(pixels, classes, hidden), name="d")
    x, y = values("x y")

    logit = d(x, y)
    hinge = -E(p_data, (1 - logit).max(0.0)) - E(p_g, (1 + logit).max(0.0))

    slow = p_g.ema(0.99)
    model = Model(
        players=[
            Player("d", maximise=hinge, over=[d]),
            Player("g", maximise=E(p_g, logit), over=[p_g, slow]),
        ],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr, "betas": (0.0, 0.9)},
    )
    return Recipe(model=model, objective=model.loss, generative=slow, latent="noise_x")


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Grey digits: whether a draw is of its class, and how far the draws are from test images."""
    torch.manual_seed(seed)
    data = digits("grey")
    train, held = data.train["x"], data.test["x"]
    recipe = conditional_gan(pixels=data.dimension).to(device)
    rows = {"x": train, "y": torch.eye(10)[data.train["label"]]}
    recipe.model.fit(rows, epochs=300, batch_size=64, progress=progress)
    drawn = recipe.generative.sample(batch_n=1000)
    x, y = (drawn[name].detach().cpu() for name in ("x", "y"))
    near = data.train["label"][torch.cdist(x, train).argmin(1)]
    right = (near == y.argmax(1)).double().mean().item()
    laws = EmpiricalDistribution(["x"]), EmpiricalDistribution(["x'"])
    between = MMD(*laws, bandwidth=(1.0, 2.0))
    apart = [float(between.eval({"x": held, "x'": part})) for part in x[:891].split(297)]
    found = (
        Measurement("of their class", right, "", "nearest image", TEST, at_least=0.9, rows=1000),
        Measurement("MMD^2", mean(apart), "", "unbiased", PIXELS, at_most=0.0231, rows=len(held)),
    )
    shown = torch.cat([x[y[:, k] > 0][:6] for k in range(10)])
    shown = shown.reshape(10, 6, *data.shape).transpose(0, 1).reshape(-1, *data.shape)
    return Reproduction(found, png(image_grid(shown, columns=10, size=24)), CAPTION)


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{conditional_gan().objective}\n{reproduce()}\n")
