r"""Products of normal experts, :math:`q(z|x_S) \propto p(z)\prod_{i\in S} q_i(z|x_i)`.

The product of normal densities is normal: precisions add, and means are averaged by them. So one
encoder for each modality gives a posterior for every set of modalities, which a prior expert keeps
proper when all are missing.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.core.errors import ParameterError, VariableError
from ancestral.distributions.base import Distribution, Factor
from ancestral.distributions.eager import params_of
from ancestral.distributions.experts import (
    Held,
    OfExperts,
    as_experts,
    conditions_of,
    event_of,
    presence,
    stacked,
    together,
    weights_of,
    written,
)
from ancestral.distributions.formula import Atom, Formula, Term
from ancestral.distributions.joint import Joint
from ancestral.distributions.law import Params
from ancestral.distributions.layout import has_rows
from ancestral.distributions.normal import Normal


def product_of_normals(loc: Tensor, scale: Tensor, weight: Tensor | float = 1.0) -> Params:
    r"""The normal law with precision :math:`\sum_i w_i\sigma_i^{-2}` and the mean of the means.

    Args:
        loc: Means, shape ``(experts, *rest)``.
        scale: Standard deviations, likewise; ``inf`` for an expert that says nothing.
        weight: Exponents of the densities, which broadcast.
    """
    least = scale.detach().amin(
        0
    )  # precisions relative to the largest neither over- nor underflow
    share = weight * (least / scale) ** 2
    total = share.sum(0)
    return {"loc": (share * loc).sum(0) / total, "scale": least * total.rsqrt()}


def _prior_of(what: str, prior: Distribution | None, experts: Sequence[Factor]) -> Factor:
    """The prior expert: standard normal if none is given."""
    if prior is None:
        return Normal(loc=0.0, scale=1.0, var=experts[0].var, name="p").factors[0]
    factor = as_experts(what, prior)[0]
    if experts and factor.var != experts[0].var:
        var = experts[0].var[0]
        raise VariableError(
            f"{what}: its prior is over {factor.var[0]}, its experts over {var}. Write "
            f"prior={factor.law.name}.replace_var({factor.var[0]}={var!r})."
        )
    return factor


class ProductOfNormal(OfExperts, Normal):
    r"""The product of normal laws of one variable, and of a prior,
    :math:`q(z|x_S) \propto p(z)^{w_0}\prod_{i\in S} q_i(z|x_i)^{w_i}`.

    It is a normal law, with precision :math:`w_0\sigma_0^{-2} + \sum_{i\in S} w_i\sigma_i^{-2}`,
    with a density and all closed forms of one. An expert drops out where its modality is missing:
    of a whole batch, if the Distribution API is not given its input (``q.sample({"x": x})``);
    row by row, if ``mask`` names a condition that says which are present. What stands in a missing
    row, be it NaN, reaches neither value nor gradient; the expert's network sees zeros there.

    Args:
        experts: Normal laws over one variable, each with conditions of its own.
        weight_modalities: Exponents :math:`w \ge 0` of the experts, or of the prior and the
            experts; 1 if not given. Kept as a buffer.
        name: How it prints.
        features_shape: Event shape of a value; that of an expert if not given.
        prior: The prior expert :math:`p(z)`, a normal law; standard normal if not given.
        mask: Name of a condition S, shape ``(rows, experts)``, 1 for present and 0 for missing.

    Raises:
        VariableError: If the laws are over different variables.
        ParameterError: If an expert is no normal law, or the weights do not fit.
        ShapeError: If the mask does not have an entry for each expert.

    Source: Wu, Goodman, Multimodal generative models for scalable weakly-supervised learning, 2018.

    Example:
        >>> q_x = Normal(var=["z"], cond_var=["x"], loc="x", scale=1.0, name="q")
        >>> q_y = Normal(var=["z"], cond_var=["y"], loc="y", scale=0.5, name="q")
        >>> q = ProductOfNormal([q_x, q_y], name="q")
        >>> q.latex()
        'q(z|x,y) \\propto p(z)q(z|x)q(z|y)'
        >>> q.sample_mean({"x": torch.tensor([[3.0]]), "y": torch.tensor([[0.0]])})
        tensor([[0.5000]])
        >>> q.sample_mean({"x": torch.tensor([[3.0]])})
        tensor([[1.5000]])
    """

    weight_modalities: Tensor | None

    def __init__(
        self,
        experts: Distribution | Iterable[Distribution],
        weight_modalities: Sequence[float] | Tensor | None = None,
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        prior: Distribution | None = None,
        mask: str | None = None,
    ) -> None:
        alone = prior is not None and not isinstance(experts, Distribution) and not list(experts)
        parts = () if alone else as_experts("ProductOfNormal", experts)
        every = (_prior_of("ProductOfNormal", prior, parts), *parts)
        Normal.__init__(
            self, every[0].var, conditions_of(every, mask), name, event_of(every, features_shape)
        )
        self._keep(parts, mask, every[:1])
        weights = None
        if weight_modalities is not None:
            sizes = (len(parts), len(parts) + 1)
            weights = weights_of("ProductOfNormal", weight_modalities, sizes)
            if len(weights) == len(parts):
                weights = torch.cat([weights.new_ones(1), weights])
        self.register_buffer("weight_modalities", weights)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two experts of three entries with the standard prior, and one with weights."""
        one, two, prior = _expert(0.3, 0.8), _expert(-1.2, 0.5), _expert(0.1, 2.0)
        return [
            {"experts": [one, two]},
            {"experts": [one], "prior": prior, "weight_modalities": [0.7]},
            {
                "experts": [_seeing("u", 2), _seeing("v", 3)],
                "mask": "s",
                "given": {
                    "u": torch.tensor([[0.7, -0.4]]),
                    "v": torch.tensor([[-0.2, 0.5, 1.1]]),
                    "s": torch.tensor([[1.0, 1.0]]),
                },
            },
        ]

    def forward(self, **conditions: Tensor) -> Params:
        """The parameters of the product, from those of the experts."""
        loc, scale = stacked(self, conditions, self._present(conditions))
        weight: Any = self.weight_modalities
        if weight is not None:
            weight = weight.to(loc.dtype).reshape(-1, *(1,) * (loc.dim() - 1))
        return product_of_normals(loc, scale, 1.0 if weight is None else weight)

    @property
    def is_plain(self) -> bool:
        """Whether its parameters are nothing but those of its experts, combined."""
        return type(self).forward is ProductOfNormal.forward

    @staticmethod
    def combined(
        locs: Sequence[Any],
        scales: Sequence[Any],
        held: Held,
        weights: Tensor | None,
        event: int,
    ) -> Params:
        """The parameters of the product, from those of the experts: what a program calls.

        Args:
            locs: Means, which broadcast.
            scales: Standard deviations, likewise.
            held: Where each expert is present, or ``None``.
            weights: Exponents of the experts, or ``None``.
            event: The number of event axes.
        """
        loc, scale = together(locs, scales, held)
        if weights is None:
            return product_of_normals(loc, scale)
        weight = weights.to(loc.dtype).reshape(-1, *(1,) * (loc.dim() - 1))
        return product_of_normals(loc, scale, weight)

    def _of(self, kept: Sequence[int]) -> "ProductOfNormal":
        weights = self.weight_modalities
        return ProductOfNormal(
            [Joint((self._every[i],)) for i in kept],
            None if weights is None else weights[[0, *(1 + i for i in kept)]],
            self.name,
            self.declared_shape,
            prior=Joint(self._always),
            mask=self.mask,
        )

    @property
    def formula(self) -> Formula:
        r""":math:`p(z)q(z|x)q(z|y)`, with exponents."""
        weights, every = self.weight_modalities, (*self._always, *self._every)
        powers: list[Any] = [None] * len(every) if weights is None else written(weights)
        if self.mask is not None and weights is None:
            powers[1:] = [(self.mask, 1 + i) for i in self._columns]
        return Formula([Term([_atom(f, w) for f, w in zip(every, powers, strict=True)])], True)


class ElementWiseProductOfNormal(Normal):
    r"""The product of one normal law, taken at each entry of its condition alone,
    :math:`q(z|x) \propto p(z)\prod_j q(z|x_j)`.

    The law's network sees vectors that have one entry of x and zeros elsewhere. As in Pixyz an
    entry that is 0 is missing, as attributes that are not specified are; with ``mask`` a condition
    says which entries are present, and 0 is a value.

    Args:
        p: A normal law with one condition, of shape ``(rows, entries)``.
        name: How it prints.
        features_shape: Event shape of a value; that of the law if not given.
        prior: The prior expert, a normal law without conditions; standard normal if not given.
        mask: Name of a condition S, shape ``(rows, entries)``, 1 for present and 0 for missing.

    Raises:
        ParameterError: If the law is no normal law of one condition.
        VariableError: If the prior is over another variable.

    Source: Vedantam et al., Generative models of visually grounded imagination, 2018.

    Example:
        >>> q = Normal(var=["z"], cond_var=["x"], net=lambda x: {"loc": x, "scale": 1.0 + 0 * x})
        >>> ElementWiseProductOfNormal(q).sample_mean({"x": torch.tensor([[3.0, 0.0]])})
        tensor([[1.5000, 0.0000]])
    """

    composite = True

    def __init__(
        self,
        p: Distribution,
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        prior: Distribution | None = None,
        mask: str | None = None,
    ) -> None:
        parts = as_experts("ElementWiseProductOfNormal", p)
        first = _prior_of("ElementWiseProductOfNormal", prior, parts)
        if len(parts) != 1 or len(parts[0].cond_var) != 1 or first.cond_var:
            raise ParameterError(
                "ElementWiseProductOfNormal takes one normal law with one condition, whose "
                f"entries are the experts, and a prior without any; got "
                f"{', '.join(f.text for f in (*parts, first))}."
            )
        every = (first, *parts)
        super().__init__(
            parts[0].var, conditions_of(every, mask), name, event_of(every, features_shape)
        )
        self.mask = mask
        self._every = every
        self.experts = torch.nn.ModuleList(f.law for f in every)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A network of two attributes, of which one is missing; all of them by a mask."""
        x, mask = torch.tensor([[0.7, 0.0]]), torch.tensor([[1.0, 1.0]])
        expert = _seeing("u", 2)
        return [
            {"p": expert, "prior": _expert(0.1, 2.0), "given": {"u": x}},
            {"p": expert, "mask": "s", "given": {"u": x, "s": mask}},
        ]

    def forward(self, **conditions: Tensor) -> Params:
        """The parameters of the product over entries, in one pass of the network."""
        first, expert = self._every
        x = conditions[expert.cond_var[0]]  # (*rows, entries)
        held = x != 0
        if self.mask is not None:
            held = presence(self.prob_text, self.mask, conditions[self.mask], x.shape[-1])
        shown = torch.where(held, x, torch.zeros_like(x))
        each = torch.diag_embed(shown).reshape(-1, x.shape[-1])  # (rows * entries, entries)
        params = params_of(expert, [each])
        loc, scale = (_by_entry(expert, params, k, tuple(x.shape)) for k in ("loc", "scale"))
        event = max(loc.dim(), scale.dim()) - x.dim()
        rows = held.movedim(-1, 0).reshape(x.shape[-1], *x.shape[:-1], *(1,) * event)
        loc, scale = torch.where(rows, loc, 0.0), torch.where(rows, scale, torch.inf)
        loc, scale = torch.broadcast_tensors(loc, scale)
        prior = params_of(first, [])
        one = (
            torch.as_tensor(prior[k], dtype=loc.dtype, device=loc.device).expand(loc.shape[1:])
            for k in ("loc", "scale")
        )
        first_loc, first_scale = one
        return product_of_normals(
            torch.cat([first_loc[None], loc]), torch.cat([first_scale[None], scale])
        )

    @property
    def masked(self) -> tuple[str, ...]:
        """The condition, if there is a mask."""
        return tuple(self._every[1].cond_var) if self.mask else ()

    @property
    def formula(self) -> Formula:
        r""":math:`p(z)\prod_j q(z|x_j)`."""
        first, expert = self._every
        factor = Atom(expert.law.name, expert.var, expert.cond_var, each=expert.cond_var[0])
        return Formula([Term([_atom(first, None), factor])], True)


def _by_entry(expert: Factor, params: Params, key: str, shape: tuple[int, ...]) -> Tensor:
    """A parameter of the expert at each entry, shape ``(entries, *rows, *event)``."""
    value = params[key]
    if not isinstance(value, Tensor) or not has_rows(expert.law, key):
        return torch.as_tensor(value)
    if value.dim() == 0 or value.shape[0] != math.prod(shape):
        return value  # follows the event alone
    return value.unflatten(0, shape).movedim(len(shape) - 1, 0)


def _atom(f: Factor, power: Any) -> Atom:
    return Atom(f.law.name, f.var, f.cond_var, power=None if power == 1.0 else power)


def _expert(loc: float, scale: float) -> Normal:
    """An expert of the examples."""
    steps = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
    return Normal(loc=loc + steps, scale=scale + 0.2 * steps)


def _seeing(name: str, inputs: int) -> Normal:
    """An expert of the examples that sees a condition through a network, always the same."""
    net = torch.nn.Linear(inputs, 6)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.linspace(-0.8, 1.0, weight.numel()).reshape(weight.shape).sin())
    return Normal(cond_var=[name], features_shape=[3], net=net)
