"""The idx format of MNIST: a magic number, the shape, then bytes in row-major order.

    bytes 0-1  zero
    byte  2    0x08: the values are unsigned bytes
    byte  3    number of axes, 1 (labels) or 3 (images)
    then       one big-endian 32-bit length per axis, then the values

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", file formats.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ancestral.core.errors import DataError

LIMIT = 256 * 2**20  # bytes unpacked: five times the MNIST training images


def read_idx(path: Path, *, axes: int, limit: int = LIMIT) -> np.ndarray:
    """The array in an idx file, plain or gzipped (by its first bytes, whatever its name).

    The size is taken from the header and checked before anything is unpacked, so that a small
    file can not fill the memory.

    Args:
        path: the file.
        axes: how many axes the array must have: 1 for labels, 3 for images.
        limit: the most bytes the array may have.

    Raises:
        DataError: not an idx file of unsigned bytes with `axes` axes, larger than `limit`,
            shorter or longer than its header says, or a damaged gzip stream.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "labels"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> read_idx(path, axes=1)
        array([7, 2, 1], dtype=uint8)
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read(raw, path, axes=axes, limit=limit)
            with gzip.open(raw, "rb") as unpacked:
                return _read(cast(BinaryIO, unpacked), path, axes=axes, limit=limit)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is a damaged gzip file ({error}): fetch it again and compare its digest"
        ) from error


def _read(stream: BinaryIO, path: Path, *, axes: int, limit: int) -> np.ndarray:
    magic = stream.read(4)
    expected = bytes([0, 0, 8, axes])
    if magic != expected:
        raise DataError(
            f"{path} is not an idx file of bytes with {axes} axes: it begins with "
            f"{magic.hex(' ') or 'nothing'}, expected {expected.hex(' ')}"
        )
    header = stream.read(4 * axes)
    if len(header) < 4 * axes:
        raise DataError(f"{path} ends inside its header of {4 + 4 * axes} bytes")
    shape = struct.unpack(f">{axes}I", header)
    size = math.prod(shape)
    if size > limit:
        raise DataError(
            f"{path} says it holds {' x '.join(map(str, shape))} bytes, more than the limit of "
            f"{limit}: this is not MNIST"
        )
    content = stream.read(size + 1)  # one more than it should hold, to see whether it ends there
    if len(content) != size:
        found = f"only {len(content)}" if len(content) < size else "more"
        raise DataError(
            f"{path} says it holds {' x '.join(map(str, shape))} = {size} bytes but has {found}: "
            "it is cut off or damaged, fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
