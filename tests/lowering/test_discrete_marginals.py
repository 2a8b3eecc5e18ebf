"""Log densities with discrete variables integrated out: equal to brute force, in linear cost.

Written three ways: the marginal of a joint law, the logarithm of an expectation of a density, and
an expectation of a density without it. The oracle sums every assignment in plain torch.
"""

import functools
import itertools
import operator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ancestral.core.errors import DensityError
from ancestral.distributions import Bernoulli, Categorical, Deterministic, Normal
from ancestral.losses import KL, E, Enumerate, LogProb
from ancestral.models import Model

f64 = torch.float64
ROWS = 3


def product(laws: Any) -> Any:
    return functools.reduce(operator.mul, laws)


class Rows(nn.Module):
    """Logits by an index or a one-hot vector."""

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table

    def forward(self, z: Tensor) -> Tensor:
        return self.table[z] if z.dim() == 1 else z @ self.table


class Means(Rows):
    """The mean of an observation."""

    def forward(self, z: Tensor) -> dict[str, Any]:
        return {"loc": super().forward(z), "scale": 0.7}


class HMM:
    """p(z0) p(z1|z0) ... and an observation of each state; one transition for all steps."""

    def __init__(self, length: int, states: int = 3, *, onehot: bool = True) -> None:
        make = torch.Generator().manual_seed(length + states)

        def table(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=make, dtype=f64))

        self.length, self.states = length, states
        self.start, self.move, self.means = table(states), table(states, states), table(states, 1)
        self.latents = [f"z{t}" for t in range(length)]
        first = Categorical(var=["z0"], logits=self.start, name="p_0", onehot=onehot)
        step = Categorical(
            var=["z1"], cond_var=["z0"], net=Rows(self.move), name="p", onehot=onehot
        )
        emission = Normal(var=["x0"], cond_var=["z0"], net=Means(self.means), name="e")
        later = [step.replace_var(z1=f"z{t}", z0=f"z{t - 1}") for t in range(1, length)]
        self.first, self.prior = first, product([first, *later])
        self.emitted = product(emission.replace_var(x0=f"x{t}", z0=f"z{t}") for t in range(length))
        self.joint = self.emitted * self.prior
        x = torch.randn(ROWS, length, generator=make, dtype=f64)
        self.x, self.batch = x, {f"x{t}": x[:, t : t + 1] for t in range(length)}
        self.parameters = [self.start, self.move, self.means]
        self.laws = [first, step]

    def loss(self, form: str) -> Any:
        if form == "marginal":
            return self.joint.marginalize_var(self.latents).log_prob()
        prior = dict.fromkeys(self.laws, Enumerate())
        inside = E(self.prior, self.emitted.prob()).estimate(prior)
        return inside.log() if form == "log of E" else inside

    def log_emissions(self) -> Tensor:
        """Shape ``(length, rows, states)``."""
        away = (self.x.T[:, :, None] - self.means[:, 0]) / 0.7
        return -0.5 * away**2 - torch.tensor(0.7 * (2 * torch.pi) ** 0.5, dtype=f64).log()

    def brute(self) -> Tensor:
        log_start, log_move = self.start.log_softmax(-1), self.move.log_softmax(-1)
        emitted, terms = self.log_emissions(), []
        for path in itertools.product(range(self.states), repeat=self.length):
            log_p = log_start[path[0]] + sum(log_move[a, b] for a, b in itertools.pairwise(path))
            terms.append(log_p + sum(emitted[t, :, z] for t, z in enumerate(path)))
        return torch.stack(terms).logsumexp(0)

    def forward(self) -> Tensor:
        """The forward algorithm."""
        emitted, log_move = self.log_emissions(), self.move.log_softmax(-1)
        message = self.start.log_softmax(-1) + emitted[0]
        for t in range(1, self.length):
            message = (message[:, :, None] + log_move).logsumexp(1) + emitted[t]
        return message.logsumexp(-1)


def agrees(loss: Any, batch: dict[str, Tensor], wanted: Tensor, parameters: Any) -> None:
    """Value per row and gradient of the interpreter, then of the text, to 1e-10 of their size."""
    function, weight = loss.function(), torch.linspace(0.5, 1.5, ROWS, dtype=f64)
    expected = torch.autograd.grad((weight * wanted).sum(), parameters, retain_graph=True)
    for _ in range(2):
        value = function(batch)
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-10)
        found = torch.autograd.grad((weight * value).sum(), parameters)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


FORMS = ["marginal", "log of E"]


@pytest.mark.parametrize("onehot", [True, False])
@pytest.mark.parametrize("form", [*FORMS, "E"])
def test_the_likelihood_of_a_hidden_markov_model(form: str, onehot: bool) -> None:
    world = HMM(4, onehot=onehot)
    wanted = world.brute()
    torch.testing.assert_close(world.forward(), wanted)
    wanted = wanted.exp() if form == "E" else wanted
    agrees(world.loss(form), world.batch, wanted, world.parameters)


@pytest.mark.parametrize("form", FORMS)
def test_a_long_chain_of_states(form: str) -> None:
    """Of 5 to the 50 assignments, each with a probability of 1e-60 or so."""
    world = HMM(50, 5)
    wanted = world.forward()
    assert wanted.max() < -60
    agrees(world.loss(form), world.batch, wanted, world.parameters)


@pytest.mark.parametrize("form", [*FORMS, "E"])
def test_the_cost_is_linear_in_the_length(form: str) -> None:
    programs = [HMM(t).loss(form).program() for t in (4, 8, 12)]
    counts = [len(p.steps) for p in programs]
    assert counts[2] - counts[1] == counts[1] - counts[0] < 4 * 12
    for p in programs:
        assert max(sum(a.name[0] == "z" for a in s.out.axes) for s in p.steps) == 2


def test_it_prints() -> None:
    world = HMM(2)
    loss = world.loss("marginal")
    assert str(loss) == "log p(x0,x1)"
    assert "logsumexp over z0" in str(loss.program())
    assert world.loss("log of E").program().inputs == ("x0", "x1")


def test_parts_may_be_left_and_conditions_given() -> None:
    """z1 stays, z0 and z2 are summed; beside a law that has none of them."""
    world = HMM(3)
    law = world.joint.marginalize_var(["z0", "z2"])
    other = Normal(var=["y"], cond_var=["x0"], loc="x0", scale=2.0, name="r")
    state = torch.tensor([0, 2, 1])
    onehot = nn.functional.one_hot(state, 3).to(f64)
    y = torch.tensor([[0.1], [-0.4], [1.0]], dtype=f64)
    emitted, log_move = world.log_emissions(), world.move.log_softmax(-1)
    first = world.start.log_softmax(-1) + emitted[0]
    last = (log_move + emitted[2][:, None]).logsumexp(-1)
    every = (first[:, :, None] + log_move).logsumexp(1) + emitted[1] + last
    wanted = every.gather(-1, state[:, None])[:, 0]
    batch = {**world.batch, "z1": onehot, "y": y}
    agrees(law.log_prob(), batch, wanted, world.parameters)
    beside = torch.distributions.Normal(world.x[:, 0], 2.0).log_prob(y[:, 0])
    agrees((law * other).log_prob(), batch, wanted + beside, world.parameters)


def test_a_mixture_of_bits() -> None:
    """Two bits in one variable, given the row: as the mixture by hand."""
    weight = nn.Parameter(torch.tensor([0.4, -0.7], dtype=f64))
    loc = nn.Parameter(torch.tensor([[0.5], [-1.2]], dtype=f64))
    prior = Bernoulli(var=["b"], cond_var=["y"], net=lambda y: y * weight, name="p_b")
    mean = lambda b: {"loc": b @ loc, "scale": 0.6}  # noqa: E731
    p = Normal(var=["x"], cond_var=["b"], net=mean, name="p")
    x, y = (torch.tensor([[0.3], [-0.8], [1.4]], dtype=f64) * s for s in (1.0, -0.5))
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)), dtype=f64)
    log_b = nn.functional.logsigmoid((y * weight)[:, None] * (2 * bits - 1)).sum(-1)
    log_x = torch.distributions.Normal((bits @ loc)[:, 0], 0.6).log_prob(x)
    wanted = (log_b + log_x).logsumexp(-1)
    for loss in (
        (p * prior).marginalize_var("b").log_prob(),
        E(prior, p.prob()).estimate({prior: Enumerate()}).log(),
        E(prior, p.prob()).log().estimate({prior: Enumerate()}),
    ):
        agrees(loss, {"x": x, "y": y}, wanted, [weight, loc])


def test_the_evidence_is_the_best_bound() -> None:
    """log p(x) = ELBO + KL from the posterior: at the posterior of a chain both are equal."""
    world = HMM(3)
    bound = E(world.prior, world.joint.log_prob() - world.prior.log_prob())
    bound = bound.estimate(dict.fromkeys(world.laws, Enumerate()))
    evidence = world.loss("marginal")
    with torch.no_grad():
        gap = evidence.eval(world.batch) - bound.eval(world.batch)
    assert (gap > 0.1).all()


def test_a_model_learns_it() -> None:
    world = HMM(4)
    model = Model(-world.loss("marginal").mean(), distributions=[world.joint])
    before = model.test(world.batch)
    for _ in range(20):
        model.train(world.batch)
    assert model.test(world.batch) < before


def test_what_cannot_be_summed_is_refused() -> None:
    p = Normal(var=["x"], cond_var=["z"], loc="z", scale=1.0)
    continuous = Normal(var=["z"], loc=0.0, scale=1.0)
    bit = Bernoulli(var=["z"], probs=0.3, features_shape=[1])
    shared = Bernoulli(var=["z"], probs=0.3, features_shape=[1], plate=None)
    for prior in (continuous, shared):
        with pytest.raises(DensityError, match="z is integrated out"):
            (p * prior).marginalize_var("z").log_prob()
    law = (p * bit).marginalize_var("z")
    with pytest.raises(DensityError, match=r"taken by a loss: p\.log_prob\(\)\.eval"):
        law.get_log_prob({"x": torch.zeros(2, 1)})
    with pytest.raises(DensityError, match="z is integrated out"):
        KL(law, Normal(var=["x"], loc=0.0, scale=1.0))
    with pytest.raises(DensityError, match="z is integrated out"):
        LogProb(law, mask="m")
    image = Deterministic(var=["x"], cond_var=["z"], net=lambda z: {"x": z})
    with pytest.raises(DensityError, match="an implicit law"):
        (image * bit).marginalize_var("z").log_prob()
    assert law.log_prob().eval({"x": torch.zeros(2, 1)}).shape == (2,)
