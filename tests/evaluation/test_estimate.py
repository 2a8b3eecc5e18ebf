"""Estimates: means over rows, and ratios of sums."""

import pytest
import torch

from ancestral.core.errors import ShapeError
from ancestral.evaluation.estimate import Estimate


def test_a_ratio_over_rows():
    """Its standard error is that of a linearised ratio: 0 where each value is its size times r."""
    sizes = torch.tensor([1, 2, 5, 8])
    same = Estimate(-3.0 * sizes.double(), "by hand", 1).per(sizes)
    assert same.mean == pytest.approx(-3.0)
    assert same.standard_error == pytest.approx(0.0, abs=1e-12)
    v = torch.tensor([-1.0, -5.0, -9.0, -20.0], dtype=torch.float64)
    found = Estimate(v, "by hand", 1).per(sizes)
    ratio = v.sum() / 16
    assert found.mean == pytest.approx(float(ratio))
    rest = v - ratio * sizes
    wanted = (rest.square().sum() / 3 / 4).sqrt() / 4.0  # the mean size is 4
    assert found.standard_error == pytest.approx(float(wanted))
    with pytest.raises(ShapeError, match=r"sizes of shape \(4, 1\) for 4 rows"):
        Estimate(v, "by hand", 1).per(sizes[:, None])
