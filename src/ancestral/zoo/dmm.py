r"""Deep Markov model of binary sequences.

.. math::
    \log p(x_{1:T}) \ge E_{q(z_{1:T}|x_{1:T})} \sum_t \big[\log p(x_t|z_t)
    - KL[q(z_t|z_{t-1},x_{t:T}) \| p(z_t|z_{t-1})]\big]

with a gated transition p(z_t|z_{t-1}), an emitter p(x_t|z_t) = Bernoulli, and an inference network
that combines z_{t-1} with h_t = f(x_t, ..., x_T), of a recurrent network run backward in time.

Source: Krishnan, Shalit, Sontag, "Structured inference networks for nonlinear state space models",
2017, equations 3 to 6.

Run it alone: ``python -m ancestral.zoo.dmm``
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.data import piano_rolls
from ancestral.distributions import Bernoulli, Deterministic, Normal, Sequence
from ancestral.evaluation import Measurement, Reference, Reproduction, bound
from ancestral.losses import KL, E, Parameter
from ancestral.models import Model, Recipe
from ancestral.nn import MLP, Backward
from ancestral.report import image_grid, png

MARKOV = Reference(10.4693, "each key by itself, given whether it sounded before", "baseline")


class Transition(nn.Module):
    """p(z_t|z_{t-1}): a gate between a linear mean and that of a network (equation 5)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.proposal = MLP(latent, latent, (hidden,)), MLP(latent, latent, (hidden,))
        self.linear, self.scale = nn.Linear(latent, latent), nn.Linear(latent, latent)
        nn.init.eye_(self.linear.weight)

    def forward(self, z_prev: Tensor) -> dict[str, Tensor]:
        """Mean and standard deviation, shape ``(rows, latent)``."""
        g, h = self.gate(z_prev).sigmoid(), self.proposal(z_prev)
        loc = (1 - g) * self.linear(z_prev) + g * h
        return {"loc": loc, "scale": F.softplus(self.scale(F.relu(h)))}


class Combiner(nn.Module):
    """q(z_t|z_{t-1},h_t): both into one hidden layer (equation 6)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(latent, hidden), nn.Linear(hidden, 2 * latent)

    def forward(self, z_prev: Tensor, h: Tensor) -> Tensor:
        """Mean and standard deviation before its link, shape ``(rows, 2 latent)``."""
        out: Tensor = self.out((self.hidden(z_prev).tanh() + h) / 2)
        return out


def dmm(
    *, pixels: int = 88, latent: int = 32, hidden: int = 64, warm_up: int = 1, lr: float = 3e-3
) -> Recipe:
    """E_{back(h|x,m)}[E_{q(z_{1:T}|h_{1:T})}[Σ_t m_t log p(x_t|z_t)] - E_{q(z_{1:T}|h_{1:T})}[Σ_t m_t KL[q(z_t|z_{t-1},h_t) || p(z_t|z_{t-1})]]].

    Args:
        pixels: D, of a sequence x of shape (N, T, D) with a mask m of shape (N, T).
        latent: Dimension of z_t.
        hidden: Width of h_t and of hidden layers.
        warm_up: Steps of training in which the weight beta of the divergence rises to 1.
        lr: Step size of Adam.
    """  # noqa: E501 (the formula is one line)
    z0 = nn.Parameter(torch.zeros(latent))
    transition, emitter = Transition(latent, hidden), MLP(latent, pixels, (hidden,))
    back = Deterministic(var=["h"], cond_var=["x", "m"], net=Backward(pixels, hidden), name="back")
    q_t = Normal(var=["z"], cond_var=["z_prev", "h"], net=Combiner(latent, hidden), name="q")
    p_t = Normal(var=["z"], cond_var=["z_prev"], net=transition, name="p")
    e_t = Bernoulli(var=["x"], cond_var=["z"], net=emitter, name="p")

    q = Sequence(q_t, carry={"z": "z_prev"}, init=z0, series=["h"], mask="m")
    pz = Sequence(p_t, carry={"z": "z_prev"}, init=z0, mask="m")
    px = Sequence(e_t, series=["z"], mask="m")
    elbo = E(back, E(q, px.log_prob()) - KL(q, pz))
    annealed = E(back, E(q, px.log_prob()) - Parameter("beta") * KL(q, pz))

    model = Model(
        loss=-annealed.mean(),
        test_loss=-elbo.mean(),
        distributions=[back, q, pz, px],
        schedules={"beta": lambda step: min(1.0, (step + 1) / warm_up)},
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
        clip_grad_norm=10.0,
    )
    return Recipe(model=model, objective=elbo, generative=px * pz, posterior=q * back)


def reproduce(
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
) -> Reproduction:
    """Chorales of J. S. Bach: nats per frame of the test part."""
    torch.manual_seed(seed)
    data = piano_rolls("jsb", data_dir)
    recipe = dmm(latent=64, hidden=128, warm_up=600).to(device)
    recipe.model.fit(
        data.train, epochs=100, batch_size=20, transform=data.shortened, progress=progress
    )
    frames = data.test["m"].sum(1)
    found = bound(recipe.objective, data.test, laws=recipe.laws, draws=10).per(frames)
    one = Measurement.of(found, "test bound per frame", sign=-1, reference=MARKOV, at_most=10.46)
    true = data.test["x"][:4, :100]
    drawn = recipe.generative.sample(batch_n=4, length=true.shape[1])["x"]
    rolls = torch.cat([true, drawn.cpu()]).mT.flip(1).unsqueeze(1)
    return Reproduction(
        (one,),
        png(image_grid(rolls[[0, 4, 1, 5, 2, 6, 3, 7]], columns=2, size=176)),
        "Chorales of the test part on the left, drawn ones on the right; time runs rightward.",
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{dmm().objective}\n{reproduce()}\n")
