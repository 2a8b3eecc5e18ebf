"""Real data sets as tensors: one function and one file each.

A data set comes as :class:`ImageData`, with a split that is the same on every machine.

Example:
    >>> import ancestral.data
    >>> ancestral.data.__all__
    ['ImageData', 'digits', 'mnist']
"""

from ancestral.data.digits import digits
from ancestral.data.images import ImageData
from ancestral.data.mnist import mnist

__all__ = ["ImageData", "digits", "mnist"]
