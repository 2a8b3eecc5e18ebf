"""Floor 1: plain torch blocks; no probability."""

from ancestral.nn.backward import Backward
from ancestral.nn.codebook import Codebook
from ancestral.nn.mlp import MLP

__all__ = ["MLP", "Backward", "Codebook"]
