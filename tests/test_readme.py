"""The README's Python runs as written, and prints what its comments say."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
GUIDES = sorted((README.parent / "docs" / "guides").glob("*.md"))


def blocks_of(page: Path) -> list[str]:
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


BLOCKS = blocks_of(README)
ALONE = [page for page in GUIDES if "".join(blocks_of(page)).startswith("import torch")]


@pytest.mark.usefixtures("compiler_is_imported")  # torch's optimizers import it
def test_blocks_run_and_print_their_comments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), scope)
    printed = capsys.readouterr().out
    told = re.findall(r"print\([\w.]+\) +# (.*)", "".join(BLOCKS))
    assert len(told) == 4
    for line in told:
        assert line in printed.splitlines()


@pytest.mark.usefixtures("compiler_is_imported")
@pytest.mark.parametrize("guide", ALONE, ids=lambda guide: guide.stem)
def test_guides_that_stand_alone_run(
    guide: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for block in blocks_of(guide):
        exec(compile(block, str(guide), "exec"), scope)
