"""The line on stderr."""

import io
import sys

import pytest

from ancestral.models import progress
from tests.models.parts import parts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fit(**options) -> None:
    w = parts()
    w.model().fit({"x": w.x}, 3, batch_size=4, **options)


def test_lines_in_a_file(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PIPED", -1.0)
    fit(validation={"x": parts().x})
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3
    for i, line in enumerate(lines):
        assert line.startswith(f"epoch {i + 1}/3  loss ")
        assert "  validation " in line
        assert line.endswith(" s")
    assert "\r" not in err
    assert "\x1b" not in err


def test_a_line_now_and_then_is_enough_in_a_file(capsys):
    w = parts()
    w.model().fit({"x": w.x}, 50, batch_size=8)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("epoch 1/50  loss ")
    assert lines[-1].startswith("epoch 50/50  loss ")
    assert len(lines) < 10


def test_without_validation(capsys):
    fit()
    assert "validation" not in capsys.readouterr().err


def test_silence(capsys):
    fit(progress=False)
    assert capsys.readouterr() == ("", "")


def test_one_line_that_is_rewritten_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "REFRESH", -1.0)
    fit()
    text = screen.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    writes = text.rstrip("\n").split("\r\x1b[K")[1:]
    assert writes[:2] == ["epoch 1/3  4/8 rows", "epoch 1/3  8/8 rows"]
    assert writes[2].startswith("epoch 1/3  loss ")
    assert len(writes) == 9


def test_a_few_times_a_second_is_enough(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: 100.0)
    line = progress.ProgressLine(True, 1, 1000)
    for rows in range(1000):
        line.step(1, rows)
    assert screen.getvalue().count("\r") == 1


def test_an_interrupt_ends_the_line(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)

    def stop(model, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(callbacks=[stop])
    assert screen.getvalue().endswith(" s\n")


def test_without_a_console(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    fit()


def test_the_time_that_is_left(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    line = progress.ProgressLine(True, 10, None)
    line.epoch({"epoch": 4, "loss": 1.0, "validation": None, "seconds": 20.0})
    assert screen.getvalue() == "epoch 4/10  loss 1.0000  20.0 s  120 s left\n"
