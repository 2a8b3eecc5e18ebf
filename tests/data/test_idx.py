"""idx files: what is read, and what each kind of damage says."""

import gzip
import struct

import numpy as np
import pytest

from ancestral.core.errors import DataError
from ancestral.data.idx import read_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def packed(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def write(tmp_path):
    def to(content: bytes, name: str = "images"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return to


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("array", [IMAGES, IMAGES.ravel()], ids=["images", "labels"])
def test_reads_what_was_written(write, squeeze, array):
    np.testing.assert_array_equal(read_idx(write(squeeze(packed(array))), axes=array.ndim), array)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "begins with nothing, expected 00 00 08 03"),
        (b"PK\x03\x04 rest", "not an idx file of bytes with 3 axes: it begins with 50 4b 03 04"),
        (packed(IMAGES.ravel()), "expected 00 00 08 03"),
        (packed(IMAGES)[:9], "ends inside its header of 16 bytes"),
        (packed(IMAGES)[:-1], "2 x 3 x 4 = 24 bytes but has only 23"),
        (packed(IMAGES) + b"\0", "= 24 bytes but has more"),
        (gzip.compress(packed(IMAGES), mtime=0)[:-9], "damaged gzip file"),
        (b"\x1f\x8b" + b"\0" * 20, "damaged gzip file"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_damage_is_a_data_error(write, content, says, ending):
    with pytest.raises(DataError, match=r"fetch it again|not an idx file|ends inside") as caught:
        read_idx(write(content, "images" + ending), axes=3)
    assert says in str(caught.value)


def test_every_cut_and_every_flipped_header_bit_is_refused(write):
    whole = packed(IMAGES)
    for end in range(len(whole)):
        with pytest.raises(DataError):
            read_idx(write(whole[:end]), axes=3)
    for bit in range(16 * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError):
            read_idx(write(bytes(flipped)), axes=3)


def test_a_flipped_bit_of_a_gzip_file_is_never_read_as_other_pixels(write):
    whole = gzip.compress(packed(IMAGES), mtime=0)
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            read = read_idx(write(bytes(flipped)), axes=3)
        except DataError:
            continue
        np.testing.assert_array_equal(read, IMAGES)  # a bit of the gzip header, of no meaning


def test_size_is_checked_before_anything_is_unpacked(write):
    bomb = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**10, 2**10)
    with pytest.raises(DataError, match="more than the limit of"):
        read_idx(write(gzip.compress(bomb + b"\0" * 10**6)), axes=3)
    with pytest.raises(DataError, match="more than the limit of 23"):
        read_idx(write(packed(IMAGES)), axes=3, limit=23)
