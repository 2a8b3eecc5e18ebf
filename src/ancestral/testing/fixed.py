"""A law at fixed values of its conditions, so that checks of laws without conditions apply."""

import functools
from collections.abc import Mapping, Sequence

from torch import Tensor

from ancestral.distributions import Law
from ancestral.distributions.constraints import Constraint
from ancestral.distributions.law import Params
from ancestral.distributions.layout import layout
from ancestral.distributions.pushforward import At


class Fixed(Law):
    r"""The law :math:`p(x|y)` at one value of y, as a law of x without conditions.

    A law that is given by its log density alone has moves like others here, so that its density
    can be integrated.

    Args:
        law: The law.
        inputs: The values of its conditions, of which the first row is taken.
    """

    composite = True

    def __init__(self, law: Law, inputs: Mapping[str, Tensor]) -> None:
        rows = [inputs[name][:1] for name in law.cond_var]
        known = law.declared_shape
        event = layout(law.factors[0], law.params(rows), (1,)).value if known is None else known
        self._event, self._by_function = tuple(event), law.density_net is not None
        self._moves = _by_function(len(event)) if self._by_function else law.moves
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
def _by_function(rank: int) -> type[Law]:
    """The moves of a law that is given by its log density, of values with so many axes."""
    return type("ByFunction", (_Density,), {"value_dims": rank, "param_dims": rank})


class _Density(Law):
    """The moves of a law that is given by its log density."""

    @staticmethod
    def log_density(x: Tensor, law: Law, rows: Mapping[str, Tensor]) -> Tensor:
        """The log density of each value."""
        lead = x.shape[: x.dim() - len(law.features_shape)]
        given = {k: v.expand(*lead, *v.shape[1:]) for k, v in rows.items()}
        return law.get_log_prob({**given, law.var[0]: x})
