"""The coder gives back what it was given, at the length that probabilities promise."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from ancestral.core.errors import DataError, OptionError, ParameterError, ShapeError, SupportError
from ancestral.evaluation import BitStack, LatentCode, parts


def symbols(count: int, kinds: int, seed: int = 0):
    """Symbols with the probabilities they were drawn by, some of them very small."""
    random = np.random.default_rng(seed)
    p = torch.from_numpy(random.dirichlet(np.full(kinds, 0.2), count))
    k = torch.tensor([random.choice(kinds, p=row) for row in p.numpy()])
    return k, p


@pytest.mark.parametrize("kinds", [1, 2, 17, 300])
def test_what_is_pushed_is_popped_and_the_stack_is_as_before(kinds):
    k, p = symbols(500, kinds)
    stack, table = BitStack(words=3, seed=1), parts(p)
    before = (stack.bits, stack._head, list(stack._tail))
    stack.push(k[:200], table[:200])
    stack.push(k[200:], table[200:])
    assert torch.equal(stack.pop(table[200:]), k[200:])
    assert torch.equal(stack.pop(table[:200]), k[:200])
    assert (stack.bits, stack._head, stack._tail) == before


def test_popping_random_bits_and_pushing_them_back_changes_nothing():
    _, p = symbols(300, 9)
    stack, table = BitStack(words=200, seed=2), parts(p)
    before, bits = (stack._head, list(stack._tail)), stack.bits
    drawn = stack.pop(table)
    assert stack.bits < bits
    stack.push(drawn, table)
    assert (stack._head, stack._tail) == before


def test_its_length_is_that_of_the_probabilities():
    """Sum of -log2 p, within a thousandth of it; the parts are rounded to 2^-24."""
    k, p = symbols(3000, 12)
    worth = -float(p.gather(1, k[:, None]).log2().sum())
    stack = BitStack()
    before = stack.bits
    stack.push(k, parts(p))
    assert stack.bits - before == pytest.approx(worth, rel=1e-3)


def test_popped_random_bits_have_the_law_of_the_table():
    """A chi-squared statistic of 5 degrees of freedom; 41 has probability 1e-7."""
    p, n = torch.tensor([0.4, 0.3, 0.2, 0.05, 0.04, 0.01]), 4000
    drawn = BitStack(words=600, seed=3).pop(parts(p).expand(n, -1))
    found = drawn.bincount(minlength=6)
    assert float(((found - n * p).square() / (n * p)).sum()) < 41


def test_parts_are_all_of_the_whole_and_none_is_empty():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    table = parts(p)
    assert table[:, 0].eq(0).all()
    assert table[:, -1].eq(2**24).all()
    assert table.diff().min() == 1
    torch.testing.assert_close(table.diff() / 2**24, p, atol=1e-6, rtol=0)


def toy():
    """Two indices of 3 with a uniform prior, five bits that they explain, and Bayes' rule."""
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(3, 3, 5)) * 2)
    one = logits.sigmoid()
    like = lambda z: torch.stack([1 - one[z[0], z[1]], one[z[0], z[1]]], -1)  # noqa: E731
    guess = lambda x: torch.softmax(logits.mean((1,)) @ x.double(), 0).expand(2, 3)  # noqa: E731
    prior = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    return guess, like, prior


def test_bits_back_costs_the_weight_of_what_it_drew():
    r"""Sum of -log2 p(x|z)p(z)/q(z|x) at the z that were drawn; rows come back, last first."""
    guess, like, prior = toy()
    drawn = []

    def likelihood(z):
        drawn.append(z)
        return parts(like(z))

    code = LatentCode(lambda x: parts(guess(x)), likelihood, parts(prior))
    rows = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (200, 5)))
    stack = BitStack(words=10, seed=4)
    before = stack.bits
    code.push(rows, stack)
    length, sent = stack.bits - before, list(drawn)
    at = lambda p, k: p.gather(1, k[:, None]).log2().sum()  # noqa: E731
    worth = sum(
        at(guess(x), z) - at(like(z), x) - at(prior, z) for x, z in zip(rows, sent, strict=True)
    )
    assert length == pytest.approx(float(worth), rel=1e-3)
    back = torch.stack(list(islice(code.pop(stack), 200)))
    assert torch.equal(back.flip(0), rows)
    assert stack.bits == pytest.approx(before)


def test_mistakes_are_named():
    table = parts(torch.full((2, 4), 0.25))
    with pytest.raises(DataError, match="begin with more, BitStack"):
        BitStack().pop(table.repeat(10, 1))
    with pytest.raises(SupportError, match=r"indices in 0\.\.3"):
        BitStack().push(torch.tensor([0, 4]), table)
    with pytest.raises(ShapeError, match=r"give \(S,\) and \(S, K \+ 1\)"):
        BitStack().push(torch.tensor([0]), table)
    for wrong in ([0.5, 0.6], [1.5, -0.5], [math.nan, 1.0]):
        with pytest.raises(ParameterError, match="at least 0, with a sum of 1"):
            parts(torch.tensor(wrong))
    with pytest.raises(OptionError, match="take fewer"):
        parts(torch.ones(1).expand(2**24 + 1))
