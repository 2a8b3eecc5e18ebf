"""Draws and densities of laws of sequences without lowering: step by step, or all steps at once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.core.errors import MissingVariableError, SamplingError, ShapeError
from ancestral.core.names import listing
from ancestral.distributions.density import one_log_prob
from ancestral.distributions.net_of_weights import weights_in
from ancestral.distributions.sampling import SampleOptions, sample_factor

if TYPE_CHECKING:
    from ancestral.distributions.factor import Factor
    from ancestral.distributions.law import Law
    from ancestral.distributions.sequence import Sequence

Values = dict[str, Tensor]


# -- draws ----------------------------------------------------------------------------------------
def sample(
    factor: "Factor", values: Mapping[str, Tensor], wide: set[str], options: SampleOptions
) -> Values:
    """A draw of a sequence law, by the outer names of its variables; a prefix is gone on from.

    Args:
        factor: The sequence law.
        values: Values of its conditions; of its own variables the first steps.
        wide: The variables whose values have ``sample_shape`` in front.
        options: The options of the call.

    Raises:
        SamplingError: If nothing says how many steps there are.
        ShapeError: If sequences differ in their length.
    """
    law: Any = factor.law
    own = dict(zip((*law.var, *law.cond_var), (*factor.var, *factor.cond_var), strict=True))
    lead = (*options.sample_shape, options.batch_n or 1)
    read = [*law.var, *(c for c in law.cond_var if c not in law.masks)]
    given = {n: values[own[n]] for n in read if own[n] in values}
    weights = _weights(factor, given)
    given = {n: v for n, v in given.items() if n not in weights}
    seen = {n: _folded(v, lead, wide=own[n] in wide) for n, v in given.items()}
    prefix = _prefix(factor, law, {v: seen.pop(v) for v in law.var if v in seen})
    series = {n: v for n, v in seen.items() if n in law.series or n in law.carried}
    lengths = {own[n]: v.shape[1] for n, v in series.items()}
    for name in law.masks:
        if own[name] in values:
            lengths.setdefault(own[name], values[own[name]].shape[-1])
    size = _length(factor, lengths, options.length, prefix)
    rows = len(next(iter(seen.values()))) if seen else _product(lead)
    steps = _steps(law, {**seen, **prefix, **weights}, rows, size, options)
    return {own[v]: x.reshape(*lead, *x.shape[1:]) for v, x in steps.items()}


def _weights(factor: "Factor", given: Values) -> Values:
    """The values among these that are weights of networks: one vector for all rows and steps.

    Raises:
        SamplingError: If they are several vectors.
    """
    found = {n: v for n, v in given.items() if n in weights_in(factor.law)}
    for name, value in found.items():
        if value.dim() != 1:
            raise SamplingError(
                f"{factor.text}: {name} has shape {tuple(value.shape)}. Without a loss, sequences "
                "are drawn and have their density at one vector of weights at a time; in a loss "
                "E(q, ..., sample_shape=[S]) has many at once."
            )
    return found


def _product(sizes: tuple[int, ...]) -> int:
    return int(torch.Size(sizes).numel())


def _folded(value: Tensor, lead: tuple[int, ...], *, wide: bool) -> Tensor:
    """A value with all axes of draws and rows as one."""
    axes = len(lead) if wide else 1
    event = value.shape[axes:]
    return value.expand(*lead, *event).reshape(_product(lead), *event)


def _prefix(factor: "Factor", law: "Sequence", given: Values) -> Values:
    """The first steps that are given, all of one length."""
    random = [v for v in law.var if v not in law.states]
    missing = [v for v in random if v not in given]
    if given and missing:
        raise MissingVariableError(
            f"{factor.text}: a prefix was given for {listing(list(given))}, but not for "
            f"{listing(missing)}. Give the first steps of all random variables, or of none."
        )
    sizes = {v: given[v].shape[1] for v in random if v in given}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{v} {n}" for v, n in sizes.items())
        raise ShapeError(
            f"{factor.text}: prefixes differ in their steps: {told}. Give one length."
        )
    return {v: x for v, x in given.items() if v in random}


def _length(factor: "Factor", found: Mapping[str, int], asked: int | None, prefix: Values) -> int:
    lengths = {**found, **({} if asked is None else {"length=": asked})}
    if not lengths:
        raise SamplingError(
            f"{factor.text}: nothing that is given says how long its sequences are. Say it: "
            "sample(..., length=10)."
        )
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in lengths.items())
        raise ShapeError(
            f"{factor.text}: sequences differ in their steps: {told}. Give one length."
        )
    size = next(iter(lengths.values()))
    longest = max((v.shape[1] for v in prefix.values()), default=0)
    if longest > size:
        raise ShapeError(
            f"{factor.text}: the prefix has {longest} steps, the sequence {size}. Give a longer "
            "length=, or cut the prefix."
        )
    return size


def _steps(law: "Sequence", given: Values, rows: int, size: int, options: SampleOptions) -> Values:
    """Each step in its turn, of rows in one axis."""
    own = [s for s in law.carried if s in law.var]
    before = {s: _first(law, s, given, rows, given.get(s)) for s in law.carried}
    one = replace(options, batch_n=rows, sample_shape=(), length=None)
    found: dict[str, list[Tensor]] = {v: [] for v in law.var}
    timed = {n for n in given if n in law.series or n in law.carried or n in law.var}
    for t in range(size):
        now = {
            n: v[:, t] if n in timed else v for n, v in given.items() if not _past(law, n, v, t)
        }
        inputs = {**now, **{law.carried[s]: v for s, v in before.items()}}
        drawn = _one(law, inputs, one)
        for v in law.var:
            found[v].append(drawn[v])
        after = {s: drawn[s] if s in own else now[s] for s in law.carried}
        for s, value in after.items():
            check_carried(s, before[s].shape[1:], value.shape[1:])
        before = after
    return {v: torch.stack(steps, 1) for v, steps in found.items()}


def _past(law: "Sequence", name: str, value: Tensor, t: int) -> bool:
    """Whether a prefix has ended."""
    return name in law.var and t >= value.shape[1]


def _one(law: "Sequence", inputs: Values, options: SampleOptions) -> Values:
    """The variables of one step; those that are given stand as they are."""
    values = dict(inputs)
    for f in law.factors_of_step:
        if not all(v in values for v in f.var):
            values.update(sample_factor(f, values, set(), options))
    return values


def check_carried(name: str, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """Raise if a step starts from a number, and is a vector after it: rows would mix.

    Args:
        name: The variable that is carried.
        before: Its event shape before a step.
        after: Likewise behind it.

    Raises:
        ShapeError: If they differ in their axes.
    """
    if len(before) != len(after):
        raise ShapeError(
            f"{name} starts with event shape {tuple(before)}, and after a step has "
            f"{tuple(after)}. Say the shape: features_shape= of the law of {name}, or "
            f"init=torch.zeros(...) of the sequence with all of its axes."
        )


def _first(
    law: "Sequence",
    source: str,
    given: Mapping[str, Tensor],
    rows: int,
    known: Tensor | None = None,
) -> Tensor:
    """What is carried into the first step; values ``(rows, T, *event)`` tell its shape."""
    key = law.initial[source]
    if key in law.cond_var:
        return given[key]
    value: Tensor = getattr(law, key)
    declared = next((f.law.declared_shape for f in law.factors_of_step if source in f.var), None)
    event = tuple(value.shape) if value.dim() else tuple(declared or ())
    if known is not None and not event:
        event = tuple(known.shape[2:])
    return value.expand(rows, *event)


# -- densities ------------------------------------------------------------------------------------
def log_prob(factor: "Factor", values: Mapping[str, Tensor]) -> Tensor:
    """The log density of sequences, summed over the steps that count; networks run once.

    Args:
        factor: The sequence law.
        values: Values of its random variables and conditions, time behind the rows; where the
            event is declared, also those of several draws, with their axes in front.

    Returns:
        Shape ``(rows,)``, with the axes of draws in front.
    """
    law: Any = factor.law
    own = dict(zip((*law.var, *law.cond_var), (*factor.var, *factor.cond_var), strict=True))
    lead = _lead(law, own, values)
    if len(lead) > 1:
        alone = _weights(factor, {n: values[own[n]] for n in law.cond_var})
        named = [own[n] for n in own if own[n] in values and n not in alone]
        one = {n: _one_axis(values[n], lead) for n in named}
        return _of_rows(factor, own, {**values, **one}).reshape(lead)
    return _of_rows(factor, own, values)


def _of_rows(factor: "Factor", own: Mapping[str, str], values: Mapping[str, Tensor]) -> Tensor:
    """The log density where all values have one axis of rows."""
    law: Any = factor.law
    exists, counts = _masks(law, own, values)
    random = [v for v in law.var if v not in law.states]
    given = {n: values[own[n]] for n in (*random, *law.cond_var) if n not in law.masks}
    sizes = {own[n]: tuple(given[n].shape[:2]) for n in (*random, *law.series)}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ShapeError(
            f"{factor.text}: sequences differ in rows or steps: {told}. Give all the shape "
            "(rows, T, ...)."
        )
    rows, size = next(iter(sizes.values()))
    for names, mask in ((random, counts), (law.series, exists)):
        if mask is not None:
            given |= {n: _filled(given[n], mask, law, n) for n in names}
    every = {**given, **_states(law, given, rows, size)}
    flat: Values = _weights(factor, given)
    for name, value in every.items():
        if name in flat:
            continue
        is_sequence = name in (*law.var, *law.series, *law.carried)
        wide = value if is_sequence else value.unsqueeze(1).expand(rows, size, *value.shape[1:])
        flat[name] = wide.flatten(0, 1)
    for source, alias in law.carried.items():
        first = _first(law, source, given, rows, every[source]).unsqueeze(1)
        flat[alias] = torch.cat([first, every[source][:, :-1]], 1).flatten(0, 1)
    total = torch.zeros((), dtype=next(iter(flat.values())).dtype)
    for f in law.factors_of_step:
        if f.law.is_random:
            one = replace(f, detached=f.detached or factor.detached)
            shown = None if counts is None else counts.flatten()
            term = one_log_prob(one, flat, shown).reshape(rows, size)
            total = total + (term if counts is None else torch.where(counts, term, 0.0))
    return total.sum(1)


def _lead(
    law: "Sequence", own: Mapping[str, str], values: Mapping[str, Tensor]
) -> tuple[int, ...]:
    """The axes in front of time, by the first variable whose event is declared."""
    for f in law.factors_of_step:
        if f.law.is_random and f.law.declared_shape is not None:
            shape = values[own[f.var[0]]].shape
            return tuple(shape[: len(shape) - 1 - len(f.law.declared_shape)])
    return ()


def _one_axis(value: Tensor, lead: tuple[int, ...]) -> Tensor:
    """A value with all axes of draws and rows as one; one without draws is the same in all."""
    if tuple(value.shape[: len(lead)]) != lead:
        value = value.expand(*lead, *value.shape[1:])
    return value.flatten(0, len(lead) - 1)


def _states(law: "Sequence", given: Values, rows: int, size: int) -> Values:
    """Recurrent states, which are functions of the other variables."""
    if not law.states:
        return {}
    found = _steps(law, given, rows, size, SampleOptions(reparam=True))
    return {v: found[v] for v in law.states}


def _masks(
    law: "Sequence", own: Mapping[str, str], values: Mapping[str, Tensor]
) -> tuple[Tensor | None, Tensor | None]:
    """The steps that exist, and those that count, which are seen too; ``None`` if all are."""
    masks = [values[own[m]] > 0 for m in law.masks]
    exists = None if law.mask is None else masks[0]
    return exists, masks[0] & masks[-1] if masks else None


def _filled(value: Tensor, mask: Tensor, law: "Sequence", name: str) -> Tensor:
    """The value where a mask is on, a number of the support of its law elsewhere."""
    of = next((f.law for f in law.factors_of_step if name in f.var), None)
    fill = 0.0 if of is None else inside(of)
    return present(value, mask, fill)


def inside(law: "Law") -> float:
    """A number in the support of a law, if one that depends on no parameters has such; else 0."""
    try:
        support = law.support({})
    except (LookupError, TypeError, AttributeError, StopIteration):
        return 0.0
    if support is None or support.of_real is None:
        return 0.0
    value = support.of_real(torch.zeros(2))
    return float(value[0]) if tuple(value.shape) == (2,) and bool(value[0] == value[1]) else 0.0


def reaches(law: "Law") -> bool:
    """Whether parameters decide how far the support of a law reaches: then what stands in for a
    missing step may lie outside, and is not looked at.
    """
    try:
        law.support({})
    except (LookupError, TypeError, AttributeError, StopIteration):
        return True
    return False


def present(x: Tensor, mask: Tensor, fill: float) -> Tensor:
    """Data where a mask is on; elsewhere the first of its row where it is.

    A row without any has that of the first row that has one, so that it is a value of the data
    too; a number if there is none at all.

    Args:
        x: Shape ``(rows, T, *event)``.
        mask: Shape ``(rows, T)``.
        fill: The number.

    Example:
        >>> present(torch.tensor([[5.0, torch.nan]]), torch.tensor([[1, 0]]), 0.0)
        tensor([[5., 5.]])
    """
    if not len(x):
        return x
    on = mask > 0
    some, place = on.any(1), on.to(torch.uint8).argmax(1)
    rows = torch.arange(len(x), device=x.device)
    rows = torch.where(some, rows, some.to(torch.uint8).argmax(0))
    first = torch.where(some.any(), x[rows, place[rows]], fill).unsqueeze(1)
    return torch.where(on.reshape(*on.shape, *(1,) * (x.dim() - 2)), x, first)
