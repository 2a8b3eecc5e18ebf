"""IterativeLoss: Pixyz' loop over time, with the meaning of nested expectations.

Parity 13 and issue 101 of Pixyz: equivalent losses have one value, and what is carried is carried.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import (
    GradientError,
    MissingVariableError,
    OptionError,
    ScopeError,
    ShapeError,
)
from ancestral.distributions import Bernoulli, Deterministic, Normal
from ancestral.losses import KL, E, IterativeLoss, Parameter, values
from tests.lowering.reading import twice

STEPS, ROWS, D, Z, H = 6, 3, 5, 2, 4


class Join(nn.Module):
    """A linear layer of all conditions, and how often it ran."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(before, after), 0

    def forward(self, *args: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(torch.cat(args, -1))


class Cell(nn.Module):
    """A recurrent cell, and how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.calls = nn.GRUCell(D + Z, H), 0

    def forward(self, x: Tensor, z: Tensor, h_prev: Tensor) -> Tensor:
        self.calls += 1
        return self.cell(torch.cat([x, z], -1), h_prev)


class Model:
    """A variational RNN as Pixyz' example writes it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.nq, self.nz = Join(D + H, 2 * Z).double(), Join(H, 2 * Z).double()
        self.nx, self.cell = Join(Z + H, 2 * D).double(), Cell().double()
        self.q = Normal(var=["z"], cond_var=["x", "h_prev"], net=self.nq, name="q")
        self.prior = Normal(var=["z"], cond_var=["h_prev"], net=self.nz, name="p_{prior}")
        self.p = Normal(var=["x"], cond_var=["z", "h_prev"], net=self.nx, name="p")
        self.f = Deterministic(var=["h"], cond_var=["x", "z", "h_prev"], net=self.cell, name="f")
        self.batch = {
            "x": torch.randn(STEPS, ROWS, D).double(),
            "h_prev": torch.zeros(ROWS, H).double(),
        }
        self.noise = {"z": torch.randn(STEPS, ROWS, Z).double()}

    def loop(self, step, **options):
        return IterativeLoss(step, series_var=["x"], update_value={"h": "h_prev"}, **options)

    @property
    def step(self):
        return E(self.q * self.f, self.p.log_prob()) - KL(self.q, self.prior)

    def by_hand(self, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The sum of each row, and the last state."""
        x, h = self.batch["x"], self.batch["h_prev"]
        total = torch.zeros(ROWS).double()
        for t in range(STEPS):
            q, p = self.law(self.nq, x[t], h), self.law(self.nz, h)
            z = q.loc + q.scale * self.noise["z"][t]
            term = self.law(self.nx, z, h).log_prob(x[t]).sum(-1)
            term = term - torch.distributions.kl_divergence(q, p).sum(-1)
            total = total + (term if mask is None else mask[t] * term)
            h = self.cell.cell(torch.cat([x[t], z], -1), h)
        return total, h

    @staticmethod
    def law(net: Join, *args: Tensor) -> torch.distributions.Normal:
        loc, raw = net.layer(torch.cat(args, -1)).chunk(2, -1)
        return torch.distributions.Normal(loc, F.softplus(raw))


def test_the_index_of_the_step():
    total = IterativeLoss(Parameter("t"), max_iter=3, timestep_var=["t"])
    assert float(twice(total)) == 3.0
    assert total.latex() == r"\sum_{t=0}^{2} t"
    assert str(total) == "Σ_{t=0}^{2} t"


def test_what_is_carried_is_in_the_result():
    plus = Deterministic(var=["h"], cond_var=["h_prev"], net=lambda h_prev: h_prev + 1, name="f")
    loop = IterativeLoss(E(plus, values("h")), max_iter=3, update_value={"h": "h_prev"})
    value, found = loop.eval({"h_prev": torch.zeros(2)}, return_dict=True)
    assert value.tolist() == [6.0, 6.0]
    assert found["h_prev"].tolist() == [3.0, 3.0]


def test_a_step_that_knows_no_time_counts_as_often_as_there_are_steps():
    loop = IterativeLoss(2 * Parameter("a"), series_var=["x"])
    assert float(twice(loop, {"x": torch.zeros(4, 2), "a": torch.tensor(3.0)})) == 24.0


def test_vrnn_is_the_loop_by_hand_and_encodes_each_step_once():
    m = Model()
    loss = m.loop(m.step)
    expected, h = m.by_hand()
    torch.testing.assert_close(twice(loss, m.batch, noise=m.noise), expected)
    _, found = loss.eval(m.batch, return_dict=True, noise=m.noise)
    torch.testing.assert_close(found["h_prev"], h)
    function = loss.function()
    for _ in range(2):
        for net in (m.nq, m.nz, m.nx, m.cell):
            net.calls = 0
        function(m.batch)
        assert (m.nq.calls, m.nz.calls, m.nx.calls, m.cell.calls) == (STEPS, 1, 1, STEPS)
    assert str(loss) == (
        "E_{p(z_{1:T},h_{1:T}|x_{1:T})}[Σ_t (log p(x_t|z_t,h_{t-1}) - "
        "KL[q(z|x_t,h_{t-1}) || p_{prior}(z|h_{t-1})])]"
    )


def test_gradients_are_those_of_the_loop_by_hand():
    m = Model()
    weights = [p for net in (m.nq, m.nz, m.nx, m.cell) for p in net.parameters()]
    wanted = torch.autograd.grad(m.by_hand()[0].mean(), weights)
    function = m.loop(m.step).mean().function()
    for _ in range(2):
        found = torch.autograd.grad(function(m.batch, noise=m.noise), weights)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_equivalent_losses_have_one_value():
    """Issue 101: the recurrence was ignored in some of these."""
    m = Model()
    draw, kl = m.q * m.f, KL(m.q, m.prior)
    four = [
        m.loop(E(draw, m.p.log_prob()) - kl),
        m.loop(E(draw, m.p.log_prob() - kl)),
        m.loop(-kl + E(draw, m.p.log_prob())),
        -m.loop(kl - E(draw, m.p.log_prob())),
    ]
    expected, _ = m.by_hand()
    for loss in four:
        torch.testing.assert_close(twice(loss, m.batch, noise=m.noise), expected)


def test_a_mask_goes_inside_of_a_mean():
    m = Model()
    mask = torch.ones(STEPS, ROWS).double()
    mask[3:, 1], mask[5:, 2] = 0, 0
    expected, _ = m.by_hand(mask)
    batch = {**m.batch, "m": mask}
    rows = m.loop(m.step, mask="m")
    torch.testing.assert_close(twice(rows, batch, noise=m.noise), expected)
    for step in (m.step.mean(), -(-m.step).mean()):
        found = twice(m.loop(step, mask="m"), batch, noise=m.noise)
        torch.testing.assert_close(found, expected.mean())
    with pytest.raises(ScopeError, match=r"mask='m' chooses rows.*\.mean\(\) outermost"):
        m.loop(m.step.mean() * 2.0, mask="m").eval(batch)


def test_a_network_over_the_whole_series_sees_it_time_first():
    torch.manual_seed(0)
    rnn, seen = nn.GRU(D, H).double(), []

    def whole(x: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return rnn(x.flip(0))[0].flip(0)

    nets = Join(H + Z, 2 * Z).double(), Join(Z, 2 * Z).double(), Join(Z, D).double()
    back = Deterministic(var=["h"], cond_var=["x"], net=whole, name="back")
    q = Normal(var=["z"], cond_var=["h", "z_prev"], net=nets[0], name="q")
    prior = Normal(var=["z"], cond_var=["z_prev"], net=nets[1], name="p")
    p = Bernoulli(var=["x"], cond_var=["z"], net=nets[2], name="p")
    step = E(q, p.log_prob()) - KL(q, prior)
    loop = IterativeLoss(step, series_var=["x", "h"], update_value={"z": "z_prev"})
    batch = {"x": (torch.rand(STEPS, ROWS, D) > 0.5).double(), "z_prev": torch.zeros(ROWS, Z)}
    batch["z_prev"] = batch["z_prev"].double()
    eps = torch.randn(STEPS, ROWS, Z).double()
    found = twice(E(back, loop), batch, noise={"z": eps})
    assert set(seen) == {(STEPS, ROWS, D)}
    h, z, total = whole(batch["x"]), batch["z_prev"], torch.zeros(ROWS).double()
    for t in range(STEPS):
        one, other = Model.law(nets[0], h[t], z), Model.law(nets[1], z)
        z = one.loc + one.scale * eps[t]
        logits = nets[2].layer(z)
        total = total - F.binary_cross_entropy_with_logits(
            logits, batch["x"][t], reduction="none"
        ).sum(-1)
        total = total - torch.distributions.kl_divergence(one, other).sum(-1)
    torch.testing.assert_close(found, total)


def test_slice_step_is_an_expectation_around_the_step():
    scale = Deterministic(var=["s"], cond_var=["t"], net=lambda t: 2 * t, name="slice")
    loop = IterativeLoss(values("s") * 1.0, max_iter=4, slice_step=scale, timestep_var=["t"])
    assert float(twice(loop)) == 12.0


def test_a_prior_without_conditions_is_drawn_anew_in_each_step():
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[Z], name="p")
    p = Normal(var=["x"], cond_var=["z"], net=Join(Z, 2 * D), name="p")
    both = E(prior, p.log_prob())
    loop = IterativeLoss(both, series_var=["x"])
    (draw,) = loop.program().draws.values()
    assert [a.name for a in draw.axes] == ["t", "n"]
    assert torch.isfinite(twice(loop, {"x": torch.zeros(STEPS, ROWS, D)})).all()


# -- refusals -------------------------------------------------------------------------------------
def test_what_is_handed_on_must_be_one_draw():
    m = Model()
    with pytest.raises(ScopeError, match=r"hands 'k' on as 'h_prev', but no expectation"):
        IterativeLoss(m.step, series_var=["x"], update_value={"k": "h_prev"})
    twice_drawn = E(m.q * m.f, m.p.log_prob()) * E(m.q * m.f, m.p.log_prob())
    with pytest.raises(ScopeError, match="makes 2 draws of it"):
        m.loop(twice_drawn).eval(m.batch)


def test_jumps_are_not_handed_on():
    q = Bernoulli(var=["y"], cond_var=["y_prev"], net=Join(2, 2), name="q")
    loop = IterativeLoss(E(q, q.log_prob()), max_iter=3, update_value={"y": "y_prev"})
    with pytest.raises(GradientError, match="y is handed on.*Sequence"):
        loop.eval({"y_prev": torch.zeros(ROWS, 2)})


def test_options_that_say_nothing():
    with pytest.raises(OptionError, match="nothing says how many steps"):
        IterativeLoss(Parameter("t"), timestep_var=["t"])
    with pytest.raises(OptionError, match="max_iter=0"):
        IterativeLoss(Parameter("t"), max_iter=0)
    m = Model()
    with pytest.raises(MissingVariableError, match="h_prev"):
        m.loop(m.step).eval({"x": m.batch["x"]})
    other = {**m.batch, "h_prev": torch.zeros(ROWS + 1, H).double()}
    with pytest.raises(ShapeError):
        m.loop(m.step).eval(other)
