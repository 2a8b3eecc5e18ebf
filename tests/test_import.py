"""Importing ancestral does nothing but define names, and ``import ancestral`` is quick.

No file is written, no socket opened, no process started, no state of torch, warnings or logging
changed. The command line answers ``--help`` without torch, so nothing on the way imports it.
"""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "ancestral"

# What the libraries below us do when they are imported is theirs, so they are imported first.
WATCH = """
import logging, os, sys, warnings
for module in {modules!r}.split():
    try:
        __import__(module)
    except ImportError:
        pass
torch = sys.modules.get("torch")

seen = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
DEEDS = ("socket.", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn",
         "os.spawn", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.putenv", "os.chdir",
         "shutil.", "tempfile.", "urllib.", "webbrowser.", "ctypes.dlopen", "pickle.")

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & WRITES:
            seen.append(f"{{event}} {{path}} to write")
    elif event.startswith(DEEDS):
        seen.append(f"{{event}} {{args}}")

def state():
    ours = logging.getLogger("ancestral").handlers
    noisy = [handler for handler in ours if not isinstance(handler, logging.NullHandler)]
    here = noisy, list(logging.getLogger().handlers), list(warnings.filters), dict(os.environ)
    return (*here, *(torch_state() if torch else ()))

def torch_state():
    return (
        torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
    )

before = state()
sys.addaudithook(watch)
for module in {ours!r}.split():
    __import__(module)
after, told = state(), list(seen)
assert not told, told
assert after == before, "an import changed torch, warnings, logging or the environment"
"""
BELOW = (
    "torch torch.distributions torch.func torch.utils.data numpy safetensors.torch networkx "
    "pydantic jinja2 typer rich.console rich.progress rich.table gzip json zlib"
)


def modules() -> list[str]:
    """Every module of the package that is there, by its full name."""
    found = pkgutil.walk_packages([str(SOURCE)], "ancestral.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that writes no bytecode, at home in an empty folder."""
    home = {"HOME": str(folder), "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_does_nothing_but_define_names(tmp_path):
    done = python(WATCH.format(modules=BELOW, ours=" ".join(modules())), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("deed", ["open('x', 'w')", "socket.socket()", "os.system('true')"])
def test_the_watch_sees(deed, tmp_path):
    (tmp_path / "planted.py").write_text(f"import os, socket\n{deed}\n")
    code = "import sys; sys.path.insert(0, '.')\n" + WATCH.format(modules="", ours="planted")
    assert "AssertionError: [" in python(code, tmp_path).stderr


@pytest.mark.parametrize("module", ["ancestral", "ancestral.cli"])
def test_import_is_light(module, tmp_path):
    if not SOURCE.joinpath(*module.split(".")[1:], "__init__.py").exists():
        pytest.skip(f"{module} does not exist yet")
    heavy = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "networkx", "pandas"}
    code = f"import sys, {module}; print(sorted(sys.modules.keys() & {heavy!r}))"
    done = python(code, tmp_path)
    assert done.stdout == "[]\n", done.stdout + done.stderr


@pytest.mark.skipif(not (SOURCE / "cli" / "__init__.py").exists(), reason="no command line yet")
def test_help_is_quick(tmp_path):
    """In 0.4 s of processor time, the best of five: what the machine does besides is not ours."""
    code = "import sys; from ancestral.cli import main; sys.argv = ['ancestral', '--help']; main()"
    spent = []
    for _ in range(5):
        before = os.times()
        done = python(code, tmp_path)
        after = os.times()
        assert "Usage" in done.stdout, done.stderr
        user = after.children_user - before.children_user
        spent.append(user + after.children_system - before.children_system)
    assert min(spent) < 0.4, spent
