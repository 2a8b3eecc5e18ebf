r"""Semi-supervised learning with a deep generative model (M2): few labels, many images.

.. math::
    \mathcal{L}(x,y) &= E_{q(z|x,y)}[\log p(x|y,z)p(y)p(z) - \log q(z|x,y)] \le \log p(x,y) \\
    \mathcal{U}(x) &= \sum_y q(y|x)\,\mathcal{L}(x,y) + H[q(y|x)] \le \log p(x)

for images with and without a label; the classifier q(y|x) also learns from the labels themselves,
with the weight alpha. The sum over y is exact.

Source: Kingma, Rezende, Mohamed, Welling, "Semi-supervised learning with deep generative models",
2014, equations 6, 7 and 9.

Run it alone: ``python -m ancestral.zoo.m2``
"""

import torch

from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import E, Enumerate, H
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


def m2(
    *,
    pixels: int = 64,
    classes: int = 10,
    latent: int = 16,
    hidden: tuple[int, ...] = (256,),
    alpha: float = 20.0,
    lr: float = 1e-3,
    grey: bool = False,
) -> Recipe:
    """E_{q(z|x,y)}[log p(x,y,z) - log q(z|x,y)].

    The model takes labelled rows x, y and unlabelled rows x_u, which may differ in their number.

    Args:
        pixels: D, the length of rows x of shape (N, D) and x_u of shape (M, D).
        classes: C, the length of a one-hot row y of shape (N, C).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of the networks.
        alpha: Weight of the classifier's own log-likelihood.
        lr: Step size of Adam.
        grey: Pixels are means in [0, 1]; the bound is then not one on a likelihood.
    """
    p_z = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p")
    p_y = Categorical(probs=torch.ones(classes) / classes, var=["y"], name="p")
    p = Bernoulli(
        var=["x"], cond_var=["y", "z"], net=MLP(classes + latent, pixels, hidden), name="p",
        grey=grey,
    )  # fmt: skip
    q_y = Categorical(var=["y"], cond_var=["x"], net=MLP(pixels, classes, hidden), name="q")
    q_z = Normal(
        var=["z"], cond_var=["x", "y"], net=MLP(pixels + classes, 2 * latent, hidden), name="q"
    )

    labelled = E(q_z, (p * p_y * p_z).log_prob() - q_z.log_prob())
    unlabelled = E(q_y, labelled) + H(q_y)
    objective = labelled.mean() + unlabelled.replace_var(x="x_u").mean()
    objective = objective + alpha * q_y.log_prob().mean()

    model = Model(
        loss=-objective.estimate({q_y: Enumerate()}),
        distributions=[p, q_y, q_z],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    joint = p * p_y * p_z
    return Recipe(model=model, objective=labelled, generative=joint, posterior=q_z * q_y)


if __name__ == "__main__":
    import sys
    from typing import Any

    from ancestral.data import digits

    data, few = digits(), 100
    times = -(-len(data.train["x"]) // few)  # the labelled rows again and again beside the others
    rows = len(data.train["x"])
    recipe = m2(pixels=data.dimension)
    sys.stdout.write(f"{recipe.model.loss}\n")
    recipe.model.fit(
        {
            "x": data.train["x"][:few].repeat(times, 1)[:rows],
            "y": torch.eye(10)[data.train["label"][:few]].repeat(times, 1)[:rows],
            "x_u": data.train["x"],
        },
        epochs=60,
    )
    q_y: Any = recipe.model.distributions[1]
    guess = q_y.get_params({"x": data.test["x"]})["logits"].argmax(-1)
    error = 1 - (guess == data.test["label"]).double().mean().item()
    sys.stdout.write(f"error on the test images, {few} labels: {error:.3f}\n")
