"""Steps that a mask leaves out: what stands there is of no matter, to any law of a step."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import SupportError
from ancestral.distributions import (
    Beta,
    Binomial,
    Categorical,
    Deterministic,
    Dirichlet,
    Gamma,
    LogNormal,
    Normal,
    Poisson,
    Sequence,
    TruncatedNormal,
    Uniform,
)
from ancestral.losses import E
from tests.lowering.reading import twice

ROWS, STEPS = 3, 4
MASK = torch.tensor([[1.0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).double()
U = torch.linspace(0.1, 5.0, ROWS * STEPS).double().reshape(ROWS, STEPS, 1)


def classes(u: Tensor) -> Tensor:
    return torch.eye(3).double()[u[..., 0].long() % 3]


# What a step's network makes of u and a weight w, and data inside of the support at each step:
# for the first three of them nowhere else, so that no step's value may stand for another's.
LAWS = {
    "Uniform": (Uniform, lambda u, w: {"low": u * w / w.detach(), "high": u + 0.3 * w.exp()},
                U + 0.1),
    "TruncatedNormal": (TruncatedNormal, lambda u, w: {"loc": u * w, "scale": 1 + 0 * u,
                        "low": u, "high": u + 0.3}, U + 0.1),
    "Binomial": (Binomial, lambda u, w: {"logits": u * w, "total_count": u.round()}, U.round()),
    "LogNormal": (LogNormal, lambda u, w: {"loc": u * w, "scale": u}, U),
    "Gamma": (Gamma, lambda u, w: {"concentration": u * w, "rate": u}, U),
    "Beta": (Beta, lambda u, w: {"concentration1": u * w, "concentration0": u}, U / 6),
    "Poisson": (Poisson, lambda u, w: {"rate": u * w}, U.round()),
    "Categorical": (Categorical, lambda u, w: {"logits": torch.cat([u, u * w, 0 * u], -1)},
                    classes(U)),
    "labels": (partial(Categorical, onehot=False),
               lambda u, w: {"logits": torch.cat([u, u * w, 0 * u], -1)}, classes(U).argmax(-1)),
    "Dirichlet": (Dirichlet, lambda u, w: {"concentration": torch.cat([u, u * w, u + 1], -1)},
                  torch.cat([U, 0 * U + 2, 6 - U], -1) / 8),
}  # fmt: skip


@pytest.mark.parametrize("word", ["mask", "observed"])
@pytest.mark.parametrize("name", LAWS)
def test_value_and_gradient_are_those_of_the_steps_that_count(name, word):
    """Data is NaN elsewhere, and the inputs too where the step does not exist at all."""
    family, net, x = LAWS[name]
    w = nn.Parameter(torch.tensor([0.3]).double())
    step = family(var=["x"], cond_var=["u"], net=lambda u: net(u, w), name="p")
    on = MASK[..., None] > 0
    u = torch.where(on, U, torch.nan) if word == "mask" else U
    there = on if x.dim() == on.dim() else MASK > 0
    missing = torch.nan if x.is_floating_point() else -1
    given = {"x": torch.where(there, x, missing), "u": u, "m": MASK}
    law = Sequence(step, series=["u"], **{word: "m"})
    each = step.get_log_prob({"x": x.flatten(0, 1), "u": U.flatten(0, 1)}).reshape(ROWS, STEPS)
    wanted = torch.where(MASK > 0, each, 0.0).sum(1)
    (slope,) = torch.autograd.grad(wanted.sum(), w)
    for found in (twice(law.log_prob(), given), law.get_log_prob(given)):
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(torch.autograd.grad(found.sum(), w)[0], slope)


def test_a_value_that_counts_is_still_looked_at():
    _, net, x = LAWS["Uniform"]
    step = Uniform(var=["x"], cond_var=["u"], net=lambda u: net(u, torch.tensor(0.3)), name="p")
    law = Sequence(step, series=["u"], observed="m")
    given = {"x": torch.where(MASK[..., None] > 0, x + 9, x), "u": U, "m": MASK}
    for call in (law.log_prob().eval, law.get_log_prob):
        with pytest.raises(SupportError, match="x"):
            call(given)


def test_a_batch_without_any_step_is_worth_nothing():
    w = nn.Parameter(torch.tensor([0.3]).double())
    net = lambda u: {"loc": u * w, "scale": u.exp()}  # noqa: E731
    step = LogNormal(var=["x"], cond_var=["u"], net=net, name="p")
    law = Sequence(step, series=["u"], mask="m")
    given = {"x": U * torch.nan, "u": U * torch.nan, "m": torch.zeros_like(MASK)}
    for found in (twice(law.log_prob(), given), law.get_log_prob(given)):
        assert not found.any()
        assert not torch.autograd.grad(found.sum(), w)[0].any()


def test_inputs_are_seen_where_only_the_frame_is_missing():
    """``observed`` hides what is observed, not what the state is driven by."""
    state = Deterministic(var=["h"], cond_var=["u", "h_prev"], net=lambda u, h_prev: u + h_prev)
    p_x = Normal(var=["x"], cond_var=["h"], loc="h", scale=1.0, name="p")
    law = Sequence(p_x * state, carry={"h": "h_prev"}, series=["u"], observed="m",
                   init=torch.zeros(1).double())  # fmt: skip
    given = {"x": torch.where(MASK[..., None] > 0, U.sin(), torch.nan), "u": U, "m": MASK}
    each = torch.distributions.Normal(U.cumsum(1), 1.0).log_prob(U.sin())[..., 0]
    wanted = torch.where(MASK > 0, each, 0.0).sum(1)
    torch.testing.assert_close(twice(law.log_prob(), given), wanted)
    torch.testing.assert_close(law.get_log_prob(given), wanted)


def test_draws_may_leave_a_law_where_it_is_not_seen():
    """z is drawn from q in all steps; where p is narrower than q, it is not observed."""
    net = lambda u: {"low": 0 * u, "high": 0 * u + 0.9}  # noqa: E731
    q = Sequence(Uniform(var=["z"], cond_var=["u"], net=net, name="q"), series=["u"])
    w = nn.Parameter(torch.tensor([1.2]).double())
    step = Uniform(
        var=["z"], cond_var=["v"], net=lambda v: {"low": 0 * v, "high": w * v}, name="p"
    )
    p = Sequence(step, series=["v"], observed="m")
    given = {"u": U, "v": torch.where(MASK[..., None] > 0, 1.0, 1e-3), "m": MASK}
    found, wanted = twice(E(q, p.log_prob()), given), MASK.sum(1) * -w.log()
    torch.testing.assert_close(found, wanted)
    slopes = (torch.autograd.grad(v.sum(), w)[0] for v in (found, wanted))
    torch.testing.assert_close(*slopes)
