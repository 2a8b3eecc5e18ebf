"""Floor 2: bijections, x <-> y with log|det J|, one per file; no probability."""

from ancestral.bijections.affine import Affine
from ancestral.bijections.affine_coupling import AffineCoupling
from ancestral.bijections.base import Bijection
from ancestral.bijections.chain import Chain
from ancestral.bijections.conditional_affine import ConditionalAffine
from ancestral.bijections.exp import Exp
from ancestral.bijections.inverse import Inverse
from ancestral.bijections.sigmoid import Sigmoid
from ancestral.bijections.softplus import Softplus
from ancestral.bijections.tanh import Tanh

__all__ = [
    "Affine",
    "AffineCoupling",
    "Bijection",
    "Chain",
    "ConditionalAffine",
    "Exp",
    "Inverse",
    "Sigmoid",
    "Softplus",
    "Tanh",
]
