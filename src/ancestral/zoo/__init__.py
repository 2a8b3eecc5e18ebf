"""One paper, one file: each holds a function of the file's name that returns a `Recipe`.

A file may also give what its paper is known for, in a function of this form::

    def reproduce(
        *, seed: int = 0, data_dir: str | Path | None = None, progress: bool = True,
        device: str = "cpu",
    ) -> Reproduction:

It seeds torch, trains with the paper's settings, which stand in it, and returns numbers on rows
that were held out, each with what it is held against, and one picture. ``ancestral reproduce NAME``
runs it over seeds and writes docs/zoo.md.
"""
