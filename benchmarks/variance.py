"""The variance of gradient estimators, exactly: ``python -m benchmarks.variance``.

Nothing is sampled. Every outcome of the noise stands in a row of its own: all values of three bits
in each of K copies, or the nodes of a Gauss-Hermite rule for a normal law. The gradient of each row
is that by the row's own logits, so that mean and variance are weighted sums over rows. The mean of
every estimator is asserted equal to that of the others before its variance is printed.

Bits: q(z|x) of three bits at five data x, :math:`p(x, z)` a table of log weights; the bound over K
copies. A baseline that is learned is at rest: the moving mean at the mean over all x, the network
at the mean for each x. Normal law: :math:`p(z) = N(0, 1)`, :math:`p(x|z) = N(z, 0.8^2)`, x = 1.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import (
    VIMCO,
    DReG,
    E,
    Enumerate,
    Function,
    Learned,
    LeaveOneOut,
    MovingAverage,
    Pathwise,
    Score,
    StickingTheLanding,
    values,
)

BEGIN, END = "<!-- benchmarks.variance -->", "<!-- end -->"
f64 = torch.float64
BITS, DATA, COPIES = 3, 5, (1, 2, 4)
NODES = {1: 100, 2: 160}
NAME = "q(z|eta).baseline"


class Level(nn.Module):
    """A network that says one number for all rows: what it has come to for this x."""

    def __init__(self, level: Tensor) -> None:
        super().__init__()
        self.level = nn.Parameter(level)

    def forward(self, eta: Tensor) -> Tensor:
        """The number for each row."""
        return self.level.expand(len(eta))


def moments(each: Tensor, p: Tensor) -> tuple[Tensor, float]:
    """The mean of rows with these probabilities, and the variance, summed over entries."""
    mean = (p[:, None] * each).sum(0)
    return mean, float((p[:, None] * (each - mean) ** 2).sum())


def gradients(loss: Any, eta: Tensor, noise: Tensor | None, **options: Any) -> Tensor:
    """The gradient of each row by the row's own parameters."""
    count = 1 if noise is None else noise.shape[-2]
    eta = eta.expand(count, -1).clone().requires_grad_()
    given = {} if noise is None else {"z": noise}
    rows = loss.eval({"eta": eta}, noise=given, **options)
    return torch.autograd.grad(rows.sum(), eta)[0]


# -- bits ------------------------------------------------------------------------------------
def table(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of q for each x, ``(x, bits)``, and log p of each value, ``(x, 2 ** bits)``."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(DATA, BITS, generator=g, dtype=f64)
    return logits, 1.5 * torch.randn(DATA, 2**BITS, generator=g, dtype=f64) - 4.0


def every_outcome(logits: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """The noise of every outcome, ``(K, rows, bits)``, and its probability, ``(rows,)``."""
    zero_one = torch.tensor([0.0, 1.0], dtype=f64)
    one = torch.cartesian_prod(*[zero_one] * BITS)  # uniform noise of 0 gives 1
    p = torch.where(one == 0, logits.sigmoid(), (-logits).sigmoid()).prod(-1)
    index = torch.cartesian_prod(*[torch.arange(len(one))] * copies).reshape(-1, copies)
    return one[index].movedim(1, 0), p[index].prod(1)


def bound(log_p: Tensor, copies: int) -> tuple[Any, Any]:
    """The bound over copies, and its law, whose logits are its condition."""
    q = Bernoulli(var=["z"], cond_var=["eta"], net=nn.Identity(), name="q")
    powers = 2.0 ** torch.arange(BITS, dtype=f64)
    joint = Function(lambda z: log_p[(z.to(f64) @ powers).long()], name="log p")
    log_w = joint(values("z")) - q.log_prob()
    if copies == 1:
        return q, E(q, log_w)
    return q, E(q.iid(k=copies), log_w.exp().mean("k").log())


def variances_of_bits(copies: int, seed: int = 0) -> dict[str, float]:
    """The variance of each estimator of the bound over so many copies, its mean over x."""
    logits, log_p = table(seed)
    found: dict[str, list[float]] = {}
    levels = []
    for eta, row in zip(logits, log_p, strict=True):
        q, loss = bound(row, copies)
        noise, p = every_outcome(eta, copies)
        noise = noise if copies > 1 else noise[0]
        with torch.no_grad():
            levels.append(
                (p * loss.eval({"eta": eta.expand(len(p), -1)}, noise={"z": noise})).sum()
            )
    rest = torch.stack(levels).mean()
    for eta, row, level in zip(logits, log_p, levels, strict=True):
        q, loss = bound(row, copies)
        noise, p = every_outcome(eta, copies)
        noise = noise if copies > 1 else noise[0]
        plans: dict[str, tuple[Any, Tensor]] = {
            "`Score()`": (Score(), rest),
            "`Score(MovingAverage())`": (Score(MovingAverage()), rest),
            "`Score(Learned(net))`, NVIL": (Score(Learned(Level(level))), 0.0 * rest),
        }
        if copies > 1:
            plans["`VIMCO()`"] = VIMCO(), rest
        wanted = None
        for name, (plan, mean) in plans.items():
            state = {NAME: torch.stack([torch.ones_like(mean), mean])}
            each = gradients(loss.estimate({q: plan}), eta, noise, state=state)
            average, variance = moments(each, p)
            wanted = average if wanted is None else wanted
            torch.testing.assert_close(average, wanted, rtol=1e-10, atol=1e-10)
            found.setdefault(name, []).append(variance)
    return {name: sum(v) / len(v) for name, v in found.items()}


def variances_of_draws(draws: int, seed: int = 0) -> dict[str, float]:
    """The same of the bound over one copy, from several draws of it."""
    logits, log_p = table(seed)
    found: dict[str, list[float]] = {}
    for eta, row in zip(logits, log_p, strict=True):
        q, loss = bound(row, 1)
        noise, p = every_outcome(eta, draws)
        plans = {"`Score(draws=K)`": Score(draws=draws)}
        plans["`Score(LeaveOneOut(), draws=K)`"] = Score(LeaveOneOut(), draws=draws)
        wanted = gradients(loss.estimate({q: Enumerate()}), eta, None)[0]
        for name, plan in plans.items():
            each = gradients(loss.estimate({q: plan}), eta, noise)
            average, variance = moments(each, p)
            torch.testing.assert_close(average, wanted, rtol=1e-10, atol=1e-10)
            found.setdefault(name, []).append(variance)
        found.setdefault("`Enumerate()`", []).append(0.0)
    return {name: sum(v) / len(v) for name, v in found.items()}


# -- a normal law ----------------------------------------------------------------------------
class LocAndScale(nn.Module):
    """A mean and the logarithm of a standard deviation, from the condition."""

    def forward(self, eta: Tensor) -> dict[str, Tensor]:
        """The parameters."""
        return {"loc": eta[..., :1], "scale": eta[..., 1:].exp()}


def variances_of_normal(copies: int, away: float) -> dict[str, float]:
    """The variance of each estimator of the bound, so far away from the posterior."""
    q = Normal(var=["z"], cond_var=["eta"], net=LocAndScale(), name="q")
    var = 0.8**2 / (1.0 + 0.8**2)
    eta = torch.tensor([1.0 / (1.0 + 0.8**2) + away, 0.5 * math.log(var) + away], dtype=f64)

    def log_joint(z: Tensor) -> Tensor:
        return -0.5 * (z[:, 0] ** 2 + ((1.0 - z[:, 0]) / 0.8) ** 2)

    log_w = Function(log_joint, name="log p")(values("z")) - q.log_prob()
    loss = E(q, log_w) if copies == 1 else E(q.iid(k=copies), log_w.exp().mean("k").log())
    points, weights = np.polynomial.hermite_e.hermegauss(NODES[copies])
    index = np.stack(np.meshgrid(*[np.arange(len(points))] * copies), -1).reshape(-1, copies)
    p = torch.tensor((weights / weights.sum())[index].prod(1))
    noise = torch.tensor(points[index].T.copy())[..., None]
    plans: dict[str, Any] = {"`Score()`": Score(), "`Pathwise()`": Pathwise()}
    if copies == 1:
        noise = noise[0]
        plans["`StickingTheLanding()`"] = StickingTheLanding()
    else:
        plans["`DReG()`"] = DReG()
    found, wanted = {}, None
    for name, plan in plans.items():
        each = gradients(loss.estimate({q: plan}), eta, noise)
        average, found[name] = moments(each, p)
        wanted = average if wanted is None else wanted
        torch.testing.assert_close(average, wanted, rtol=1e-6, atol=1e-6)
    return found


# -- the tables ------------------------------------------------------------------------------
def lines_of(head: list[str], columns: list[dict[str, float]]) -> Iterator[str]:
    """A table, a row for each estimator."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    names = dict.fromkeys(name for column in columns for name in column)
    for name in names:
        cells = (_told(c.get(name)) for c in columns)
        yield f"| {name} | {' | '.join(cells)} |"


def _told(value: float | None) -> str:
    """A number; of none nothing, and what rounding leaves of 0 is 0."""
    return "" if value is None else f"{value if value > 1e-20 else 0.0:.4g}"


def tables() -> Iterator[str]:
    """The lines of all tables."""
    yield "Three bits, the bound over K copies:"
    yield ""
    yield from lines_of(
        ["estimator", *(f"K = {k}" for k in COPIES)], [variances_of_bits(k) for k in COPIES]
    )
    yield ""
    yield "Three bits, the bound over one copy from K draws:"
    yield ""
    yield from lines_of(["estimator", "K = 2", "K = 4"], [variances_of_draws(k) for k in (2, 4)])
    yield ""
    yield "A normal law, the bound over K copies, at the posterior and 0.5 away from it:"
    yield ""
    cases = [(k, away) for k in NODES for away in (0.0, 0.5)]
    head = ["estimator", *(f"K = {k}, {'away' if away else 'at it'}" for k, away in cases)]
    yield from lines_of(head, [variances_of_normal(k, away) for k, away in cases])


def main() -> None:
    """Print the tables, and put them into a file between their marks if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="a file with the marks of these tables")
    options = parser.parse_args()
    text = "\n".join(tables())
    sys.stdout.write(text + "\n")
    if options.write:
        whole = options.write.read_text("utf-8")
        before, _, rest = whole.partition(BEGIN)
        _, _, after = rest.partition(END)
        options.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
