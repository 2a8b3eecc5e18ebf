"""A network that reads from the end sees nothing of what pads a row."""

import torch

from ancestral.nn import Backward


def test_a_padded_row_is_the_shorter_row():
    torch.manual_seed(0)
    back = Backward(3, 4).double()
    x, mask = torch.randn(2, 6, 3).double(), torch.ones(2, 6)
    mask[1, 4:] = 0
    x[1, 4:] = torch.nan
    found = back(x, mask)
    alone = back(x[1:, :4], torch.ones(1, 4))
    torch.testing.assert_close(found[1:, :4], alone)
    assert bool(torch.isfinite(found).all())


def test_outputs_depend_on_what_comes_after():
    torch.manual_seed(0)
    back, mask = Backward(3, 4), torch.ones(1, 5)
    x = torch.randn(1, 5, 3)
    changed = x.clone()
    changed[:, 2] += 1.0
    moved = (back(x, mask) != back(changed, mask)).any(-1)[0]
    assert moved.tolist() == [True, True, True, False, False]
