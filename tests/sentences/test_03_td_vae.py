"""Sentence 3: TD-VAE; two times that are random, one draw in several terms.

With the exact filter as belief and the exact smoother as q, the bound at every draw is the exact
log p(x_t2 | x_1..x_t1) of a linear-Gaussian state space model, by the Kalman filter.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions import Deterministic, MultivariateNormal, Normal, Take, Uniform
from ancestral.losses import E
from tests.lowering.reading import draws, passes, twice
from tests.oracles import kalman
from tests.sentences.counting import agrees, counted

ROWS, STEPS, D = 40, 20, 2
MODEL = kalman.Model(
    A=np.array([[0.8, 0.3], [-0.2, 0.6]]),
    Q=np.array([[0.4, 0.1], [0.1, 0.3]]),
    C=np.array([[1.0, 0.5], [0.2, -1.0], [0.7, 0.7]]),
    R=np.diag([0.3, 0.2, 0.5]),
    z0=np.zeros(D),
)
A, Q, C, R = (torch.as_tensor(m) for m in (MODEL.A, MODEL.Q, MODEL.C, MODEL.R))


def belief(x: Tensor) -> Tensor:
    """The filter: mean and Cholesky factor of each state given all up to it, as one vector."""
    m, P, out = torch.zeros(len(x), D).double(), torch.zeros(D, D).double(), []
    for t in range(x.shape[1]):
        m, P = m @ A.T, A @ P @ A.T + Q
        gain = P @ C.T @ torch.linalg.inv(C @ P @ C.T + R)
        m, P = m + (x[:, t] - m @ C.T) @ gain.T, P - gain @ C @ P
        L = torch.linalg.cholesky(P).flatten().expand(len(x), D * D)
        out.append(torch.cat([m, L], -1))
    return torch.stack(out, 1)


def state(b: Tensor) -> dict[str, Tensor]:
    """p_B(z|b)."""
    return {"loc": b[:, :D], "scale_tril": b[:, D:].reshape(-1, D, D)}


def smoothed(z2: Tensor, b1: Tensor, b2: Tensor) -> dict[str, Tensor]:
    """q(z1|z2,b1,b2), which needs no b2: z2 tells all of what came later."""
    m, L = b1[:, :D], b1[:, D:].reshape(-1, D, D)
    P = L @ L.mT
    gain = P @ A.T @ torch.linalg.inv(A @ P @ A.T + Q)
    loc = m + (gain @ (z2 - m @ A.T)[..., None])[..., 0]
    return {"loc": loc, "scale_tril": torch.linalg.cholesky(P - gain @ A @ P)}


def times(u: Tensor, x: Tensor) -> dict[str, Tensor]:
    """t2 = t1 + 1, where the filter is stationary."""
    first = x.shape[1] // 2
    t1 = first + (u * (x.shape[1] - 1 - first)).floor()
    return {"t1": t1, "t2": t1 + 1}


f = Deterministic(var=["b"], cond_var=["x"], net=belief, name="belief")
p_b = MultivariateNormal(var=["z"], cond_var=["b"], net=state, name="p_B")
p_t = MultivariateNormal(
    var=["z2"], cond_var=["z1"], scale_tril=torch.linalg.cholesky(Q), name="p",
    net=lambda z1: {"loc": z1 @ A.T},
)  # fmt: skip
p_x = MultivariateNormal(
    var=["x2"], cond_var=["z2"], scale_tril=torch.linalg.cholesky(R), name="p",
    net=lambda z2: {"loc": z2 @ C.T},
)  # fmt: skip
q = MultivariateNormal(var=["z1"], cond_var=["z2", "b1", "b2"], net=smoothed, name="q")
b1, b2 = p_b.replace_var(z="z1", b="b1"), p_b.replace_var(z="z2", b="b2")
at = Take(b1="b[t1]", b2="b[t2]", x2="x[t2]")
u = Uniform(var=["u"], low=0.0, high=1.0, features_shape=[], name="p")
jump = Deterministic(var=["t1", "t2"], cond_var=["u", "x"], net=times, name="p") * u
p_12 = jump.marginalize_var("u")
law = q * b2 * at * f * p_12
terms = [p_x.log_prob(), b1.log_prob(), p_t.log_prob(), -b2.log_prob(), -q.log_prob()]
td = E(law, sum(terms[1:], terms[0]))


def sequences(rows: int) -> Tensor:
    """Draws of the model."""
    generator = torch.Generator().manual_seed(0)
    z, out = torch.zeros(rows, D).double(), []
    for _ in range(STEPS):
        w = torch.randn(rows, D, generator=generator, dtype=torch.float64)
        v = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
        z = z @ A.T + w @ torch.linalg.cholesky(Q).T
        out.append(z @ C.T + v @ torch.linalg.cholesky(R).T)
    return torch.stack(out, 1)


def predictive(x: Tensor, t: int) -> float:
    """log p(x_t | x_1..x_{t-1}) by two likelihoods."""
    row, seen = x.numpy(), np.ones(STEPS)
    both = [kalman.log_likelihood(MODEL, row[: t + k], seen[: t + k]) for k in (0, 1)]
    return both[1] - both[0]


def test_it_prints_as_the_paper_writes_it():
    assert str(td) == (
        "E_{q(z1|z2,b1,b2)p_B(z2|b2)take(b1,b2,x2|b,x,t1,t2)belief(b|x)p(t1,t2|x)}[log p(x2|z2) + "
        "log p_B(z1|b1) + log p(z2|z1) - log p_B(z2|b2) - log q(z1|z2,b1,b2)]"
    )
    assert td.latex() == (
        r"\mathbb{E}_{q(z1|z2,b1,b2)p_{B}(z2|b2)take(b1,b2,x2|b,x,t1,t2)belief(b|x)p(t1,t2|x)} "
        r"\left[\log p(x2|z2) + \log p_{B}(z1|b1) + \log p(z2|z1) - \log p_{B}(z2|b2) - "
        r"\log q(z1|z2,b1,b2) \right]"
    )


def test_each_law_is_drawn_once_for_all_terms():
    assert draws(td) == ["u", "z2", "z1"]
    assert passes(td).count("belief(b|x)") == 1
    assert len([p for p in passes(td) if p.startswith("p_B")]) == 2


class Join(nn.Module):
    """A linear layer of all conditions."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layer = nn.Linear(before, after).double()

    def forward(self, *args: Tensor) -> Tensor:
        return self.layer(torch.cat(args, -1))


class Learned:
    """The sentence with networks for all of its laws, beliefs of four numbers."""

    H = 4

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.rnn, self.prior = nn.GRU(3, self.H, batch_first=True).double(), Join(self.H, 2 * D)
        self.jump, self.decoder = Join(D, 2 * D), Join(D, 6)
        self.back = Join(D + 2 * self.H, 2 * D)
        belief = Deterministic(var=["b"], cond_var=["x"], name="belief", net=self.belief)
        p_b = Normal(var=["z"], cond_var=["b"], net=self.prior, name="p_B")
        p_t = Normal(var=["z2"], cond_var=["z1"], net=self.jump, name="p")
        p_x = Normal(var=["x2"], cond_var=["z2"], net=self.decoder, name="p")
        q = Normal(var=["z1"], cond_var=["z2", "b1", "b2"], net=self.back, name="q")
        b1, b2 = p_b.replace_var(z="z1", b="b1"), p_b.replace_var(z="z2", b="b2")
        self.loss = -E(
            q * b2 * at * belief * p_12,
            p_x.log_prob() + b1.log_prob() + p_t.log_prob() - b2.log_prob() - q.log_prob(),
        ).mean()
        self.nets = {"b": self.rnn, "p_B": self.prior, "p_t": self.jump, "p_x": self.decoder,
                     "q": self.back}  # fmt: skip
        self.batch = {"x": torch.randn(5, 7, 3).double()}

    def belief(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]

    def by_hand(self, u: Tensor, eps1: Tensor, eps2: Tensor) -> Tensor:
        x, total = self.batch["x"], 0.0
        b = self.rnn(x)[0]
        for i in range(len(x)):  # row after row, each at its own times
            t1 = 3 + int(float(u[i]) * 3)
            early, late = b[i, t1], b[i, t1 + 1]
            of_z2 = self.law(self.prior, late)
            z2 = of_z2.loc + of_z2.scale * eps2[i]
            of_z1 = self.law(self.back, z2, early, late)
            z1 = of_z1.loc + of_z1.scale * eps1[i]
            terms = self.law(self.decoder, z2).log_prob(x[i, t1 + 1]).sum()
            terms = terms + self.law(self.prior, early).log_prob(z1).sum()
            terms = terms + self.law(self.jump, z1).log_prob(z2).sum()
            total = total + terms - of_z2.log_prob(z2).sum() - of_z1.log_prob(z1).sum()
        return -total / len(x)

    @staticmethod
    def law(net: nn.Module, *args: Tensor) -> torch.distributions.Normal:
        loc, raw = net(*args).chunk(2, -1)
        return torch.distributions.Normal(loc, nn.functional.softplus(raw))


def test_each_network_runs_once_and_the_belief_s_law_at_both_times():
    m = Learned()
    function = m.loss.function()
    for _ in range(2):  # the interpreter, the generated step
        with counted(**m.nets) as seen:
            function(m.batch)
        assert seen == {"b": [5], "p_B": [5, 5], "p_t": [5], "p_x": [5], "q": [5]}


def test_value_and_gradient_by_hand():
    m, u = Learned(), torch.tensor([0.1, 0.5, 0.9, 0.4, 0.7]).double()
    eps1, eps2 = torch.randn(2, 5, D).double()
    noise = {"u": u, "z1": eps1, "z2": eps2}
    agrees(m.loss, m.batch, lambda: m.by_hand(u, eps1, eps2), [*m.nets.values()], noise=noise)


def test_bound_at_every_draw_is_the_predictive_density():
    x = sequences(ROWS)
    where = torch.linspace(0.0, 0.999, ROWS).double()
    found = twice(td, {"x": x}, noise={"u": where})
    chosen = times(where, x)["t2"].long().tolist()
    exact = torch.tensor([predictive(x[i], t) for i, t in enumerate(chosen)], dtype=x.dtype)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-9)


def test_loss_is_the_entropy_of_what_comes_next():
    """The filter is stationary after ten steps: 5 standard errors of 20000 rows, about 0.05."""
    P = torch.zeros(D, D).double()
    for _ in range(200):
        P = A @ P @ A.T + Q
        P = P - P @ C.T @ torch.linalg.inv(C @ P @ C.T + R) @ C @ P
    S = C @ (A @ P @ A.T + Q) @ C.T + R
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * S)
    torch.manual_seed(0)
    loss = -td.eval({"x": sequences(20000)})
    error = loss.std() / math.sqrt(len(loss))
    assert error.item() < 0.01
    assert (loss.mean() - entropy).abs().item() < 5 * error.item()


def test_the_later_time_first_is_wrong():
    back = jump.replace_var(t1="t2", t2="t1").marginalize_var("u")
    x = sequences(ROWS)
    where = torch.linspace(0.0, 0.999, ROWS).double()
    right = td.eval({"x": x}, noise={"u": where})
    terms_at = E(q * b2 * at * f * back, td.body)
    wrong = terms_at.eval({"x": x}, noise={"u": where})
    assert (right - wrong).abs().min().item() > 1e-3
    assert wrong.mean().item() < right.mean().item() - 0.1


def test_five_expectations_are_one_program():
    parts = [E(law, term) for term in terms]
    apart = sum(parts[1:], parts[0])
    assert draws(apart) == draws(td)
    assert sorted(passes(apart)) == sorted(passes(td))
    x, where = sequences(ROWS), torch.rand(ROWS).double()
    noise = {"u": where, "z1": torch.randn(ROWS, D).double(), "z2": torch.randn(ROWS, D).double()}
    one, five = (twice(loss, {"x": x}, noise=noise) for loss in (td, apart))
    torch.testing.assert_close(one, five, rtol=1e-12, atol=1e-12)


def test_entries_have_shapes_of_their_own():
    x, y = torch.randn(3, 5, 4, 2), torch.randn(3, 5)
    t = torch.tensor([0.0, 4.0, 2.0])
    found = Take(a="x[t]", c="y[t]").sample({"x": x, "y": y, "t": t})
    assert torch.equal(found["a"], x[torch.arange(3), t.long()])
    assert torch.equal(found["c"], y[torch.arange(3), t.long()])
    with pytest.raises(OptionError, match=r"write each variable as the entry"):
        Take(a="x")
    with pytest.raises(ShapeError, match=r"its time is one number for each row"):
        Take(a="x[t]").sample({"x": x, "t": t[:, None]})
