"""Piano rolls: which of 88 keys sound at each step of a piece, read from files that you have.

Source: N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, "Modeling temporal dependencies in
high-dimensional sequences", 2012, whose split is kept. Nothing is downloaded: the MATLAB files are
found by `data_dir` or by the environment variable ANCESTRAL_DATA.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ancestral.core.errors import DataError, MissingExtraError, OptionError, did_you_mean

KEYS = 88
FILES = {"jsb": "JSB_Chorales", "nottingham": "Nottingham", "piano_midi": "Piano_midi"}
NAMES = {
    "jsb": "chorales of J. S. Bach",
    "nottingham": "folk tunes of the Nottingham data base",
    "piano_midi": "classical piano music",
}
FOLDERS = ("polyphonic_music", ".")
VARIABLE = "ANCESTRAL_DATA"


@dataclass(frozen=True, eq=False)
class SequenceData:
    """A data set of sequences in three parts.

    Args:
        name: short name.
        description: one sentence: source and split.
        train: {"x": (N, T, D) float32, "m": (N, T) float32}, the mask m being 1 for the steps that
            a sequence has, its first ones, and x being 0 behind them.
        validation: the same, for choosing.
        test: the same, for reporting.
    """

    name: str
    description: str
    train: dict[str, Tensor]
    validation: dict[str, Tensor]
    test: dict[str, Tensor]

    @staticmethod
    def shortened(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch cut to its longest sequence, a `transform` for `Model.fit`.

        Example:
            >>> batch = {"x": torch.zeros(2, 9, 88), "m": torch.eye(2, 9)}
            >>> SequenceData.shortened(batch)["x"].shape
            torch.Size([2, 2, 88])
        """
        longest = int(batch["m"].any(0).nonzero().max()) + 1
        return {name: value[:, :longest] for name, value in batch.items()}


def piano_rolls(name: str = "jsb", data_dir: str | Path | None = None) -> SequenceData:
    """Sequences of 88 keys that sound (1) or not (0), with the authors' split.

    Args:
        name: "jsb" (229 + 76 + 77 chorales), "nottingham" (694 + 173 + 170 folk tunes) or
            "piano_midi" (87 + 12 + 25 pieces).
        data_dir: folder that holds the files in it or in `polyphonic_music/`; the environment
            variable ANCESTRAL_DATA when None.

    Raises:
        OptionError: `name` is none of the three words.
        DataError: no folder was named, or the file is missing or damaged.
        MissingExtraError: scipy, which reads the files, is not installed.

    Example:
        >>> if "ANCESTRAL_DATA" in os.environ:
        ...     assert piano_rolls("jsb").train["x"].shape == (229, 129, 88)
    """
    if name not in FILES:
        raise OptionError(f"piano_rolls({name!r}): {did_you_mean(name, FILES)}")
    path = _find(f"{FILES[name]}.mat", data_dir)
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError(
            'piano rolls are MATLAB files, which scipy reads: pip install "ancestral[demo]"'
        ) from error
    try:
        content = loadmat(path)
        parts = [_padded(content[f"{part}data"][0]) for part in ("train", "valid", "test")]
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        raise DataError(
            f"{path} is no file of piano rolls, or damaged ({error}): it holds traindata, "
            f"validdata and testdata, lists of arrays of shape (T, {KEYS})"
        ) from error
    sizes = " / ".join(str(len(part["x"])) for part in parts)
    return SequenceData(
        name,
        f"piano rolls, {NAMES[name]}; train / validation / test: {sizes} sequences",
        *parts,
    )


def _find(file: str, data_dir: str | Path | None) -> Path:
    named = os.environ.get(VARIABLE) if data_dir is None else data_dir
    if not named:
        raise DataError(
            "piano rolls are read from files that you have: name their folder with data_dir= or "
            f"with the environment variable {VARIABLE}"
        )
    paths = [Path(named) / folder / file for folder in FOLDERS]
    for path in paths:
        if path.is_file():
            return path
    raise DataError(f"no {file} in any of {', '.join(str(path.parent) for path in paths)}")


def _padded(sequences: np.ndarray) -> dict[str, Tensor]:
    """Rows of one length with a mask, in the order of the file."""
    longest = max(len(s) for s in sequences)
    x = np.zeros((len(sequences), longest, KEYS), np.float32)
    m = np.zeros((len(sequences), longest), np.float32)
    for row, s in enumerate(sequences):
        if not (s.ndim == 2 and np.isin(s, (0, 1)).all()):
            raise ValueError(f"sequence {row} is not of zeros and ones")
        x[row, : len(s)], m[row, : len(s)] = s, 1.0  # another number of keys is a ValueError
    return {"x": torch.from_numpy(x), "m": torch.from_numpy(m)}
