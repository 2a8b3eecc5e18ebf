"""Sentence 3: TD-VAE; two times that are random, one draw in several terms.

With the exact filter as belief and the exact smoother as q, the bound at every draw is the exact
log p(x_t2 | x_1..x_t1) of a linear-Gaussian state space model, by the Kalman filter.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.core.errors import OptionError, ShapeError
from ancestral.distributions import Deterministic, MultivariateNormal, Take, Uniform
from ancestral.losses import E
from tests.lowering.reading import draws, passes, twice
from tests.oracles import kalman

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


def test_each_law_is_drawn_once_for_all_terms():
    assert draws(td) == ["u", "z2", "z1"]
    assert passes(td).count("belief(b|x)") == 1
    assert len([p for p in passes(td) if p.startswith("p_B")]) == 2


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
