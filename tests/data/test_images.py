"""The three ways to read pixels."""

import numpy as np
import pytest
import torch

from ancestral.core.errors import OptionError
from ancestral.data.images import Rebinarise, image_data

VALUES = np.array([0, 1, 7, 8, 15, 16], np.uint8)


def data(pixels: str, repeat: int = 1):
    images = np.tile(VALUES.reshape(1, 2, 3), (repeat, 1, 1))
    part = (images, np.arange(repeat, dtype=np.uint8) % 10)
    return image_data(
        "toy", train=part, validation=part, test=part, peak=16, threshold=7, pixels=pixels,
        source="toy",
    )  # fmt: skip


def test_binary_is_above_the_threshold():
    toy = data("binary")
    for part in (toy.train, toy.validation, toy.test):
        assert part["x"].tolist() == [[0, 0, 0, 1, 1, 1]]
        assert part["x"].dtype == torch.float32
        assert part["label"].dtype == torch.int64
    assert toy.transform is None
    assert toy.is_likelihood
    assert toy.shape == (1, 2, 3)
    assert toy.dimension == 6
    assert "binarised at > 7" in toy.description


def test_grey_is_a_share_of_the_peak_and_no_likelihood():
    toy = data("grey")
    torch.testing.assert_close(toy.test["x"][0] * 16, torch.tensor(VALUES).float())
    assert not toy.is_likelihood
    assert "not a likelihood" in toy.description


def test_dynamic_keeps_intensities_for_training_and_draws_the_rest_once():
    toy, again = data("dynamic", repeat=5000), data("dynamic", repeat=5000)
    torch.testing.assert_close(toy.train["x"][0] * 16, torch.tensor(VALUES).float())
    for part in (toy.validation, toy.test):
        assert set(part["x"].unique().tolist()) == {0.0, 1.0}
        # 5 standard errors of a mean of 5000 draws: a probability off by 0.036 would be seen
        error = 5 * (0.25 / 5000) ** 0.5
        assert (part["x"].mean(0) - toy.train["x"][0]).abs().max() < error
        assert part["x"][:, 0].sum() == 0  # value 0 is never drawn as 1, nor 16 as 0
        assert part["x"][:, 5].sum() == 5000
    torch.testing.assert_close(toy.test["x"], again.test["x"], rtol=0, atol=0)
    assert not torch.equal(toy.test["x"], toy.validation["x"])


def test_rebinarise_draws_anew_and_follows_the_seed():
    toy = data("dynamic", repeat=100)
    draw = toy.transform
    torch.manual_seed(0)
    first, second = draw(toy.train), draw(toy.train)
    torch.manual_seed(0)
    repeated = draw(toy.train)
    assert not torch.equal(first["x"], second["x"])
    assert torch.equal(first["x"], repeated["x"])
    assert torch.equal(first["label"], toy.train["label"])
    assert torch.equal(draw(first)["x"], first["x"])  # binary pixels stay as they are
    own = torch.Generator().manual_seed(1)
    state = torch.get_rng_state()
    Rebinarise(own)(toy.train)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_word_names_the_near_one():
    with pytest.raises(OptionError, match=r"pixels='gray': did you mean 'grey'\?"):
        data("gray")
