r"""Generative moment matching network: a generator without a discriminator, on points of the plane.

.. math::
    \min_g\; E_{p_{data}(x)p_{data}(x')}[k(x,x')] - 2\,E_{p_{data}(x)p_g(y)}[k(x,y)]
    + E_{p_g(y)p_g(y')}[k(y,y')], \qquad k(x,y) = \sum_h e^{-\lVert x-y\rVert^2/2h^2}

the squared maximum mean discrepancy of the data and of a generator y = G(ε) of uniform noise, a
multilayer perceptron. Several bandwidths h see the law at several scales. Its estimate is unbiased,
so that it is 0 on average, and often negative, where the two laws are equal.

Source: Li, Swersky, Zemel, "Generative moment matching networks", 2015, equations 2 and 3, and
section 4.1 for the noise and the bandwidths.

Run it alone: ``python -m ancestral.zoo.gmmn``
"""

from pathlib import Path

import torch

from ancestral.data.points import ring
from ancestral.distributions import EmpiricalDistribution, Implicit, Uniform
from ancestral.evaluation import Measurement, Reference, Reproduction
from ancestral.losses import MMD
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png, scatter

EQUAL = Reference(0.0, "equal laws; .10 of the normal law that fits best", "exact")


def gmmn(
    *,
    width: int = 2,
    noise: int = 4,
    hidden: tuple[int, ...] = (64, 64),
    bandwidths: tuple[float, ...] = (0.25, 1.0),
    lr: float = 2e-3,
) -> Recipe:
    """E_{p_{data}(x)p_{data}(x')}[exp(-8 ||x - x'||^2) + exp(-0.5 ||x - x'||^2)] - 2 E_{p_{data}(x)p_g(y)}[exp(-8 ||x - y||^2) + exp(-0.5 ||x - y||^2)] + E_{p_g(y)p_g(y')}[exp(-8 ||y - y'||^2) + exp(-0.5 ||y - y'||^2)].

    Args:
        width: D, the length of a row x of shape (N, D).
        noise: Dimension of the noise.
        hidden: Widths of the hidden layers of the generator.
        bandwidths: The widths h of the kernels that are added, in the units of x.
        lr: Step size of Adam.
    """  # noqa: E501 (the formula is one line)
    p_data = EmpiricalDistribution(["x"])
    u = Uniform(low=-1.0, high=1.0, var=["u"], features_shape=[noise], name="p")
    p_g = Implicit(MLP(noise, width, hidden), var=["y"], noise=u, name="p_g")

    discrepancy = MMD(p_data, p_g, kernel="gaussian", bandwidth=bandwidths)

    model = Model(
        loss=discrepancy,
        distributions=[p_g],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=discrepancy, generative=p_g, observed="y", latent="u")


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Eight normal laws on a ring: the discrepancy on held-out rows."""
    torch.manual_seed(seed)
    recipe = gmmn().to(device)
    recipe.model.fit({"x": ring(20_000)}, epochs=30, batch_size=256, progress=progress)
    held = ring(2000)
    found = float(recipe.model.test({"x": held.to(device)}))
    y = recipe.generative.sample(batch_n=20_000)["y"].detach()
    both = torch.stack([scatter(points, low=-3, high=3) for points in (ring(20_000), y)])
    return Reproduction(
        (Measurement("MMD^2", found, "", "unbiased", EQUAL, at_most=0.02, rows=len(held)),),
        png(image_grid(both, columns=2, size=224)),
        "Rows of the data and of the generator.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{gmmn().objective}\n{reproduce()}\n")
