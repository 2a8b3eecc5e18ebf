r"""TD-VAE: beliefs about a sequence, trained by jumps from one time to a later one.

.. math::
    E\big[\log p(x_2|z_2) + \log p_B(z_1|b_1) + \log p(z_2|z_1) - \log p_B(z_2|b_2)
    - \log q(z_1|z_2,b_1,b_2)\big] \le E[\log p(x_2|b_1)]

at times t_1 < t_2 that are drawn: z_2 from the belief p_B(z_2|b_2), z_1 from the smoothing law q.
A belief b_t = f(x_1, ..., x_t) is the state of a recurrent network, and p(z_2|z_1) jumps over all
that lies between.

Source: Gregor, Papamakarios, Besse, Buesing, Weber, "Temporal difference variational
auto-encoder", 2019, equations 6 to 8.

Run it alone: ``python -m ancestral.zoo.td_vae``
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Deterministic, Joint, Normal, Take, Uniform
from ancestral.losses import E
from ancestral.models import Model, Recipe
from ancestral.nn import MLP


class Belief(nn.Module):
    """b_t = f(x_1, ..., x_t)."""

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(pixels, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(rows, T, hidden)``."""
        out: Tensor = self.rnn(x)[0]
        return out


class Smoother(nn.Module):
    """q(z_1|z_2,b_1,b_2)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.net = MLP(latent + 2 * hidden, 2 * latent, (hidden,))

    def forward(self, z2: Tensor, b1: Tensor, b2: Tensor) -> Tensor:
        """Mean and standard deviation before its link, shape ``(rows, 2 latent)``."""
        out: Tensor = self.net(torch.cat([z2, b1, b2], -1))
        return out


def jump(longest: int) -> Joint:
    """p(t_1,t_2|x): the second time uniform, the jump to it uniform from 1 to the longest."""

    def times(u: Tensor, x: Tensor) -> dict[str, Tensor]:
        last = x.shape[1] - 1
        step = (u[:, 0] * min(longest, last)).floor() + 1
        t1 = (u[:, 1] * (last + 1 - step)).floor()
        return {"t1": t1, "t2": t1 + step}

    u = Uniform(var=["u"], low=0.0, high=1.0, features_shape=[2], name="p")
    law = Deterministic(var=["t1", "t2"], cond_var=["u", "x"], net=times, name="p")
    return (law * u).marginalize_var("u")


def td_vae(
    *, pixels: int = 88, latent: int = 16, hidden: int = 64, longest: int = 4, lr: float = 3e-3
) -> Recipe:
    """E_{q(z1|z2,b1,b2)p_B(z2|b2)take(b1,b2,x2|b,x,t1,t2)f(b|x)p(t1,t2|x)}[log p(x2|z2) + log p_B(z1|b1) + log p_T(z2|z1) - log p_B(z2|b2) - log q(z1|z2,b1,b2)].

    Args:
        pixels: D, of a sequence x of shape (N, T, D).
        latent: Dimension of z.
        hidden: Width of b_t and of hidden layers.
        longest: The longest jump t_2 - t_1.
        lr: Step size of Adam.
    """  # noqa: E501 (the formula is one line)
    belief, smoother = Belief(pixels, hidden), Smoother(latent, hidden)
    state, transition = MLP(hidden, 2 * latent, (hidden,)), MLP(latent, 2 * latent, (hidden,))

    f = Deterministic(var=["b"], cond_var=["x"], net=belief, name="f")
    p_b = Normal(var=["z"], cond_var=["b"], net=state, name="p_B")
    p_t = Normal(var=["z2"], cond_var=["z1"], net=transition, name="p_T")
    p_x = Bernoulli(var=["x2"], cond_var=["z2"], net=MLP(latent, pixels, (hidden,)), name="p")
    q = Normal(var=["z1"], cond_var=["z2", "b1", "b2"], net=smoother, name="q")

    at = Take(b1="b[t1]", b2="b[t2]", x2="x[t2]")
    b1, b2 = p_b.replace_var(z="z1", b="b1"), p_b.replace_var(z="z2", b="b2")
    now = p_x.log_prob() + b1.log_prob() + p_t.log_prob()
    bound = E(q * b2 * at * f * jump(longest), now - b2.log_prob() - q.log_prob())

    model = Model(
        loss=-bound.mean(),
        distributions=[f, p_b, p_t, p_x, q],
        optimizer=torch.optim.Adam,
        optimizer_params={"lr": lr},
        clip_grad_norm=10.0,
    )
    generative = p_x * p_t * b1 * Take(b1="b[t1]") * f  # from the belief at t1 to x at t2
    return Recipe(model=model, objective=bound, generative=generative, observed="x", latent="z2")


if __name__ == "__main__":
    import sys

    recipe = td_vae(pixels=8, latent=8, hidden=32)
    sys.stdout.write(f"{recipe.objective}\n")
    note = (torch.arange(20) + torch.randint(8, (512, 1))) % 8  # one note, that moves up
    data = {"x": F.one_hot(note, 8).float()}
    recipe.model.fit(data, epochs=60, batch_size=64)
    bound = recipe.objective.eval(data).mean()
    sys.stdout.write(f"nats at t2: {float(bound):.3f}, with independent notes -3.01\n")
