"""MNIST: 70000 handwritten digits of 28x28 grey pixels, read from idx files that you have.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998. Nothing is downloaded: the four files are found by `data_dir` or by the
environment variable ANCESTRAL_DATA. Files of the same form (Fashion-MNIST) are read as well.
"""

import os
from pathlib import Path

import numpy as np

from ancestral.core.errors import DataError
from ancestral.data.idx import read_idx
from ancestral.data.images import ImageData, Images, image_data

PEAK = 255
THRESHOLD = 127
VALIDATION = 10_000  # the last rows of the training file
ROWS = {"train": 60_000, "t10k": 10_000}
FOLDERS = ("MNIST/raw", "raw", ".")
VARIABLE = "ANCESTRAL_DATA"


def mnist(data_dir: str | Path | None = None, pixels: str = "binary") -> ImageData:
    """60000 + 10000 images: the first 50000 train, the next 10000 validate, the 10000 test.

    Args:
        data_dir: folder that holds the idx files (plain or .gz) in it, in `raw/` or in
            `MNIST/raw/`; the environment variable ANCESTRAL_DATA when None.
        pixels: "binary" (value > 127), "dynamic" (Bernoulli(value / 255) at every batch) or
            "grey" (values in [0, 1]: not a likelihood).

    Raises:
        DataError: no folder was named, a file is missing, damaged or not of MNIST's size.
        OptionError: `pixels` is none of the three words.

    Example:
        >>> import os
        >>> if "ANCESTRAL_DATA" in os.environ:
        ...     assert mnist().train["x"].shape == (50000, 784)
    """
    folder = find_folder(data_dir)
    images, labels = _part(folder, "train")
    first = len(labels) - VALIDATION
    return image_data(
        "mnist",
        train=(images[:first], labels[:first]),
        validation=(images[first:], labels[first:]),
        test=_part(folder, "t10k"),
        peak=PEAK,
        threshold=THRESHOLD,
        pixels=pixels,
        source="MNIST, 28x28 handwritten digits (values 0..255)",
    )


def find_folder(data_dir: str | Path | None) -> Path:
    """The folder that holds MNIST's files: DIR/MNIST/raw, DIR/raw or DIR, the first that does.

    Args:
        data_dir: DIR; the environment variable ANCESTRAL_DATA when None.

    Raises:
        DataError: neither is given, or none of the three folders holds the training images.
    """
    named = os.environ.get(VARIABLE) if data_dir is None else data_dir
    if not named:
        raise DataError(
            "MNIST is read from files that you have: name their folder with --data-dir PATH "
            f"(data_dir= in Python) or with the environment variable {VARIABLE}"
        )
    for folder in FOLDERS:
        if _file(Path(named) / folder, "train-images", 3) is not None:
            return Path(named) / folder
    looked = ", ".join(str(Path(named) / folder) for folder in FOLDERS)
    raise DataError(
        f"no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in any of {looked}: "
        "the folder must hold the four idx files of MNIST"
    )


def _part(folder: Path, part: str) -> Images:
    arrays: list[np.ndarray] = []
    for kind, axes in (("images", 3), ("labels", 1)):
        path = _file(folder, f"{part}-{kind}", axes)
        if path is None:
            raise DataError(
                f"{folder} has the training images but no {part}-{kind}-idx{axes}-ubyte (or .gz): "
                "all four idx files of MNIST are needed"
            )
        array = read_idx(path, axes=axes)
        expected = (ROWS[part], 28, 28)[:axes]
        if array.shape != expected:
            raise DataError(
                f"{path} has shape {array.shape}, expected {expected}: this is not MNIST"
            )
        arrays.append(array)
    images, labels = arrays
    if labels.max() > 9:
        raise DataError(f"{folder} has a label {labels.max()} in part {part}, expected 0 to 9")
    return images, labels


def _file(folder: Path, stem: str, axes: int) -> Path | None:
    # The dot in the second form is how some archives unpack.
    names = [f"{stem}{mark}idx{axes}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)
