"""The Loss API: what is optimised, as frozen mathematics."""

from typing import Any

from ancestral.losses.apply import Function, norm, sqnorm
from ancestral.losses.iterative import IterativeLoss
from ancestral.losses.node import (
    Constant,
    MaxLoss,
    MinLoss,
    Node,
    Parameter,
    Value,
    ValueLoss,
    values,
)
from ancestral.losses.prob import (
    KL,
    CrossEntropy,
    E,
    Entropy,
    Expectation,
    H,
    KullbackLeibler,
    LogProb,
    Prob,
)
from ancestral.losses.sugar import Loss

__all__ = [
    "ELBO",
    "KL",
    "MMD",
    "R1",
    "RBF",
    "REBAR",
    "SVGD",
    "VIMCO",
    "AdversarialHinge",
    "AdversarialJensenShannon",
    "AdversarialKullbackLeibler",
    "AdversarialLeastSquares",
    "AdversarialWassersteinDistance",
    "Constant",
    "ContrastiveDivergence",
    "CrossEntropy",
    "DReG",
    "E",
    "EnergyDistance",
    "Entropy",
    "Enumerate",
    "Expectation",
    "Function",
    "GradientPenalty",
    "GumbelSoftmax",
    "H",
    "IterativeLoss",
    "KullbackLeibler",
    "Learned",
    "LeaveOneOut",
    "LogProb",
    "Loss",
    "MaxLoss",
    "MeasureValued",
    "MinLoss",
    "MovingAverage",
    "Node",
    "Pairs",
    "Parameter",
    "Pathwise",
    "Permuted",
    "PersistentCD",
    "Prob",
    "Score",
    "StickingTheLanding",
    "StraightThrough",
    "Value",
    "ValueLoss",
    "elbo",
    "importance_weighted_objective",
    "iw_objective",
    "klpq",
    "norm",
    "sqnorm",
    "values",
    "CUBO",
    "IWAE",
    "TVO",
    "Renyi",
    "InclusiveKL",
    "LogJoint",
    "SelfNormalized",
    "ReweightedWakeSleep",
]

_HIGHER = {
    "AdversarialHinge": "ancestral.objectives.hinge",
    "AdversarialJensenShannon": "ancestral.objectives.jensen_shannon",
    "AdversarialKullbackLeibler": "ancestral.objectives.kullback_leibler",
    "AdversarialLeastSquares": "ancestral.objectives.least_squares",
    "AdversarialWassersteinDistance": "ancestral.objectives.wasserstein",
    "GradientPenalty": "ancestral.objectives.gradient_penalty",
    "R1": "ancestral.objectives.gradient_penalty",
    "ELBO": "ancestral.objectives.elbo",
    "MMD": "ancestral.objectives.mmd",
    "CUBO": "ancestral.objectives.cubo",
    "IWAE": "ancestral.objectives.iwae",
    "TVO": "ancestral.objectives.tvo",
    "Renyi": "ancestral.objectives.renyi",
    "InclusiveKL": "ancestral.objectives.inclusive_kl",
    "LogJoint": "ancestral.objectives.importance",
    "SelfNormalized": "ancestral.objectives.importance",
    "ReweightedWakeSleep": "ancestral.objectives.wake_sleep",
    "elbo": "ancestral.objectives.variational",
    "importance_weighted_objective": "ancestral.objectives.variational",
    "iw_objective": "ancestral.objectives.variational",
    "klpq": "ancestral.objectives.variational",
    "EnergyDistance": "ancestral.objectives.energy_distance",
    "Pairs": "ancestral.estimators.rows",
    "Permuted": "ancestral.estimators.rows",
    "Pathwise": "ancestral.estimators.pathwise",
    "Score": "ancestral.estimators.score",
    "LeaveOneOut": "ancestral.estimators.score",
    "Learned": "ancestral.estimators.baselines",
    "MovingAverage": "ancestral.estimators.baselines",
    "Enumerate": "ancestral.estimators.enumerate",
    "GumbelSoftmax": "ancestral.estimators.gumbel_softmax",
    "MeasureValued": "ancestral.estimators.measure_valued",
    "REBAR": "ancestral.estimators.rebar",
    "StraightThrough": "ancestral.estimators.straight_through",
    "StickingTheLanding": "ancestral.estimators.sticking_the_landing",
    "DReG": "ancestral.estimators.dreg",
    "VIMCO": "ancestral.estimators.vimco",
    "ContrastiveDivergence": "ancestral.estimators.contrastive_divergence",
    "PersistentCD": "ancestral.estimators.persistent_cd",
    "SVGD": "ancestral.estimators.svgd",
    "RBF": "ancestral.distributions.kernels",
}


def __getattr__(name: str) -> Any:
    """Named objectives and estimators, which live on higher floors."""
    if name in _HIGHER:
        from importlib import import_module

        return getattr(import_module(_HIGHER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is public, loaded or not."""
    return __all__
