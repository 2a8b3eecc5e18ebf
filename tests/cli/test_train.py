"""`ancestral train`, then `sample` and `evaluate` on what it left, as a user would."""

import dataclasses
import json
import pathlib
import platform
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ancestral.cli import app, registry
from ancestral.report.metrics import read_metrics

runner = CliRunner()
FILES = {
    "config.json",
    "metrics.jsonl",
    "weights.safetensors",
    "model.json",
    "samples.png",
    "reconstructions.png",
    "latent.png",
    "report.html",
}


def run(*arguments: object):
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "vae-digits"
    done = run("train", "vae", "--epochs", 2, "--out", folder)
    assert done.exit_code == 0, done.output
    return folder, done


@pytest.fixture
def few_draws(monkeypatch):
    """A log-likelihood from 20 draws where its value does not matter: 1000 take seconds."""
    few = dataclasses.replace(registry.DATA["digits"], k=20)
    monkeypatch.setitem(registry.DATA, "digits", few)


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the run that a test may damage."""
    import shutil

    return pathlib.Path(shutil.copytree(trained[0], tmp_path / "run"))


def test_it_prints_what_will_run_and_what_came_out(trained):
    folder, done = trained
    assert "E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)]" in done.stdout
    assert "Program" in done.stdout
    assert "binarised at > 7; train / validation / test: 1300 / 200 / 297" in done.stdout
    assert re.search(r"test ELBO +-\d+\.\d\d ± \d\.\d\d nats +\(.*297 test images", done.stdout)
    assert re.search(
        r"test log-likelihood +-\d+\.\d\d ± \d\.\d\d nats +\(importance sampling, K = 1000, 297",
        done.stdout,
    )
    for name in FILES:
        assert str(folder / name) in done.stdout


def test_it_leaves_all_files(trained):
    folder, _ = trained
    assert {path.name for path in folder.iterdir()} >= FILES
    for name in ("samples.png", "reconstructions.png", "latent.png"):
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_metrics_have_every_epoch_and_results_with_their_errors(trained):
    lines = read_metrics(trained[0] / "metrics.jsonl")
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert epochs[1]["loss"] < epochs[0]["loss"]
    assert epochs[1]["validation"] > 0
    tests = {line["quantity"]: line for line in lines if line["event"] == "test"}
    assert set(tests) == {"test ELBO", "test log-likelihood"}
    likelihood = tests["test log-likelihood"]
    assert likelihood["value"] > tests["test ELBO"]["value"]
    assert likelihood["k"] == 1000
    assert likelihood["standard_error"] > 0
    assert likelihood["split"] == "test"
    assert likelihood["seed"] == 0


def test_no_host_and_no_home_in_what_it_leaves(trained):
    folder, _ = trained
    private = {platform.node(), str(pathlib.Path.home()), str(folder.parent)}
    for path in folder.iterdir():
        if path.suffix in (".json", ".jsonl", ".html", ".safetensors"):
            text = path.read_bytes().decode("latin-1")
            for word in private - {"/"}:
                assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text), (path.name, word)


@pytest.mark.usefixtures("few_draws")
def test_a_run_is_never_overwritten(trained):
    folder, _ = trained
    before = (folder / "weights.safetensors").read_bytes()
    done = run("train", "vae", "--epochs", 1, "--out", folder, "--quiet")
    assert done.exit_code == 0
    assert done.stdout == f"{folder}-2\n"
    assert (folder / "weights.safetensors").read_bytes() == before


@pytest.mark.usefixtures("few_draws")
def test_the_same_seed_gives_the_same_weights(trained, tmp_path):
    for seed, same in ((0, True), (1, False)):
        out = tmp_path / str(seed)
        done = run("train", "vae", "--epochs", 2, "--out", out, "--quiet", "--seed", seed)
        assert done.exit_code == 0, done.output
        weights = (out / "weights.safetensors").read_bytes()
        assert (weights == (trained[0] / "weights.safetensors").read_bytes()) == same


def test_evaluate_gives_the_numbers_of_training(trained):
    folder, trained_run = trained
    done = run("evaluate", folder)
    assert done.exit_code == 0, done.output
    assert "K = 1000" in done.stdout

    def value(text):
        return float(re.search(r"test log-likelihood +(-[\d.]+)", text).group(1))

    assert value(done.stdout) == pytest.approx(value(trained_run.stdout), abs=0.05)
    assert "K = 7," in run("evaluate", folder, "-k", 7).stdout


def test_sample_writes_beside_and_never_over(copied):
    before = (copied / "samples.png").read_bytes()
    first = run("sample", copied, "--seed", 3)
    second = run("sample", copied, "--seed", 3, "-n", 5)
    assert first.exit_code == second.exit_code == 0, first.output + second.output
    assert str(copied / "samples-2.png") in first.stdout
    assert str(copied / "samples-3.png") in second.stdout
    assert (copied / "samples.png").read_bytes() == before
    assert len((copied / "samples-3.png").read_bytes()) < len(before)


@pytest.mark.usefixtures("few_draws")
def test_grey_is_said_and_has_no_log_likelihood(tmp_path):
    done = run("train", "vae", "--epochs", 1, "--pixels", "grey", "--out", tmp_path / "grey")
    assert done.exit_code == 0, done.output
    assert "not a likelihood" in done.stdout
    assert "test log-likelihood" not in done.stdout
    assert "importance sampling" not in done.stdout
    assert "Not a likelihood" in (tmp_path / "grey" / "report.html").read_text("utf-8")
    again = run("evaluate", tmp_path / "grey")
    assert again.exit_code == 0, again.output
    assert "not a likelihood" in again.stdout
    assert "importance sampling" not in again.stdout


@pytest.mark.usefixtures("few_draws")
def test_dynamic_and_float64(tmp_path):
    done = run("train", "vae", "--epochs", 1, "--pixels", "dynamic", "--dtype", "float64",
               "--out", tmp_path / "run")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["dtype"] == (
        "float64"
    )
    assert run("evaluate", tmp_path / "run", "-k", 3).exit_code == 0


@pytest.mark.usefixtures("few_draws")
def test_the_default_place_is_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("train", "vae", "--epochs", 1, "--quiet")
    assert pathlib.Path(done.stdout.strip()) == pathlib.Path("runs/vae-digits")
    assert (tmp_path / "runs" / "vae-digits" / "report.html").is_file()


@pytest.mark.usefixtures("few_draws")
def test_an_interrupted_run_keeps_its_weights(tmp_path, monkeypatch):
    from ancestral.report import MetricsWriter

    def write(self, event, **numbers):
        if numbers["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(MetricsWriter, "write", write)
    done = run("train", "vae", "--epochs", 3, "--out", tmp_path / "run")
    assert done.exit_code == 130
    assert f"ancestral evaluate {tmp_path / 'run'}" in done.stderr
    assert "Traceback" not in done.output
    assert run("evaluate", tmp_path / "run").exit_code == 0


def test_show():
    done = run("show", "vae")
    assert done.exit_code == 0, done.output
    assert "E_{q(z|x)}[log p(x|z)] - KL[q(z|x) || p(z)]" in done.stdout
    assert r"\mathbb{E}" in done.stdout
    assert "Program" in done.stdout


def test_a_reader_who_has_seen_enough_is_no_mistake():
    """As in ``ancestral show vae | head``."""
    code = "from ancestral.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "show", "vae"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""


def test_zoo_lists_the_files():
    listed = dict(line.split(maxsplit=1) for line in run("zoo").stdout.splitlines() if line)
    assert listed["vae"].startswith("Variational autoencoder")
    assert {"cvae", "iwae", "jmvae", "m2", "mvae"} <= set(listed)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "vea"], "no model 'vea' in the zoo: did you mean 'vae'?"),
        (["train", "vae", "--data", "mnits"], "no data set 'mnits': did you mean 'mnist'?"),
        (["train", "vae", "--data", "mnist", "--data-dir", "nowhere"], "nowhere/MNIST/raw"),
        (["train", "vae", "--device", "gpu"], "--device gpu"),
        (["train", "vae", "--device", "meta"], "--device meta"),
        (["train", "vae", "--pixels", "gray"], "gray"),
        (["train", "vae", "--epochs", "0"], "--epochs"),
        (["train", "vae", "--epoch", "3"], "No such option"),
        (["train"], "Missing argument"),
        (["train", "m2"], "m2 learns from y, x_u too, and this command reads images alone"),
        (["show", "gan2"], "no model 'gan2'"),
        (["sample", "nowhere"], "there is no folder nowhere"),
        (["evaluate", "nowhere"], "there is no folder nowhere"),
        (["explode"], "No such command"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_2(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANCESTRAL_DATA", raising=False)
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []  # nothing was left behind


def test_debug_shows_the_traceback():
    done = run("train", "vea", "--debug")
    assert done.exit_code == 1
    assert type(done.exception).__name__ == "OptionError"


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.json", b"{", "config.json is not a configuration"),
        ("config.json", None, "a run's folder holds a config.json"),
        ("weights.safetensors", b"\x80\x04.", "weights.safetensors"),
        ("weights.safetensors", None, "weights.safetensors"),
        ("model.json", None, "model.json"),
    ],
)
def test_a_damaged_run_is_refused(copied, file, content, says):
    if content is None:
        (copied / file).unlink()
    else:
        (copied / file).write_bytes(content)
    done = run("sample", copied)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "os", "no model 'os' in the zoo"),
        ("arguments", {"pixels": 64, "net": "evil"}, "net"),
        ("arguments", {"pixels": 64, "latent": 3}, "latent|shape|fit|different"),
    ],
)
def test_a_changed_config_is_refused(copied, key, value, says):
    config = json.loads((copied / "config.json").read_text())
    config["model"][key] = value
    (copied / "config.json").write_text(json.dumps(config))
    done = run("sample", copied)
    assert done.exit_code == 2, done.output
    assert re.search(says, done.stderr)
