"""Model.save that does not come to its end: all or nothing."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

from ancestral.core.errors import CheckpointError
from ancestral.distributions import Bernoulli
from ancestral.models import Model, checkpoint
from tests.models.checkpoints import MANIFEST, WEIGHTS, trained, value
from tests.models.parts import LATENT, PIXELS


class Killed(BaseException):
    """The process ends here."""


def saving_killed(model: Model, folder: Path, at: int, monkeypatch) -> bool:
    """Save, and stop before the ``at``-th call that reaches the disk; whether it came so far."""
    calls = 0

    def counted(original):
        def call(*args, **options):
            nonlocal calls
            if calls == at:
                raise Killed
            calls += 1
            return original(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for place, name in (
            (os, "replace"),
            (Path, "write_bytes"),
            (checkpoint, "_flush"),
            (checkpoint, "_digest"),
            (Path, "write_text"),
        ):
            patch.setattr(place, name, counted(getattr(place, name)))
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # the dead do not tidy
        try:
            model.save(folder)
        except Killed:
            return True
    return False


def test_a_save_that_is_killed_anywhere_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    """And a save that follows it, killed at the same place, leaves one of the three."""
    (old, x, eps), (new, _, _), (newest, _, _) = (trained(seed) for seed in range(3))
    values = [value(model, x, eps) for model in (old, new, newest)]
    loaded, _, _ = trained(3)
    old.save(tmp_path / "old")
    found: set[float] = set()
    for at in range(100):
        folder = tmp_path / str(at)
        shutil.copytree(tmp_path / "old", folder)
        killed = saving_killed(new, folder, at, monkeypatch)
        loaded.load(folder)
        found.add(value(loaded, x, eps))
        assert found <= set(values[:2])
        assert saving_killed(newest, folder, at, monkeypatch) == killed
        loaded.load(folder)
        assert value(loaded, x, eps) in values
        if not killed:
            break
    assert at > 8, "every call was tried"
    assert found == set(values[:2])


def test_a_first_save_that_is_killed_leaves_nothing_to_load(tmp_path, monkeypatch):
    (model, x, eps), (loaded, _, _) = trained(), trained(1)
    for at in range(100):
        folder = tmp_path / str(at)
        if not saving_killed(model, folder, at, monkeypatch):
            break
        try:
            loaded.load(folder)
        except CheckpointError:
            continue
        assert value(loaded, x, eps) == value(model, x, eps)
    assert at > 4


def test_a_full_disk(tmp_path, monkeypatch):
    old, x, eps = trained(0)
    new, _, _ = trained(1)
    old.save(tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    for place, name in ((Path, "write_bytes"), (Path, "write_text"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            with pytest.raises(CheckpointError, match=r"cannot be written: .*No space left"):
                new.save(tmp_path)
        assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    new.save(tmp_path)
    old.load(tmp_path)
    assert value(old, x, eps) == value(new, x, eps)


def test_a_place_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be written"):
        trained()[0].save(tmp_path / "run")


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    model, _, _ = trained()
    model.save(tmp_path)
    model.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", MANIFEST, WEIGHTS]
    assert (tmp_path / "config.json").read_text() == "{}"


def test_a_state_that_is_no_tensor(tmp_path):
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"anything": object()}

        def set_extra_state(self, state) -> None:
            raise AssertionError

    p = Bernoulli(var=["x"], cond_var=["z"], net=Odd(LATENT, PIXELS), name="p")
    with pytest.raises(CheckpointError, match=r"net\._extra_state is a dict; only tensors"):
        Model(loss=-p.log_prob().mean()).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written(saved):
    manifest = json.loads((saved / MANIFEST).read_text("utf-8"))
    digest = hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest()
    assert manifest == {
        "format_version": 1,
        "loss": "-mean(E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p_{prior}(z)])",
        "files": {WEIGHTS: {"sha256": digest}},
    }
    names = sorted(load_file(saved / WEIGHTS))
    assert names[0] == "fixed.0.loc"
    assert names[-1] == "trained.1.fc2.weight"
