"""config.json is a closed schema: what it does not know, it refuses, naming the key."""

import copy
import json

import pytest

from ancestral.core.errors import CheckpointError
from ancestral.report import RunConfig, read_config, write_config
from ancestral.report.config import LIMIT

GOOD = {
    "format_version": 1,
    "model": {
        "name": "vae",
        "arguments": {"pixels": 64, "hidden": [256, 256], "lr": 0.001, "grey": False},
    },
    "data": {"name": "digits", "pixels": "binary"},
    "training": {
        "seed": 0,
        "epochs": 250,
        "batch_size": 128,
        "device": "cpu",
        "dtype": "float32",
    },
    "environment": {"torch": "2.13.0+cpu"},
}


def changed(**places):
    """The good configuration with values put at dotted places; None takes the key away."""
    config = copy.deepcopy(GOOD)
    for place, value in places.items():
        *path, last = place.split("__")
        part = config
        for key in path:
            part = part[key]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return config


def test_round_trip_keeps_kinds(tmp_path):
    path = tmp_path / "config.json"
    write_config(RunConfig.model_validate_json(json.dumps(GOOD)), path)
    assert json.loads(path.read_text()) == GOOD
    assert read_config(path).model.arguments == GOOD["model"]["arguments"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (changed(format_version=2), "format_version"),
        (changed(format_version=None), None),  # has a default: format 1
        (changed(model=None), "model"),
        (changed(extra=1), "extra"),
        (changed(model___target_="os.system"), "model._target_"),
        (changed(model__name="os.system"), "model.name"),
        (changed(model__name="../vae"), "model.name"),
        (changed(model__name="Vae"), "model.name"),
        (changed(model__arguments={"__class__": "x"}), "model.arguments"),
        (changed(model__arguments={"net": "torch.nn"}), "model.arguments.net"),
        (changed(model__arguments={"net": {"deep": 1}}), "model.arguments.net"),
        (changed(model__arguments={"pixels": 10**9}), "model.arguments.pixels"),
        (changed(model__arguments={"hidden": [1] * 100}), "model.arguments.hidden"),
        (changed(data__pixels="gray"), "data.pixels"),
        (changed(data__path="/etc/passwd"), "data.path"),
        (changed(training__seed="0"), "training.seed"),
        (changed(training__seed=-1), "training.seed"),
        (changed(training__epochs=1.5), "training.epochs"),
        (changed(training__epochs=0), "training.epochs"),
        (changed(training__dtype="float16"), "training.dtype"),
        (changed(training__device="cuda;rm"), "training.device"),
        (changed(environment={"torch": 2}), "environment.torch"),
        ([], "the file"),
        ("vae", "the file"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, config, key):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    if key is None:
        read_config(path)
        return
    with pytest.raises(CheckpointError) as caught:
        read_config(path)
    assert f"  {key}" in str(caught.value)
    assert "format 1" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 1000, b" " * (LIMIT + 1), b"NaN"],
    ids=["empty", "cut", "no text", "deep list", "deep dict", "large", "nan"],
)
def test_what_is_no_json_of_ours_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_config(path)


def test_a_missing_file_says_what_a_run_is(tmp_path):
    with pytest.raises(CheckpointError, match=r"a run's folder holds a config\.json"):
        read_config(tmp_path / "config.json")
