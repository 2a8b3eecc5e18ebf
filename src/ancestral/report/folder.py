"""Where a run is kept: a folder of its own that nothing overwrites."""

from itertools import count
from pathlib import Path

from ancestral.core.errors import DataError


def create_folder(path: str | Path) -> Path:
    """Make the folder `path`, or `path-2`, `path-3`, ... : the first name that is free.

    Args:
        path: the folder that is wished for; its parents are made.

    Raises:
        DataError: a parent is a file, or may not be written to.

    Example:
        >>> import tempfile
        >>> parent = tempfile.mkdtemp()
        >>> [create_folder(parent + "/vae").name for _ in range(3)]
        ['vae', 'vae-2', 'vae-3']
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in count(2):
            try:
                # mkdir is one atomic step: two runs started together get two folders
                path.mkdir()
                return path
            except FileExistsError:
                path = _numbered(path, number)
    except OSError as error:
        raise DataError(
            f"the folder {path} can not be made ({error.strerror}): "
            "name another one with --out PATH"
        ) from error
    raise AssertionError("unreachable: count() does not end")


def free_path(path: Path) -> Path:
    """The path itself if no file has that name, else the first of `stem-2.ext`, `stem-3.ext`, ...

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "samples.png"
        >>> free_path(path).name
        'samples.png'
        >>> path.touch()
        >>> free_path(path).name
        'samples-2.png'
    """
    free, number = path, 2
    while free.exists():
        free, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return free


def _numbered(path: Path, number: int) -> Path:
    name = path.name if number == 2 else path.name.removesuffix(f"-{number - 1}")
    return path.with_name(f"{name}-{number}")
