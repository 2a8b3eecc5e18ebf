"""O20: of a linear-Gaussian state space model the bound at the exact smoother is the likelihood.

The rows have different lengths (``mask``) and missing frames (``observed``), and padding is NaN.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.distributions import MultivariateNormal, Sequence
from ancestral.losses import KL, E, Node
from tests.oracles import kalman

LENGTHS, STEPS, D, PIXELS = (6, 4, 1), 6, 2, 3
rng = np.random.default_rng(0)
MODEL = kalman.Model(
    A=np.array([[0.9, 0.2], [-0.3, 0.7]]),
    Q=np.array([[0.5, 0.1], [0.1, 0.3]]),
    C=rng.normal(size=(PIXELS, D)),
    R=np.diag([0.2, 0.4, 0.3]),
    z0=np.array([0.5, -1.0]),
)
MASK = np.arange(STEPS) < np.array(LENGTHS)[:, None]
SEEN = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 1, 1], [1, 1, 0, 1, 1, 1]])


def tensor(value: object) -> Tensor:
    return torch.as_tensor(np.asarray(value, dtype=np.float64))


A, C, z0 = tensor(MODEL.A), tensor(MODEL.C), tensor(MODEL.z0)
p_t = MultivariateNormal(
    var=["z"], cond_var=["z_prev"], name="p", scale_tril=torch.linalg.cholesky(tensor(MODEL.Q)),
    net=lambda z_prev: {"loc": z_prev @ A.T},
)  # fmt: skip
e_t = MultivariateNormal(
    var=["x"], cond_var=["z"], name="p", scale_tril=torch.linalg.cholesky(tensor(MODEL.R)),
    net=lambda z: {"loc": z @ C.T},
)  # fmt: skip
q_t = MultivariateNormal(
    var=["z"], cond_var=["z_prev", "F", "b", "L"], name="q", scale_tril="L",
    net=lambda z_prev, F, b, L: {"loc": (F @ z_prev[..., None])[..., 0] + b},
)  # fmt: skip


def batch(seen: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
    """Observations with NaN where there are none, the smoother, and log p(x) of each row."""
    x = rng.normal(size=(len(LENGTHS), STEPS, PIXELS)) * 2
    chains, exact = [], []
    for row, steps in enumerate(LENGTHS):
        F, b, V = np.zeros((STEPS, D, D)), np.zeros((STEPS, D)), np.tile(np.eye(D), (STEPS, 1, 1))
        F[:steps], b[:steps], V[:steps] = kalman.smoother(MODEL, x[row, :steps], seen[row, :steps])
        chains.append((F, b, np.linalg.cholesky(V)))
        exact.append(kalman.filtered(MODEL, x[row, :steps], seen[row, :steps])[0])
    x[~(MASK & (seen > 0))] = np.nan
    F, b, L = (tensor(np.stack(part)) for part in zip(*chains, strict=True))
    F[~torch.as_tensor(MASK)] = torch.nan  # padding of what is read may be NaN, too
    given = {"x": x, "m": MASK, "o": seen, "F": F, "b": b, "L": L}
    return {name: tensor(value) for name, value in given.items()}, tensor(exact)


def laws(*, observed: bool) -> tuple[Sequence, Sequence, Sequence]:
    """The model of the states, that of the observations, and the smoother."""
    pz = Sequence(p_t, carry={"z": "z_prev"}, init=z0, mask="m")
    px = Sequence(e_t, series=["z"], mask="m", observed="o" if observed else None)
    q = Sequence(q_t, carry={"z": "z_prev"}, init=z0, series=["F", "b", "L"], mask="m")
    return pz, px, q


def bounds(*, observed: bool) -> dict[str, Node]:
    """The bound as it is written with a ratio, and with a divergence."""
    pz, px, q = laws(observed=observed)
    ratio = E(q, (px * pz).log_prob() - q.log_prob())
    return {"ratio": ratio, "divergence": E(q, px.log_prob()) - KL(q, pz)}


def test_the_oracle_agrees_with_itself():
    x = rng.normal(size=(STEPS, PIXELS))
    for seen in SEEN:
        by_filter = kalman.filtered(MODEL, x, seen)[0]
        assert by_filter == pytest.approx(kalman.log_likelihood(MODEL, x, seen), abs=1e-11)


@pytest.mark.parametrize("observed", [False, True])
def test_ratio_is_the_likelihood_at_every_draw(observed):
    given, exact = batch(SEEN if observed else np.ones_like(SEEN))
    found = bounds(observed=observed)["ratio"].function()
    for _ in range(2):  # by the interpreter, then by the text
        torch.testing.assert_close(found(given), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("observed", [False, True])
def test_divergence_is_the_likelihood_on_average(observed):
    """5 standard errors of 10000 draws are at most 0.25 nats: a wrong mask costs a nat and more."""
    given, exact = batch(SEEN if observed else np.ones_like(SEEN))
    pz, px, q = laws(observed=observed)
    torch.manual_seed(0)
    many = {name: v.repeat(10000, *(1,) * (v.dim() - 1)) for name, v in given.items()}
    draws = (E(q, px.log_prob()) - KL(q, pz)).eval(many).reshape(10000, len(LENGTHS))
    error = draws.std(0) / 10000**0.5
    assert bool(((draws.mean(0) - exact).abs() < 5 * error).all())
    assert float(error.max()) < 0.05


def test_one_mask_for_both_would_be_wrong():
    """Missing frames must not cut the divergence: the bound would be off by what they cost."""
    given, exact = batch(SEEN)
    pz, px, q = laws(observed=True)
    cut = {**given, "m": given["m"] * given["o"]}
    wrong = E(q, (px * pz).log_prob() - q.log_prob()).eval(cut)
    assert float((wrong - exact).abs().max()) > 0.05


def test_padding_is_nan_and_no_gradient_is():
    given, _ = batch(SEEN)
    slope = torch.ones((), dtype=torch.float64, requires_grad=True)
    chain = MultivariateNormal(
        var=["z"], cond_var=["z_prev", "b"], name="q", scale_tril=torch.eye(D).double(),
        net=lambda z_prev, b: {"loc": slope * z_prev + b},
    )  # fmt: skip
    pz, px, _ = laws(observed=True)
    q = Sequence(chain, carry={"z": "z_prev"}, init=z0, series=["b"], mask="m")
    given["b"] = torch.where(given["m"][..., None] > 0, given["b"], torch.nan)
    loss = (E(q, px.log_prob()) - KL(q, pz)).mean().function()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(loss(given), slope)
        assert bool(torch.isfinite(gradient))


def test_densities_without_a_program_agree():
    given, _ = batch(SEEN)
    pz, px, q = laws(observed=True)
    given["z"] = torch.randn(len(LENGTHS), STEPS, D, dtype=torch.float64)
    for law in (pz, px, q, px * pz):
        torch.testing.assert_close(law.get_log_prob(given), law.log_prob().eval(given))
