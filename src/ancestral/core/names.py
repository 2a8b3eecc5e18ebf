"""Names of variables: what may be one, and how a list of them is read."""

from collections.abc import Iterable, Sequence

from ancestral.core.errors import OptionError, VariableError


def as_names(names: str | Iterable[str], what: str) -> tuple[str, ...]:
    """A tuple of variable names from a list, or from one name.

    Args:
        names: ``["x", "y"]`` or ``"x"``.
        what: The option the names were given to, for the message.

    Raises:
        OptionError: If an entry is no string or is empty.
        VariableError: If a name stands twice.

    Example:
        >>> as_names(["x", "y"], "var")
        ('x', 'y')
    """
    if isinstance(names, str):
        names = [names]
    out = tuple(names)
    for name in out:
        if not isinstance(name, str) or not name.strip():
            raise OptionError(
                f"{what}={list(out)!r}: each entry must be a non-empty string, e.g. {what}=['x']."
            )
    repeated = sorted({name for name in out if out.count(name) > 1})
    if repeated:
        raise VariableError(
            f"{what}={list(out)!r} names {', '.join(repeated)} twice. Name each variable once."
        )
    return out


def listing(names: Sequence[str]) -> str:
    """Names in a sentence: ``x, y`` or ``none``."""
    return ", ".join(names) if names else "none"


def subscripted(name: str, below: str) -> str:
    """A name with one more subscript.

    Example:
        >>> subscripted("f", "ema"), subscripted("p_{prior}", "ema"), subscripted("p_g", "ema")
        ('f_{ema}', 'p_{prior}_{ema}', 'p_{g}_{ema}')
    """
    head, _, tail = name.partition("_")
    if head and tail and not tail.startswith("{"):
        name = f"{head}_{{{tail}}}"
    return f"{name}_{{{below}}}"
