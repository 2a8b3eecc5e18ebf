"""Log densities, moments and entropies at given values, factor by factor, without lowering."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ancestral.core.errors import DensityError, SamplingError, ShapeError
from ancestral.core.names import listing
from ancestral.distributions.eager import (
    as_inputs,
    as_tensor_like,
    given_part,
    only_factor,
    params_of,
    refuse_copies,
    refuse_density,
)
from ancestral.distributions.layout import Layout, layout, spanned, together
from ancestral.distributions.net_of_weights import lead_of, places_of_weights
from ancestral.distributions.pushforward import joined
from ancestral.distributions.support import check_eager

if TYPE_CHECKING:
    from ancestral.distributions.base import Distribution, Factor
    from ancestral.distributions.law import Law, Params

FeatureDims = Sequence[int] | None


# -- densities ------------------------------------------------------------------------------------
def log_prob(
    dist: "Distribution", given: object, *, sum_features: bool, feature_dims: FeatureDims
) -> Tensor:
    """The log density; see :meth:`Distribution.get_log_prob`."""
    dist = given_part(dist, given)
    refuse_density(dist)
    refuse_copies(dist)
    states = {v for f in dist.factors for v in f.states}
    needed = [v for v in dist.var if v not in states]
    values = as_inputs(dist, given, needed + dist.cond_var)
    ranks = _ranks(dist)
    terms = []
    for factor in dist.factors:
        seen = _with_rows_of_globals(dist, factor, values)
        if factor.law.density_net is not None:
            terms.append(_by_function(factor, seen))
            continue
        if factor.law.by_steps is not None:
            terms.append(factor.law.by_steps.log_prob(factor, seen))
            continue
        out, axes = _at_value(factor, "log_density", seen, ranks)
        out = _reduce(out, axes, sum_features=sum_features, feature_dims=feature_dims)
        if factor.law.plate is None and any(f.law.plate is not None for f in dist.factors):
            out = out.unsqueeze(-1)  # one number for all rows
        terms.append(out)
    return _total(dist, terms)


def _with_rows_of_globals(
    dist: "Distribution", factor: "Factor", values: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Values with those of the law's globals at all rows of a factor; weights stay as they are."""
    if factor.law.plate is None:
        return values
    every = [f for f in dist.factors if f.law.plate is None]
    shapes: dict[str, Sequence[int] | None] = dict.fromkeys(c for f in every for c in f.cond_var)
    shapes |= {f.var[0]: f.law.declared_shape for f in every}
    weights, rows = places_of_weights(factor.law), {}
    for i, c in enumerate(factor.cond_var):
        if c in shapes and i not in weights:
            shape, value = shapes[c], values[c]
            axis = 0 if shape is None else value.dim() - len(shape)  # behind those of sample_shape
            size = values[factor.var[0]].shape[axis]
            wide = value.unsqueeze(axis)
            rows[c] = wide.expand(*wide.shape[:axis], size, *wide.shape[axis + 1 :])
    return {**values, **rows} if rows else values


def one_log_prob(
    factor: "Factor", values: Mapping[str, Tensor], counts: Tensor | None = None
) -> Tensor:
    """The log density of one elementary law, summed over its event; only rows that count are
    checked.
    """
    if factor.law.density_net is not None:
        return _by_function(factor, values)
    out, axes = _at_value(factor, "log_density", values, {}, counts)
    return _reduce(out, axes, sum_features=True, feature_dims=None)


def _by_function(factor: "Factor", values: Mapping[str, Tensor]) -> Tensor:
    """The log density of a law that is given by it, with all rows in one batch axis."""
    net, x = factor.law.density_net, values[factor.var[0]]
    assert net is not None
    shape = factor.law.declared_shape
    rows = x.shape[: 1 if shape is None else x.dim() - len(shape)]
    given = (values[c] for c in (*factor.var[1:], *factor.cond_var))
    wide = [v.expand(*rows, *v.shape[1:]).reshape(-1, *v.shape[1:]) for v in given]
    return net(x.reshape(-1, *x.shape[len(rows) :]), *wide).reshape(rows)


def log_distribution(
    dist: "Distribution",
    given: object,
    which: str,
    *,
    sum_features: bool,
    feature_dims: FeatureDims,
) -> Tensor:
    """A logarithm of a distribution function; see :meth:`Distribution.get_log_cdf`."""
    dist = given_part(dist, given)
    factor = only_factor(dist, f"get_{which}")
    refuse_copies(dist)
    distribution_move(factor.law, which)
    values = as_inputs(dist, given, dist.var + dist.cond_var)
    out, axes = _at_value(factor, which, values, _ranks(dist))
    return _reduce(out, axes, sum_features=sum_features, feature_dims=feature_dims)


def quantile(dist: "Distribution", u: Tensor, given: object) -> Tensor:
    """The inverse of the distribution function; see :meth:`Distribution.get_icdf`."""
    dist = given_part(dist, given)
    factor = only_factor(dist, "get_icdf")
    refuse_copies(dist)
    distribution_move(factor.law, "icdf")
    name, *others = factor.var
    if others:
        raise DensityError(
            f"{factor.text} is over several variables, which have no quantile together."
        )
    values = as_inputs(dist, given, dist.cond_var)
    return _at_value(factor, "icdf", {**values, name: u}, _ranks(dist))[0]


def distribution_move(law: "Law", which: str) -> Callable[..., Tensor]:
    """The static move ``log_cdf``, ``log_sf`` or ``icdf`` of a law.

    Raises:
        DensityError: If the law has none.
    """
    move: Callable[..., Tensor] | None = getattr(law.moves, which, None)
    if move is None:
        raise DensityError(
            f"{law.prob_text}: a {law.distribution_name} has no {which}: its distribution "
            "function has no form that can be evaluated. Compare draws, or sum or integrate its "
            "density."
        )
    return move


def _ranks(dist: "Distribution") -> dict[str, int]:
    """How many axes the event of a variable has, where it is declared."""
    laws = {f.var[0]: f.law for f in dist.factors}
    shapes = {name: law.declared_shape for name, law in laws.items()}
    return {name: len(shape) for name, shape in shapes.items() if shape is not None}


def _at_value(
    factor: "Factor",
    which: str,
    values: Mapping[str, Tensor],
    ranks: Mapping[str, int],
    counts: Tensor | None = None,
) -> tuple[Tensor, int]:
    """A move at a value, component by component, and how many last axes are event axes."""
    x = joined(factor.law, [values[v] for v in factor.var])
    conditions = [values[c] for c in factor.cond_var]
    params = params_of(factor, conditions)
    rows = _rows(factor, conditions)
    found = layout(factor, params, rows, _lead(factor, params, x, values, ranks))
    if tuple(x.shape[max(x.dim() - len(found.value), 0) :]) != found.value:
        labels = factor.law.moves.value_dims and tuple(x.shape) == (*found.rows, *found.value)[:-1]
        support = factor.law.support(params)
        raise ShapeError(
            f"{factor.text}: {factor.var[0]} has shape {tuple(x.shape)}, but its event shape is "
            f"{found.value}: the last axes must be {found.value}. "
            f"{support.fix if labels and support is not None else ''}".rstrip()
        )
    _check_rows(factor, x, found)
    if which == "log_density":  # a distribution function is 0 or 1 outside of the support
        check_eager(factor.text, factor.var[0], factor.law, x, params, counts)
    move: Callable[..., Tensor] = getattr(factor.law.moves, which)
    return move(x, **params), found.summed


def _lead(
    factor: "Factor",
    params: "Params",
    x: Tensor,
    values: Mapping[str, Tensor],
    ranks: Mapping[str, int],
) -> int | None:
    """How many axes the rows take in the parameters of a law without a declared event shape.

    A condition with a declared event shape tells it. Otherwise it is one, but never so few that
    the value would be left without rows: the batch is not summed.
    """
    for c in factor.cond_var:
        if c in ranks and not places_of_weights(factor.law):
            return max(values[c].dim() - ranks[c], 0)
    if places_of_weights(factor.law):
        return len(lead_of(factor.law, [values[c] for c in factor.cond_var])) + 1
    moves = factor.law.moves
    ranks_of = {
        k: len(spanned(moves, k, tuple(v.shape)))
        for k, v in params.items()
        if isinstance(v, Tensor)
    }
    span = max(ranks_of.values(), default=0)
    extra = moves.param_dims - moves.value_dims
    lead = max(span - extra - x.dim() + 1, min(span, 1))
    widest = next((params[k] for k, rank in ranks_of.items() if rank == span), None)
    for c in factor.cond_var:  # rows are those of the conditions: a network keeps them
        while lead > 1 and widest is not None and values[c].dim():
            if values[c].shape[:lead] == widest.shape[:lead]:
                break
            lead -= 1
    return lead


def _check_rows(factor: "Factor", x: Tensor, found: Layout) -> None:
    """Raise if a value's rows would be spread over the rows of the parameters."""
    rows = tuple(x.shape[: x.dim() - len(found.value)])
    missing = not rows and bool(found.rows) and any(f > 1 for f in found.rows)
    if factor.cond_var and (missing or not together(rows, found.rows)):
        raise ShapeError(
            f"{factor.text}: {factor.var[0]} has shape {tuple(x.shape)}, rows {rows}, but the "
            f"parameters have rows {found.rows} and event shape {found.event}. Give "
            f"{factor.var[0]} the shape {(*found.rows, *found.value)}."
        )


def _reduce(out: Tensor, axes: int, *, sum_features: bool, feature_dims: FeatureDims) -> Tensor:
    if feature_dims is not None:
        return out.sum(dim=tuple(feature_dims)) if feature_dims else out
    if not sum_features or axes == 0:
        return out
    return out.sum(dim=tuple(range(out.dim() - axes, out.dim())))


def _total(dist: "Distribution", terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for factor, term in zip(dist.factors[1:], terms[1:], strict=True):
        if not together(tuple(total.shape), tuple(term.shape)):
            raise ShapeError(
                f"{dist.prob_text}: the term of {factor.text} has shape {tuple(term.shape)}, the "
                f"terms before it have {tuple(total.shape)}. Each must be one number per row: "
                "declare the event shapes, e.g. features_shape=[64], and give the values the "
                "same rows."
            )
        total = total + term
    return total


def _rows(factor: "Factor", conditions: Sequence[Tensor]) -> tuple[int, ...]:
    """The rows of the conditions, one, if there are none; axes of many weights in front."""
    places = places_of_weights(factor.law)
    rows = next(
        ((c.shape[0],) for i, c in enumerate(conditions) if c.dim() and i not in places), (1,)
    )
    return (*lead_of(factor.law, conditions), *rows) if places else rows


# -- moments --------------------------------------------------------------------------------------
def moment_move(law: "Law", which: str) -> Callable[..., Any]:
    """The static move ``mean_of``, ``variance_of`` or ``entropy_of`` of a law.

    Raises:
        SamplingError: If the law has none.
    """
    move: Callable[..., Any] | None = getattr(law.moves, which, None)
    if move is None:
        raise SamplingError(
            f"{law.prob_text}: a {law.distribution_name} has no {which.removesuffix('_of')} in "
            "closed form."
        )
    return move


def moment(dist: "Distribution", given: object, which: str) -> Tensor:
    """Mean or variance; see :meth:`Distribution.sample_mean`."""
    dist = given_part(dist, given)
    factor = only_factor(dist, which.removesuffix("_of"))
    refuse_copies(dist)
    move = moment_move(factor.law, which)
    values = as_inputs(dist, given, dist.cond_var)
    conditions = [values[c] for c in factor.cond_var]
    params = params_of(factor, conditions)
    found = layout(factor, params, _rows(factor, conditions))
    out = as_tensor_like(factor.law, params, move(**params))
    return out.expand(*found.rows, *found.value)


def entropy(
    dist: "Distribution", given: object, *, sum_features: bool, feature_dims: FeatureDims
) -> Tensor:
    """The entropy; see :meth:`Distribution.get_entropy`."""
    dist = given_part(dist, given)
    refuse_density(dist)
    refuse_copies(dist)
    values = as_inputs(dist, given, dist.cond_var)
    terms = []
    for factor in dist.factors:
        drawn = [c for c in factor.cond_var if c not in dist.cond_var]
        if drawn:
            raise DensityError(
                f"H[{dist.prob_text}]: the entropy of {factor.text} depends on {listing(drawn)}, "
                "which is drawn. Write Entropy(law).eval(...) for a Monte Carlo estimate."
            )
        move = moment_move(factor.law, "entropy_of")
        conditions = [values[c] for c in factor.cond_var]
        params = params_of(factor, conditions)
        found = layout(factor, params, _rows(factor, conditions))
        out = move(**params)
        out = as_tensor_like(factor.law, params, out)
        out = out.expand(*found.rows, *found.event[: found.summed])
        terms.append(
            _reduce(out, found.summed, sum_features=sum_features, feature_dims=feature_dims)
        )
    return _total(dist, terms)


def get_params(dist: "Distribution", given: object) -> dict[str, Tensor]:
    """The parameters as tensors; see :meth:`Distribution.get_params`."""
    dist = given_part(dist, given)
    factor = only_factor(dist, "get_params")
    values = as_inputs(dist, given, dist.cond_var)
    params = params_of(factor, [values[c] for c in factor.cond_var])
    return {
        k: v if isinstance(v, Tensor) else as_tensor_like(factor.law, params, v)
        for k, v in params.items()
        if not isinstance(v, nn.Module)  # as the bijection of a flow is
    }
