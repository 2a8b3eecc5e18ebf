"""The deterministic law: its variables are a function of the conditions."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import OptionError, ParameterError
from ancestral.core.names import listing
from ancestral.distributions.law import Law, Params


class Deterministic(Law):
    r"""The law of :math:`y = f(x)`: one or several variables as a function of the conditions.

    A subclass writes ``forward``, which returns ``{variable: value}`` for exactly its variables;
    with ``net=`` and one variable the network may return the value alone. It can be drawn from,
    and gradients flow through its values; it has no density.

    Args:
        var: Names of its variables.
        cond_var: Names of its conditions.
        name: How it prints.
        features_shape: Event shape of a value, of one variable.
        net: A network of the conditions.

    Example:
        >>> import torch
        >>> f = Deterministic(var=["y"], cond_var=["x"], net=lambda x: 2 * x, name="f")
        >>> f.sample({"x": torch.ones(1, 2)}, return_all=False)
        {'y': tensor([[2., 2.]])}
    """

    is_random = False
    has_density = False
    reparametrised = True
    several = True

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        net: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(var, cond_var, name, features_shape, net, {})

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Twice its condition."""
        return [{"cond_var": ["y"], "net": twice}]

    @staticmethod
    def mean_of(**values: Tensor) -> Tensor:
        """The value itself, of a law of one variable."""
        if len(values) != 1:
            raise OptionError(
                f"the mean is asked of one variable, but the law is over {listing(list(values))}. "
                "Use sample(...)."
            )
        return next(iter(values.values()))

    @staticmethod
    def variance_of(**values: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(Deterministic.mean_of(**values))

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """The values themselves, keyed by the law's own names of its variables."""
        out = self(**dict(zip(self._cond_var, conditions, strict=True)))
        if set(out) != set(self._var):
            raise ParameterError(
                f"{self.prob_text}: forward returned {listing(sorted(out))}, but its variables "
                f"are {listing(list(self._var))}. Return exactly these, e.g. "
                f"{{{', '.join(f'{v!r}: {v}' for v in self._var)}}}."
            )
        return {v: out[v] for v in self._var}

    def split_output(self, out: Tensor) -> Params:
        """The value of the only variable."""
        if not isinstance(out, Tensor) or len(self._var) != 1:
            raise ParameterError(
                f"{self.prob_text}: the network must return a dict with "
                f"{listing(list(self._var))}, got {type(out).__name__}."
            )
        return {self._var[0]: out}


def twice(y: Tensor) -> Tensor:
    """The network of the example."""
    return 2.0 * y
