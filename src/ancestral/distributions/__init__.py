"""The Distribution API: laws over named variables that encapsulate networks."""

from ancestral.distributions.autoregressive_normal import AutoregressiveNormal
from ancestral.distributions.base import Distribution
from ancestral.distributions.bayesian_net import BayesianNet
from ancestral.distributions.bernoulli import Bernoulli
from ancestral.distributions.beta import Beta
from ancestral.distributions.binomial import Binomial
from ancestral.distributions.categorical import Categorical
from ancestral.distributions.cauchy import Cauchy
from ancestral.distributions.conditional_normal import ConditionalNormal
from ancestral.distributions.continuous_bernoulli import ContinuousBernoulli
from ancestral.distributions.coupling import Coupling, OTCoupling
from ancestral.distributions.custom_prob import CustomProb
from ancestral.distributions.deterministic import Deterministic
from ancestral.distributions.dirichlet import Dirichlet
from ancestral.distributions.dirichlet_multinomial import DirichletMultinomial
from ancestral.distributions.discretized_logistic import DiscretizedLogistic
from ancestral.distributions.empirical import EmpiricalDistribution
from ancestral.distributions.energy_model import EnergyModel
from ancestral.distributions.exponential import Exponential
from ancestral.distributions.folded_normal import FoldedNormal
from ancestral.distributions.gamma import Gamma
from ancestral.distributions.gaussian_process import GaussianProcess
from ancestral.distributions.geometric import Geometric
from ancestral.distributions.gumbel import Gumbel
from ancestral.distributions.half_cauchy import HalfCauchy
from ancestral.distributions.half_normal import HalfNormal
from ancestral.distributions.implicit_law import Implicit
from ancestral.distributions.inverse_gamma import InverseGamma
from ancestral.distributions.joint import Joint
from ancestral.distributions.joint_density import JointDensity
from ancestral.distributions.kumaraswamy import Kumaraswamy
from ancestral.distributions.laplace import Laplace
from ancestral.distributions.law import Law
from ancestral.distributions.lkj_cholesky import LKJCholesky
from ancestral.distributions.log_normal import LogNormal
from ancestral.distributions.logistic import Logistic
from ancestral.distributions.low_rank_normal import LowRankMultivariateNormal
from ancestral.distributions.matrix_normal import MatrixNormal
from ancestral.distributions.mean_field import MeanField
from ancestral.distributions.meta_net import MetaBayesianNet, meta_bayesian_net
from ancestral.distributions.mixture import (
    BernoulliMixture,
    DiscretizedLogisticMixture,
    GaussianMixture,
    LogisticMixture,
    Mixture,
    NormalMixture,
)
from ancestral.distributions.mixture_model import MixtureModel
from ancestral.distributions.mixture_of_experts import MixtureOfNormal
from ancestral.distributions.multinomial import Multinomial
from ancestral.distributions.multivariate_normal import MultivariateNormal
from ancestral.distributions.negative_binomial import NegativeBinomial
from ancestral.distributions.normal import Normal
from ancestral.distributions.normalizing_flow import NormalizingFlow, TransformedDistribution
from ancestral.distributions.ordered_logistic import OrderedLogistic
from ancestral.distributions.particles import Particles, Points
from ancestral.distributions.poisson import Poisson
from ancestral.distributions.power_spherical import PowerSpherical
from ancestral.distributions.product_of_experts import (
    ElementWiseProductOfNormal,
    ProductOfNormal,
)
from ancestral.distributions.random_weights import Weights, weights
from ancestral.distributions.relaxed_bernoulli import RelaxedBernoulli
from ancestral.distributions.relaxed_categorical import ExpRelaxedCategorical, RelaxedCategorical
from ancestral.distributions.sequence import Sequence
from ancestral.distributions.simulator import Simulator
from ancestral.distributions.stochastic_tensor import StochasticTensor
from ancestral.distributions.student_t import StudentT
from ancestral.distributions.take import Take
from ancestral.distributions.truncated import Truncated
from ancestral.distributions.truncated_normal import TruncatedNormal
from ancestral.distributions.uniform import Uniform
from ancestral.distributions.von_mises import VonMises
from ancestral.distributions.von_mises_fisher import VonMisesFisher
from ancestral.distributions.wishart import Wishart
from ancestral.distributions.zero_inflated import (
    ZeroInflated,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)

__all__ = [
    "AutoregressiveNormal",
    "BayesianNet",
    "Bernoulli",
    "BernoulliMixture",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "ConditionalNormal",
    "ContinuousBernoulli",
    "CustomProb",
    "Coupling",
    "Deterministic",
    "Dirichlet",
    "DirichletMultinomial",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Distribution",
    "ElementWiseProductOfNormal",
    "EmpiricalDistribution",
    "ExpRelaxedCategorical",
    "EnergyModel",
    "Exponential",
    "FoldedNormal",
    "Gamma",
    "GaussianMixture",
    "GaussianProcess",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Implicit",
    "InverseGamma",
    "Joint",
    "JointDensity",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "Law",
    "LogNormal",
    "Logistic",
    "LogisticMixture",
    "LowRankMultivariateNormal",
    "MatrixNormal",
    "Mixture",
    "MeanField",
    "MetaBayesianNet",
    "MixtureModel",
    "MixtureOfNormal",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "NormalMixture",
    "NormalizingFlow",
    "OTCoupling",
    "OrderedLogistic",
    "Particles",
    "Points",
    "Poisson",
    "PowerSpherical",
    "ProductOfNormal",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "Sequence",
    "Simulator",
    "StochasticTensor",
    "StudentT",
    "Take",
    "TransformedDistribution",
    "Truncated",
    "TruncatedNormal",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "Weights",
    "Wishart",
    "ZeroInflated",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "meta_bayesian_net",
    "weights",
]
