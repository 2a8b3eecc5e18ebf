"""Checks of a law as an object: precision, device, saving, copies, printing, options."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import DensityError, OptionError, SamplingError
from ancestral.testing.case import (
    Check,
    LawCase,
    always,
    by_chains,
    close,
    has_density,
    has_draws,
    has_move,
    has_parameters,
    has_parts,
    require,
    same,
    some_values,
)


def answer(case: LawCase, law: Any, name: str | None = None) -> Tensor:
    """What a law of the case says, reproducibly: a draw, or a density if it has no draws.

    Args:
        case: The case.
        law: A law that was made from it, whatever its variables are called.
        name: The variable; the first if not given.
    """
    given = case.inputs(case.build())
    inputs = dict(zip(law.input_var, given.values(), strict=True))
    torch.manual_seed(1)
    if has_draws(case):
        draw: Tensor = law.sample(inputs)[name or law.var[0]]
        return draw
    size = case.build().features_shape
    x = torch.linspace(-0.8, 1.1, 2 * size.numel()).reshape(2, *size)
    log_p: Tensor = law.get_log_prob({**inputs, law.var[0]: x})
    return log_p


def precision_and_device_follow(case: LawCase) -> None:
    """``.double()`` and ``.to("meta")`` move draws, densities and moments with the law."""
    single, double = case.law(torch.float32), case.law(torch.float32).double()
    var = single.var[0]
    x = some_values(single, 4, torch.float32)
    for law, dtype in ((single, torch.float32), (double, torch.float64)):
        draw = some_values(law, 4, dtype)
        require(draw.dtype in (dtype, torch.int64), f"a draw of {dtype} is {draw.dtype}")
        value = x.to(dtype) if x.is_floating_point() else x
        for what, found in (
            ("log density", law.get_log_prob({var: value})),
            ("entropy", law.get_entropy() if hasattr(law.moves, "entropy_of") else None),
            ("mean", law.sample_mean() if hasattr(law.moves, "mean_of") else None),
        ):
            require(found is None or found.dtype == dtype, f"{what} of {dtype} is not")
    wide = x.to(some_values(double, 1).dtype)
    close(single.get_log_prob({var: x}), double.get_log_prob({var: wide}),
          "log density in single precision", 1e-5)  # fmt: skip
    ghost = case.law(torch.float32).to("meta")
    draw = ghost.sample(batch_n=4)[var] if has_draws(case) else x.to("meta")
    require(draw.device.type == "meta" and draw.shape == x.shape, f"a draw is on {draw.device}")
    require(ghost.get_log_prob({var: draw}).device.type == "meta", "the density is elsewhere")


def state_is_saved(case: LawCase) -> None:
    """Constants round-trip through ``state_dict``, whatever their memory; none is shared."""
    for change in (
        lambda v: v,
        lambda v: v[None].expand(2, *v.shape),
        lambda v: torch.stack([v, v]).transpose(0, 1),
    ):
        given = {k: change(v) for k, v in case.params.items()}
        one, two = case.build(**given), case.build(**given)
        other = case.build(**{k: v.roll(1, -1 - case.core(k)) for k, v in given.items()})
        state = one.state_dict()
        require(set(state) == set(given), f"the state has {sorted(state)}")
        require(all(v.is_contiguous() for v in state.values()), "a constant is not contiguous")
        kept, before = {k: v.clone() for k, v in given.items()}, answer(case, one)
        one.load_state_dict(other.state_dict())
        same(answer(case, one), answer(case, other), "a draw after loading")
        same(answer(case, two), before, "a draw of the other law made from the same tensors")
        for key, tensor in given.items():
            same(tensor, kept[key], f"the tensor {key} that was given")


def state_of_parts_is_saved(case: LawCase) -> None:
    """A law made from laws saves what these are made of, and is theirs after loading."""
    law, twin = case.build(), case.build()
    before = answer(case, law)
    for tensor in (*nn.Module.parameters(twin), *twin.buffers()):
        tensor.data.fill_(0.5)
    twin.load_state_dict(law.state_dict())
    same(answer(case, twin), before, "a draw after loading")


def copies_are_independent(case: LawCase) -> None:
    """``deepcopy`` gives an equal law that shares nothing."""
    law = case.build()
    twin, before = copy.deepcopy(law), answer(case, law)
    same(answer(case, twin), before, "a draw of the copy")
    require(repr(twin) == repr(law), "the copy prints differently")
    for tensor in (*nn.Module.parameters(twin), *twin.buffers()):
        tensor.data.zero_()
    same(answer(case, law), before, "a draw, after the copy was changed")


def parameters_are_trained(case: LawCase) -> None:
    """An ``nn.Parameter`` stays the object it is, with a gradient."""
    given = {k: nn.Parameter(v.clone()) for k, v in case.params.items() if k in case.smooth}
    law = case.build(**given)
    own = list(nn.Module.parameters(law))
    require({id(p) for p in own} == {id(p) for p in given.values()}, "other parameters")
    law.get_log_prob(law.sample(batch_n=3)).sum().backward()
    for key, parameter in given.items():
        require(parameter.grad is not None, f"no gradient of {key}")
        require(f"{key}: trained" in repr(law), f"repr does not say that {key} is trained")


def prints(case: LawCase) -> None:
    """Text, LaTeX and ``repr`` name the law, its variables and the source of each parameter."""
    law: Any = case.build(**({"cond_var": ["y", "w"]} if case.params else {}))
    wanted = law.name + ("(x|y,w)" if case.params else law.prob_text[len(law.name) :])
    for text in (str(law), law.latex(), law._repr_latex_()):
        plain = text.replace("_{1:T}", "")  # of a sequence
        require(wanted in plain, f"{wanted!r} is not in {text!r}")
    for key, value in case.params.items():
        line = f"{key}: constant, shape {list(value.shape)}"
        require(line in repr(law), f"{line!r} is not in {law!r}")
    if case.params:
        for key in case.params:
            line = f"{key}: the value of {key}_"
            require(line in repr(case.bound()), f"{line!r} is not in {case.bound()!r}")


def renamed_law_is_the_same(case: LawCase) -> None:
    """A law under another name of its variable draws the same values."""
    law = case.build()
    name = law.var[0]
    renamed = law.replace_var(**{name: "other"})
    wanted = ["other" if v == name else v for v in law.var]
    require(sorted(renamed.var) == sorted(wanted), f"the variables are called {renamed.var}")
    same(answer(case, renamed, "other"), answer(case, law, name), "a draw")


def unknown_options_are_errors(case: LawCase) -> None:
    """A misspelt option is an error that names the right one."""
    law: Any = case.build()
    try:
        law.sample(case.inputs(law), batch_size=2)
    except OptionError as error:
        require("batch_n" in str(error), f"no hint in {error}")
    else:
        raise AssertionError("sample(batch_size=2) is accepted")
    try:
        case.build(**{"nonsense": 1.0})
    except TypeError as error:
        require("nonsense" in str(error), f"the option is not named in {error}")
    else:
        raise AssertionError("an unknown option of the constructor is accepted")


def draws_are_reproducible(case: LawCase) -> None:
    """A draw depends on torch's generator, or on ``generator=`` alone; two draws differ."""
    law: Any = case.build()
    inputs = case.inputs(law)
    draws = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(7)
        draws.append([
            law.sample(inputs, sample_shape=[50])[law.var[0]],
            law.sample(inputs, sample_shape=[50], generator=generator)[law.var[0]],
        ])  # fmt: skip
    same(draws[0][0], draws[2][0], "a draw of the same seed")
    for (_, found), (_, wanted) in itertools.pairwise(draws):
        same(found, wanted, "a draw of the same generator")
    if any(f.law.is_random and not f.law.is_data for f in law.factors):
        require(not torch.equal(draws[0][0], draws[1][0]), "draws of two seeds are equal")


def absent_functions_are_refused(case: LawCase) -> None:
    """A function that a law lacks is refused by an error with a type, which names the law."""
    law: Any = case.build()
    inputs = case.inputs(law)
    value = answer(case, law) if has_draws(case) else some_values(case.law(), 2)
    x, u = {**inputs, law.var[0]: value}, torch.full_like(value, 0.3, dtype=torch.float64)
    asked: dict[str, Callable[[], Tensor]] = {
        "log_cdf": lambda: law.get_log_cdf(x),
        "log_sf": lambda: law.get_log_sf(x),
        "icdf": lambda: law.get_icdf(u, inputs),
        "entropy_of": lambda: law.get_entropy(inputs),
        "mean_of": lambda: law.sample_mean(inputs),
        "variance_of": lambda: law.sample_variance(inputs),
    }
    for which, ask in asked.items():
        if has_move(law, which):
            require(not ask().isnan().any(), f"{which} is not a number")  # -inf it may be
            continue
        try:
            ask()
        except (DensityError, SamplingError, OptionError) as error:
            named = law.prob_text in str(error) or law.distribution_name in str(error)
            require(named, f"{which}: the law is not named in {error}")
        else:
            raise AssertionError(f"{which}, which the law lacks, is not refused")


def absent_draws_are_refused(case: LawCase) -> None:
    """A law that cannot be drawn from says so, by name, and what draws from it."""
    law = case.build()
    options: Any
    for options in ({}, {"reparam": True}, {"sample_mean": True}):
        try:
            law.sample(case.inputs(law), **options)
        except SamplingError as error:
            require(law.prob_text in str(error), f"the law is not named in {error}")
        else:
            raise AssertionError(f"sample({options}) of a law without draws is not refused")


def absent_density_is_refused(case: LawCase) -> None:
    """A law without a density says so, by name."""
    law = case.build()
    try:
        law.get_log_prob({n: torch.ones(2, 3) for n in (*law.var, *law.cond_var)})
    except DensityError as error:
        require(law.prob_text in str(error), f"the law is not named in {error}")
    else:
        raise AssertionError("a law without density gives a log density")


def _has_no_density(case: LawCase) -> bool:
    law = case.build()
    return bool(law.integrated) or not all(f.law.has_density for f in law.factors)


CHECKS = (
    Check(precision_and_device_follow, has_density),
    Check(state_is_saved, has_parameters),
    Check(state_of_parts_is_saved, has_parts),
    Check(copies_are_independent, always),
    Check(parameters_are_trained, has_parameters),
    Check(prints, always),
    Check(renamed_law_is_the_same, always),
    Check(unknown_options_are_errors, always),
    Check(draws_are_reproducible, lambda case: has_draws(case) or by_chains(case)),
    Check(absent_functions_are_refused, always),
    Check(absent_draws_are_refused, lambda case: not (has_draws(case) or by_chains(case))),
    Check(absent_density_is_refused, _has_no_density),
)
