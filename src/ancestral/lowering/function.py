"""A loss as a function: lowered once, called many times, with live weights."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, is_grad_enabled

from ancestral.core.errors import (
    AncestralError,
    DataError,
    GradientOnlyError,
    MissingVariableError,
    OptionError,
    did_you_mean,
)
from ancestral.core.names import listing
from ancestral.core.rng import Generator
from ancestral.losses.game import Game
from ancestral.losses.globals import SIZE
from ancestral.losses.node import Node
from ancestral.losses.scope import inputs
from ancestral.lowering.check import check_gradients
from ancestral.lowering.game import flows
from ancestral.lowering.gradient_only import value_of_plan
from ancestral.lowering.lower import inputs_of, lower_with_flow
from ancestral.lowering.plug_in import warn_plug_in
from ancestral.lowering.rewrite import rewrite
from ancestral.printing import loss as loss_text
from ancestral.program import loops
from ancestral.program.instructions import Program
from ancestral.runtime.chains import fill
from ancestral.runtime.compiled import check_choice
from ancestral.runtime.entry import Entry
from ancestral.runtime.interpret import interpret
from ancestral.runtime.run import Run
from ancestral.runtime.step import Entered, Step
from ancestral.runtime.watch import Watch

OPTIONS = ("x_dict", "return_dict", "generator", "noise", "batch_n", "state", "data_size")


class LossFunction:
    """What ``loss.function()`` returns.

    It is lowered at the first call, and again only if other values are given as scalars. The
    first batch, and each new shape or dtype, is checked in full.

    Args:
        loss: The expression.
        trained: Identities of the parameters whose gradient must be right; all if not given. Of a
            game, a sequence of them, one for each objective.
        compile: Whether ``torch.compile`` makes one graph of the step, from the second call on; or
            the name of its backend; or, with ``weights``, ``"gradient"``.
        weights: What the gradient is taken in, where it is part of the graph; of a game, what each
            player's is.

    Example:
        >>> from ancestral.distributions import Normal
        >>> f = Normal(var=["x"], loc=0.0, scale=1.0).log_prob().function()
        >>> f({"x": torch.zeros(2)})
        tensor([-0.9189, -0.9189])
    """

    def __init__(
        self,
        loss: Any,
        *,
        trained: set[int] | Sequence[set[int]] | None = None,
        compile: bool | str = False,
        weights: Sequence[Any] | None = None,
    ) -> None:
        check_choice(compile, gradient=weights is not None)
        self.loss: Node = loss
        self._compile = compile
        self.weights: Sequence[Any] = weights or ()
        self._parts = loss.objectives if isinstance(loss, Game) else (loss,)
        own = trained if isinstance(trained, Sequence) else [trained] * len(self._parts)
        self._trained: Sequence[set[int] | None] = own
        self._programs: dict[frozenset[str], tuple[Program, Any]] = {}
        self._steps: dict[Any, Step] = {}  # by the event shapes of inputs
        self._ready: dict[Any, tuple[Step, Entry]] = {}  # by their exact shapes
        self._last: tuple[Step, Entry] | None = None  # of the last call; one word, for threads
        self._checked: set[frozenset[str]] = set()
        self._tree = rewrite(loss)
        self._inputs = inputs_of(loss, self._tree)
        warn_plug_in(self._tree)

    def program(self, scalars: frozenset[str] = frozenset()) -> Program:
        """The program for these scalars."""
        if scalars not in self._programs or not self._programs[scalars][0].is_current():
            program, _, flow = lower_with_flow(self.loss, scalars, self._tree)
            self._programs[scalars] = (program, flows(program, flow))
        return self._programs[scalars][0]

    def check_gradients(self, scalars: frozenset[str] = frozenset()) -> None:
        """Raise if a gradient path is cut without a word."""
        if scalars not in self._checked:
            program = self.program(scalars)
            found = zip(self._parts, self._programs[scalars][1], self._trained, strict=True)
            for part, flow, trained in found:
                check_gradients(part, program, flow, trained)
            self._checked.add(scalars)

    def __call__(
        self,
        x_dict: Mapping[str, Tensor] | None = None,
        *,
        return_dict: bool = False,
        generator: Generator = None,
        noise: Mapping[str, Tensor] | None = None,
        batch_n: int | None = None,
        state: Mapping[str, Tensor] | None = None,
        **scalars: Any,
    ) -> Any:
        """The value at given data.

        Args:
            x_dict: Values of ``input_var``; others are ignored.
            return_dict: Return the draws of the outermost expectations too.
            generator: Source of randomness; torch's default generator if not given.
            noise: Base noise by the name of the draw, as ``program()`` prints it.
            batch_n: Number of rows where no data says it.
            state: What steps of a model have left, by name; fresh if not given. It is read alone.
            scalars: Values of parameters such as ``beta=0.5``.

        Returns:
            A tensor, differentiable; with ``return_dict`` a pair of it and a dict.
        """
        last = self._last
        if last is not None and not (noise or scalars or return_dict):
            step, enter = last
            args = enter(x_dict, batch_n, generator)
            if args is not None:
                if is_grad_enabled():
                    self.check_gradients(step.program.scalars)
                if step.program.gradient_only:
                    self._refuse_value(step.program)
                try:
                    return step.function(*args)
                except (RuntimeError, ValueError) as error:
                    name_error(Entered(step, args, generator, batch_n), error)
                    raise
        run, watch = self.prepare(x_dict, generator, noise, batch_n, scalars)
        if is_grad_enabled():
            self.check_gradients(run.program.scalars)
        self._refuse_value(run.program)
        if run.program.kept:
            run.state = state or {}
        if not return_dict:
            return execute(run, watch)
        run.step = None  # the interpreter keeps what it draws
        value = execute(run, watch)
        drawn = {v: run.values[r] for v, r in run.program.scope.items() if r in run.values}
        return value, {**dict(run.data), **drawn}

    def _refuse_value(self, program: Program) -> None:
        """Raise if what the program computes is no estimate of the loss, only its gradient is."""
        found = value_of_plan(program)
        if found is not None:
            raise GradientOnlyError(
                f"{loss_text.text(self.loss)} has a gradient under this plan, and no value: what "
                f"its program computes is {found}. Model(loss=...).train(...) makes steps with the "
                "gradient; for a number to watch give Model(test_loss=...) another loss."
            )

    def source(self) -> str:
        """The text of the step for the inputs of the first call.

        Raises:
            OptionError: If it has not been called: event shapes come with the first batch.
        """
        if not self._steps:
            raise OptionError(
                "the text depends on the event shapes of a batch: call the function once, or ask "
                "loss.source({...}) with a batch."
            )
        text: str = next(iter(self._steps.values())).source.text
        return text

    def prepare(
        self,
        x_dict: Mapping[str, Tensor] | None,
        generator: Generator,
        noise: Mapping[str, Tensor] | None,
        batch_n: int | None,
        scalars: Mapping[str, Any],
    ) -> tuple[Run, Watch | None]:
        """A run over checked inputs; a watch comes with it if they are of a new kind."""
        last = self._last
        if last is not None and not (noise or scalars):
            step, enter = last
            args = enter(x_dict, batch_n, generator)
            if args is not None:
                return Entered(step, args, generator, batch_n), None
        data = self._data(x_dict, scalars)
        key = (batch_n, *(k for v in data.values() for k in (v.shape, v.dtype, v.device)))
        ready = self._ready.get(key)
        watch = None
        if ready is not None and ready[0].is_current():
            self._last = ready
            run = Run(ready[0].program, data, noise, generator, batch_n)
            run.step = ready[0]
        else:
            flat = frozenset(n for n, v in data.items() if v.dim() == 0)
            timed = loops.timed(self.program(flat))  # these are of any length
            shapes = (v.shape[1 + (n in timed) :] for n, v in data.items())
            kinds = ((v.dim(), v.dtype, v.device) for v in data.values())
            kind = (flat, tuple(shapes), tuple(kinds))
            run, watch = Run(self.program(flat), data, noise, generator, batch_n), Watch()
            run.keep = functools.partial(self._keep, key, kind)
        if noise:
            self._check_noise(run.program, noise)
        return run, watch

    def _keep(self, key: Any, kind: Any, run: Run) -> None:
        """Generate the step for inputs of a kind, if there is none, once a run was right."""
        step = self._steps.get(kind)
        if step is None or step.program is not run.program or not step.is_current():
            step = self._steps[kind] = Step(run, self._compile, self.weights)
        self._last = self._ready[key] = step, step.entry(run)

    def _check_noise(self, program: Program, noise: Mapping[str, Tensor]) -> None:
        for name in noise:
            if name not in program.draws:
                raise OptionError(
                    f"noise={{{name!r}: ...}}: the loss makes no such draw; "
                    f"{did_you_mean(name, program.draws)}"
                )

    def _data(
        self, x_dict: Mapping[str, Tensor] | None, scalars: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        if x_dict is not None and not isinstance(x_dict, Mapping):
            raise DataError(
                "a batch is a dict of tensors, e.g. "
                f"{{{self._inputs[0] if self._inputs else 'x'!r}: x}}; "
                f"got {type(x_dict).__name__}."
            )
        given = dict(x_dict or {})
        if "data_size" in scalars and SIZE in self._inputs:
            scalars = {**scalars, SIZE: scalars["data_size"]}
            scalars.pop("data_size")
        for name, value in scalars.items():
            if name not in self._inputs:
                known = [*self._inputs, *OPTIONS]
                raise OptionError(
                    f"{loss_text.text(self.loss)} has no parameter or option {name!r}; "
                    f"{did_you_mean(name, known)}"
                )
            given[name] = value
        missing = [n for n in self._inputs if n not in given]
        if missing:
            if missing == [SIZE] and SIZE not in inputs(self.loss):
                raise MissingVariableError(
                    f"{loss_text.text(self.loss)}: beside a global variable a batch stands for the "
                    f"whole data set, and its number of rows {SIZE} is not known. Give data_size= "
                    "to Model, or to eval; Model.fit knows it."
                )
            extra = [k for k in given if k not in self._inputs]
            hints = {did_you_mean(m, extra) for m in missing}
            hint = next((h for h in hints if h.startswith("did you mean")), "")
            raise MissingVariableError(
                f"{loss_text.text(self.loss)} needs a value for {listing(missing)}. "
                f"Given: {listing(list(given))}. {hint}".rstrip()
            )
        dtype = precision(given[n] for n in self._inputs)
        return {n: _tensor(n, given[n], dtype) for n in self._inputs}


def execute(run: Run, watch: Watch | None) -> Any:
    """Run a program; an error of torch in an unwatched run is named by its term.

    Returns:
        A tensor; of a game a tuple of them, one for each player.
    """
    try:
        if run.program.kept:
            fill(run)
        if run.step is not None:
            return run.step(run)
        value = interpret(run, watch)
        if run.keep is not None:
            run.keep(run)
        return value
    except (RuntimeError, ValueError) as error:
        if watch is None:
            name_error(run, error)
        raise


def name_error(run: Run, error: Exception) -> None:
    """Raise in an error's place if a term, a variable or a row is at fault."""
    if not isinstance(error, (AncestralError, torch.OutOfMemoryError)):
        explain(run)


def explain(run: Run) -> None:
    """Run again on the same noise, watched: raises if a term, a variable or a row is at fault."""
    again = Run(run.program, run.data, run.drawn, run.generator, run.batch_n)
    if run.program.kept:
        again.state = run.state
    interpret(again, Watch())


def precision(values: Iterable[Any]) -> torch.dtype:
    """The precision of numbers given beside data: that of the data."""
    tensors = (v for v in values if isinstance(v, Tensor) and v.dim() and v.is_floating_point())
    return next((v.dtype for v in tensors), torch.get_default_dtype())


def _tensor(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return torch.tensor(float(value), dtype=dtype)
    raise DataError(
        f"the value of {name!r} must be a tensor or a number, got {type(value).__name__}; wrap it "
        "in torch.as_tensor(...)."
    )


def evaluate(loss: Any, x_dict: Mapping[str, Tensor] | None, options: Mapping[str, Any]) -> Any:
    """Lower and run once; what ``loss.eval`` does."""
    return LossFunction(loss)(x_dict, **options)


def source(loss: Any, x_dict: Mapping[str, Tensor] | None, options: Mapping[str, Any]) -> str:
    """The text that runs on data like this batch; what ``loss.source`` does."""
    function = LossFunction(loss)
    with torch.no_grad():
        function(x_dict, **options)
    return function.source()
