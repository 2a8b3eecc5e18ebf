"""Names are looked up in listings; nothing is imported because a config says so."""

import sys

import pytest

from ancestral.cli import registry
from ancestral.core.errors import CheckpointError, OptionError


def test_the_zoo_is_its_folder(tmp_path, monkeypatch):
    (tmp_path / "vae.py").write_text('"""First line.\n\nMore."""\nraise SystemExit')
    (tmp_path / "flow.py").write_text("x = 1")
    (tmp_path / "_draft.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.setattr(registry, "ZOO", tmp_path)
    assert registry.zoo_names() == ["flow", "vae"]
    assert registry.zoo_summaries() == {"flow": "", "vae": "First line."}  # and was not run


@pytest.mark.parametrize("name", ["os", "os.system", "../vae", "__init__", "vae.py", "", "VAE"])
def test_a_name_outside_the_zoo_is_refused_before_any_import(name):
    before = set(sys.modules)
    with pytest.raises(OptionError, match=r"no model .* in the zoo"):
        registry.build(name, {})
    assert not {m for m in set(sys.modules) - before if m.startswith("ancestral.zoo")}


def test_a_near_miss_is_named():
    with pytest.raises(OptionError, match="did you mean 'vae'"):
        registry.check_model("vea")
    with pytest.raises(OptionError, match="did you mean 'mnist'"):
        registry.check_data("mnits")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"pixles": 64}, "pixles"),
        ({"pixels": "many"}, "pixels"),
        ({"hidden": 256}, "hidden"),
        ({"hidden": ["wide"]}, "hidden.0"),
        ({"hidden": [-5]}, "can not be built"),
    ],
)
def test_arguments_are_checked(arguments, says):
    with pytest.raises(CheckpointError, match=says):
        registry.build("vae", arguments)


def test_a_list_stands_for_a_tuple():
    recipe = registry.build("vae", {"pixels": 9, "latent": 2, "hidden": [5]})
    assert recipe.generative.sample(batch_n=3)["x"].shape == (3, 9)
