"""Speed of gradient estimators against hand-written PyTorch: ``python -m benchmarks.estimators``.

The score function with leave-one-out baselines, VIMCO and DReG, each on an autoencoder of one
hidden layer. The step by hand is an expert's: what the estimator needs and no more, fused Adam, no
checks; the values of its first steps and the gradient of the first are asserted equal. One process,
one thread, interleaved blocks, as in :mod:`benchmarks.vae_step`.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import VIMCO, DReG, E, LeaveOneOut, Score
from ancestral.models import Model
from benchmarks.vae_step import Decoder, Encoder, Step, ratios

SIZES = {
    "batch 8, 16-16-4": (8, 16, 16, 4, 40),
    "batch 100, 784-200-200-50": (100, 784, 200, 50, 2),
}
Objective = Callable[[Tensor], tuple[Tensor, Tensor]]  # of a batch: the value, what is descended


class Bits(nn.Module):
    """q(z|x) of bits: one hidden layer, logits."""

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden, self.logits = nn.Linear(pixels, hidden), nn.Linear(hidden, latent)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the bits."""
        out: Tensor = self.logits(F.relu(self.hidden(x)))
        return out


def networks(encoder: type[nn.Module], sizes: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """The same weights for both."""
    torch.manual_seed(0)
    return encoder(*sizes), Decoder(*sizes)


def log_bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    """The log density, summed over the event."""
    return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )


def decoded(decoder: nn.Module, z: Tensor) -> Tensor:
    """Logits of the pixels, of several draws in one pass."""
    flat: Tensor = decoder(z.flatten(0, 1))
    return flat.unflatten(0, z.shape[:2])


# -- by hand ---------------------------------------------------------------------------------
def leave_one_out(encoder: nn.Module, decoder: nn.Module, latent: int) -> Objective:
    """Four draws, each with the mean of the others as baseline."""

    def objective(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = encoder(x)
        z = (torch.rand(4, len(x), latent) < logits.sigmoid()).to(x.dtype)
        log_q = log_bernoulli(logits.expand_as(z), z)
        log_p = log_bernoulli(decoded(decoder, z), x)
        f = (log_p - log_q).detach() - latent * math.log(2.0)
        gain = f - (f.sum(0, keepdim=True) - f) / 3
        return -f.mean(), -(log_p + gain * log_q).mean()

    return objective


def vimco(encoder: nn.Module, decoder: nn.Module, latent: int) -> Objective:
    """Fifty copies; the weight of each is replaced by the geometric mean of the others."""

    def objective(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = encoder(x)
        z = (torch.rand(50, len(x), latent) < logits.sigmoid()).to(x.dtype)
        log_q = log_bernoulli(logits.expand_as(z), z)
        log_w = log_bernoulli(decoded(decoder, z), x) - log_q - latent * math.log(2.0)
        bound = log_w.logsumexp(0) - math.log(50)
        with torch.no_grad():
            each = log_w.t()  # (B, K)
            others = each[:, None].repeat(1, 50, 1)
            others.diagonal(dim1=1, dim2=2).copy_((each.sum(1, keepdim=True) - each) / 49)
            signal = bound[:, None] - (others.logsumexp(2) - math.log(50))
        return -bound.mean().detach(), -(bound + (signal.t() * log_q).sum(0)).mean()

    return objective


def dreg(encoder: nn.Module, decoder: nn.Module, latent: int) -> Objective:
    """Fifty copies; the gradient of each draw is scaled by its weight once more."""
    half = 0.5 * latent * math.log(2.0 * math.pi)

    def objective(x: Tensor) -> tuple[Tensor, Tensor]:
        q = encoder(x)
        z = q["loc"] + q["scale"] * torch.randn(50, len(x), latent)
        loc, scale = q["loc"].detach(), q["scale"].detach()
        log_q = -0.5 * ((z - loc) / scale).square().sum(-1) - scale.log().sum(-1) - half
        log_prior = -0.5 * z.square().sum(-1) - half
        log_w = log_bernoulli(decoded(decoder, z), x) + log_prior - log_q
        bound = log_w.logsumexp(0) - math.log(50)
        weight = log_w.detach().softmax(0)
        z.register_hook(lambda g: weight[..., None] * g)
        return -bound.mean().detach(), -bound.mean()

    return objective


# -- as equations ----------------------------------------------------------------------------
def bits_and_pixels(encoder: nn.Module, decoder: nn.Module, latent: int) -> tuple[Bernoulli, ...]:
    """q(z|x), p(x|z), p(z)."""
    return (
        Bernoulli(var=["z"], cond_var=["x"], net=encoder, name="q"),
        Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p"),
        Bernoulli(var=["z"], logits=torch.zeros(latent), name="p_{prior}"),
    )


def our_leave_one_out(encoder: nn.Module, decoder: nn.Module, latent: int) -> Model:
    """The bound, with the estimator attached."""
    q, p, prior = bits_and_pixels(encoder, decoder, latent)
    elbo = E(q, (p * prior).log_prob() - q.log_prob())
    loss = -elbo.mean().estimate({q: Score(LeaveOneOut(), draws=4)})
    return Model(loss, distributions=[p, q], optimizer_params={"lr": 1e-3})


def our_vimco(encoder: nn.Module, decoder: nn.Module, latent: int) -> Model:
    """The bound of fifty copies, with the estimator attached."""
    q, p, prior = bits_and_pixels(encoder, decoder, latent)
    log_w = (p * prior).log_prob() - q.log_prob()
    loss = -E(q.iid(k=50), log_w.exp().mean("k").log()).mean().estimate({q: VIMCO()})
    return Model(loss, distributions=[p, q], optimizer_params={"lr": 1e-3})


def our_dreg(encoder: nn.Module, decoder: nn.Module, latent: int) -> Model:
    """The same for a normal law."""
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p")
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[latent], name="p_{prior}")
    log_w = (p * prior).log_prob() - q.log_prob()
    loss = -E(q.iid(k=50), log_w.exp().mean("k").log()).mean().estimate({q: DReG()})
    return Model(loss, distributions=[p, q], optimizer_params={"lr": 1e-3})


ESTIMATORS = {
    "score, leave-one-out of 4": (Bits, leave_one_out, our_leave_one_out),
    "VIMCO, K=50": (Bits, vimco, our_vimco),
    "DReG, K=50": (Encoder, dreg, our_dreg),
}


def steps_of(name: str, x: Tensor, hidden: int, latent: int) -> tuple[Step, Step, list[nn.Module]]:
    """The step by hand and ours, and the networks of both, encoder and decoder of each."""
    encoder, objective, model_of = ESTIMATORS[name]
    sizes = (x.shape[1], hidden, latent)
    nets = networks(encoder, sizes)
    parameters = [p for net in nets for p in net.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    evaluate = objective(*nets, latent)

    def by_hand() -> Tensor:
        value, surrogate = evaluate(x)
        optimizer.zero_grad(set_to_none=True)
        surrogate.backward()
        optimizer.step()
        return value

    others = networks(encoder, sizes)
    model = model_of(*others, latent)
    return by_hand, lambda: model.train({"x": x}), [*nets, *others]


def check_equal(name: str, x: Tensor, hidden: int, latent: int) -> None:
    """The values and gradients of the first steps of both, each from the same weights and seed.

    In double precision: signals are small differences of log weights.
    """
    torch.set_default_dtype(torch.float64)
    try:
        hand, ours, nets = steps_of(name, x.double(), hidden, latent)
        for seed in range(3):  # the interpreter, then the generated step
            _compare(hand, ours, nets, seed)
    finally:
        torch.set_default_dtype(torch.float32)


def _compare(hand: Step, ours: Step, nets: list[nn.Module], seed: int) -> None:
    values, half = [], len(nets) // 2
    for one, other in zip(nets[:half], nets[half:], strict=True):
        other.load_state_dict(one.state_dict())
    for step in (hand, ours):
        torch.manual_seed(seed)
        values.append(step())
    torch.testing.assert_close(values[0], values[1], rtol=1e-10, atol=0.0)
    for one, other in zip(nets[:half], nets[half:], strict=True):
        for p, o in zip(one.parameters(), other.parameters(), strict=True):
            assert p.grad is not None
            assert o.grad is not None
            torch.testing.assert_close(p.grad, o.grad, rtol=1e-6, atol=1e-9)


def batch_of(rows: int, pixels: int) -> Tensor:
    """Binary rows."""
    torch.manual_seed(2)
    return (torch.rand(rows, pixels) > 0.5).float()


def rows(blocks: int, only: str) -> Iterator[str]:
    """The lines of the table."""
    yield "| estimator | size | lower quartile | median | upper quartile |"
    yield "|---|---|---|---|---|"
    for name in (n for n in ESTIMATORS if only in n):
        for size, (batch, pixels, hidden, latent, steps) in SIZES.items():
            x = batch_of(batch, pixels)
            check_equal(name, x, hidden, latent)
            hand, ours, _ = steps_of(name, x, hidden, latent)
            for step in (hand, ours) * 3:
                step()
            found = statistics.quantiles(ratios(hand, ours, steps, blocks), n=4)
            yield f"| {name} | {size} | " + " | ".join(f"{r:.3f}" for r in found) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="estimators with this in their name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    write = sys.stdout.write
    write(f"torch {torch.__version__}, {options.threads} thread(s), {options.blocks} blocks\n\n")
    for line in rows(options.blocks, options.only):
        write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
