"""What the Distribution API is given and what it may be asked: inputs, options, refusals.

Values are laid out ``(*sample_shape, batch, *event)``. Within one call ``sample_shape`` is folded
into the batch for networks; a tensor that the user gives with leading axes of its own reaches the
network as it is. The work is done by :mod:`ancestral.distributions.sampling` and
:mod:`ancestral.distributions.density`.
"""

import functools
import inspect
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from torch import Tensor

from ancestral.core.errors import (
    DataError,
    DensityError,
    MissingVariableError,
    OptionError,
    SamplingError,
    did_you_mean,
)
from ancestral.core.names import listing
from ancestral.distributions.net_of_weights import note_weights, params_at, places_of_weights
from ancestral.distributions.network import check_rows, failed
from ancestral.distributions.pushforward import cut

if TYPE_CHECKING:
    from ancestral.distributions.base import Distribution, Factor
    from ancestral.distributions.law import Law, Params


Class = TypeVar("Class", bound=type)


# -- options --------------------------------------------------------------------------------------
def refuse_options(method: str, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raise for options that do not exist, with the nearest one that does."""
    for key in unknown:
        raise OptionError(f"{method}() has no option {key!r}; {did_you_mean(key, known)}")


def name_words(cls: type) -> None:
    """Let the constructor that a class has say which word is meant where one is misspelt.

    What it takes as ``**params`` are parameters of a law; other ``**words`` are its own affair.
    """
    init = vars(cls).get("__init__")
    words = inspect.signature(init).parameters if init else {}
    known = [name for name, word in words.items() if word.kind is not word.VAR_KEYWORD][1:]
    is_open = "params" in words
    if init is None or (len(known) + 1 < len(words) and not is_open):
        return

    has_plate = hasattr(cls, "domains")  # a law's word, whatever its family takes

    @functools.wraps(init)
    def constructor(self: Any, *args: Any, **given: Any) -> None:
        plate = given.pop("plate", "rows") if has_plate and "plate" not in known else "rows"
        every = [*known, *self.domains] if is_open else known
        unknown = [name for name in given if name not in every]
        refuse_options(type(self).__name__ if is_open else cls.__name__, unknown, every)
        init(self, *args, **given)
        note_weights(self)
        if plate != "rows":
            make_global(self, plate)

    cls.__init__ = constructor  # type: ignore[misc]


def reads_as_init(cls: Class) -> Class:
    """A class whose ``__new__`` may give another object, with the signature of its constructor."""
    every = inspect.signature(vars(cls)["__init__"])
    own = list(every.parameters.values())[1:]
    cls.__signature__ = every.replace(parameters=own)  # type: ignore[attr-defined]
    return cls


def make_global(law: Any, plate: object) -> None:
    """Let a law have one draw for all rows, as ``plate=None`` says.

    Raises:
        OptionError: If it is another word.
    """
    if plate is not None:
        raise OptionError(
            f"{law.prob_text}: plate={plate!r}; give None for a global variable, which has one "
            "draw for all rows, or leave it out."
        )
    vars(law)["plate"] = None


def as_count(value: object, option: str) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{option}={value!r} must be a whole number of at least 1.")
    return value


def as_shape(value: object, option: str) -> tuple[int, ...]:
    """Sizes of axes from a sequence of whole numbers, or from one of them.

    Example:
        >>> as_shape([3, 2], "sample_shape"), as_shape(3, "sample_shape")
        ((3, 2), (3,))
    """
    sizes = [value] if isinstance(value, int) or not isinstance(value, Sequence) else value
    return tuple(as_count(size, option) for size in sizes)


def without_value(dist: "Distribution", method: str, value: Sequence[object]) -> "Distribution":
    """The law; raises if a term of a loss was asked for its value."""
    if not value:
        return dist
    names = ", ".join(f"{v!r}: {v}" for v in (*dist.var, *dist.cond_var))
    raise OptionError(
        f"{dist.name}.{method}() is a term of a loss, {dist.prob_text}. For its value write "
        f"{dist.name}.get_log_prob({{{names}}})" + (".exp()." if method == "prob" else ".")
    )


# -- inputs ---------------------------------------------------------------------------------------
def as_inputs(dist: "Distribution", given: object, needed: Sequence[str]) -> dict[str, Tensor]:
    """The user's inputs as a dict: from a dict, from one tensor, or from a list in order."""
    values = _by_name(dist, given, needed)
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


def _by_name(dist: "Distribution", given: object, needed: Sequence[str]) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, Tensor):
        if len(needed) != 1:
            raise MissingVariableError(
                f"{dist.prob_text} needs {listing(needed)}: give a dict, "
                f"e.g. {{{', '.join(f'{n!r}: {n}' for n in needed)}}}."
            )
        return {needed[0]: given}
    if isinstance(given, Sequence) and not isinstance(given, str):
        if not needed and given and all(isinstance(n, int) for n in given):
            raise DataError(
                f"{dist.prob_text} has no conditions, got {list(given)}. For axes of draws write "
                f"sample_shape={list(given)}, for rows batch_n={given[0]}."
            )
        if len(given) != len(needed):
            raise MissingVariableError(
                f"{dist.prob_text} needs {len(needed)} values ({listing(needed)}), "
                f"got {len(given)}."
            )
        return dict(zip(needed, given, strict=True))
    if isinstance(given, int):
        raise DataError(
            f"{dist.prob_text}: inputs must be a dict, a tensor or a list, got {given}. For "
            f"{given} rows write batch_n={given}."
        )
    raise DataError(f"inputs must be a dict, a tensor or a list, got {type(given).__name__}.")


def given_part(dist: "Distribution", given: object) -> "Distribution":
    """The law without what depends on conditions that are not given, see ``Law.optional``."""
    named = given is None or isinstance(given, Mapping)
    if not named or not any(f.law.optional for f in dist.factors):
        return dist
    have = {*(given if isinstance(given, Mapping) else ()), *dist.all_var}
    return dist._rebuilt([_given_part(f, have) for f in dist.factors])


def _given_part(factor: "Factor", have: Container[str]) -> "Factor":
    names = dict(zip(factor.law.cond_var, factor.cond_var, strict=True))
    missing = [c for c in factor.law.optional if names[c] not in have]
    if not missing:
        return factor
    law = factor.law.without(missing)
    return replace(factor, law=law, cond_var=tuple(names[c] for c in law.cond_var))


# -- factors --------------------------------------------------------------------------------------
def only_factor(dist: "Distribution", method: str) -> "Factor":
    """The factor of a law that has just one; others cannot answer ``method``."""
    factors = dist.factors
    if len(factors) != 1 or dist.integrated:
        raise OptionError(
            f"{method} is asked of one law, but {dist.prob_text} is a product of "
            f"{', '.join(f.text for f in factors)}. Ask one of them."
        )
    return factors[0]


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
        assert ready is not None, "a product law has no cycles"
        waiting.remove(ready)
        done.append(ready)
        have.update(ready.var)
    return done


def params_of(
    factor: "Factor", conditions: Sequence[Tensor], paired: Container[int] = ()
) -> "Params":
    """A factor's parameters; without gradient if it is detached.

    Args:
        factor: The factor.
        conditions: Values of its conditions.
        paired: Which of them have the axes that its weights have, if these are many.
    """
    try:
        params = params_at(factor.law, conditions, paired)
    except RuntimeError as error:
        raise failed(factor.text, factor.cond_var, conditions, error) from error
    if not places_of_weights(factor.law):
        check_rows(factor.law, factor.text, factor.cond_var, conditions, params)
    if not factor.detached:
        return params
    return {k: cut(v) for k, v in params.items()}


def like(law: "Law", params: Mapping[str, Any]) -> Tensor:
    """A tensor with the dtype and device of a law's parameters."""
    tensors = (v for v in params.values() if isinstance(v, Tensor) and v.is_floating_point())
    return next(tensors, law.anchor())


def as_tensor_like(law: "Law", params: Mapping[str, Any], value: Any) -> Tensor:
    """A number or tensor with the dtype and device of a law's parameters."""
    model = like(law, params)
    return torch.as_tensor(value, dtype=model.dtype, device=model.device)


# -- refusals -------------------------------------------------------------------------------------
def refuse_reparam(factor: "Factor") -> NoReturn:
    """Raise: the law's draws are no differentiable function of its parameters."""
    raise SamplingError(
        f"{factor.text} is a {factor.law.distribution_name}, whose draws are not a differentiable "
        "function of its parameters: reparam=True is not possible. In a loss, use "
        ".estimate({law: Enumerate()}) or Score(...)."
    )


def refuse_copies(dist: "Distribution") -> None:
    """Raise if a factor stands for several copies, which only an expectation can hold."""
    for factor in dist.factors:
        if factor.copies:
            raise SamplingError(
                f"{factor.text} stands for {factor.copies[1]} copies inside an expectation; to "
                f"draw several values use sample(..., sample_shape=[{factor.copies[1]}])."
            )


def refuse_sampling(dist: "Distribution") -> None:
    """Raise if a factor is given by its log density alone, naming what draws from such a law."""
    for factor in dist.factors:
        if factor.law.density_net is not None and factor.law.by_steps is None:
            raise SamplingError(
                f"{factor.text} is a {factor.law.distribution_name}, given by its log density "
                "alone: it cannot be drawn from at once. Use a sampler over its density (Langevin "
                "or Hamiltonian Monte Carlo), or draw from another law q of "
                f"{listing(factor.var)} and take E(q, {factor.law.name}.log_prob() - "
                "q.log_prob())."
            )


def has_sum(dist: "Distribution") -> bool:
    """Whether the variables that are integrated out have values that can be listed, row by row."""
    hidden = [f for f in dist.factors if {*f.var} & {*dist.integrated}]
    return all(
        len(f.var) == 1
        and f.copies is None
        and f.law.plate is not None
        and hasattr(f.law.moves, "values")
        for f in hidden
    )


def _listed_by_steps(dist: "Distribution") -> list[str]:
    """The variables of sequences that have, at each step, values that can be listed."""
    found: list[str] = []
    for factor in dist.factors:
        names = dict(zip(factor.law.var, factor.var, strict=True))
        steps = getattr(factor.law, "factors_of_step", ())
        discrete = [f for f in steps if f.law.is_random and hasattr(f.law.moves, "values")]
        found += [names[v] for f in discrete for v in f.var]
    return found


def refuse_density(dist: "Distribution", *, by_plan: bool = False, summed: bool = False) -> None:
    """Raise if the law has no density that can be evaluated, naming why and what to do.

    Args:
        dist: The law.
        by_plan: Let laws of points pass: a plan may give their divergence a gradient.
        summed: Let discrete variables be integrated out: they can be summed.
    """
    for factor in dist.factors:
        if not factor.law.has_density and {*factor.cond_var} & {*dist.integrated}:
            raise DensityError(
                f"log {dist.prob_text}: {listing(factor.var)} is a function of "
                f"{listing([c for c in factor.cond_var if c in dist.integrated])}, which is "
                "integrated out: an implicit law, without a density. Compare its draws with an "
                "adversarial or a kernel objective (a discriminator, MMD)."
            )
    if dist.integrated and not (summed and has_sum(dist)):
        if has_sum(dist):
            raise DensityError(
                f"{dist.prob_text}: {listing(dist.integrated)} is integrated out. Its log density "
                f"is a sum over {listing(dist.integrated)}, taken by a loss: "
                f"{dist.name}.log_prob().eval({{...}})."
            )
        if chained := sorted({*dist.integrated} & {*_listed_by_steps(dist)}):
            raise DensityError(
                f"log {dist.prob_text}: {listing(chained)} is integrated out, with all of its "
                "steps: of K values for each of T there are K ** T. Write the chain as a product "
                "of laws, one for each step, and integrate their variables out, "
                '(p_1 * p_2 * p_3).marginalize_var(["z1", "z2", "z3"]), which is exact in linear '
                "cost; or use a bound, E(q, joint.log_prob() - q.log_prob())."
            )
        raise DensityError(
            f"log {dist.prob_text}: {listing(dist.integrated)} is integrated out, and the "
            "integral has no closed form. Use a bound: E(q, joint.log_prob() - q.log_prob()), "
            f"with q a law of {listing(dist.integrated)}."
        )
    for factor in dist.factors:
        if by_plan and factor.law.has_points:
            continue
        if not factor.law.has_density:
            raise DensityError(
                f"{factor.text} is a {factor.law.distribution_name} law: it has no density. "
                "Compare its draws instead (an adversarial or kernel objective), or leave it out "
                "of the product whose log_prob you ask for."
            )
