"""Laws of sequences: draws go on from a prefix, states are computed, steps are of any family."""

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.bijections import Exp
from ancestral.core.errors import (
    GradientError,
    MissingVariableError,
    OptionError,
    SamplingError,
    ScopeError,
    ShapeError,
    VariableError,
)
from ancestral.distributions import (
    Categorical,
    Deterministic,
    Gamma,
    Normal,
    NormalizingFlow,
    Sequence,
)
from ancestral.losses import KL, E, Score, values
from tests.lowering.reading import twice

ROWS, STEPS, D = 4, 5, 3


class Join(nn.Module):
    """A linear layer of all conditions, and how often it ran."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(before, after), 0

    def forward(self, *args: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(torch.cat(args, -1))


def walk(**options) -> Sequence:
    """z_t ~ N(z_{t-1} + u_t, 1)."""
    step = Normal(
        var=["z"], cond_var=["z_prev", "u"], name="p", scale=1.0, features_shape=[D],
        net=lambda z_prev, u: {"loc": z_prev + u},
    )  # fmt: skip
    return Sequence(step, carry={"z": "z_prev"}, series=["u"], **options)


class VRNN:
    """A recurrent state h_t = f(x_t, z_t, h_{t-1}) that the laws of x and z read."""

    H, Z = 4, 2

    def __init__(self) -> None:
        torch.manual_seed(0)
        cell = nn.GRUCell(D + self.Z, self.H).double()
        self.cell, self.calls = cell, 0

        def f(x: Tensor, z: Tensor, h_prev: Tensor) -> Tensor:
            self.calls += 1
            return cell(torch.cat([x, z], -1), h_prev)

        self.pz, self.px = Join(self.H, 2 * self.Z).double(), Join(self.Z + self.H, 2 * D).double()
        self.qz = Join(D + self.H, 2 * self.Z).double()
        self.h0 = nn.Parameter(torch.randn(self.H).double())
        p_z = Normal(var=["z"], cond_var=["h_prev"], net=self.pz, name="p")
        p_x = Normal(var=["x"], cond_var=["z", "h_prev"], net=self.px, name="p")
        q_z = Normal(var=["z"], cond_var=["x", "h_prev"], net=self.qz, name="q")
        state = Deterministic(var=["h"], cond_var=["x", "z", "h_prev"], net=f, name="f")
        chain = {"carry": {"h": "h_prev"}, "init": self.h0}
        self.p = Sequence(p_x * p_z * state, **chain)
        self.prior = Sequence(p_z * state, series=["x"], **chain)
        self.q = Sequence(q_z * state, series=["x"], name="q", **chain)

    def by_hand(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x, z) - log q(z|x), and its expectation but for the likelihood's."""
        h, ratio, bound = self.h0.expand(len(x), self.H), 0.0, 0.0
        for t in range(x.shape[1]):
            q, p = self.law(self.qz, x[:, t], h), self.law(self.pz, h)
            z = q.loc + q.scale * eps[:, t]
            log_x = self.law(self.px, z, h).log_prob(x[:, t]).sum(-1)
            ratio = ratio + log_x + (p.log_prob(z) - q.log_prob(z)).sum(-1)
            bound = bound + log_x - torch.distributions.kl_divergence(q, p).sum(-1)
            h = self.cell(torch.cat([x[:, t], z], -1), h)
        return ratio, bound

    @staticmethod
    def law(net: nn.Module, *args: Tensor) -> torch.distributions.Normal:
        loc, raw = net.layer(torch.cat(args, -1)).chunk(2, -1)
        return torch.distributions.Normal(loc, F.softplus(raw))


# -- recurrent states -----------------------------------------------------------------------------
def test_states_are_computed_once_in_the_draw_and_read_by_all():
    m = VRNN()
    x, eps = torch.randn(ROWS, STEPS, D).double(), torch.randn(ROWS, STEPS, m.Z).double()
    ratio, _ = m.by_hand(x, eps)
    found = E(m.q, m.p.log_prob() - m.q.log_prob())
    assert str(found) == (
        "E_{q(z_{1:T},h_{1:T}|x_{1:T})}[Σ_t log p(x_t,z_t|h_{t-1}) - Σ_t log q(z_t|x_t,h_{t-1})]"
    )
    torch.testing.assert_close(twice(found, {"x": x}, noise={"z": eps}), ratio)
    function = found.function()
    for _ in range(2):
        m.calls = m.pz.calls = m.px.calls = m.qz.calls = 0
        function({"x": x})
        assert (m.calls, m.qz.calls, m.pz.calls, m.px.calls) == (STEPS, STEPS, 1, 1)


def test_divergence_of_laws_with_one_state():
    m = VRNN()
    x, eps = torch.randn(ROWS, STEPS, D).double(), torch.randn(ROWS, STEPS, m.Z).double()
    likelihood = Sequence(m.p.step_law.factors[0].law, carry={"h": "h_prev"}, init=m.h0,
                          series=["z"])  # fmt: skip
    bound = E(m.q, likelihood.log_prob()) - KL(m.q, m.prior)
    torch.testing.assert_close(
        twice(bound, {"x": x}, noise={"z": eps}), m.by_hand(x, eps)[1], rtol=1e-12, atol=1e-12
    )


def test_a_density_computes_the_states_that_are_not_given():
    m = VRNN()
    drawn = m.p.sample(batch_n=ROWS, length=STEPS)
    given = {"x": drawn["x"], "z": drawn["z"]}
    found = twice(m.p.log_prob(), given)
    torch.testing.assert_close(found, m.p.get_log_prob(given))
    torch.testing.assert_close(found, m.p.get_log_prob(drawn))


# -- draws ----------------------------------------------------------------------------------------
def test_a_draw_goes_on_from_any_prefix():
    m = VRNN()
    first = m.p.sample(batch_n=ROWS, length=STEPS)
    on = m.p.sample({"x": first["x"], "z": first["z"]}, length=STEPS + 4)
    for name in ("x", "z", "h"):
        assert on[name].shape[:2] == (ROWS, STEPS + 4)
        torch.testing.assert_close(on[name][:, :STEPS], first[name])


def test_the_length_is_that_of_what_is_given():
    u = torch.zeros(ROWS, STEPS, D)
    assert walk().sample({"u": u})["z"].shape == (ROWS, STEPS, D)
    drawn = walk().sample({"u": u}, sample_shape=[2])
    assert drawn["z"].shape == (2, ROWS, STEPS, D)
    assert walk(mask="m").sample({"u": u})["z"].shape == (ROWS, STEPS, D)  # a draw reads no mask


def test_draws_follow_the_law():
    """The variance of a walk after t steps is t: 5 standard errors of 20000 draws are 5 percent."""
    torch.manual_seed(0)
    z = walk().sample({"u": torch.ones(20000, STEPS, D)})["z"]
    for t in range(STEPS):
        assert z[:, t].mean().item() == pytest.approx(t + 1, abs=5 * math.sqrt((t + 1) / 60000))
        assert z[:, t].var().item() == pytest.approx(t + 1, abs=5 * (t + 1) * math.sqrt(2 / 60000))


def test_a_first_state_by_name_is_drawn_by_another_law():
    p_0 = Normal(var=["z_0"], loc=3.0, scale=0.1, features_shape=[D], name="p_0")
    joint = walk(init="z_0") * p_0
    drawn = joint.sample({"u": torch.zeros(2000, 1, D)})
    assert set(drawn) == {"u", "z", "z_0"}
    away = drawn["z"][:, 0] - drawn["z_0"]
    assert abs(float(away.mean())) < 5 / math.sqrt(2000 * D)
    torch.testing.assert_close(twice(joint.log_prob(), drawn), joint.get_log_prob(drawn))


# -- steps of any kind ----------------------------------------------------------------------------
def test_several_draws_and_copies():
    """K draws of a whole sequence along one axis; each copy has a chain of its own."""
    u, x = torch.zeros(ROWS, STEPS, D).double(), torch.randn(ROWS, STEPS, D).double()
    q = walk(name="q")
    p = Sequence(Normal(var=["x"], cond_var=["z"], loc="z", scale=2.0, name="p"), series=["z"])
    batch = {"u": u, "x": x}
    eps = torch.randn(3, ROWS, STEPS, D).double()
    z = eps.cumsum(2)
    each = torch.distributions.Normal(z, 2.0).log_prob(x).sum((-1, -2))
    noise = {"z": eps}
    mean = E(q, p.log_prob(), sample_shape=[3])
    torch.testing.assert_close(twice(mean, batch, noise=noise), each.mean(0))
    bound = E(q.iid(k=3), p.log_prob().exp().mean("k").log())
    expected = each.logsumexp(0) - math.log(3)
    torch.testing.assert_close(twice(bound, batch, noise=noise), expected)


@pytest.mark.parametrize("likelihood", ["whole", "steps", "both"])
def test_any_length_where_no_data_tells_it_and_where_functions_see_all_of_it(likelihood):
    """A function of whole sequences along draws, and one whose steps only a network makes."""
    u = Deterministic(var=["u"], cond_var=["x"], net=lambda x: x.cumsum(1), name="f")
    sums = Deterministic(var=["s"], cond_var=["z"], net=lambda z: z.cumsum(1), name="g")
    of_all = Sequence(Normal(var=["y"], cond_var=["s"], loc="s", scale=1.0), series=["s"])
    of_each = Sequence(Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0), series=["z"])
    terms = {"whole": of_all.log_prob(), "steps": of_each.log_prob()}
    terms["both"] = terms["whole"] + terms["steps"]
    body = terms[likelihood]
    function = E(u, E(walk() * sums, body, sample_shape=[3])).function()
    for steps in (4, 4, 7, 7, 2):
        x, y = torch.randn(2, ROWS, steps, D).double()
        eps = torch.randn(3, ROWS, steps, D).double()
        z = (x.cumsum(1) + eps).cumsum(2)
        parts = {"whole": (z.cumsum(2), y), "steps": (z, x)}
        wanted = [parts[k] for k in (parts if likelihood == "both" else [likelihood])]
        logs = [torch.distributions.Normal(m, 1.0).log_prob(v).sum((-1, -2)) for m, v in wanted]
        given = {"x": x, "y": y} if likelihood != "steps" else {"x": x}
        found = function(given, noise={"z": eps})
        torch.testing.assert_close(found, sum(logs).mean(0))


def test_a_step_may_be_a_flow():
    """A log-normal walk: the density at its own draw needs no inverse."""
    base = Normal(var=["z"], cond_var=["z_prev"], name="q", scale=0.5,
                  net=lambda z_prev: {"loc": 0.5 * z_prev.log()})  # fmt: skip
    q = Sequence(NormalizingFlow(base, Exp(), var=["z"], name="q"), carry={"z": "z_prev"},
                 init=torch.ones(D, dtype=torch.float64), mask="m")  # fmt: skip
    mask = {"m": torch.ones(ROWS, STEPS).double()}
    eps = torch.randn(ROWS, STEPS, D).double()
    z, total = torch.ones(ROWS, D).double(), torch.zeros(ROWS).double()
    for t in range(STEPS):
        law = torch.distributions.LogNormal(0.5 * z.log(), torch.tensor(0.5).double())
        z = (0.5 * z.log() + 0.5 * eps[:, t]).exp()
        total = total + law.log_prob(z).sum(-1)
    found = twice(E(q, q.log_prob()), mask, noise={"z": eps})
    torch.testing.assert_close(found, total)


def test_a_step_may_have_noise_of_its_own():
    """A gamma chain: what rejection draws in each round can be given back."""
    step = Gamma(var=["z"], cond_var=["z_prev"], name="q", rate=1.0,
                 net=lambda z_prev: {"concentration": 1.0 + z_prev})  # fmt: skip
    q = Sequence(step, carry={"z": "z_prev"}, init=torch.ones(D), mask="m")
    mask = {"m": torch.ones(ROWS, STEPS)}
    total = E(q, q.log_prob())
    twice(total, mask)
    given = torch.rand(ROWS, STEPS, D) + 0.5
    assert torch.isfinite(twice(total, mask, noise={"z": given})).all()


def test_jumps_have_a_score_for_the_whole_sequence():
    """A chain of two states: 5 standard errors of the mean gradient against enumeration."""
    torch.manual_seed(0)
    gain = Gain()
    weight = gain.weight
    step = Categorical(var=["y"], cond_var=["y_prev"], name="q",
                       net=gain)  # fmt: skip
    first = torch.tensor([1.0, 0.0], dtype=torch.float64)
    q = Sequence(step, carry={"y": "y_prev"}, init=first, series=[], mask="m")
    score = Sequence(Normal(var=["x"], cond_var=["y"], net=lambda y: {"loc": y @ _TO_X}, scale=1.0,
                            name="p"), series=["y"], mask="m")  # fmt: skip
    loss = E(q, score.log_prob())
    x = torch.tensor([0.3, -0.2, 1.0]).double()[None, :, None]
    with pytest.raises(GradientError, match="y is drawn from q"):
        loss.eval({"x": x, "m": torch.ones(1, 3).double()})
    exact = _chain(weight, first, x[0, :, 0])
    (wanted,) = torch.autograd.grad(exact, weight)
    rows = 40000
    batch = {"x": x.expand(rows, 3, 1), "m": torch.ones(rows, 3).double()}
    estimate = loss.estimate({q: Score()}).function()(batch)
    found = torch.autograd.grad(estimate.mean(), weight, retain_graph=True)[0]
    error = 5 * 3.0 / math.sqrt(rows)
    assert error < 0.1
    assert (found - wanted).abs().item() < error
    assert (estimate.mean() - exact).abs().item() < error


class Gain(nn.Module):
    """Logits that grow with the state before."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, y_prev: Tensor) -> dict[str, Tensor]:
        return {"logits": self.weight * (1 + y_prev)}


_TO_X = torch.tensor([[0.0], [1.5]], dtype=torch.float64)


def _chain(weight: Tensor, first: Tensor, x: Tensor) -> Tensor:
    """The expectation over all eight paths."""
    total = torch.zeros((), dtype=torch.float64)
    for path in range(8):
        before, log_q, log_p = first, 0.0, 0.0
        for t in range(3):
            state = (path >> t) & 1
            log_q = log_q + (weight * (1 + before)).log_softmax(-1)[state]
            before = F.one_hot(torch.tensor(state), 2).double()
            log_p = log_p + torch.distributions.Normal(before @ _TO_X, 1.0).log_prob(x[t]).sum()
        total = total + log_q.exp() * log_p
    return total


def test_a_renamed_sequence_is_a_draw_of_its_own():
    q = walk(name="q")
    both = E(q * q.replace_var(z="w"), values("u").__mul__(0.0).sum() + q.log_prob())
    assert set(both.program().draws) == {"z", "w"}


# -- words ----------------------------------------------------------------------------------------
def test_constructor_says_what_does_not_fit():
    step = walk().step_law
    with pytest.raises(VariableError, match=r"carry names 'z_pref', which is no condition"):
        Sequence(step, carry={"z": "z_pref"})
    with pytest.raises(VariableError, match=r"series names 'v'"):
        Sequence(step, carry={"z": "z_prev"}, series=["v"])
    with pytest.raises(VariableError, match="is carried and a series"):
        Sequence(step, carry={"z": "z_prev"}, series=["u", "z_prev"])
    with pytest.raises(VariableError, match="A mask is a variable of its own"):
        Sequence(step, carry={"z": "z_prev"}, series=["u"], mask="u")
    with pytest.raises(VariableError, match="init has 'u', which is not carried"):
        Sequence(step, carry={"z": "z_prev"}, series=["u"], init={"u": 0.0})
    law = Normal(var=["z_0"], loc=0.0, scale=1.0, name="p_0")
    with pytest.raises(OptionError, match=r"init='z_0'\) \* p_0"):
        Sequence(step, carry={"z": "z_prev"}, series=["u"], init=law)
    with pytest.raises(OptionError, match="cannot be a part of a step"):
        Sequence(walk())
    with pytest.raises(OptionError, match="takes the law of a step, got Linear"):
        Sequence(nn.Linear(1, 1))


def test_lengths_that_do_not_fit_are_named():
    u = torch.zeros(ROWS, STEPS, D)
    with pytest.raises(SamplingError, match=r"how long.*length=10"):
        Sequence(Normal(var=["z"], loc=0.0, scale=1.0)).sample()
    with pytest.raises(ShapeError, match="u 5, length= 7"):
        walk().sample({"u": u}, length=7)
    with pytest.raises(ShapeError, match="the prefix has 6 steps, the sequence 5"):
        walk().sample({"u": u, "z": torch.zeros(ROWS, 6, D)})
    with pytest.raises(ShapeError, match=r"(6|5) steps .* but it meets sequences of (5|6) steps"):
        walk().log_prob().eval({"u": u, "z": torch.zeros(ROWS, 6, D)})
    m = VRNN()
    with pytest.raises(MissingVariableError, match="but not for z"):
        m.p.sample({"x": torch.zeros(ROWS, 2, D).double()}, length=4)
    free = Sequence(Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[1], name="p"))
    with pytest.raises(ScopeError, match="nothing that is given says how long"):
        E(free, free.log_prob()).eval(batch_n=3)


def test_a_number_cannot_start_what_turns_out_a_vector():
    """It met the rows of the network: values of shape (rows, T, rows), in silence."""
    step = Normal(var=["x"], cond_var=["x_prev", "u"], scale=1.0,
                  net=lambda x_prev, u: {"loc": x_prev + u})  # fmt: skip
    p, given = Sequence(step, carry={"x": "x_prev"}, series=["u"]), {"u": torch.ones(3, 4, 1)}
    zero = torch.zeros(3, 4, 1)
    for ask in (
        lambda: p.sample(given),
        lambda: E(p, p.log_prob()).eval(given),
        lambda: p.log_prob().eval({**given, "x": zero}),
    ):
        with pytest.raises(
            ShapeError, match=r"x\S* starts with event shape \(\).*features_shape="
        ):
            ask()
    # where values are given, they say what the number stands for
    wanted = -0.5 * (4 * math.log(2 * math.pi) + 4.0)
    found = p.get_log_prob({**given, "x": zero})
    torch.testing.assert_close(found, torch.full((3,), wanted))


def test_the_density_of_several_draws():
    """Axes of draws stand in front, of the sequence and of what it is given, or of it alone."""
    p, u = walk(mask="m"), torch.randn(ROWS, STEPS, D)
    m = (torch.arange(STEPS) < 3).expand(ROWS, STEPS).float()
    draws = p.sample({"u": u, "m": m}, sample_shape=[2, 3])
    every = p.get_log_prob(draws)
    assert every.shape == (2, 3, ROWS)
    one = p.get_log_prob({"u": u, "m": m, "z": draws["z"][1, 2]})
    torch.testing.assert_close(every[1, 2], one)
    wide = {**draws, "u": u.expand(2, 3, *u.shape)}
    assert torch.equal(p.get_log_prob(wide), every)


def test_a_mask_is_one_number_for_each_step():
    given = {"u": torch.zeros(ROWS, STEPS, D), "z": torch.zeros(ROWS, STEPS, D)}
    with pytest.raises(ShapeError, match=r"one number for each row and step, shape \(rows, T\)"):
        walk(mask="m").log_prob().eval({**given, "m": torch.ones(ROWS, STEPS, D)})


def test_it_reads_as_a_product_over_time():
    law = walk(mask="m")
    assert law.latex() == (r"p(z_{1:T}|u_{1:T}) = \prod_{t} p(z_{t}|z_{t-1},u_{t})")
    assert "<math" in law.mathml()
    assert "<svg" in law.graph()
    assert str(law.log_prob()) == "Σ_t m_t log p(z_t|z_{t-1},u_t)"
    assert "Π_t p(z_t|z_{t-1},u_t)" in str(law)


def test_it_is_saved_and_copied():
    m = VRNN()
    assert any(p is m.h0 for p in m.p.parameters())
    law = Sequence(Normal(var=["z"], cond_var=["z_prev"], loc="z_prev", scale=1.0, name="p"),
                   carry={"z": "z_prev"}, init=nn.Parameter(torch.ones(D)))  # fmt: skip
    z = torch.randn(ROWS, STEPS, D)
    again = copy.deepcopy(law)
    again.load_state_dict(law.state_dict())
    torch.testing.assert_close(again.get_log_prob({"z": z}), law.get_log_prob({"z": z}))
    assert pickle.loads(pickle.dumps(law)).var == ["z"]


def test_an_empty_prefix_and_an_empty_batch_are_none():
    u = torch.zeros(ROWS, STEPS, D)
    begun = walk().sample({"u": u, "z": torch.zeros(ROWS, 0, D)}, sample_shape=[2])
    assert begun["z"].shape == (2, ROWS, STEPS, D)
    for law in (walk(), walk(mask="m")):
        given = {"u": u[:0], "z": u[:0], "m": torch.ones(0, STEPS)}
        assert twice(law.log_prob(), given).shape == law.get_log_prob(given).shape == (0,)
        drawn = E(law.replace_var(z="w"), law.replace_var(z="w").log_prob())
        assert twice(drawn, given).shape == (0,)
