"""The network of a law: how it takes the conditions, and what it may return."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter as Argument
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import (
    AncestralError,
    NetworkError,
    OptionError,
    ParameterError,
    ShapeError,
    VariableError,
    did_you_mean,
)
from ancestral.core.names import listing

if TYPE_CHECKING:
    from ancestral.distributions.law import Law


def check_network(law: "Law", *, own: bool) -> bool:
    """Whether the network of a law takes its conditions by name.

    Args:
        law: The law, with its parameters bound.
        own: Whether its class has a ``forward`` of its own.

    Raises:
        OptionError: If there are two networks.
        ParameterError: If there is one, but no parameter is left for it.
        VariableError: If its arguments do not fit the conditions.
    """
    if not own and law.net is None:
        return True
    what = f"{type(law).__name__}.forward" if own else "net"
    if own and law.net is not None:
        raise OptionError(
            f"{law.prob_text}: {type(law).__name__} has a forward of its own, and net= was "
            "given too. Keep one of them."
        )
    if law.domains and law.is_complete:
        raise ParameterError(
            f"{law.prob_text}: {listing(law.given)} were given, so that {what} has nothing "
            "to return and would never run. Leave out what the network gives."
        )
    call = law.forward if own else getattr(law.net, "forward", law.net)
    assert call is not None
    return takes_by_name(call, law.cond_var, what, law.prob_text, own=own)


def check_returned(law: "Law", returned: Iterable[str]) -> None:
    """Raise if a network returned other parameters than the law needs from it.

    Raises:
        ParameterError: If some are missing, unknown, or were given to the constructor too.
    """
    names = list(returned)
    again = [k for k in names if k in law.given]
    if again:
        raise ParameterError(
            f"{law.prob_text}: the network returned {listing(again)}, which the constructor "
            "was given too. Leave it out of one of them."
        )
    for key in names:
        if key not in law.domains:
            raise ParameterError(
                f"{law.prob_text}: the network returned {key!r}, which is no parameter of "
                f"{type(law).__name__}; {did_you_mean(key, law.domains)}"
            )
    if not any(set(way) == {*names, *law.given} for way in law.ways):
        need = " or ".join(f"({', '.join(way)})" for way in law.ways)
        raise ParameterError(
            f"{law.prob_text}: the network returned {listing(sorted(names))}, but a "
            f"{type(law).__name__} needs {need}."
        )


class Parts(dict[str, Any]):
    """Parameters that are parts of one tensor, which is all that the network returned."""


def split_output(law: "Law", out: Tensor) -> Parts:
    """Parameters from one tensor: equal parts of its last axis, each through its link."""
    names = law.from_net
    if isinstance(out, Tensor) and not names and law.split:
        missing = [k for k in law.domains if k not in law.given and k not in law.split]
        raise ParameterError(
            f"{law.prob_text}: the network returned one tensor, which does not say "
            f"{listing(missing or list(law.domains))}. Give {listing(missing) or 'others'} to the "
            "constructor, or return a dict of all parameters."
        )
    if not isinstance(out, Tensor) or not names:
        raise ParameterError(
            f"{law.prob_text}: the network must return a dict of parameters or one tensor, "
            f"got {type(out).__name__}."
        )
    if out.dim() == 0 or out.shape[-1] % len(names):
        raise ShapeError(
            f"{law.prob_text}: the network's output of shape {tuple(out.shape)} does not "
            f"split into {listing(names)}: the last axis must be a multiple of {len(names)}."
        )
    parts = out.chunk(len(names), -1) if len(names) > 1 else (out,)
    return Parts({k: law.split[k](part) for k, part in zip(names, parts, strict=True)})


def check_rows(
    law: "Law",
    text: object,
    names: Sequence[str],
    conditions: Sequence[Tensor],
    out: Mapping[str, Any],
) -> None:
    """Raise if a network took the rows of its conditions for their event.

    A linear layer that is given one number per row, shape ``(B,)``, sees one vector of width B.

    Args:
        law: The law.
        text: How the message calls it.
        names: How the message calls the conditions.
        conditions: What the network was given.
        out: The parameters that it returned.

    Raises:
        ShapeError: If all conditions have rows alone, and a parameter has one axis that is
            neither the rows nor the declared event.
    """
    if not conditions or any(c.dim() != 1 for c in conditions):
        return
    rows = max(c.shape[0] for c in conditions)
    for key, value in out.items():
        if key in law.given or not isinstance(value, Tensor) or value.dim() != 1:
            continue
        if law.moves.cores.get(key):
            continue  # its axis is one of the density's, as of the weights of a mixture
        if value.shape[0] not in (1, rows) and tuple(value.shape) != law.declared_shape:
            raise ShapeError(
                f"{text}: the network returned {key} of shape {tuple(value.shape)} for {rows} "
                f"rows of {listing(list(names))}, whose shape is ({rows},). {_one_number(names)}"
            )


def failed(
    text: object, names: Sequence[str], args: Sequence[Tensor], error: RuntimeError
) -> RuntimeError:
    """The error of a network, with the term and the shapes; our own errors as they are."""
    if isinstance(error, (AncestralError, torch.OutOfMemoryError)):
        return error
    given = ", ".join(f"{n} {tuple(v.shape)}" for n, v in zip(names, args, strict=True))
    hint = "Check the width of its first layer against these shapes, rows first."
    if "dtype" in str(error) or "scalar type" in str(error):
        told = ", ".join(
            f"{n} {v.dtype}".replace("torch.", "") for n, v in zip(names, args, strict=True)
        )
        hint = f"Give the batch the weights' dtype (x.float()), or convert the law; here {told}."
    elif args and all(v.dim() == 1 for v in args):
        hint = _one_number(names)
    return NetworkError(f"the network of {text} failed on {given or 'no input'}: {error}. {hint}")


def _one_number(names: Sequence[str]) -> str:
    which = names[0]
    return (
        f"One axis is the rows, so that each row of {which} is one number. For one row of data "
        f"give {which}[None]; for a draw that should be a vector give the law of {which} "
        f"features_shape=[...], the width of the first layer; for numbers let the network use "
        f"{which}[:, None]."
    )


def takes_by_name(
    call: Callable[..., Any], conditions: Sequence[str], what: str, law: str, *, own: bool = False
) -> bool:
    """Whether a network is called with the conditions by name; if not, in their order.

    It is if its signature has those names. A network whose arguments have names of their own is
    called in order, unless it is the law's own ``forward``.

    Args:
        call: The network.
        conditions: The names of the conditions.
        what: How the message calls the network.
        law: How the message calls the law.
        own: Whether it is the law's own ``forward``.

    Raises:
        VariableError: If the signature has some of the conditions but not all of them, asks for
            more than them, or has no room for them.

    Example:
        >>> takes_by_name(lambda z, y: z, ["y", "z"], "net", "p(x|y,z)")
        True
        >>> takes_by_name(lambda a, b: a, ["y", "z"], "net", "p(x|y,z)")
        False
    """
    try:
        arguments = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):  # a builtin that tells nothing
        return own
    kinds = {a.kind for a in arguments}
    named = [
        a for a in arguments if a.kind in (Argument.POSITIONAL_OR_KEYWORD, Argument.KEYWORD_ONLY)
    ]
    names = {a.name for a in named}
    required = {a.name for a in named if a.default is a.empty}
    wanted = set(conditions)
    known = names & wanted
    rest = Argument.VAR_KEYWORD in kinds and (bool(known) or Argument.VAR_POSITIONAL not in kinds)
    positional_only = Argument.POSITIONAL_ONLY in kinds
    if required <= wanted and (wanted <= names or rest) and not positional_only:
        return True
    in_order = (
        not own
        and not known
        and not any(a.kind is Argument.KEYWORD_ONLY and a.default is a.empty for a in named)
    )
    if in_order and _has_room(arguments, len(conditions)):
        return False
    told = ", ".join(a.name for a in arguments)
    if len(conditions) > len(arguments) and not known:
        joined = ", ".join(conditions)
        fix = (
            f"Write a module that takes them all, def forward(self, {joined}), and joins them, "
            f"e.g. by torch.cat([{joined}], -1)."
        )
    else:
        fix = f"Name the arguments of {what} as in cond_var={list(conditions)}"
        fix += f", or write cond_var={[a.name for a in named]}." if named else "."
    raise VariableError(
        f"{law}: {what} takes ({told}), but the conditions are ({listing(list(conditions))}). "
        f"{fix}"
    )


def _has_room(arguments: Sequence[Argument], count: int) -> bool:
    """Whether ``count`` values can be given in order."""
    if any(a.kind is Argument.VAR_POSITIONAL for a in arguments):
        return True
    places = [
        a
        for a in arguments
        if a.kind in (Argument.POSITIONAL_ONLY, Argument.POSITIONAL_OR_KEYWORD)
    ]
    return sum(a.default is a.empty for a in places) <= count <= len(places)
