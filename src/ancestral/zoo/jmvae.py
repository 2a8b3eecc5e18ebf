r"""Joint multimodal variational autoencoder: images and labels in one latent variable.

.. math::
    \mathcal{L}(x,y) = E_{q(z|x,y)}[\log p(x|z) + \log p(y|z)] - KL[q(z|x,y) \| p(z)]
    - \alpha \left(KL[q(z|x,y) \| q(z|x)] + KL[q(z|x,y) \| q(z|y)]\right)

The last two terms teach an encoder for each modality alone, so that one can be drawn given the
other: x from y, y from x.

Source: Suzuki, Nakayama, Matsuo, "Joint multimodal learning with deep generative models", 2016,
equation 3 (JMVAE-kl).

Run it alone: ``python -m ancestral.zoo.jmvae``
"""

import torch

from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


def jmvae(
    *,
    pixels: int = 64,
    classes: int = 10,
    latent: int = 16,
    hidden: tuple[int, ...] = (256,),
    alpha: float = 0.1,
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(z|x,y)}[log p(x,y|z)] - KL[q(z|x,y) || p(z)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        classes: C, the length of a one-hot row y of shape (N, C).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of the networks.
        alpha: Weight of the divergences from the encoders of one modality.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.
    """
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    q = Normal(
        var=["z"], cond_var=["x", "y"], net=MLP(pixels + classes, 2 * latent, hidden), name="q"
    )
    q_x = Normal(var=["z"], cond_var=["x"], net=MLP(pixels, 2 * latent, hidden), name="q")
    q_y = Normal(var=["z"], cond_var=["y"], net=MLP(classes, 2 * latent, hidden), name="q")
    p_x = Bernoulli(
        var=["x"], cond_var=["z"], net=MLP(latent, pixels, hidden), name="p", grey=grey
    )
    p_y = Categorical(var=["y"], cond_var=["z"], net=MLP(latent, classes, hidden), name="p")

    elbo = E(q, (p_x * p_y).log_prob()) - KL(q, prior)
    objective = elbo - alpha * (KL(q, q_x) + KL(q, q_y))

    model = Model(
        loss=-objective.mean(),
        distributions=[p_x, p_y, q, q_x, q_y],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=elbo, generative=p_x * p_y * prior, posterior=q)


if __name__ == "__main__":
    import sys
    from typing import Any

    from ancestral.data import digits

    data = digits()
    recipe = jmvae(pixels=data.dimension)
    sys.stdout.write(f"{recipe.model.loss}\n")
    recipe.model.fit({"x": data.train["x"], "y": torch.eye(10)[data.train["label"]]}, epochs=100)
    laws: Any = recipe.model.distributions
    _, p_y, _, q_x, _ = laws
    z = q_x.sample_mean({"x": data.test["x"]})
    guess = p_y.get_params({"z": z})["logits"].argmax(-1)
    right = (guess == data.test["label"]).double().mean().item()
    sys.stdout.write(f"labels of test images, drawn by way of z: {right:.3f} right\n")
