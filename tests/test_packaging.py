"""What pyproject.toml promises: bounds, exact versions for CI, the files of the package."""

import importlib.metadata
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def constraints() -> dict[str, str]:
    """Version by canonical name, from constraints/ci.txt."""
    lines = (ROOT / "constraints" / "ci.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs), "each line is name==version"
    return {canonicalize_name(name): version for name, version in pairs}


def expand(texts: list[str]) -> list[Requirement]:
    """Requirements, with ``ancestral[extra]`` replaced by what that extra holds."""
    found = []
    for requirement in map(Requirement, texts):
        if requirement.name == "ancestral":
            for extra in sorted(requirement.extras):
                found += expand(EXTRAS[extra])
        else:
            found.append(requirement)
    return found


DECLARED = expand(PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["docs"])
DECLARED += expand(PYPROJECT["build-system"]["requires"])


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_constraints_fix_each_declared_dependency(requirement):
    version = constraints().get(canonicalize_name(requirement.name))
    assert version is not None, f"constraints/ci.txt says nothing of {requirement.name}"
    assert requirement.specifier.contains(version, prereleases=True)


def test_constraints_fix_what_the_dependencies_bring():
    """No name is missing that the installed distributions need, here and with this Python."""
    fixed, seen = constraints(), set()
    queue = [(requirement.name, frozenset(requirement.extras)) for requirement in DECLARED]
    while queue:
        name, extras = queue.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        assert canonicalize_name(name) in fixed, f"constraints/ci.txt says nothing of {name}"
        try:
            texts = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of the extra docs, which only `make docs` installs
        for need in map(Requirement, texts):
            asked = [{"extra": extra} for extra in extras | {""}]
            if need.marker is None or any(map(need.marker.evaluate, asked)):
                queue.append((need.name, frozenset(need.extras)))


def test_constraints_take_any_build_of_torch():
    """Without +cpu the line matches a CPU build here and a CUDA build elsewhere."""
    assert constraints()["torch"] == "2.13.0"
    assert not any("+" in version for version in constraints().values())
    assert "ancestral" not in constraints()


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *chain(*EXTRAS.values())])
def test_only_lower_bounds(text):
    requirement = Requirement(text)
    assert {part.operator for part in requirement.specifier} <= {">="}
    assert requirement.name == "ancestral" or requirement.specifier, "say from which version on"
    assert requirement.name != "torchvision"


def test_core_is_small():
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    core = "torch numpy safetensors pydantic typer rich jinja2 networkx"
    assert names == set(core.split())


def test_all_holds_each_extra_for_users():
    everything = Requirement(EXTRAS["all"][0]).extras
    assert everything == set(EXTRAS) - {"all", "test", "dev", "docs"}


def test_version_stands_in_one_place():
    text = (ROOT / "src" / "ancestral" / "_version.py").read_text("utf-8")
    version = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "[Unreleased]" in changes if ".dev" in version else f"[{version}]" in changes


def test_files_that_a_package_carries():
    assert (ROOT / "src" / "ancestral" / "py.typed").exists()
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert PROJECT["license"] == "Apache-2.0"
