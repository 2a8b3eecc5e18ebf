"""Pictures: the right pixels at the right place, read back by another library."""

import io
import sys

import numpy as np
import pytest
import torch

from ancestral.core.errors import MissingExtraError
from ancestral.report import image_grid, latent_picture, png, scatter
from ancestral.report.latent import principal_components
from ancestral.report.pictures import GAP, INK, PAPER


def decoded(content: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return imread(io.BytesIO(content), format="png")


def test_png_is_read_back_bit_for_bit():
    grey = np.random.default_rng(0).integers(0, 256, (17, 31), dtype=np.uint8)
    np.testing.assert_array_equal(np.rint(decoded(png(grey)) * 255), grey)


def test_images_stand_in_reading_order_and_ink_is_dark():
    images = torch.zeros(3, 1, 2, 2)
    images[1] = 1.0
    images[2, 0, 0, 0] = 0.5
    grid = image_grid(images, columns=2, size=4)  # enlarged by 2: cells of 4, gaps of 2
    assert grid.shape == (2 + 6 + 6, 2 + 6 + 6)
    assert (grid[2:6, 2:6] == PAPER).all()
    assert (grid[2:6, 8:12] == INK).all()
    assert (grid[8:10, 2:4] == round((PAPER + INK) / 2)).all()
    assert (grid[10:12, 2:6] == PAPER).all()
    assert (grid[8:12, 8:12] == GAP).all()  # no fourth image
    assert (grid[:2] == GAP).all()


def test_values_outside_are_clamped():
    grid = image_grid(torch.tensor([[[[-1.0, 2.0]]]]), columns=1, size=1)
    assert grid[2, 2:4].tolist() == [PAPER, INK]


def test_points_lie_where_they_are_seen():
    """The second coordinate upward; the fullest cell is ink; what is outside is left out."""
    points = torch.tensor([[0.1, 0.1]] * 4 + [[0.9, 0.1], [0.9, 0.9], [1.5, 0.5], [0.5, 1.0]])
    found = scatter(points, low=0.0, high=1.0, cells=2)
    assert found.tolist() == [[[0.0, 0.5], [1.0, 0.5]]]
    assert not scatter(points[:0], low=0.0, high=1.0).any()


def test_principal_components_find_a_planted_plane():
    torch.manual_seed(0)
    plane = torch.linalg.qr(torch.randn(10, 2, dtype=torch.float64)).Q
    inside = torch.randn(500, 2, dtype=torch.float64) * torch.tensor([5.0, 2.0])
    points, shares = principal_components(3.0 + inside @ plane.T)
    centred = inside - inside.mean(0)
    # distances in the plane are kept, and all of the variance is explained
    torch.testing.assert_close(torch.pdist(points), torch.pdist(centred))
    assert shares.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert shares[0] > shares[1]
    assert points[:, 0].var() > points[:, 1].var()


@pytest.mark.parametrize("dimension", [1, 2, 16])
def test_latent_picture_is_a_png_of_its_size(dimension):
    means = torch.randn(50, dimension)
    content = latent_picture(means, torch.arange(50) % 10, title="<title> & $odd$")
    assert decoded(content).shape[:2] == (900, 960)
    assert content == latent_picture(means, torch.arange(50) % 10, title="<title> & $odd$")


def test_without_matplotlib_the_error_has_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r'pip install "ancestral\[demo\]"'):
        latent_picture(torch.zeros(2, 2), torch.zeros(2), title="")
