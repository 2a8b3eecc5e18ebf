"""A model: a loss, the laws it trains, an optimizer."""

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ancestral.core.errors import OptionError, PlugInWarning, TrainingError
from ancestral.distributions.eager import name_words
from ancestral.losses import Node
from ancestral.losses.scope import value_names
from ancestral.lowering.function import LossFunction, execute
from ancestral.models import checkpoint
from ancestral.models.faults import check_value, clip_norm, instead, update
from ancestral.models.fit import Fitting, History
from ancestral.models.gradient import check_one_process, clear, receive
from ancestral.models.optimizer import make_optimizer
from ancestral.models.parameters import (
    check_all_mentioned,
    check_all_trained,
    check_leaves,
    check_reached,
    label,
    modules_in,
    modules_to_train,
    owner,
)
from ancestral.runtime.compiled import GRADIENT

REQUIRES_GRAD = operator.attrgetter("requires_grad")


class Model:
    """Trains the parameters of laws to minimise a loss.

    Args:
        loss: What is minimised: one number, e.g. ``-elbo.mean()``.
        test_loss: What :meth:`test` returns; the loss if not given.
        distributions: The laws, networks or ``nn.Parameter`` numbers to train; all in the loss
            if not given. What is frozen by ``requires_grad_(False)`` stays as it is.
        optimizer: A torch optimizer class, a ``functools.partial`` of one, or a function of the
            parameters that makes one (or one that is built already).
        optimizer_params: Its options; ``fused=True`` is added where it is available, unless an
            implementation is chosen (``fused=``, ``foreach=``).
        clip_grad_norm: Largest norm of the whole gradient.
        clip_grad_value: Largest absolute entry of the gradient.
        retain_graph: Passed on to ``backward``.
        compile: Whether ``torch.compile`` makes one graph of the loss; or the name of a backend;
            or ``"gradient"``: one graph of the loss and its gradient, with the optimizer eager.

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
        loss: Any,
        test_loss: Any = None,
        distributions: Sequence[Any] | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        retain_graph: bool = False,
        compile: bool | str = False,
    ) -> None:
        self.compile = compile
        self.distributions = nn.ModuleList(modules_to_train(loss, distributions))
        self.clip_grad_norm = _limit("clip_grad_norm", clip_grad_norm)
        self.clip_grad_value = _limit("clip_grad_value", clip_grad_value)
        self.retain_graph = retain_graph
        if retain_graph and compile == GRADIENT:
            raise OptionError(
                'retain_graph=True with compile="gradient": the gradient is inside the graph, and '
                "none is left to retain. Write compile=True."
            )
        check_all_mentioned(loss, self.distributions)
        self.set_loss(loss, test_loss)
        if not self.trained:
            raise TrainingError(f"{self.loss}: no parameter to train: every law in it is fixed.")
        # Frozen ones too: an optimizer leaves them alone, and they may be freed later.
        parameters = list(self.distributions.parameters())
        sparse = any(getattr(m, "sparse", False) is True for m in self.distributions.modules())
        self.optimizer = make_optimizer(
            optimizer, parameters, optimizer_params or {}, sparse=sparse
        )
        self._check_updated()

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
        test_loss = loss if test_loss is None else test_loss
        for given in (loss, test_loss):
            if not isinstance(given, Node):
                raise OptionError(f"set_loss takes losses, got {type(given).__name__}.")
        check_all_trained(loss, self.distributions)
        steps = {"train": self._function(loss)}
        if test_loss is not loss:
            steps["test"] = self._function(test_loss)
        scalars = frozenset(value_names(loss))
        if steps["train"].program(scalars).result.axes:
            raise TrainingError(
                f"{loss} has one value per row; a model minimises one number. Write "
                f"({loss}).mean(), or .sum()."
            )
        steps["train"].check_gradients(scalars)
        self.loss: Node = loss
        self.test_loss: Node = test_loss
        self._steps = steps
        self._probed = False
        self._state = self._everything()
        self._laws = list(self.distributions)
        self._watched = list(self._state.parameters())
        self._trains = [p.requires_grad for p in self._watched]

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained, each once."""
        return [p for p in self.distributions.parameters() if p.requires_grad]

    def _everything(self) -> nn.ModuleDict:
        """All that the losses compute with: what is trained, and what is not."""
        ours = {*self.distributions.modules(), *self.distributions.parameters()}
        others = [
            module
            for module in modules_in(self.loss, self.test_loss)
            if module not in ours
            and not (isinstance(module, nn.ParameterList) and ours.issuperset(module))
        ]
        return nn.ModuleDict({"trained": self.distributions, "fixed": nn.ModuleList(others)})

    def _step(self, which: str) -> LossFunction:
        """The lowered loss; a copy of the model lowers anew."""
        which = "train" if self.test_loss is self.loss else which
        if which not in self._steps:
            loss = self.loss if which == "train" else self.test_loss
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PlugInWarning)  # said when the model was built
                self._steps[which] = self._function(loss)
        return self._steps[which]

    def _notice_freezing(self) -> None:
        """Parameters that were frozen or freed since the last step: all checks are made again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlugInWarning)
            self.set_loss(self.loss, self.test_loss)
        self._check_updated()

    def _check_updated(self) -> None:
        """Raise if the optimizer does not hold a trained parameter."""
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        for name, p in self.distributions.named_parameters():
            if p.requires_grad and id(p) not in held:
                raise TrainingError(
                    f"{self.loss}: the optimizer does not hold {owner(self.distributions, name)}, "
                    "so it would never be updated. Give it to the optimizer, or freeze it with "
                    "requires_grad_(False)."
                )

    def _function(self, loss: Any) -> LossFunction:
        """The step that trains on a loss."""
        trained = self.trained
        if self.compile == GRADIENT:
            check_one_process(loss, modules_in(loss))
        return LossFunction(
            loss, trained={id(p) for p in trained}, compile=self.compile, weights=trained
        )

    # -- one step -------------------------------------------------------------------------------
    def train(
        self,
        train_x_dict: Mapping[str, Tensor] | None = None,
        *,
        generator: torch.Generator | None = None,
        noise: Mapping[str, Tensor] | None = None,
        batch_n: int | None = None,
        **scalars: Any,
    ) -> Tensor:
        """One optimisation step on one batch.

        Args:
            train_x_dict: The batch, variable to tensor, rows first: ``x (B, *event)``, on the
                device of the laws. Other entries are ignored.
            generator: Source of randomness; torch's default generator if not given.
            noise: Base noise by the name of the draw, as ``loss.program()`` prints it.
            batch_n: Number of rows where no data says it.
            scalars: Values of parameters such as ``beta=0.5``.

        Returns:
            The loss before the step, detached, shape ``()``.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            TrainingError: If the loss is not finite; the weights are then as they were. An error
                that names a term, a variable or a row comes first, where one is at fault.
            GradientError: At the first step, if a trained parameter has no part in the loss.
        """
        if list(map(REQUIRES_GRAD, self._watched)) != self._trains:
            self._notice_freezing()
        for module in self._laws:
            if not module.training:
                module.train()
        step = self._step("train")
        run, watch = step.prepare(train_x_dict, generator, noise, batch_n, scalars)
        step.check_gradients(run.program.scalars)
        run.wants_gradient = self._probed
        if self.compile == GRADIENT and not self._probed:
            run.noise = run.noise or run.drawn
            run.step = None  # which parameters the loss reaches is seen in a backward pass
        clear(self.optimizer)  # first: the memory of the last gradient serves this one
        loss = execute(run, watch)
        check_value(self.loss, loss, self.distributions, run)
        if not self._probed:
            self._probe(loss, (*run.data.values(), *(noise or {}).values()))
        elif run.gradient is not None:
            receive(step.weights, run.gradient)
        else:
            loss.backward(retain_graph=self.retain_graph)
        self._clip()
        update(self.loss, self.optimizer, self.distributions)
        return loss.detach() if loss.requires_grad else loss

    def test(self, test_x_dict: Mapping[str, Tensor] | None = None, **options: Any) -> Tensor:
        """The test loss on one batch, in eval mode and without gradient; nothing changes.

        Args:
            test_x_dict: The batch, as for :meth:`train`.
            options: Those of :meth:`train`: ``generator``, ``noise``, ``batch_n``, scalars.
        """
        modes = [(m, m.training) for m in self._state.modules()]
        try:
            self._state.eval()
            with torch.no_grad():
                value: Tensor = self._step("test")(test_x_dict, **options)
        finally:
            for module, mode in modes:
                module.training = mode
        return value

    def _probe(self, loss: Tensor, given: Iterable[Tensor]) -> None:
        """The first backward pass: it must reach every trained parameter, and no other."""
        if self.compile == GRADIENT:  # a network may have been wrapped since the model was built
            check_one_process(self.loss, modules_in(self.loss))
        check_leaves(self.loss, loss, given, list(self.distributions.parameters()))
        loss.backward(retain_graph=self.retain_graph)
        check_reached(self.loss, self.distributions)
        self._probed = True

    def _clip(self) -> None:
        if self.clip_grad_norm is not None:
            clip_norm(self.loss, self.distributions, self.clip_grad_norm)
        if self.clip_grad_value is not None:
            nn.utils.clip_grad_value_(self.trained, self.clip_grad_value)

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

    def __getstate__(self) -> dict[str, Any]:
        """Lowered steps hold the weights of this model: a copy makes its own."""
        return {**self.__dict__, "_steps": {}}

    def __getattr__(self, name: str) -> NoReturn:
        """Only words that a model does not have come here: say where they are."""
        raise AttributeError(f"Model has no {name!r}. {instead(name)}".rstrip())

    def __repr__(self) -> str:
        """Laws, loss and optimizer."""
        trains = (m for m in self.distributions if any(p.requires_grad for p in m.parameters()))
        laws = "\n".join(f"    {label(m)}" for m in trains)
        optimizer = type(self.optimizer).__name__
        return f"Model(\n  trained:\n{laws}\n  loss:\n    {self.loss}\n  optimizer: {optimizer}\n)"


name_words(Model)


def _limit(name: str, value: float | None) -> float | None:
    """A bound on the gradient; ``False`` is no bound, as in Pixyz."""
    if value is None or value is False:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise OptionError(f"{name}={value!r} must be a positive number, or None for no bound.")
    return float(value)
