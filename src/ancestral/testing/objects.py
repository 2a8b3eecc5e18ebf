"""Checks of a law as an object: precision, device, saving, copies, printing, options."""

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import DensityError, OptionError
from ancestral.distributions import Law
from ancestral.testing.case import (
    Check,
    LawCase,
    always,
    close,
    has_density,
    has_parameters,
    require,
    same,
)


def _draw(law: Law) -> Tensor:
    """A reproducible draw, of any law."""
    torch.manual_seed(1)
    inputs = {name: torch.linspace(-1.0, 1.0, 6).reshape(2, 3) for name in law.input_var}
    return law.sample(inputs)[law.var[0]]


def precision_and_device_follow(case: LawCase) -> None:
    """``.double()`` and ``.to("meta")`` move draws, densities and moments with the law."""
    single, double = case.law(torch.float32), case.law(torch.float32).double()
    var = single.var[0]
    x = single.sample(batch_n=4)[var]
    for law, dtype in ((single, torch.float32), (double, torch.float64)):
        draw = law.sample(batch_n=4)[var]
        require(draw.dtype in (dtype, torch.int64), f"a draw of {dtype} is {draw.dtype}")
        value = x.to(dtype) if x.is_floating_point() else x
        for what, found in (
            ("log density", law.get_log_prob({var: value})),
            ("entropy", law.get_entropy() if hasattr(law.moves, "entropy_of") else None),
            ("mean", law.sample_mean() if hasattr(law.moves, "mean_of") else None),
        ):
            require(found is None or found.dtype == dtype, f"{what} of {dtype} is not")
    close(single.get_log_prob({var: x}), double.get_log_prob({var: x.to(double.sample()[var])}),
          "log density in single precision", 1e-5)  # fmt: skip
    ghost = case.law(torch.float32).to("meta")
    draw = ghost.sample(batch_n=4)[var]
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
        kept, before = {k: v.clone() for k, v in given.items()}, _draw(one)
        one.load_state_dict(other.state_dict())
        same(_draw(one), _draw(other), "a draw after loading")
        same(_draw(two), before, "a draw of the other law made from the same tensors")
        for key, tensor in given.items():
            same(tensor, kept[key], f"the tensor {key} that was given")


def state_of_parts_is_saved(case: LawCase) -> None:
    """A law made from laws saves what these are made of, and is theirs after loading."""
    law, twin = case.build(), case.build()
    before = _draw(law)
    for tensor in (*nn.Module.parameters(twin), *twin.buffers()):
        tensor.data.fill_(0.5)
    twin.load_state_dict(law.state_dict())
    same(_draw(twin), before, "a draw after loading")


def copies_are_independent(case: LawCase) -> None:
    """``deepcopy`` gives an equal law that shares nothing."""
    law = case.build()
    twin, before = copy.deepcopy(law), _draw(law)
    same(_draw(twin), before, "a draw of the copy")
    require(repr(twin) == repr(law), "the copy prints differently")
    for tensor in (*nn.Module.parameters(twin), *twin.buffers()):
        tensor.data.zero_()
    same(_draw(law), before, "a draw, after the copy was changed")


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
        require(wanted in text, f"{wanted!r} is not in {text!r}")
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
    renamed = law.replace_var(**{law.var[0]: "other"})
    inputs = {n: torch.ones(2, 3) for n in renamed.input_var}
    torch.manual_seed(1)
    found = renamed.sample(inputs)["other"]
    torch.manual_seed(1)
    names = dict(zip(renamed.input_var, law.input_var, strict=True))
    same(found, law.sample({names[k]: v for k, v in inputs.items()})[law.var[0]], "a draw")


def unknown_options_are_errors(case: LawCase) -> None:
    """A misspelt option is an error that names the right one."""
    law: Any = case.build()
    try:
        law.sample({n: torch.ones(2, 3) for n in law.input_var}, batch_size=2)
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
    inputs = {n: torch.ones(2, 3) for n in law.input_var}
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
    if law.noise is not None:
        require(not torch.equal(draws[0][0], draws[1][0]), "draws of two seeds are equal")


def absent_density_is_refused(case: LawCase) -> None:
    """A law without a density says so, by name."""
    law = case.build()
    try:
        law.get_log_prob({n: torch.ones(2, 3) for n in (*law.var, *law.cond_var)})
    except DensityError as error:
        require(law.prob_text in str(error), f"the law is not named in {error}")
    else:
        raise AssertionError("a law without density gives a log density")


CHECKS = (
    Check(precision_and_device_follow, has_density),
    Check(state_is_saved, has_parameters),
    Check(state_of_parts_is_saved, lambda case: case.family.composite),
    Check(copies_are_independent, always),
    Check(parameters_are_trained, has_parameters),
    Check(prints, always),
    Check(renamed_law_is_the_same, always),
    Check(unknown_options_are_errors, always),
    Check(draws_are_reproducible, always),
    Check(absent_density_is_refused, lambda case: not case.family.has_density),
)
