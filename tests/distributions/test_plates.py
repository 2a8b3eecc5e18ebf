"""Plates: axes of ``features_shape`` in front of a law's own are independent copies of it."""

import pytest
import torch

from ancestral.distributions import Categorical, Dirichlet, MultivariateNormal, Normal
from ancestral.losses import KL, E, Entropy

PLATE = (3, 4)
PROBS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
LOWER = torch.tensor([[1.0, 0.0], [0.5, 0.7]], dtype=torch.float64)
LOC = torch.tensor([0.3, -1.0], dtype=torch.float64)
LAWS = {  # how it is made, and the event of one copy
    "Normal": (lambda **k: Normal(loc=LOC, scale=0.8, **k), (2,)),
    "Categorical": (lambda **k: Categorical(probs=PROBS, **k), (3,)),
    "Categorical by index": (lambda **k: Categorical(probs=PROBS, onehot=False, **k), ()),
    "MultivariateNormal": (lambda **k: MultivariateNormal(loc=LOC, scale_tril=LOWER, **k), (2,)),
    "Dirichlet": (lambda **k: Dirichlet(concentration=4.0 * PROBS, **k), (3,)),
}


@pytest.mark.parametrize("name", LAWS)
def test_copies_add_up(name):
    make, event = LAWS[name]
    one, p = make(), make(features_shape=[*PLATE, *event])
    x = p.sample(batch_n=5)["x"]
    assert x.shape == (5, *PLATE, *event)
    each = one.get_log_prob({"x": x.reshape(-1, *event)}).reshape(5, *PLATE)
    torch.testing.assert_close(p.get_log_prob({"x": x}), each.sum((1, 2)))
    torch.testing.assert_close(p.get_entropy(), 12 * one.get_entropy())


@pytest.mark.parametrize("name", LAWS)
def test_copies_are_drawn_apart(name):
    """Correlations of copies within 5 standard errors of 0: one above 0.08 would be seen."""
    torch.manual_seed(0)
    make, event = LAWS[name]
    x = make(features_shape=[*PLATE, *event]).sample(batch_n=4000)["x"].double()
    entry = x[..., 0] if event else x
    found = torch.corrcoef(entry.reshape(4000, -1).mT)
    apart = found - torch.eye(12, dtype=found.dtype)
    assert apart.abs().max() < 5 / 4000**0.5


@pytest.mark.parametrize("name", ["Normal", "Categorical", "MultivariateNormal", "Dirichlet"])
def test_divergences_of_copies_add_up(name):
    make, event = LAWS[name]
    q = make(features_shape=[*PLATE, *event], name="q")
    other = {
        "Normal": lambda **k: Normal(loc=0.0, scale=1.0, **k),
        "Categorical": lambda **k: Categorical(probs=PROBS.flip(0), **k),
        "MultivariateNormal": lambda **k: MultivariateNormal(loc=0.0, scale_tril=LOWER, **k),
        "Dirichlet": lambda **k: Dirichlet(concentration=PROBS, **k),
    }[name]
    one = KL(make(name="q"), other()).mean().eval({})
    p = other(features_shape=[*PLATE, *event])
    run = KL(q, p).mean().function()
    for _ in range(2):  # the interpreter, and the text
        torch.testing.assert_close(run({}), 12 * one)
    torch.testing.assert_close(Entropy(q).mean().eval({}), q.get_entropy()[0])
    x = p.sample(batch_n=5)["x"]
    torch.testing.assert_close(p.log_prob().eval({"x": x}), p.get_log_prob({"x": x}))
    drawn = E(q, p.log_prob()).mean().function()
    torch.manual_seed(0)
    first = drawn({})
    torch.manual_seed(0)
    torch.testing.assert_close(first, drawn({}))
