"""A run's folder is its own, whoever asks at the same time."""

import threading

import pytest

from ancestral.core.errors import DataError
from ancestral.report import create_folder, free_path


def test_names_are_numbered_and_nothing_is_touched(tmp_path):
    first = create_folder(tmp_path / "runs" / "vae")
    (first / "weights").write_text("precious")
    others = [create_folder(tmp_path / "runs" / "vae").name for _ in range(3)]
    assert others == ["vae-2", "vae-3", "vae-4"]
    assert (first / "weights").read_text() == "precious"


def test_a_name_that_ends_in_a_number_is_kept(tmp_path):
    names = [create_folder(tmp_path / "vae-2").name for _ in range(3)]
    assert names == ["vae-2", "vae-2-2", "vae-2-3"]


def test_a_file_of_that_name_is_not_overwritten(tmp_path):
    (tmp_path / "vae").write_text("a file")
    assert create_folder(tmp_path / "vae").name == "vae-2"


def test_threads_get_folders_of_their_own(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(create_folder(tmp_path / "vae")))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16


def test_a_file_in_the_way_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"can not be made .* --out PATH"):
        create_folder(tmp_path / "file" / "vae")


def test_free_path(tmp_path):
    path = tmp_path / "samples.png"
    for name in ("samples.png", "samples-2.png", "samples-3.png"):
        assert free_path(path).name == name
        free_path(path).touch()
