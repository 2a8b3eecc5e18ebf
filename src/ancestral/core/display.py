"""Showing things: the logger, and LaTeX in a notebook or on a terminal."""

import logging
from typing import Protocol

logger = logging.getLogger("ancestral")


class HasLatex(Protocol):
    """Anything that can be read as LaTeX: a law, a loss, a program."""

    def latex(self) -> str:
        """The LaTeX form, without dollar signs."""
        ...


def print_latex(obj: HasLatex | str) -> object:
    r"""Display a law or a loss as a typeset formula.

    In a notebook the formula is rendered; elsewhere its LaTeX source is written to standard
    output, so that it can be pasted into a paper.

    Args:
        obj: Anything with a ``latex()`` method, or LaTeX text itself.

    Returns:
        An ``IPython.display.Math`` object in a notebook (which displays it), else ``None``.

    Example:
        >>> print_latex(r"p(x|z)")
        p(x|z)
    """
    text = obj if isinstance(obj, str) else obj.latex()
    if _in_notebook():
        from IPython.display import Math

        return Math(text)
    import sys

    sys.stdout.write(text + "\n")
    return None


def _in_notebook() -> bool:
    import sys

    shell = sys.modules.get("IPython")
    get = getattr(shell, "get_ipython", None)
    return get is not None and type(get()).__name__ == "ZMQInteractiveShell"
