"""What stops a step: a loss or a gradient that is not finite, a state of another precision."""

import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ancestral.core.errors import DataError, GradientError, TrainingError
from ancestral.losses import Node
from ancestral.lowering.function import explain
from ancestral.models.parameters import owner
from ancestral.runtime.run import Run

_INSTEAD = {
    ("to", "cuda", "cpu", "double", "float", "half", "apply"): "Its laws are modules: write "
    "p.{name}(...) for each of them before the model is built.",
    ("eval",): "train() and test() set the mode of all laws; for one law write p.eval().",
    ("parameters", "named_parameters", "state_dict", "load_state_dict", "modules"): "They are "
    "those of the laws: model.distributions.{name}(...).",
    ("zero_grad", "step", "backward"): "model.train({{...}}) does the whole step; for a step of "
    "your own, model.loss.eval({{...}}).backward() and model.optimizer.",
    ("predict", "forward", "sample", "generate"): "Ask a law: q.sample({{'x': x}}), "
    "(p * prior).sample(batch_n=64).",
}


def instead(name: str) -> str:
    """What stands in place of a word that a model does not have; empty if nothing does.

    Example:
        >>> instead("state_dict")
        'They are those of the laws: model.distributions.state_dict(...).'
    """
    return next((told.format(name=name) for words, told in _INSTEAD.items() if name in words), "")


def check_value(loss: Node, value: Tensor, modules: nn.ModuleList, run: Run) -> None:
    """Raise if a value cannot be minimised.

    Args:
        loss: The expression, for the message.
        value: Its value, which should be one finite number with a gradient.
        modules: What is trained.
        run: The run that gave the value; it is made again to find out what is at fault.

    Raises:
        TrainingError: If it is no number, or not finite while each term is.
        GradientError: If it has no gradient.
        AncestralError: Of the kind that names the term, the variable or the row at fault.
    """
    if value.dim():
        raise TrainingError(
            f"{loss} has shape {tuple(value.shape)}; a model minimises one number. Write .mean() "
            "around it, or .sum()."
        )
    if not value.requires_grad and run.gradient is None:
        raise GradientError(
            f"{loss}: its value has no gradient. Either every path to the parameters is cut by "
            ".detach(), or train() was called under torch.no_grad()."
        )
    if not math.isfinite(value.item()):
        _blame(loss, modules, run)


def _blame(loss: Node, modules: nn.ModuleList, run: Run) -> None:
    for name, p in modules.named_parameters():
        if not bool(torch.isfinite(p).all()):
            raise TrainingError(
                f"{loss} is not finite, since {owner(modules, name)} is not: an earlier gradient "
                "was not finite or too large. Load saved weights, and lower the learning rate or "
                "set clip_grad_norm=..."
            )
    for name, data in run.data.items():
        if data.dim() and not len(data):
            raise DataError(f"{loss}: {name} has no rows: shape {tuple(data.shape)}.")
    explain(run)
    raise TrainingError(
        f"{loss} is not finite, though each of its terms is: it overflows where they are "
        "combined. Check the scale of its terms and the learning rate."
    )


def clip_norm(loss: Node, modules: nn.ModuleList, bound: float) -> None:
    """Scale the whole gradient so that its norm is at most ``bound``.

    Raises:
        TrainingError: If the gradient is not finite: torch would spoil all of it.
    """
    trained = [p for p in modules.parameters() if p.requires_grad]
    try:
        nn.utils.clip_grad_norm_(trained, bound, error_if_nonfinite=True)
    except RuntimeError:
        grads = {n: p.grad for n, p in modules.named_parameters() if p.grad is not None}
        bad = [n for n, g in grads.items() if not bool(torch.isfinite(g).all())]
        told = f"the gradient of {owner(modules, bad[0])}" if bad else "the norm of its gradient"
        raise TrainingError(
            f"{loss}: its value is finite, but {told} is not. The weights are as they were. Look "
            "for a square root or a division at 0."
        ) from None


def update(loss: Node, optimizer: Optimizer, modules: nn.ModuleList) -> None:
    """One step of the optimizer.

    Raises:
        TrainingError: If the laws were converted or moved since the step before, as by
            ``p.double()``: what the optimizer remembers was not.
    """
    try:
        optimizer.step()
    except RuntimeError:
        for name, p in modules.named_parameters():
            for key, value in optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor) and key != "step" and not _like(value, p):
                    raise TrainingError(
                        f"{loss}: {owner(modules, name)} is {p.dtype} on {p.device} by now, but "
                        f"what {type(optimizer).__name__} remembers of its gradients is "
                        f"{value.dtype} on {value.device}. Convert and move laws before the first "
                        "step; or take the optimizer along: "
                        "model.optimizer.load_state_dict(model.optimizer.state_dict())."
                    ) from None
        raise


def _like(value: Tensor, p: Tensor) -> bool:
    return not value.is_floating_point() or (value.dtype, value.device) == (p.dtype, p.device)
