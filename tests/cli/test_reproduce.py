"""`ancestral reproduce`: seeds that are finished are kept, what has changed runs again, the table
says what is there. The models are toys that write down when they run."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ancestral.zoo
from ancestral.cli import app, records, registry, table
from ancestral.evaluation import Measurement, Reference

ROOT = Path(__file__).resolve().parents[2]
runner = CliRunner()
TOY = '''"""A toy.

.. math:: L(x) = x

Source: Nobody, "Nothing | at all", 2020, equation 1.
"""

from pathlib import Path

import torch

from ancestral.core.errors import DataError
from ancestral.evaluation import Measurement, Reference, Reproduction
from ancestral.report import image_grid, png


def {name}():
    """E_{{q(z|x)}}[log p(x|z)]."""


def reproduce(*, seed=0, data_dir=None, progress=True, device="cpu"):
    """Draws a number."""
    if data_dir is None:
        raise DataError("name the folder with --data-dir PATH")
    with open(Path(data_dir) / "ran", "a") as file:
        file.write(f"{name}{{seed}} ")
    if (Path(data_dir) / "stop").exists() and seed == 1:
        raise KeyboardInterrupt
    torch.manual_seed(seed)
    draw = torch.rand(4, device=device)
    reference = Reference(0.5, "half", "exact")
    mean = Measurement(
        "mean draw", float(draw.mean()), "nats", "mean", reference, at_most={limit},
        standard_error=0.1, k=1, rows=4,
    )
    return Reproduction((mean,), png(image_grid(draw.reshape(4, 1, 1, 1), columns=2)), "Noise.")
'''


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A zoo with the toys a and b, and c, which has nothing to reproduce."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    for name, limit in (("a", 2.0), ("b", 0.001)):
        (folder / f"{name}.py").write_text(TOY.format(name=name, limit=limit))
    (folder / "c.py").write_text('"""Quiet."""\n')
    monkeypatch.setattr(registry, "ZOO", folder)
    monkeypatch.setattr(ancestral.zoo, "__path__", [str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANCESTRAL_DATA", raising=False)
    yield folder
    for name in "abc":
        sys.modules.pop(f"ancestral.zoo.{name}", None)


def run(*arguments: object, out="found", data="."):
    given = [] if data is None else ["--data-dir", data]
    words = ["reproduce", *arguments, "--out", out, *given]
    return runner.invoke(app, [str(word) for word in words])


def ran() -> list[str]:
    """The runs since this was asked for last."""
    path = Path("ran")
    found = path.read_text().split() if path.exists() else []
    path.write_text("")
    return found


def row(name: str) -> str:
    page = Path("found.md").read_text("utf-8")
    return re.search(rf"^\| \[{name}\].*$", page, re.M).group()


@pytest.mark.usefixtures("zoo")
def test_it_runs_seeds_and_writes_records_picture_and_table():
    done = run("a")
    assert done.exit_code == 0, done.output
    assert ran() == ["a0", "a1", "a2"]
    left = {path.name for path in Path("found").iterdir()}
    assert left == {"a-0.json", "a-1.json", "a-2.json", "a.png"}
    record = json.loads(Path("found/a-1.json").read_text())
    assert record["measurements"][0]["reference"] == {
        "value": 0.5, "source": "half", "kind": "exact",
    }  # fmt: skip
    assert record["environment"]["threads"]
    assert "reached" in row("a")
    assert "not run" in row("b")
    page = Path("found.md").read_text("utf-8")
    assert "No number yet: `c`." in page
    assert "    E_{q(z|x)}[log p(x|z)]\n" in page
    assert 'Nobody, "Nothing | at all", 2020, equation 1.' in page
    assert "![Noise.](found/a.png)" in page


@pytest.mark.usefixtures("zoo")
def test_the_seed_decides():
    run("a", "--seeds", 2)
    first = [Path(f"found/a-{seed}.json").read_text() for seed in (0, 1)]
    run("a", "--seeds", 2, out="again")
    again = [Path(f"again/a-{seed}.json").read_text() for seed in (0, 1)]
    found = [json.loads(text)["measurements"] for text in (*first, *again)]
    assert found[:2] == found[2:]
    assert found[0] != found[1]


@pytest.mark.usefixtures("zoo")
def test_what_is_finished_is_kept_and_an_interrupted_run_goes_on():
    Path("stop").touch()
    done = run("a")
    assert done.exit_code == 130
    assert "Interrupted" in done.stderr
    assert ran() == ["a0", "a1"]
    assert re.search(r"\| 1 \| .* \| reached \|$", row("a"))  # the table holds what there is
    Path("stop").unlink()
    done = run("a")
    assert "1 of 3 seeds are kept" in done.stdout
    assert ran() == ["a1", "a2"]
    run("a")
    assert ran() == []
    run("a", "--first", 2, "--seeds", 2)
    assert ran() == ["a3"]


def test_a_changed_file_runs_again_but_not_for_its_words(zoo):
    run("a")
    ran()
    text = (zoo / "a.py").read_text()
    (zoo / "a.py").write_text(text.replace("A toy.", "A better toy.") + "\n# and a comment\n")
    run("a")
    assert ran() == []
    (zoo / "a.py").write_text(text.replace("torch.rand(4", "torch.rand(5"))
    assert run("--table").exit_code == 0
    assert "a](#a)‡" in row("a")
    assert ran() == []
    run("a")
    assert ran() == ["a0", "a1", "a2"]
    assert "‡" not in row("a")


@pytest.mark.usefixtures("zoo")
def test_a_changed_package_is_marked_and_runs_again_if_asked(monkeypatch):
    run("a")
    ran()
    for module in (table, sys.modules["ancestral.cli.reproduce"]):
        monkeypatch.setattr(module, "package_digest", lambda: "f" * 64)
    run("a")
    assert ran() == []
    assert "a](#a)†" in row("a")
    run("a", "--fresh")
    assert ran() == ["a0", "a1", "a2"]
    assert "†" not in row("a")
    run("a", "--fresh")
    assert ran() == []


@pytest.mark.usefixtures("zoo")
def test_all_goes_on_after_a_failure():
    done = run("--all", "--seeds", 1)
    assert done.exit_code == 0, done.output
    assert ran() == ["a0", "b0"]
    assert re.search(r"missed by 0\.\d+ \|$", row("b"))  # a miss is told, and no error
    done = run("--all", "--seeds", 1, out="other", data=None)
    assert done.exit_code == 2
    assert "a: name the folder with --data-dir" in done.stderr
    assert "not run to the end: a, b" in done.stderr


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["aa"], "no model 'aa' in the zoo: did you mean 'a'?"),
        (["c"], "c has no function reproduce() yet; these have: a, b"),
        ([], "name a model, or say --all"),
        (["--all", "a"], "name models, or take all"),
        (["a", "--device", "gpu"], "--device gpu"),
        (["a", "--seeds", "0"], "--seeds"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_2(words, says):
    done = run(*words)
    assert done.exit_code == 2
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output
    assert not Path("found").exists()
    assert ran() == []


@pytest.mark.usefixtures("zoo")
def test_missing_data_says_how_to_get_it():
    done = run("a", data=None)
    assert done.exit_code == 2
    assert "name the folder with --data-dir PATH" in done.stderr


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize("text", ["{", '{"model": "a"}', '{"pickle": 1}'])
def test_a_damaged_record_is_refused(text):
    run("a", "--seeds", 1)
    Path("found/a-0.json").write_text(text)
    done = run("a", "--seeds", 1)
    assert done.exit_code == 2
    assert "a-0.json is not the record of a reproduction" in done.stderr
    assert "Delete it, and its seed runs again" in done.stderr


@pytest.mark.usefixtures("zoo")
def test_the_gallery_holds_every_picture():
    done = run("--gallery")
    assert done.exit_code == 2
    assert "has no picture yet" in done.stderr
    run("a", "b", "--seeds", 1)
    done = run("--gallery")
    assert done.exit_code == 0, done.output
    assert Path("gallery.png").read_bytes().startswith(b"\x89PNG")


def record(seed: int, value: float, **others) -> records.Record:
    number = {
        "quantity": "test loss", "unit": "nats", "estimator": "Monte Carlo over z", "k": 1,
        "reference": Reference(97.99, "a notebook", "literature"), "at_most": 98.4, "rows": 10_000,
        "standard_error": 0.3, **others,
    }  # fmt: skip
    return records.Record(
        model="cvae", seed=seed, code="0" * 64, package="1" * 64, seconds=151.0 + seed,
        environment={"torch": "2.13.0+cpu", "threads": "1", "device": "CPU"},
        measurements=(Measurement(value=value, **number),), caption="Digits.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "others", "cells"),
    [
        ([97.9, 98.1, 97.7], {}, "97.90 ± 0.12 nats | ≤ 98.4 | ... | 3 | 2.5 min | reached"),
        ([98.9, 98.7], {}, "98.80 ± 0.10 nats | ≤ 98.4 | ... | 2 | 2.5 min | missed by 0.4"),
        ([97.9], {}, "97.90 (± 0.30) nats | ≤ 98.4 | ... | 1 | 2.5 min | reached"),
        ([float("nan")], {}, "nan (± 0.30) nats | ≤ 98.4 | ... | 1 | 2.5 min | missed: not finite"),
        ([1.0, 1.1], {"at_least": 0.9, "at_most": 1.1, "unit": ""},
         "1.050 ± 0.050 | ≥ 0.9, ≤ 1.1 | ... | 2 | 2.5 min | reached"),
    ],
)  # fmt: skip
def test_rows(found, others, cells):
    kept = [record(seed, value, **others) for seed, value in enumerate(found)]
    entry = table.Entry("cvae", "Title.", "E", "Paper.", kept, "")
    source = "97.99, literature: a notebook"
    assert table.rows(entry) == [
        f"| [cvae](#cvae) | test loss | {cells.replace('...', source)} |\n"
    ]


def test_a_record_is_read_as_it_was_written(tmp_path):
    for value in (97.9, float("nan"), float("inf")):
        records.write_record(record(0, value), tmp_path)
        assert repr(records.read_record(tmp_path / "cvae-0.json")) == repr(record(0, value))


def test_the_pages_numbers_are_those_of_the_records():
    """Each row of docs/zoo.md, but for the marks, which say what has changed since."""
    folder = ROOT / "docs" / "zoo"
    page = (ROOT / "docs" / "zoo.md").read_text("utf-8")
    plain = re.sub(f"[{table.OLDER}{table.CHANGED}]", "", page)
    for model in table.entries(folder):
        if model.records:
            for line in table.rows(model):
                assert re.sub(f"[{table.OLDER}{table.CHANGED}]", "", line) in plain
