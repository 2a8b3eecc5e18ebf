"""Ancestral sampling, factor by factor, parents first, without lowering."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ancestral.core.errors import ShapeError
from ancestral.core.rng import Generator, blank, uniform
from ancestral.distributions.density import moment_move
from ancestral.distributions.eager import (
    as_inputs,
    as_tensor_like,
    given_part,
    like,
    params_of,
    parents_first,
    refuse_copies,
    refuse_reparam,
    refuse_sampling,
)
from ancestral.distributions.layout import has_rows, layout
from ancestral.distributions.net_of_weights import lead_of, places_of_weights
from ancestral.distributions.noise import draw_noise
from ancestral.distributions.pushforward import parted, with_rows
from ancestral.distributions.rows import given_rows, taken_apart

if TYPE_CHECKING:
    from ancestral.distributions.base import Distribution, Factor
    from ancestral.distributions.law import Params

SAMPLE_OPTIONS = (
    "x_dict",
    "batch_n",
    "sample_shape",
    "return_all",
    "reparam",
    "sample_mean",
    "length",
    "generator",
)


@dataclass(frozen=True)
class SampleOptions:
    """The options of one call of ``sample``."""

    batch_n: int | None = None
    sample_shape: tuple[int, ...] = ()
    reparam: bool = False
    mean: bool = False
    length: int | None = None
    generator: Generator = None


def sample(
    dist: "Distribution", given: object, options: SampleOptions, *, return_all: bool
) -> dict[str, Tensor]:
    """Ancestral sampling; see :meth:`Distribution.sample`."""
    refuse_copies(dist)
    refuse_sampling(dist)
    dist = given_part(dist, given)
    unread = {n for f in dist.factors for n in f.unread}
    inputs = as_inputs(dist, given, [n for n in dist.input_var if n not in unread])
    options = _with_rows(dist, inputs, options)
    values = dict(inputs)  # those of a sequence's own variables are its first steps
    wide: set[str] = set()  # variables whose values have sample_shape in front
    factors = parents_first(dist.factors)
    for factor in factors:
        if factor.law.is_data:
            values.update(given_rows(factor, factors, inputs))
            continue
        if factor.law.rearranged is not None:
            found, is_wide = _rearranged(factor, values, options)
            values.update(found)
            wide.update(is_wide)
            continue
        if factor.law.plate is None:
            values.update(_global(factor, values, wide, options))
        else:
            seen = _with_rows_of_globals(factor, factors, values, options)
            values.update(sample_factor(factor, seen, wide, options))
        wide.update(factor.var)
    passed = {k: v for k, v in inputs.items() if k not in dist.all_var} if return_all else {}
    return {**passed, **{v: values[v] for v in dist.var}}


def _global(
    factor: "Factor", values: Mapping[str, Tensor], wide: set[str], options: SampleOptions
) -> dict[str, Tensor]:
    """The variables of a global law: one draw for all rows, shape ``(*sample_shape, *event)``."""
    axis = len(options.sample_shape)
    seen = {c: values[c].unsqueeze(axis if c in wide else 0) for c in factor.cond_var}
    drawn = sample_factor(factor, {**values, **seen}, wide, replace(options, batch_n=1))
    return {v: value.squeeze(axis) for v, value in drawn.items()}


def _with_rows_of_globals(
    factor: "Factor",
    factors: Sequence["Factor"],
    values: Mapping[str, Tensor],
    options: SampleOptions,
) -> Mapping[str, Tensor]:
    """Values with those of globals, drawn here or read by them, at all rows; weights stay as they
    are.
    """
    shared = {v for f in factors if f.law.plate is None for v in (*f.var, *f.cond_var)}
    places, drawn = places_of_weights(factor.law), {v for f in factors for v in f.var}
    found = {c for i, c in enumerate(factor.cond_var) if c in shared and i not in places}
    rows = {}
    for c in found:
        axis = len(options.sample_shape) if c in drawn else 0
        shape = list(values[c].unsqueeze(axis).shape)
        shape[axis] = options.batch_n or 1
        rows[c] = values[c].unsqueeze(axis).expand(shape)
    return {**values, **rows} if rows else values


def _with_rows(
    dist: "Distribution", inputs: Mapping[str, Tensor], options: SampleOptions
) -> SampleOptions:
    """The options with the number of rows that the inputs have."""
    prefixes = [v for f in dist.factors if f.law.by_steps is not None for v in f.var]
    names = [n for n in (*dist.input_var, *prefixes) if n in inputs]
    shared = _weights(dist) | {c for f in dist.factors if f.law.plate is None for c in f.cond_var}
    rows = {n: inputs[n].shape[0] for n in names if inputs[n].dim() and n not in shared}
    if options.batch_n is None:
        return replace(options, batch_n=next(iter(rows.values()), 1))
    for name, have in rows.items():
        if have != options.batch_n:
            raise ShapeError(
                f"batch_n={options.batch_n}, but {name}, an input of {dist.prob_text}, has "
                f"{have} rows (shape {tuple(inputs[name].shape)}). Leave batch_n out, "
                f"or give {name} with {options.batch_n} rows."
            )
    return options


def _rearranged(
    factor: "Factor", values: Mapping[str, Tensor], options: SampleOptions
) -> tuple[dict[str, Tensor], list[str]]:
    """Draws that are put together from the rows of draws of another law, and which are wide."""
    law, inner = factor.law, factor.law.rearranged
    assert inner is not None
    given = dict(zip(law.cond_var, (values[c] for c in factor.cond_var), strict=True))
    drawn = sample(inner, {**values, **given}, options, return_all=False)
    if not options.reparam:
        drawn = {v: value.detach() for v, value in drawn.items()}
    names = dict(zip(law.var, factor.var, strict=True))
    random = {v for f in inner.factors if f.law.is_random and not f.law.is_data for v in f.var}
    lead = {v: len(options.sample_shape) if v in random else 0 for v in law.var}
    couple = getattr(law, "couple", None)
    if couple is not None:
        first = law.var[0]
        wide = max(lead.values())
        shape = options.sample_shape[:wide]
        a, b = (
            drawn[v] if lead[v] or not wide else drawn[v].expand(*shape, *drawn[v].shape)
            for v in law.var
        )
        flat = [v.flatten(0, wide - 1) if wide else v[None] for v in (a, b)]
        matched = torch.stack([couple(x, y) for x, y in zip(*flat, strict=True)])
        drawn[first], lead[first] = matched.reshape(a.shape), wide
    else:
        (var,) = law.var
        value = drawn[var]
        u = uniform(blank((value.shape[lead[var]],), value), options.generator)
        drawn[var] = taken_apart(value, u, lead[var], value.dim() - lead[var] - 1)
    return {names[v]: drawn[v] for v in law.var}, [names[v] for v in law.var if lead[v]]


def sample_factor(
    factor: "Factor", values: Mapping[str, Tensor], wide: set[str], options: SampleOptions
) -> dict[str, Tensor]:
    """The variables of one factor, given those of its parents; ``wide`` names the values that have
    ``sample_shape`` in front.
    """
    law = factor.law
    if law.by_steps is not None:
        return law.by_steps.sample(factor, values, wide, options)
    if options.reparam and not options.mean and not law.moves.reparametrised:
        refuse_reparam(factor)
    conditions, folded, paired = _conditions(factor, values, wide, options.sample_shape)
    flat = () if places_of_weights(law) else folded  # axes that the network saw as one
    if not law.is_random:  # deterministic: its parameters are the values, gradients flow
        out = params_of(factor, conditions, paired)
        names = dict(zip(law.var, factor.var, strict=True))
        lead = () if folded else options.sample_shape
        unfolded = {names[k]: _unfold(v, flat) for k, v in out.items()}
        return {k: v.expand(*lead, *v.shape) for k, v in unfolded.items()}
    keep = options.reparam or options.mean
    with torch.set_grad_enabled(torch.is_grad_enabled() and keep):
        params = {
            k: with_rows(v, lambda rows: _unfold(rows, flat)) if has_rows(law, k) else v
            for k, v in params_of(factor, conditions, paired).items()
        }
        value = _value(factor, params, folded, options)
        return dict(zip(factor.var, parted(law, value), strict=True))


def _value(
    factor: "Factor", params: "Params", folded: tuple[int, ...], options: SampleOptions
) -> Tensor:
    """A draw or a mean, shape ``(*sample_shape, batch, *event)``."""
    batch = folded or (options.batch_n or 1,)
    found = layout(factor, params, batch, len(folded) or None)
    lead = found.rows if folded else (*options.sample_shape, *found.rows)
    if not options.mean:
        example = like(factor.law, params)
        noise = draw_noise(factor.law, params, lead, found.event, example, options.generator)
        return factor.law.moves.draw(noise, **params)
    mean = moment_move(factor.law, "mean_of")(**params)
    return as_tensor_like(factor.law, params, mean).expand(*lead, *found.value)


def _conditions(
    factor: "Factor", values: Mapping[str, Tensor], wide: set[str], sample_shape: tuple[int, ...]
) -> tuple[list[Tensor], tuple[int, ...], set[int]]:
    """The conditions with ``sample_shape`` folded into their rows, and the axes so folded; those
    of many weights are not folded, and some conditions have them too.
    """
    conditions = [values[c] for c in factor.cond_var]
    places = places_of_weights(factor.law)
    if places:
        return _beside_weights(factor, conditions, wide, sample_shape, places)
    if not sample_shape or not wide & set(factor.cond_var):
        return conditions, (), set()
    axes = len(sample_shape) + 1
    full = [
        value if c in wide else value.expand(*sample_shape, *value.shape)
        for c, value in zip(factor.cond_var, conditions, strict=True)
    ]
    folded = (*sample_shape, max(value.shape[axes - 1] for value in full))
    out = [v.expand(*folded, *v.shape[axes:]).reshape(-1, *v.shape[axes:]) for v in full]
    return out, folded, set()


def _beside_weights(
    factor: "Factor",
    conditions: list[Tensor],
    wide: set[str],
    sample_shape: tuple[int, ...],
    places: Sequence[int],
) -> tuple[list[Tensor], tuple[int, ...], set[int]]:
    """Conditions of a network of weights: those with ``sample_shape`` are paired with these."""
    lead, names = lead_of(factor.law, conditions), factor.cond_var
    drawn = {i for i, c in enumerate(names) if c in wide}
    if sample_shape and not drawn & set(places) and (lead or drawn):
        lead = (*sample_shape, *lead)  # weights that are given, for each draw
    if not lead:
        return conditions, (), set()
    paired = drawn - set(places)
    out = []
    for i, value in enumerate(conditions):
        if i in places:
            value = value.expand(*lead, value.shape[-1])
        elif i in paired:
            axes = len(sample_shape)
            ones = (1,) * (len(lead) - axes)
            value = value.reshape(*sample_shape, *ones, *value.shape[axes:])
            value = value.expand(*lead, *value.shape[len(lead) :])
        out.append(value)
    rows = max(
        (v.shape[len(lead) if i in paired else 0] for i, v in enumerate(out) if i not in places),
        default=1,
    )
    return out, (*lead, rows), paired


def _weights(dist: "Distribution") -> set[str]:
    """The variables that are weights of networks in a law, which have no rows."""
    return {f.cond_var[i] for f in dist.factors for i in places_of_weights(f.law)}


def _unfold(value: Tensor, folded: tuple[int, ...]) -> Tensor:
    """The inverse of folding, for an output of the network; one row stays one row."""
    if not folded or value.dim() == 0:
        return value
    rows = folded if value.shape[0] == math.prod(folded) else (1,) * len(folded)
    return value.reshape(*rows, *value.shape[1:])
