"""Whether a value may be one of a law: no NaN, and inside its support."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ancestral.core.errors import DataError, LikelihoodWarning, SupportError, warn

if TYPE_CHECKING:
    from ancestral.distributions.law import Law, Params


def check_eager(
    text: str, var: str, law: "Law", x: Tensor, params: "Params", counts: Tensor | None = None
) -> None:
    """Check the value that the Distribution API is given; not while it is traced or batched.

    Raises:
        DataError: If it is NaN.
        SupportError: If it lies outside the support.
    """
    if torch.compiler.is_compiling() or x.is_meta:
        return
    try:
        nan = bool(torch.isnan(x).any())  # of whole numbers too: in vmap it raises
    except RuntimeError:  # inside vmap a tensor has no truth value
        return
    if nan:
        raise DataError(
            f"{text}: the value of {var} is NaN at {first(~torch.isnan(x))} "
            f"(shape {tuple(x.shape)}). Mend or drop that row."
        )
    check_support(text, var, law, x, params, counts)


def check_support(
    text: str, var: str, law: "Law", x: Tensor, params: "Params", counts: Tensor | None = None
) -> None:
    """Raise if a value lies outside the support; warn where it makes the density no likelihood.

    Args:
        text: How the message calls the density.
        var: The variable.
        law: The law.
        x: The value.
        params: The law's parameters.
        counts: Which rows count, if not all do.

    Raises:
        SupportError: If an entry is outside.
    """
    support = law.support(params)
    if support is None:
        return
    holds = support.holds(x)
    if counts is not None:
        holds = holds | ~counts.reshape(*counts.shape, *(1,) * (holds.dim() - counts.dim()))
    if bool(holds.all()):
        return
    if holds.dim() >= x.dim():  # a support that depends on parameters has their axes
        x = x.expand(holds.shape)
    if hasattr(law, "grey") and bool(((x >= 0) & (x <= 1)).all()):
        warn(
            LikelihoodWarning(
                f"log {text}: {var} has values between 0 and 1, for which a Bernoulli is not a "
                "likelihood. Binarise the data, or say grey=True if it is meant."
            )
        )
        return
    raise SupportError(
        f"log {text}: {var} must be {support.name}, got {worst(x, holds)} at {first(holds)}. "
        f"{support.fix}".rstrip()
    )


def first(holds: Tensor) -> str:
    """Where something does not hold: the first place, in words."""
    if holds.dim() == 0:
        return "its only entry"
    index = tuple(int(i) for i in (~holds).nonzero()[0])
    return f"index {index}" if len(index) > 1 else f"row {index[0]}"


def worst(value: Tensor, holds: Tensor) -> str:
    """An entry, or vector, for which something does not hold."""
    value = value.detach()
    if value.dim() > holds.dim():
        return str([round(float(v), 4) for v in value[~holds][0].flatten()[:8]])
    return f"{float(value[~holds].flatten()[0]):g}"
