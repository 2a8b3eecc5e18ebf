"""The README's Python runs as written, and prints what its comments say."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_blocks_run_and_print_their_comments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), scope)
    printed = capsys.readouterr().out
    told = re.findall(r"print\([\w.]+\) +# (.*)", "".join(BLOCKS))
    assert len(told) == 3
    for line in told:
        assert line in printed.splitlines()
