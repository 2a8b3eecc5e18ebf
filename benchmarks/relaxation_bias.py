r"""The bias and the noise of gradients of a coin, as the table in ``docs/guides/gradients.md``.

:math:`E_{q(z)}[f(z)]` with :math:`f(z) = (z - 0.45)^2`, a parabola whose values between 0 and 1 are
other than those at the ends, and z = 1 with log odds 0.4. Nothing is sampled: means and standard
deviations are integrals over the noise of one draw, by the midpoint rule.

Run ``python -m benchmarks.relaxation_bias``.
"""

import torch

from ancestral.distributions import Bernoulli
from ancestral.estimators.base import Estimator
from ancestral.losses import REBAR, E, Function, GumbelSoftmax, Score, StraightThrough, values

LOG_ODDS, CELLS = 0.4, 20_000
HEAD = """\
| plan | bias of the value | bias of the gradient | standard deviation of the gradient |
|---|---|---|---|"""


def moments(plan: Estimator) -> tuple[float, float, float]:
    """The mean value, the mean gradient and its standard deviation, of one draw."""
    h = torch.full((CELLS, 1), LOG_ODDS, dtype=torch.float64, requires_grad=True)
    noise = ((torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS)[:, None]
    q = Bernoulli(logits="h", var=["z"], cond_var=["h"], name="q")
    f = Function(lambda z: (z[:, 0] - 0.45) ** 2, name="f")
    loss = E(q, f(values("z"))).estimate({q: plan})
    rows = loss.eval({"h": h}, noise={"z": noise})
    (slope,) = torch.autograd.grad(rows.sum(), h)
    return rows.mean().item(), slope.mean().item(), slope.std(correction=0).item()


def table() -> str:
    """The table as Markdown."""
    pi = torch.tensor(LOG_ODDS, dtype=torch.float64).sigmoid().item()
    value = pi * 0.55**2 + (1 - pi) * 0.45**2
    slope = pi * (1 - pi) * (0.55**2 - 0.45**2)
    plans: list[tuple[str, Estimator]] = [("`Score()`", Score())]
    for t in (0.1, 0.5, 1.0):
        plans.append((f"`GumbelSoftmax({t})`", GumbelSoftmax(t)))
        plans.append((f"`StraightThrough({t})`", StraightThrough(t)))
    plans.append(("`REBAR(0.5)`", REBAR(0.5)))
    lines = []
    for name, plan in plans:
        found = moments(plan)
        each = (found[0] - value, found[1] - slope, found[2])
        lines.append(f"| {name} | " + " | ".join(_number(v) for v in each) + " |")
    told = f"exact: value {value:.3f}, gradient {slope:.4f}"
    return "\n".join([HEAD, f"| {told} | | | |", *lines])


def _number(value: float) -> str:
    return "0" if abs(value) < 5e-4 else f"{value:.3f}"


if __name__ == "__main__":
    print(table())
