r"""Mixtures of normal experts, :math:`q(z|x) = \sum_i w_i\, q_i(z|x_i)` (MMVAE).

Each modality has an encoder, and a draw is one of its expert's, chosen at random row by row. The
choice does not depend on anything that is trained, so that draws have the pathwise gradient.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import MissingVariableError, ShapeError
from ancestral.core.names import listing
from ancestral.distributions.base import Distribution
from ancestral.distributions.constraints import Constraint, positive, real
from ancestral.distributions.experts import (
    Held,
    OfExperts,
    as_experts,
    conditions_of,
    event_of,
    stacked,
    together,
    weights_of,
    written,
)
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.joint import Joint
from ancestral.distributions.law import Law, Params
from ancestral.distributions.mixture import NormalMixture
from ancestral.distributions.normal import Normal

# one expert at least must be there
expert_weights = Constraint(
    "numbers or -inf (a missing expert), of which one at least is a number: each row needs one of "
    "the modalities",
    lambda x: ((x < torch.inf).all(-1)) & (x > -torch.inf).any(-1),
    of_real=lambda x: x,
)


class _Chosen(NormalMixture):
    """The moves: what chooses an expert has no gradient, and the draw is that of the expert."""

    reparametrised = True


@functools.cache
def _moves(rank: int) -> type[_Chosen]:
    """The moves for values whose event has so many axes."""
    return type(f"MixtureOfNormal{rank}", (_Chosen,), {"joint": rank})


class MixtureOfNormal(OfExperts):
    r"""A mixture of normal laws of one variable, each with conditions of its own,
    :math:`\log q(z|x) = \log\sum_{i\in S} e^{\log w_i + \log q_i(z|x_i)} - \log\sum_{i\in S} w_i`.

    A draw is that of one expert for all entries of a row. An expert drops out where its modality
    is missing, and the weights of the others are normalised: of a whole batch, if the Distribution
    API is not given its input; row by row, if ``mask`` names a condition that says which are
    present. What stands in a missing row, be it NaN, reaches neither value nor gradient; the
    expert's network sees zeros there.

    Args:
        experts: Normal laws over one variable, each with conditions of its own.
        weight_modalities: Weights :math:`w \ge 0` of the experts, normalised; equal if not given.
            Kept as a buffer.
        name: How it prints.
        features_shape: Event shape of a value, if it has not one axis; that of an expert if not
            given.
        mask: Name of a condition S, shape ``(rows, experts)``, 1 for present and 0 for missing.

    Raises:
        VariableError: If the laws are over different variables.
        ParameterError: If an expert is no normal law, or the weights do not fit.
        ShapeError: If the mask does not have an entry for each expert, or the event has not one
            axis and is not declared.

    Source: Shi et al., Variational mixture-of-experts autoencoders, 2019.

    Example:
        >>> q_x = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> q_y = Normal(var=["z"], cond_var=["y"], loc="y", scale=1.0, name="q")
        >>> q = MixtureOfNormal([q_x, q_y], name="q")
        >>> q.latex()
        'q(z|x,y) = 0.5 q(z|x) + 0.5 q(z|y)'
        >>> zero = torch.zeros(1, 1)
        >>> q.get_log_prob({"x": zero, "y": zero, "z": zero})
        tensor([-0.9189])
    """

    domains = {"weight_logits": expert_weights, "loc": real, "scale": positive}
    value_dims = 1
    param_dims = 2
    reparametrised = True
    noise = NormalMixture.noise
    weight_modalities: Tensor

    def __init__(
        self,
        experts: Distribution | Iterable[Distribution],
        weight_modalities: Sequence[float] | Tensor | None = None,
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        mask: str | None = None,
    ) -> None:
        every = as_experts("MixtureOfNormal", experts)
        if weight_modalities is None:
            weight_modalities = [1.0] * len(every)
        weights = weights_of("MixtureOfNormal", weight_modalities, [len(every)])
        event = event_of(every, features_shape)
        self._rank = 1 if event is None else len(event)  # before the moves are asked for
        super().__init__(every[0].var, conditions_of(every, mask), name, event, None, {})
        self._keep(every, mask)
        self.register_buffer("weight_modalities", weights / weights.sum())

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two experts of two entries, three with weights, and two with conditions and a mask."""
        return [
            {"experts": [_expert(0.3, 0.8), _expert(-1.2, 0.5)]},
            {
                "experts": [_expert(0.3, 0.8), _expert(-1.2, 0.5), _expert(1.5, 0.6)],
                "weight_modalities": [0.2, 0.5, 0.3],
            },
            {
                "experts": [_expert(0.3, "u"), _expert(-1.2, "v"), _expert(0.1, 0.9)],
                "mask": "s",
                "given": {
                    "u": torch.tensor([[0.6, 0.9]]),
                    "v": torch.tensor([[1.1, 0.4]]),
                    "s": torch.tensor([[1.0, 1.0, 1.0]]),
                },
            },
        ]

    @property
    def moves(self) -> type[Law]:
        """Those of a mixture of events of this rank."""
        return _moves(self._rank)

    def forward(self, **conditions: Tensor) -> Params:
        """The parameters of all experts, and their weights in each row."""
        rows, weight = self._present(conditions), self.weight_modalities.log()
        if rows is not None:
            weight = torch.where(rows, weight, -torch.inf)
        loc, scale = stacked(self, conditions, rows, absent=1.0)
        lead = loc.dim() - 1 - self._rank
        if self.declared_shape is None and lead != min(len(self.cond_var), 1):
            raise ShapeError(
                f"{self.prob_text}: its experts have parameters of shape {tuple(loc.shape[1:])}, "
                "of which the event should be one axis. Declare the event shape: "
                f"features_shape={list(loc.shape[2:])}."
            )
        if lead < 0:  # numbers
            event = self.declared_shape or ()
            loc, scale = (
                v.reshape(-1, *(1,) * len(event)).expand(-1, *event) for v in (loc, scale)
            )
        loc, scale = (v.movedim(0, v.dim() - 1 - self._rank) for v in (loc, scale))
        return {"weight_logits": weight.to(loc.dtype), "loc": loc, "scale": scale}

    @property
    def is_plain(self) -> bool:
        """Whether its parameters are nothing but those of its experts, combined."""
        return type(self).forward is MixtureOfNormal.forward and self.declared_shape is not None

    @staticmethod
    def combined(
        locs: Sequence[Any],
        scales: Sequence[Any],
        held: Held,
        weights: Tensor,
        event: int,
    ) -> Params:
        """The parameters of the mixture, from those of the experts: what a program calls.

        Args:
            locs: Means, which broadcast.
            scales: Standard deviations, likewise.
            held: Where each expert is present, or ``None``.
            weights: Weights of the experts, of sum 1.
            event: The number of event axes.
        """
        loc, scale = together(locs, scales, held, absent=1.0)
        weight = weights.log().to(loc.dtype)
        if any(h is not None for h in held):
            shape = loc.shape[1 : loc.dim() - event]
            there = [torch.ones((), dtype=torch.bool) if h is None else h for h in held]
            rows = [h.reshape(h.shape[: h.dim() - event]).expand(shape) for h in there]
            weight = torch.where(torch.stack(rows, -1), weight, -torch.inf)
        loc, scale = (v.movedim(0, v.dim() - 1 - event) for v in (loc, scale))
        return {"weight_logits": weight, "loc": loc, "scale": scale}

    def _of(self, kept: Sequence[int]) -> "MixtureOfNormal":
        if not kept:
            raise MissingVariableError(
                f"{self.prob_text} needs the conditions of at least one expert: "
                f"{listing(self.optional)}."
            )
        return MixtureOfNormal(
            [Joint((self._every[i],)) for i in kept],
            self.weight_modalities[list(kept)],
            self.name,
            self.declared_shape,
            mask=self.mask,
        )

    @property
    def formula(self) -> Formula:
        r""":math:`w_1 q(z|x) + w_2 q(z|y)`."""
        weights: list[Any] = written(self.weight_modalities)
        if self.mask is not None:
            weights = [(self.mask, 1 + i) for i in self._columns]
        atoms = (Atom(f.law.name, f.var, f.cond_var) for f in self._every)
        terms = [Term([atom], w) for atom, w in zip(atoms, weights, strict=True)]
        return Formula(terms, self.mask is not None)


def _expert(loc: float, scale: float | str) -> Normal:
    """An expert of the examples, whose scale may be a condition."""
    steps = torch.linspace(0.0, 1.0, 2, dtype=torch.float64)
    own = scale if isinstance(scale, str) else scale + 0.2 * steps
    return Normal(cond_var=[scale] if isinstance(scale, str) else (), loc=loc + steps, scale=own)
