"""Floor 6: objectives: functions that compose losses."""

from ancestral.objectives.cubo import CUBO
from ancestral.objectives.elbo import ELBO
from ancestral.objectives.energy_distance import EnergyDistance
from ancestral.objectives.f_divergence import AdversarialFDivergence
from ancestral.objectives.gradient_penalty import R1, GradientPenalty
from ancestral.objectives.hinge import AdversarialHinge
from ancestral.objectives.importance import LogJoint, SelfNormalized
from ancestral.objectives.inclusive_kl import InclusiveKL
from ancestral.objectives.iwae import IWAE
from ancestral.objectives.jensen_shannon import AdversarialJensenShannon
from ancestral.objectives.kullback_leibler import AdversarialKullbackLeibler
from ancestral.objectives.least_squares import AdversarialLeastSquares
from ancestral.objectives.mmd import MMD
from ancestral.objectives.optimal_transport import Wasserstein
from ancestral.objectives.renyi import Renyi
from ancestral.objectives.sinkhorn import Sinkhorn
from ancestral.objectives.sliced_wasserstein import SlicedWasserstein
from ancestral.objectives.stein import KernelStein
from ancestral.objectives.tvo import TVO
from ancestral.objectives.wake_sleep import ReweightedWakeSleep, WakeSleepLosses
from ancestral.objectives.wasserstein import AdversarialWassersteinDistance

__all__ = [
    "AdversarialFDivergence",
    "Wasserstein",
    "SlicedWasserstein",
    "Sinkhorn",
    "KernelStein",
    "CUBO",
    "ELBO",
    "IWAE",
    "MMD",
    "R1",
    "TVO",
    "AdversarialHinge",
    "AdversarialJensenShannon",
    "AdversarialKullbackLeibler",
    "AdversarialLeastSquares",
    "AdversarialWassersteinDistance",
    "EnergyDistance",
    "GradientPenalty",
    "InclusiveKL",
    "LogJoint",
    "Renyi",
    "ReweightedWakeSleep",
    "SelfNormalized",
    "WakeSleepLosses",
]
