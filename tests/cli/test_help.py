"""The command line answers at once: no torch for help, version and the list of the zoo."""

import os
import subprocess
import sys

import pytest

CODE = "from ancestral.cli import main; main()"
LIMIT = 0.4  # seconds of processor time,
WORK, PACE = "sum(i * i for i in range(10**6))", 0.15  # of a machine that does this in so many


def run(*arguments: str, code: str = CODE) -> tuple[subprocess.CompletedProcess, float]:
    """The finished process and the processor time that it took."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    after = os.times()
    spent = after.children_user + after.children_system
    return done, spent - before.children_user - before.children_system


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_answers_in_time(arguments):
    times, paces = [], []
    for _ in range(5):
        done, seconds = run(*arguments)
        assert done.returncode == 0, done.stderr
        times.append(seconds)
        paces.append(run(code=WORK)[1])
    # the best of five, of processor time, in the pace of the machine: a busy one fails nobody
    assert min(times) < LIMIT * max(1.0, min(paces) / PACE)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["zoo"]])
def test_torch_is_not_imported(arguments):
    code = (
        "import sys\nfrom ancestral.cli import main\ntry:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'numpy', 'jinja2', 'matplotlib', 'sklearn'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_without_arguments_it_shows_help():
    done, _ = run()
    assert "train" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_the_package_version():
    from ancestral import __version__

    assert run("--version")[0].stdout == f"ancestral {__version__}\n"
