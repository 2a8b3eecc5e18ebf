"""The one call into a law: its network, or the law around it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ancestral.distributions import Law


class Network:
    """What a step calls to get a law's parameters from its conditions, by position.

    Where a law has ``net=``, whose output it splits as every law does, and no hooks, that is the
    network itself, as an expert would call it; otherwise the law, whose ``forward`` and hooks run.
    A law whose parameters the user has named
    (those of a deterministic law are its variables) returns them in order: no user's string may
    stand in the text.

    Args:
        law: The law.
        keys: The parameters that are wanted.

    Attributes:
        call: What is called.
        is_bare: Whether that is the network itself.
        in_order: Whether it returns the parameters in order.
        holder: Where the law keeps its network,
        net: which should be this one as long as the step is used,
        hooks: with these empty, since the call would leave them out.
    """

    def __init__(self, law: Law, keys: Sequence[str]) -> None:
        names = law.cond_var
        hooks = law._forward_hooks, law._forward_pre_hooks
        backward_hooks = law._backward_hooks, law._backward_pre_hooks
        self.hooks: tuple[Mapping[int, Any], ...] = (*hooks, *backward_hooks)
        self.in_order = not law.is_random
        kept = type(law).forward is Law.forward and type(law).split_output is Law.split_output
        own = not kept or self.in_order
        self.is_bare = not own and not any(self.hooks)
        self.holder = law._modules if "net" in law._modules else vars(law)
        self.net = self.holder.get("net")
        self.call: Callable[..., Any]
        if any(self.hooks):
            self.call = _by_name(law, names)  # as the law is called everywhere else
            self.hooks = ()
        elif not self.is_bare:
            self.call = law if _in_order(law.forward, names) else _by_name(law, names)
        elif not law.takes_names or _in_order(getattr(self.net, "forward", self.net), names):
            assert self.net is not None
            self.call = self.net
        else:
            self.call = _by_name(self.net, names)
        if self.in_order:
            self.call = _ordered(_by_name(law, names), tuple(keys))


def _by_name(call: Any, names: Sequence[str]) -> Callable[..., Any]:
    def run(*conditions: Tensor) -> Any:
        return call(**dict(zip(names, conditions, strict=True)))

    return run


def _ordered(call: Callable[..., Any], keys: tuple[str, ...]) -> Callable[..., Any]:
    def run(*conditions: Tensor) -> Any:
        out = call(*conditions)
        return out[keys[0]] if len(keys) == 1 else [out[key] for key in keys]

    return run


def _in_order(call: Any, names: Sequence[str]) -> bool:
    """Whether the first arguments are these names, and may be given by position."""
    try:
        arguments = list(inspect.signature(call).parameters.values())[: len(names)]
    except (TypeError, ValueError):
        return False
    free = all(a.kind is a.POSITIONAL_OR_KEYWORD for a in arguments)
    return free and [a.name for a in arguments] == list(names)
