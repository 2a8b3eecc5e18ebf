"""Speed of densities and draws of laws: ``python -m benchmarks.laws``.

``p.log_prob().function()`` and the draw of ``E(p, f)``, called with parameters as data, against
the expression that one would write by hand, and ``torch.distributions`` with its checks off.
Large, 128 x 784: the ratio to the expression. Small, 8 x 4: the difference in microseconds, that
is what a call costs beside its kernels. Values are asserted equal first. One process, one thread,
the least of several rounds that alternate between the contestants.
"""

import argparse
import ctypes
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor

from ancestral.distributions import (
    Bernoulli,
    Categorical,
    Laplace,
    MultivariateNormal,
    Normal,
    NormalMixture,
)
from ancestral.losses import E, Function, values

Data = dict[str, Tensor]
SIZES = {"large": (128, 784), "small": (8, 4)}
DENSE = {"large": (128, 28), "small": (8, 4)}  # of laws with a matrix for each row


@dataclass(frozen=True)
class Case:
    """A law whose parameters are data, by hand and by torch.

    Args:
        law: With conditions ``a`` and ``b`` for its parameters.
        data: Rows and width to values of ``x``, ``a`` and ``b``.
        density: The log density by hand, one number per row.
        draw: A draw by hand.
        peer: The same law of torch.
        sizes: Rows and width, large and small.
    """

    law: Callable[[], Any]
    data: Callable[[int, int], Data]
    density: Callable[..., Tensor]
    draw: Callable[..., Tensor]
    peer: Callable[..., Any]
    sizes: dict[str, tuple[int, int]]


def location(rows: int, width: int) -> Data:
    """A value, locations and scales."""
    return {
        "x": torch.randn(rows, width),
        "a": torch.randn(rows, width),
        "b": torch.rand(rows, width) + 0.5,
    }


def triangle(rows: int, width: int) -> Data:
    """A value, locations and factors of covariances."""
    factor = torch.randn(rows, width, width).tril(-1) / width + torch.eye(width)
    return {"x": torch.randn(rows, width), "a": torch.randn(rows, width), "b": factor}


def _triangle_density(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    white = torch.linalg.solve_triangular(b, (x - a)[..., None], upper=False)[..., 0]
    half_log_det = b.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (white * white).sum(-1) - half_log_det - 0.5 * math.log(2 * math.pi) * x.shape[1]


def _laplace_draw(a: Tensor, b: Tensor) -> Tensor:
    u = torch.rand_like(a) - 0.5
    return a - b * u.sign() * torch.log1p(-2 * u.abs())


def _gumbel_argmax(a: Tensor) -> Tensor:
    return F.one_hot(
        (a - torch.empty_like(a).exponential_().log()).argmax(-1), a.shape[-1]
    ).float()


def one_hot(rows: int, width: int) -> Data:
    """A one-hot value and logits."""
    x = F.one_hot(torch.randint(width, (rows,)), width).float()
    return {"x": x, "a": torch.randn(rows, width)}


def _masked_density(x: Tensor, a: Tensor) -> Tensor:
    """The product alone is NaN where a class cannot be: its logit is -inf, and x is 0 there."""
    found = (x * a.log_softmax(-1).clamp(min=LOWEST)).sum(-1)
    return torch.where(found <= LOWEST, -torch.inf, found)


def components(rows: int, width: int) -> Data:
    """A value, and four components in each row with their weights."""
    return {
        "x": torch.randn(rows, width),
        "a": torch.randn(rows, 4, width),
        "b": torch.rand(rows, 4, width) + 0.5,
        "c": torch.randn(rows, 4),
    }


def _mixture_draw(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    chosen = (c - torch.empty_like(c).exponential_().log()).argmax(-1)
    row = torch.arange(len(a))
    return a[row, chosen] + b[row, chosen] * torch.randn_like(a[:, 0])


LOWEST = torch.finfo(torch.float32).min
NORMAL = 0.5 * math.log(2 * math.pi)
CASES: dict[str, Case] = {
    "Normal": Case(
        lambda: Normal(var=["x"], cond_var=["a", "b"], loc="a", scale="b"),
        location,
        lambda x, a, b: (-0.5 * ((x - a) / b) ** 2 - b.log() - NORMAL).sum(1),
        lambda a, b: a + b * torch.randn_like(a),
        lambda a, b: td.Normal(a, b),
        SIZES,
    ),
    "Laplace": Case(
        lambda: Laplace(var=["x"], cond_var=["a", "b"], loc="a", scale="b"),
        location,
        lambda x, a, b: (-(x - a).abs() / b - b.log() - math.log(2)).sum(1),
        _laplace_draw,
        lambda a, b: td.Laplace(a, b),
        SIZES,
    ),
    "Bernoulli": Case(
        lambda: Bernoulli(var=["x"], cond_var=["a"], logits="a"),
        lambda rows, width: {
            "x": (torch.rand(rows, width) > 0.5).float(),
            "a": torch.randn(rows, width),
        },
        lambda x, a: -F.binary_cross_entropy_with_logits(a, x, reduction="none").sum(1),
        lambda a: (torch.rand_like(a) < a.sigmoid()).float(),
        lambda a: td.Bernoulli(logits=a),
        SIZES,
    ),
    "Categorical": Case(
        lambda: Categorical(var=["x"], cond_var=["a"], logits="a"),
        one_hot,
        lambda x, a: (x * a.log_softmax(-1)).sum(-1),
        _gumbel_argmax,
        lambda a: td.OneHotCategorical(logits=a),
        SIZES,
    ),
    "Categorical, 0 * -inf = 0": Case(
        lambda: Categorical(var=["x"], cond_var=["a"], logits="a"),
        one_hot,
        _masked_density,
        _gumbel_argmax,
        lambda a: td.OneHotCategorical(logits=a),
        SIZES,
    ),
    "Categorical, index": Case(
        lambda: Categorical(var=["x"], cond_var=["a"], logits="a", onehot=False),
        lambda rows, width: {
            "x": torch.randint(width, (rows,)),
            "a": torch.randn(rows, width),
        },
        lambda x, a: a.log_softmax(-1).gather(-1, x[..., None])[..., 0],
        lambda a: (a - torch.empty_like(a).exponential_().log()).argmax(-1),
        lambda a: td.Categorical(logits=a),
        SIZES,
    ),
    "MultivariateNormal": Case(
        lambda: MultivariateNormal(var=["x"], cond_var=["a", "b"], loc="a", scale_tril="b"),
        triangle,
        _triangle_density,
        lambda a, b: a + (b @ torch.randn_like(a)[..., None])[..., 0],
        lambda a, b: td.MultivariateNormal(a, scale_tril=b),
        DENSE,
    ),
    "NormalMixture": Case(
        lambda: NormalMixture(
            var=["x"], cond_var=["a", "b", "c"], weight_logits="c", loc="a", scale="b"
        ),
        components,
        lambda x, a, b, c: (
            (-0.5 * ((x[:, None] - a) / b) ** 2 - b.log() - NORMAL).sum(-1) + c.log_softmax(-1)
        ).logsumexp(-1),
        _mixture_draw,
        lambda a, b, c: td.MixtureSameFamily(
            td.Categorical(logits=c), td.Independent(td.Normal(a, b), 1)
        ),
        SIZES,
    ),
}


def total(x: Tensor) -> Tensor:
    """Something to do with a draw: the sum of each row."""
    return x.sum(-1) if x.dim() > 1 else x.float()


def contestants(case: Case, what: str, data: Data) -> tuple[Callable[[], Any], ...]:
    """By hand, ours, and torch's."""
    law = case.law()
    given = [data[name] for name in law.cond_var]
    params = {name: data[name] for name in law.cond_var}
    if what == "log_prob":
        density = law.log_prob().function()
        peer = case.peer(*given)
        last = 0 if peer.event_shape else 1

        def by_torch() -> Tensor:
            out = case.peer(*given).log_prob(data["x"])
            return out.sum(-1) if last else out

        return lambda: case.density(data["x"], *given), lambda: density(data), by_torch
    drawn = E(law, Function(total, name="total")(values("x"))).function()
    return (
        lambda: total(case.draw(*given)),
        lambda: drawn(params),
        lambda: total(case.peer(*given).sample()),
    )


def least(rivals: tuple[Callable[[], Any], ...], times: int, rounds: int) -> list[float]:
    """The least microseconds of a call of each, over rounds that alternate."""
    best = [math.inf] * len(rivals)
    for _ in range(rounds):
        for i, f in enumerate(rivals):
            start = time.process_time()
            for _ in range(times):
                f()
            best[i] = min(best[i], 1e6 * (time.process_time() - start) / times)
    return best


def keep_freed_memory() -> None:
    """Let the C library keep what is freed: by its defaults it gives tensors of megabytes back to
    the system and faults them in again, which costs as much as their arithmetic, for whoever of
    the rivals it hits.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc
        trim_threshold, mmap_threshold = -1, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)


def main() -> None:
    """Print the table."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    td.Distribution.set_default_validate_args(False)
    write = sys.stdout.write
    write(f"torch {torch.__version__}, one thread, least of {options.rounds} rounds, in us\n\n")
    write("| law | | size | by hand | ours | torch.distributions | ours against by hand |\n")
    write("|---|---|---|---|---|---|---|\n")
    with torch.no_grad():
        for name, case in CASES.items():
            for what in ("log_prob", "sample"):
                for size, (rows, width) in case.sizes.items():
                    torch.manual_seed(0)
                    rivals = contestants(case, what, case.data(rows, width))
                    if what == "log_prob":
                        torch.testing.assert_close(rivals[1](), rivals[0](), rtol=1e-4, atol=1e-4)
                    rivals[1](), rivals[1]()
                    hand, ours, peer = least(
                        rivals, 50 if size == "large" else 400, options.rounds
                    )
                    told = f"{ours / hand:.2f} x" if size == "large" else f"{ours - hand:+.1f} us"
                    write(
                        f"| {name} | {what} | {rows}x{width} | {hand:.1f} | {ours:.1f} | "
                        f"{peer:.1f} | {told} |\n"
                    )


if __name__ == "__main__":
    main()
