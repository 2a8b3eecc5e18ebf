"""The moves of a mixture of given laws: those of its components, each on parameters of its own."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ancestral.core.rng import NOISE, Generator, gumbel
from ancestral.distributions.categorical import log_probabilities
from ancestral.distributions.constraints import Constraint
from ancestral.distributions.law import Law
from ancestral.distributions.layout import spanned
from ancestral.distributions.mixture import WEIGHTS
from ancestral.distributions.noise import noise_move

Moves = type[Law]


class PartMoves(Law):
    """The moves of a mixture: those of its components, on the parameters that end in their number.

    Class attributes:
        parts: The moves of the components.
    """

    parts: ClassVar[tuple[Moves, ...]] = ()
    noise = "a value of the mixture"

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """None: it is no law by itself."""
        return []

    @classmethod
    def own(cls, k: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of one component."""
        keys = _keys(cls.parts[k])
        return {key: params[f"{key}_{k}"] for key in keys if f"{key}_{k}" in params}

    @classmethod
    def noise_shape(cls, event: tuple[int, ...]) -> tuple[int, ...]:
        """A draw is its own noise."""
        return cls.value_shape(event)

    @classmethod
    def noise_of(
        cls, shape: Sequence[int], like: Tensor, generator: Generator = None, **params: Any
    ) -> Tensor:
        """A draw: of the component that is chosen for a whole event."""
        score = _log_weights(params)
        rows = tuple(shape)[: len(shape) - cls.value_dims]
        score = score.expand(*rows, score.shape[-1])
        chosen = (score + gumbel(score.shape, score, generator)).argmax(-1)
        every = torch.stack(
            [
                _draw(part, tuple(shape), like, generator, cls.own(k, params))
                for k, part in enumerate(cls.parts)
            ]
        )
        index = chosen.reshape(1, *rows, *(1,) * cls.value_dims).expand(1, *shape)
        return every.gather(0, index).squeeze(0)

    @classmethod
    def draw(cls, noise: Tensor, **params: Any) -> Tensor:
        """The value that was drawn given the parameters."""
        return noise

    @classmethod
    def log_density(cls, x: Tensor, **params: Any) -> Tensor:
        """The log density, components summed out."""
        return cls.log_joint(x, **params).logsumexp(-1)

    @classmethod
    def log_joint(cls, x: Tensor, **params: Any) -> Tensor:
        r""":math:`\log p(z=k) + \log p_k(x)`, shape ``(*rows, K)``."""
        each = []
        for k, part in enumerate(cls.parts):
            log_p = part.log_density(x, **cls.own(k, params))
            inner = cls.value_dims - part.value_dims
            each.append(log_p.sum(tuple(range(-inner, 0))) if inner else log_p)
        return _log_weights(params) + torch.stack(torch.broadcast_tensors(*each), -1)


def _log_weights(params: Mapping[str, Any]) -> Tensor:
    return log_probabilities(params.get("weights"), params.get("weight_logits"))


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
    noise_shape = part.noise_shape((*lead, *torch.broadcast_shapes(*tails)))
    make = noise_move(part)
    if make is None:
        noise = NOISE[part.noise or ""](noise_shape, like, generator)
    else:
        noise = make(noise_shape, like, generator, **own)
    return part.draw(noise, **own).expand(shape)


def _mean_of(cls: type[PartMoves], **params: Any) -> Tensor:
    r""":math:`\sum_k\pi_k m_k`."""
    return _averaged(
        cls, params, [p.mean_of(**cls.own(k, params)) for k, p in enumerate(cls.parts)]
    )


def _variance_of(cls: type[PartMoves], **params: Any) -> Tensor:
    r""":math:`\sum_k\pi_k (v_k + (m_k - m)^2)`, entry by entry."""
    mean, each = _mean_of(cls, **params), []
    for k, part in enumerate(cls.parts):
        own = cls.own(k, params)
        each.append(part.variance_of(**own) + (part.mean_of(**own) - mean) ** 2)
    return _averaged(cls, params, each)


def _averaged(cls: type[PartMoves], params: Mapping[str, Any], each: Sequence[Any]) -> Tensor:
    """The mean over components of what each has for all entries of an event."""
    pi = _log_weights(params).exp()
    pi = pi[(..., *(None,) * cls.value_dims, slice(None))]
    return sum((pi[..., k] * value for k, value in enumerate(each)), torch.zeros_like(pi[..., 0]))


def _log_cdf(cls: type[PartMoves], x: Tensor, **params: Any) -> Tensor:
    r""":math:`\log\sum_k\pi_k F_k(x)`."""
    each = [p.log_cdf(x, **cls.own(k, params)) for k, p in enumerate(cls.parts)]
    return (_log_weights(params) + torch.stack(each, -1)).logsumexp(-1)


def _log_sf(cls: type[PartMoves], x: Tensor, **params: Any) -> Tensor:
    r""":math:`\log\sum_k\pi_k (1 - F_k(x))`."""
    each = [p.log_sf(x, **cls.own(k, params)) for k, p in enumerate(cls.parts)]
    return (_log_weights(params) + torch.stack(each, -1)).logsumexp(-1)


def _keys(moves: Moves) -> list[str]:
    return list(moves.domains)


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
    event, spares, at = "abcdefgh"[:rank], "ijklmnopqrstuvwxy", 0
    cores = {key: "z" for key in WEIGHTS}
    domains: dict[str, Constraint] = dict(WEIGHTS)
    for k, part in enumerate(parts):
        extra = max(part.param_dims - part.value_dims, 0)
        spare = "".join(spares[(at + i) % len(spares)] for i in range(extra))
        at += extra
        for key in _keys(part):
            cores[f"{key}_{k}"] = _letters(part, key, event, spare)
            domains[f"{key}_{k}"] = part.domains[key]
    found: dict[str, Any] = {
        "parts": parts,
        "cores": cores,
        "domains": domains,
        "value_dims": rank,
        "param_dims": len(set("".join(cores.values()))),
    }
    moves: list[tuple[str, Callable[..., Any]]] = [("mean_of", _mean_of)]
    moves += [("variance_of", _variance_of)] if all(hasattr(p, "mean_of") for p in parts) else []
    moves += [] if rank else [("log_cdf", _log_cdf), ("log_sf", _log_sf)]
    for which, move in moves:  # what all components have, the mixture has
        if all(hasattr(part, which) for part in parts):
            found[which] = classmethod(move)
    return type("MixtureMoves", (PartMoves,), found)
