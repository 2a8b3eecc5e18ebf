"""The embedded digits: real, split for good, and a clear word when scikit-learn is missing."""

import hashlib
import sys

import pytest
import torch

from ancestral.core.errors import MissingExtraError
from ancestral.data import digits


def test_split_is_a_partition_of_all_images():
    from sklearn.datasets import load_digits

    data = digits()
    parts = [data.train, data.validation, data.test]
    assert [len(part["x"]) for part in parts] == [1300, 200, 297]
    rows = torch.cat([torch.cat([p["x"], p["label"][:, None].float()], 1) for p in parts])
    bundle = load_digits()
    source = torch.cat(
        [torch.tensor(bundle.data > 7).float(), torch.tensor(bundle.target)[:, None].float()], 1
    )
    assert sorted(rows.tolist()) == sorted(source.tolist())


def test_split_is_the_same_everywhere():
    labels = bytes(digits().test["label"].to(torch.uint8).tolist())
    assert hashlib.sha256(labels).hexdigest()[:16] == "983f853744f33276"


def test_every_digit_is_in_every_part():
    data = digits()
    for part in (data.train, data.validation, data.test):
        assert part["label"].unique().tolist() == list(range(10))


def test_without_scikit_learn_the_error_has_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "ancestral\[demo\]"'):
        digits()
