"""The moves of flows: those of the base law, through a bijection that is one of the parameters."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.bijections import Bijection
from ancestral.core.rng import Generator
from ancestral.distributions.law import Law
from ancestral.distributions.noise import noise_move


class _Moves(Law):
    """The moves of a flow: those of the base, with the bijection among the parameters."""

    base: ClassVar[type[Law]]
    extra: ClassVar[int]  # axes that the bijection couples, and the base does not
    maps: ClassVar[int]  # axes that the bijection couples

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """That of the base."""
        return cls.base.noise_shape(event)

    @classmethod
    def draw(cls, noise: Tensor, *, bijection: Bijection, **params: Any) -> Tensor:
        """The base's draw, mapped."""
        x: Tensor = bijection(cls.base.draw(noise, **params))
        return x

    @classmethod
    def log_density(cls, x: Tensor, *, bijection: Bijection, **params: Any) -> Tensor:
        """The base's density at the inverse, with the log-determinant."""
        z, log_det = bijection.inverse_and_log_det(x)
        out = cls.base.log_density(z, **params)
        return _last(out, cls.extra) + _last(log_det, cls.value_dims - cls.maps)


def _noise_of(
    cls: type[_Moves],
    shape: Sequence[int],
    like: Tensor,
    generator: Generator = None,
    *,
    bijection: Bijection,
    **params: Any,
) -> Tensor:
    """That of the base."""
    return cls.base.noise_of(shape, like, generator, **params)


def _log_cdf(cls: type[_Moves], x: Tensor, *, bijection: Bijection, **params: Any) -> Tensor:
    """The base's at the inverse; of a decreasing map its complement."""
    below, _, above, z = pulled(bijection, x)
    out = _by_sign(bijection, lambda: cls.base.log_cdf(z, **params),
                   lambda: cls.base.log_sf(z, **params))  # fmt: skip
    return torch.where(below, -torch.inf, torch.where(above, 0.0, out))


def _log_sf(cls: type[_Moves], x: Tensor, *, bijection: Bijection, **params: Any) -> Tensor:
    """The base's at the inverse; of a decreasing map its complement."""
    below, _, above, z = pulled(bijection, x)
    out = _by_sign(bijection, lambda: cls.base.log_sf(z, **params),
                   lambda: cls.base.log_cdf(z, **params))  # fmt: skip
    return torch.where(below, 0.0, torch.where(above, -torch.inf, out))


def _icdf(cls: type[_Moves], u: Tensor, *, bijection: Bijection, **params: Any) -> Tensor:
    """The base's quantile, mapped."""
    x: Tensor = bijection(cls.base.icdf(u, **params))
    return x


def pulled(bijection: Bijection, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Whether values are below the image of the map, in it, or above it, and their inverse; of
    values outside that of one inside.
    """
    low, high = bijection.domain
    if bijection.event_dims:  # its components have no image of their own
        inside = torch.ones_like(x, dtype=torch.bool)
        return ~inside, inside, ~inside, bijection.inverse(x)
    middle = 0.0 if low == -high else max(low, 0.0) + 0.5 * min(high - low, 1.0)
    with torch.no_grad():
        one, other = (bijection(torch.full_like(x, end)) for end in (low, high))
        some = bijection(torch.full_like(x, middle))
    below, above = x < torch.minimum(one, other), x > torch.maximum(one, other)
    inside = ~(below | above)
    return below, inside, above, bijection.inverse(torch.where(inside, x, some))


def _by_sign(
    bijection: Bijection, rises: Callable[[], Tensor], falls: Callable[[], Tensor]
) -> Tensor:
    """What holds for an increasing map, or for a decreasing one, component by component."""
    sign = bijection.sign()
    if isinstance(sign, Tensor):
        return torch.where(sign > 0, rises(), falls())
    return rises() if sign > 0 else falls()


def flow_moves(base: type[Law], maps: int, *, rises: bool) -> type[_Moves]:
    """The moves of flows from a family by bijections that couple so many last axes.

    A small quantile of a map that falls is one of the base near 1, of which few digits are left:
    it has none.
    """
    value_dims = max(base.value_dims, maps)
    extra = value_dims - base.value_dims
    outer = "ABCDEF"[:extra]  # capitals stand before the letters of cores
    words = {
        "base": base,
        "domains": base.domains,
        "maps": maps,
        "extra": extra,
        "value_dims": value_dims,
        "param_dims": base.param_dims + extra,
        "cores": {key: outer + core for key, core in base.cores.items()},
        "reparametrised": base.reparametrised,
        "noise": base.noise,
    }
    has: dict[str, Callable[..., Any]] = {"noise_of": _noise_of} if noise_move(base) else {}
    if value_dims == 0 and hasattr(base, "log_sf"):
        has.update(log_cdf=_log_cdf, log_sf=_log_sf, **({"icdf": _icdf} if rises else {}))
    words |= {name: classmethod(move) for name, move in has.items() if hasattr(base, name)}
    return type(f"{base.__name__}Flow", (_Moves,), words)


def _last(value: Tensor, axes: int) -> Tensor:
    """The sum over so many last axes."""
    return value.sum(tuple(range(-axes, 0))) if axes else value
