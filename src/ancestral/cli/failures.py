"""What a user did wrong is one message on standard error and exit code 2, without a traceback.

Anything else is a mistake of ours and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ancestral.core.errors import AncestralError

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count


@contextmanager
def user_errors(debug: bool) -> Iterator[None]:
    """Turn an error that Ancestral raised on purpose, or one of the file system, into exit 2.

    Args:
        debug: Leave the traceback as it is.

    Example:
        >>> with user_errors(debug=True):
        ...     raise AncestralError("what to do")
        Traceback (most recent call last):
        ancestral.core.errors.AncestralError: what to do
    """
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough, as in `ancestral show vae | head`
        raise
    except (AncestralError, OSError) as error:
        if debug:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(USER_ERROR) from None
    except KeyboardInterrupt:
        if debug:
            raise
        typer.echo("\nInterrupted.", err=True)
        raise typer.Exit(INTERRUPTED) from None
