"""Floor 1: plain torch blocks; no probability."""

from ancestral.nn.mlp import MLP

__all__ = ["MLP"]
