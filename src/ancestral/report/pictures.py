"""Pictures of image tensors as PNG, with nothing but zlib: dark ink on light paper."""

import struct
import zlib

import numpy as np
import torch
from torch import Tensor

PAPER, INK, GAP = 255, 24, 236  # grey values of x = 0, x = 1 and the lines between images


def image_grid(images: Tensor, *, columns: int, size: int = 56) -> np.ndarray:
    """Images in rows and columns, each enlarged by a whole factor to about `size` pixels.

    Args:
        images: (N, 1, H, W) with values in [0, 1]; 0 is paper, 1 is ink.
        columns: images per line.
        size: wished height of one image in pixels; whole factors keep pixels square and sharp.

    Returns:
        grey values (height, width) uint8.

    Example:
        >>> image_grid(torch.zeros(6, 1, 8, 8), columns=3, size=56).shape
        (118, 176)
    """
    count, _, height, _ = images.shape
    factor = max(1, size // height)
    ink = images.detach().to("cpu", torch.float64).clamp(0, 1).squeeze(1).numpy()
    cells = np.rint(PAPER + (INK - PAPER) * ink).astype(np.uint8)  # (N, H, W)
    cells = cells.repeat(factor, axis=1).repeat(factor, axis=2)
    rows = -(-count // columns)
    high, wide, gap = cells.shape[1], cells.shape[2], 2
    grid = np.full((rows * (high + gap) + gap, columns * (wide + gap) + gap), GAP, dtype=np.uint8)
    for index, cell in enumerate(cells):
        top = gap + (index // columns) * (high + gap)
        left = gap + (index % columns) * (wide + gap)
        grid[top : top + high, left : left + wide] = cell
    return grid


def scatter(points: Tensor, *, low: float, high: float, cells: int = 56) -> Tensor:
    """Points of the plane as an image for :func:`image_grid`: ink where they lie densely.

    Args:
        points: (N, 2), the first coordinate to the right, the second upward.
        low: The lower and left border; what lies outside is left out.
        high: The upper and right border.
        cells: Height and width of the image.

    Returns:
        (1, cells, cells) with values in [0, 1], the square root of the share of the fullest cell.

    Example:
        >>> scatter(torch.tensor([[0.1, 0.9]]), low=0.0, high=1.0, cells=2)
        tensor([[[1., 0.],
                 [0., 0.]]])
    """
    at = points.detach().to("cpu", torch.float64)
    at = at[((at >= low) & (at < high)).all(-1)]
    index = ((at - low) * (cells / (high - low))).long().clamp(0, cells - 1)
    image = torch.zeros(cells, cells)
    image.view(-1).index_add_(
        0, (cells - 1 - index[:, 1]) * cells + index[:, 0], torch.ones(len(index))
    )
    return (image / image.max().clamp(min=1)).sqrt()[None]


def png(grey: np.ndarray) -> bytes:
    r"""A grey picture (height, width) uint8 as the bytes of a PNG file.

    Source: PNG specification, third edition, sections 5, 9 and 11.

    Example:
        >>> png(np.zeros((2, 3), np.uint8))[:8]
        b'\x89PNG\r\n\x1a\n'
    """
    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter, 0
    lines[:, 1:] = grey
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
