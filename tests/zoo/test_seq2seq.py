"""The zoo's sequence to sequence model is its paper's sum, and copies for nothing."""

import math

import pytest
import torch

from ancestral.evaluation import bound
from ancestral.zoo.seq2seq import sentences, seq2seq


@pytest.fixture(scope="module", autouse=True)
def _optimizers_are_imported():
    """What torch imports with its first optimizer takes seconds; no test is charged for it."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def test_formula_is_that_of_the_docstring():
    assert str(seq2seq().objective) == seq2seq.__doc__.partition("\n")[0].rstrip(".")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_copy_costs_nothing(seed):
    """Of four symbols by chance 5.5 nats, the baseline; sure of each it is below .05."""
    torch.manual_seed(seed)
    task = {"length": 4, "symbols": 4}
    recipe, held = seq2seq(symbols=4, hidden=32, lr=2e-2), sentences(500, **task)
    recipe.model.fit(sentences(1024, **task), epochs=20, batch_size=64, progress=False)
    cost = -bound(recipe.objective, held, laws=recipe.laws).mean
    assert 0.0 < cost < 0.05 < 4 * math.log(4)
    drawn = recipe.generative.sample({"x": held["x"]}, length=4)["y"]
    assert (drawn == held["x"]).all(-1).all(-1).float().mean() > 0.95


def test_the_sum_is_that_of_the_cells():
    """Symbol by symbol with the cells themselves, in float64."""
    torch.manual_seed(0)
    recipe, data = seq2seq(symbols=3, hidden=5), sentences(7, length=4, symbols=3)
    f, p = recipe.model.distributions.double()
    x = data["x"].double()
    nets = {law.var[0]: law.net for law in (factor.law for factor in p.factors_of_step)}
    s, y, total = f.net(x), torch.zeros(7, 3).double(), torch.zeros(7).double()
    for t in range(4):
        s = nets["s"](y, s)
        y = x[:, t]
        total = total + (nets["y"](s).log_softmax(-1) * y).sum(-1)
    torch.testing.assert_close(recipe.objective.eval({"x": x, "y": x}), total)
