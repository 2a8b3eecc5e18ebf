"""The optimizer of a model: one of torch's, fused where it can be."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ancestral.core.errors import OptionError, did_you_mean

# Whoever says one of these has chosen an implementation.
CHOICES = {"fused", "foreach", "capturable", "differentiable"}
FUSED_DEVICES = {"cpu", "cuda", "mps", "xpu"}  # torch finds out at the first step, too late for us


def make_optimizer(
    make: Callable[..., Optimizer] | Optimizer,
    parameters: Iterable[nn.Parameter],
    options: Mapping[str, Any],
    *,
    sparse: bool = False,
) -> Optimizer:
    """The optimizer over parameters; ``fused=True`` is added where torch has it.

    Args:
        make: A class, a ``functools.partial`` of one, a function of the parameters, or an
            optimizer that is built already.
        parameters: What it updates; those without a gradient it leaves alone.
        options: Further arguments of ``make``.
        sparse: Whether a gradient may be sparse: no fused kernel takes that.

    Raises:
        OptionError: If an option is unknown, or the optimizer needs a closure.
    """
    if isinstance(make, Optimizer):
        if options:
            raise OptionError(
                f"optimizer_params={dict(options)!r} beside an optimizer that is built already: "
                f"give the class, optimizer={type(make).__name__}."
            )
        return _checked(make)
    if not callable(make):
        raise OptionError(
            "optimizer=... takes a class such as torch.optim.Adam, or a function of the "
            f"parameters that makes one, got {type(make).__name__}."
        )
    parameters, options = list(parameters), dict(options)
    cls, chosen = make, set(options)
    while isinstance(cls, functools.partial):
        chosen |= set(cls.keywords)
        cls = cls.func
    known: Mapping[str, Any] = {}
    if isinstance(cls, type) and issubclass(cls, Optimizer):
        known = inspect.signature(cls).parameters
        _check_options(cls, known, options)
    if "fused" in known and not chosen & CHOICES and not sparse and _can_fuse(parameters):
        try:
            return _checked(make(parameters, **options, fused=True))
        except RuntimeError:  # this optimizer has it for fewer devices
            pass
    return _checked(make(parameters, **options))


def _can_fuse(parameters: Iterable[nn.Parameter]) -> bool:
    return all(
        p.device.type in FUSED_DEVICES and p.dtype.is_floating_point
        for p in parameters
        if p.requires_grad
    )


def _check_options(cls: type, known: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return
    for name in options:
        if name not in known:
            offered = [k for k in known if k not in ("self", "params")]
            raise OptionError(
                f"optimizer_params={{{name!r}: ...}}: {cls.__name__} has no such option; "
                f"{did_you_mean(name, offered)}"
            )


def _checked(optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise OptionError(
            "optimizer=...: the function must return a torch.optim.Optimizer, it returned "
            f"{type(optimizer).__name__}."
        )
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        name = type(optimizer).__name__
        raise OptionError(
            f"optimizer={name}: it evaluates the loss several times within a step, on the same "
            "draws, which a Model does not do. Write the loop by hand with loss.function() and "
            f"noise=, or take another optimizer, e.g. torch.optim.Adam in place of {name}."
        )
    return optimizer
