"""A model: a loss, the laws it trains, an optimizer."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import GradientError, OptionError, TrainingError
from ancestral.core.names import listing
from ancestral.distributions import Distribution
from ancestral.losses import Function, Node
from ancestral.losses.node import Apply
from ancestral.losses.scope import value_names
from ancestral.lowering.check import laws_of
from ancestral.lowering.function import LossFunction, execute, explain
from ancestral.models import checkpoint
from ancestral.models.fit import Fitting, History


class Model:
    """Trains the parameters of laws to minimise a loss.

    Args:
        loss: What is minimised: one number, e.g. ``-elbo.mean()``.
        test_loss: What :meth:`test` returns; the loss if not given.
        distributions: The laws (or networks) to train; all in the loss if not given.
        optimizer: A torch optimizer class, or a function of the parameters that makes one.
        optimizer_params: Its options; ``fused=True`` is added where it is available.
        clip_grad_norm: Largest norm of the whole gradient.
        clip_grad_value: Largest entry of the gradient.
        retain_graph: Passed on to ``backward``.

    Raises:
        TrainingError: If the loss is not one number, or mentions a law that is not trained.
        GradientError: If a gradient would be silently wrong.

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
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        retain_graph: bool = False,
    ) -> None:
        self.distributions = nn.ModuleList(_modules(loss, distributions))
        self.clip_grad_norm = clip_grad_norm
        self.clip_grad_value = clip_grad_value
        self.retain_graph = retain_graph
        self.set_loss(loss, test_loss)
        if not self.trained:
            raise TrainingError(f"{self.loss}: no parameter to train: every law in it is fixed.")
        self.optimizer = _optimizer(optimizer, self.trained, dict(optimizer_params or {}))

    # -- the loss -------------------------------------------------------------------------------
    def set_loss(self, loss: Any, test_loss: Any = None) -> None:
        """Minimise another loss, over the same laws."""
        self.loss: Node = loss
        self.test_loss: Node = loss if test_loss is None else test_loss
        _check_all_trained(loss, self.distributions)
        self._steps: dict[str, LossFunction] = {}
        self._probed = False
        _check_scalar(self._step("train"), loss)
        self._step("train").check_gradients(frozenset(value_names(loss)))

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained, each once."""
        return [p for p in self.distributions.parameters() if p.requires_grad]

    def _step(self, which: str) -> LossFunction:
        if which not in self._steps:
            loss = self.loss if which == "train" else self.test_loss
            self._steps[which] = LossFunction(loss, trained={id(p) for p in self.trained})
        return self._steps[which]

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
            train_x_dict: The batch: variable to tensor; other entries are ignored.
            generator: Source of randomness; torch's default generator if not given.
            noise: Base noise by the name of the draw, as ``loss.program()`` prints it.
            batch_n: Number of rows where no data says it.
            scalars: Values of parameters such as ``beta=0.5``.

        Returns:
            The loss before the step, detached.
        """
        if not self.distributions.training or not all(m.training for m in self.distributions):
            self.distributions.train()
        step = self._step("train")
        run, watch = step.prepare(train_x_dict, generator, noise, batch_n, scalars)
        step.check_gradients(run.program.scalars)
        loss = execute(run, watch)
        _check_one_number(self.loss, loss)
        if not torch.isfinite(loss.detach()):
            explain(run)
            raise TrainingError(
                f"{self.loss} is not finite, though each of its terms is: it overflows where they are "
                "combined. Check the scale of its terms and the learning rate."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(retain_graph=self.retain_graph)
        if not self._probed:
            self._probe()
        if self.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.trained, self.clip_grad_norm)
        if self.clip_grad_value is not None:
            nn.utils.clip_grad_value_(self.trained, self.clip_grad_value)
        self.optimizer.step()
        return loss.detach()

    def test(self, test_x_dict: Mapping[str, Tensor] | None = None, **options: Any) -> Tensor:
        """The test loss on one batch, in eval mode and without gradient; nothing changes."""
        modes = [(m, m.training) for m in self.distributions.modules()]
        self.distributions.eval()
        try:
            with torch.no_grad():
                value: Tensor = self._step("test")(test_x_dict, **options)
        finally:
            for module, mode in modes:
                module.training = mode
        return value

    def _probe(self) -> None:
        """After the first backward pass: every trained parameter must have been reached."""
        names = {id(p): n for n, p in self.distributions.named_parameters()}
        missed = [names[id(p)] for p in self.trained if p.grad is None]
        if missed:
            told = ", ".join(self._owner(n) for n in missed[:5])
            raise GradientError(
                f"{self.loss}: no gradient reaches {told}{' and others' if len(missed) > 5 else ''}. "
                "A trained parameter has no part in the loss: a layer that forward does not use, or a "
                "value cut by .detach(), argmax or .item(). Use it, or freeze it with "
                "requires_grad_(False)."
            )
        self._probed = True

    def _owner(self, name: str) -> str:
        index, _, rest = name.partition(".")
        module = self.distributions[int(index)]
        label = module.prob_text if isinstance(module, Distribution) else type(module).__name__
        return f"{rest} of {label}"

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
            data: A dict of tensors, tensors in a tuple with ``vars=("x", "y")``, or a DataLoader
                of either. Entries that the loss does not need are ignored. Batches are moved to
                the laws' device.
            epochs: Number of passes over the data.
            vars: Names of the tensors of a tuple.
            batch_size: Rows per step; a DataLoader brings its own.
            shuffle: Draw a new order of rows each epoch.
            validation: Held-out data of the same form, evaluated after each epoch.
            transform: Called on each training batch, e.g. to binarise grey pixels anew.
            progress: Show a line on stderr.
            generator: Source of randomness of the order of rows.
            callbacks: Called as ``callback(model, record)`` after each epoch.
            scalars: Values of parameters such as ``beta=0.5``.

        Returns:
            What each epoch gave: mean loss over rows, validation loss, seconds.
        """
        fitting = Fitting(self, vars, batch_size, transform, progress, tuple(callbacks), scalars)
        return fitting.run(data, epochs, shuffle, validation, generator)

    # -- saving ---------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write the weights to a folder: ``weights.safetensors`` and ``model.json`` with its digest."""
        checkpoint.save(Path(path), self.distributions, str(self.loss))

    def load(self, path: str | Path) -> None:
        """Read weights that :meth:`save` has written.

        Raises:
            CheckpointError: If a file is missing, damaged, or of another model.
        """
        checkpoint.load(Path(path), self.distributions)
        self._steps = {}

    def __getstate__(self) -> dict[str, Any]:
        """Lowered steps hold the weights of this model: a copy makes its own."""
        return {**self.__dict__, "_steps": {}}

    def __repr__(self) -> str:
        """Laws, loss and optimizer."""
        laws = "\n".join(f"    {_name(m)}" for m in self.distributions)
        optimizer = type(self.optimizer).__name__
        return f"Model(\n  trained:\n{laws}\n  loss:\n    {self.loss}\n  optimizer: {optimizer}\n)"


def _name(module: nn.Module) -> str:
    return module.prob_text if isinstance(module, Distribution) else type(module).__name__


def functions_of(node: Any) -> list[Function]:
    """The functions that an expression applies, each once."""
    found = [node.fn] if isinstance(node, Apply) else []
    for child in node.children:
        found += functions_of(child)
    return list({id(f.net): f for f in found}.values())


def _modules(loss: Any, given: Sequence[Any] | None) -> list[nn.Module]:
    """The modules to train."""
    if not isinstance(loss, Node):
        raise OptionError(f"Model(loss=...) takes a loss, got {type(loss).__name__}.")
    if given is None:
        nets = [f.net for f in functions_of(loss) if isinstance(f.net, nn.Module)]
        return [*laws_of(loss), *nets]
    if isinstance(given, (nn.Module, Function)):
        given = [given]
    out: list[nn.Module] = []
    for item in given:
        module = item.net if isinstance(item, Function) else item
        if not isinstance(module, nn.Module):
            raise OptionError(
                f"distributions=[...] takes laws and networks, got {type(module).__name__}."
            )
        out.append(module)
    return out


def _check_all_trained(loss: Node, modules: Iterable[nn.Module]) -> None:
    """Raise if the loss mentions parameters that nobody trains and nobody froze."""
    own = {id(p) for m in modules for p in nn.Module.parameters(m)}
    for law in laws_of(loss):
        left = [n for n, p in law.named_parameters() if p.requires_grad and id(p) not in own]
        if left:
            raise TrainingError(
                f"{loss}: {law.prob_text} is in the loss, but not in distributions=[...], so its "
                f"parameters ({listing(left[:3])}{', ...' if len(left) > 3 else ''}) would never be "
                f"updated. Add {law.name} to distributions, or freeze it with "
                f"{law.name}.requires_grad_(False)."
            )
    for f in functions_of(loss):
        if isinstance(f.net, nn.Module) and any(
            p.requires_grad and id(p) not in own for p in f.net.parameters()
        ):
            raise TrainingError(
                f"{loss}: the function {f.name} is in the loss, but not in distributions=[...]. Add it, "
                f"or freeze its network with requires_grad_(False)."
            )


def _check_scalar(step: LossFunction, loss: Node) -> None:
    """Raise if the loss keeps its rows; names that stand only as values are taken as weights."""
    if step.program(frozenset(value_names(loss))).result.axes:
        raise TrainingError(
            f"{loss} has one value per row; a model minimises one number. Write ({loss}).mean(), "
            "or .sum()."
        )


def _check_one_number(loss: Node, value: Tensor) -> None:
    if value.dim() != 0:
        raise TrainingError(
            f"{loss} has shape {tuple(value.shape)}; a model minimises one number. Write .mean() "
            "around it, or .sum()."
        )


def _optimizer(
    make: Callable[..., torch.optim.Optimizer], params: list[nn.Parameter], options: dict[str, Any]
) -> torch.optim.Optimizer:
    """The optimizer, fused where it can be."""
    known = inspect.signature(make).parameters
    if "fused" in known and not {"fused", "foreach", "capturable", "differentiable"} & set(
        options
    ):
        try:
            return make(params, **options, fused=True)
        except (RuntimeError, TypeError):
            pass
    return make(params, **options)
