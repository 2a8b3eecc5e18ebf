"""Normal laws as experts of one variable: their parameters on the rows where they are present.

An expert of a modality that is missing in some rows is run on zeros there, and what it returns is
replaced: with both, neither a NaN in the data nor its derivative reaches anything else.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import ParameterError, ShapeError, VariableError
from ancestral.core.names import listing
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.eager import params_of
from ancestral.distributions.law import Law
from ancestral.distributions.layout import has_rows
from ancestral.distributions.normal import Normal


def as_experts(what: str, laws: Distribution | Iterable[Distribution]) -> tuple[Factor, ...]:
    """Normal laws over one variable, under the names that they have outside.

    Raises:
        ParameterError: If one is no normal law, or there is none.
        VariableError: If they are over different variables.
    """
    given = [laws] if isinstance(laws, Distribution) else list(laws)
    if not given:
        raise ParameterError(f"{what} needs at least one expert, e.g. {what}([q_x, q_y]).")
    found = [_normal(what, law) for law in given]
    names = {f.var[0] for f in found}
    if len(names) > 1:
        raise VariableError(
            f"{what}: its experts are over different variables: "
            f"{', '.join(f.text for f in found)}. Rename them with replace_var(...)."
        )
    return tuple(found)


def _normal(what: str, law: object) -> Factor:
    if not isinstance(law, Distribution):
        raise ParameterError(f"{what} takes normal laws, got {type(law).__name__}.")
    single = len(law.factors) == 1 and not law.integrated and not law.factors[0].copies
    own = law.factors[0].law
    if not single or not issubclass(own.moves, Normal) or own.pushforward is not None:
        raise ParameterError(
            f"{what} takes normal laws, each of one variable, got {law.prob_text}, a "
            f"{law.factors[0].law.distribution_name if single else 'product of several'}."
        )
    return law.factors[0]


def conditions_of(factors: Iterable[Factor], mask: str | None) -> list[str]:
    """The conditions of all experts, each once, and the mask."""
    names = [c for f in factors for c in f.cond_var]
    return list(dict.fromkeys([*names, *([mask] if mask else [])]))


def event_of(factors: Iterable[Factor], given: Sequence[int] | None) -> Sequence[int] | None:
    """The event shape as given, or as an expert declares it."""
    if given:
        return given
    factors = list(factors)
    shapes = [f.law.declared_shape for f in factors]
    found = next((shape for shape in shapes if shape), None)
    if found is None and given is None:  # numbers alone fit any event
        told = [f for f in factors if f.law.declared_shape is not None]
        plain = all(not f.cond_var for f in factors) or any(f.cond_var for f in told)
        return () if told and plain else None
    return found if found is not None else given


def weights_of(what: str, given: object, sizes: Sequence[int]) -> Tensor:
    """Weights of experts as a tensor of one of these sizes.

    Raises:
        ParameterError: If there are more or fewer, or one is negative or not finite.
    """
    weights = torch.as_tensor(given, dtype=torch.get_default_dtype()).detach().clone()
    if weights.dim() != 1 or len(weights) not in sizes:
        told = " or ".join(str(n) for n in dict.fromkeys(sizes))
        raise ParameterError(
            f"{what}: weight_modalities has shape {tuple(weights.shape)}; give {told} numbers."
        )
    if not bool(((weights >= 0) & weights.isfinite()).all()) or not bool(weights.any()):
        raise ParameterError(
            f"{what}: weight_modalities must be 0 or more, not all 0, got {weights.tolist()}."
        )
    return weights


def written(weights: Tensor) -> list[float]:
    """Weights as they were given, without the digits of single precision."""
    return [float(f"{w:.6g}") for w in weights.tolist()]


def presence(text: str, mask: str, values: Tensor, experts: int) -> Tensor:
    """Which expert is present in which row, shape ``(*rows, experts)``.

    Raises:
        ShapeError: If the mask does not have an entry for each expert.
    """
    if values.dim() == 0 or values.shape[-1] != experts:
        raise ShapeError(
            f"{text}: the mask {mask} has shape {tuple(values.shape)}; its last axis must have "
            f"one entry for each of the {experts} experts, 1 if it is present and 0 if not."
        )
    return values != 0


def stacked(
    law: "OfExperts",
    conditions: Mapping[str, Tensor],
    present: Tensor | None,
    absent: float = torch.inf,
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations, one expert after the other.

    Args:
        law: The law that the experts make.
        conditions: The values of their conditions.
        present: Which expert is present in which row, or ``None`` if all are.
        absent: The standard deviation where it is missing, with the mean 0.

    Returns:
        Shape ``(experts, *rows, *event)`` each.
    """
    factors = (*law._always, *law._every)
    shown: list[Tensor | None] = [None] * len(factors)
    if present is not None:
        shown[len(law._always) :] = present.unbind(-1)
    every = [
        params_of(f, [_shown(conditions[c], held) for c in f.cond_var])
        for f, held in zip(factors, shown, strict=True)
    ]
    ranks = [
        v.dim()
        for f, params in zip(factors, every, strict=True)
        for k, v in params.items()
        if isinstance(v, Tensor) and f.cond_var and has_rows(f.law, k)
    ]
    declared = law.declared_shape
    locs, scales = [], []
    like = _like(law, every)
    for params, held in zip(every, shown, strict=True):
        loc, scale = (
            torch.as_tensor(params[k], dtype=like.dtype, device=like.device)
            for k in ("loc", "scale")
        )
        if held is not None:
            event = len(declared) if declared is not None else max(ranks, default=0) - held.dim()
            rows = held.reshape(*held.shape, *(1,) * max(event, 0))
            loc, scale = torch.where(rows, loc, 0.0), torch.where(rows, scale, absent)
        locs.append(loc)
        scales.append(scale)
    both = torch.broadcast_tensors(*locs, *scales)
    return torch.stack(both[: len(locs)]), torch.stack(both[len(locs) :])


Held = Sequence[Tensor | None]


def together(
    locs: Sequence[Any], scales: Sequence[Any], held: Held, absent: float = torch.inf
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations, one expert after the other, from values that broadcast.

    Args:
        locs: Means, each a tensor or a number; one at least is a tensor.
        scales: Standard deviations, likewise.
        held: Where each expert is present, or ``None`` if it is everywhere.
        absent: The standard deviation where it is missing, with the mean 0.

    Returns:
        Shape ``(experts, *shape)`` each.
    """
    every = [*locs, *scales]
    like = next(v for v in every if isinstance(v, Tensor))
    for i, value in enumerate(every):
        if not isinstance(value, Tensor):
            every[i] = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        here = held[i % len(locs)]
        if here is not None:
            every[i] = torch.where(here, every[i], absent if i >= len(locs) else 0.0)
    both = torch.broadcast_tensors(*every)
    return torch.stack(both[: len(locs)]), torch.stack(both[len(locs) :])


def _shown(value: Tensor, held: Tensor | None) -> Tensor:
    """A condition with zeros in the rows where its expert is missing."""
    if held is None:
        return value
    rows = held.reshape(*held.shape, *(1,) * max(value.dim() - held.dim(), 0))
    return torch.where(rows, value, torch.zeros_like(value))


def _like(law: Law, every: Iterable[Mapping[str, object]]) -> Tensor:
    tensors = (v for params in every for v in params.values() if isinstance(v, Tensor))
    return next(tensors, law.anchor())


class OfExperts(Law):
    """The base of laws that normal experts make, each left out where its modality is missing.

    Its constructor ends with :meth:`_keep`; ``_of(kept)`` is the same law of some of the experts.
    """

    composite = True
    mask: str | None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """None of the base."""
        return []

    def _keep(
        self, every: Sequence[Factor], mask: str | None, always: Sequence[Factor] = ()
    ) -> None:
        """Keep the experts, the mask of them, and those that are never missing."""
        self.mask, self._every, self._always = mask, tuple(every), tuple(always)
        self._columns, self._width = tuple(range(len(every))), len(every)  # of the mask
        self.experts = nn.ModuleList(f.law for f in (*always, *every))

    @property
    def is_plain(self) -> bool:
        """Whether its parameters are nothing but those of its experts, combined."""
        return True

    @property
    def columns(self) -> list[tuple[Factor, int | None]]:
        """The experts, each with its column of the mask, if it may be missing."""
        always: list[tuple[Factor, int | None]] = [(f, None) for f in self._always]
        return [*always, *zip(self._every, self._columns, strict=True)]

    @property
    def width(self) -> int:
        """The number of columns of the mask."""
        return self._width

    def _present(self, conditions: Mapping[str, Tensor]) -> Tensor | None:
        """Which expert is present in which row, or ``None`` if all are."""
        if self.mask is None:
            return None
        rows = presence(self.prob_text, self.mask, conditions[self.mask], self._width)
        return rows[..., list(self._columns)]

    @property
    def optional(self) -> tuple[str, ...]:
        """The conditions of the experts."""
        needed = {self.mask, *(c for f in self._always for c in f.cond_var)}
        names = dict.fromkeys(c for f in self._every for c in f.cond_var)
        return tuple(c for c in names if c not in needed)

    @property
    def masked(self) -> tuple[str, ...]:
        """The conditions of the experts, if there is a mask."""
        return self.optional if self.mask else ()

    def without(self, names: Sequence[str]) -> "OfExperts":
        """The law of the experts that need none of these conditions.

        Raises:
            VariableError: If a name is no condition of an expert.
        """
        for name in names:
            if name not in self.optional:
                raise VariableError(
                    f"{self.prob_text}: {name} belongs to no expert, so that it cannot be left "
                    f"out; its experts have {listing(self.optional)}."
                )
        kept = [i for i, f in enumerate(self._every) if not set(f.cond_var) & set(names)]
        twin = self._of(kept)
        twin._columns, twin._width = tuple(self._columns[i] for i in kept), self._width
        return twin

    def _of(self, kept: Sequence[int]) -> "OfExperts":
        raise NotImplementedError
