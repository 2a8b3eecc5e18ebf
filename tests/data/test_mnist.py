"""MNIST: where it is looked for, what is refused, and (with ANCESTRAL_DATA set) what is read."""

import gzip
import os
import struct
from importlib import import_module

import numpy as np
import pytest
import torch

from ancestral.core.errors import DataError
from ancestral.data.mnist import ROWS, find_folder, mnist

needs_data = pytest.mark.skipif(
    "ANCESTRAL_DATA" not in os.environ, reason="ANCESTRAL_DATA names no folder with MNIST"
)


def write(folder, name, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    folder.mkdir(parents=True, exist_ok=True)
    squeeze = gzip.compress if name.endswith(".gz") else bytes
    (folder / name).write_bytes(squeeze(header + array.tobytes()))


def small(folder, *, label=9, rows=None, side=28, ending=""):
    for part, count in (rows or {"train": 8, "t10k": 4}).items():
        write(folder, f"{part}-images-idx3-ubyte{ending}", np.zeros((count, side, side), np.uint8))
        write(folder, f"{part}-labels-idx1-ubyte{ending}", np.full(count, label, np.uint8))


@pytest.fixture
def tiny(monkeypatch):
    """MNIST's form with 8 + 4 rows instead of 60000 + 10000, the last 2 for validation."""
    monkeypatch.setitem(ROWS, "train", 8)
    monkeypatch.setitem(ROWS, "t10k", 4)
    # the package has a function of the module's name, so the module is asked for by its path
    monkeypatch.setattr(import_module("ancestral.data.mnist"), "VALIDATION", 2)


def test_no_folder_named(monkeypatch):
    monkeypatch.delenv("ANCESTRAL_DATA", raising=False)
    with pytest.raises(DataError, match=r"--data-dir PATH .* environment variable ANCESTRAL_DATA"):
        mnist()


def test_nothing_found_lists_where_it_looked(tmp_path):
    with pytest.raises(DataError) as caught:
        mnist(tmp_path)
    for folder in (tmp_path / "MNIST" / "raw", tmp_path / "raw", tmp_path):
        assert str(folder) in str(caught.value)


@pytest.mark.parametrize("below", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_found_by_option_and_by_environment(tmp_path, monkeypatch, tiny, below, ending):
    small(tmp_path / below, ending=ending)
    assert find_folder(tmp_path) == tmp_path / below
    monkeypatch.setenv("ANCESTRAL_DATA", str(tmp_path))
    data = mnist()
    assert [len(p["x"]) for p in (data.train, data.validation, data.test)] == [6, 2, 4]


def test_option_wins_over_environment(tmp_path, monkeypatch):
    small(tmp_path / "a")
    small(tmp_path / "b")
    monkeypatch.setenv("ANCESTRAL_DATA", str(tmp_path / "a"))
    assert find_folder(tmp_path / "b") == tmp_path / "b" / "."


def test_a_missing_file_is_named(tmp_path, tiny):
    small(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"no t10k-labels-idx1-ubyte \(or \.gz\)"):
        mnist(tmp_path)


def test_other_sizes_and_labels_are_not_mnist(tmp_path, tiny):
    small(tmp_path / "side", side=27)
    with pytest.raises(DataError, match=r"shape \(8, 27, 27\), expected \(8, 28, 28\)"):
        mnist(tmp_path / "side")
    small(tmp_path / "rows", rows={"train": 7, "t10k": 4})
    with pytest.raises(DataError, match=r"shape \(7, 28, 28\), expected \(8, 28, 28\)"):
        mnist(tmp_path / "rows")
    small(tmp_path / "label", label=10)
    with pytest.raises(DataError, match="a label 10 in part train, expected 0 to 9"):
        mnist(tmp_path / "label")


@needs_data
def test_the_real_files():
    data = mnist()
    assert [len(p["x"]) for p in (data.train, data.validation, data.test)] == [50000, 10000, 10000]
    assert data.shape == (1, 28, 28)
    assert data.train["label"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test["label"][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert set(data.test["x"].unique().tolist()) == {0.0, 1.0}
    grey = mnist(pixels="grey")
    # the mean intensities that are commonly given for the two files
    everything = torch.cat([grey.train["x"], grey.validation["x"]])
    assert everything.double().mean().item() == pytest.approx(0.1306604762738, abs=1e-7)
    assert torch.equal((grey.test["x"] * 255).round() > 127, data.test["x"] > 0)
