"""Weights on disk: safetensors, and JSON with a digest; nothing is ever unpickled."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ancestral.core.errors import CheckpointError
from ancestral.core.names import listing

FORMAT_VERSION = 1
WEIGHTS, MANIFEST = "weights.safetensors", "model.json"


def save(folder: Path, modules: nn.Module, loss: str) -> None:
    """Write weights and manifest; each file is complete or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        k: v.detach().clone(memory_format=torch.contiguous_format)
        for k, v in modules.state_dict().items()
    }
    weights = folder / f".{WEIGHTS}.{os.getpid()}"
    save_file(state, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    os.replace(weights, folder / WEIGHTS)
    manifest = {
        "format_version": FORMAT_VERSION,
        "loss": loss,
        "files": {WEIGHTS: {"sha256": digest}},
    }
    text = folder / f".{MANIFEST}.{os.getpid()}"
    text.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(text, folder / MANIFEST)


def load(folder: Path, modules: nn.Module) -> None:
    """Read weights into modules of the same structure."""
    manifest = _manifest(folder)
    weights = folder / WEIGHTS
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None
    wanted = manifest["files"].get(WEIGHTS, {}).get("sha256")
    if digest is None or digest != wanted:
        state = (
            "is missing"
            if digest is None
            else "does not match its digest: it is damaged or was replaced"
        )
        raise CheckpointError(f"{weights.name} in {folder.name} {state}. Save the model again.")
    try:
        state_dict = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights.name} cannot be read: {error}.") from error
    own = modules.state_dict()
    missing, extra = sorted(set(own) - set(state_dict)), sorted(set(state_dict) - set(own))
    wrong = [k for k in own if k in state_dict and own[k].shape != state_dict[k].shape]
    if missing or extra or wrong:
        raise CheckpointError(
            f"{folder.name} holds another model: missing {listing(missing[:3])}; unknown "
            f"{listing(extra[:3])}; of another shape {listing(wrong[:3])}. It was saved from "
            f"{manifest.get('loss', 'another loss')}."
        )
    modules.load_state_dict(state_dict)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {MANIFEST}: it is not a folder that Model.save wrote."
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{MANIFEST} in {folder.name} cannot be read: {error}.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise CheckpointError(f"{MANIFEST} in {folder.name} is not a manifest of Model.save.")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder.name} has format version {manifest.get('format_version')}, this release reads "
            f"{FORMAT_VERSION}."
        )
    return manifest
