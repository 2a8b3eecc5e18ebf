"""A model: a loss, the laws it trains, an optimizer."""

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, PlugInWarning, TrainingError
from ancestral.core.names import listing
from ancestral.distributions.eager import name_words
from ancestral.losses import Node
from ancestral.losses.game import Game
from ancestral.lowering.function import LossFunction
from ancestral.models import checkpoint, seats
from ancestral.models.carried import Carried
from ancestral.models.faults import instead
from ancestral.models.fit import Fitting, History
from ancestral.models.inner import with_inner
from ancestral.models.parameters import check_all_mentioned, check_all_trained
from ancestral.models.player import Player, check_players, game_of
from ancestral.models.schedules import Schedule, Schedules
from ancestral.models.steps import Steps, with_size
from ancestral.models.turn import Given, evaluate, naming, option, play_together

REQUIRES_GRAD = operator.attrgetter("requires_grad")


class Model:
    """Trains the parameters of laws to minimise a loss, or those of several players in a game.

    Args:
        loss: What is minimised: one number, e.g. ``-elbo.mean()``.
        test_loss: What :meth:`test` returns; the loss, or every player's objective, if not given.
        distributions: The laws, networks or ``nn.Parameter`` numbers to train; all in the loss
            if not given. What is frozen by ``requires_grad_(False)`` stays as it is.
        optimizer: A torch optimizer class, a ``functools.partial`` of one, or a function of the
            parameters that makes one (or one that is built already).
        optimizer_params: Its options; ``fused=True`` is added where it is available, unless an
            implementation is chosen (``fused=``, ``foreach=``).
        clip_grad_norm: Largest norm of the whole gradient of a player.
        clip_grad_value: Largest absolute entry of the gradient.
        retain_graph: Passed on to ``backward``.
        compile: Whether ``torch.compile`` makes one graph of the loss; or the name of a backend;
            or ``"gradient"``: one graph of the loss and its gradient, with the optimizer eager.
        players: The :class:`Player` s of a game, in place of a loss and its distributions.
        order: ``"in turn"``: one evaluation for each player and each of its steps, in the order
            of the list; ``"together"``: one evaluation, all gradients at its weights, then all
            updates.
        schedules: Values of parameters such as ``Parameter("beta")`` as functions of the number of
            steps (with players: rounds) made before, ``{"beta": lambda step: min(1, step / 500)}``.
        data_size: N, beside global variables; :meth:`fit` knows that of its data.

    Raises:
        TrainingError: If the loss is not one number, or mentions a law that is not trained.
        GradientError: If a gradient would be silently wrong.
        OptionError: If an option is unknown or has no meaning.

    Example:
        >>> from ancestral.distributions import Normal
        >>> p = Normal(var=["x"], loc=nn.Parameter(torch.zeros(())), scale=1.0)
        >>> model = Model(loss=-p.log_prob().mean(), optimizer_params={"lr": 0.1})
        >>> model.train({"x": torch.ones(4)})
        tensor(1.4189)
    """

    def __init__(
        self,
        loss: Any = None,
        test_loss: Any = None,
        distributions: Sequence[Any] | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        retain_graph: bool = False,
        compile: bool | str = False,
        *,
        players: Sequence[Player] | None = None,
        order: str = "in turn",
        schedules: Mapping[str, Schedule] | None = None,
        data_size: int | None = None,
    ) -> None:
        self.compile, self.data_size = compile, data_size
        self.order = order
        is_game = players is not None
        if is_game:
            seats.refuse_both(loss, distributions)
        everyone = check_players(with_inner(loss, players), order)
        loss = game_of(everyone) if is_game else loss
        ways = seats.ways_of(clip_grad_norm, clip_grad_value, retain_graph, compile, order)
        self._ways = ways
        self._carried = Carried()
        self._position = 0  # in a round, of the evaluation that comes next in a fit
        self._turns = seats.take_seats(loss, distributions, everyone, ways, is_game=is_game)
        self.distributions = self._turns[0].everyone
        for turn in self._turns:
            with naming(turn):
                check_all_mentioned(turn.objective, turn.modules)
        self.schedules = Schedules(schedules, loss, test_loss) if schedules else None
        self._set(loss, test_loss)
        seats.give_optimizers(self._turns, everyone, optimizer, optimizer_params)
        self._check_updated()

    clip_grad_norm = option("clip_grad_norm")
    clip_grad_value = option("clip_grad_value")
    retain_graph = option("retain_graph")

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the constructor say which word is meant where one is misspelt."""
        super().__init_subclass__(**options)
        name_words(cls)

    # -- the loss -------------------------------------------------------------------------------
    def set_loss(self, loss: Any, test_loss: Any = None) -> None:
        """Minimise another loss, over the same laws; the optimizer keeps its state.

        Args:
            loss: What is minimised from now on.
            test_loss: What :meth:`test` returns; the loss if not given.
        """
        if len(self._turns) > 1:
            raise TrainingError(
                f"set_loss: this model has players ({listing([t.name for t in self._turns])}), "
                "each with an objective of its own. Build another Model(players=[...]) over the "
                "same laws."
            )
        self._set(loss, test_loss)

    def _set(self, loss: Any, test_loss: Any) -> None:
        test_loss = loss if test_loss is None else test_loss
        for given in (loss, test_loss):
            if not isinstance(given, Node):
                raise OptionError(f"set_loss takes losses, got {type(given).__name__}.")
        turns = self._turns
        if not isinstance(loss, Game):
            turns = [*turns[:-1], replace(turns[-1], objective=loss, loss=loss)]
        for turn in turns:
            with naming(turn):
                check_all_trained(turn.objective, self.distributions)
        steps = Steps(turns, test_loss, self.order == "together", self.compile)
        steps.check()
        self.loss: Node = loss
        self.test_loss: Node = test_loss
        self._turns, self._steps = turns, steps
        self._cycle = [turn for turn in turns for _ in range(turn.steps)]
        self._carried.sizes = steps.kept()
        kept = self.schedules, self._carried
        self._state = seats.state_of(self.distributions, *kept, loss, test_loss)
        for turn in turns:
            turn.look_after(self._state)
        self._laws = list(self.distributions)
        self._watched = list(self._state.parameters())
        self._trains = [p.requires_grad for p in self._watched]

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained, each once."""
        return [p for p in self.distributions.parameters() if p.requires_grad]

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, of a model without players."""
        if isinstance(self.loss, Game):
            named = ", ".join(f"model.optimizers[{t.name!r}]" for t in self._turns)
            raise TrainingError(f"each player of this model has an optimizer: {named}.")
        found: torch.optim.Optimizer = self._turns[-1].optimizer
        return found

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._turns[-1].optimizer = optimizer

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizer of each player, by its name."""
        return {turn.name: turn.optimizer for turn in self._turns}

    @property
    def state(self) -> dict[str, Tensor]:
        """What steps hand to the next, by name, such as buffers of chains; saved with the rest."""
        return self._carried.of(self.trained)

    def _notice_freezing(self) -> None:
        """Parameters that were frozen or freed since the last step: all checks are made again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlugInWarning)
            self._set(self.loss, self.test_loss)
        self._check_updated()

    def _check_updated(self) -> None:
        for turn in self._turns:
            with naming(turn):
                turn.check_updated()

    # -- one step -------------------------------------------------------------------------------
    def train(
        self,
        train_x_dict: Mapping[str, Tensor] | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: Mapping[str, Tensor] | None = None,
        batch_n: int | None = None,
        **scalars: Any,
    ) -> Any:
        """One optimisation step on one batch; with players, all the steps of each.

        Args:
            train_x_dict: The batch, variable to tensor, rows first: ``x (B, *event)``, on the
                device of the laws. Other entries are ignored.
            generator: Source of randomness; torch's default generator if not given.
            noise: Base noise by the name of the draw, as ``loss.program()`` prints it.
            batch_n: Number of rows where no data says it.
            scalars: Values of parameters such as ``beta=0.5``.

        Returns:
            The loss before the step, detached, shape ``()``. With ``players=`` a dict: by the name
            of each player its objective before its last step.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            TrainingError: If the loss is not finite; the weights are then as they were. An error
                that names a term, a variable or a row comes first, where one is at fault.
            GradientError: At the first step, if a trained parameter has no part in the loss.
        """
        self._ready()
        given = Given(self._filled(train_x_dict, scalars), generator, noise, batch_n, scalars)
        if len(self._turns) == 1 and not isinstance(self.loss, Game):
            turn = self._turns[0]
            value: Any = turn.play(self._steps.of(turn), given)
        else:
            values: dict[str, Tensor] = {}
            for i in range(self.round):
                values |= self._play(i, given)
            value = values.get("", values)
        if self.schedules is not None:
            self.schedules.tick()
        return value

    @property
    def round(self) -> int:
        """The number of evaluations after which every player has made its steps."""
        return 1 if self._steps.together else len(self._cycle)

    def _ready(self) -> None:
        """What was frozen is noticed, and the laws are in training mode."""
        if list(map(REQUIRES_GRAD, self._watched)) != self._trains:
            self._notice_freezing()
        for module in self._laws:
            if not module.training:
                module.train()

    def _given(self, batch: Any, options: dict[str, Any]) -> Given:
        """The arguments of :meth:`train`; words that it does not have are scalars."""
        own = {k: options[k] for k in Given._fields[1:4] if k in options}
        scalars = {k: v for k, v in options.items() if k not in own}
        return Given(self._filled(batch, scalars), **own, scalars=scalars)

    def _filled(self, batch: Any, scalars: Mapping[str, Any]) -> Any:
        """A batch with the values of the schedules."""
        batch = with_size(batch, self.data_size)
        return batch if self.schedules is None else self.schedules.fill(batch, scalars)

    def play_next(self, batch: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """The next evaluation of a round alone, as :meth:`fit` makes one for each batch.

        Args:
            batch: As for :meth:`train`.
            options: Those of :meth:`train`.

        Returns:
            The objective of the player who was next, by its name.
        """
        self._ready()
        values = self._play(self._position, self._given(batch, options))
        self._position = (self._position + 1) % self.round
        if self.schedules is not None and not self._position:
            self.schedules.tick()
        return values

    def _play(self, position: int, given: Given) -> dict[str, Tensor]:
        """One evaluation of a round, and the objectives that it gave."""
        turns = self._turns
        if self._steps.together:
            values = play_together(turns, self._steps.of(turns[0]), given)
            return {turn.name: value for turn, value in zip(turns, values, strict=True)}
        turn = self._cycle[position]
        return {turn.name: turn.play(self._steps.of(turn), self._steps.share(turn, given))}

    def test(self, test_x_dict: Mapping[str, Tensor] | None = None, **options: Any) -> Any:
        """The test loss on one batch, in eval mode and without gradient; nothing changes.

        Args:
            test_x_dict: The batch, as for :meth:`train`.
            options: Those of :meth:`train`: ``generator``, ``noise``, ``batch_n``, scalars.

        Returns:
            A tensor; of players without a ``test_loss`` a dict of their objectives.
        """
        value = self._evaluate(self._steps.test, test_x_dict, options)
        if isinstance(value, tuple):
            return {turn.name: v for turn, v in zip(self._turns, value, strict=True)}
        return value

    def _evaluate(self, function: LossFunction, batch: Any, options: dict[str, Any]) -> Any:
        filled = self._filled(batch, options)
        return evaluate(function, self._state, filled, {**options, "state": self.state})

    # -- whole runs -----------------------------------------------------------------------------
    def fit(
        self,
        data: Any,
        epochs: int,
        *,
        vars: Sequence[str] | None = None,
        batch_size: int = 128,
        shuffle: bool = True,
        validation: Any = None,
        transform: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
        progress: bool = True,
        generator: torch.Generator | None = None,
        callbacks: Iterable[Callable[["Model", dict[str, Any]], None]] = (),
        **scalars: Any,
    ) -> History:
        """Train for a number of epochs, with progress on stderr.

        Args:
            data: A dict of tensors ``(N, *event)``, tensors in a tuple with ``vars=("x", "y")``,
                or a DataLoader of either. Entries that the loss does not need are ignored.
                Batches are moved to the laws' device.
            epochs: Number of passes over the data.
            vars: Names of the tensors of a tuple.
            batch_size: Rows per step; a DataLoader brings its own. The last batch may be short.
            shuffle: Draw a new order of rows each epoch; a DataLoader brings its own order.
            validation: Held-out data of the same form, for ``test_loss`` after each epoch.
            transform: Called on each training batch with all its entries, e.g. to binarise grey
                pixels anew; returns the batch.
            progress: Show a line on stderr.
            generator: Source of randomness of the order of rows and of the draws; torch's
                default generator if not given.
            callbacks: Called as ``callback(model, record)`` after each epoch.
            scalars: Values of parameters such as ``beta=0.5``.

        Returns:
            What each epoch gave: mean loss over the rows, validation loss, seconds.

        Raises:
            DataError: If the data is in no such form, or has no rows.
            MissingVariableError: If a variable is not in it.

        Example:
            >>> from ancestral.distributions import Normal
            >>> p = Normal(var=["x"], loc=nn.Parameter(torch.zeros(())), scale=1.0)
            >>> model = Model(loss=-p.log_prob().mean(), optimizer_params={"lr": 0.1})
            >>> history = model.fit({"x": torch.ones(8)}, epochs=3, batch_size=4, progress=False)
            >>> [round(loss, 2) for loss in history["loss"]]
            [1.37, 1.2, 1.07]
        """
        fitting = Fitting(
            self, data, validation, vars, batch_size, shuffle, transform, progress, generator,
            tuple(callbacks), scalars,
        )  # fmt: skip
        return fitting.run(epochs)

    # -- saving ---------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write a folder with ``weights.safetensors`` and ``model.json``, which has its digest.

        All that the losses compute with is saved, fixed laws and constants too. An earlier save
        in the same folder is replaced at once or not at all.

        Raises:
            CheckpointError: If it cannot be written.
        """
        checkpoint.save(Path(path), self._state, str(self.loss))

    def load(self, path: str | Path) -> None:
        """Read weights that :meth:`save` has written, into a model of the same structure.

        Raises:
            CheckpointError: If a file is missing, damaged, or of another model. The model is
                then as it was.
        """
        checkpoint.load(Path(path), self._state)

    def __getattr__(self, name: str) -> NoReturn:
        """Only words that a model does not have come here: say where they are."""
        raise AttributeError(f"Model has no {name!r}. {instead(name)}".rstrip())

    def __repr__(self) -> str:
        """Laws, loss and optimizer."""
        return seats.told(self._turns, self.loss, self.order)


name_words(Model)
