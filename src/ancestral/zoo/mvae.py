r"""Multimodal variational autoencoder: a product of experts for every subset of modalities.

.. math::
    \mathcal{L}(x,y) &= E_{p(S)}\left[E_{q(z|x_S)}\left[\sum_{i \in S} \log p(x_i|z)\right]
    - KL[q(z|x_S) \| p(z)]\right] \\
    q(z|x_S) &\propto p(z) \prod_{i \in S} q(z|x_i)

The subset S is a random variable, uniform over both modalities, the image alone and the label
alone: the paper's sub-sampled objective, divided by three. One encoder for each modality serves
all of them.

Source: Wu, Goodman, "Multimodal generative models for scalable weakly-supervised learning", 2018,
equation 5.

Run it alone: ``python -m ancestral.zoo.mvae``
"""

import torch
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Categorical, Deterministic, Normal, ProductOfNormal
from ancestral.losses import KL, E, Enumerate
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


class Subsets(nn.Module):
    """The subsets {x, y}, {x}, {y} as rows of ones and zeros, by a one-hot index."""

    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))

    def forward(self, i: Tensor) -> Tensor:
        """The subset of each index, shape (N, 2)."""
        out: Tensor = i @ self.rows
        return out


def mvae(
    *,
    pixels: int = 64,
    classes: int = 10,
    latent: int = 16,
    hidden: tuple[int, ...] = (256,),
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(z|x,y,S)}[S_1 log p(x|z) + S_2 log p(y|z)] - KL[q(z|x,y,S) || p(z)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        classes: C, the length of a one-hot row y of shape (N, C).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of the networks.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    q_x = Normal(var=["z"], cond_var=["x"], net=MLP(pixels, 2 * latent, hidden), name="q")
    q_y = Normal(var=["z"], cond_var=["y"], net=MLP(classes, 2 * latent, hidden), name="q")
    q = ProductOfNormal([q_x, q_y], prior=prior, mask="S", name="q")
    p_x = Bernoulli(
        var=["x"], cond_var=["z"], net=MLP(latent, pixels, hidden), name="p", grey=grey
    )
    p_y = Categorical(var=["y"], cond_var=["z"], net=MLP(latent, classes, hidden), name="p")
    subset = Deterministic(var=["S"], cond_var=["i"], net=Subsets(), name="p")
    p_s = (subset * Categorical(probs=torch.ones(3) / 3, var=["i"], name="p")).marginalize_var("i")

    elbo = E(q, (p_x * p_y).log_prob(mask="S")) - KL(q, prior)
    objective = E(p_s, elbo).estimate({p_s: Enumerate()})

    model = Model(
        loss=-objective.mean(),
        distributions=[p_x, p_y, q_x, q_y],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=elbo, generative=p_x * p_y * prior, posterior=q)


if __name__ == "__main__":
    import sys
    from typing import Any

    from ancestral.data import digits

    data = digits()
    recipe = mvae(pixels=data.dimension)
    sys.stdout.write(f"{recipe.model.loss}\n")
    recipe.model.fit({"x": data.train["x"], "y": torch.eye(10)[data.train["label"]]}, epochs=100)
    laws: Any = recipe.model.distributions
    _, p_y, q_x, _ = laws
    alone = ProductOfNormal([q_x])  # the image alone, beside the prior
    z = alone.sample_mean({"x": data.test["x"]})
    guess = p_y.get_params({"z": z})["logits"].argmax(-1)
    right = (guess == data.test["label"]).double().mean().item()
    sys.stdout.write(f"labels of test images, drawn by way of z: {right:.3f} right\n")
