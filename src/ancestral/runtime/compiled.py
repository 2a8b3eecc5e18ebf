"""A step compiled by ``torch.compile``: one graph for any number of rows, eager if it cannot.

Either the loss is one graph and ``.backward()`` runs its derivative, or the loss and its gradient
are one graph together, which saves the engine's walk and lets the two share what they compute.
"""

import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.display import logger
from ancestral.core.errors import OptionError
from ancestral.runtime.source import loss_and_gradient, losses_and_gradients

GRADIENT = "gradient"
BACKEND = "inductor"  # torch's default
# inductor asserts every size and stride in each call, which guards have looked at before it: a
# twentieth of a small step
OPTIONS: dict[str, dict[str, Any]] = {BACKEND: {"size_asserts": False}}
SWITCH = "trace_autograd_ops"  # of Dynamo: torch.autograd.grad inside a graph
RECORDS = "record_runtime_overhead"  # of Dynamo: calls in each graph for a profiler's sake
HOOKS = operator.attrgetter("_backward_hooks", "_post_accumulate_grad_hooks")
Gradient = tuple[Tensor | None, ...]


def check_choice(choice: Any, *, gradient: bool = False) -> None:
    """Raise if ``compile=`` is given something it does not take.

    Args:
        choice: What was given.
        gradient: Whether ``"gradient"`` has a meaning: only who applies the gradient takes it.
    """
    if choice == GRADIENT:
        if gradient:
            return
        raise OptionError(
            'compile="gradient": a function returns the loss alone. Give it to Model(..., '
            'compile="gradient"), which applies the gradient, or write compile=True.'
        )
    if not isinstance(choice, bool) and choice not in torch.compiler.list_backends(None):
        offered = 'True, False, "gradient"' if gradient else "True, False"
        raise OptionError(f"compile={choice!r}: give {offered} or the name of a backend.")


class Compiled:
    """A step's function as compiled graphs: of its value, and of value and gradient.

    Each is traced when it is first called. The axes that follow the batch are dynamic: a short
    last batch does not compile again. Where the compiler fails (no C++ compiler, a network it
    cannot trace) the step runs as it is, and the log says so in one line.

    Args:
        function: The step.
        rows: For each argument the dimensions that follow the batch.
        backend: The backend of ``torch.compile``.
        weights: What the gradient is taken in, if it is to be part of a graph; of a game, what
            each player's is.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        rows: Sequence[tuple[int, ...]],
        backend: str = BACKEND,
        weights: Sequence[Any] = (),
    ) -> None:
        self._eager = function
        self.is_game = bool(weights) and not isinstance(weights[0], Tensor)
        groups = tuple(map(tuple, weights)) if self.is_game else ()
        self._weights = tuple(w for g in groups for w in g) if groups else tuple(weights)
        self._no_hooks = [(None, None)] * len(self._weights)
        self._value = _Graph(function, rows, backend)
        both: Any = loss_and_gradient(function, self._weights)
        if groups:
            both = losses_and_gradients(function, groups)
        self._both = _Graph(both, rows, backend, needs_switch=True)
        self._told = self.gave_up = False
        self._seen = 0
        self._shared: set[int] = set()  # the parts of the gradient that have to be copied

    def __call__(self, *args: Any) -> Tensor:
        """The value of the step, which ``.backward()`` may follow."""
        return self._run(self._value, args)  # type: ignore[no-any-return]

    def with_gradient(self, *args: Any) -> tuple[Any, Gradient | None]:
        """The value and its gradient in the weights, ``None`` where a weight has no part in it; of
        a game the values, and the gradients of all players one after the other.

        Each part of the gradient has memory of its own, laid out as its weight is. There is no
        gradient beside the value if only ``.backward()`` can give it: where the compiler fails, a
        hook of a weight waits for it, or an argument wants one too.
        """
        hooked = list(map(HOOKS, self._weights)) != self._no_hooks and self._has_hooks()
        if hooked:
            self._tell("the loss alone, since a parameter has a hook that backward() calls")
        if hooked or any(isinstance(a, Tensor) and a.requires_grad for a in args):
            # the players of a game differentiate one graph in turn, which no compiled one allows
            return (self._eager if self.is_game else self)(*args), None
        found = self._run(self._both, args)
        if self.gave_up:
            return found, None
        value, gradient = found
        if self._both.traces != self._seen:
            self._seen = self._both.traces
            self._shared |= _not_its_own(gradient, self._weights, args)
        for i in self._shared:
            gradient = (*gradient[:i], _own(gradient[i], self._weights[i]), *gradient[i + 1 :])
        return value, gradient

    def _has_hooks(self) -> bool:
        return any(any(hooks) for hooks in map(HOOKS, self._weights))

    def _run(self, graph: "_Graph", args: tuple[Any, ...]) -> Any:
        if self.gave_up:
            return self._eager(*args)
        try:
            return graph(*args)
        except Exception as error:
            if not _is_compilers(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.gave_up = True
            self._tell(f"running without compilation: {reason}")
            return self._eager(*args)

    def _tell(self, what: str) -> None:
        """One line in the log, the first time."""
        if not self._told:
            self._told = True
            logger.warning("compile: %s", what)


class _Graph:
    """A function under ``torch.compile``, traced with dynamic rows."""

    def __init__(
        self,
        function: Callable[..., Any],
        rows: Sequence[tuple[int, ...]],
        backend: str,
        *,
        needs_switch: bool = False,
    ) -> None:
        self._function = torch.compile(
            function, fullgraph=True, backend=backend, options=OPTIONS.get(backend)
        )
        self._rows = rows
        self._needs_switch = needs_switch
        self.traces = 0  # with the switch, every one is made below

    def __call__(self, *args: Any) -> Any:
        if self.traces:
            try:
                return self._function(*args)
            except Exception as error:  # a case of its own: it is traced in what follows
                if not _is_compilers(error):
                    raise
        self.traces += 1
        return self._traced(*args)

    def _traced(self, *args: Any) -> Any:
        for value, dims in zip(args, self._rows, strict=False):
            for dim in dims:
                if value.shape[dim] > 1:  # a size of 1 is always a case of its own
                    torch._dynamo.maybe_mark_dynamic(value, dim)
        config = torch._dynamo.config
        if self._needs_switch and not hasattr(config, SWITCH):
            raise torch._dynamo.exc.Unsupported(
                f"torch {torch.__version__} does not trace torch.autograd.grad; take a later "
                "version, or compile=True."
            )
        chosen = {SWITCH: True} if self._needs_switch else {}
        chosen |= {RECORDS: False} if hasattr(config, RECORDS) else {}
        with warnings.catch_warnings(), config.patch(chosen):
            warnings.simplefilter("ignore")  # the compiler's own deprecations
            return self._function(*args)


def _not_its_own(gradient: Gradient, weights: Sequence[Tensor], args: Sequence[Any]) -> set[int]:
    """The parts of a gradient that lie in memory of something else, or not as their weight does.

    A graph may return one tensor for two weights, or one that it was given: the gradient of
    ``(w * x).sum()`` is ``x``. Whoever clips the gradient in place must reach neither.
    """
    given = [a for a in args if isinstance(a, Tensor)]
    taken = {t.untyped_storage().data_ptr() for t in (*weights, *given)}
    found = set()
    for i, (g, weight) in enumerate(zip(gradient, weights, strict=True)):
        if g is None:
            continue
        memory = g.untyped_storage().data_ptr()
        if memory in taken or g.stride() != weight.stride():
            found.add(i)
        taken.add(memory)
    return found


def _own(g: Tensor | None, weight: Tensor) -> Tensor | None:
    return None if g is None else torch.empty_like(weight, requires_grad=False).copy_(g)


def _is_compilers(error: Exception) -> bool:
    """Whether an error comes from compiling, not from the step itself."""
    module = type(error).__module__
    return module.startswith(("torch._dynamo", "torch._inductor", "torch._functorch"))
