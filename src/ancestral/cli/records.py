"""What finished reproductions leave: one JSON file for each model and seed, and one picture.

A record holds a digest of the code of the model's own file and one of the rest of the package. A
run whose file has changed since is stale; one whose package has, is kept and marked. Comments and
docstrings of the model's file have no say.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ancestral.cli import registry
from ancestral.core.errors import CheckpointError
from ancestral.evaluation import Measurement

PACKAGE = Path(__file__).parent.parent
NO_SAY = ("zoo", "cli")  # folders of the package that no other model's number depends on
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """One finished seed of one model.

    Args:
        model: The name of its file.
        seed: All of the run follows from it.
        code: Digest of the model's file.
        package: Digest of the rest.
        seconds: Wall time of the run.
        environment: Versions, threads, device.
        measurements: What it found.
        caption: Of its picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: Literal[1] = 1
    model: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    seed: Annotated[int, Field(ge=0)]
    code: Digest
    package: Digest
    seconds: Annotated[float, Field(ge=0)]
    environment: dict[str, str]
    measurements: tuple[Measurement, ...]
    caption: str


def record_path(folder: Path, model: str, seed: int) -> Path:
    """Where a record stands."""
    return folder / f"{model}-{seed}.json"


def picture_path(folder: Path, model: str) -> Path:
    """Where the picture of a model stands; it is that of the first seed."""
    return folder / f"{model}.png"


def write_record(record: Record, folder: Path) -> None:
    """Write a record; a reader sees the whole file or none."""
    # json writes NaN and Infinity, which pydantic reads back: what has diverged is kept as it is
    text = json.dumps(record.model_dump(exclude_none=True), indent=1, ensure_ascii=False)
    write_whole(record_path(folder, record.model, record.seed), f"{text}\n".encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one move, so that an interrupted run leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def read_records(folder: Path, models: Iterable[str]) -> dict[str, list[Record]]:
    """Model -> its records, by seed; a model without any has an empty list.

    Raises:
        CheckpointError: A file is not a record.
    """
    found: dict[str, list[Record]] = {model: [] for model in models}
    for path in sorted(folder.glob("*-*.json")):
        record = read_record(path)
        if record.model in found:
            found[record.model].append(record)
    return {model: sorted(records, key=lambda r: r.seed) for model, records in found.items()}


def read_record(path: Path) -> Record:
    """One record, checked.

    Raises:
        CheckpointError: It is not one.
    """
    try:
        record = Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise CheckpointError(
            f"{path} is not the record of a reproduction: {where}: {first['msg']}. Delete it, and "
            "its seed runs again."
        ) from None
    if path.name != record_path(path.parent, record.model, record.seed).name:
        raise CheckpointError(
            f"{path} holds seed {record.seed} of {record.model}: give it the name "
            f"{record_path(path.parent, record.model, record.seed).name}, or delete it."
        )
    return record


def model_digest(model: str) -> str:
    """Digest of the code of a model's file, without comments and docstrings."""
    tree = ast.parse((registry.ZOO / f"{model}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode("utf-8")).hexdigest()


@cache
def package_digest() -> str:
    """Digest of the package's files, but for those of the zoo and of the command line."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] not in NO_SAY:
            digest.update(f"{place.as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
