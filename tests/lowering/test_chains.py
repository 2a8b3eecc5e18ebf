"""Draws by chains wherever a draw may stand: copies, several draws, tables, nested, renamed.

Each loss is run by the interpreter, then by the text on the same seed: one value to the bit. What
the value is on average is exact, as the chains are, within 5 standard errors.
"""

import pytest
import torch
from torch import nn

from ancestral.distributions import Bernoulli, EmpiricalDistribution, EnergyModel, Normal
from ancestral.losses import ContrastiveDivergence, E, Enumerate, Function, PersistentCD, values
from ancestral.samplers import MALA, Langevin

SCALE, ROWS = 0.5, 4000
u, x, y = values("u x y")
square = Function(lambda v: v.square().sum(-1), name="f")
first = Function(lambda v: v[:, 0], name="g")


class Around(nn.Module):
    """|x - y|^2 / 2 s^2: the law N(y, s^2), or N(0, s^2) without y."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(SCALE))

    def forward(self, value, y=0.0):
        return 0.5 * ((value - y) / self.scale).square().sum(-1)


class Laws:
    def __init__(self, sampler):
        options = {"var": ["x"], "features_shape": [1], "sampler": sampler}
        self.p = EnergyModel(net=Around(), **options)
        self.c = EnergyModel(cond_var=["y"], net=Around(), **options)
        self.one = EnergyModel(net=Around(), plate=None, name="g", **options)
        self.q = Normal(var=["y"], loc=torch.ones(1), scale=1.0, name="q")
        self.b = Bernoulli(var=["y"], probs=torch.tensor([0.3]), name="b")


# the loss; its mean, and the standard deviation of one row
CASES = {
    "copies": (lambda w: E(w.p.detach().iid(k=3), square(x).mean("k")), 0.25, 0.36),
    "draws": (lambda w: E(w.p.detach(), square(x), sample_shape=[2]), 0.25, 0.36),
    "nested": (lambda w: E(w.q, E(w.c.detach(), first(x))), 1.0, 1.12),
    "joint": (lambda w: E(w.c.detach() * w.q, first(x) * first(y)), 2.0, 2.6),
    "joint draws": (lambda w: E(w.c.detach() * w.q, first(x), sample_shape=[2]), 1.0, 1.12),
    "enumerated": (
        lambda w: E(w.b, E(w.c.detach(), first(x))).estimate({w.b: Enumerate()}), 0.3, 0.5
    ),
    "renamed": (lambda w: E(w.p.detach().replace_var(x="u"), square(u)), 0.25, 0.36),
    "two": (lambda w: E(w.p.detach(), square(x)) ** 2, 0.0625, 0.2),
    "condition given": (lambda w: E(w.c.detach(), first(x) - first(y)).mean(), 0.0, 0.5),
}  # fmt: skip


def twice(loss, **options):
    function, found = loss.function(), []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(function(**options))
    assert torch.equal(*found)
    return found[0]


@pytest.mark.parametrize("name", CASES)
def test_a_draw_by_chains_is_a_draw(name):
    make, mean, deviation = CASES[name]
    loss = make(Laws(MALA(25, step_size=0.5)))
    batch = {"y": torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(1))}
    found = twice(loss, x_dict=batch, batch_n=ROWS)
    assert found.shape == ()
    assert abs(found.item() - mean) < 5 * deviation / ROWS**0.5


def test_a_global_has_one_chain():
    w = Laws(Langevin(steps=2))
    loss = E(w.one.detach(), square(x) + 0.0 * square(y))
    noise = {"x": torch.zeros(2, 1), "x.start": torch.ones(1)}
    found = twice(loss, x_dict={"y": torch.zeros(7, 1)}, noise=noise)
    assert found.shape == (7,)
    assert (found == found[0]).all()


@pytest.mark.parametrize("plan", [{}, {"reinit": 0.3}])
def test_several_draws_take_as_many_entries(plan):
    w = Laws(Langevin(steps=2, step_size=0.1))
    keep = PersistentCD(w.p.chains, buffer=30, **plan)
    for loss in (
        E(w.p.detach(), square(x), sample_shape=[2]),
        E(w.p.detach().iid(k=2), square(x).mean("k")),
    ):
        assert twice(loss.estimate({w.p: keep}), batch_n=10).isfinite()
    start = ContrastiveDivergence(w.p.chains)
    gap = E(EmpiricalDistribution(["x"]), square(x)) - E(w.p.detach(), square(x), sample_shape=[2])
    gap = gap.estimate({w.p: start})
    noise = {"x": torch.zeros(2, 2, 10, 1)}
    found = twice(gap, x_dict={"x": torch.ones(10, 1)}, noise=noise)
    assert found.item() == pytest.approx(1 - (1 - 0.05 / 0.25) ** 4)  # x' = x - e/2 x / s^2
