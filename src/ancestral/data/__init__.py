"""Real data sets as tensors: one function and one file each.

A data set comes as :class:`ImageData` or :class:`SequenceData`, with a split that is the same on
every machine.

Example:
    >>> import ancestral.data
    >>> ancestral.data.__all__
    ['ImageData', 'SequenceData', 'digits', 'mnist', 'piano_rolls']
"""

from ancestral.data.digits import digits
from ancestral.data.images import ImageData
from ancestral.data.mnist import mnist
from ancestral.data.piano_rolls import SequenceData, piano_rolls

__all__ = ["ImageData", "SequenceData", "digits", "mnist", "piano_rolls"]
