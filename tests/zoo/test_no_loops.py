"""Every file of the zoo reads like its paper: no optimiser by hand, no loop over batches."""

import ast
from pathlib import Path

import pytest

import ancestral.zoo

FILES = sorted(Path(ancestral.zoo.__file__).parent.glob("[!_]*.py"))
BY_HAND = {"backward", "step", "zero_grad", "autograd", "no_grad", "enable_grad"}
STEPS = {"train", "test", "eval", "sample"}


def called(tree: ast.AST) -> set[str]:
    """The methods and functions that a piece of code calls."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_trained_by_hand(path):
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} | called(tree)
    assert not names & BY_HAND, f"{path.name} takes a gradient or a step by itself"
    loops = [n for n in ast.walk(tree) if isinstance(n, (ast.For, ast.While, ast.AsyncFor))]
    for loop in loops:
        assert not called(loop) & STEPS, f"{path.name}:{loop.lineno} loops over batches"
    assert len(text.splitlines()) <= 130, f"{path.name} is too long to read like a paper"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_names_its_paper(path):
    document = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert ".. math::" in document
    assert "Source: " in document
    assert f"Run it alone: ``python -m ancestral.zoo.{path.stem}``" in document
