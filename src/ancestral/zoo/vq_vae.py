r"""Autoencoder with discrete latent variables: vector quantisation (VQ-VAE), on binary pixels.

.. math::
    \log p(x \,|\, z + sg[e - z]) - \lVert sg[z] - e \rVert^2 - \beta \lVert z - sg[e] \rVert^2,
    \qquad z = f(x), \quad e = e_k, \; k = \mathrm{argmin}_j \lVert z - e_j \rVert^2

The decoder reads the nearest code e, and its gradient goes straight through to the encoder's z; the
codes follow the encodings, which are to stay near. A row has several codes. With the uniform
p(k) a draw of k is certain given x, so that log p(x|e) - S log K is a bound of log p(x).

With a decay the codes are averages of what is nearest to them, in place of the second term.

Source: van den Oord, Vinyals, Kavukcuoglu, "Neural discrete representation learning", 2017,
equation 3 and appendix A.1.

Run it alone: ``python -m ancestral.zoo.vq_vae``
"""

from math import log
from pathlib import Path

import torch
from torch import nn

from ancestral.data import digits
from ancestral.distributions import Bernoulli, Categorical, Deterministic
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import E, sqnorm, values
from ancestral.models import Model, Recipe
from ancestral.nn import MLP, Codebook
from ancestral.report import image_grid, png

PIXELS = Reference(-25.22, "independent pixels with their means", "baseline")


def vq_vae(
    *,
    pixels: int = 64,
    codes: int = 64,
    positions: int = 2,
    features: int = 8,
    hidden: tuple[int, ...] = (256, 256),
    beta: float = 0.25,
    decay: float | None = None,
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{e(e|z)f(z|x)}[log p(x|z + sg[e - z]) - ||sg[z] - e||^2 - 0.25 ||z - sg[e]||^2].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        codes: K, how many codes there are.
        positions: S, how many of them stand for a row; z and e are of shape (N, S, features).
        features: The length of a code.
        hidden: Widths of the hidden layers of both networks.
        beta: Weight of the commitment of the encoder.
        decay: Codes are averages with this decay, in place of the second term.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the first term is then no log-likelihood.
    """
    width, codebook = positions * features, Codebook(codes, features, decay)
    encoder = nn.Sequential(MLP(pixels, width, hidden), nn.Unflatten(-1, (positions, features)))
    decoder = nn.Sequential(nn.Flatten(), MLP(width, pixels, tuple(reversed(hidden))))
    f = Deterministic(var=["z"], cond_var=["x"], net=encoder, name="f")
    nearest = Deterministic(var=["e"], cond_var=["z"], net=codebook, name="e")
    p = Bernoulli(var=["x"], cond_var=["e"], net=decoder, name="p", grey=grey)
    z, e = values("z e")

    fit = p.log_prob().replace_var(e=z + (e - z).detach())
    commitment = beta * sqnorm(z - e.detach())
    follow = sqnorm(z.detach() - e)
    objective = E(nearest * f, (fit - follow if decay is None else fit) - commitment)

    model = Model(
        loss=-objective.mean(),
        distributions=[p, nearest, f],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    prior = Categorical(probs=torch.ones(positions, codes) / codes, var=["k"], name="p")
    code = Deterministic(var=["e"], cond_var=["k"], net=codebook.lookup, name="e")
    return Recipe(
        model=model,
        objective=objective,
        generative=p * code * prior,
        posterior=nearest * f,
        latent="e",
    )


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Binary digits in two codes of 32, which are averages; their rate is 2 log 32 nats."""
    torch.manual_seed(seed)
    data = digits()
    recipe = vq_vae(pixels=data.dimension, codes=32, decay=0.95).to(device)
    recipe.model.fit({"x": data.train["x"]}, epochs=30, batch_size=64, progress=progress)
    assert recipe.posterior is not None
    p = recipe.decoder
    rated = E(recipe.posterior, p.log_prob() - 2 * log(32))
    found = bound(rated, data.test, laws=recipe.laws)
    x = data.test["x"][:20].to(device)
    means = p.sample_mean({"e": recipe.posterior.sample({"x": x})["e"]})
    both = torch.stack([x, means.detach()], 1).reshape(-1, *data.shape)
    return Reproduction(
        (Measurement.of(found, "test bound", reference=PIXELS, at_least=-22.0),),
        png(image_grid(both, columns=10, size=24)),
        "Test images, each beside what its two codes keep of it.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{vq_vae().objective}\n{reproduce()}\n")
