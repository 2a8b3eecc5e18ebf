"""Model.save and Model.load: all or nothing, and nothing is ever unpickled."""

import hashlib
import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ancestral.core.errors import CheckpointError
from ancestral.distributions import Bernoulli, Normal
from ancestral.losses import KL, E
from ancestral.models import Model, checkpoint
from tests.models.parts import LATENT, PIXELS, draws, parts, same, weights

WEIGHTS, MANIFEST = "weights.safetensors", "model.json"


def trained(seed: int = 0, steps: int = 2) -> tuple[Model, torch.Tensor, torch.Tensor]:
    """A model, a batch and noise for it."""
    w = parts(torch.float64, seed=seed)
    model, (eps,) = w.model(), draws(1, w)
    for _ in range(steps):
        model.train({"x": w.x})
    return model, w.x, eps


def value(model: Model, x, eps) -> float:
    return float(model.test({"x": x}, noise={"z": eps}))


@pytest.fixture
def saved(tmp_path):
    model, _, _ = trained()
    model.save(tmp_path / "run")
    return tmp_path / "run"


# -- what comes back --------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [str, Path])
def test_round_trip(tmp_path, kind):
    model, x, eps = trained()
    folder = kind(tmp_path / "a folder" / "モデル")
    model.save(folder)
    other, _, _ = trained(seed=1)
    assert value(other, x, eps) != value(model, x, eps)
    other.load(folder)
    assert value(other, x, eps) == value(model, x, eps)
    assert same(weights(model.distributions), weights(other.distributions))
    assert sorted(os.listdir(folder)) == [MANIFEST, WEIGHTS]


def test_training_goes_on_after_loading(saved):
    model, x, eps = trained(seed=1)
    model.load(saved)
    before = weights(model.distributions)
    model.train({"x": x}, noise={"z": eps})
    assert not same(before, weights(model.distributions))
    held = {id(p) for g in model.optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in model.trained}


def with_prior(loc, scale=1.0) -> Model:
    w = parts(torch.float64)
    prior = Normal(loc=loc, scale=scale, var=["z"], features_shape=[LATENT], name="prior")
    loss = -(E(w.q, w.p.log_prob()) - KL(w.q, prior.double())).mean()
    return Model(loss=loss, distributions=[w.p, w.q])


@pytest.mark.parametrize("used", [False, True])
def test_constants_come_back_and_are_used(tmp_path, used):
    """Built at 1, saved at 0: the closed form is again that of a standard normal; and reversed."""
    _, x, eps = trained()
    for saved_at, built_at in ((0.0, 1.0), (1.0, 0.0), ([0.0, 2.0], [1.0, 1.0])):
        model = with_prior(torch.tensor(saved_at))
        expected = value(model, x, eps)
        model.save(tmp_path)
        other = with_prior(torch.tensor(built_at))
        if used:
            for _ in range(2):
                assert value(other, x, eps) != pytest.approx(expected, rel=1e-3)
        other.load(tmp_path)
        for _ in range(2):
            assert value(other, x, eps) == pytest.approx(expected, rel=1e-14)


def test_tensors_of_any_layout(tmp_path):
    def build(scale: float) -> tuple[Normal, Model]:
        loc = scale * torch.arange(6.0).reshape(2, 3)
        p = Normal(var=["x"], loc=loc.t(), scale=torch.tensor(scale).expand(3, 2), name="p")
        q = Normal(var=["x"], loc=nn.Parameter(loc.t()), scale=1.0, name="q")
        return p, Model(loss=KL(q, p).mean())

    p, model = build(2.0)
    model.save(tmp_path)
    other, loaded = build(1.0)
    loaded.load(tmp_path)
    assert torch.equal(other.loc, p.loc)
    assert torch.equal(other.scale, p.scale)
    assert float(loaded.test()) == float(model.test())


def test_two_laws_from_one_tensor_stay_apart(tmp_path):
    shared = torch.zeros(2)
    q = Normal(var=["x"], loc=nn.Parameter(torch.zeros(2)), scale=1.0, name="q")
    a = Normal(var=["x"], loc=shared, scale=1.0, name="a")
    b = Normal(var=["x"], loc=shared, scale=1.0, name="b")
    model = Model(loss=(KL(q, a) + KL(q, b)).mean())
    model.save(tmp_path)
    model.load(tmp_path)
    a.loc.fill_(1.0)
    assert b.loc.tolist() == [0.0, 0.0]


def test_tied_weights_stay_tied(tmp_path):
    def build(seed: int) -> tuple[nn.Linear, nn.Linear, Model]:
        torch.manual_seed(seed)
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.weight = first.weight
        p = Normal(var=["x"], cond_var=["z"], net=nn.Sequential(first, nn.Linear(3, 6)), name="p")
        r = Normal(var=["y"], cond_var=["z"], net=nn.Sequential(second, nn.Linear(3, 6)), name="r")
        return first, second, Model(loss=-(p.log_prob() + r.log_prob()).mean())

    first, _, model = build(0)
    model.save(tmp_path)
    other, tied, loaded = build(1)
    loaded.load(tmp_path)
    assert other.weight is tied.weight
    assert torch.equal(first.weight, other.weight)
    assert len(loaded.trained) == len(model.trained)


def test_statistics_and_frozen_networks(tmp_path):
    def build(seed: int) -> Model:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(PIXELS, 4), nn.BatchNorm1d(4), nn.Linear(4, 2 * LATENT))
        q = Normal(var=["z"], cond_var=["x"], net=net, name="q")
        p = Bernoulli(var=["x"], cond_var=["z"], net=nn.Linear(LATENT, PIXELS), name="p")
        q.requires_grad_(False)
        return Model(loss=-E(q, p.log_prob()).mean(), distributions=[p])

    x, eps = parts().x, torch.randn(8, LATENT)
    model = build(0)
    for _ in range(3):
        model.train({"x": x})
    model.save(tmp_path)
    other = build(1)
    other.load(tmp_path)
    assert value(other, x, eps) == value(model, x, eps)


def test_another_precision(saved):
    """As with torch's load_state_dict, values are converted to the model's precision."""
    w = parts(torch.float32, seed=1)
    w.model().load(saved)
    model, _, _ = trained()
    torch.testing.assert_close(
        w.q.fc1.weight.double(), model.trained[4].double(), rtol=1e-6, atol=0
    )
    assert w.q.fc1.weight.dtype == torch.float32


def test_a_number_in_the_loss(tmp_path):
    def build(start: float) -> tuple[nn.Parameter, Model]:
        weight = nn.Parameter(torch.tensor(start))
        return weight, Model(loss=weight * parts().loss)

    _, model = build(2.0)
    model.save(tmp_path)
    weight, other = build(3.0)
    other.load(tmp_path)
    assert weight.item() == 2.0


# -- what does not come back ------------------------------------------------------------------
def refused(folder, message: str, model: Model | None = None) -> None:
    """Loading raises, and the model is as it was."""
    model = trained(seed=1)[0] if model is None else model
    before = weights(model._state)
    with pytest.raises(CheckpointError, match=message):
        model.load(folder)
    assert same(before, weights(model._state))


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


# -- while it is written ----------------------------------------------------------------------
class Killed(BaseException):
    """The process ends here."""


def saving_killed(model: Model, folder: Path, at: int, monkeypatch) -> bool:
    """Save, and stop before the ``at``-th call that reaches the disk; whether it came so far."""
    calls = 0

    def counted(original):
        def call(*args, **options):
            nonlocal calls
            if calls == at:
                raise Killed
            calls += 1
            return original(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for place, name in (
            (os, "replace"),
            (Path, "write_bytes"),
            (checkpoint, "_flush"),
            (checkpoint, "_digest"),
            (Path, "write_text"),
        ):
            patch.setattr(place, name, counted(getattr(place, name)))
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # the dead do not tidy
        try:
            model.save(folder)
        except Killed:
            return True
    return False


def test_a_save_that_is_killed_anywhere_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    """And a save that follows it, killed at the same place, leaves one of the three."""
    (old, x, eps), (new, _, _), (newest, _, _) = (trained(seed) for seed in range(3))
    values = [value(model, x, eps) for model in (old, new, newest)]
    loaded, _, _ = trained(3)
    old.save(tmp_path / "old")
    found: set[float] = set()
    for at in range(100):
        folder = tmp_path / str(at)
        shutil.copytree(tmp_path / "old", folder)
        killed = saving_killed(new, folder, at, monkeypatch)
        loaded.load(folder)
        found.add(value(loaded, x, eps))
        assert found <= set(values[:2])
        assert saving_killed(newest, folder, at, monkeypatch) == killed
        loaded.load(folder)
        assert value(loaded, x, eps) in values
        if not killed:
            break
    assert at > 8, "every call was tried"
    assert found == set(values[:2])


def test_a_first_save_that_is_killed_leaves_nothing_to_load(tmp_path, monkeypatch):
    (model, x, eps), (loaded, _, _) = trained(), trained(1)
    for at in range(100):
        folder = tmp_path / str(at)
        if not saving_killed(model, folder, at, monkeypatch):
            break
        try:
            loaded.load(folder)
        except CheckpointError:
            continue
        assert value(loaded, x, eps) == value(model, x, eps)
    assert at > 4


def test_a_full_disk(tmp_path, monkeypatch):
    old, x, eps = trained(0)
    new, _, _ = trained(1)
    old.save(tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    for place, name in ((Path, "write_bytes"), (Path, "write_text"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            with pytest.raises(CheckpointError, match=r"cannot be written: .*No space left"):
                new.save(tmp_path)
        assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    new.save(tmp_path)
    old.load(tmp_path)
    assert value(old, x, eps) == value(new, x, eps)


def test_a_place_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be written"):
        trained()[0].save(tmp_path / "run")


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    model, _, _ = trained()
    model.save(tmp_path)
    model.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", MANIFEST, WEIGHTS]
    assert (tmp_path / "config.json").read_text() == "{}"


def test_a_state_that_is_no_tensor(tmp_path):
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"anything": object()}

        def set_extra_state(self, state) -> None:
            raise AssertionError

    p = Bernoulli(var=["x"], cond_var=["z"], net=Odd(LATENT, PIXELS), name="p")
    with pytest.raises(CheckpointError, match=r"net\._extra_state is a dict; only tensors"):
        Model(loss=-p.log_prob().mean()).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written(saved):
    manifest = json.loads((saved / MANIFEST).read_text("utf-8"))
    digest = hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest()
    assert manifest == {
        "format_version": 1,
        "loss": "-mean(E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p_{prior}(z)])",
        "files": {WEIGHTS: {"sha256": digest}},
    }
    names = sorted(load_file(saved / WEIGHTS))
    assert names[0] == "fixed.0.loc"
    assert names[-1] == "trained.1.fc2.weight"
