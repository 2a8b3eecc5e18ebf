"""A small GAN that the tests of players train, and the same in plain torch."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ancestral.distributions import EmpiricalDistribution, Implicit
from ancestral.losses import E, Function, Node, values
from ancestral.models import Model, Player

NOISE = "noise_x"


class Game(NamedTuple):
    """Networks, laws, the value V of the game, and a batch."""

    generator: nn.Sequential
    critic: nn.Sequential
    p_g: Implicit
    p_data: EmpiricalDistribution
    d: Function
    value: Node
    x: Tensor

    def players(self, **options: Any) -> list[Player]:
        """The critic first; ``options`` are the critic's."""
        return [
            Player("d", maximise=self.value, over=[self.d], **options),
            Player("g", minimise=self.value, over=[self.p_g]),
        ]

    def model(self, order: str = "in turn", steps: int = 1, **options: Any) -> Model:
        """The model of both players."""
        return Model(players=self.players(steps=steps), order=order, **options)

    def noises(self, n: int) -> list[Tensor]:
        """Base noise for a number of evaluations."""
        g = torch.Generator().manual_seed(5)
        return [torch.randn(len(self.x), 2, dtype=self.x.dtype, generator=g) for _ in range(n)]


def game(seed: int = 0, rows: int = 6, dtype: torch.dtype = torch.float64) -> Game:
    """The same game for the same seed."""
    torch.manual_seed(seed)
    generator = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).to(dtype)
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid()).to(dtype)
    p_g = Implicit(generator, var=["x"], noise=[2], name="p_g").to(dtype)
    p_data, d, x = EmpiricalDistribution(["x"]), Function(critic, name="d"), values("x")
    value = E(p_data, d(x).log()) + E(p_g, (1 - d(x)).log())
    return Game(generator, critic, p_g, p_data, d, value, torch.randn(rows, 3, dtype=dtype))


def by_hand(w: Game, noise: list[Tensor], plan: list[str]) -> tuple[list[float], Tensor]:
    """A plain loop from the same weights.

    Args:
        w: The game.
        noise: Of each evaluation.
        plan: Who makes a step on each, in a round: ``["d", "d", "g"]``, or ``["dg"]`` for both.

    Returns:
        The value of each evaluation, and all weights at the end, the critic's first.
    """
    generator, critic = copy.deepcopy(w.generator), copy.deepcopy(w.critic)
    own = {"d": list(critic.parameters()), "g": list(generator.parameters())}
    adam = {k: torch.optim.Adam(p, fused=True) for k, p in own.items()}
    told = []
    for i, eps in enumerate(noise):
        who = plan[i % len(plan)]
        fake = generator(eps) if "g" in who else generator(eps).detach()
        value = critic(w.x).log().mean() + (1 - critic(fake)).log().mean()
        for k in who:
            loss = -value if k == "d" else value
            grads = torch.autograd.grad(loss, own[k], retain_graph=True)
            for p, g in zip(own[k], grads, strict=True):
                p.grad = g
        for k in who:
            adam[k].step()
        told.append(value.item())
    return told, torch.cat([p.detach().flatten() for k in "dg" for p in own[k]])


def flat(w: Game) -> Tensor:
    """All weights, the critic's first."""
    both = [*w.critic.parameters(), *w.generator.parameters()]
    return torch.cat([p.detach().flatten() for p in both])


def calls_of(w: Any, run: Callable[[], Any]) -> list[tuple[str, int, bool]]:
    """The passes of both networks while something runs: network, rows, whether with a graph."""
    found: list[tuple[str, int, bool]] = []
    hooks = [
        net.register_forward_hook(
            lambda m, given, out, name=name: found.append((name, len(out), out.requires_grad))
        )
        for name, net in (("G", w.generator), ("D", w.critic))
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found
