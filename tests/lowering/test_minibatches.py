"""Minibatches: over every batch of a small set the mean estimate is that of the whole set, exactly.

Base noise belongs to the rows that it is drawn for, and that of a global to all; so all batches of
B of the N rows, each as likely, give the value and the gradient on N rows to 1e-10.
"""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import ScopeError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E, Enumerate, H
from ancestral.models import Model

f64 = torch.float64
N, B = 4, 2
M, D = 3, 2  # of a second set: rows, and rows of a batch
BATCHES = list(itertools.combinations(range(N), B))
OTHERS = list(itertools.combinations(range(M), D))


class Encoder(nn.Module):
    """The law of a row's latent, given the row and the global."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.tensor([0.4, -0.3, 0.6], dtype=f64))

    def forward(self, x: Tensor, w: Tensor) -> dict[str, Tensor]:
        return {"loc": self.free[0] * x + self.free[1] * w, "scale": self.free[2].exp() + 0.0 * x}


class Logits(nn.Module):
    """The logit of a row's bit, given the row and the global."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.tensor([0.7, -0.5], dtype=f64))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.free[0] * x + self.free[1] * w


class Decoder(nn.Module):
    """The mean of a row given its latent, and the global."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.tensor([1.2, 0.3], dtype=f64))

    def forward(self, z: Tensor, w: Tensor) -> dict[str, Any]:
        return {"loc": self.free[0] * z + self.free[1] * w * w, "scale": 0.8}


class World:
    """A global w, one latent z for each row, and rows of two kinds, x and u."""

    def __init__(self, latent: str = "normal") -> None:
        loc, scale = (nn.Parameter(torch.tensor([v], dtype=f64)) for v in (0.3, 0.7))
        one = torch.ones(1, dtype=f64)
        self.q_w = Normal(var=["w"], loc=loc, scale=scale, name="q", plate=None)
        self.p_w = Normal(var=["w"], loc=0.0 * one, scale=1.0, name="p_w", plate=None)
        self.q = Normal(var=["z"], cond_var=["x", "w"], net=Encoder(), name="q")
        self.prior: Any = Normal(var=["z"], loc=0.0 * one, scale=1.0, name="p_z")
        self.p = Normal(var=["x"], cond_var=["z", "w"], net=Decoder(), name="p")
        self.r = Normal(var=["u"], cond_var=["w"], loc="w", scale=1.5, name="r")
        if latent == "bit":
            self.q = Bernoulli(var=["z"], cond_var=["x", "w"], net=Logits(), name="q")
            self.prior = Bernoulli(var=["z"], probs=0.3 * one, name="p_z")
        make = torch.Generator().manual_seed(2)
        self.x = torch.randn(N, 1, generator=make, dtype=f64)
        self.u = torch.randn(M, 1, generator=make, dtype=f64)
        self.noise_w = torch.randn(3, 1, generator=make, dtype=f64)
        self.noise_z = torch.randn(3, N, 1, generator=make, dtype=f64)
        self.parameters = [loc, scale, *self.q.parameters(), *self.p.parameters()]

    def bound(self, form: str) -> Any:
        """The bound by its rows, beside the divergence of the global."""
        q, p = self.q, self.p * self.prior
        ratio = self.p_w.log_prob() - self.q_w.log_prob()
        forms = {
            "divergence": lambda: (
                E(self.q_w * q, p.log_prob() - q.log_prob()) - KL(self.q_w, self.p_w)
            ),
            "divergences": lambda: (
                E(self.q_w, E(q, self.p.log_prob()) - KL(q, self.prior)) - KL(self.q_w, self.p_w)
            ),
            "entropy": lambda: E(self.q_w, E(q, p.log_prob()) + H(q)) - KL(self.q_w, self.p_w),
            "ratio": lambda: E(self.q_w * q, p.log_prob() - q.log_prob() + ratio),
            "joint": lambda: E(
                self.q_w * q, (p * self.p_w).log_prob() - (self.q_w * q).log_prob()
            ),
            "weighted": lambda: (
                E(self.q_w, E(q, p.log_prob() - q.log_prob())) - 0.3 * KL(self.q_w, self.p_w) + 2
            ),
            "draws": lambda: (
                E(self.q_w, E(q, p.log_prob() - q.log_prob()), sample_shape=[3])
                - KL(self.q_w, self.p_w)
            ),
        }
        return forms[form]()

    def over(
        self, loss: Any, batches: list[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> tuple[list[Any], Any]:
        """Values and gradients on batches of x and of u, and on all rows.

        The interpreter runs the first batch and the whole set, the text the others.
        """
        function, drawn = loss.function(), loss.program().draws
        several = {n: bool(r.axes) and r.axes[0].name == "draws" for n, r in drawn.items()}
        found = []
        for rows, others in [*batches, (tuple(range(N)), tuple(range(M)))]:
            batch = {"x": self.x[list(rows)], "u": self.u[list(others)]}
            every = {"w": self.noise_w, "z": self.noise_z[:, list(rows)]}
            noise = {n: every[n] if several[n] else every[n][0] for n in drawn}
            value = function(batch, noise=noise, data_size=N)
            found.append((value, *torch.autograd.grad(value, self.parameters)))
        return found[:-1], found[-1]


def equal(found: list[Any], wanted: Any) -> None:
    """The mean over batches is what it is on all rows; no batch has that value by itself."""
    for each, whole in zip(zip(*found, strict=True), wanted, strict=True):
        assert (torch.stack(each).mean(0) - whole).abs().max() < 1e-10
        assert whole.abs().max() > 1e-3
    assert min((value - wanted[0]).abs().item() for value, *_ in found) > 1e-3


FORMS = ["divergence", "divergences", "entropy", "ratio", "joint", "weighted", "draws"]


@pytest.mark.parametrize("how", ["sum", "mean"])
@pytest.mark.parametrize("form", FORMS)
def test_batches_average_to_the_data_set(form: str, how: str) -> None:
    world = World()
    loss = getattr(world.bound(form), how)()
    equal(*world.over(loss, [(rows, ()) for rows in BATCHES]))


@pytest.mark.parametrize("how", ["sum", "mean"])
@pytest.mark.parametrize("form", ["divergence", "ratio", "weighted", "draws"])
def test_enumerated_latents_of_the_rows_too(form: str, how: str) -> None:
    world = World("bit")
    loss = getattr(world.bound(form).estimate({world.q: Enumerate()}), how)()
    equal(*world.over(loss, [(rows, ()) for rows in BATCHES]))


def test_the_whole_set_is_what_it_is_by_hand() -> None:
    """The sum on all rows, at the draws: without N/B or a divergence too many."""
    world = World()
    value = world.over(world.bound("divergence").sum(), [])[1][0]
    normal = torch.distributions.Normal
    loc, scale = world.parameters[:2]
    w = loc + scale * world.noise_w[0]
    given = world.q.net(world.x, w.expand(N, 1))
    q = normal(given["loc"], given["scale"])
    z = q.loc + q.scale * world.noise_z[0]
    p = normal(world.p.net(z, w)["loc"], 0.8)
    rows = p.log_prob(world.x) + normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
    kl = torch.distributions.kl_divergence(normal(loc, scale), normal(0.0, 1.0))
    assert value.item() == pytest.approx((rows.sum() - kl).item(), abs=1e-12)


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_batches_of_two_plates(how: str) -> None:
    """Each pair of a batch of x and one of u: the sets have sizes of their own."""
    world = World()
    second = E(world.q_w, world.r.log_prob()).mean()
    if how == "sum":
        loss = world.bound("divergence").sum() + M * second
    else:
        loss = world.bound("divergence").mean() + M / N * second
    assert set(loss.program().draws) == {"w", "z"}  # one draw of the global for both
    equal(*world.over(loss, list(itertools.product(BATCHES, OTHERS))))


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_a_step_of_a_model_moves_as_far_on_average(how: str) -> None:
    """Without momentum a step is minus the gradient: its mean over batches is that on all rows."""
    world, moves = World("bit"), []
    loss = -getattr(world.bound("divergence").estimate({world.q: Enumerate()}), how)()
    model = Model(
        loss,
        distributions=[world.q_w, world.q, world.p],
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.01},
        data_size=N,
    )
    before = [p.detach().clone() for p in world.parameters]
    for rows in [*BATCHES, tuple(range(N))]:
        torch.manual_seed(5)  # one draw, of the global
        model.train({"x": world.x[list(rows)]})
        moves.append([p.detach() - b for p, b in zip(world.parameters, before, strict=True)])
        with torch.no_grad():
            for p, b in zip(world.parameters, before, strict=True):
                p.copy_(b)
    *parts, whole = moves
    for each, wanted in zip(zip(*parts, strict=True), whole, strict=True):
        assert (torch.stack(each).mean(0) - wanted).abs().max() < 1e-10
    assert max(m.abs().max().item() for m in whole) > 1e-4


def test_without_a_global_the_mean_is_that_of_rows() -> None:
    """A sum over rows is then that of the batch: B/N of the whole on average."""
    world = World()
    local = E(world.q, (world.p * world.prior).log_prob() - world.q.log_prob()).replace_var(w="v")
    for how, factor in (("mean", 1.0), ("sum", B / N)):
        loss = getattr(local, how)()
        found = []
        for rows in [*BATCHES, tuple(range(N))]:
            batch = {"x": world.x[list(rows)], "v": torch.full((len(rows), 1), 0.4, dtype=f64)}
            found.append(loss.eval(batch, noise={"z": world.noise_z[0, list(rows)]}))
        *parts, whole = found
        assert (torch.stack(parts).mean() - factor * whole).abs() < 1e-10


def test_one_number_of_rows_is_not_that_of_two_sets() -> None:
    """N is what data_size= says of one set; for a second one the loss says it."""
    world = World()
    q_v, p_v = (law.replace_var(w="v") for law in (world.q_w, world.p_w))
    second = E(q_v, world.r.replace_var(w="v").log_prob()) - KL(q_v, p_v)
    with pytest.raises(ScopeError, match=r"(?s)rows of x.*rows of u.*its own number"):
        (world.bound("divergence").sum() + second.sum()).program()
    loss = world.bound("divergence").sum() + M * E(world.q_w, world.r.log_prob()).mean()
    assert loss.program().inputs.count("N") == 1
