"""How good a model is: numbers over a data set, each with its standard error.

Example:
    >>> import torch
    >>> from ancestral.distributions import Normal
    >>> prior = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[1])
    >>> p = Normal(loc="z", scale=1.0, var=["x"], cond_var=["z"])
    >>> q = Normal(loc=0.0, scale=1.0, var=["z"], features_shape=[1], name="q")
    >>> estimate = log_likelihood(p * prior, q, {"x": torch.ones(2, 1)}, k=10_000)
    >>> bool((estimate.values + 1.515512).abs().max() < 0.1)
    True
"""

from ancestral.evaluation.bound import bound
from ancestral.evaluation.coder import BitStack, LatentCode, parts
from ancestral.evaluation.estimate import Estimate
from ancestral.evaluation.nll import log_likelihood
from ancestral.evaluation.reproduction import Measurement, Reference, Reproduction

__all__ = [
    "BitStack",
    "Estimate",
    "LatentCode",
    "Measurement",
    "Reference",
    "Reproduction",
    "bound",
    "log_likelihood",
    "parts",
]
