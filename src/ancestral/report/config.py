"""config.json: what must be known to build a run's model again and to repeat the run.

A closed schema. It names things in our own registry (the files of the zoo, the data sets) and
nothing else: no import path, no file, no address, no host. What it does not know, it refuses.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ancestral.core.errors import CheckpointError

FORMAT_VERSION: Literal[1] = 1
LIMIT = 2**20  # bytes: a config of one megabyte is not ours

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Device = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,16}(:[0-9]{1,4})?$")]
Text = Annotated[str, StringConstraints(max_length=200)]
# Bounds that every real model keeps to, so that a config can not ask for all of the memory.
Size = Annotated[int, Field(ge=-(10**6), le=10**6)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Argument = bool | Size | Number | Name | Annotated[list[Size], Field(max_length=32)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelConfig(_Closed):
    """A model: a file of the zoo and the arguments of its function."""

    name: Name
    arguments: dict[Name, Argument] = Field(default_factory=dict)


class DataConfig(_Closed):
    """A data set by its name, never by its place: that is asked for when it is needed."""

    name: Name
    pixels: Literal["binary", "dynamic", "grey"]


class TrainingConfig(_Closed):
    """What the loop was given."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    device: Device
    dtype: Literal["float32", "float64"]


class RunConfig(_Closed):
    """A whole run.

    Example:
        >>> config = RunConfig(
        ...     model=ModelConfig(name="vae", arguments={"pixels": 64}),
        ...     data=DataConfig(name="digits", pixels="binary"),
        ...     training=TrainingConfig(
        ...         seed=0, epochs=1, batch_size=128, device="cpu", dtype="float32"
        ...     ),
        ... )
        >>> RunConfig.model_validate_json(config.model_dump_json()) == config
        True
    """

    format_version: Literal[1] = FORMAT_VERSION
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    environment: dict[Name, Text] = Field(default_factory=dict)


def write_config(config: RunConfig, path: Path) -> None:
    """Write the configuration as JSON; a reader sees the whole file or none."""
    text = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def read_config(path: Path) -> RunConfig:
    """Read and check a configuration.

    Raises:
        CheckpointError: there is no such file, or it is not JSON, or not of this schema: then
            the message names each key that does not fit and why.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}: a run's folder holds a config.json")
    with path.open("rb") as file:
        content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise CheckpointError(f"{path} has more than {LIMIT} bytes: it is not a run's config.json")
    try:
        return RunConfig.model_validate_json(content)
    except ValidationError as error:
        problems = [
            f"  {'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise CheckpointError(
            f"{path} is not a configuration of format {FORMAT_VERSION}:\n"
            + "\n".join(problems[:10])
            + (f"\n  and {len(problems) - 10} more" if len(problems) > 10 else "")
        ) from None
