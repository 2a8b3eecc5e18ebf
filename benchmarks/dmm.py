"""Speed of a deep Markov model's step: ``python -m benchmarks.dmm``.

The model of ``ancestral.zoo.dmm`` against the same step written by hand, twice: as an expert
splits it (one loop that holds nothing but the draw of z; the transition and the emitter once, on
all steps together), and as one plain loop with every network in it. Values and gradients are
asserted equal first. Blocks of steps are interleaved, and the ratio of each block to the
hand-written one beside it is taken: the table has quartiles. Then the time per step of the
sequence at T = 10 to 1000, which a loop whose cost is linear keeps flat.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.models import Model, Recipe
from ancestral.zoo.dmm import dmm
from benchmarks.vae_step import Step, ratios

ROWS, PIXELS, LATENT, HIDDEN = 16, 88, 32, 64
LENGTHS = (10, 100, 400, 1000)


def batch(steps: int) -> dict[str, Tensor]:
    """Binary sequences, half of them of half the length."""
    torch.manual_seed(2)
    mask = torch.ones(ROWS, steps)
    mask[ROWS // 2 :, steps // 2 :] = 0
    return {"x": (torch.rand(ROWS, steps, PIXELS) > 0.9).float(), "m": mask}


def made() -> Recipe:
    """The model, with the same weights each time."""
    torch.manual_seed(0)
    return dmm(pixels=PIXELS, latent=LATENT, hidden=HIDDEN)


class Hand:
    """The networks of the model, and its loss by hand."""

    def __init__(self, *, split: bool) -> None:
        back, q, pz, px = made().model.distributions
        self.back, self.q = back.net, q.step_law.net
        self.p, self.e, self.z0 = pz.step_law.net, px.step_law.net, q.initial_0
        nets = (self.back, self.q, self.p, self.e)
        self.weights = [*(w for net in nets for w in net.parameters()), self.z0]
        self.loss: Callable[..., Tensor] = self.in_parts if split else self.in_one

    @staticmethod
    def halves(out: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation."""
        loc, raw = out.chunk(2, -1)
        return loc, F.softplus(raw)

    @staticmethod
    def kl(m: Tensor, s: Tensor, mp: Tensor, sp: Tensor) -> Tensor:
        """The divergence of two normal laws."""
        a, b = s / sp, (m - mp) / sp
        return (0.5 * (a * a + b * b - 1.0) - a.log()).sum(-1)

    def in_parts(self, x: Tensor, m: Tensor, eps: Tensor) -> Tensor:
        """What no next step waits for is computed at once."""
        n, t = m.shape
        h, z = self.back(x, m), self.z0.expand(n, LATENT)
        locs, scales, zs = [], [], []
        for h_t, eps_t in zip(h.unbind(1), eps.unbind(1), strict=True):
            loc, scale = self.halves(self.q(z, h_t))
            z = loc + scale * eps_t
            locs.append(loc)
            scales.append(scale)
            zs.append(z)
        loc, scale, z = (torch.stack(part, 1) for part in (locs, scales, zs))
        before = torch.cat([self.z0.expand(n, 1, LATENT), z[:, :-1]], 1)
        p = self.p(before.flatten(0, 1))
        mp, sp = p["loc"].view(n, t, -1), p["scale"].view(n, t, -1)
        logits = self.e(z.flatten(0, 1)).view(n, t, -1)
        log_p = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return -(m * (log_p - self.kl(loc, scale, mp, sp))).sum(1).mean()

    def in_one(self, x: Tensor, m: Tensor, eps: Tensor) -> Tensor:
        """One step after the other, all networks in each."""
        h, z, total = self.back(x, m), self.z0.expand(len(x), LATENT), torch.zeros(len(x))
        for t in range(x.shape[1]):
            loc, scale = self.halves(self.q(z, h[:, t]))
            p = self.p(z)
            kl = self.kl(loc, scale, p["loc"], p["scale"])
            z = loc + scale * eps[:, t]
            logits = self.e(z)
            log_p = -F.binary_cross_entropy_with_logits(logits, x[:, t], reduction="none").sum(-1)
            total = total + m[:, t] * (log_p - kl)
        return -total.mean()

    def step(self, data: dict[str, Tensor]) -> Step:
        """A training step."""
        optimizer = torch.optim.Adam(self.weights, lr=3e-3, fused=True)
        x, m = data["x"], data["m"]

        def step() -> Tensor:
            loss = self.loss(x, m, torch.randn(*m.shape, LATENT))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step


def ours(data: dict[str, Tensor]) -> Step:
    """The same model as its equation."""
    recipe = made()
    model = Model(
        -recipe.objective.mean(),
        distributions=recipe.model.distributions,
        optimizer_params={"lr": 3e-3},
    )
    return lambda: model.train(data)


def check_equal(steps: int) -> None:
    """Values and gradients of all three."""
    data, recipe = batch(steps), made()
    eps = torch.randn(ROWS, steps, LATENT)
    found = -recipe.objective.eval(data, noise={"z": eps}).mean()
    hands = [Hand(split=True), Hand(split=False)]
    back, q, pz, px = recipe.model.distributions
    nets = (back.net, q.step_law.net, pz.step_law.net, px.step_law.net)
    mine = [*(w for net in nets for w in nn.Module.parameters(net)), q.initial_0]
    gradient = torch.autograd.grad(found, mine)
    for hand in hands:
        value = hand.loss(data["x"], data["m"], eps)
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-3)
        other = torch.autograd.grad(value, hand.weights)
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-4)


def quartiles(found: list[float]) -> str:
    """Lower quartile, median and upper quartile."""
    low, middle, high = statistics.quantiles(found, n=4)
    return f"{low:6.3f} {middle:6.3f} {high:6.3f}"


def per_step(step: Step, steps: int, blocks: int) -> float:
    """Microseconds for each step of a sequence: the quickest of some blocks."""
    step(), step()
    taken = []
    for _ in range(blocks):
        start = time.process_time()
        step()
        taken.append(time.process_time() - start)
    return min(taken) / steps * 1e6


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out = sys.stdout.write
    check_equal(20)
    data = batch(100)
    split, plain, mine = Hand(split=True).step(data), Hand(split=False).step(data), ours(data)
    for step in (split, plain, mine):
        step(), step()
    out(f"batch {ROWS}, T = 100, ratio to the step by hand: quartiles of {options.blocks}\n")
    out(f"  to the split loop  {quartiles(ratios(split, mine, 1, options.blocks))}\n")
    out(f"  to the plain loop  {quartiles(ratios(plain, mine, 1, options.blocks))}\n")
    out("microseconds for each step of a sequence: ours, by hand (split)\n")
    for steps in LENGTHS:
        data = batch(steps)
        times = [
            per_step(make, steps, max(3, options.blocks // 4))
            for make in (ours(data), Hand(split=True).step(data))
        ]
        out(f"  T = {steps:5d}  {times[0]:7.1f}  {times[1]:7.1f}\n")


if __name__ == "__main__":
    main()
