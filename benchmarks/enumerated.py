"""Speed of exact enumeration against hand-written PyTorch: ``python -m benchmarks.enumerated``.

A step of an autoencoder with one categorical latent, each of its values decoded once for all rows,
and one of a hidden Markov model of 20 steps and 5 states by the forward algorithm. The steps by
hand are an expert's: fused Adam, no checks, all tables and emissions of the chain at once, the
recursion in logarithms. Values and gradients are asserted equal first, in double precision; blocks
are interleaved as in :mod:`benchmarks.vae_step`.
"""

import argparse
import functools
import math
import operator
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import E, Enumerate
from ancestral.models import Model
from ancestral.nn import MLP
from benchmarks.vae_step import quartiles

Step = Callable[[], Tensor]
Pair = tuple[Step, Step, nn.Module, nn.Module]  # by hand and ours, with the weights of each
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def stepping(weights: nn.Module, objective: Callable[[], Tensor]) -> Step:
    """An expert's step on an objective."""
    optimizer = torch.optim.Adam(weights.parameters(), lr=1e-3, fused=True)

    def step() -> Tensor:
        loss = objective()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def training(loss: object, weights: nn.Module, batch: dict[str, Tensor]) -> Step:
    """The step of a model."""
    options = {"lr": 1e-3, "fused": True}
    model = Model(loss, distributions=[weights], optimizer_params=options)
    return lambda: model.train(batch)


# -- a latent class ----------------------------------------------------------------------------
def latent_class(rows: int, pixels: int, hidden: int, classes: int) -> Pair:
    """-E_q[log p(x|y) + log p(y) - log q(y|x)] with every class decoded."""
    torch.manual_seed(2)
    x = (torch.rand(rows, pixels) > 0.5).to(torch.get_default_dtype())

    def networks() -> nn.ModuleList:
        torch.manual_seed(0)
        return nn.ModuleList([MLP(pixels, classes, (hidden,)), MLP(classes, pixels, (hidden,))])

    mine, others = networks(), networks()
    every = torch.eye(classes)

    def objective() -> Tensor:
        log_q = mine[0](x).log_softmax(1).t()  # (K, B)
        logits = mine[1](every)[:, None].expand(classes, rows, pixels)
        log_p = -F.binary_cross_entropy_with_logits(
            logits, x.expand(classes, rows, pixels), reduction="none"
        ).sum(2)
        return -(log_q.exp() * (log_p - math.log(classes) - log_q)).sum(0).mean()

    q = Categorical(["y"], ["x"], net=others[0], name="q")
    p = Bernoulli(["x"], ["y"], net=others[1], name="p")
    prior = Categorical(["y"], logits=torch.zeros(classes), name="p_{prior}")
    elbo = E(q, (p * prior).log_prob() - q.log_prob()).estimate({q: Enumerate()})
    return stepping(mine, objective), training(-elbo.mean(), others, {"x": x}), mine, others


# -- a hidden Markov model ---------------------------------------------------------------------
class Rows(nn.Module):
    """The row of a table by the state, one-hot."""

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table

    def forward(self, z: Tensor) -> Tensor:
        """Logits of the next state."""
        return z @ self.table


class Means(Rows):
    """The mean of an observation by the state."""

    def forward(self, z: Tensor) -> dict[str, object]:  # type: ignore[override]
        """The parameters of the emission."""
        return {"loc": z @ self.table, "scale": 0.7}


def markov_chain(rows: int, length: int, states: int) -> Pair:
    """-log p(x_1, ..., x_T), a table of its own for each step."""
    torch.manual_seed(2)
    x = torch.randn(rows, length, 1)

    def tables() -> nn.ParameterList:
        torch.manual_seed(0)
        shapes = [(states,), *[(states, states)] * (length - 1), (states, 1)]
        return nn.ParameterList([nn.Parameter(torch.randn(*shape)) for shape in shapes])

    mine, others = tables(), tables()

    def objective() -> Tensor:
        away = (x.transpose(0, 1) - mine[-1][:, 0]) / 0.7  # (T, B, K)
        emitted = -0.5 * away * away - (math.log(0.7) + HALF_LOG_TWO_PI)
        log_move = torch.stack(list(mine[1:-1])).log_softmax(2)
        message = mine[0].log_softmax(0) + emitted[0]
        for log_step, log_x in zip(log_move.unbind(), emitted[1:].unbind(), strict=True):
            message = (message[:, :, None] + log_step).logsumexp(1) + log_x
        return -message.logsumexp(1).mean()

    laws = [Categorical(["z0"], logits=others[0], name="p_0")]
    for t in range(1, length):
        laws.append(Categorical([f"z{t}"], [f"z{t - 1}"], net=Rows(others[t]), name=f"p_{t}"))
    means = Means(others[-1])
    seen = [Normal([f"x{t}"], [f"z{t}"], net=means, name="e") for t in range(length)]
    joint = functools.reduce(operator.mul, [*seen, *laws])
    loss = -joint.marginalize_var([f"z{t}" for t in range(length)]).log_prob().mean()
    batch = {f"x{t}": x[:, t] for t in range(length)}
    return stepping(mine, objective), training(loss, others, batch), mine, others


STEPS: dict[str, tuple[Callable[[], Pair], int]] = {
    "latent class of 4, batch 8, 16-16": (lambda: latent_class(8, 16, 16, 4), 40),
    "latent class of 10, batch 100, 784-200": (lambda: latent_class(100, 784, 200, 10), 5),
    "HMM, T = 20, K = 5, batch 100": (lambda: markov_chain(100, 20, 5), 5),
}


def check_equal(make: Callable[[], Pair]) -> None:
    """The values and gradients of the first steps of both, each from the same weights."""
    torch.set_default_dtype(torch.float64)
    try:
        hand, ours, mine, others = make()
        for _ in range(3):  # the interpreter, then the generated step
            others.load_state_dict(mine.state_dict())
            values = hand(), ours()
            torch.testing.assert_close(*values, rtol=1e-10, atol=0.0)
            for one, other in zip(mine.parameters(), others.parameters(), strict=True):
                assert one.grad is not None
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-10)
    finally:
        torch.set_default_dtype(torch.float32)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="steps with this in their name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.stdout.write(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.blocks} blocks\n\n"
        "| step | lower quartile | median | upper quartile |\n|---|---|---|---|\n"
    )
    for name, (make, steps) in STEPS.items():
        if options.only not in name:
            continue
        check_equal(make)
        hand, ours, *_ = make()
        for _ in range(3):
            hand(), ours()
        found = quartiles(hand, ours, steps, options.blocks)
        sys.stdout.write(f"| {name} | " + " | ".join(f"{r:.3f}" for r in found) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
