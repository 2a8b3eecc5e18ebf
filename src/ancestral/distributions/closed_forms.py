"""Closed forms: which divergences and entropies are known, looked up by family.

Each family lists its own at the bottom of its file (``Normal.closed_kl``); a subclass inherits
them.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ancestral.distributions.law import Law


def closed_kl(q: Law, p: Law) -> Callable[..., Tensor] | None:
    """The closed form of KL[q || p] as a function of both laws' parameters, or ``None``."""
    for family in q.moves.__mro__:
        table = family.__dict__.get("closed_kl", {})
        for other in p.moves.__mro__:
            if other in table:
                found: Callable[..., Tensor] = table[other]
                return found
    return None


def closed_entropy(q: Law) -> Callable[..., Any] | None:
    """The entropy as a function of the law's parameters, or ``None``."""
    return getattr(q.moves, "entropy_of", None)
