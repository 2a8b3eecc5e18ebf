"""What can be named on the command line and in a config: the zoo's files and the data sets.

A model is found by listing the folder of the zoo. A name that is not in the list is an error; no
name is ever an import path.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancestral.core.errors import CheckpointError, OptionError, did_you_mean

if TYPE_CHECKING:
    from ancestral.data import ImageData
    from ancestral.models import Recipe

ZOO = Path(__file__).parent.parent / "zoo"


@dataclass(frozen=True)
class Settings:
    """What is used for a data set unless the user says otherwise.

    Args:
        epochs: Passes over the training part.
        k: Draws per row of the importance-sampled log-likelihood.
        arguments: Of the zoo's function, beside `pixels` and `grey`.
    """

    epochs: int
    k: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


# digits: the validation ELBO is best between 200 and 300 epochs, then the encoder overfits.
DATA = {
    "digits": Settings(epochs=250, k=1000, arguments={"latent": 16, "hidden": (256, 256)}),
    "mnist": Settings(epochs=20, k=200, arguments={"latent": 32, "hidden": (512, 512)}),
}


def zoo_names() -> list[str]:
    """The models of the zoo: its files, in alphabetical order.

    Example:
        >>> "vae" in zoo_names()
        True
    """
    return sorted(path.stem for path in ZOO.glob("*.py") if not path.stem.startswith("_"))


def zoo_summaries() -> dict[str, str]:
    """Each model with the first line of its file, read without importing it.

    Example:
        >>> zoo_summaries()["vae"]
        'Variational autoencoder on binary pixels.'
    """
    texts = {name: (ZOO / f"{name}.py").read_text(encoding="utf-8") for name in zoo_names()}
    documents = {name: ast.get_docstring(ast.parse(text)) for name, text in texts.items()}
    return {name: (text or "").partition("\n")[0] for name, text in documents.items()}


def reproducing() -> list[str]:
    """The models whose files have a function ``reproduce``, read without importing them.

    Example:
        >>> "vae" in reproducing()
        True
    """
    trees = {n: ast.parse((ZOO / f"{n}.py").read_text(encoding="utf-8")) for n in zoo_names()}
    return [
        name
        for name, tree in trees.items()
        if any(isinstance(f, ast.FunctionDef) and f.name == "reproduce" for f in tree.body)
    ]


def check_model(name: str) -> str:
    """The name, if the zoo has a file of it.

    Raises:
        OptionError: It has none.
    """
    if name not in zoo_names():
        raise OptionError(f"no model {name!r} in the zoo: {did_you_mean(name, zoo_names())}")
    return name


def build(name: str, arguments: Mapping[str, Any]) -> "Recipe":
    """The recipe that a file of the zoo makes of the arguments, which are checked first.

    Args:
        name: A name of the zoo.
        arguments: Keyword arguments of its function; a list may stand for a tuple.

    Raises:
        OptionError: The zoo has no such model.
        CheckpointError: An argument is unknown or of the wrong kind, or nothing can be built.
    """
    from pydantic import ValidationError, validate_call

    try:
        return validate_call(_function(name))(**arguments)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise CheckpointError(
            f"{name} does not take these arguments: {'; '.join(problems)}"
        ) from None
    except (RuntimeError, OverflowError, MemoryError) as error:  # torch: sizes that can not be
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise CheckpointError(f"{name}({given}) can not be built: {error}") from error


def resolved(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a model's function: its defaults, then those given; tuples as lists.

    Example:
        >>> resolved("vae", {"pixels": 784})["pixels"], resolved("vae", {})["lr"]
        (784, 0.001)
    """
    parameters = signature(_function(name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    every = {**defaults, **arguments}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in every.items()}


def _function(name: str) -> Callable[..., "Recipe"]:
    return getattr(import_module(f"ancestral.zoo.{check_model(name)}"), name)


def check_data(name: str) -> Settings:
    """The settings of a data set.

    Raises:
        OptionError: There is no data set of that name.
    """
    if name not in DATA:
        raise OptionError(f"no data set {name!r}: {did_you_mean(name, DATA)}")
    return DATA[name]


def load_data(name: str, *, pixels: str, data_dir: Path | None) -> "ImageData":
    """A data set by its name.

    Args:
        name: "digits" or "mnist".
        pixels: "binary", "dynamic" or "grey".
        data_dir: Where the files of MNIST are; None looks at ANCESTRAL_DATA.

    Raises:
        OptionError: There is no data set of that name.
        DataError: Its files are missing or damaged.
        MissingExtraError: A package that holds it is not installed.
    """
    check_data(name)
    from ancestral.data import digits, mnist

    return digits(pixels) if name == "digits" else mnist(data_dir, pixels)
