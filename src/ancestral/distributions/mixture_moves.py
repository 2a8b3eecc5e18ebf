"""The moves of mixtures, from those of the components: of one family, or of given laws."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.bijections import Bijection
from ancestral.core.rng import Generator, blank, log_exponential
from ancestral.distributions.categorical import log_probabilities
from ancestral.distributions.constraints import Constraint, log_weight, real, simplex
from ancestral.distributions.law import Law
from ancestral.distributions.layout import spanned
from ancestral.distributions.noise import noise_by
from ancestral.distributions.pushforward import At

CONTEXT = "context"  # of the bijection of a component that is a flow
WEIGHTS = {"weight_logits": log_weight, "weights": simplex}
Moves = type[Law]


def log_weights(params: Mapping[str, Any]) -> Tensor:
    r""":math:`\log\pi_k`, shape ``(*event, K)``."""
    return log_probabilities(params.get("weights"), params.get("weight_logits"))


def log_score(params: Mapping[str, Any]) -> Tensor:
    """The logarithms of weights that need not sum to one; -inf is never chosen."""
    logits = params.get("weight_logits")
    return params["weights"].log() if logits is None else logits


class MixtureMoves(Law):
    """The moves that all mixtures have.

    A class of mixtures declares, as class methods, ``each(which, params, *x)``, what a move of the
    components gives, with an axis for them in front of those of a value; ``log_joint(x, **params)``
    and ``drawn(chosen, shape, like, generator, params)``, values of the components that were
    chosen.
    """

    has_density: ClassVar[bool] = False  # of the base itself
    noise: ClassVar[Any] = (
        "a value of the mixture"  # or by part, where the family has a fixed kind
    )
    each: ClassVar[Callable[..., Any]]
    log_joint: ClassVar[Callable[..., Tensor]]
    drawn: ClassVar[Callable[..., Tensor]]

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Those of every law; none of the base."""
        return [] if cls is MixtureMoves else super().examples()

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> Any:
        """A draw is its own noise."""
        return cls.value_shape(event)

    @classmethod
    def noise_of(
        cls, shape: Sequence[int], like: Tensor, generator: Generator = None, **params: Any
    ) -> Tensor:
        """A draw: of the component that is chosen."""
        rows = (*shape[: len(shape) - cls.value_dims], log_score(params).shape[-1])
        chosen = cls.chosen(log_exponential(blank(rows, like), generator), params)
        return cls.drawn(chosen, tuple(shape), like, generator, params)

    @classmethod
    def chosen(cls, noise: Tensor, params: Mapping[str, Any]) -> Tensor:
        """The index of a component for each row, from Gumbel noise ``(*rows, K)``, negated."""
        return (log_score(params) - noise).argmax(-1)

    @classmethod
    def draw(cls, noise: Tensor, **params: Any) -> Tensor:
        """The value that was drawn given the parameters."""
        return noise

    @classmethod
    def log_density(cls, x: Tensor, **params: Any) -> Tensor:
        """The log density, components summed out."""
        return cls.log_joint(x, **params).logsumexp(-1)


def _averaged(cls: type[MixtureMoves], params: Mapping[str, Any], each: Any) -> Tensor:
    """The mean over components of what each has, ``(*event, K, *core)``."""
    pi = log_weights(params).exp()[(..., *(None,) * cls.value_dims)]
    return (pi * each).sum(-1 - cls.value_dims)


def _mean_of(cls: type[MixtureMoves], **params: Any) -> Tensor:
    r""":math:`\sum_k\pi_k m_k`."""
    return _averaged(cls, params, cls.each("mean_of", params))


def _variance_of(cls: type[MixtureMoves], **params: Any) -> Tensor:
    r""":math:`\sum_k\pi_k (v_k + (m_k - m)^2)`, entry by entry."""
    away = cls.each("mean_of", params) - _mean_of(cls, **params).unsqueeze(-1 - cls.value_dims)
    return _averaged(cls, params, cls.each("variance_of", params) + away**2)


def _log_cdf(cls: type[MixtureMoves], x: Tensor, **params: Any) -> Tensor:
    r""":math:`\log\sum_k\pi_k F_k(x)`."""
    return (log_weights(params) + cls.each("log_cdf", params, x)).logsumexp(-1)


def _log_sf(cls: type[MixtureMoves], x: Tensor, **params: Any) -> Tensor:
    r""":math:`\log\sum_k\pi_k (1 - F_k(x))`."""
    return (log_weights(params) + cls.each("log_sf", params, x)).logsumexp(-1)


def take_moves(cls: type[MixtureMoves], parts: Sequence[Moves]) -> None:
    """What all components have, the mixture has, unless its class says it itself."""
    moves: dict[str, Callable[..., Any]] = {"mean_of": _mean_of}
    moves |= {"variance_of": _variance_of} if all(hasattr(p, "mean_of") for p in parts) else {}
    moves |= {} if cls.value_dims else {"log_cdf": _log_cdf, "log_sf": _log_sf}
    for which, move in moves.items():
        if all(hasattr(part, which) for part in parts) and not hasattr(cls, which):
            setattr(cls, which, classmethod(move))


class PartMoves(MixtureMoves):
    """The moves of a mixture of given laws: theirs, on the parameters that end in their number.

    Class attributes:
        parts: The moves of the components.
        bijections: Of each component that is a flow its bijection, by number.
    """

    has_density = True
    parts: ClassVar[tuple[Moves, ...]] = ()
    bijections: ClassVar[Mapping[int, Bijection]] = {}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """None: it is no law by itself."""
        return []

    @classmethod
    def own(cls, k: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of one component."""
        keys, f = cls.parts[k].domains, cls.bijections.get(k)
        own = {key: params[f"{key}_{k}"] for key in keys if f"{key}_{k}" in params}
        if f is not None:
            at = params.get(f"{CONTEXT}_{k}")
            own["bijection"] = f if at is None else At(f, at, cls.value_dims)
        return own

    @classmethod
    def each(cls, which: str, params: Mapping[str, Any], *x: Tensor) -> Tensor:
        """What a move of each component gives, ``(*event, K, *core)``."""
        like = log_weights(params)
        found = [getattr(p, which)(*x, **cls.own(k, params)) for k, p in enumerate(cls.parts)]
        found = [v if isinstance(v, Tensor) else like.new_tensor(v) for v in found]
        core = like.new_zeros((1,) * cls.value_dims)
        return torch.stack(torch.broadcast_tensors(*found, core)[:-1], -1 - cls.value_dims)

    @classmethod
    def drawn(
        cls,
        chosen: Tensor,
        shape: tuple[int, ...],
        like: Tensor,
        generator: Generator,
        params: Mapping[str, Any],
    ) -> Tensor:
        """Draws of all components for all rows, of which one is kept."""
        every = [
            _draw(part, shape, like, generator, cls.own(k, params))
            for k, part in enumerate(cls.parts)
        ]
        index = chosen.reshape(1, *chosen.shape, *(1,) * cls.value_dims).expand(1, *shape)
        return torch.stack(every).gather(0, index).squeeze(0)

    @classmethod
    def log_joint(cls, x: Tensor, **params: Any) -> Tensor:
        r""":math:`\log p(z=k) + \log p_k(x)`, shape ``(*rows, K)``."""
        each = []
        for k, part in enumerate(cls.parts):
            log_p = part.log_density(x, **cls.own(k, params))
            inner = cls.value_dims - part.value_dims
            each.append(log_p.sum(tuple(range(-inner, 0))) if inner else log_p)
        return log_weights(params) + torch.stack(torch.broadcast_tensors(*each), -1)


def _draw(
    part: Moves, shape: tuple[int, ...], like: Tensor, generator: Generator, own: dict[str, Any]
) -> Tensor:
    """Draws of one component for all rows."""
    tails = [
        spanned(part, k, tuple(v.shape))[-part.param_dims :]
        for k, v in own.items()
        if isinstance(v, Tensor) and part.param_dims
    ]
    lead = shape[: len(shape) - part.value_dims]
    wide = shape[len(lead) :] if part.param_dims == part.value_dims else ()  # numbers have no axes
    event = (*lead, *torch.broadcast_shapes(*tails, wide))
    return part.draw(noise_by(part, own, (), event, like, generator), **own).expand(shape)


def _letters(part: Moves, key: str, event: str, spare: str) -> str:
    """The axes of a component's parameter: the last letters of the event, and its own."""
    mine = event[len(event) - part.value_dims :] + spare
    if not part.cores:
        own = mine[: part.param_dims]
    else:
        known = sorted(set("".join(part.cores.values())))
        own = "".join(mine[known.index(letter)] for letter in part.cores.get(key, ""))
    return event[: len(event) - part.value_dims] + own


@functools.cache
def mixture_moves(parts: tuple[Moves, ...], rank: int) -> type[PartMoves]:
    """The moves of a mixture of these components, of events with so many axes."""
    return _made(parts, rank, {})


def moves_with_flows(
    parts: tuple[Moves, ...], rank: int, bijections: Mapping[int, Bijection]
) -> type[PartMoves]:
    """The moves of a mixture with flows among its components; they hold the bijections."""
    return _made(parts, rank, bijections)


def _made(
    parts: tuple[Moves, ...], rank: int, bijections: Mapping[int, Bijection]
) -> type[PartMoves]:
    event, spares, at = "abcdefgh"[:rank], "ijklmnopqrstuvwxy", 0
    cores = {key: "z" for key in WEIGHTS}
    domains: dict[str, Constraint] = dict(WEIGHTS)
    for k, part in enumerate(parts):
        extra = max(part.param_dims - part.value_dims, 0)
        spare = "".join(spares[(at + i) % len(spares)] for i in range(extra))
        at += extra
        for key in part.domains:
            cores[f"{key}_{k}"] = _letters(part, key, event, spare)
            domains[f"{key}_{k}"] = part.domains[key]
        if k in bijections and bijections[k].takes_context:
            cores[f"{CONTEXT}_{k}"] = spares[at % len(spares)]
            domains[f"{CONTEXT}_{k}"] = real
            at += 1
    found: dict[str, Any] = {
        "parts": parts,
        "bijections": bijections,
        "cores": cores,
        "domains": domains,
        "value_dims": rank,
        "param_dims": len(set("".join(cores.values()))),
    }
    made: type[PartMoves] = type("PartMoves", (PartMoves,), found)
    take_moves(made, parts)
    return made
