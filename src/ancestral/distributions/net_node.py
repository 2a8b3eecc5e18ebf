r"""A node of a net: a family with the parameters that a builder has computed, and its value.

The parameters have the axes that the builder gave them: :math:`(\dots, \mathrm{batch},
\mathrm{group})`. The last ``group_ndims`` batch axes are one event, over which the log density is
summed; what is left is the shape of the node's term in a log joint. An observation may have fewer
leading axes than the parameters, or more.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import (
    DensityError,
    OptionError,
    SamplingError,
    ShapeError,
)
from ancestral.core.rng import Generator
from ancestral.distributions.base import Distribution
from ancestral.distributions.constraints import check
from ancestral.distributions.density import log_prob
from ancestral.distributions.law import Law
from ancestral.distributions.layout import spanned
from ancestral.distributions.noise import draw_noise
from ancestral.distributions.support import check_eager

if TYPE_CHECKING:
    pass

Shape = tuple[int, ...]


@functools.cache
def blank(family: Any, options: tuple[tuple[str, Any], ...] = ()) -> Law:
    """A law of a family without parameters of its own: it knows the moves and the support."""
    found: Law = family(var=["x"], net=_nothing, **dict(options))
    return found


def _nothing() -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True, eq=False)
class NodeLaw:
    """The law of a node given its parents: a family, and its parameters at these.

    Args:
        name: The node.
        law: What has the moves of the family.
        params: Its parameters.
        group_ndims: How many last batch axes are one event.
        is_reparameterized: Whether a draw keeps its gradient, where the family allows it.
        use_path_derivative: Whether the parameters are cut inside the log density.
        options: What a law of the family is made with; ``None`` if the law was given.
    """

    name: str
    law: Law
    params: Mapping[str, Any]
    group_ndims: int = 0
    is_reparameterized: bool = True
    use_path_derivative: bool = False
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raise if numbers are outside their domains, or shapes do not fit one another."""
        for key, value in self.params.items():
            if not isinstance(value, Tensor):
                check(self.law.domains[key], torch.as_tensor(value), f"node {self.name}: {key}")
        whole = isinstance(self.group_ndims, int) and self.group_ndims >= 0
        if not whole or self.group_ndims > len(self.batch_shape):
            raise ShapeError(
                f"node {self.name}: group_ndims={self.group_ndims!r}, but its parameters have the "
                f"batch shape {self.batch_shape}. Give at most {len(self.batch_shape)}."
            )

    @property
    def span(self) -> Shape:
        """The shape that the parameters span together."""
        moves = self.law.moves
        shapes = {k: tuple(torch.as_tensor(v).shape) for k, v in self.params.items()}
        try:
            spans = (spanned(moves, k, s) for k, s in shapes.items())
            return tuple(torch.broadcast_shapes(*spans))
        except RuntimeError:
            told = ", ".join(f"{k} {s}" for k, s in shapes.items())
            raise ShapeError(
                f"node {self.name}: its parameters do not fit one another: {told}."
            ) from None

    @property
    def batch_shape(self) -> Shape:
        """The shape of a log density before groups are summed."""
        span = self.span
        return span[: len(span) - self.law.moves.param_dims]

    @property
    def value_shape(self) -> Shape:
        """The shape of one draw."""
        shape: Shape = self.law.moves.value_shape(self.span)
        return shape

    @property
    def event_ndims(self) -> int:
        """How many last axes of a value are one event."""
        return self.law.moves.value_dims + self.group_ndims

    @property
    def is_path(self) -> bool:
        """Whether a draw is a differentiable function of the parameters, and is asked to be."""
        return self.is_reparameterized and self.law.moves.reparametrised

    def sample(self, n_samples: int | None = None, generator: Generator = None) -> Tensor:
        """One draw, or ``n_samples`` of them along a new first axis."""
        rows = () if n_samples is None else (n_samples,)
        floating = (v for v in self.params.values() if isinstance(v, Tensor))
        like = next((v for v in floating if v.is_floating_point()), torch.empty(()))
        cut = {k: v.detach() if isinstance(v, Tensor) else v for k, v in self.params.items()}
        noise = draw_noise(self.law, cut, rows, self.span, like.detach(), generator)
        value: Tensor = self.law.moves.draw(noise, **self.params)
        return value if self.is_path else value.detach()

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density, groups summed.

        Raises:
            ShapeError: If neither the value nor the parameters have the shape of both together.
        """
        check_fits(self.name, tuple(x.shape), self.value_shape)
        check_eager(self.name, self.name, self.law, x, dict(self.params))
        params = dict(self.params)
        if self.use_path_derivative:
            params = {k: v.detach() if isinstance(v, Tensor) else v for k, v in params.items()}
        out: Tensor = self.law.moves.log_density(x, **params)
        return out.sum(tuple(range(-self.group_ndims, 0))) if self.group_ndims else out


def check_fits(name: str, value: Shape, wanted: Shape) -> None:
    """Raise where a value and parameters would both be repeated: (N, 1) beside (N,) is (N, N)."""
    try:
        both = tuple(torch.broadcast_shapes(value, wanted))
    except RuntimeError:
        both = ()
    if both not in (value, wanted):
        raise ShapeError(
            f"node {name}: its value has shape {value}, but its parameters are those of values "
            f"of shape {wanted}. Give both one shape, e.g. .squeeze(-1), or leading axes to one "
            "of them alone."
        )


@dataclass(frozen=True, eq=False)
class WholeLaw:
    """The law of a node that is a distribution of the library without parameters to look at."""

    name: str
    law: Distribution
    group_ndims: int = 0
    is_reparameterized: bool = True

    @property
    def event_ndims(self) -> int:
        """How many last axes of a value are one event."""
        return len(self.law.features_shape)

    @property
    def is_path(self) -> bool:
        """Whether a draw keeps its gradient."""
        return self.is_reparameterized and self.law.has_reparam

    def sample(self, n_samples: int | None = None, generator: Generator = None) -> Tensor:
        """One draw, or ``n_samples`` of them along a new first axis."""
        rows = 1 if n_samples is None else n_samples
        drawn = self.law.sample(batch_n=rows, reparam=self.is_path, generator=generator)
        value = drawn[self.law.var[0]]
        return value[0] if n_samples is None else value

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density of events, whatever axes are in front of them."""
        event = self.event_ndims
        lead, shape = x.shape[: x.dim() - event], x.shape[x.dim() - event :]
        out = log_prob(
            self.law,
            {self.law.var[0]: x.reshape(-1, *shape)},
            sum_features=True,
            feature_dims=None,
        )
        return out.reshape(lead)


def node_law(name: str, law: Distribution, group_ndims: int = 0, **options: Any) -> Any:
    """The law of a node that is given as a distribution of one variable.

    Raises:
        OptionError: If it is none, is over several variables, or has conditions.
    """
    if not isinstance(law, Distribution):
        raise OptionError(
            f"node {name}: give a law of ancestral.distributions, got {type(law).__name__}."
        )
    if len(law.var) != 1 or law.cond_var:
        raise OptionError(
            f"node {name}: {law.prob_text} must be the law of one variable without conditions: "
            "in a net its parameters are tensors that the builder computes."
        )
    refuse_nodeless(name, law)
    if isinstance(law, Law) and law.domains and law.pushforward is None and not law.composite:
        return NodeLaw(name, law, law.params(()), group_ndims, **options)
    if group_ndims:
        raise OptionError(
            f"node {name}: {law.prob_text} says itself what its event is, features_shape=; leave "
            "group_ndims out."
        )
    return WholeLaw(name, law, **{k: v for k, v in options.items() if k != "use_path_derivative"})


def refuse_nodeless(name: str, law: Distribution) -> None:
    """Raise if a law has no density, or cannot be drawn from: a node has both."""
    for factor in law.factors:
        if not factor.law.has_density:
            raise DensityError(
                f"node {name}: {factor.text} has no density. A value that is computed is "
                f"bn.deterministic({name!r}, tensor)."
            )
        if factor.law.density_net is not None:
            raise SamplingError(f"node {name}: {factor.text} cannot be drawn from.")
