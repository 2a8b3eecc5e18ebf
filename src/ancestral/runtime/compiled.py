"""A step compiled by ``torch.compile``: one graph for any number of rows, eager if it cannot."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.display import logger
from ancestral.core.errors import OptionError


def check_choice(choice: Any) -> None:
    """Raise if ``compile=`` is given something it does not take."""
    if not isinstance(choice, bool) and choice not in torch.compiler.list_backends(None):
        raise OptionError(f"compile={choice!r}: give True, False or the name of a backend.")


class Compiled:
    """A step's function as one compiled graph.

    The axes that follow the batch are dynamic: a short last batch does not compile again. Where
    the compiler fails (no C++ compiler, a network it cannot trace) the step runs as it is, and
    the log says so in one line.

    Args:
        function: The step.
        rows: For each argument the dimensions that follow the batch.
        backend: The backend of ``torch.compile``.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        rows: Sequence[tuple[int, ...]],
        backend: str = "inductor",
    ) -> None:
        self._eager = function
        self._rows = rows
        self._fresh = True
        self._function: Callable[..., Tensor] = torch.compile(
            function, fullgraph=True, backend=backend
        )

    def __call__(self, *args: Any) -> Tensor:
        """The value of the step."""
        if not self._fresh:
            return self._function(*args)
        self._fresh = False
        for value, dims in zip(args, self._rows, strict=False):
            for dim in dims:
                if value.shape[dim] > 1:  # a size of 1 is always a case of its own
                    torch._dynamo.maybe_mark_dynamic(value, dim)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's own deprecations
                return self._function(*args)
        except Exception as error:
            if not _is_compilers(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            logger.warning("compile: running without compilation: %s", reason)
            self._function = self._eager
            return self._eager(*args)


def _is_compilers(error: Exception) -> bool:
    """Whether an error comes from compiling, not from the step itself."""
    module = type(error).__module__
    return module.startswith(("torch._dynamo", "torch._inductor", "torch._functorch"))
