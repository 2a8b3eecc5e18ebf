"""The contract checks catch wrong laws: each has one bug, and a check that must see it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ancestral.distributions import Bernoulli, Categorical, Law, Normal
from ancestral.testing import LAW_CHECKS, LawCase, check_distribution


class NoLogScale(Normal):
    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        return -0.5 * ((x - loc) / scale) ** 2 - 0.5 * torch.tensor(2 * torch.pi).log()


class ScaleIsVariance(Normal):
    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any) -> Tensor:
        return loc + scale**0.5 * noise


class SharedNoise(Normal):
    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any) -> Tensor:
        return loc + scale * noise[..., :1]


class RepeatedRows(Normal):
    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any) -> Tensor:
        return loc + scale * (noise + noise.roll(1, 0)) / 2**0.5


class VarianceIsScale(Normal):
    @staticmethod
    def variance_of(loc: Any, scale: Any) -> Any:
        return scale


class EntropyInBits(Normal):
    @staticmethod
    def entropy_of(loc: Any, scale: Any) -> Any:
        return Normal.entropy_of(loc, scale) / 0.6931


class CutLocation(Normal):
    @staticmethod
    def draw(noise: Tensor, loc: Any, scale: Any) -> Tensor:
        return loc.detach() + scale * noise


class CutDensity(Normal):
    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        return Normal.log_density(x, loc, scale.detach())


class ClaimsGradient(Bernoulli):
    reparametrised = True


class MixedRows(Normal):
    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        out = Normal.log_density(x, loc, scale)
        return out.mean(-2, keepdim=True).expand_as(out)


class NoCutOff(Bernoulli):
    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        if probs is None:
            return Bernoulli.log_density(x, probs, logits)
        return x * probs.log() + (1 - x) * (1 - probs).log()


class ThroughProbabilities(Bernoulli):
    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        probs = logits.sigmoid() if probs is None else probs
        return x * probs.log() + (1 - x) * (1 - probs).log()


class UnnormalisedLogits(Categorical):
    @staticmethod
    def log_density(x: Tensor, probs: Any = None, logits: Any = None) -> Tensor:
        return (x * (logits if probs is None else probs.log())).sum(-1)


class Forgetful(Normal):
    def __init__(self, *args: Any, loc: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, loc=loc, **kwargs)
        if isinstance(loc, Tensor):
            self.loc = loc  # the tensor of the caller, not a copy


class SinglePrecision(Normal):
    @staticmethod
    def log_density(x: Tensor, loc: Any, scale: Any) -> Tensor:
        return Normal.log_density(x, loc, scale).float()


class Wasteful(Normal):
    """The reversed divergence."""


Wasteful.closed_kl = {Wasteful: lambda q, p: Normal.closed_kl[Normal](p, q)}


BUGS: list[tuple[type[Law], str]] = [
    (NoLogScale, "density integrates to one"),
    (ScaleIsVariance, "draws follow the density"),
    (SharedNoise, "draws follow the density"),
    (SharedNoise, "axes of features shape"),
    (RepeatedRows, "draws follow the density"),
    (VarianceIsScale, "moments are integrals"),
    (EntropyInBits, "moments are integrals"),
    (EntropyInBits, "closed forms are means"),
    (CutLocation, "gradient of draws"),
    (CutLocation, "derivatives of moves"),
    (CutDensity, "derivatives of moves"),
    (ClaimsGradient, "gradient of draws"),
    (MixedRows, "axes of rows"),
    (NoCutOff, "certain outcomes"),
    (ThroughProbabilities, "extreme parameters are finite"),
    (UnnormalisedLogits, "density integrates to one"),
    (UnnormalisedLogits, "probabilities and logits agree"),
    (Forgetful, "state is saved"),
    (SinglePrecision, "precision and device follow"),
    (Wasteful, "divergences are integrals"),
    (Wasteful, "closed forms are means"),
]


@pytest.mark.parametrize(("family", "check"), BUGS, ids=lambda p: getattr(p, "__name__", p))
def test_bug_is_caught(family, check):
    with pytest.raises(AssertionError, match=f"^{family.__name__}.*: {check}: "):
        check_distribution(family, only=[check])


@pytest.mark.parametrize("family", [Normal, Bernoulli], ids=lambda family: family.__name__)
def test_right_law_passes_and_tells_what_was_run(family):
    run = check_distribution(family)
    assert set(run) < set(LAW_CHECKS)
    assert "density integrates to one" in run
    assert "absent density is refused" not in run


def test_examples_may_be_given():
    with pytest.raises(AssertionError, match=r"^Narrow\(loc, scale\): moments"):
        check_distribution(
            type("Narrow", (VarianceIsScale,), {}),
            [{"loc": torch.zeros(1), "scale": torch.full((1,), 2.0)}],
            ["moments are integrals"],
        )
    one = [{"loc": torch.zeros(1), "scale": torch.ones(1)}]
    check_distribution(VarianceIsScale, one, ["moments are integrals"])  # 1 is its own square


def test_case_reads():
    example = Categorical.examples()[1]
    assert str(LawCase(Categorical, example)) == "Categorical(logits, onehot=False)"
