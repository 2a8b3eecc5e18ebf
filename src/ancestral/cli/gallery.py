"""gallery.png: every picture of the reproduced zoo on one sheet."""

import io
from pathlib import Path

from ancestral.cli.records import picture_path, write_whole
from ancestral.cli.registry import reproducing
from ancestral.core.errors import DataError
from ancestral.report import require_matplotlib

COLUMNS, SIDE, DPI = 4, 2.6, 100  # pictures per line, inches of one, points per inch


def write_gallery(folder: Path) -> Path:
    """Write the sheet beside the folder of pictures, and return its path.

    Args:
        folder: Where records and pictures are, docs/zoo for docs/gallery.png.

    Raises:
        DataError: There is no picture yet.
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # no pyplot: it keeps figures in a global table
    from matplotlib.image import imread

    names = [name for name in reproducing() if picture_path(folder, name).is_file()]
    if not names:
        raise DataError(f"{folder} has no picture yet: ancestral reproduce NAME leaves one")
    lines = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * SIDE, lines * (SIDE + 0.3)), dpi=DPI, layout="constrained")
    for place in range(lines * COLUMNS):
        axes = figure.add_subplot(lines, COLUMNS, place + 1)
        axes.set_axis_off()
        if place < len(names):
            axes.imshow(imread(picture_path(folder, names[place])), cmap="gray", vmin=0, vmax=1)
            axes.set_title(names[place], fontsize=10, color="#333333")
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    path = folder.with_name("gallery.png")
    write_whole(path, file.getvalue())
    return path
