"""A law's density at the table of its own values: the numbers of the formula, without its cost."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ancestral.core.errors import SupportError
from ancestral.distributions import Bernoulli, Categorical, Normal
from ancestral.losses import E, Enumerate
from ancestral.program.listed import ListedDensity
from tests.estimators.test_enumerated_chains import ROWS, Chain, Means, agrees, largest

f64 = torch.float64


@pytest.mark.parametrize("key", ["logits", "probs"])
@pytest.mark.parametrize("onehot", [True, False])
def test_the_list_is_the_formula_at_every_value(key: str, onehot: bool) -> None:
    """Values and gradients, an excluded category among them."""
    moves: Any = Categorical(onehot=onehot, **{key: torch.full((4,), 0.25)}).moves
    raw = torch.randn(3, 4, dtype=f64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    raw[1, 2] = 0.0
    raw = raw / raw.sum(-1, keepdim=True)
    given = (raw if key == "probs" else raw.log()).requires_grad_()
    weight = torch.arange(12.0, dtype=f64).reshape(3, 4) + 1
    weight[1, 2] = 0.0
    found = []
    table = moves.values((4,), given)
    for log_p in (
        moves.log_values(**{key: given}),
        moves.log_density(table[:, None], **{key: given}).T,
    ):
        seen = log_p.nan_to_num(neginf=0.0) * weight
        found.append((log_p, *torch.autograd.grad(seen.sum(), given)))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][0][1, 2] == (-100.0 if key == "probs" else -torch.inf)
    assert torch.isfinite(found[0][1]).all()
    torch.testing.assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("form", ["one expectation", "nested", "separate"])
def test_a_chain_of_one_hot_states_makes_no_table_of_three(form: str) -> None:
    """No tensor of a step, or of its gradient, has K * K * K entries: two states, and rows if what
    follows on them is summed inside.
    """
    assert largest(Chain("one-hot", 4, 7), form) == 49 * (ROWS if form == "nested" else 1)


class Moves(nn.Module):
    """The probabilities of the next state by the state, of which none leads to the last."""

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table

    def forward(self, a: Tensor) -> dict[str, Tensor]:
        index = a.argmax(-1) if a.dim() == 2 else a
        return {"probs": F.pad(self.table.softmax(-1), (0, 1))[index]}


@pytest.mark.parametrize("onehot", [True, False])
def test_a_state_of_probability_0_has_a_gradient(onehot: bool) -> None:
    """log p(x) and its gradient, as if the state were not there; infinite logits are refused."""
    make = torch.Generator().manual_seed(1)
    move, start, means = (
        nn.Parameter(torch.randn(shape, dtype=f64, generator=make))
        for shape in ((3, 2), (3,), (3, 1))
    )
    first = Categorical(["a"], logits=start, onehot=onehot, name="p_0")
    then = Categorical(["b"], ["a"], net=Moves(move), onehot=onehot, name="p_1")
    p = Normal(["x"], ["b"], net=Means(means), name="p")
    x = torch.tensor([[0.4], [-0.2], [1.3]], dtype=f64)
    log_x = torch.distributions.Normal(means[:2, 0], 0.7).log_prob(x)
    log_b = (start.log_softmax(-1)[:, None] + move.log_softmax(-1)).logsumexp(0)
    loss = (p * then * first).marginalize_var(["a", "b"]).log_prob()
    assert listed(loss) == 2
    agrees(loss, {"x": x}, (log_b + log_x).logsumexp(-1), [move, start])
    with torch.no_grad():
        start[2] = -torch.inf
    with pytest.raises(SupportError, match=r"log p_0\(a\) is infinite"):
        loss.eval({"x": x})


class Tempered(Categorical):
    """A law with a density of its own."""

    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        """Half of the log probability."""
        return 0.5 * Categorical.log_density(x, probs, logits)


def listed(loss: Any) -> int:
    return sum(isinstance(s, ListedDensity) for s in loss.program().steps)


def test_only_a_law_that_has_the_formula_is_listed() -> None:
    """Not one that overrides it, and not a law of other values."""
    logits = nn.Parameter(torch.tensor([0.3, -0.4, 0.9], dtype=f64))
    q = Categorical(["z"], logits=torch.zeros(3, dtype=f64), name="q")
    x = {"x": torch.zeros(3, 1, dtype=f64)}
    row = Normal(["x"], loc=0.0, scale=1.0).log_prob()
    seen = torch.distributions.Normal(0.0, 1.0).log_prob(x["x"])[:, 0]
    for law, times, count in ((Categorical, 1.0, 2), (Tempered, 0.5, 1)):
        p = law(["z"], logits=logits, name="p")
        loss = E(q, p.log_prob() - q.log_prob()).estimate({q: Enumerate()}) + row
        assert listed(loss) == count
        gap = times * logits.log_softmax(-1).mean() + torch.tensor(3.0, dtype=f64).log()
        agrees(loss, x, seen + gap, [logits])
    bits = Bernoulli(["z"], probs=torch.full((3,), 0.5, dtype=f64), name="p")
    assert listed(E(q, bits.log_prob()).estimate({q: Enumerate()})) == 1  # that of q


def test_several_components_keep_the_formula() -> None:
    """Two categories in one variable: nine values, each a sum of two."""
    logits = nn.Parameter(torch.tensor([[0.3, -0.4, 0.9], [1.0, 0.2, -0.7]], dtype=f64))
    q = Categorical(["z"], logits=logits, name="q")
    p = Normal(["x"], ["z"], net=lambda z: {"loc": z.sum(1) @ curve, "scale": 1.0}, name="p")
    curve = torch.tensor([[0.1], [0.5], [-0.8]], dtype=f64)
    x = torch.tensor([[0.4], [-0.2], [1.3]], dtype=f64)
    loss = E(q, p.log_prob() - q.log_prob()).estimate({q: Enumerate()})
    one, two = logits.log_softmax(-1)
    joint = (one[:, None] + two).flatten()
    pairs = (F.one_hot(torch.cartesian_prod(torch.arange(3), torch.arange(3)), 3)).sum(1).to(f64)
    log_x = torch.distributions.Normal(pairs @ curve, 1.0).log_prob(x.T).T
    agrees(loss, {"x": x}, ((log_x - joint) * joint.exp()).sum(-1), [logits])
