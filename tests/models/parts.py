"""The small VAE that the tests of models train, and the same in plain torch."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E, Node
from ancestral.models import Model

PIXELS, LATENT = 6, 2


class Inference(Normal):
    """q(z|x)."""

    def __init__(self) -> None:
        super().__init__(var=["z"], cond_var=["x"], name="q")
        self.fc1, self.fc2 = nn.Linear(PIXELS, 5), nn.Linear(5, 2 * LATENT)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        loc, scale = self.fc2(torch.tanh(self.fc1(x))).chunk(2, -1)
        return {"loc": loc, "scale": F.softplus(scale)}


class Generator(Bernoulli):
    """p(x|z)."""

    def __init__(self) -> None:
        super().__init__(var=["x"], cond_var=["z"], name="p")
        self.fc1, self.fc2 = nn.Linear(LATENT, 5), nn.Linear(5, PIXELS)

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        return {"logits": self.fc2(torch.tanh(self.fc1(z)))}


class Parts(NamedTuple):
    """The laws, the ELBO per row, and a batch."""

    p: Generator
    q: Inference
    prior: Normal
    elbo: Node
    x: Tensor

    @property
    def loss(self) -> Node:
        """What is minimised."""
        return -self.elbo.mean()

    def model(self, **options: Any) -> Model:
        """The model of both networks."""
        return Model(loss=self.loss, distributions=[self.p, self.q], **options)


def parts(dtype: torch.dtype = torch.float32, rows: int = 8, seed: int = 0) -> Parts:
    """The same laws for the same seed."""
    torch.manual_seed(seed)
    p, q = Generator().to(dtype), Inference().to(dtype)
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[LATENT], name="p_{prior}")
    prior = prior.to(dtype)
    elbo = E(q, p.log_prob()) - KL(q, prior)
    x = (torch.rand(rows, PIXELS, dtype=dtype) > 0.5).to(dtype)
    return Parts(p, q, prior, elbo, x)


def hand_loss(p: nn.Module, q: nn.Module, x: Tensor, eps: Tensor, beta: float = 1.0) -> Tensor:
    """Minus the ELBO, averaged over rows."""
    loc, scale = q.fc2(torch.tanh(q.fc1(x))).chunk(2, -1)
    scale = F.softplus(scale)
    z = loc + scale * eps
    logits = p.fc2(torch.tanh(p.fc1(z)))
    reconstruction = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    divergence = (0.5 * (loc**2 + scale**2 - 1) - scale.log()).sum(-1)
    return (beta * divergence - reconstruction).mean()


def hand_steps(
    w: Parts,
    optimizer: Callable[..., torch.optim.Optimizer],
    noise: list[Tensor],
    after_backward: Callable[[list[nn.Parameter]], Any] = lambda parameters: None,
) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Loss and weights of each step of a plain loop that starts from the same weights."""
    p, q = copy.deepcopy(w.p), copy.deepcopy(w.q)
    parameters = [*p.parameters(), *q.parameters()]
    step = optimizer(parameters)
    for eps in noise:
        loss = hand_loss(p, q, w.x, eps)
        step.zero_grad()
        loss.backward()
        after_backward(parameters)
        step.step()
        yield loss.item(), {**weights(p, "p."), **weights(q, "q.")}


def draws(steps: int, w: Parts, seed: int = 1) -> list[Tensor]:
    """Base noise of z for a number of steps."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(len(w.x), LATENT, dtype=w.x.dtype, generator=g) for _ in range(steps)]


def weights(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """A copy of a module's parameters and buffers."""
    return {prefix + k: v.detach().clone() for k, v in module.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Equal to the bit, NaN included."""
    return a.keys() == b.keys() and all(
        torch.equal(a[k].nan_to_num(nan=1e30), b[k].nan_to_num(nan=1e30)) for k in a
    )


def quiet(w: Parts, **options) -> Model:
    """A model whose loss has no noise, and which does not learn."""
    return Model(
        loss=KL(w.q, w.prior).mean(),
        distributions=[w.q],
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.0},
        **options,
    )
