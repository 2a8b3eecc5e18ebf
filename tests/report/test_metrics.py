"""metrics.jsonl can be read while it is written, and after a kill."""

import json

import pytest

from ancestral.core.errors import CheckpointError
from ancestral.report import MetricsWriter, read_metrics


def test_each_line_is_on_disk_at_once_and_later_writers_append(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        metrics.write("epoch", epoch=1, loss=2.5, validation=None)
        assert read_metrics(path) == [
            {"event": "epoch", "epoch": 1, "loss": 2.5, "validation": None}
        ]
        metrics.write("epoch", epoch=2, loss=float("nan"), validation=float("-inf"))
    with MetricsWriter(path) as metrics:
        metrics.write("test", value=1)
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "epoch",
        "epoch",
        "test",
    ]
    assert read_metrics(path)[1] == {
        "event": "epoch",
        "epoch": 2,
        "loss": None,
        "validation": None,
    }


def test_a_line_cut_off_by_a_kill_is_left_out_but_a_broken_one_inside_is_not(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "epoch", "epoch": 1}\n{"event": "epo')
    assert read_metrics(path) == [{"event": "epoch", "epoch": 1}]
    path.write_text('{"event": "epo\n{"event": "epoch", "epoch": 1}\n')
    with pytest.raises(CheckpointError, match="line 1 is no JSON object"):
        read_metrics(path)
    path.write_text("[1]\n{}\n")
    with pytest.raises(CheckpointError, match="line 1 is no JSON object"):
        read_metrics(path)
