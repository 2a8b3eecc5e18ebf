"""The zoo's compressor: its bound is the length of its message, and it is lossless."""

import math
from itertools import islice

import pytest
import torch
import torch.nn.functional as F

from ancestral.data import digits
from ancestral.evaluation import BitStack, bound
from ancestral.zoo.bits_back import bits_back, code


def test_formula_is_that_of_the_docstring():
    assert str(bits_back().objective) == (bits_back.__doc__ or "").partition("\n")[0].rstrip(".")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_short_runs_message_is_as_long_as_its_bound(seed):
    """All digits, of which a draw per image leaves some .3 %; 2 nats below independent pixels."""
    torch.manual_seed(seed)
    data = digits()
    recipe = bits_back(latent=4, hidden=(64,), lr=5e-3)
    recipe.model.fit({"x": data.train["x"]}, epochs=15, batch_size=64, progress=False)
    x = torch.cat([data.test["x"], data.train["x"][:1215]])  # 1512 = 56 * 27
    rate = -bound(recipe.objective, {"x": x}, laws=recipe.laws, draws=32).values / math.log(2)
    stack, coder, blocks = BitStack(64, seed), code(recipe, latent=4, rows=27), x.reshape(56, -1)
    before = stack.bits
    coder.push(blocks, stack)
    assert (stack.bits - before) / len(x) == pytest.approx(float(rate.mean()), rel=0.01)
    back = torch.stack(list(islice(coder.pop(stack), 56))).flip(0)
    assert torch.equal(back, blocks.long())
    assert stack.bits == pytest.approx(before)

    share = data.train["x"].mean(0).clamp(1e-3, 1 - 1e-3).expand_as(data.test["x"])
    pixels = F.binary_cross_entropy(share, data.test["x"], reduction="none").sum(-1).mean()
    assert float(rate[: len(share)].mean()) * math.log(2) < pixels - 2.0
