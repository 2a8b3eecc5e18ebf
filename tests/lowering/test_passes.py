"""One pass of each network, live weights, and nothing that survives an evaluation.

The ELBO is written in many ways. Each runs the encoder once and the decoder once, by the
interpreter (first call) and by the generated step (second call), and all have one value.
"""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import AncestralError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import ELBO, KL, CrossEntropy, E, Entropy, Expectation, LogProb, Parameter
from ancestral.models import Model
from tests.lowering.reading import draws, passes

ROWS, PIXELS, LATENT = 5, 6, 2


class Inference(Normal):
    """q(z|x) as a subclass: the law is the network."""

    def __init__(self) -> None:
        super().__init__(var=["z"], cond_var=["x"], name="q")
        self.fc = nn.Linear(PIXELS, 2 * LATENT)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        loc, scale = self.fc(x).chunk(2, -1)
        return {"loc": loc, "scale": F.softplus(scale)}


class Parts:
    """The laws of a VAE in float64, a batch, its noise, and a count of passes."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.q = Inference().double()
        self.net = nn.Linear(LATENT, PIXELS).double()
        self.p = Bernoulli(var=["x"], cond_var=["z"], net=self.net, name="p")
        self.prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[LATENT], name="p_0")
        self.x = (torch.rand(ROWS, PIXELS) > 0.5).double()
        self.noise = torch.randn(ROWS, LATENT, dtype=torch.float64)
        self.count = {"encoder": 0, "decoder": 0}
        self.q.register_forward_hook(lambda *_: self._add("encoder"))
        self.net.register_forward_hook(lambda *_: self._add("decoder"))

    def _add(self, name: str) -> None:
        self.count[name] += 1

    def expected(self, *, closed: bool) -> Tensor:
        """The ELBO of each row by hand."""
        loc, scale = self.q.fc(self.x).chunk(2, -1)
        scale = F.softplus(scale)
        z = loc + scale * self.noise
        fit = -F.binary_cross_entropy_with_logits(
            F.linear(z, self.net.weight, self.net.bias), self.x, reduction="none"
        ).sum(-1)
        if closed:
            return fit - 0.5 * (scale**2 + loc**2 - 1 - 2 * scale.log()).sum(-1)
        return fit - 0.5 * (z**2 - self.noise**2 - 2 * scale.log()).sum(-1)


CLOSED: dict[str, Callable[[Any], Any]] = {
    "reconstruction - KL": lambda v: E(v.q, v.p.log_prob()) - KL(v.q, v.prior),
    "-KL + reconstruction": lambda v: -KL(v.q, v.prior) + E(v.q, LogProb(v.p)),
    "ELBO().simplify()": lambda v: ELBO(v.p * v.prior, v.q).simplify(),
    "one E .simplify()": lambda v: E(
        v.q, v.p.log_prob() + v.prior.log_prob() - v.q.log_prob()
    ).simplify(),
    "other order .simplify()": lambda v: E(
        v.q, v.prior.log_prob() - v.q.log_prob() + v.p.log_prob()
    ).simplify(),
    "CE and H": lambda v: E(v.q, v.p.log_prob()) - CrossEntropy(v.q, v.prior) + Entropy(v.q),
    "KL .simplify()": lambda v: (E(v.q, v.p.log_prob()) - KL(v.q, v.prior)).simplify(),
    "beta = 1": lambda v: (
        E(v.q, v.p.log_prob()) - Parameter("beta") * KL(v.q, v.prior)
    ).constant_var({"beta": 1.0}),
}
MONTE_CARLO: dict[str, Callable[[Any], Any]] = {
    "KL, analytical=False": lambda v: E(v.q, v.p.log_prob()) - KL(v.q, v.prior, analytical=False),
    "one E": lambda v: E(v.q, v.p.log_prob() + v.prior.log_prob() - v.q.log_prob()),
    "ELBO()": lambda v: ELBO(v.p * v.prior, v.q),
    "Expectation of the joint": lambda v: Expectation(v.q, LogProb(v.p * v.prior) - LogProb(v.q)),
    ".expectation()": lambda v: ((v.p * v.prior).log_prob() - v.q.log_prob()).expectation(v.q),
    "three E's": lambda v: (
        E(v.q, v.p.log_prob()) + E(v.q, v.prior.log_prob()) - E(v.q, v.q.log_prob())
    ),
    "CE and H, analytical=False": lambda v: (
        E(v.q, v.p.log_prob())
        - CrossEntropy(v.q, v.prior, analytical=False)
        + Entropy(v.q, analytical=False)
    ),
    "renamed twice": lambda v: ELBO(
        (v.p * v.prior).replace_var(x="y"), v.q.replace_var(x="y")
    ).replace_var(y="x"),
    "log of the ratio": lambda v: E(v.q, ((v.p * v.prior).prob() / v.q.prob()).log()),
    "two E's over halves": lambda v: (
        0.5 * E(v.q, v.p.log_prob() + 2 * v.prior.log_prob())
        + E(v.q, 0.5 * v.p.log_prob() - v.q.log_prob())
    ),
}
WAYS = {
    **{k: (f, True) for k, f in CLOSED.items()},
    **{k: (f, False) for k, f in MONTE_CARLO.items()},
}
SAME_ORDER = ["one E", "ELBO()", "Expectation of the joint", ".expectation()", "three E's"]


@pytest.mark.parametrize("reduced", ["rows", "mean", "mean of each term"])
@pytest.mark.parametrize("way", WAYS)
def test_one_pass_of_each_network_and_one_value(way: str, reduced: str) -> None:
    v = Parts()
    write, closed = WAYS[way]
    loss = write(v)
    by_hand = v.expected(closed=closed)
    v.count = {"encoder": 0, "decoder": 0}
    if reduced == "mean":
        loss, by_hand = loss.mean(), by_hand.mean()
    elif reduced == "mean of each term" and hasattr(loss, "left"):
        loss = type(loss)(loss.left.mean(), loss.right.mean())
        by_hand = by_hand.mean()
    assert draws(loss) == ["z"]
    # the prior has no network
    assert sorted(t[0] for t in passes(loss) if not t.startswith("p_0")) == ["p", "q"]
    function = loss.function()
    for call in (1, 2):
        value = function({"x": v.x}, noise={"z": v.noise})
        assert v.count == {"encoder": call, "decoder": call}
        torch.testing.assert_close(value, by_hand, rtol=1e-12, atol=1e-12)
    value.sum().backward()
    torch.testing.assert_close(v.q.fc.weight.grad, gradient(v, v.q.fc.weight, by_hand))
    torch.testing.assert_close(v.net.weight.grad, gradient(v, v.net.weight, by_hand))


def gradient(v: Parts, weight: Tensor, value: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), weight, retain_graph=True)[0]


def test_the_same_sum_is_the_same_to_the_bit() -> None:
    v = Parts()
    values = [WAYS[w][0](v).eval({"x": v.x}, noise={"z": v.noise}) for w in SAME_ORDER]
    for value in values[1:]:
        assert torch.equal(value, values[0])
    one, other = (CLOSED[w](v) for w in ("reconstruction - KL", "-KL + reconstruction"))
    noise = {"z": v.noise}
    assert torch.equal(one.eval({"x": v.x}, noise=noise), other.eval({"x": v.x}, noise=noise))


def test_draws_without_given_noise_follow_the_seed() -> None:
    v = Parts()
    loss = CLOSED["reconstruction - KL"](v).mean()
    function = loss.function()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(function({"x": v.x}).item())
    generator = torch.Generator().manual_seed(1)
    found.append(function({"x": v.x}, generator=generator).item())
    assert found[0] == found[1] == found[3] != found[2]


def test_copies_are_one_vectorised_pass() -> None:
    v = Parts()
    w = (v.p * v.prior).log_prob() - v.q.log_prob()
    for loss in (E(v.q.iid(k=7), w.exp().mean("k").log()), E(v.q, w, sample_shape=[7])):
        v.count = {"encoder": 0, "decoder": 0}
        assert loss.eval({"x": v.x}).shape == (ROWS,)
        assert v.count == {"encoder": 1, "decoder": 1}


def test_a_network_runs_again_on_other_conditions() -> None:
    v = Parts()
    term = E(v.q, v.p.log_prob())
    loss = term.mean() + term.replace_var(x="u").mean()
    loss.eval({"x": v.x, "u": v.x[:3]})
    assert v.count == {"encoder": 2, "decoder": 2}
    loss = term.mean() + term.replace_var(x="x").mean() + term.mean().detach()
    v.count = {"encoder": 0, "decoder": 0}
    loss.eval({"x": v.x})
    assert v.count == {"encoder": 1, "decoder": 1}


def test_a_second_step_on_the_same_tensor_sees_the_new_weights() -> None:
    v = Parts()
    function = KL(v.q, v.prior).mean().function()
    before = function({"x": v.x})
    before.backward()
    with torch.no_grad():
        for parameter in v.q.parameters():
            parameter -= 0.1 * parameter.grad
    for _ in range(2):
        after = function({"x": v.x})
        assert after < before
        torch.testing.assert_close(after, KL(v.q, v.prior).mean().eval({"x": v.x}))
        after.backward()  # no graph is kept from an earlier evaluation
    with torch.no_grad():
        v.q.fc.weight.zero_(), v.q.fc.bias.zero_()
        v.q.fc.bias[LATENT:] = 0.5413248546129181  # softplus = 1
    assert function({"x": v.x}).item() == pytest.approx(0.0, abs=1e-12)


def test_evaluation_without_gradient_does_not_spoil_a_later_one() -> None:
    v = Parts()
    function = CLOSED["reconstruction - KL"](v).mean().function()
    with torch.no_grad():
        assert not function({"x": v.x}).requires_grad
        assert not function({"x": v.x}).requires_grad
    assert function({"x": v.x}).requires_grad


def test_training_mode_is_read_at_each_call() -> None:
    v = Parts()
    dropout = nn.Dropout(0.5)
    q = Normal(var=["z"], cond_var=["x"], scale=1.0, name="q", net=lambda x: {"loc": dropout(x)})
    prior = Normal(var=["z"], loc=0.0, scale=1.0, features_shape=[PIXELS])
    function = KL(q, prior).function()
    batch = {"x": torch.ones(200, PIXELS)}
    still = []
    for train in (True, False, True, False):
        dropout.train(train)
        still.append(function(batch).unique().numel() == 1)
    assert still == [False, True, False, True]
    assert v.count == {"encoder": 0, "decoder": 0}


# -- memory ------------------------------------------------------------
def gone(make: Callable[[], list[Any]]) -> bool:
    """Whether everything that ``make`` returns dies with its last name."""
    found = [weakref.ref(thing) for thing in make()]
    gc.collect()
    return all(ref() is None for ref in found)


def test_nothing_stays_alive_after_evaluations() -> None:
    def run() -> list[Any]:
        v = Parts()
        loss = CLOSED["reconstruction - KL"](v).mean()
        function = loss.function()
        values = [function({"x": v.x}), function({"x": v.x}), loss.eval({"x": v.x})]
        values[0].backward()
        str(loss), str(loss.program()), loss.simplify().eval({"x": v.x})
        return [v.q, v.p, v.net, v.x, loss, function, *values, v.net.weight.grad]

    assert gone(run)


def test_nothing_stays_alive_after_a_model() -> None:
    def run() -> list[Any]:
        v = Parts()
        model = Model(loss=-CLOSED["reconstruction - KL"](v).mean(), distributions=[v.p, v.q])
        model.train({"x": v.x}), model.train({"x": v.x}), model.test({"x": v.x})
        return [v.q, v.p, v.net, v.x, model, model.loss, model.optimizer]

    assert gone(run)


def test_nothing_stays_alive_after_errors() -> None:
    def run() -> list[Any]:
        v = Parts()
        loss = CLOSED["reconstruction - KL"](v).mean()
        function = loss.function()
        for wrong in ({"x": v.x[:, :3]}, {"x": v.x * float("nan")}, {"y": v.x}):
            with pytest.raises(AncestralError):
                function(wrong)
        function({"x": v.x}), function({"x": v.x})
        with pytest.raises(AncestralError):
            function({"x": v.x[:, :2]})
        return [v.q, v.p, v.net, v.x, loss, function]

    assert gone(run)


def test_a_graph_lives_as_long_as_its_value_only() -> None:
    v = Parts()
    function = CLOSED["reconstruction - KL"](v).mean().function()
    inside: list[Any] = []
    v.net.register_forward_hook(lambda _, __, out: inside.append(weakref.ref(out)))
    for _ in range(2):
        value = function({"x": v.x})
        assert value.requires_grad
        del value
    gc.collect()
    assert [ref() for ref in inside] == [None, None]
