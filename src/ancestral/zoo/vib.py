r"""Deep variational information bottleneck: a classifier that forgets what it does not need.

.. math::
    E_{p(z|x)}[\log q(y|z)] - \beta\, KL[p(z|x) \| r(z)] \le I(Z, Y) - H(Y) - \beta\, I(Z, X)

in the mean over the data: the code z of an image x keeps what tells its label y and little else.

Source: Alemi, Fischer, Dillon, Murphy, "Deep variational information bottleneck", 2017, equations
15 and 17.

Run it alone: ``python -m ancestral.zoo.vib``
"""

from pathlib import Path

import torch

from ancestral.data import digits
from ancestral.distributions import Categorical, Normal
from ancestral.evaluation import Estimate, Measurement, Reference, Reproduction
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP
from ancestral.report import latent_picture


def vib(
    *,
    pixels: int = 64,
    classes: int = 10,
    latent: int = 32,
    hidden: tuple[int, ...] = (256, 256),
    beta: float = 1e-3,
    lr: float = 1e-3,
) -> Recipe:
    """E_{p(z|x)}[log q(y|z)] - 0.001 KL[p(z|x) || r(z)].

    Args:
        pixels: D, the length of a row x of shape (N, D).
        classes: C, the length of a one-hot row y of shape (N, C).
        latent: Dimension of z.
        hidden: Widths of the hidden layers of the encoder; the classifier is linear in z.
        beta: Price β of a nat that z has of x.
        lr: Step size of Adam.
    """
    r = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="r")
    p = Normal(var=["z"], cond_var=["x"], net=MLP(pixels, 2 * latent, hidden), name="p")
    q = Categorical(var=["y"], cond_var=["z"], net=torch.nn.Linear(latent, classes), name="q")

    objective = E(p, q.log_prob()) - beta * KL(p, r)

    model = Model(
        loss=-objective.mean(),
        distributions=[p, q],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
    )
    return Recipe(model=model, objective=objective, generative=q * r, posterior=p, observed="y")


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """The error on held-out digits of 8x8 pixels, of the mean of q(y|z) over twelve draws of z."""
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(seed)
    data = digits("grey")
    train, test = data.train_and_validation, data.test
    linear = LogisticRegression(max_iter=2000).fit(train["x"], train["label"])
    baseline = 1 - float(linear.score(test["x"], test["label"]))
    recipe = vib(pixels=data.dimension).to(device)
    given = {"x": train["x"], "y": torch.eye(10)[train["label"]]}
    recipe.model.fit(given, epochs=100, batch_size=100, progress=progress)
    p, x = recipe.posterior, test["x"].to(device)
    assert p is not None
    z = p.sample({"x": x}, sample_shape=[12])["z"]
    guess = recipe.decoder.factors[0].law.get_params({"z": z})["logits"].softmax(-1).mean(0)
    wrong = (guess.argmax(-1).cpu() != test["label"]).double()
    error = Measurement.of(
        Estimate(wrong, "most probable class of the mean over z", 12),
        "classification error",
        unit="",
        reference=Reference(baseline, "logistic regression of the pixels", "baseline"),
        at_most=baseline,
    )
    picture = latent_picture(p.sample_mean({"x": x}), test["label"], title="Means of p(z|x)")
    return Reproduction((error,), picture, "Means of p(z|x) of test digits, by their label.")


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{reproduce()}\n")
