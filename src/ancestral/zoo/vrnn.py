r"""Variational recurrent network of binary sequences.

.. math::
    \log p(x_{1:T}) \ge E_{q(z_{1:T}|x_{1:T})} \sum_t \big[\log p(x_t|z_t,h_{t-1})
    - KL[q(z_t|x_t,h_{t-1}) \| p(z_t|h_{t-1})]\big]

with the recurrent state h_t = f(x_t, z_t, h_{t-1}) of a GRU: the prior of z_t, its posterior and
the emitter p(x_t|z_t,h_{t-1}) = Bernoulli read all of the past through it.

Source: Chung, Kastner, Dinh, Goel, Courville, Bengio, "A recurrent latent variable model for
sequential data", 2015, equations 5 to 11.

Run it alone: ``python -m ancestral.zoo.vrnn``
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Deterministic, Normal, Sequence
from ancestral.losses import KL, E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


class Joined(nn.Module):
    """A multilayer perceptron of all conditions, one beside the other."""

    def __init__(self, in_features: int, out_features: int, hidden: int) -> None:
        super().__init__()
        self.net = MLP(in_features, out_features, (hidden,))

    def forward(self, *conditions: Tensor) -> Tensor:
        """Shape ``(rows, out_features)``."""
        out: Tensor = self.net(torch.cat(conditions, -1))
        return out


class Recurrence(nn.Module):
    """h_t = f(x_t, z_t, h_{t-1}) (equation 7)."""

    def __init__(self, pixels: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(pixels + latent, hidden)

    def forward(self, x: Tensor, z: Tensor, h_prev: Tensor) -> Tensor:
        """The next state, shape ``(rows, hidden)``."""
        out: Tensor = self.cell(torch.cat([x, z], -1), h_prev)
        return out


def vrnn(*, pixels: int = 88, latent: int = 32, hidden: int = 64, lr: float = 3e-3) -> Recipe:
    """E_{q(z_{1:T},h_{1:T}|x_{1:T})}[Σ_t m_t log p(x_t|z_t,h_{t-1})] - E_{q(z_{1:T},h_{1:T}|x_{1:T})}[Σ_t m_t KL[q(z_t|x_t,h_{t-1}) || p(z_t|h_{t-1})]].

    Args:
        pixels: D, of a sequence x of shape (N, T, D) with a mask m of shape (N, T).
        latent: Dimension of z_t.
        hidden: Width of h_t and of hidden layers.
        lr: Step size of Adam.

    Example:
        >>> vrnn().generative.sample(batch_n=2, length=10)["x"].shape
        torch.Size([2, 10, 88])
    """  # noqa: E501 (the formula is one line)
    h0 = nn.Parameter(torch.zeros(hidden))
    prior, encoder = (
        MLP(hidden, 2 * latent, (hidden,)),
        Joined(pixels + hidden, 2 * latent, hidden),
    )
    emitter, recurrence = (
        Joined(latent + hidden, pixels, hidden),
        Recurrence(pixels, latent, hidden),
    )

    p_z = Normal(var=["z"], cond_var=["h_prev"], net=prior, name="p")
    p_x = Bernoulli(var=["x"], cond_var=["z", "h_prev"], net=emitter, name="p")
    q_z = Normal(var=["z"], cond_var=["x", "h_prev"], net=encoder, name="q")
    f = Deterministic(var=["h"], cond_var=["x", "z", "h_prev"], net=recurrence, name="f")

    q = Sequence(q_z * f, carry={"h": "h_prev"}, init=h0, series=["x"], mask="m", name="q")
    pz = Sequence(p_z * f, carry={"h": "h_prev"}, init=h0, series=["x"], mask="m", name="p")
    px = Sequence(p_x, carry={"h": "h_prev"}, init=h0, series=["z"], mask="m")
    elbo = E(q, px.log_prob()) - KL(q, pz)

    model = Model(
        loss=-elbo.mean(),
        distributions=[q, pz, px],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
        clip_grad_norm=10.0,
    )
    generative = Sequence(p_x * p_z * f, carry={"h": "h_prev"}, init=h0)
    return Recipe(model=model, objective=elbo, generative=generative, posterior=q)


if __name__ == "__main__":
    import sys

    recipe = vrnn(pixels=8, latent=8, hidden=32)
    sys.stdout.write(f"{recipe.objective}\n")
    note = (torch.arange(20) + torch.randint(8, (512, 1))) % 8  # one note, that moves up
    data = {"x": F.one_hot(note, 8).float(), "m": torch.ones(512, 20)}
    recipe.model.fit(data, epochs=40, batch_size=64)
    bound = recipe.objective.eval(data).mean() / 20
    sys.stdout.write(f"nats per step: {float(bound):.3f}, with independent notes -3.01\n")
