"""What an objective costs beside its kernels: ``python -m benchmarks.objective``.

* fifty terms over the same laws against two: equal sub-expressions are computed once and equal
  terms collected into one coefficient, so that the step should cost the same;
* building and lowering those fifty terms, in milliseconds, once per objective;
* the watch of the loss and the key of the shapes, which every step pays, against the tiny step;
* the peak of allocated bytes against the step written by hand.

One process, one thread; ratios of blocks that stand beside each other, as in
:mod:`benchmarks.vae_step`.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E, Node
from ancestral.lowering.function import LossFunction
from ancestral.models import Model
from benchmarks.vae_step import Step, by_hand, networks, ours, ratios

TINY, LARGE = (8, 16, 16, 4), (128, 784, 400, 10)


def batch(rows: int, pixels: int) -> Tensor:
    """Binary rows."""
    torch.manual_seed(2)
    return (torch.rand(rows, pixels) > 0.5).float()


def objective(pixels: int, hidden: int, latent: int, terms: int) -> tuple[Node, list[object]]:
    """The bound of a VAE written with so many terms, an even number, and its laws.

    Each pair of terms is the bound with other factors in front, so that its value is that of the
    two terms of :func:`benchmarks.vae_step.ours`.
    """
    encoder, decoder = networks(pixels, hidden, latent)
    prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[latent], name="p_{prior}")
    p = Bernoulli(var=["x"], cond_var=["z"], net=decoder, name="p")
    q = Normal(var=["z"], cond_var=["x"], net=encoder, name="q")
    pairs = terms // 2
    parts = [(2 * (i + 1) / (pairs * (pairs + 1))) for i in range(pairs)]  # with sum 1
    loss = parts[0] * KL(q, prior) - parts[0] * E(q, p.log_prob())
    for c in parts[1:]:
        loss = loss + c * KL(q, prior) - c * E(q, p.log_prob())
    return loss.mean(), [p, q]


def step_of(x: Tensor, hidden: int, latent: int, terms: int) -> Step:
    """A training step on that objective."""
    loss, laws = objective(x.shape[1], hidden, latent, terms)
    model = Model(loss, distributions=laws, optimizer_params={"lr": 1e-3})
    return lambda: model.train({"x": x})


def microseconds(f: Callable[[], object], times: int = 2000, rounds: int = 7) -> float:
    """The least mean time of a call over several rounds."""
    best = math.inf
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(times):
            f()
        best = min(best, (time.process_time() - start) / times)
    return 1e6 * best


def fifty_terms(blocks: int) -> list[float]:
    """The ratio of the step of fifty terms to that of two, tiny."""
    x = batch(*TINY[:2])
    two, fifty = (step_of(x, *TINY[2:], terms=n) for n in (2, 50))
    for step in (two, fifty):
        step(), step()
    return sorted(ratios(two, fifty, 60, blocks))


def lowering(rounds: int = 20) -> tuple[float, float]:
    """The least milliseconds of building the expression of fifty terms, and of lowering it."""
    build, lower = [], []
    for _ in range(rounds):
        start = time.process_time()
        loss, _ = objective(*TINY[1:], terms=50)
        middle = time.process_time()
        LossFunction(loss).program()
        build.append(1e3 * (middle - start))
        lower.append(1e3 * (time.process_time() - middle))
    return min(build), min(lower)


def watch() -> tuple[float, float, float]:
    """Microseconds of the key of the shapes and of the watch of the loss, and of the tiny step."""
    x = batch(*TINY[:2])
    step = ours(x, *TINY[2:])
    step(), step()
    data, loss = {"x": x}, torch.tensor(1.0)
    keys = {(None, (x.shape, x.dtype, x.device)): 0}

    def key() -> int:
        return keys[(None, *[(v.shape, v.dtype, v.device) for v in data.values()])]

    return (
        microseconds(key),
        microseconds(lambda: math.isfinite(loss.item())),
        microseconds(step, times=200),
    )


def peak(step: Step) -> int:
    """The largest number of bytes that one step has allocated at a time."""
    step(), step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    write = sys.stdout.write
    write(f"torch {torch.__version__}, one thread, {options.blocks} blocks\n\n")
    write("| what | found | target |\n|---|---|---|\n")
    low, middle, high = statistics.quantiles(fifty_terms(options.blocks), n=4)
    write(f"| fifty terms against two, tiny | {low:.3f}, {middle:.3f}, {high:.3f} | 1.1 |\n")
    build, lower = lowering()
    write(f"| building + lowering fifty terms | {build:.1f} + {lower:.1f} ms | 20 ms |\n")
    key, check, step = watch()
    share = 100 * (key + check) / step
    write(
        f"| key of shapes + watch of the loss | {key:.2f} + {check:.2f} us: {share:.2f} % | 1 % |\n"
    )
    for name, (rows, pixels, hidden, latent) in {"tiny": TINY, "large": LARGE}.items():
        x = batch(rows, pixels)
        hand, mine = peak(by_hand(x, hidden, latent)), peak(ours(x, hidden, latent))
        ratio = mine / hand
        write(f"| peak bytes, {name}: {mine} against {hand} | {ratio:.3f} | 1.02 |\n")


if __name__ == "__main__":
    main()
