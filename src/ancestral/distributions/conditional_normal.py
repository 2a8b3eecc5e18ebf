r"""A multivariate normal law given some of its entries, :math:`p(x_B | x_A)`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import OptionError, ParameterError, ShapeError
from ancestral.distributions.base import Distribution
from ancestral.distributions.covariance import lower_factor, solve, times
from ancestral.distributions.eager import params_of
from ancestral.distributions.law import Law, Params
from ancestral.distributions.multivariate_normal import MultivariateNormal
from ancestral.distributions.numbers import as_constant


class ConditionalNormal(MultivariateNormal):
    r"""The law of the other entries of a multivariate normal law, given those at an index,
    :math:`N(\mu_B + \Sigma_{BA}\Sigma_{AA}^{-1}(y-\mu_A),\;
    \Sigma_{BB} - \Sigma_{BA}\Sigma_{AA}^{-1}\Sigma_{AB})`.

    Its parameters are those of the law as they are at that time, through which gradients pass.

    Args:
        p: The law of all D entries, a :class:`MultivariateNormal`; its covariance may be given in
            any form, or come from a network.
        index: Which entries are given, whole numbers from 0 to D - 1, each once.
        value: What they are, y, in the order of the index: a tensor, shape ``(*event, A)``, or
            the name of a condition, shape ``(rows, *event, A)``.
        name: How it prints; as the law, if not given.

    Raises:
        ParameterError: If the law is no multivariate normal law of one variable.
        OptionError: If the index is no list of some, but not all, entries.
        ShapeError: If the value does not have an entry for each of the index.

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 2.81 and 2.82.

    Example:
        >>> p = MultivariateNormal(loc=0.0, covariance_matrix=torch.tensor([[4.0, 2.0],
        ...                                                                 [2.0, 3.0]]))
        >>> q = ConditionalNormal(p, index=[0], value="y")
        >>> q.prob_text, q.sample_mean({"y": torch.tensor([[2.0]])}).round(decimals=4)
        ('p(x|y)', tensor([[1.]]))
        >>> q.sample_variance({"y": torch.tensor([[2.0]])}).round(decimals=4)
        tensor([[2.]])
    """

    composite = True
    value: Tensor

    def __init__(
        self,
        p: Distribution,
        index: Sequence[int] | int,
        value: Tensor | str,
        name: str | None = None,
    ) -> None:
        single = isinstance(p, Distribution) and len(p.factors) == 1 and not p.integrated
        own = p.factors[0].law if single else None
        if own is None or not issubclass(own.moves, MultivariateNormal) or p.factors[0].copies:
            told = p.prob_text if isinstance(p, Distribution) else type(p).__name__
            raise ParameterError(
                "ConditionalNormal conditions a MultivariateNormal law of one variable, got "
                f"{told}."
            )
        self._of, self._index = p.factors[0], _as_index(index)
        names = [value] if isinstance(value, str) else []
        event = own.declared_shape
        if event is not None:
            event = torch.Size((*event[:-1], len(self._others(event[-1]))))
        Law.__init__(
            self, self._of.var, [*names, *self._of.cond_var], name or p.name, event, None, {}
        )
        self.law = own
        if isinstance(value, Tensor):
            self.register_buffer("value", as_constant(f"{self.prob_text}: value", value))

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """One of three entries given, two in another order, and one by a condition."""
        lower = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, 1.2]])
        p = MultivariateNormal(loc=torch.tensor([0.3, -1.0, 0.7]), scale_tril=lower)
        many = MultivariateNormal(loc=torch.ones(4), precision_matrix=torch.eye(4) + 0.4)
        return [
            {"p": p, "index": [1], "value": torch.tensor([0.4])},
            {"p": many, "index": [3, 0], "value": torch.tensor([0.2, 1.5])},
            {"p": p, "index": [2], "value": "y", "given": {"y": torch.tensor([[-0.7]])}},
        ]

    def _others(self, size: int) -> list[int]:
        others = [i for i in range(size) if i not in self._index]
        if max(self._index) >= size or not others:
            raise OptionError(
                f"ConditionalNormal: index={list(self._index)} of {self._of.text}, which has "
                f"{size} entries, must name some of 0 to {size - 1}, and leave some."
            )
        return others

    def forward(self, **conditions: Tensor) -> Params:
        """Mean and Cholesky factor of the other entries."""
        params = params_of(self._of, [conditions[c] for c in self._of.cond_var])
        root = lower_factor(**{k: v for k, v in params.items() if k != "loc"})
        size, given = root.shape[-1], len(self._index)
        order = [*self._index, *self._others(size)]
        # a root of the covariance in the new order, made triangular again: nothing is subtracted
        upper = torch.linalg.qr(root[..., order, :].mT).R
        lower = upper.mT * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        loc = torch.as_tensor(params["loc"], dtype=root.dtype, device=root.device)
        loc = loc.expand(*loc.shape[:-1], size)[..., order]
        y = conditions[self._named[0]] if self._named else self.value
        if y.dim() == 0 or y.shape[-1] != given:
            raise ShapeError(
                f"{self.prob_text}: a value of shape {tuple(y.shape)} for the entries "
                f"{list(self._index)}: its last axis must have {given}."
            )
        shift = y - loc[..., :given]
        lead = torch.broadcast_shapes(shift.shape[:-1], lower.shape[:-2])
        rest = solve(lower[..., :given, :given], shift.expand(*lead, given))
        moved = times(lower[..., given:, :given], rest)
        return {"loc": loc[..., given:] + moved, "scale_tril": lower[..., given:, given:]}

    @property
    def _named(self) -> list[str]:
        """The condition that is the value, if it is one."""
        return self.cond_var[: len(self.cond_var) - len(self._of.cond_var)]


def _as_index(index: Sequence[int] | int) -> tuple[int, ...]:
    found = (index,) if isinstance(index, int) else tuple(index)
    whole = all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in found)
    if not found or not whole or len(set(found)) < len(found):
        raise OptionError(
            f"ConditionalNormal: index={index!r} must be whole numbers from 0, each once, e.g. "
            "index=[0, 2]."
        )
    return found
