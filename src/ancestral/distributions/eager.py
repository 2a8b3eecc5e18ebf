"""The Distribution API at work: sampling and densities factor by factor, without lowering.

Values are laid out ``(*sample_shape, batch, *event)``. Within one call ``sample_shape`` is folded
into the batch for networks; a tensor that the user gives with leading axes of its own reaches the
network as it is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from ancestral.core.errors import (
    DataError,
    DensityError,
    MissingVariableError,
    OptionError,
    SamplingError,
    ShapeError,
    did_you_mean,
)
from ancestral.core.names import listing
from ancestral.core.rng import NOISE, Generator

if TYPE_CHECKING:
    from ancestral.distributions.base import Distribution, Factor
    from ancestral.distributions.law import Law, Params

SAMPLE_OPTIONS = (
    "x_dict",
    "batch_n",
    "sample_shape",
    "return_all",
    "reparam",
    "sample_mean",
    "generator",
)


@dataclass(frozen=True)
class SampleOptions:
    """The options of one call of ``sample``."""

    batch_n: int | None = None
    sample_shape: tuple[int, ...] = ()
    reparam: bool = False
    mean: bool = False
    generator: Generator = None


def refuse_options(method: str, unknown: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise for options that do not exist, with the nearest one that does."""
    for key in unknown:
        raise OptionError(f"{method}() has no option {key!r}; {did_you_mean(key, known)}")


def only_factor(dist: "Distribution", method: str) -> "Factor":
    """The factor of a law that has just one; others cannot answer ``method``."""
    factors = dist.factors
    if len(factors) != 1 or dist.hidden:
        raise OptionError(
            f"{method} is asked of one law, but {dist.prob_text} is a product of "
            f"{', '.join(f.text for f in factors)}. Ask one of them."
        )
    return factors[0]


def as_inputs(dist: "Distribution", given: object, needed: Sequence[str]) -> dict[str, Tensor]:
    """The user's inputs as a dict: from a dict, from one tensor, or from a list in order."""
    if given is None:
        values: dict[str, Any] = {}
    elif isinstance(given, Mapping):
        values = dict(given)
    elif isinstance(given, Tensor):
        if len(needed) != 1:
            raise MissingVariableError(
                f"{dist.prob_text} needs {listing(needed)}: give a dict, "
                f"e.g. {{{', '.join(f'{n!r}: {n}' for n in needed)}}}."
            )
        values = {needed[0]: given}
    elif isinstance(given, Sequence):
        if len(given) != len(needed):
            raise MissingVariableError(
                f"{dist.prob_text} needs {len(needed)} values ({listing(needed)}), got {len(given)}."
            )
        values = dict(zip(needed, given, strict=True))
    else:
        raise DataError(f"inputs must be a dict, a tensor or a list, got {type(given).__name__}.")
    for name, value in values.items():
        if name in needed and not isinstance(value, Tensor):
            raise DataError(
                f"{dist.prob_text}: the value of {name!r} must be a tensor, got "
                f"{type(value).__name__}; wrap it in torch.as_tensor(...)."
            )
    missing = [n for n in needed if n not in values]
    if missing:
        hints = {did_you_mean(m, [k for k in values if k not in needed]) for m in missing}
        found = next((h for h in hints if h.startswith("did you mean")), "")
        raise MissingVariableError(
            f"{dist.prob_text} needs a value for {listing(missing)}. "
            f"Given: {listing(list(values))}. {found}".rstrip()
        )
    return values


def parents_first(factors: Sequence["Factor"]) -> list["Factor"]:
    """Factors in an order in which each stands after those that draw its conditions."""
    waiting = list(factors)
    done: list[Factor] = []
    drawn = {v for f in factors for v in f.var}
    have: set[str] = set()
    while waiting:
        ready = next(
            (f for f in waiting if all(c in have or c not in drawn for c in f.cond_var)), None
        )
        if ready is None:
            raise AssertionError("a product law has no cycles")
        waiting.remove(ready)
        done.append(ready)
        have.update(ready.var)
    return done


# -- sampling -------------------------------------------------------------------------------------
def sample(
    dist: "Distribution", given: object, options: SampleOptions, *, return_all: bool
) -> dict[str, Tensor]:
    """Ancestral sampling; see :meth:`Distribution.sample`."""
    inputs = as_inputs(dist, given, dist.input_var)
    values = dict(inputs)
    if options.batch_n is None:
        rows = [values[c].shape[0] for c in dist.input_var if values[c].dim() > 0]
        options = SampleOptions(rows[0] if rows else None, *list(vars(options).values())[1:])
        checked = None
    else:
        checked = options.batch_n
    drawn: set[str] = set()
    for factor in parents_first(dist.factors):
        new = _sample_factor(factor, values, drawn, options, checked)
        values.update(new)
        drawn.update(new)
    keep = set(dist.var) - set(dist.input_var)
    out = {k: v for k, v in values.items() if k in inputs and k not in keep} if return_all else {}
    out.update({v: values[v] for v in dist.var if v in keep or (return_all and v in values)})
    return {k: v for k, v in out.items() if k not in dist.hidden}


def _sample_factor(
    factor: "Factor",
    values: Mapping[str, Tensor],
    drawn: set[str],
    options: SampleOptions,
    checked: int | None,
) -> dict[str, Tensor]:
    law = factor.law
    if law.is_data:
        return {v: values[v] for v in factor.var}
    conditions, folded = _conditions(factor, values, drawn, options.sample_shape)
    if checked is not None:
        _check_rows(factor, values, drawn, checked)
    if not law.domains:  # a deterministic law: its network returns the values themselves
        out = law.params(conditions)
        named = dict(zip(law.var, factor.var, strict=True))
        return {named[k]: _unfold(v, folded) for k, v in out.items()}
    if options.reparam and not law.reparametrised:
        refuse_reparam(factor)
    with torch.set_grad_enabled(torch.is_grad_enabled() and options.reparam):
        params = {
            k: _unfold(v, folded) if _has_rows(law, k) else v
            for k, v in law.params(conditions).items()
        }
        shape = _value_shape(law, params, conditions, folded, options)
        if options.mean:
            mean = moments(law, "mean_of")(**params)
            mean = torch.as_tensor(mean, dtype=law.anchor().dtype, device=law.anchor().device)
            value = mean.expand(shape) if mean.dim() <= len(shape) else mean
        else:
            value = law.moves.draw(draw_noise(law, params, shape, options.generator), **params)
    if factor.copies:
        raise SamplingError(
            f"{factor.text} stands for {factor.copies[1]} copies inside an expectation; to draw "
            f"several values use sample(..., sample_shape=[{factor.copies[1]}])."
        )
    return {factor.var[0]: value}


def refuse_reparam(factor: "Factor") -> NoReturn:
    """Raise: the law's draws are no differentiable function of its parameters."""
    raise SamplingError(
        f"{factor.text} is a {factor.law.distribution_name}, whose draws are not a differentiable "
        "function of its parameters: reparam=True is not possible. In a loss, use "
        ".estimate({law: Enumerate()}) or Score(...)."
    )


def _conditions(
    factor: "Factor", values: Mapping[str, Tensor], drawn: set[str], sample_shape: tuple[int, ...]
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Values of the conditions, and the axes that were folded into their first one."""
    conditions = [values[c] for c in factor.cond_var]
    if not sample_shape or not any(c in drawn for c in factor.cond_var):
        return conditions, ()
    lead = len(sample_shape)
    rows = next(values[c].shape[lead] for c in factor.cond_var if c in drawn)
    out = []
    for c, value in zip(factor.cond_var, conditions, strict=True):
        full = value if c in drawn else value.expand(*sample_shape, *value.shape)
        out.append(full.reshape(-1, *full.shape[lead + 1 :]))
    return out, (*sample_shape, rows)


def _unfold(value: Any, folded: tuple[int, ...]) -> Any:
    if not folded or not isinstance(value, Tensor) or value.dim() == 0:
        return value
    if value.shape[0] != math.prod(folded):
        return value
    return value.reshape(*folded, *value.shape[1:])


def _has_rows(law: "Law", key: str) -> bool:
    """Whether a parameter follows the rows: it comes from the network or from a condition."""
    return key not in law.given or key in law.bound


def _value_shape(
    law: "Law",
    params: "Params",
    conditions: Sequence[Tensor],
    folded: tuple[int, ...],
    options: SampleOptions,
) -> tuple[int, ...]:
    """The shape of the noise of one draw: ``(*sample_shape, batch, *event of the parameters)``."""
    event = torch.broadcast_shapes(
        *[v.shape for k, v in params.items() if isinstance(v, Tensor) and not _has_rows(law, k)],
        law.noise_event(params),
    )
    rows = [v.shape for k, v in params.items() if isinstance(v, Tensor) and _has_rows(law, k)]
    if rows and conditions:
        full = tuple(torch.broadcast_shapes(*rows))
        if law.declared_shape is not None:
            lead = max(len(full) - len(event), 0)
            full = (*full[:lead], *torch.broadcast_shapes(full[lead:], event))
        else:
            full = tuple(torch.broadcast_shapes(full, event))
        return full if folded else (*options.sample_shape, *full)
    if rows:  # a network without conditions: its output is the event
        event = torch.broadcast_shapes(event, *rows)
    return (*options.sample_shape, options.batch_n or 1, *event)


def _check_rows(
    factor: "Factor", values: Mapping[str, Tensor], drawn: set[str], batch_n: int
) -> None:
    for c in factor.cond_var:
        if c not in drawn and values[c].dim() and values[c].shape[0] != batch_n:
            raise ShapeError(
                f"batch_n={batch_n}, but {c}, a condition of {factor.text}, has "
                f"{values[c].shape[0]} rows (shape {tuple(values[c].shape)}). Leave batch_n out, "
                f"or give {c} with {batch_n} rows."
            )


def draw_noise(
    law: "Law", params: "Params", shape: Sequence[int], generator: Generator = None
) -> Tensor:
    """Base noise of the law's kind, with the dtype and device of its parameters."""
    if law.noise is None:
        raise SamplingError(f"{law.prob_text}: a {law.distribution_name} cannot be drawn from.")
    like = next((v for v in params.values() if isinstance(v, Tensor)), None)
    return NOISE[law.noise](shape, law.anchor() if like is None else like, generator)


# -- densities and moments ------------------------------------------------------------------------
def log_prob(
    dist: "Distribution",
    given: object,
    *,
    sum_features: bool,
    feature_dims: Sequence[int] | None,
) -> Tensor:
    """The log density; see :meth:`Distribution.get_log_prob`."""
    refuse_density(dist)
    values = as_inputs(dist, given, dist.var + dist.cond_var)
    total: Tensor | None = None
    for factor in dist.factors:
        law = factor.law
        x = values[factor.var[0]]
        params = law.params([values[c] for c in factor.cond_var])
        out = law.moves.log_density(x, **params)
        if feature_dims is not None:
            out = out.sum(dim=tuple(feature_dims)) if feature_dims else out
        elif sum_features:
            out = _sum_event(factor, out, x, params, values)
        total = out if total is None else total + out
    assert total is not None
    return total


def _sum_event(
    factor: "Factor", out: Tensor, x: Tensor, params: "Params", values: Mapping[str, Tensor]
) -> Tensor:
    """Sum the event axes, never the batch: they are the declared ones, else all but the first."""
    law = factor.law
    if law.declared_shape is not None:
        event = len(law.declared_shape)
        _check_event(factor, x, law.declared_shape)
    else:
        rows = [v for k, v in params.items() if isinstance(v, Tensor) and _has_rows(law, k)]
        given = [values[c] for c in factor.cond_var if values[c].dim()]
        lead = 1 if given or not rows else 0
        dims_of = max((v.dim() for v in rows), default=x.dim())
        event = max(dims_of - lead - law.moves.param_dims + law.moves.value_dims, 0)
    keep = max(x.dim() - event, 0)
    dims = tuple(range(keep, out.dim()))
    return out.sum(dim=dims) if dims else out


def _check_event(factor: "Factor", x: Tensor, shape: torch.Size) -> None:
    if tuple(x.shape[x.dim() - len(shape) :]) != tuple(shape) or x.dim() < len(shape):
        raise ShapeError(
            f"{factor.text}: {factor.var[0]} has shape {tuple(x.shape)}, but its event shape is "
            f"{tuple(shape)}: the last axes must be {tuple(shape)}."
        )


def refuse_density(dist: "Distribution") -> None:
    """Raise if the law has no density that can be evaluated, naming why and what to do."""
    if dist.hidden:
        raise DensityError(
            f"log {dist.prob_text}: {listing(dist.hidden)} is integrated out, and the integral has "
            "no closed form. Use a bound: E(q, joint.log_prob() - q.log_prob()), with "
            f"q a law of {listing(dist.hidden)}."
        )
    for factor in dist.factors:
        if not factor.law.has_density:
            raise DensityError(
                f"{factor.text} is a {factor.law.distribution_name} law: it has no density. "
                "Compare its draws instead (an adversarial or kernel objective), or leave it out "
                "of the product whose log_prob you ask for."
            )


def moments(law: "Law", which: str) -> Any:
    """The static move ``mean_of``, ``variance_of`` or ``entropy_of`` of a law."""
    move = getattr(law.moves, which, None)
    if move is None:
        what = which.removesuffix("_of")
        raise SamplingError(
            f"{law.prob_text}: a {law.distribution_name} has no {what} in closed form."
        )
    return move


def moment(dist: "Distribution", given: object, which: str) -> Tensor:
    """Mean or variance; see :meth:`Distribution.sample_mean`."""
    factor = only_factor(dist, which.replace("_of", ""))
    values = as_inputs(dist, given, dist.cond_var)
    law = factor.law
    conditions = [values[c] for c in factor.cond_var]
    params = law.params(conditions)
    if not law.domains:
        return next(iter(params.values()))
    shape = _value_shape(law, params, conditions, (), SampleOptions())
    out = torch.as_tensor(moments(law, which)(**params))
    return out.to(law.anchor()).expand(shape) if out.dim() < len(shape) else out


def entropy(dist: "Distribution", given: object, *, sum_features: bool) -> Tensor:
    """The entropy; see :meth:`Distribution.get_entropy`."""
    refuse_density(dist)
    values = as_inputs(dist, given, dist.cond_var)
    total: Tensor | None = None
    for factor in dist.factors:
        missing = [c for c in factor.cond_var if c not in values]
        if missing:
            raise DensityError(
                f"H[{dist.prob_text}]: the entropy of {factor.text} depends on {listing(missing)}, "
                "which is drawn. Write Entropy(law).eval(...) for a Monte Carlo estimate."
            )
        law = factor.law
        conditions = [values[c] for c in factor.cond_var]
        params = law.params(conditions)
        shape = _value_shape(law, params, conditions, (), SampleOptions())
        out = torch.as_tensor(moments(law, "entropy_of")(**params)).to(law.anchor())
        if sum_features:
            event = len(shape) - 1
            core = len(shape) - law.moves.param_dims
            out = out.expand(shape[:core]).sum(dim=tuple(range(len(shape) - event, core)))
        total = out if total is None else total + out
    assert total is not None
    return total


def get_params(dist: "Distribution", given: object) -> dict[str, Tensor]:
    """The parameters as tensors; see :meth:`Distribution.get_params`."""
    factor = only_factor(dist, "get_params")
    values = as_inputs(dist, given, dist.cond_var)
    params = factor.law.params([values[c] for c in factor.cond_var])
    anchor = factor.law.anchor()
    return {
        k: v
        if isinstance(v, Tensor)
        else torch.as_tensor(v, dtype=anchor.dtype, device=anchor.device)
        for k, v in params.items()
    }
