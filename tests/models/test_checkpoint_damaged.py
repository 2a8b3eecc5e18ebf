"""Model.load of files that are missing, damaged or hostile: nothing of them runs or stays."""

import hashlib
import json
import random
import sys

import pytest
from safetensors.torch import load_file, save_file
from torch import nn

from ancestral.core.errors import CheckpointError
from ancestral.distributions import Normal
from ancestral.losses import KL, E
from ancestral.models import Model
from tests.models.checkpoints import MANIFEST, WEIGHTS, refused, trained
from tests.models.parts import LATENT, PIXELS, parts, same, weights


def test_there_is_nothing(tmp_path):
    refused(tmp_path, "has no model.json")
    refused(tmp_path / "nowhere", "has no model.json")


def test_a_file_is_missing(saved):
    (saved / WEIGHTS).unlink()
    refused(saved, f"{WEIGHTS} in .*run is missing")
    (saved / MANIFEST).unlink()
    refused(saved, "has no model.json")


def test_any_flipped_bit_is_noticed(saved):
    model, _, _ = trained(seed=1)
    content = (saved / WEIGHTS).read_bytes()
    chance = random.Random(0)
    for _ in range(200):
        i, bit = chance.randrange(len(content)), chance.randrange(8)
        spoilt = bytearray(content)
        spoilt[i] ^= 1 << bit
        (saved / WEIGHTS).write_bytes(spoilt)
        refused(saved, "does not match its digest", model)
    (saved / WEIGHTS).write_bytes(content)
    model.load(saved)


def test_a_damaged_manifest_never_gives_other_weights(saved):
    right = weights(trained()[0]._state)
    model, _, _ = trained(seed=1)
    before = weights(model._state)
    content = (saved / MANIFEST).read_bytes()
    chance = random.Random(0)
    refusals = 0
    for _ in range(150):
        spoilt = bytearray(content)
        kind, i = chance.randrange(3), chance.randrange(len(content))
        if kind == 0:
            spoilt[i] ^= 1 << chance.randrange(8)
        elif kind == 1:
            spoilt = spoilt[:i]
        else:
            spoilt[i:i] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5)))
        (saved / MANIFEST).write_bytes(spoilt)
        try:
            model.load(saved)
        except CheckpointError:
            refusals += 1
            assert same(before, weights(model._state))
        else:  # the text of the loss is for messages alone
            assert same(right, weights(model._state))
            model._state.load_state_dict(before)
    assert 75 < refusals < 150


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_truncated_weights(saved, length):
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[:length])
    refused(saved, "does not match its digest")


def sign(folder, content: bytes) -> None:
    """Put other weights in place, with the digest that belongs to them, as an attacker can."""
    (folder / WEIGHTS).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest["files"][WEIGHTS] = {"sha256": hashlib.sha256(content).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")


def header(text: str, data: bytes = b"") -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode() + data


HOSTILE_WEIGHTS = {
    "nothing": b"",
    "a pickle": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93.",
    "a zip": b"PK\x03\x04" + bytes(100),
    "a header longer than the file": (2**62).to_bytes(8, "little") + b"{}",
    "a header of a gigabyte": (2**30).to_bytes(8, "little") + b"{}",
    "no JSON": header("{"),
    "a tensor outside of the file": header(
        '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "a shape that overflows": header(
        '{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'
    ),
    "an unknown dtype": header('{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "a name twice": header(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        bytes(4),
    ),
    "deep nesting": header('{"a":' * 2000 + "0" + "}" * 2000),
}


@pytest.mark.parametrize("name", HOSTILE_WEIGHTS)
def test_hostile_weights(saved, name):
    sign(saved, HOSTILE_WEIGHTS[name])
    refused(saved, "cannot be read|holds another model")


def test_nothing_runs(saved):
    """Loading starts no process, opens no socket, runs no code and unpickles nothing."""
    watched = ("exec", "compile", "pickle", "subprocess", "os.system", "os.exec", "socket")
    heard: list[str] = []
    on = False

    def hear(event: str, args: object) -> None:
        if on and event.startswith(watched):
            heard.append(event)

    sys.addaudithook(hear)
    model, _, _ = trained(seed=1)
    good = (saved / WEIGHTS).read_bytes()
    for content in (good, HOSTILE_WEIGHTS["a pickle"], HOSTILE_WEIGHTS["a zip"]):
        sign(saved, content)
        on = True
        try:
            model.load(saved)
        except CheckpointError:
            assert content is not good
        finally:
            on = False
    assert heard == []
    on = True
    eval("1")  # the hook hears
    on = False
    assert heard


def manifest_with(**changes) -> bytes:
    base = {
        "format_version": 1,
        "loss": "l",
        "files": {WEIGHTS: {"sha256": "0" * 64}},
    }
    return json.dumps({**base, **changes}).encode()


HOSTILE_MANIFESTS = {
    "empty": (b"", "cannot be read"),
    "no text": (b"\xff\xfe\x00", "cannot be read"),
    "no JSON": (b"{'format_version': 1}", "cannot be read"),
    "two values": (b"{} {}", "cannot be read"),
    "deep nesting": (b"[" * 100_000, "cannot be read"),
    "a huge number": (b'{"format_version": ' + b"9" * 5000 + b"}", "cannot be read"),
    "ten megabytes": (b" " * 10_000_000, "more than 1048576 bytes"),
    "a list": (b"[]", "not a manifest"),
    "a string": (b'"format_version"', "not a manifest"),
    "null": (b"null", "not a manifest"),
    "NaN": (b"NaN", "not a manifest"),
    "another version": (manifest_with(format_version=2), "format version 2, this release reads 1"),
    "an older version": (manifest_with(format_version=0), "format version 0"),
    "a version in words": (manifest_with(format_version="1"), "not a manifest"),
    "a version that is true": (manifest_with(format_version=True), "not a manifest"),
    "a version with a point": (manifest_with(format_version=1.0), "not a manifest"),
    "more than it should have": (manifest_with(_target_="os.system"), "not a manifest"),
    "no files": (manifest_with(files={}), "not a manifest"),
    "files in a list": (manifest_with(files=[WEIGHTS]), "not a manifest"),
    "another file": (
        manifest_with(files={WEIGHTS: {"sha256": ""}, "../../etc/passwd": {"sha256": ""}}),
        "not a manifest",
    ),
    "a list for a file": (manifest_with(files={WEIGHTS: ["sha256"]}), "not a manifest"),
    "no digest": (manifest_with(files={WEIGHTS: {}}), "not a manifest"),
    "a digest of null": (manifest_with(files={WEIGHTS: {"sha256": None}}), "not a manifest"),
    "a key too many": (
        manifest_with(files={WEIGHTS: {"sha256": "0", "url": "http://x"}}),
        "not a manifest",
    ),
    "a list before": (
        manifest_with(files={WEIGHTS: {"sha256": "0", "before": ["0"]}}),
        "not a manifest",
    ),
    "a loss that is no text": (manifest_with(loss={}), "not a manifest"),
}


@pytest.mark.parametrize("name", HOSTILE_MANIFESTS)
def test_hostile_manifests(saved, name):
    content, message = HOSTILE_MANIFESTS[name]
    (saved / MANIFEST).write_bytes(content)
    refused(saved, message)


def test_the_weights_of_another_model(saved):
    w = parts()
    spare = w.q
    spare.fc3 = nn.Linear(2, 2)
    refused(saved, r"missing trained\.1\.fc3\.bias, .*saved from -mean\(E_", w.model())

    q = Normal(var=["z"], cond_var=["x"], net=nn.Linear(PIXELS, 2 * LATENT), name="q")
    loss = -(E(q, w.p.log_prob()) - KL(q, w.prior)).mean()
    refused(saved, r"unknown trained\.1\.fc1\.bias", Model(loss=loss, distributions=[w.p, q]))

    v = parts()
    v.p.fc2 = nn.Linear(5, PIXELS + 1)
    refused(
        saved,
        r"of another shape or kind trained\.0\.fc2\.weight \[6, 5\], here \[7, 5\]",
        v.model(),
    )


def test_whole_numbers_in_place_of_weights(saved):
    state = load_file(saved / WEIGHTS)
    state = {k: v.long() for k, v in state.items()}
    save_file(state, saved / "other")
    sign(saved, (saved / "other").read_bytes())
    refused(saved, "of another shape or kind")
