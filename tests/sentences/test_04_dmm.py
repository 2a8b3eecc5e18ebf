"""Sentence 4: deep Markov model; a loop holds only what the next step waits for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.distributions import Bernoulli, Deterministic, Normal, Sequence
from ancestral.losses import KL, E
from ancestral.program import loops
from tests.sentences.counting import agrees, counted

ROWS, D, H, U, PIXELS = 3, 2, 4, 2, 5


class Join(nn.Module):
    """A linear layer of all conditions."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layer = nn.Linear(before, after)

    def forward(self, *args: Tensor) -> Tensor:
        return self.layer(torch.cat(args, -1))


class Back(nn.Module):
    """A network over the whole sequence, from its end."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(PIXELS, H, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.flip(1))[0].flip(1)


class Model:
    """The laws of the sentence and a batch of it."""

    def __init__(self, back: nn.Module | None = None) -> None:
        torch.manual_seed(0)
        self.back = (Back() if back is None else back).double()
        self.q = Join(D + H, 2 * D).double()
        self.p, self.e = Join(D + U, 2 * D).double(), Join(D, PIXELS).double()
        self.z0 = nn.Parameter(torch.zeros(D, dtype=torch.float64))
        back = Deterministic(var=["h"], cond_var=["x"], net=self.back, name="back")
        q_t = Normal(var=["z"], cond_var=["z_prev", "h"], net=self.q, name="q")
        p_t = Normal(var=["z"], cond_var=["z_prev", "u"], net=self.p, name="p")
        e_t = Bernoulli(var=["x"], cond_var=["z"], net=self.e, name="p")
        q = Sequence(q_t, carry={"z": "z_prev"}, init=self.z0, series=["h"], mask="m")
        pz = Sequence(p_t, carry={"z": "z_prev"}, init=self.z0, series=["u"], mask="m")
        px = Sequence(e_t, series=["z"], mask="m")
        self.dmm = E(back, E(q, px.log_prob()) - KL(q, pz))
        self.modules = [self.back, self.q, self.p, self.e, nn.ParameterList([self.z0])]

    def batch(self, steps: int) -> dict[str, Tensor]:
        mask = torch.ones(ROWS, steps).double()
        mask[1, steps // 2 :] = 0
        x = (torch.rand(ROWS, steps, PIXELS) > 0.5).double()
        return {"x": x, "m": mask, "u": torch.randn(ROWS, steps, U).double()}

    def by_hand(self, batch: dict[str, Tensor], eps: Tensor) -> Tensor:
        """One step after the other, each network at each."""
        h, z = self.back(batch["x"]), self.z0.expand(ROWS, D)
        total = torch.zeros(ROWS).double()
        for t in range(eps.shape[1]):
            (m, s), (mp, sp) = (
                self.parts(self.q, z, h[:, t]),
                self.parts(self.p, z, batch["u"][:, t]),
            )
            z = m + s * eps[:, t]
            kl = ((s / sp) ** 2 + ((m - mp) / sp) ** 2 - 1 - 2 * (s / sp).log()).sum(-1) / 2
            logits = self.e(z)
            log_p = -F.binary_cross_entropy_with_logits(logits, batch["x"][:, t], reduction="none")
            total = total + batch["m"][:, t] * (log_p.sum(-1) - kl)
        return -total.mean()

    @staticmethod
    def parts(net: nn.Module, *args: Tensor) -> tuple[Tensor, Tensor]:
        loc, raw = net(*args).chunk(2, -1)
        return loc, F.softplus(raw)


@pytest.fixture
def model():
    return Model()


def test_it_prints_with_sums_over_time(model):
    assert str(model.dmm) == (
        "E_{back(h|x)}[E_{q(z_{1:T}|h_{1:T})}[Σ_t m_t log p(x_t|z_t)] - "
        "E_{q(z_{1:T}|h_{1:T})}[Σ_t m_t KL[q(z_t|z_{t-1},h_t) || p(z_t|z_{t-1},u_t)]]]"
    )
    assert model.dmm.latex() == (
        r"\mathbb{E}_{back(h|x)} \left[\mathbb{E}_{q(z_{1:T}|h_{1:T})} \left[\sum_{t} m_{t} \log "
        r"p(x_{t}|z_{t}) \right] - \mathbb{E}_{q(z_{1:T}|h_{1:T})} \left[\sum_{t} m_{t} D_{KL} "
        r"\left[q(z_{t}|z_{t-1},h_{t})||p(z_{t}|z_{t-1},u_{t}) \right] \right] \right]"
    )
    assert model.dmm.mathml().startswith("<math")


def test_only_the_carried_draw_stands_in_the_loop(model):
    program = model.dmm.program()
    (scan,) = (s for s in program.steps if isinstance(s, loops.Scan))
    assert [type(s).__name__ for s in scan.body] == ["Params", "Draw"]
    assert list(program.draws) == ["z"]


@pytest.mark.parametrize("steps", [1, 7])
def test_each_network_runs_once_but_the_loop_s(model, steps):
    """Whole sequences at once, on rows times steps; q_t once for each step."""
    function, batch = (-model.dmm.mean()).function(), model.batch(steps)
    for _ in range(2):  # the interpreter, the generated step
        with counted(back=model.back, q=model.q, p=model.p, e=model.e) as seen:
            function(batch)
        every = [ROWS * steps]
        assert seen == {"back": [ROWS], "q": [ROWS] * steps, "p": every, "e": every}


@pytest.mark.parametrize("steps", [1, 6])
def test_value_and_gradient_by_hand(model, steps):
    batch, eps = model.batch(steps), torch.randn(ROWS, steps, D).double()
    loss = -model.dmm.mean()
    hand = model.by_hand
    agrees(loss, batch, lambda: hand(batch, eps), model.modules, tolerance=1e-10, noise={"z": eps})


def test_a_new_length_is_no_new_program(model):
    function = (-model.dmm.mean()).function()
    function(model.batch(4))
    text = function.source()
    for steps in (9, 2, 30):
        batch, eps = model.batch(steps), torch.randn(ROWS, steps, D).double()
        for _ in range(2):
            found = function(batch, noise={"z": eps})
            torch.testing.assert_close(found, model.by_hand(batch, eps), rtol=1e-10, atol=1e-10)
    assert function.source() == text
    assert len(function._steps) == len(function._programs) == 1
