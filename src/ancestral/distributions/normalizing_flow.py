r"""Flows: the law of :math:`x = f(z)`, :math:`z \sim p_0`, for a bijection f of a base law.

Its density is that of the base at :math:`z = f^{-1}(x)`, by the change of variables

.. math:: \log p(x) = \log p_0(z) - \log\left|\det\frac{\partial f}{\partial z}\right|.

Where x is the flow's own draw, z is known and f is not inverted (Rezende and Mohamed, 2015,
arXiv:1505.05770, equation 13).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.bijections import Affine, Bijection, Chain, Exp, Tanh
from ancestral.core.errors import OptionError
from ancestral.core.rng import Generator
from ancestral.distributions.constraints import Constraint, identity
from ancestral.distributions.law import Law, Params
from ancestral.distributions.noise import noise_move
from ancestral.distributions.normal import Normal


class NormalizingFlow(Law):
    r"""The law of :math:`x = f(z)`, where z follows a base law.

    It stands wherever a law may: as prior, posterior (with a base that has conditions), likelihood,
    in products. Its draws have the gradient that those of the base have, and that of the
    bijection.

    Args:
        base: The law of z: one with a density on numbers, constant, trained, or from a network.
        bijections: The bijection f, or several in the order in which they are applied to z.
        var: Name of x; conditions are those of the base.
        name: How it prints.

    Raises:
        OptionError: If the base is no elementary law of a continuous variable.

    Source:
        Rezende and Mohamed (2015), Variational inference with normalizing flows, arXiv:1505.05770.

    Example:
        >>> p = NormalizingFlow(Normal(loc=0.0, scale=1.0, features_shape=[2]), Exp(), var=["x"])
        >>> p.get_log_prob({"x": torch.ones(1, 2)})  # log-normal
        tensor([-1.8379])
        >>> tuple(p.sample(batch_n=3)["x"].shape)
        (3, 2)
    """

    composite = True
    inner: Law
    bijection: Bijection

    def __init__(
        self,
        base: Law,
        bijections: Bijection | Iterable[Bijection],
        var: str | Iterable[str] | None = None,
        name: str = "p",
    ) -> None:
        _check_base(base)
        super().__init__(var, base.cond_var, name, base.declared_shape, None, {})
        parts: list[Any] = list(bijections) if isinstance(bijections, Iterable) else [bijections]
        if isinstance(base, NormalizingFlow):  # a flow of a flow is one
            base, parts = base.inner, [base.bijection, *parts]
        self.inner = base
        chain = Chain(parts)
        self.bijection = parts[0] if len(parts) == 1 else chain
        self._made: type[_Moves] | None = None

    @property
    def pushforward(self) -> tuple[Law, Bijection]:
        """The base and the bijection."""
        return self.inner, self.bijection

    @property
    def moves(self) -> type[Law]:
        """Those of the base, through the bijection."""
        if self._made is None:
            sign = torch.as_tensor(self.bijection.sign())
            rises = sign.is_meta or bool((sign > 0).all())
            self._made = _moves(self.inner.moves, self.bijection.event_dims, rises=rises)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle has; it makes its moves anew."""
        return {**self.__dict__, "_made": None}

    def params(self, conditions: Sequence[Tensor]) -> Params:
        """Those of the base, and the bijection itself."""
        return {**self.inner.params(conditions), "bijection": self.bijection}

    def support(self, params: Params) -> Constraint | None:
        """The image of the base's."""
        bijection: Bijection = params["bijection"]
        within = self.inner.support({k: v for k, v in params.items() if k != "bijection"})

        def holds(x: Tensor) -> Tensor:
            _, inside, _, z = _pulled(bijection, x)
            inside = inside & torch.isfinite(z)
            return inside if within is None else inside & within.holds(z)

        def of_real(y: Tensor) -> Tensor:
            onto = within.of_real if within is not None and within.of_real else identity
            x: Tensor = bijection(onto(y * bijection.sign()))  # increasing, as other charts are
            return x

        return Constraint(f"in the image of {self.prob_text}", holds, of_real=of_real)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A log-normal law, a squashed one, one with a trained map."""
        loc = torch.tensor([-0.5, 0.3, 1.0], dtype=torch.float64)
        scale = torch.tensor([0.7, 1.0, 0.4], dtype=torch.float64)
        maps: list[Any] = [Exp(), Tanh(), [Affine(loc, -scale), Exp(), Affine(0.0, 3.0)]]
        return [{"base": Normal(loc=loc, scale=scale), "bijections": f} for f in maps]


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
    below, _, above, z = _pulled(bijection, x)
    out = _by_sign(bijection, lambda: cls.base.log_cdf(z, **params),
                   lambda: cls.base.log_sf(z, **params))  # fmt: skip
    return torch.where(below, -torch.inf, torch.where(above, 0.0, out))


def _log_sf(cls: type[_Moves], x: Tensor, *, bijection: Bijection, **params: Any) -> Tensor:
    """The base's at the inverse; of a decreasing map its complement."""
    below, _, above, z = _pulled(bijection, x)
    out = _by_sign(bijection, lambda: cls.base.log_sf(z, **params),
                   lambda: cls.base.log_cdf(z, **params))  # fmt: skip
    return torch.where(below, 0.0, torch.where(above, -torch.inf, out))


def _icdf(cls: type[_Moves], u: Tensor, *, bijection: Bijection, **params: Any) -> Tensor:
    """The base's quantile, mapped."""
    x: Tensor = bijection(cls.base.icdf(u, **params))
    return x


def _pulled(bijection: Bijection, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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


def _moves(base: type[Law], maps: int, *, rises: bool) -> type[_Moves]:
    """The moves of flows from a family by bijections that couple so many last axes.

    A small quantile of a map that falls is one of the base near 1, of which few digits are left:
    it has none.
    """
    value_dims = max(base.value_dims, maps)
    extra = value_dims - base.value_dims
    outer = "ABCDEF"[:extra]  # capitals stand before the letters of cores
    words = {
        "base": base,
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


def _check_base(base: object) -> None:
    if not isinstance(base, Law):
        raise OptionError(
            f"NormalizingFlow takes one elementary law as its base, got {type(base).__name__}. "
            "Of a product, give the flow one factor and multiply by the others."
        )
    listed = hasattr(base.moves, "values")
    if not base.is_random or base.is_data or not base.moves.has_density or listed:
        raise OptionError(
            f"NormalizingFlow: {base.prob_text} is a {base.distribution_name}, which has no "
            "density on real numbers that a bijection could move. Take e.g. a Normal as base."
        )


TransformedDistribution = NormalizingFlow  # as Pixyz calls it
