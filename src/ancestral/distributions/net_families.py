"""The families of a net's nodes, one method each, with the words that ZhuSuan has for them.

Parameters are tensors, nodes or numbers; ``options`` are those of :class:`Options`.
"""

from abc import ABC, abstractmethod
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor

from ancestral.core.errors import ParameterError
from ancestral.distributions.bernoulli import Bernoulli
from ancestral.distributions.beta import Beta
from ancestral.distributions.binomial import Binomial
from ancestral.distributions.categorical import Categorical
from ancestral.distributions.dirichlet import Dirichlet
from ancestral.distributions.folded_normal import FoldedNormal
from ancestral.distributions.gamma import Gamma
from ancestral.distributions.inverse_gamma import InverseGamma
from ancestral.distributions.laplace import Laplace
from ancestral.distributions.law import Law
from ancestral.distributions.matrix_normal import MatrixNormal
from ancestral.distributions.multinomial import Multinomial
from ancestral.distributions.multivariate_normal import MultivariateNormal
from ancestral.distributions.normal import Normal
from ancestral.distributions.poisson import Poisson
from ancestral.distributions.relaxed_bernoulli import RelaxedBernoulli
from ancestral.distributions.relaxed_categorical import ExpRelaxedCategorical, RelaxedCategorical
from ancestral.distributions.stochastic_tensor import StochasticTensor, plain
from ancestral.distributions.uniform import Uniform

Value = Any  # a tensor, a node or a number


class Options(TypedDict, total=False):
    """What every node may be given.

    ``n_samples``: draws along a new first axis; ``group_ndims``: how many last batch axes are one
    event; ``is_reparameterized``: whether a draw keeps its gradient; ``use_path_derivative``:
    whether parameters are cut inside the node's own log density.
    """

    n_samples: int | None
    group_ndims: int
    is_reparameterized: bool
    use_path_derivative: bool


Node = StochasticTensor


class Families(ABC):
    """The nodes that a net can have."""

    @abstractmethod
    def _family(
        self, name: str, family: type[Law], params: dict[str, Any], options: Options, **how: Any
    ) -> Node:
        """Add a node of a family."""

    # -- numbers --------------------------------------------------------------------------------
    def normal(
        self,
        name: str,
        mean: Value = 0.0,
        *,
        std: Value = None,
        logstd: Value = None,
        **options: Unpack[Options],
    ) -> Node:
        """A normal node, of a standard deviation or its logarithm."""
        params = {"loc": mean, "scale": _scale(name, std, logstd)}
        return self._family(name, Normal, params, options)

    def fold_normal(
        self,
        name: str,
        mean: Value = 0.0,
        *,
        std: Value = None,
        logstd: Value = None,
        **options: Unpack[Options],
    ) -> Node:
        """The absolute value of a normal node."""
        params = {"loc": mean, "scale": _scale(name, std, logstd)}
        return self._family(name, FoldedNormal, params, options)

    def laplace(self, name: str, loc: Value, scale: Value, **options: Unpack[Options]) -> Node:
        """A Laplace node."""
        return self._family(name, Laplace, {"loc": loc, "scale": scale}, options)

    def uniform(
        self, name: str, minval: Value = 0.0, maxval: Value = 1.0, **options: Unpack[Options]
    ) -> Node:
        """A uniform node."""
        return self._family(name, Uniform, {"low": minval, "high": maxval}, options)

    def gamma(self, name: str, alpha: Value, beta: Value, **options: Unpack[Options]) -> Node:
        """A gamma node, of shape and rate."""
        return self._family(name, Gamma, {"concentration": alpha, "rate": beta}, options)

    def inverse_gamma(
        self, name: str, alpha: Value, beta: Value, **options: Unpack[Options]
    ) -> Node:
        """The reciprocal of a gamma node."""
        return self._family(name, InverseGamma, {"concentration": alpha, "rate": beta}, options)

    def beta(self, name: str, alpha: Value, beta: Value, **options: Unpack[Options]) -> Node:
        """A beta node."""
        params = {"concentration1": alpha, "concentration0": beta}
        return self._family(name, Beta, params, options)

    # -- bits, counts and labels ----------------------------------------------------------------
    def bernoulli(self, name: str, logits: Value, **options: Unpack[Options]) -> Node:
        """A Bernoulli node; its values are floating 0 and 1."""
        return self._family(name, Bernoulli, {"logits": logits}, options)

    def categorical(self, name: str, logits: Value, **options: Unpack[Options]) -> Node:
        """A node of labels 0 to K-1, of ``logits`` with K last entries."""
        return self._family(name, Categorical, {"logits": logits}, options, onehot=False)

    discrete = categorical

    def onehot_categorical(self, name: str, logits: Value, **options: Unpack[Options]) -> Node:
        """A categorical node whose values are one-hot vectors."""
        return self._family(name, Categorical, {"logits": logits}, options)

    onehot_discrete = onehot_categorical

    def binomial(
        self, name: str, logits: Value, n_experiments: Value, **options: Unpack[Options]
    ) -> Node:
        """A binomial node: how many of ``n_experiments`` succeed."""
        params = {"total_count": n_experiments, "logits": logits}
        return self._family(name, Binomial, params, options)

    def poisson(self, name: str, rate: Value, **options: Unpack[Options]) -> Node:
        """A Poisson node."""
        return self._family(name, Poisson, {"rate": rate}, options)

    def multinomial(
        self, name: str, logits: Value, n_experiments: Value, **options: Unpack[Options]
    ) -> Node:
        """Counts of ``n_experiments`` categorical draws."""
        params = {"total_count": n_experiments, "logits": logits}
        return self._family(name, Multinomial, params, options, total_count=1.0)

    def unnormalized_multinomial(
        self, name: str, logits: Value, **options: Unpack[Options]
    ) -> Node:
        """Counts of categorical draws in an order that is known: a density alone."""
        return self._family(name, Multinomial, {"logits": logits}, options)

    bag_of_categoricals = unnormalized_multinomial

    # -- vectors and matrices -------------------------------------------------------------------
    def multivariate_normal_cholesky(
        self, name: str, mean: Value, cov_tril: Value, **options: Unpack[Options]
    ) -> Node:
        """A normal vector, of the Cholesky factor of its covariance."""
        params = {"loc": mean, "scale_tril": cov_tril}
        return self._family(name, MultivariateNormal, params, options)

    def matrix_variate_normal_cholesky(
        self, name: str, mean: Value, u_tril: Value, v_tril: Value, **options: Unpack[Options]
    ) -> Node:
        """A normal matrix, of the Cholesky factors of its row and column covariances."""
        params = {"loc": mean, "row_scale_tril": u_tril, "column_scale_tril": v_tril}
        return self._family(name, MatrixNormal, params, options)

    def dirichlet(self, name: str, alpha: Value, **options: Unpack[Options]) -> Node:
        """A Dirichlet node."""
        return self._family(name, Dirichlet, {"concentration": alpha}, options)

    # -- relaxations ----------------------------------------------------------------------------
    def bin_concrete(
        self, name: str, temperature: Value, logits: Value, **options: Unpack[Options]
    ) -> Node:
        """A relaxed Bernoulli node, in (0, 1)."""
        params = {"temperature": temperature, "logits": logits}
        return self._family(name, RelaxedBernoulli, params, options)

    bin_gumbel_softmax = bin_concrete

    def concrete(
        self, name: str, temperature: Value, logits: Value, **options: Unpack[Options]
    ) -> Node:
        """A relaxed one-hot node, a point of the simplex."""
        params = {"temperature": temperature, "logits": logits}
        return self._family(name, RelaxedCategorical, params, options)

    gumbel_softmax = concrete

    def exp_concrete(
        self, name: str, temperature: Value, logits: Value, **options: Unpack[Options]
    ) -> Node:
        """The logarithm of a relaxed one-hot node."""
        params = {"temperature": temperature, "logits": logits}
        return self._family(name, ExpRelaxedCategorical, params, options)

    exp_gumbel_softmax = exp_concrete


def _scale(name: str, std: Value, logstd: Value) -> Value:
    if (std is None) == (logstd is None):
        raise ParameterError(f"node {name}: give std= or logstd=, one of them.")
    if std is not None:
        return std
    value = plain(logstd)
    return torch.exp(value if isinstance(value, Tensor) else torch.tensor(float(value)))
