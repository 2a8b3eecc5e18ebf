r"""DRAW: an image is painted in T steps, each by a latent variable of its own; without attention.

.. math::
    \log p(x) \ge E_{q(z_{1:T}|x)}\Big[\log p(x|c_T) - \sum_t KL[q(z_t|e_t) \| p(z_t)]\Big]

with the canvas :math:`c_t = c_{t-1} + W d_t` of a recurrent decoder :math:`d_t = f(z_t, d_{t-1})`
and an encoder :math:`e_t = f(x, x - \sigma(c_{t-1}), d_{t-1}, e_{t-1})` that sees what is missing.
The last canvas has the logits of p(x|c_T) = Bernoulli. At T = 1 it is the bound of the VAE.

Source: Gregor, Danihelka, Graves, Rezende, Wierstra, "DRAW: a recurrent neural network for image
generation", 2015, equations 1 to 13, with gated recurrent units.

Run it alone: ``python -m ancestral.zoo.draw``
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ancestral.data import digits
from ancestral.distributions import Bernoulli, Deterministic, Normal, Sequence
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png

ONE = Reference(-20.02, "T = 1, a VAE with as many weights", "baseline")


class Read(nn.Module):
    """e_t of the image, what the canvas lacks of it, and the decoder (equations 3 to 5)."""

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2 * pixels + hidden, hidden)

    def forward(self, r: Tensor, e_prev: Tensor, d_prev: Tensor, c_prev: Tensor) -> Tensor:
        """The next state of the encoder, shape ``(rows, hidden)``."""
        seen = torch.cat([r, r - c_prev.sigmoid(), d_prev], -1)
        out: Tensor = self.cell(seen, e_prev)
        return out


class Write(nn.Module):
    """d_t and c_t = c_{t-1} + W d_t (equations 7 and 8)."""

    def __init__(self, pixels: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.cell, self.stroke = nn.GRUCell(latent, hidden), nn.Linear(hidden, pixels)

    def forward(self, z: Tensor, d_prev: Tensor, c_prev: Tensor) -> dict[str, Tensor]:
        """The next state of the decoder, shape ``(rows, hidden)``, and the canvas after it."""
        d = self.cell(z, d_prev)
        return {"d": d, "c": c_prev + self.stroke(d)}


def draw(
    *, pixels: int = 64, steps: int = 10, latent: int = 4, hidden: int = 64, lr: float = 3e-3
) -> Recipe:
    """E_{every(r|x)}[E_{q(d_{1:T},c_{1:T},z_{1:T},e_{1:T}|r_{1:T})}[log p(x|c)] - E_{q(d_{1:T},c_{1:T},z_{1:T},e_{1:T}|r_{1:T})}[Σ_t KL[q(z_t|e_t) || p(z_t)]]].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        steps: T.
        latent: Dimension of each z_t.
        hidden: Width of the states of encoder and decoder.
        lr: Step size of Adam.
    """  # noqa: E501 (the formula is one line)
    widths = {"e": hidden, "d": hidden, "c": pixels}
    first = {name: nn.Parameter(torch.zeros(width)) for name, width in widths.items()}
    carry = {name: f"{name}_prev" for name in widths}

    p_z = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    q_z = Normal(var=["z"], cond_var=["e"], net=MLP(hidden, 2 * latent, ()), name="q")
    before = [carry[name] for name in widths]
    read = Deterministic(["e"], ["r", *before], net=Read(pixels, hidden), name="f")
    write = Deterministic(
        ["d", "c"], ["z", *before[1:]], net=Write(pixels, latent, hidden), name="f"
    )
    p = Bernoulli(var=["x"], cond_var=["c"], net=lambda c: c[:, -1], name="p")

    every = Deterministic(
        var=["r"], cond_var=["x"], net=lambda x: x[:, None].expand(-1, steps, -1), name="every"
    )
    q = Sequence(write * q_z * read, carry, first, series=["r"], name="q")
    pz = Sequence(write * p_z * read, carry, first, series=["r"], name="p")
    elbo = E(every, E(q, p.log_prob()) - KL(q, pz))

    model = Model(
        loss=-elbo.mean(),
        distributions=[p, q, pz],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
        clip_grad_norm=10.0,
    )
    of = ("d", "c")
    painted = Sequence(write * p_z, {n: carry[n] for n in of}, {n: first[n] for n in of}, name="p")
    return Recipe(model=model, objective=elbo, generative=p * painted, posterior=q * every)


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Binary digits in ten steps."""
    torch.manual_seed(seed)
    data = digits()
    recipe = draw(pixels=data.dimension).to(device)
    recipe.model.fit({"x": data.train["x"]}, epochs=60, progress=progress)
    above = bound(recipe.objective, data.test, laws=recipe.laws, draws=16)
    found = Measurement.of(above, "test bound", reference=ONE, at_least=ONE.value)
    canvas = recipe.generative.sample(batch_n=6, length=10)["c"].sigmoid()
    return Reproduction(
        (found,),
        png(image_grid(canvas.reshape(-1, *data.shape), columns=10, size=24)),
        "Canvases of six draws from the first step to the last.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{draw().objective}\n{reproduce()}\n")
