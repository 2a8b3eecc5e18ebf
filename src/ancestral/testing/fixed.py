"""A law at fixed values of its conditions, so that checks of laws without conditions apply."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.rng import Generator
from ancestral.distributions import Law
from ancestral.distributions import Sequence as OverTime
from ancestral.distributions.constraints import Constraint
from ancestral.distributions.law import Params
from ancestral.distributions.layout import layout
from ancestral.distributions.pushforward import At


class Fixed(Law):
    r"""The law :math:`p(x|y)` at one value of y, as a law of x without conditions.

    A law that is given by its log density alone, or a sequence, has moves like others here, so
    that its density can be integrated.

    Args:
        law: The law.
        inputs: The values of its conditions, of which the first row is taken.
    """

    composite = True

    def __init__(self, law: Law, inputs: Mapping[str, Tensor]) -> None:
        rows = [inputs[name][:1] for name in law.cond_var]
        in_time, known = isinstance(law, OverTime), law.declared_shape
        if in_time:
            known = law.sample(dict(zip(law.cond_var, rows, strict=True)))[law.var[0]].shape[1:]
        event = layout(law.factors[0], law.params(rows), (1,)).value if known is None else known
        self._event, self._by_function = tuple(event), in_time or law.density_net is not None
        base = _InTime if in_time else _Density
        self._moves = _by_function(base, len(event)) if self._by_function else law.moves
        super().__init__(law.var, (), law.name, self._event, None, {})
        self.law = law
        for i, row in enumerate(rows):
            self.register_buffer(f"row_{i}", row.clone())

    @property
    def moves(self) -> type[Law]:
        """Those of the law."""
        return self._moves

    @property
    def rows(self) -> dict[str, Tensor]:
        """The values of the conditions, by name."""
        return {name: self.get_buffer(f"row_{i}") for i, name in enumerate(self.law.cond_var)}

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """Those of the law in the one row of its conditions."""
        if self._by_function:
            return {"law": self.law, "rows": self.rows}
        moves, out = self.moves, self.law.params(list(self.rows.values()))
        parts = len(self._event) - moves.value_dims
        for key, value in out.items():
            core = len(moves.cores[key]) if key in moves.cores else moves.param_dims
            if isinstance(value, Tensor) and value.dim() > parts + core:
                out[key] = value.squeeze(0)
            elif isinstance(value, At):
                out[key] = value.at(value.context.squeeze(0))
        return out

    def support(self, params: Params) -> Constraint | None:
        """That of the law."""
        return self.law.support(params)


@functools.cache
def _by_function(base: type[Law], rank: int) -> type[Law]:
    """The moves of a law that is asked as a whole, of values with so many axes."""
    return type("ByFunction", (base,), {"value_dims": rank, "param_dims": rank})


class _Density(Law):
    """The moves of a law that is given by its log density."""

    @classmethod
    def log_density(cls, x: Tensor, law: Law, rows: Mapping[str, Tensor]) -> Tensor:
        """The log density of each value."""
        return law.get_log_prob({**_expanded(rows, cls.lead(x)), law.var[0]: x})

    @classmethod
    def lead(cls, x: Tensor) -> tuple[int, ...]:
        """The axes in front of an event."""
        return tuple(x.shape[: x.dim() - cls.value_dims])


class _InTime(_Density):
    """The moves of a sequence. The noise of a draw is its seed, so that it has derivatives."""

    reparametrised = True
    noise = "a seed, once for each number"

    @staticmethod
    def noise_of(
        shape: Sequence[int], like: Tensor, generator: Generator = None, **params: Any
    ) -> Tensor:
        """The seed."""
        drawn = torch.randint(2**24, (), generator=generator, device=like.device)
        return drawn.to(like.dtype).expand(tuple(shape))

    @classmethod
    def draw(cls, noise: Tensor, law: Law, rows: Mapping[str, Tensor]) -> Tensor:
        """The sequences that the law draws from such a seed."""
        lead = cls.lead(noise)
        flat = {k: v.flatten(0, len(lead) - 1) for k, v in _expanded(rows, lead).items()}
        seed = None if noise.is_meta else torch.Generator().manual_seed(int(noise.flatten()[0]))
        x = law.sample(flat, generator=seed, reparam=law.has_reparam)[law.var[0]]
        return x.unflatten(0, lead)


def _expanded(rows: Mapping[str, Tensor], lead: tuple[int, ...]) -> dict[str, Tensor]:
    """The one row of each condition, for all rows."""
    return {k: v.expand(*lead, *v.shape[1:]) for k, v in rows.items()}
