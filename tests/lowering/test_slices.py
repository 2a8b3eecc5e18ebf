"""IterativeLoss with `slice_step` and `max_iter`: what a step sees of series, as Pixyz has it."""

import pytest
import torch
from torch import nn

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions import Deterministic, Normal
from ancestral.losses import IterativeLoss
from tests.lowering.reading import twice

STEPS, ROWS, D = 6, 3, 2


class Pair(Deterministic):
    """Two entries of a series, as the TD-VAE example of Pixyz takes them."""

    def __init__(self, scale: nn.Module | None = None, gap: int = 1) -> None:
        super().__init__(var=["now", "next"], cond_var=["x", "t"], name="f")
        self.scale, self.gap, self.seen = scale, gap, []

    def forward(self, x, t):
        self.seen.append((tuple(x.shape), t))
        now = x[t] if self.scale is None else self.scale(x[t])
        return {"now": now, "next": x[t + self.gap]}


def transition(**options):
    torch.manual_seed(0)
    net = nn.Linear(D, 2 * D).double()
    return Normal(var=["next"], cond_var=["now"], net=net, name="p", **options)


def series(steps=STEPS):
    return {"x": torch.randn(steps, ROWS, D).double()}


def by_hand(p, x, gap=1):
    rows = [p.get_log_prob({"next": x[t + gap], "now": x[t]}) for t in range(len(x) - gap)]
    return torch.stack(rows).sum(0)


def test_the_law_of_slice_step_sees_whole_series_time_first():
    p, pair, batch = transition(), Pair(), series()
    loop = IterativeLoss(
        p.log_prob(), max_iter=STEPS - 1, series_var=["x"], slice_step=pair, timestep_var=["t"]
    )
    assert str(loop) == f"Σ_{{t=0}}^{{{STEPS - 2}}} E_{{f(now,next|x_t,t)}}[log p(next|now)]"
    value = twice(loop, batch)
    torch.testing.assert_close(value, by_hand(p, batch["x"]), rtol=1e-12, atol=0)
    assert set(pair.seen) == {((STEPS, ROWS, D), t) for t in range(STEPS - 1)}


def test_the_network_of_the_step_runs_once_for_all_steps():
    p, batch, calls = transition(), series(), []
    p.net.register_forward_hook(lambda *_: calls.append(1))
    loop = IterativeLoss(
        p.log_prob(), max_iter=STEPS - 1, series_var="x", slice_step=Pair(), timestep_var="t"
    )
    loop.eval(batch)
    assert len(calls) == 1


def test_gradients_reach_what_slices():
    scale = nn.Linear(D, D).double()
    p, pair, batch = transition(), Pair(scale), series()
    loop = IterativeLoss(
        p.log_prob(), max_iter=STEPS - 1, series_var=["x"], slice_step=pair, timestep_var=["t"]
    )
    function, weights = loop.mean().function(), [scale.weight, p.net.weight]
    x = batch["x"]
    rows = [p.get_log_prob({"next": x[t + 1], "now": scale(x[t])}) for t in range(STEPS - 1)]
    exact = torch.autograd.grad(torch.stack(rows).sum(0).mean(), weights)
    for _ in range(2):  # the interpreter, then the generated step
        for ours, wanted in zip(torch.autograd.grad(function(batch), weights), exact, strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-14)


def test_a_renamed_slice_keeps_the_names_of_its_function():
    p, batch = transition().replace_var(next="b", now="a"), series()
    pair = Pair().replace_var(x="s", t="i", now="a", next="b")
    loop = IterativeLoss(
        p.log_prob(), max_iter=STEPS - 1, series_var=["s"], slice_step=pair, timestep_var=["i"]
    )
    value = twice(loop, {"s": batch["x"]})
    torch.testing.assert_close(value, by_hand(transition(), batch["x"]), rtol=1e-12, atol=0)


def test_the_length_is_that_of_the_batch():
    p = transition()
    last = Deterministic(
        var=["now", "next"], cond_var=["x", "t"], name="f",
        net=lambda x, t: {"now": x[t], "next": x[min(t + 1, len(x) - 1)]},
    )  # fmt: skip
    loop = IterativeLoss(p.log_prob(), series_var=["x"], slice_step=last, timestep_var=["t"])
    function = loop.function()
    for steps in (3, 3, 5, 4):
        x = series(steps)["x"]
        wanted = by_hand(p, x) + p.get_log_prob({"next": x[-1], "now": x[-1]})
        torch.testing.assert_close(function({"x": x}), wanted, rtol=1e-12, atol=0)


def test_the_first_steps_of_a_series():
    p, batch = transition(), series()
    both = {"next": batch["x"], "now": batch["x"].flip(0)}
    loop = IterativeLoss(p.log_prob(), max_iter=4, series_var=["next", "now"])
    rows = [p.get_log_prob({k: v[t] for k, v in both.items()}) for t in range(4)]
    torch.testing.assert_close(twice(loop, both), torch.stack(rows).sum(0), rtol=1e-12, atol=0)
    with pytest.raises(ShapeError, match="max_iter=4: next_t has 3 steps.*time first"):
        loop.eval({k: v[:3] for k, v in both.items()})


def test_the_first_steps_of_a_mask():
    p, batch = transition(), series()
    both = {"next": batch["x"], "now": batch["x"].flip(0)}
    mask = (torch.rand(STEPS, ROWS) > 0.4).double()
    loop = IterativeLoss(p.log_prob(), max_iter=4, series_var=["next", "now"], mask="m")
    rows = [mask[t] * p.get_log_prob({k: v[t] for k, v in both.items()}) for t in range(4)]
    found = twice(loop, {**both, "m": mask})
    torch.testing.assert_close(found, torch.stack(rows).sum(0), rtol=1e-12, atol=0)


def test_mistakes_are_told():
    p, batch = transition(), series()

    def loop(pair, steps=STEPS - 1):
        return IterativeLoss(
            p.log_prob(), max_iter=steps, series_var=["x"], slice_step=pair, timestep_var=["t"]
        )

    with pytest.raises(ShapeError, match=r"reaches beyond the 6 steps of a series.*max_iter="):
        loop(Pair(), STEPS).eval(batch)
    noisy = Normal(var=["next"], cond_var=["x"], loc="x", scale=1.0, name="q")
    with pytest.raises(OptionError, match=r"slice_step=q\(next\|x\) reads the whole of x"):
        loop(noisy)
    other = Deterministic(var=["next"], cond_var=["x", "u"], net=lambda x, u: x[0] + u, name="f")
    with pytest.raises(OptionError, match="u can be read in the step"):
        loop(other)
    wide = Deterministic(
        var=["now", "next"], cond_var=["x", "t"], name="f",
        net=lambda x, t: {"now": x[:, t], "next": x},
    )  # fmt: skip
    with pytest.raises(ShapeError, match=r"time first, \(T, rows, ...\): return entries such as"):
        loop(wide, 2).eval(batch)


@pytest.mark.parametrize("backend", ["eager"])
def test_loops_compile_into_one_graph(backend):
    p, batch = transition(), series()
    loop = IterativeLoss(
        p.log_prob(), max_iter=STEPS - 1, series_var=["x"], slice_step=Pair(), timestep_var=["t"]
    )
    function = loop.mean().function(compile=backend)
    for _ in range(3):
        torch.testing.assert_close(
            function(batch), by_hand(p, batch["x"]).mean(), rtol=1e-12, atol=0
        )
