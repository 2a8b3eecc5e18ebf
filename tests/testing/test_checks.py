"""The contract checks catch wrong laws: each has one bug, and a check that must see it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ancestral.bijections import Exp
from ancestral.distributions import (
    Bernoulli,
    Categorical,
    ConditionalNormal,
    CustomProb,
    ElementWiseProductOfNormal,
    Implicit,
    Joint,
    Law,
    MixtureModel,
    MixtureOfNormal,
    Normal,
    NormalizingFlow,
    ProductOfNormal,
    ZeroInflated,
)
from ancestral.distributions.posterior import BetaPosterior
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


class CutExperts(ProductOfNormal):
    """The experts' locations get no gradient."""

    def forward(self, **conditions: Tensor) -> dict[str, Any]:
        out = super().forward(**conditions)
        return {**out, "loc": out["loc"].detach()}


class StaleParts(MixtureOfNormal):
    """What the experts were when the law was built."""

    def forward(self, **conditions: Tensor) -> dict[str, Any]:
        return self._kept

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kept = super().forward()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._kept = {k: fn(v) for k, v in self._kept.items()}
        return super()._apply(fn, recurse)


class HalfConditioned(ConditionalNormal):
    """The gradient does not pass through the covariance with what is given."""

    def forward(self, **conditions: Tensor) -> dict[str, Any]:
        out = super().forward(**conditions)
        return {**out, "scale_tril": out["scale_tril"].detach()}


class _WrongVolume(Exp):
    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(y)
        return x, -log_det


class WrongVolume(NormalizingFlow):
    """The sign of the log-determinant."""

    def __init__(self, base: Law, bijections: Any) -> None:
        super().__init__(base, _WrongVolume())


class WrongSign(MixtureModel):
    """The sign of the first component's log density."""

    @property
    def moves(self) -> Any:
        class Moves(super().moves):  # type: ignore[misc]
            @classmethod
            def log_joint(cls, x: Tensor, **params: Any) -> Tensor:
                out = super().log_joint(x, **params)
                return torch.cat([-out[..., :1], out[..., 1:]], -1)

        return Moves


class TrainedChoice(MixtureOfNormal):
    """Weights that are trained choose the expert: the draw's jumps have no gradient."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        start = torch.linspace(-0.5, 0.5, len(self.experts))
        self.logits_layer = nn.ParameterList([start])

    def forward(self, **conditions: Tensor) -> dict[str, Any]:
        return {**super().forward(**conditions), "weight_logits": self.logits_layer[0]}


class LostAttribute(ElementWiseProductOfNormal):
    """The prior is left out of the gradient where the condition has a value."""

    def forward(self, **conditions: Tensor) -> dict[str, Any]:
        out = super().forward(**conditions)
        return {k: v.detach() + 0.5 * (v - v.detach()) for k, v in out.items()}


class LostFactor(Joint):
    """The last factor is missing from the density."""

    def get_log_prob(self, x_dict: Any, **options: Any) -> Tensor:
        return Joint(self.factors[:-1]).get_log_prob(x_dict, **options)


class SecondDraw(Joint):
    """The parent that is returned is not the one that its child was drawn from."""

    def sample(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        return {**super().sample(*args, **options), "z": super().sample(*args, **options)["z"]}


class CutEnergy(CustomProb):
    """The function's parameters get no gradient."""

    def __init__(self, log_prob_fn: Any, **options: Any) -> None:
        super().__init__(lambda *given: log_prob_fn(*given).detach(), **options)
        self.whole = log_prob_fn


class CutGenerator(Implicit):
    """The network gets no gradient from the draws."""

    def __init__(self, net: Any, **options: Any) -> None:
        super().__init__(lambda *given: net(*given).detach(), **options)
        self.whole = net


class CutPrior(BetaPosterior):
    """The prior's parameters get no gradient."""

    def forward(self, **conditions: Tensor) -> dict[str, Any]:
        return {k: v.detach() for k, v in super().forward(**conditions).items()}


class Talkative(CustomProb):
    """Draws something, with an entropy of its own."""

    def sample(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        return {self.var[0]: torch.zeros(1, 2)}

    @staticmethod
    def entropy_of(**params: Any) -> Any:
        return torch.zeros(())

    def get_icdf(self, probability: Tensor, x_dict: Any = None) -> Tensor:
        return probability


BUGS: list[tuple[type[Any], str]] = [
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
    (CutExperts, "derivatives of parts"),
    (CutExperts, "gradient of draws in parts"),
    (StaleParts, "derivatives of parts"),
    (HalfConditioned, "derivatives of parts"),
    (HalfConditioned, "gradient of draws in parts"),
    (WrongVolume, "density integrates to one"),
    (WrongSign, "density integrates to one"),
    (TrainedChoice, "gradient of draws in parts"),
    (LostAttribute, "derivatives of parts"),
    (LostFactor, "density is the product of the factors"),
    (SecondDraw, "draws are made parents first"),
    (SecondDraw, "density and draws belong together"),
    (CutEnergy, "derivatives of parts"),
    (CutGenerator, "derivatives of parts"),
    (CutPrior, "derivatives of parts"),
    (CutPrior, "gradient of draws in parts"),
    (Talkative, "absent draws are refused"),
    (Talkative, "absent functions are refused"),
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


def test_a_law_without_examples_is_not_passed():
    with pytest.raises(AssertionError, match=r"ZeroInflated has no examples.*examples=\["):
        check_distribution(ZeroInflated)


def test_laws_made_from_laws_are_compared_with_another():
    one = MixtureOfNormal.examples()[:1]
    with pytest.raises(AssertionError, match="two examples at least"):
        check_distribution(ProductOfNormal, one, ["closed forms are means"])


def test_conditions_of_an_example_are_given():
    example = {"cond_var": ["y"], "log_prob_fn": lambda x, y: -0.5 * (x - y) ** 2 - 0.9189385332}
    given = {"y": torch.tensor([[2.0]])}
    only = ["density integrates to one"]
    assert check_distribution(
        CustomProb, [{**example, "features_shape": [1], "given": given}], only
    )
    assert (
        str(LawCase(CustomProb, {**example, "given": given}))
        == "CustomProb(cond_var, log_prob_fn)"
    )


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
