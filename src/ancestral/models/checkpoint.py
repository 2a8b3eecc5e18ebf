"""Weights on disk: safetensors, and JSON with a digest; nothing is ever unpickled.

A folder holds ``weights.safetensors`` and ``model.json``, which has the digest of the weights.
Both are written beside their place and moved onto it. While the weights of an earlier save are
replaced, the manifest accepts both: whenever the machine stops, the folder loads as it was before
or as it was to be.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from ancestral.core.errors import CheckpointError
from ancestral.core.names import listing
from ancestral.models.carried import Carried

FORMAT_VERSION = 1
WEIGHTS, MANIFEST = "weights.safetensors", "model.json"
LIMIT = 2**20  # bytes: a manifest of one megabyte is not ours


@dataclass(frozen=True)
class Manifest:
    """What ``model.json`` says.

    Args:
        loss: What the weights were trained on, for messages.
        digest: SHA-256 of the weights.
        before: SHA-256 of the weights that are being replaced, while they are.
    """

    loss: str
    digest: str
    before: str | None = None

    def dumps(self) -> str:
        """The text of the file."""
        weights = {"sha256": self.digest}
        if self.before is not None:
            weights["before"] = self.before
        content = {
            "format_version": FORMAT_VERSION,
            "loss": self.loss,
            "files": {WEIGHTS: weights},
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def save(folder: Path, modules: nn.Module, loss: str) -> None:
    """Write weights and manifest.

    Raises:
        CheckpointError: If a state is no tensor, or a file cannot be written; what was there
            before is still there.
    """
    state = {}
    for name, value in modules.state_dict().items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{name} is a {type(value).__name__}; only tensors are saved. Register it as a "
                "buffer."
            )
        # a copy of its own: safetensors refuses tied and strided tensors
        state[name] = value.detach().clone(memory_format=torch.contiguous_format)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _accepted(folder)
        weights = _beside(folder / WEIGHTS)
        try:
            weights.write_bytes(serialize(state))  # with the rights of any file of the user's
            new = Manifest(loss, _digest(weights))
            if before is not None:
                manifest = Manifest(loss, new.digest, before)
                _write(folder / MANIFEST, manifest.dumps())
            _move(weights, folder / WEIGHTS)
        finally:
            weights.unlink(missing_ok=True)
        _write(folder / MANIFEST, new.dumps())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be written: {error}.") from error


def load(folder: Path, modules: nn.Module) -> None:
    """Read weights into modules of the same structure.

    Raises:
        CheckpointError: If a file is missing, damaged or of another model; then the modules are
            as they were.
    """
    manifest, weights = _read(folder), folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{WEIGHTS} in {folder} is missing. Save the model again.")
    try:
        if _digest(weights) not in (manifest.digest, manifest.before):
            raise CheckpointError(
                f"{WEIGHTS} in {folder} does not match its digest: it is damaged or was replaced. "
                "Save the model again."
            )
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{WEIGHTS} in {folder} cannot be read: {error}.") from error
    _check_fits(folder, manifest, _expected(modules, state), state)
    modules.load_state_dict(state)


def _expected(modules: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state that modules have; of what steps hand on, whatever there is, in the right sizes."""
    own = dict(modules.state_dict())
    for prefix, module in modules.named_modules():
        if isinstance(module, Carried):
            own = {k: v for k, v in own.items() if not k.startswith(f"{prefix}.")}
            for name, sizes in module.sizes.items():
                saved = state.get(f"{prefix}.{name}")
                if saved is not None:
                    own[f"{prefix}.{name}"] = saved.new_empty((*sizes, *saved.shape[len(sizes) :]))
    return own


def _check_fits(
    folder: Path, manifest: Manifest, own: dict[str, Any], state: dict[str, Tensor]
) -> None:
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    wrong = [
        f"{k} {list(state[k].shape)}, here {list(v.shape)}"
        for k, v in own.items()
        if k in state
        and (v.shape != state[k].shape or v.is_floating_point() != state[k].is_floating_point())
    ]
    kinds = {"missing": missing, "unknown": extra, "of another shape or kind": wrong}
    if any(kinds.values()):
        told = "; ".join(f"{what} {listing(names[:3])}" for what, names in kinds.items() if names)
        raise CheckpointError(
            f"{folder} holds another model: {told}. It was saved from {manifest.loss}."
        )


def _accepted(folder: Path) -> str | None:
    """The digest of the weights that a folder holds now, if they can be loaded."""
    try:
        manifest = _read(folder)
        digest = _digest(folder / WEIGHTS)
    except (CheckpointError, OSError):
        return None
    return digest if digest in (manifest.digest, manifest.before) else None


def _read(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {MANIFEST}: Model.save did not write it.")
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise CheckpointError(f"{path} has more than {LIMIT} bytes; Model.save writes less.")
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    version = found.get("format_version") if isinstance(found, dict) else None
    is_number = type(version) is int  # True and 1.0 equal 1
    if is_number and version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, this release reads {FORMAT_VERSION}. Use the "
            "release that wrote it, or save the model again."
        )
    manifest = _manifest(found) if is_number else None
    if manifest is None:
        raise CheckpointError(f"{path} is not a manifest of Model.save; it is damaged.")
    return manifest


def _manifest(found: Any) -> Manifest | None:
    """The manifest in what was read, if it is exactly one: nothing more, nothing less."""
    match found:
        case {"format_version": _, "loss": str(loss), "files": dict(files)} if len(found) == 3:
            pass
        case _:
            return None
    match files.get(WEIGHTS):
        case {"sha256": str(digest), **rest} if len(files) == 1 and set(rest) <= {"before"}:
            before = rest.get("before")
            return Manifest(loss, digest, before) if isinstance(before, str | None) else None
        case _:
            return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    """A name in the same folder, so that moving a file onto ``path`` is one step."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


def _write(path: Path, text: str) -> None:
    unfinished = _beside(path)
    try:
        unfinished.write_text(text, encoding="utf-8")
        _move(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    """Put a complete file in its place, and make the disk know both."""
    _flush(source)
    os.replace(source, target)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _flush(target.parent)


def _flush(path: Path, sync: Callable[[int], None] = os.fsync) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
