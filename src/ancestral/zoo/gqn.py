r"""Generative query network in small: scenes of one dimension, seen from a few viewpoints.

.. math::
    E_{q(z|x_q,v_q,r)}[\log p(x_q|z,v_q,r)] - KL[q(z|x_q,v_q,r) \| p(z|v_q,r)]
    \le \log p(x_q|v_q,x_{1:M},v_{1:M}), \qquad r = \sum_{i=1}^M f(x_i, v_i)

A scene is a draw of a Gaussian process; a view from v is what a row of pixels around v sees of it.
The representation r of M views answers the query: what is seen from v_q? It is the same, to the
bit, in whatever order the views come, for they are put in one order before anything is computed.

Source: Eslami et al., "Neural scene representation and rendering", 2018, equations 1 to 3 of the
supplement, with one layer of latent variables and multilayer perceptrons.

Run it alone: ``python -m ancestral.zoo.gqn``
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ancestral.data.scenes import scenes
from ancestral.distributions import Deterministic, Normal
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png, scatter

PROCESS = Reference(-0.27, "log p of the Gaussian process; -2.62 without views", "exact")


class Representation(nn.Module):
    """r, the sum over views (equation 1)."""

    def __init__(self, pixels: int, width: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.f = MLP(pixels + 1, width, hidden)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Shape ``(rows, width)``, of views x ``(rows, M, pixels)`` from v ``(rows, M, 1)``."""
        views = torch.cat([v, x], -1)
        for column in reversed(range(views.shape[-1])):  # by v, then by the pixels, as words
            order = views[..., column].argsort(dim=1, stable=True)
            views = views.gather(1, order[..., None].expand_as(views))
        out: Tensor = self.f(views).sum(1)
        return out


def gqn(
    *,
    pixels: int = 3,
    width: int = 64,
    latent: int = 4,
    hidden: tuple[int, ...] = (128, 128),
    lr: float = 1e-3,
) -> Recipe:
    """E_{f(r|x,v)}[E_{q(z|x_q,v_q,r)}[log p(x_q|z,v_q,r)] - KL[q(z|x_q,v_q,r) || p(z|v_q,r)]].

    Args:
        pixels: P, of views x of shape (N, M, P) from v of shape (N, M, 1), for any M; the query
            v_q has shape (N, 1) and its answer x_q shape (N, P).
        width: Length of r.
        latent: Dimension of z.
        hidden: Widths of the hidden layers of all networks.
        lr: Step size of Adam.
    """
    f = Deterministic(["r"], ["x", "v"], net=Representation(pixels, width, hidden), name="f")
    prior = Normal(["z"], ["v_q", "r"], net=MLP(1 + width, 2 * latent, hidden), name="p")
    inference = MLP(pixels + 1 + width, 2 * latent, hidden)
    q = Normal(["z"], ["x_q", "v_q", "r"], net=inference, name="q")
    rendering = MLP(latent + 1 + width, 2 * pixels, hidden)
    p = Normal(["x_q"], ["z", "v_q", "r"], net=rendering, name="p")

    elbo = E(f, E(q, p.log_prob()) - KL(q, prior))

    model = Model(
        loss=-elbo.mean(),
        distributions=[f, p, q, prior],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    joint = p * prior * f
    return Recipe(model=model, objective=elbo, generative=joint, posterior=q * f, observed="x_q")


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Four views a scene: nats of three pixels from a new viewpoint, beside the exact ones."""
    torch.manual_seed(seed)
    recipe, test = gqn().to(device), scenes(4000)
    recipe.model.fit(scenes(60_000), epochs=30, batch_size=256, progress=progress)
    above = bound(recipe.objective, test, laws=recipe.laws, draws=16)
    found = Measurement.of(above, "test bound", reference=PROCESS, at_least=PROCESS.value - 0.5)
    v = torch.linspace(-1, 1, 5000)[:, None]
    views = {name: test[name][:4].repeat_interleave(5000, 0).to(device) for name in ("x", "v")}
    drawn = recipe.generative.sample({**views, "v_q": v.repeat(4, 1).to(device)})["x_q"].cpu()
    points = [torch.cat([v, x[:, 1:2] / 3], 1) for x in drawn.unflatten(0, (4, 5000))]
    seen = [scatter(p, low=-1, high=1) for p in points]
    return Reproduction(
        (found,),
        png(image_grid(torch.stack(seen), columns=4, size=168)),
        "Four scenes: draws of the middle pixel for viewpoints from left to right.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{gqn().objective}\n{reproduce()}\n")
