"""The benchmark of estimators times steps that are equal."""

import pytest

from benchmarks import estimators


@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_steps_by_hand_are_the_models(name):
    estimators.check_equal(name, estimators.batch_of(6, 9), 8, 3)
