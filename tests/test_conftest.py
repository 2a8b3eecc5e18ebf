"""The limit on a test's processor time: what it fails, and what it leaves alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
import time
import pytest

def work(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

def test_works_too_long():
    work(0.2)

def test_works_a_little():
    work(0.01)

def test_sleeps():
    time.sleep(0.2)

@pytest.mark.slow
def test_says_that_it_is_slow():
    work(0.2)

@pytest.fixture
def prepared():
    work(0.2)

def test_stands_on_a_slow_fixture(prepared):
    pass
"""


def run(folder: Path, limit: str) -> str:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: x\n")
    (folder / "test_planted.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "ANCESTRAL_TEST_LIMIT": limit},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_only_processor_time_of_the_call_counts(tmp_path):
    out = run(tmp_path, "0.1")
    assert "1 failed, 4 passed" in out
    assert "FAILED test_planted.py::test_works_too_long" in out
    assert "mark it @pytest.mark.slow" in out


def test_limit_zero_is_no_limit(tmp_path):
    assert "5 passed" in run(tmp_path, "0")
