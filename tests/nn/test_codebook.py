"""A codebook finds the nearest code, and moves its codes as its paper says."""

import pytest
import torch

from ancestral.core.errors import OptionError
from ancestral.distributions import Deterministic
from ancestral.losses import E, sqnorm, values
from ancestral.models import Model
from ancestral.nn import Codebook

CODES = 8


@torch.no_grad()
def distortion(book: Codebook) -> tuple[float, int]:
    """The mean squared distance of U[0, 1] to the nearest code, and how many are chosen."""
    x = ((torch.arange(10_000) + 0.5) / 10_000)[:, None]
    book.eval()
    return float((x - book(x)).square().mean()), len(book.nearest(x).unique())


def test_it_is_the_nearest_code():
    torch.manual_seed(0)
    book, z = Codebook(7, 3), torch.randn(4, 5, 3)
    k = torch.cdist(z, book.weight.detach()).argmin(-1)
    assert torch.equal(book.nearest(z), k)
    assert torch.equal(book(z), book.weight[k])
    assert torch.equal(book.lookup(torch.nn.functional.one_hot(k, 7).float()), book.weight[k])


@pytest.mark.parametrize("decay", [None, 0.5], ids=["gradient", "averages"])
def test_codes_of_the_uniform_law_lie_evenly(decay):
    """1/(12 K^2), the least distortion that K codes have, within 2 %; all codes are used.

    Were one code not used, or in the middle of its neighbour's half, it would be 10 % higher.
    """
    torch.manual_seed(0)
    book, scale = Codebook(CODES, 1, decay), torch.nn.Parameter(torch.ones(()))
    f = Deterministic(var=["z"], cond_var=["x"], net=lambda x: x + 0 * scale, name="f")
    nearest = Deterministic(var=["e"], cond_var=["z"], net=book, name="e")
    if decay is None:
        torch.nn.init.uniform_(book.weight)
    z, e = values("z e")
    loss = E(nearest * f, sqnorm(z.detach() - e) + sqnorm(z - e.detach())).mean()
    rate = {"lr": CODES / 2}  # a step of a code goes to the mean of what is nearest to it
    model = Model(loss, distributions=[nearest, scale], optimizer=torch.optim.SGD,
                  optimizer_params=rate)  # fmt: skip
    for _ in range(300):
        model.train({"x": (torch.arange(512)[:, None] + torch.rand(512, 1)) / 512})
    found, used = distortion(book)
    assert used == CODES
    assert found == pytest.approx(1 / (12 * CODES**2), rel=0.02)


def test_averages_are_those_of_the_paper():
    """Sums and counts beside each other, as its appendix has them, in float64."""
    torch.manual_seed(0)
    book = Codebook(4, 2, decay=0.9, rarest=0.0).double()
    book(torch.randn(16, 2).double())
    count, total = book.count.clone(), book.count[:, None] * book.weight
    for _ in range(10):
        z, e = torch.randn(5, 3, 2).double(), total / count[:, None]
        k = torch.cdist(z.flatten(0, 1), e).argmin(-1)
        torch.testing.assert_close(book(z), e[k].unflatten(0, (5, 3)))
        of = torch.nn.functional.one_hot(k, 4).double()
        count = 0.9 * count + 0.1 * of.sum(0)
        total = 0.9 * total + 0.1 * of.T @ z.flatten(0, 1)
        torch.testing.assert_close(book.count, count)
        torch.testing.assert_close(book.weight, total / count[:, None])


def test_a_code_that_is_never_chosen_starts_again():
    torch.manual_seed(0)
    book = Codebook(CODES, 1, decay=0.5)
    book.count.fill_(1.0)
    book.weight.copy_(torch.linspace(100.0, 200.0, CODES)[:, None])
    for _ in range(40):
        book(torch.rand(256, 1))
    assert distortion(book)[1] == CODES


def test_nothing_moves_outside_of_training():
    book = Codebook(CODES, 2, decay=0.9).eval()
    before = book.weight.clone()
    book(torch.randn(32, 2))
    assert torch.equal(book.weight, before)
    assert not list(book.parameters())
    assert set(book.state_dict()) == {"weight", "count"}


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"decay": -0.1}, {"rarest": -1.0}])
def test_options_are_checked(options):
    with pytest.raises(OptionError, match=r"Codebook\((decay|rarest)"):
        Codebook(3, 2, **options)
