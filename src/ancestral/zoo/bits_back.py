r"""Lossless compression with a variational autoencoder, on binary pixels: bits back with a stack.

.. math::
    \text{bits of } x = -\tfrac{1}{\log 2} E_{q(z|x)}[\log p(x|z) + \log p(z) - \log q(z|x)]
    = -\tfrac{1}{\log 2} \big(E_{q(z|x)}[\log p(x|z)] - KL[q(z|x) \| p(z)]\big)

The model is trained by its bound. Each entry of z is the number of an interval between quantiles
of p(z), so that all have the same prior. To add x to a message, z is drawn with bits that are
popped from it, which are not lost: the receiver, who has x, pushes them back.

Source: Townsend, Bird, Barber, "Practical lossless compression with latent variables using bits
back coding", 2019, section 2 and appendix B.

Run it alone: ``python -m ancestral.zoo.bits_back``
"""

from itertools import islice
from math import log
from pathlib import Path

import torch
from torch import Tensor

from ancestral.data import digits
from ancestral.distributions import Bernoulli, Normal
from ancestral.evaluation import (
    BitStack,
    LatentCode,
    Measurement,
    Reference,
    Reproduction,
    bound,
    parts,
)
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import image_grid, png

PIXELS = Reference(25.22 / log(2), "independent pixels with their means; 64 raw", "baseline")
SAME = Reference(1.0, "the evidence lower bound is the length", "exact")
LOSSLESS = Reference(0.0, "what is sent is received", "exact")


def bits_back(
    *, pixels: int = 64, latent: int = 8, hidden: tuple[int, ...] = (256,), lr: float = 2e-3
) -> Recipe:
    """E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of both networks.
        lr: Step size of Adam.
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    q = Normal(var=["z"], cond_var=["x"], net=MLP(pixels, 2 * latent, hidden), name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=MLP(latent, pixels, hidden[::-1]), name="p")

    elbo = E(q, p.log_prob()) - KL(q, prior)

    model = Model(
        loss=-elbo.mean(),
        distributions=[p, q],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=elbo, generative=p * prior, posterior=q)


def code(recipe: Recipe, *, latent: int, rows: int, intervals: int = 256) -> LatentCode:
    """Tables of blocks of rows, where z_s is in one of the intervals that p(z_s) holds alike."""
    q, p = recipe.posterior, recipe.decoder
    assert q is not None
    place, share = next(p.parameters()), torch.arange(2 * intervals + 1).double() / 2 / intervals
    edges, middles = torch.special.ndtri(share[::2]), torch.special.ndtri(share[1::2])

    def posterior(x: Tensor) -> Tensor:  # (rows * D,) to (rows * S, K + 1)
        found = q.get_params({"x": x.reshape(rows, -1).to(place)})
        m, s = (found[name].detach().double().cpu().reshape(-1, 1) for name in ("loc", "scale"))
        return parts(torch.special.ndtr((edges - m) / s).diff())

    def likelihood(k: Tensor) -> Tensor:  # (rows * S,) to (rows * D, 3)
        found = p.get_params({"z": middles[k].reshape(rows, -1).to(place)})
        logit = found["logits"].detach().double().cpu().reshape(-1, 1)
        return parts(torch.cat([-logit, logit], 1).sigmoid())

    same = parts(torch.ones(rows * latent, intervals) / intervals)
    return LatentCode(posterior, likelihood, same)


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Binary digits: the test images, 8 times over, as one message."""
    torch.manual_seed(seed)
    data, n = digits(), 8 * 297
    recipe = bits_back(pixels=data.dimension).to(device)
    recipe.model.fit({"x": data.train["x"]}, epochs=80, batch_size=64, progress=progress)
    rate = -bound(recipe.objective, data.test, laws=recipe.laws, draws=64).mean / log(2)

    coder = code(recipe, latent=8, rows=27)
    x, stack = data.test["x"].repeat(8, 1).reshape(n // 27, -1), BitStack(128, seed)
    before = stack.bits
    coder.push(x, stack)
    length = (stack.bits - before) / n
    back = torch.stack(list(islice(coder.pop(stack), len(x)))).flip(0)
    drawn = torch.stack(list(islice(coder.pop(BitStack(4096, seed)), 2)))
    both = torch.cat([part[:2].reshape(-1, *data.shape)[:40] for part in (back, drawn)])
    wrong, of = float((back != x).sum()), "length of the message"
    found = (
        Measurement("length", length, "bits", of, PIXELS, at_most=28.0, rows=n),
        Measurement("length over bound", length / rate, "", of, SAME, 1.01, 0.99, rows=n),
        Measurement("pixels that are not as sent", wrong, "", of, LOSSLESS, at_most=0.0, rows=n),
    )
    return Reproduction(
        found,
        png(image_grid(both, columns=20, size=24)),
        "Images as they were received, and below what random bits decode to.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{bits_back().objective}\n{reproduce()}\n")
