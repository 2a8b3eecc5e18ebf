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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Deterministic, Normal, Sequence
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP, Backward


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
        return {
            "loc": (1 - g) * self.linear(z_prev) + g * h,
            "scale": F.softplus(self.scale(F.relu(h))),
        }


class Combiner(nn.Module):
    """q(z_t|z_{t-1},h_t): both into one hidden layer (equation 6)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(latent, hidden), nn.Linear(hidden, 2 * latent)

    def forward(self, z_prev: Tensor, h: Tensor) -> Tensor:
        """Mean and standard deviation before its link, shape ``(rows, 2 latent)``."""
        out: Tensor = self.out((self.hidden(z_prev).tanh() + h) / 2)
        return out


def dmm(*, pixels: int = 88, latent: int = 32, hidden: int = 64, lr: float = 3e-3) -> Recipe:
    """E_{back(h|x,m)}[E_{q(z_{1:T}|h_{1:T})}[Σ_t m_t log p(x_t|z_t)] - E_{q(z_{1:T}|h_{1:T})}[Σ_t m_t KL[q(z_t|z_{t-1},h_t) || p(z_t|z_{t-1})]]].

    Args:
        pixels: D, of a sequence x of shape (N, T, D) with a mask m of shape (N, T).
        latent: Dimension of z_t.
        hidden: Width of h_t and of hidden layers.
        lr: Step size of Adam.

    Example:
        >>> dmm().generative.sample(batch_n=2, length=10)["x"].shape
        torch.Size([2, 10, 88])
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

    model = Model(
        loss=-elbo.mean(),
        distributions=[back, q, pz, px],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
        clip_grad_norm=10.0,
    )
    return Recipe(model=model, objective=elbo, generative=px * pz, posterior=q * back)


if __name__ == "__main__":
    import sys

    recipe = dmm(pixels=8, latent=8, hidden=32)
    sys.stdout.write(f"{recipe.objective}\n")
    note = (torch.arange(20) + torch.randint(8, (512, 1))) % 8  # one note, that moves up
    data = {"x": F.one_hot(note, 8).float(), "m": torch.ones(512, 20)}
    recipe.model.fit(data, epochs=40, batch_size=64)
    bound = recipe.objective.eval(data).mean() / 20
    sys.stdout.write(f"nats per step: {float(bound):.3f}, with independent notes -3.01\n")
