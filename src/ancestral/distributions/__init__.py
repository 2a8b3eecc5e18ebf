"""The Distribution API: laws over named variables that encapsulate networks."""

from ancestral.distributions.base import Distribution
from ancestral.distributions.bernoulli import Bernoulli
from ancestral.distributions.categorical import Categorical
from ancestral.distributions.deterministic import Deterministic
from ancestral.distributions.empirical import EmpiricalDistribution
from ancestral.distributions.gamma import Gamma
from ancestral.distributions.joint import Joint
from ancestral.distributions.laplace import Laplace
from ancestral.distributions.law import Law
from ancestral.distributions.normal import Normal

__all__ = [
    "Bernoulli",
    "Categorical",
    "Deterministic",
    "Distribution",
    "EmpiricalDistribution",
    "Gamma",
    "Joint",
    "Laplace",
    "Law",
    "Normal",
]
