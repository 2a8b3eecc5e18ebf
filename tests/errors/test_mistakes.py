"""Mistakes: the walk-through with one line changed, and what the user reads.

Each text is golden: ``python -m tests.errors.test_mistakes`` rewrites the file
``tests/golden/mistakes.txt`` after a change that is meant; read the difference first.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from ancestral.core.errors import AncestralError
from tests.errors import laws, losses, plans
from tests.errors.walk import walk

GOLDEN = Path(__file__).parent.parent / "golden" / "mistakes.txt"

MISTAKES: dict[str, Callable[[Any], None]] = {
    name: f
    for module in (laws, losses, plans)
    for name, f in vars(module).items()
    if isinstance(f, FunctionType) and f.__module__ == module.__name__
}


def message(mistake: Callable[[Any], None]) -> str:
    """What the user reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            mistake(walk())
        except (AncestralError, UserWarning, TypeError, AttributeError) as error:
            return f"{type(error).__name__}: {error}"
    return "nothing"


def sections() -> dict[str, str]:
    """The golden file by mistake."""
    parts = GOLDEN.read_text(encoding="utf-8").split("\n\n")
    return {
        p.split("\n", 1)[0].strip("[]"): p.split("\n", 1)[1].strip() for p in parts if p.strip()
    }


@pytest.mark.parametrize("name", MISTAKES)
def test_message(name: str) -> None:
    assert message(MISTAKES[name]) == sections()[name]


def test_each_message_says_what_to_do() -> None:
    texts = sections()
    assert len(texts) == len(MISTAKES) >= 45
    assert len(set(texts.values())) == len(texts)
    assert "nothing" not in texts.values()


if __name__ == "__main__":
    out = "\n\n".join(f"[{name}]\n{message(f)}" for name, f in MISTAKES.items())
    GOLDEN.write_text(out + "\n", encoding="utf-8")
    sys.stdout.write(out + "\n")
